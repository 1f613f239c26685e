"""One raw sequence on its way into a store: read, viewed, and kept in a part file until all are there.

A part begins with 16 bytes, `HPSPART1` and the length of what follows, a JSON text (clip rows, arrays and view counts of
every track). After it come the arrays, in the types of the store, one track after another; arrays that several views
share are there once. A data set may have thousands of short tracks, so nothing here costs more than its bytes.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpsbench.errors import BrokenFile
from hpsbench.pipeline.work import whole_file
from hpsbench.recipes.schema import Recipe
from hpsbench.recipes.sequences import RawSequence, SequenceSkipped, read_sequence
from hpsbench.recipes.views import ViewCount, view_all
from hpsbench.store.clips import ClipRow
from hpsbench.store.layout import ArraySpec
from hpsbench.store.writer import MemoryTrack, ViewRows
from hpsbench.types import Array, Track


@dataclass(frozen=True, slots=True)
class SequenceTask:
    """Read one sequence with its recipe and write its part file."""

    recipe: Recipe
    raw: RawSequence
    part: Path


_MAGIC = b"HPSPART1"
_HEAD = struct.Struct("<8sQ")


@dataclass(frozen=True, slots=True)
class PartTrack:
    """A track in a part file: a `TrackSource` of the store's writer.

    Attributes:
        part: the file.
        place: of the track's bytes in it: first, and how many.
        clips: its clip rows.
        specs: its arrays.
        offsets: of its arrays in the track's bytes.
        views: what each view keeps of it.
    """

    part: Path
    place: tuple[int, int]
    clips: Sequence[ClipRow]
    specs: Mapping[str, ArraySpec]
    offsets: Mapping[str, int]
    views: Mapping[str, ViewCount]

    def arrays(self) -> Mapping[str, Array]:
        """The track's arrays; read-only views of the mapped file.

        Raises:
            BrokenFile: the part file was cut off.
        """
        first, length = self.place
        if self.part.stat().st_size < first + length:
            raise _damaged(self.part, "it was cut off")
        data = np.memmap(self.part, np.uint8, "r", first, (length,)).view(np.ndarray)
        rows = sum(clip["length"] for clip in self.clips)
        return {
            path: _array(data, self.offsets[path], rows, spec.dtype, spec.row_shape)
            for path, spec in self.specs.items()
        }


@dataclass(frozen=True, slots=True)
class Part:
    """What a part file holds.

    Attributes:
        name: of the raw file.
        split: it belongs to.
        skipped: why the dataset's rule leaves the sequence out, or None.
        tracks: of the sequence.
    """

    name: str
    split: str
    skipped: str | None
    tracks: Sequence[PartTrack]


def write_part(task: SequenceTask) -> None:
    """Read a sequence, apply every view, and write the part file, all or nothing.

    Raises:
        HpsbenchError: the raw file is broken; the message names it.
    """
    skipped, tracks = None, []
    try:
        tracks = [(track, _views(track, task.recipe)) for track in read_sequence(task.recipe, task.raw)]
    except SequenceSkipped as reason:
        skipped = reason.reason
    heads, blocks = [], []
    size = 0
    for track, views in tracks:
        head, held = _packed(MemoryTrack.of(track, {name: rows for name, (rows, _) in views.items()}))
        counts = {name: [count.kept, dict(count.dropped)] for name, (_, count) in views.items()}
        length = sum(len(block) for block in held)
        heads.append({**head, "views": counts, "place": [size, length]})
        blocks += held
        size += length
    meta = {"name": task.raw.name, "split": task.raw.split, "skipped": skipped, "tracks": heads}
    text = json.dumps(meta, default=_plain).encode()
    with whole_file(task.part, durable=False) as file:
        file.write(_HEAD.pack(_MAGIC, len(text)))
        file.write(text)
        file.writelines(blocks)


def _packed(source: MemoryTrack) -> tuple[dict[str, Any], list[bytes]]:
    """A track's arrays as bytes, and where each begins; the same array under several names is packed once."""
    blocks: list[bytes] = []
    offsets: dict[str, int] = {}
    known: dict[int, int] = {}
    size = 0
    for path, values in source.arrays().items():
        if id(values) not in known:
            dtype = np.dtype(source.specs[path].dtype).newbyteorder("<")
            blocks.append(np.ascontiguousarray(values, dtype=dtype).tobytes())
            known[id(values)] = size
            size += len(blocks[-1])
        offsets[path] = known[id(values)]
    specs = {path: [spec.dtype, list(spec.row_shape), offsets[path]] for path, spec in source.specs.items()}
    return {"clips": list(source.clips), "specs": specs}, blocks


def read_part(path: Path) -> Part:
    """What a part file says of itself; its arrays stay on disk.

    Raises:
        BrokenFile: the file is damaged.
    """
    try:
        with path.open("rb") as file:
            magic, length = _HEAD.unpack(file.read(_HEAD.size))
            if magic != _MAGIC:
                raise ValueError("it does not begin as a part file does")
            meta = json.loads(file.read(length))
    except (ValueError, struct.error, OSError) as error:
        raise _damaged(path, str(error)) from error
    begin = _HEAD.size + length
    tracks = [_track(path, begin, head, meta["split"]) for head in meta["tracks"]]
    return Part(meta["name"], meta["split"], meta["skipped"], tracks)


def _damaged(path: Path, what: str) -> BrokenFile:
    return BrokenFile(f"{path} is damaged ({what}); remove {path.parent.parent} to begin again")


def _track(path: Path, begin: int, head: Mapping[str, Any], split: str) -> PartTrack:
    rows = sum(clip["length"] for clip in head["clips"])
    specs = {name: ArraySpec(dtype, tuple(shape)) for name, (dtype, shape, _) in head["specs"].items()}
    offsets = {name: offset for name, (_, _, offset) in head["specs"].items()}
    views = {name: ViewCount(split, rows, kept, dropped) for name, (kept, dropped) in head["views"].items()}
    first, length = head["place"]
    return PartTrack(path, (begin + first, length), head["clips"], specs, offsets, views)


def _array(data: NDArray[np.uint8], offset: int, rows: int, dtype: str, row_shape: tuple[int, ...]) -> Array:
    stored = np.dtype(dtype).newbyteorder("<")
    count = rows * int(np.prod(row_shape, dtype=np.int64))
    return np.frombuffer(data, stored, count, offset).reshape(rows, *row_shape)


def _views(track: Track, recipe: Recipe) -> dict[str, tuple[ViewRows, ViewCount]]:
    found = {}
    for name, view in view_all(track, recipe).items():
        count = ViewCount(track.split, len(track), int(view.keep.sum()), view.dropped)
        found[name] = (ViewRows(keep=view.keep, bbox_cxcywh=view.bbox_cxcywh), count)
    return found


def _plain(value: Any) -> Any:
    """NumPy scalars in clip columns, as JSON."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a clip column holds {type(value).__name__}; use text, numbers or booleans")
