"""One raw sequence on its way into a store: read, viewed, and kept in a part file until all are there.

A part is an `.npz` with one JSON entry, `meta` (clip rows, array specs, view counts of every track), and the arrays
`<track>/<path in the store>`, in the types of the store.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

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


@dataclass(frozen=True, slots=True)
class PartTrack:
    """A track in a part file: a `TrackSource` of the store's writer.

    Attributes:
        part: the file.
        number: of the track within it.
        clips: its clip rows.
        specs: its arrays.
        views: what each view keeps of it.
    """

    part: Path
    number: int
    clips: Sequence[ClipRow]
    specs: Mapping[str, ArraySpec]
    views: Mapping[str, ViewCount]

    def arrays(self) -> Mapping[str, Array]:
        """The track's arrays."""
        with np.load(self.part) as held:
            return {path: held[f"{self.number}/{path}"] for path in self.specs}


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
    arrays: dict[str, Array] = {}
    heads = []
    for number, (track, views) in enumerate(tracks):
        source = MemoryTrack.of(track, {name: rows for name, (rows, _) in views.items()})
        for path, values in source.arrays().items():
            arrays[f"{number}/{path}"] = np.ascontiguousarray(values, dtype=source.specs[path].dtype)
        heads.append(
            {
                "clips": list(source.clips),
                "specs": {path: [spec.dtype, *spec.row_shape] for path, spec in source.specs.items()},
                "views": {name: [count.kept, dict(count.dropped)] for name, (_, count) in views.items()},
            }
        )
    meta = {"name": task.raw.name, "split": task.raw.split, "skipped": skipped, "tracks": heads}
    arrays["meta"] = np.frombuffer(json.dumps(meta, default=_plain).encode(), dtype=np.uint8)
    _save(task.part, arrays)


def read_part(path: Path) -> Part:
    """What a part file says of itself; its arrays stay on disk.

    Raises:
        BrokenFile: the file is damaged.
    """
    try:
        with np.load(path) as held:
            meta = json.loads(held["meta"].tobytes())
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise BrokenFile(
            f"{path} is damaged ({error}); remove {path.parent.parent} to begin again"
        ) from error
    tracks = [_track(path, number, head, meta["split"]) for number, head in enumerate(meta["tracks"])]
    return Part(meta["name"], meta["split"], meta["skipped"], tracks)


def _track(path: Path, number: int, head: Mapping[str, Any], split: str) -> PartTrack:
    rows = sum(clip["length"] for clip in head["clips"])
    specs = {name: ArraySpec(dtype, tuple(shape)) for name, (dtype, *shape) in head["specs"].items()}
    views = {name: ViewCount(split, rows, kept, dropped) for name, (kept, dropped) in head["views"].items()}
    return PartTrack(path, number, head["clips"], specs, views)


def _views(track: Track, recipe: Recipe) -> dict[str, tuple[ViewRows, ViewCount]]:
    found = {}
    for name, view in view_all(track, recipe).items():
        count = ViewCount(track.split, len(track), int(view.keep.sum()), view.dropped)
        found[name] = (ViewRows(keep=view.keep, bbox_cxcywh=view.bbox_cxcywh), count)
    return found


def _save(path: Path, arrays: Mapping[str, Array]) -> None:
    with whole_file(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # the stubs take names of options for arrays


def _plain(value: Any) -> Any:
    """NumPy scalars in clip columns, as JSON."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a clip column holds {type(value).__name__}; use text, numbers or booleans")
