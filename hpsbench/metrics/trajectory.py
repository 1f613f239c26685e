"""Errors in the world: long tracks aligned as a whole.

Source of all three: WHAM `evaluate_emdb.py` (24 SMPL joints, world coordinates).
"""

from collections.abc import Callable
from typing import Any

from array_api_compat import array_namespace

from hpsbench.errors import BadData, UsageError
from hpsbench.geometry.alignment import all_frames_align, first_frames_align, rigid_align
from hpsbench.geometry.procrustes import work_dtype
from hpsbench.metrics.checks import (
    FREE_SCALE_LIMIT,
    FrameValues,
    Joints,
    Path,
    check_finite,
    check_metres,
    check_pair,
    quiet,
)
from hpsbench.metrics.distances import lengths, mean_joint_distance

CHUNK = 100
# A path shorter than this (metres) is no path.
_STILL = 1e-9


@quiet
def w_mpjpe(pred: Joints, target: Joints, *, chunk: int = CHUNK) -> FrameValues:
    """World joint error: each chunk is moved by the similarity that fits its first two frames.

    Args:
        pred: (T, J, 3) metres, world.
        target: (T, J, 3) metres, world.
        chunk: frames per chunk; the last may be shorter, and one of a single frame is aligned with itself.

    Returns:
        (T,) millimetres.

    Raises:
        ShapeError, UnitError, BadData: the input is not of that kind.
        UsageError: chunk is not a positive number.
    """
    return _chunked(pred, target, chunk, first_frames_align)


@quiet
def wa_mpjpe(pred: Joints, target: Joints, *, chunk: int = CHUNK) -> FrameValues:
    """World joint error: each chunk is moved by the similarity that fits all its frames.

    Args:
        pred: (T, J, 3) metres, world.
        target: (T, J, 3) metres, world.
        chunk: frames per chunk; the last may be shorter.

    Returns:
        (T,) millimetres.

    Raises:
        ShapeError, UnitError, BadData: the input is not of that kind.
        UsageError: chunk is not a positive number.
    """
    return _chunked(pred, target, chunk, all_frames_align)


def path_length(path: Path) -> Any:
    """Length of a path (T, 3), in metres; a 0-d array. Exactly 0 where the path does not move (by 1e-9 m in all)."""
    xp = array_namespace(path)
    points = xp.astype(path, work_dtype(path))
    total = xp.sum(lengths(points[1:, :] - points[:-1, :]))
    return xp.where(total > _STILL, total, xp.zeros_like(total))


@quiet
def rte(pred: Path, target: Path) -> FrameValues:
    """Root translation error: distance after rigid alignment of the whole path, over the path's length.

    Over a target that does not move at all the ratio is 0 if the prediction does not move either, and not defined
    otherwise: leave such tracks out (`path_length`) and count them.

    Args:
        pred: (T, 3) root positions, metres, world.
        target: (T, 3) root positions, metres, world.

    Returns:
        (T,) percent of the length of the target's path.

    Raises:
        ShapeError: other shapes.
        BadData: NaN or infinity, or a prediction that moves where the target does not.
    """
    xp = check_pair(pred, target, "3")
    check_finite(xp.sum(pred + target, axis=-1), pred, target)
    if pred.shape[0] == 0:
        return xp.astype(pred[:, 0], work_dtype(pred))
    error = lengths(rigid_align(pred, target) - xp.astype(target, work_dtype(target)))
    length = path_length(target)
    if bool(length > 0):
        return error / length * 100
    if bool(xp.max(error) > _STILL):
        raise BadData(
            "rte: the target's root does not move, so there is no path to divide by; "
            "leave this track out and count it"
        )
    return xp.zeros_like(error)


def _chunked(pred: Joints, target: Joints, chunk: int, align: Callable[[Any, Any], Any]) -> FrameValues:
    xp = check_pair(pred, target)
    check_metres(pred, "pred", FREE_SCALE_LIMIT)
    check_metres(target, "target")
    if chunk < 1:
        raise UsageError(f"chunk: expected a number of frames, got {chunk!r}")
    parts = []
    for start in range(0, max(pred.shape[0], 1), chunk):
        p, t = pred[start : start + chunk, ...], target[start : start + chunk, ...]
        parts.append(mean_joint_distance(align(p, t) if p.shape[0] else p, t))
    return check_finite(xp.concat(parts), pred, target)
