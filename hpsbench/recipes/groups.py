"""Tracks on their way into the store, taken together: what has the same fields is viewed and packed in one go."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpsbench.types import Array, IntArray, Track

ROWS_AT_ONCE = 4096  # rows of a group
LONG = (
    512  # rows from which a track stays alone: there is nothing to gain from copying it together with others
)


@dataclass(frozen=True, slots=True)
class TrackGroup:
    """Tracks of one sequence, one after another, that differ in nothing that a view asks of a whole track.

    Attributes:
        tracks: at least one.
        frame_id: (N,) frame numbers of all.
        fields: field -> (N, ...) rows of all.
        starts: (tracks + 1,) first row of each track, and the number of rows.
    """

    tracks: Sequence[Track]
    frame_id: IntArray
    fields: Mapping[str, Array]
    starts: IntArray

    @classmethod
    def of(cls, tracks: Sequence[Track]) -> "TrackGroup":
        """Tracks for which `groups_of` sees no difference."""
        first = tracks[0]
        if len(tracks) == 1:
            fields = {name: np.asarray(values) for name, values in first.fields.items()}
            return cls(tracks, np.asarray(first.frame_id), fields, np.array([0, len(first)]))
        return cls(
            tracks,
            np.concatenate([track.frame_id for track in tracks]),
            {name: _joined([track.fields[name] for track in tracks]) for name in first.fields},
            np.cumsum([0, *(len(track) for track in tracks)]),
        )

    @property
    def name(self) -> str:
        """Of the first track, for messages."""
        return self.tracks[0].key

    def __len__(self) -> int:
        return len(self.frame_id)


def _joined(parts: Sequence[Array]) -> Array:
    """The rows of some arrays after another; no copy of those that a reader cut from one array, in this order."""
    whole = parts[0].base
    if isinstance(whole, np.ndarray) and whole.flags.c_contiguous and whole.shape[1:] == parts[0].shape[1:]:
        begin, row = _place(whole), whole[:1].nbytes
        ends = np.cumsum([_place(parts[0]) - begin, *(part.nbytes for part in parts)]).tolist()
        adjacent = all(
            part.base is whole
            and part.dtype == whole.dtype
            and part.flags.c_contiguous
            and _place(part) == begin + end
            for part, end in zip(parts, ends, strict=False)
        )
        if adjacent and row:
            return whole[ends[0] // row : ends[-1] // row]
    return np.concatenate(parts)


def _place(values: Array) -> int:
    """Where an array begins in memory."""
    place: int = values.__array_interface__["data"][0]
    return place


def groups_of(tracks: Iterable[Track]) -> Iterator[TrackGroup]:
    """Neighbouring tracks that are alike, some thousands of rows at a time; long tracks stay alone."""
    held: list[Track] = []
    kind: tuple[Any, ...] = ()
    rows = 0
    for track in tracks:
        own = _kind(track)
        alone = len(track) >= LONG
        if held and (alone or own != kind or rows + len(track) > ROWS_AT_ONCE):
            yield TrackGroup.of(held)
            held, rows = [], 0
        held.append(track)
        kind, rows = own, rows + len(track)
        if alone:
            yield TrackGroup.of(held)
            held, rows = [], 0
    if held:
        yield TrackGroup.of(held)


def _kind(track: Track) -> tuple[Any, ...]:
    """What tracks of a group have in common. A field of another length stands alone, where it is refused."""
    fields = tuple((name, values.dtype, values.shape[1:]) for name, values in track.fields.items())
    odd = track.key if any(len(values) != len(track) for values in track.fields.values()) else None
    remarks = track.clip_info.get("remarks")
    return fields, odd, track.split, track.camera, track.width, track.height, remarks
