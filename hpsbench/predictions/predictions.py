"""Predictions of many frames: keys, arrays, attributes, and the checks at the door."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hpsbench.bodies.joints import get_joint_set
from hpsbench.errors import BadData, MissingPrediction, ShapeError
from hpsbench.types import Array, BoolArray, IntArray

FORMAT = "hpsbench-predictions"
VERSION = 1
KEYS = ("track", "frame_id", "row")
# Shape of one row; None stands for any number.
TAILS: Mapping[str, tuple[int | None, ...]] = {
    "rotmat": (24, 3, 3),
    "axis_angle": (72,),
    "betas": (10,),
    "joints3d": (None, 3),
    "vertices": (6890, 3),
    "camera": (3,),
    "transl": (3,),
}
ATTRIBUTES = (
    "format",
    "version",
    "frame",
    "unit",
    "joint_set",
    "body",
    "system",
    "checkpoint_sha256",
    "features",
    "store",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """Predictions of N frames, checked when they are made.

    Attributes:
        track: (N,) names, or None where `row` is the key.
        frame_id: (N,) the dataset's own frame numbers, or None where `row` is the key.
        row: (N,) rows of the store that the attribute `store` names, or None.
        arrays: `rotmat` (N, 24, 3, 3) or `axis_angle` (N, 72), radians, with `betas` (N, 10); or `joints3d` (N, J, 3)
            metres with the attribute `joint_set`; or `vertices` (N, 6890, 3) metres; optional `camera` (N, 3) = (s, tx,
            ty) and `transl` (N, 3) metres. An array may be read lazily (Zarr).
        attrs: `format`, `version`, `frame` (`camera` or `world`), `unit` (`m`), and optionally `joint_set`, `body`,
            `system`, `checkpoint_sha256`, `features`, `store`, ...

    Raises:
        BadData: unknown or contradicting arrays, a key that occurs twice, another format or unit.
        ShapeError: an array of another shape.
    """

    track: Array | None = None
    frame_id: IntArray | None = None
    row: IntArray | None = None
    arrays: Mapping[str, Any]
    attrs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        attrs = {"format": FORMAT, "version": VERSION, "frame": "camera", "unit": "m", **self.attrs}
        object.__setattr__(self, "attrs", attrs)
        if self.track is not None:
            object.__setattr__(self, "track", np.asarray(self.track, dtype=str))
        for name in ("frame_id", "row"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _integers(getattr(self, name), name))
        object.__setattr__(self, "arrays", dict(self.arrays))
        _check_attributes(attrs)
        _check_arrays(self)
        _check_keys(self)

    def __len__(self) -> int:
        key = self.track if self.track is not None else self.row
        return 0 if key is None else len(key)

    def take(self, name: str, places: IntArray) -> Array:
        """Some rows of an array, in the order asked for; the rest of a lazy array is not read."""
        array = self.arrays[name]
        return np.asarray(array.oindex[places] if hasattr(array, "oindex") else array[places])

    def locate(self, track: Array, frame_id: IntArray, row: IntArray | None = None) -> IntArray:
        """Where the predictions of some frames are.

        Args:
            track: (n,) names.
            frame_id: (n,) frame numbers.
            row: (n,) rows of the store, for predictions that are keyed by row.

        Returns:
            (n,) places in these predictions, -1 where there is none.

        Raises:
            BadData: the predictions are keyed by row and no rows are given.
        """
        if self.track is None or self.frame_id is None:
            if row is None or self.row is None:
                raise BadData("these predictions are keyed by row; they fit the store that they name only")
            return _places(self.row, np.asarray(row, np.int64))
        names, codes = np.unique(self.track, return_inverse=True)
        wanted = np.searchsorted(names, np.asarray(track, dtype=str))
        known = (
            (wanted < len(names)) & (names[np.minimum(wanted, len(names) - 1)] == track)
            if len(names)
            else None
        )
        if known is None:
            return np.full(len(track), -1)
        low = min(int(self.frame_id.min()), int(np.min(frame_id, initial=0)))
        span = max(int(self.frame_id.max()), int(np.max(frame_id, initial=0))) - low + 1
        found = _places(
            codes * span + (self.frame_id - low), wanted * span + (np.asarray(frame_id, np.int64) - low)
        )
        return np.where(known, found, -1)


def require_all(places: IntArray, needed: BoolArray, track: Array, frame_id: IntArray) -> None:
    """Refuse predictions that lack frames which are scored.

    Args:
        places: (n,) of `Predictions.locate`.
        needed: (n,) bool, frames that are scored.
        track: (n,) names.
        frame_id: (n,) frame numbers.

    Raises:
        MissingPrediction: with the number of frames and tracks, and the first of them.
    """
    missing = np.flatnonzero(needed & (places < 0))
    if len(missing):
        tracks = len(np.unique(np.asarray(track)[missing]))
        raise MissingPrediction(
            f"{len(missing)} of {int(needed.sum())} scored frames have no prediction (in {tracks} tracks); the first is "
            f"track {track[missing[0]]}, frame {int(frame_id[missing[0]])}. Predict every frame that the protocol "
            "scores; none is filled in"
        )


def _places(keys: IntArray, wanted: IntArray) -> IntArray:
    order = np.argsort(keys, kind="stable")
    if len(order) == 0:
        return np.full(len(wanted), -1)
    found = np.minimum(np.searchsorted(keys, wanted, sorter=order), len(order) - 1)
    return np.where(keys[order[found]] == wanted, order[found], -1)


def _integers(values: Any, name: str) -> IntArray:
    array = np.asarray(values)
    if array.dtype.kind == "f" and np.isfinite(array).all() and (array == np.round(array)).all():
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise BadData(f"predictions: {name} must be whole numbers, got {array.dtype}")
    return array.astype(np.int64)


def _check_attributes(attrs: Mapping[str, Any]) -> None:
    if attrs["format"] != FORMAT:
        raise BadData(f"predictions: format is {attrs['format']!r}, expected {FORMAT!r}")
    if attrs["version"] != VERSION:
        raise BadData(f"predictions: version {attrs['version']!r}; this hpsbench reads version {VERSION}")
    if attrs["unit"] != "m":
        raise BadData(f"predictions: unit is {attrs['unit']!r}; convert to metres and say unit = 'm'")
    if attrs["frame"] not in ("camera", "world"):
        raise BadData(f"predictions: frame is {attrs['frame']!r}; 'camera' or 'world'")


def _check_arrays(predictions: Predictions) -> None:
    arrays, attrs = predictions.arrays, predictions.attrs
    if (predictions.track is None or predictions.frame_id is None) and predictions.row is None:
        raise BadData("predictions: each needs a key: track and frame_id, or row (of a store that is named)")
    for name, array in arrays.items():
        if name not in TAILS:
            near = difflib.get_close_matches(name, [*TAILS, *KEYS], n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise BadData(f"predictions: unknown array {name!r}.{hint} Known: {', '.join(TAILS)}")
        tail, found = TAILS[name], tuple(array.shape)
        fits = len(found) == 1 + len(tail) and all(
            w in (None, n) for w, n in zip(tail, found[1:], strict=True)
        )
        if not fits or found[0] != len(predictions):
            wanted = ", ".join("J" if size is None else str(size) for size in tail)
            raise ShapeError(f"predictions: {name}: expected ({len(predictions)}, {wanted}), got {found}")
    if "rotmat" in arrays and "axis_angle" in arrays:
        raise BadData("predictions: rotmat and axis_angle are both there; give one")
    posed = "rotmat" in arrays or "axis_angle" in arrays
    if posed != ("betas" in arrays):
        there = "betas" if "betas" in arrays else "rotmat or axis_angle"
        raise BadData(
            f"predictions: {there} without {'a pose' if there == 'betas' else 'betas'}; a body needs both"
        )
    if not posed and "joints3d" not in arrays and "vertices" not in arrays:
        raise BadData("predictions: none of (rotmat or axis_angle, with betas), joints3d, vertices is there")
    if "joints3d" in arrays:
        if "joint_set" not in attrs:
            raise BadData(
                "predictions: joints3d needs the attribute joint_set (the id of its joints, 'lsp14')"
            )
        size = len(get_joint_set(str(attrs["joint_set"])))
        if arrays["joints3d"].shape[1] != size:
            count = arrays["joints3d"].shape[1]
            raise ShapeError(
                f"predictions: joints3d has {count} joints, joint_set {attrs['joint_set']} has {size}"
            )


def _check_keys(predictions: Predictions) -> None:
    track, frame_id, row = predictions.track, predictions.frame_id, predictions.row
    for name, values in (("track", track), ("frame_id", frame_id), ("row", row)):
        if values is not None and values.shape != (len(predictions),):
            raise ShapeError(f"predictions: {name}: expected ({len(predictions)},), got {values.shape}")
    if row is not None and len(np.unique(row)) < len(row):
        raise BadData(f"predictions: row {_first_twice([row])[0]} occurs twice")
    if track is not None and frame_id is not None:
        _, codes = np.unique(track, return_inverse=True)
        if len(np.unique(np.stack([codes, frame_id]), axis=1).T) < len(track):
            place = _first_twice([codes, frame_id])[1]
            raise BadData(f"predictions: track {track[place]}, frame {int(frame_id[place])} occurs twice")


def _first_twice(columns: Sequence[IntArray]) -> tuple[int, int]:
    """Value (of the last column) and place of the first key that was there before."""
    seen: set[tuple[int, ...]] = set()
    for place, key in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        if key in seen:
            return key[-1], place
        seen.add(key)
    raise BadData("predictions: a key occurs twice")
