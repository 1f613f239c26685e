"""AMASS: `<Subset>/<Subject>/<motion>_poses.npz` (SMPL-H) and `<motion>_stageii.npz` (SMPL-X); motion only.

Sub-sampling and minimum length follow VIBE's `amass_utils.py`; its constants are in the recipe's `options`.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from hpsbench.errors import BrokenFile, UnitError, UsageError
from hpsbench.recipes.readers._checks import check_finite, check_radians
from hpsbench.recipes.sequences import RawSequence, SequenceSkipped
from hpsbench.safe_io import load_npz
from hpsbench.types import Array, Track

_RATE_NAMES = ("mocap_framerate", "mocap_frame_rate")
_USED = ("poses", "betas", "trans", "gender")
_FURTHEST = 100.0  # metres from the origin; the studios of AMASS are rooms
_GENDERS = ("male", "female", "neutral")


class _Layout(NamedTuple):
    """Which columns of `poses` are what, for one body model."""

    body: str
    hands: tuple[int, int]
    left_hand: int
    right_hand: int
    face: bool


# By the width of `poses`, not by the file's name. SMPL's two hand joints are the first joint of each hand.
_LAYOUTS = {
    156: _Layout("smplh", hands=(66, 156), left_hand=22, right_hand=37, face=False),
    165: _Layout("smplx", hands=(75, 165), left_hand=25, right_hand=40, face=True),
}


def read_sequence(raw: RawSequence) -> Iterator[Track]:
    """Yield the one track of a motion: every n-th frame with n = int(rate) // 25, world coordinates, z up.

    - `full_pose`: SMPL's 24 joints: joints 0-21, 22 and 37 of SMPL-H, or 0-21, 25 and 40 of SMPL-X.
    - `hand_pose` keeps both hands (left, then right), `jaw_pose` and `eye_pose` the face of SMPL-X.
    - `betas`: the first ten of sixteen, the same in every row.
    - `frame_id`: row in the file, so that clips have the step n; `fps`: rate / n, the rate rounded to 0.001 Hz
      (files say 120.00004578).

    Raises:
        SequenceSkipped: the rate is below 25 (`rate-too-low`: VIBE's step would be zero), or fewer than 60 frames
            remain (`too-short`).
        BrokenFile: the file is damaged, lacks a key, or holds another body model.
        UnitError: rotations are no radians, or the body is further than 100 m from the origin.
    """
    arrays = _load(raw)
    poses = arrays["poses"]
    layout = _LAYOUTS[poses.shape[1]]
    rate, step = _step(arrays, raw)
    rows = np.arange(0, len(poses), step)
    if len(rows) < _option(raw, "min_frames"):
        needed = _option(raw, "min_frames")
        raise SequenceSkipped(
            "too-short", f"{raw.name}: {len(rows)} frames at {rate / step:g} fps, {needed} needed"
        )
    subset, subject = raw.name.split("/")[:2]
    yield Track(
        sequence=f"{subset}_{subject}_{raw.stem}",
        person=0,
        split=raw.split,
        frame_id=rows,
        fields=_fields(arrays, layout, step),
        fps=rate / step,
        subject=subject,
        gender=_gender(arrays["gender"], raw),
        clip_info={"subset": subset, "source_body": layout.body, "source_fps": rate},
    )


def _fields(arrays: Mapping[str, Array], layout: _Layout, step: int) -> dict[str, Array]:
    poses = arrays["poses"][::step]
    frames = len(poses)
    full_pose = np.empty((frames, 72), dtype=poses.dtype)
    full_pose[:, :66] = poses[:, :66]
    full_pose[:, 66:69] = poses[:, 3 * layout.left_hand : 3 * layout.left_hand + 3]
    full_pose[:, 69:] = poses[:, 3 * layout.right_hand : 3 * layout.right_hand + 3]
    fields = {
        "full_pose": full_pose,
        "hand_pose": poses[:, slice(*layout.hands)],
        "betas": np.broadcast_to(arrays["betas"].ravel()[:10], (frames, 10)),
        "transl": arrays["trans"][::step],
        "has_smpl": np.ones(frames, dtype=bool),
    }
    if layout.face:
        fields |= {"jaw_pose": poses[:, 66:69], "eye_pose": poses[:, 69:75]}
    return fields


def _chosen(held: Collection[str], raw: RawSequence) -> list[str]:
    """The entries that are used; the frame rate has two names."""
    rates = [name for name in _RATE_NAMES if name in held][:1]
    missing = sorted(set(_USED) - set(held)) + ([] if rates else [_RATE_NAMES[0]])
    if missing:
        raise BrokenFile(f"{raw.path}: {', '.join(missing)} missing; found {', '.join(sorted(held))}")
    return [*_USED, *rates]


def _load(raw: RawSequence) -> dict[str, Array]:
    """The entries that are used; the frame rate under its old name."""
    arrays = load_npz(raw.path, keys=lambda held: _chosen(held, raw))
    rate = next(name for name in _RATE_NAMES if name in arrays)
    arrays["mocap_framerate"] = arrays[rate]
    shape = arrays["poses"].shape
    if len(shape) != 2 or shape[1] not in _LAYOUTS:
        raise BrokenFile(
            f"{raw.path}: poses has shape {shape}; expected (T, 156) for SMPL-H or (T, 165) for SMPL-X"
        )
    if shape[0] == 0:
        raise BrokenFile(f"{raw.path}: poses has shape {shape}; the motion has no frames")
    if arrays["trans"].shape != (shape[0], 3):
        raise BrokenFile(f"{raw.path}: trans has shape {arrays['trans'].shape} for {shape[0]} poses")
    if arrays["betas"].size < 10:
        raise BrokenFile(f"{raw.path}: betas has {arrays['betas'].size} numbers, at least 10 are needed")
    for key in ("poses", "trans", "betas"):
        if arrays[key].dtype.kind not in "fiu":
            raise BrokenFile(f"{raw.path}: {key} has the type {arrays[key].dtype}; expected numbers")
        check_finite(arrays[key] if key != "betas" else arrays[key].reshape(1, -1), key, raw)
    check_radians(arrays["poses"], "poses", raw)
    away = float(np.median(np.linalg.norm(np.asarray(arrays["trans"], dtype=np.float64), axis=1)))
    if away > _FURTHEST:
        raise UnitError(
            f"{raw.path}: read as metres, trans puts the body {away:.3g} m from the origin; it is in another unit, "
            "millimetres perhaps"
        )
    return arrays


def _step(arrays: Mapping[str, Array], raw: RawSequence) -> tuple[float, int]:
    """Frame rate in Hz, and of how many frames one is kept."""
    value: Any = arrays["mocap_framerate"].ravel()
    if value.size != 1 or not np.isfinite(value.astype(np.float64)).all() or value[0] <= 0:
        raise BrokenFile(f"{raw.path}: the frame rate is {arrays['mocap_framerate']!r}")
    exact = float(value[0])
    step = int(exact) // _option(raw, "rate_divisor")
    if step == 0:
        needed = _option(raw, "rate_divisor")
        raise SequenceSkipped("rate-too-low", f"{raw.name}: {exact:g} frames a second, {needed} needed")
    return round(exact, 3), step


def _option(raw: RawSequence, name: str) -> int:
    if not isinstance(raw.options.get(name), int):
        raise UsageError(
            f"the recipe of {raw.name} lacks options.{name}, a whole number that the amass reader needs"
        )
    return int(raw.options[name])


def _gender(value: Array, raw: RawSequence) -> str:
    """Text from a zero-dimensional array of str or bytes."""
    item = np.asarray(value).ravel()[0] if np.size(value) else ""
    text = item.decode("latin1") if isinstance(item, bytes) else str(item)
    if text not in _GENDERS:
        raise BrokenFile(f"{raw.path}: gender {text!r} is none of {', '.join(_GENDERS)}")
    return text
