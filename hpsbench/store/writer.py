"""Writing a clip store: rows of all tracks after another, streamed into chunk files; `complete` is set last.

A store that is being written opens as incomplete until the very last rename. Writing again into an incomplete store
starts over, so what a killed process left behind never matters. Nothing here records how or where it ran.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

import hpsbench
from hpsbench.errors import BadData, ShapeError
from hpsbench.store import layout
from hpsbench.store.clips import ClipRow, check_track, clips_to_parquet, cut_clips, with_starts
from hpsbench.store.layout import ArraySpec
from hpsbench.types import Array, BoolArray, FloatArray, Track

NodeAttributes = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewRows:
    """One view of one track.

    Attributes:
        keep: (T,) which frames the view keeps.
        bbox_cxcywh: (T, 4) pixels; NaN where there is no box.
    """

    keep: BoolArray
    bbox_cxcywh: FloatArray


class TrackSource(Protocol):
    """One track on its way into a store: small facts at once, arrays when asked (they may lie in a part file)."""

    @property
    def clips(self) -> Sequence[ClipRow]:
        """The clip rows of the track; `start` counts from its own first row."""

    @property
    def specs(self) -> Mapping[str, ArraySpec]:
        """Array path in the store (`frames/betas`, `views/tcmr/keep`) -> what one row is."""

    def arrays(self) -> Mapping[str, Array]:
        """Array path in the store -> (T, ...) values."""


@dataclass(frozen=True, slots=True)
class MemoryTrack:
    """A `TrackSource` whose arrays are in memory."""

    clips: Sequence[ClipRow]
    values: Mapping[str, Array]
    specs: Mapping[str, ArraySpec] = field(default_factory=dict)

    @classmethod
    def of(cls, track: Track, views: Mapping[str, ViewRows] | None = None) -> "MemoryTrack":
        """A track and its views, as rows of the store's arrays.

        Raises:
            ShapeError: a field or view does not fit the track or the format.
            BadData: the frame numbers do not increase.
        """
        check_track(track)
        values: dict[str, Array] = {"frames/frame_id": np.asarray(track.frame_id)}
        values |= {f"frames/{name}": np.asarray(rows) for name, rows in track.fields.items()}
        specs = {path: layout.field_spec(path.split("/")[1], rows) for path, rows in values.items()}
        for name, view in (views or {}).items():
            if view.keep.shape != (len(track),) or view.bbox_cxcywh.shape != (len(track), 4):
                raise ShapeError(
                    f"track {track.key}: view {name!r} must have keep (T,) and bbox_cxcywh (T, 4) for T = "
                    f"{len(track)}, got {view.keep.shape} and {view.bbox_cxcywh.shape}"
                )
            values[f"views/{name}/keep"] = view.keep
            values[f"views/{name}/bbox_cxcywh"] = view.bbox_cxcywh
            specs[f"views/{name}/keep"] = ArraySpec("bool", ())
            specs[f"views/{name}/bbox_cxcywh"] = ArraySpec("float32", (4,))
        return cls(cut_clips(track), values, specs)

    def arrays(self) -> Mapping[str, Array]:
        """The track's arrays."""
        return self.values


def begin_store(path: Path) -> None:
    """Create the store's folder with root metadata that says "incomplete"; an incomplete one is left as it is.

    Raises:
        BadData: a complete store, or something that is no clip store, lies there already.
    """
    document = layout.read_document(path)
    if document is None and path.exists() and any(path.iterdir()):
        raise BadData(f"{path} exists and is not a clip store; move it away, then run again")
    attributes = (document or {}).get("attributes", {})
    if document is not None and attributes.get("format") != layout.FORMAT:
        raise BadData(f"{path} is a Zarr group but not a clip store; move it away, then run again")
    if attributes.get("complete"):
        raise BadData(f"{path} is already complete; remove the folder to write it again")
    if document is None:
        _write_root(path, {"format": layout.FORMAT, "version": layout.VERSION, "complete": False})


def write_store(
    path: Path,
    tracks: Sequence[TrackSource],
    *,
    attributes: Mapping[str, Any],
    nodes: NodeAttributes | None = None,
    optional: Iterable[str] = (),
) -> None:
    """Write a whole clip store from its tracks, in their order.

    Args:
        path: folder of the store; must not hold a complete store.
        tracks: what to write. Each track's arrays are asked for once, one track after another.
        attributes: root attributes beside `format`, `version`, `complete`, `rows`, `tracks`; `dataset` and
            `synthetic` are required.
        nodes: attributes of inner nodes by path (`frames/joints3d`, `views/tcmr`).
        optional: paths of arrays that some tracks may lack; their rows are NaN there.

    Raises:
        BadData: a complete store is there already; tracks that lack a field which others have; equal track names.
        ShapeError: tracks whose fields differ in shape.
    """
    for name in ("dataset", "synthetic"):
        if name not in attributes:
            raise BadData(f"{path}: root attribute {name!r} is required")
    begin_store(path)
    for group in (*layout.GROUPS, "clips"):
        shutil.rmtree(path / group, ignore_errors=True)
    scratch = layout.scratch_folder(path)
    specs = _common_specs(tracks, frozenset(optional))
    clips = with_starts(track.clips for track in tracks)
    rows = sum(clip["length"] for clip in clips)
    nodes = nodes or {}
    for group in sorted(_groups_of(specs)):
        layout.write_file(
            path / group / layout.NODE, layout.encode(layout.group_document(nodes.get(group, {}))), scratch
        )
    _stream(path, tracks, specs, rows, nodes, scratch)
    _write_clips(path, clips, scratch)
    _write_root(
        path,
        {
            "format": layout.FORMAT,
            "version": layout.VERSION,
            "complete": True,
            **attributes,
            "rows": rows,
            "tracks": len(tracks),
            "code_version": hpsbench.__version__,
        },
    )
    shutil.rmtree(scratch, ignore_errors=True)


def _common_specs(tracks: Sequence[TrackSource], optional: frozenset[str]) -> dict[str, ArraySpec]:
    """Array path -> row spec over all tracks, in the order of first appearance, sorted for stable bytes."""
    specs: dict[str, ArraySpec] = {}
    for track in tracks:
        for path, spec in track.specs.items():
            if specs.setdefault(path, spec) != spec:
                raise ShapeError(
                    f"track {track.clips[0]['track']}: {path} has rows {spec.row_shape} {spec.dtype}, but other "
                    f"tracks have {specs[path].row_shape} {specs[path].dtype}"
                )
    for track in tracks:
        lacking = sorted(set(specs) - set(track.specs) - optional)
        if lacking:
            raise BadData(
                f"track {track.clips[0]['track']} lacks {', '.join(lacking)}, which other tracks have; "
                "declare the field as optional in the recipe, or leave it out everywhere"
            )
    return dict(sorted(specs.items()))


def _groups_of(specs: Mapping[str, ArraySpec]) -> set[str]:
    parents = {str(Path(path).parent) for path in specs}
    return set(layout.GROUPS) | parents


def _stream(
    path: Path,
    tracks: Sequence[TrackSource],
    specs: Mapping[str, ArraySpec],
    rows: int,
    nodes: NodeAttributes,
    scratch: Path,
) -> None:
    """Append the rows of one track after another to all arrays at once."""
    with ExitStack() as stack:
        files = {
            name: stack.enter_context(_RowFile(path / name, spec, rows, nodes.get(name, {}), scratch))
            for name, spec in specs.items()
        }
        for track in tracks:
            arrays = track.arrays()
            length = sum(clip["length"] for clip in track.clips)
            for name, file in files.items():
                file.append(arrays.get(name), length)


class _RowFile:
    """Rows appended to the chunk files of one array; memory use does not grow with the rows."""

    def __init__(
        self, node: Path, spec: ArraySpec, rows: int, attributes: Mapping[str, Any], scratch: Path
    ) -> None:
        self._node, self._spec, self._rows = node, spec, rows
        self._chunk_rows = spec.chunk_rows(rows)
        self._written = 0
        self._file: BinaryIO | None = None
        document = layout.array_document(spec, rows, self._chunk_rows, attributes)
        layout.write_file(node / layout.NODE, layout.encode(document), scratch)

    def __enter__(self) -> "_RowFile":
        return self

    def append(self, values: Array | None, length: int) -> None:
        if values is None:
            values = np.full((length, *self._spec.row_shape), np.nan, dtype=self._spec.dtype)
        if values.shape != (length, *self._spec.row_shape):
            raise ShapeError(f"{self._node}: expected {(length, *self._spec.row_shape)}, got {values.shape}")
        data = np.ascontiguousarray(values, dtype=np.dtype(self._spec.dtype).newbyteorder("<"))
        for block in self._blocks(data):
            if self._written % self._chunk_rows == 0:
                self._open_chunk(self._written // self._chunk_rows)
            assert self._file is not None
            self._file.write(block.reshape(-1).view(np.uint8).data)
            self._written += len(block)

    def _blocks(self, data: Array) -> Iterator[Array]:
        """Cut rows at the borders of the chunks."""
        start = 0
        while start < len(data):
            room = self._chunk_rows - self._written % self._chunk_rows
            yield data[start : start + room]
            start += room

    def _open_chunk(self, index: int) -> None:
        self._close()
        file = layout.chunk_file(self._node, index, 1 + len(self._spec.row_shape))
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file.open("wb")

    def _close(self) -> None:
        if self._file is not None:
            self._file.truncate(self._chunk_rows * self._spec.row_bytes)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._close()
        if kind is None and self._written != self._rows:
            raise ShapeError(f"{self._node}: {self._written} rows written of {self._rows}")


def _write_clips(path: Path, clips: Sequence[ClipRow], scratch: Path) -> None:
    data = clips_to_parquet(clips)
    document = layout.array_document(ArraySpec("uint8", ()), len(data), len(data), {"content": "parquet"})
    layout.write_file(path / "clips" / layout.NODE, layout.encode(document), scratch)
    layout.write_file(layout.chunk_file(path / "clips", 0, 1), data, scratch)


def _write_root(path: Path, attributes: Mapping[str, Any]) -> None:
    document = layout.encode(layout.group_document(attributes))
    layout.write_file(path / layout.NODE, document, layout.scratch_folder(path))
