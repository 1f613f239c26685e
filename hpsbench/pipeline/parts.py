"""One raw sequence on its way into a store: read, viewed, and kept in a journal of the job until all are there.

A part is a JSON text after its length: clip rows, arrays and view counts of every block of tracks. After it come the
arrays, in the types of the store, one block after another; arrays that several views share are there once. Short tracks
that have the same fields are one block: a data set may have thousands of them, so nothing costs more than its bytes.
"""

import json
import mmap
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from hpsbench.errors import BrokenFile
from hpsbench.pipeline.work import Entry, append_entry
from hpsbench.recipes.groups import TrackGroup, groups_of
from hpsbench.recipes.schema import Recipe
from hpsbench.recipes.sequences import RawSequence, SequenceSkipped, read_sequence
from hpsbench.recipes.views import ViewCount, view_group
from hpsbench.store.clips import ClipRow
from hpsbench.store.layout import ArraySpec
from hpsbench.store.writer import MemoryTrack, ViewRows
from hpsbench.types import Array


@dataclass(frozen=True, slots=True)
class SequenceTask:
    """Read one sequence with its recipe and append its part to a journal, as the item of this number."""

    recipe: Recipe
    raw: RawSequence
    journals: Path
    number: int


_LENGTH = struct.Struct("<Q")
Specs: TypeAlias = Mapping[str, ArraySpec]


@dataclass(frozen=True, slots=True)
class PartBlock:
    """Tracks in a part: a `TrackSource` of the store's writer.

    Attributes:
        journal: the mapped file.
        begin: where the block's bytes begin in it.
        clips: the clip rows of its tracks.
        specs: its arrays.
        offsets: of its arrays in the block's bytes.
        rows: of each array.
        views: what each view keeps of it.
        instead: arrays that take the place of the journal's.
    """

    journal: mmap.mmap
    begin: int
    clips: Sequence[ClipRow]
    specs: Specs
    offsets: Mapping[str, int]
    rows: int
    views: Mapping[str, ViewCount]
    instead: Mapping[str, Array] = field(default_factory=dict)

    def arrays(self) -> Mapping[str, Array]:
        """The block's arrays; read-only views of the mapped file, but for those of `instead`."""
        found = {}
        for path, spec in self.specs.items():
            place = self.begin + self.offsets[path]
            values = np.frombuffer(self.journal, spec.stored, self.rows * spec.row_items, place)
            found[path] = values.reshape(self.rows, *spec.row_shape)
        return {**found, **self.instead}


@dataclass(frozen=True, slots=True)
class Part:
    """A sequence that was read.

    Attributes:
        name: of the raw file.
        split: of the sequence.
        skipped: why the dataset's rule leaves it out, or None.
        blocks: its tracks, in the reader's order.
    """

    name: str
    split: str
    skipped: str | None
    blocks: Sequence[PartBlock]


def write_part(task: SequenceTask) -> None:
    """Read a sequence, apply every view, and record the part, all or nothing.

    Raises:
        HpsbenchError: the raw file is broken; the message names it.
    """
    skipped: str | None = None
    heads: list[dict[str, Any]] = []
    content: list[memoryview] = []
    place = 0
    try:
        for group in groups_of(read_sequence(task.recipe, task.raw)):
            head, arrays = _packed(group, task.recipe)
            heads.append({**head, "begin": place})
            content += [values.data for values in arrays]
            place += sum(values.nbytes for values in arrays)
    except SequenceSkipped as reason:
        skipped, heads, content = reason.reason, [], []
    meta = {"name": task.raw.name, "split": task.raw.split, "skipped": skipped, "blocks": heads}
    text = json.dumps(meta, default=_plain).encode()
    append_entry(task.journals, task.number, [_LENGTH.pack(len(text)), text, *content])


def _packed(group: TrackGroup, recipe: Recipe) -> tuple[dict[str, Any], list[Array]]:
    """A block's head, and its arrays as the store keeps them; the same array under several names is packed once."""
    views = view_group(group, recipe)
    source = MemoryTrack.of_rows(
        group.tracks,
        group.frame_id,
        group.fields,
        {name: ViewRows(keep=view.keep, bbox_cxcywh=view.bbox_cxcywh) for name, view in views.items()},
    )
    arrays: list[Array] = []
    offsets: list[int] = []
    known: dict[int, int] = {}
    size = 0
    for path, values in source.arrays().items():
        spec = source.specs[path]
        if id(values) not in known:
            arrays.append(np.ascontiguousarray(values, dtype=spec.stored))
            known[id(values)] = size
            size += arrays[-1].nbytes
        offsets.append(known[id(values)])
    counts = {name: view.counted._asdict() for name, view in views.items()}
    specs = [(path, spec.dtype, spec.row_shape) for path, spec in source.specs.items()]
    head = {"clips": source.clips, "rows": len(group), "specs": specs, "offsets": offsets, "views": counts}
    return head, arrays


def read_parts(entries: Mapping[int, Entry], numbers: Sequence[int]) -> list[Part]:
    """What parts say of themselves, in the order asked for; their arrays stay on disk.

    Raises:
        BrokenFile: a journal is damaged.
    """
    maps: dict[Path, mmap.mmap] = {}
    known: dict[str, Specs] = {}
    parts = []
    for number in numbers:
        entry = entries[number]
        if entry.path not in maps:
            with entry.path.open("rb") as file:
                maps[entry.path] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        parts.append(_read_part(maps[entry.path], entry, known))
    return parts


def _read_part(journal: mmap.mmap, entry: Entry, known: dict[str, Specs]) -> Part:
    try:
        (length,) = _LENGTH.unpack_from(journal, entry.begin)
        begin = entry.begin + _LENGTH.size
        meta = json.loads(journal[begin : begin + length])
        blocks = list(_blocks(journal, begin + length, meta, known))
        return Part(meta["name"], meta["split"], meta["skipped"], blocks)
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise BrokenFile(
            f"{entry.path} is damaged at byte {entry.begin:,} ({error}); remove {entry.path.parent.parent} to begin again"
        ) from error


def _blocks(
    journal: mmap.mmap, begin: int, meta: Mapping[str, Any], known: dict[str, Specs]
) -> Iterator[PartBlock]:
    """`known` lets blocks that have the same arrays share what describes them."""
    for head in meta["blocks"]:
        text = str(head["specs"])
        if text not in known:
            known[text] = {path: ArraySpec(dtype, tuple(shape)) for path, dtype, shape in head["specs"]}
        specs = known[text]
        offsets = dict(zip(specs, head["offsets"], strict=True))
        views = {name: ViewCount(**count) for name, count in head["views"].items()}
        yield PartBlock(journal, begin + head["begin"], head["clips"], specs, offsets, head["rows"], views)


def _plain(value: Any) -> Any:
    """NumPy scalars in clip columns, as JSON."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a clip column holds {type(value).__name__}; use text, numbers or booleans")
