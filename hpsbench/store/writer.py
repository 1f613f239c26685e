"""Writing a clip store: rows of all tracks after another, streamed into chunk files; `complete` is set last.

A store that is being written opens as incomplete until the very last rename. Writing again into an incomplete store
starts over, so what a killed process left behind never matters. Nothing here records how or where it ran.
"""

import shutil
from collections.abc import Iterable, Mapping, Sequence
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
from hpsbench.types import Array, BoolArray, FloatArray, IntArray, Track

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
    """One track, or several, on their way into a store: small facts at once, arrays when asked (they may lie on disk)."""

    @property
    def clips(self) -> Sequence[ClipRow]:
        """The clip rows of one track after another; `start` is left to the writer."""

    @property
    def specs(self) -> Mapping[str, ArraySpec]:
        """Array path in the store (`frames/betas`, `views/tcmr/keep`) -> what one row is."""

    def arrays(self) -> Mapping[str, Array]:
        """Array path in the store -> (T, ...) values."""


@dataclass(frozen=True, slots=True)
class MemoryTrack:
    """A `TrackSource` whose arrays are in memory: of one track, or of several that have the same fields."""

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
        return cls.of_rows([track], track.frame_id, track.fields, views or {})

    @classmethod
    def of_rows(
        cls,
        tracks: Sequence[Track],
        frame_id: IntArray,
        fields: Mapping[str, Array],
        views: Mapping[str, ViewRows],
    ) -> "MemoryTrack":
        """Tracks that have the same fields.

        Args:
            tracks: at least one.
            frame_id: (N,) of all tracks after another.
            fields: field -> (N, ...) rows of all tracks after another.
            views: of these rows.

        Raises:
            ShapeError, BadData: as for `of`.
        """
        for track in tracks:
            check_track(track)
        values: dict[str, Array] = {"frames/frame_id": np.asarray(frame_id)}
        values |= {f"frames/{name}": np.asarray(rows) for name, rows in fields.items()}
        specs = {path: layout.field_spec(path.split("/")[1], rows) for path, rows in values.items()}
        length = len(values["frames/frame_id"])
        for name, view in views.items():
            if view.keep.shape != (length,) or view.bbox_cxcywh.shape != (length, 4):
                raise ShapeError(
                    f"track {tracks[0].key}: view {name!r} must have keep (T,) and bbox_cxcywh (T, 4) for T = "
                    f"{length}, got {view.keep.shape} and {view.bbox_cxcywh.shape}"
                )
            values[f"views/{name}/keep"] = view.keep
            values[f"views/{name}/bbox_cxcywh"] = view.bbox_cxcywh
            specs[f"views/{name}/keep"] = ArraySpec("bool", ())
            specs[f"views/{name}/bbox_cxcywh"] = ArraySpec("float32", (4,))
        return cls([clip for track in tracks for clip in cut_clips(track)], values, specs)

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
    with layout.Durable(scratch) as durable:
        for group in sorted(_groups_of(specs)):
            durable.write(
                path / group / layout.NODE, layout.encode(layout.group_document(nodes.get(group, {})))
            )
        _stream(path, tracks, specs, rows, nodes, durable)
        _write_clips(path, clips, durable)
    _write_root(
        path,
        {
            "format": layout.FORMAT,
            "version": layout.VERSION,
            "complete": True,
            **attributes,
            "rows": rows,
            "tracks": len({clip["track"] for clip in clips}),
            "code_version": hpsbench.__version__,
        },
    )
    shutil.rmtree(scratch, ignore_errors=True)


def _common_specs(tracks: Sequence[TrackSource], optional: frozenset[str]) -> dict[str, ArraySpec]:
    """Array path -> row spec over all tracks, in the order of first appearance, sorted for stable bytes."""
    specs: dict[str, ArraySpec] = {}
    kinds = {
        id(track.specs): track for track in tracks
    }.values()  # many tracks share one description of their arrays
    for track in kinds:
        for path, spec in track.specs.items():
            if specs.setdefault(path, spec) != spec:
                raise ShapeError(
                    f"track {track.clips[0]['track']}: {path} has rows {spec.row_shape} {spec.dtype}, but other "
                    f"tracks have {specs[path].row_shape} {specs[path].dtype}"
                )
    for track in kinds:
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
    durable: layout.Durable,
) -> None:
    """Append the rows of one track after another to all arrays at once."""
    with ExitStack() as stack:
        files = {
            name: stack.enter_context(_RowFile(path / name, spec, rows, nodes.get(name, {}), durable))
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
        self, node: Path, spec: ArraySpec, rows: int, attributes: Mapping[str, Any], durable: layout.Durable
    ) -> None:
        self._node, self._spec, self._rows, self._durable = node, spec, rows, durable
        self._stored = spec.stored
        self._chunk_rows = spec.chunk_rows(rows)
        self._written = 0
        self._room = 0  # rows that fit into the open chunk
        self._file: BinaryIO | None = None
        document = layout.array_document(spec, rows, self._chunk_rows, attributes)
        durable.write(node / layout.NODE, layout.encode(document))

    def __enter__(self) -> "_RowFile":
        return self

    def append(self, values: Array | None, length: int) -> None:
        if values is None:
            values = np.full((length, *self._spec.row_shape), np.nan, dtype=self._stored)
        if values.shape != (length, *self._spec.row_shape):
            raise ShapeError(f"{self._node}: expected {(length, *self._spec.row_shape)}, got {values.shape}")
        if values.dtype != self._stored or not values.flags.c_contiguous:
            values = np.ascontiguousarray(values, dtype=self._stored)
        start = 0
        while start < length:
            if self._room == 0:
                self._open_chunk(self._written // self._chunk_rows)
            count = min(self._room, length - start)
            assert self._file is not None
            self._file.write(values[start : start + count].data)
            start += count
            self._room -= count
            self._written += count

    def _open_chunk(self, index: int) -> None:
        self._close()
        file = layout.chunk_file(self._node, index, 1 + len(self._spec.row_shape))
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file.open("wb")
        self._room = self._chunk_rows

    def _close(self) -> None:
        if self._file is not None:
            self._file.truncate(self._chunk_rows * self._spec.row_bytes)
            self._durable.close(self._file)
            self._file = None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._close()
        if kind is None and self._written != self._rows:
            raise ShapeError(f"{self._node}: {self._written} rows written of {self._rows}")


def _write_clips(path: Path, clips: Sequence[ClipRow], durable: layout.Durable) -> None:
    data = clips_to_parquet(clips)
    document = layout.array_document(ArraySpec("uint8", ()), len(data), len(data), {"content": "parquet"})
    durable.write(path / "clips" / layout.NODE, layout.encode(document))
    durable.write(layout.chunk_file(path / "clips", 0, 1), data)


def _write_root(path: Path, attributes: Mapping[str, Any]) -> None:
    document = layout.encode(layout.group_document(attributes))
    layout.write_file(path / layout.NODE, document, layout.scratch_folder(path))
