"""Errors of motion: acceleration, jerk, sliding feet.

Nothing here crosses a gap: call it for each run of frames that follow each other.
"""

from collections.abc import Sequence
from typing import Any

from hpsbench.errors import ShapeError, UsageError
from hpsbench.geometry.alignment import checked_root
from hpsbench.geometry.procrustes import to_columns, work_dtype
from hpsbench.geometry.units import M_TO_MM
from hpsbench.metrics.checks import (
    FrameValues,
    Joints,
    Vertices,
    check_finite,
    check_metres,
    check_pair,
    check_shape,
    quiet,
)
from hpsbench.metrics.distances import (
    blocks,
    column_difference,
    column_differences,
    joined,
    lengths,
    mean_length,
    without_root,
)

# SMPL vertices of the left and right toe and heel that WHAM watches.
FOOT_VERTICES = (3216, 3387, 6617, 6787)
# WHAM prints jerk in units of 10 m/s^3: divide `jitter` by this to compare.
WHAM_JITTER_UNIT = 10.0


@quiet
def accel_err(pred: Joints, target: Joints, *, root: Sequence[int] = ()) -> FrameValues:
    """Mean size of the difference of accelerations, x[t-1] - 2 x[t] + x[t+1].

    Joints are compared as they are given, unless a root is named; the VIBE family takes mid-hip off first. Papers print this number as
    "mm/s^2"; it is not: nothing is divided by the frame interval (`geometry.units.per_frame2_to_si`).
    Source: Kanazawa et al. 2019, human_dynamics `compute_error_accel`.

    Args:
        pred: (T, J, 3) metres.
        target: (T, J, 3) metres.
        root: indices of the joints whose mean is taken off both sides first; none: nothing is.

    Returns:
        (T - 2,) mm/frame^2, of frames 1 to T - 2; empty for T < 3.

    Raises:
        ShapeError, UnitError, BadData: the input is not of that kind.
    """
    check_pair(pred, target)
    check_metres(pred, "pred")
    check_metres(target, "target")
    chosen = checked_root(root, pred.shape[1]) if len(root) else []
    parts = []
    for block in blocks(pred, overlap=2):
        columns = column_difference(pred[block, ...], target[block, ...], chosen)
        parts.append(mean_length(column_differences(columns, 2)) * M_TO_MM)
    return check_finite(joined(parts), pred, target)


@quiet
def accel_pred(pred: Joints, *, root: Sequence[int] = ()) -> FrameValues:
    """Mean size of the predicted acceleration. Not an error; some papers print it in that column.

    Args:
        pred: (T, J, 3) metres.
        root: indices of the joints whose mean is taken off first; none: nothing is.

    Returns:
        (T - 2,) mm/frame^2, of frames 1 to T - 2; empty for T < 3.

    Raises:
        ShapeError, UnitError, BadData: the input is not of that kind.
    """
    return _mean_difference(pred, 2, root) * M_TO_MM


@quiet
def jitter(pred: Joints, *, fps: float) -> FrameValues:
    """Mean size of the predicted jerk, the third difference times fps^3.

    WHAM prints it in units of 10 m/s^3 (`WHAM_JITTER_UNIT`), for the 24 SMPL joints in the world.

    Args:
        pred: (T, J, 3) metres.
        fps: frames per second.

    Returns:
        (T - 3,) m/s^3; empty for T < 4.

    Raises:
        ShapeError, UnitError, BadData: the input is not of that kind.
        UsageError: fps is not positive.
    """
    if not fps > 0:
        raise UsageError(f"fps: expected frames per second, got {fps!r}")
    return _mean_difference(pred, 3) * float(fps) ** 3


@quiet
def foot_contacts(target: Vertices, *, contact: float = 0.01) -> Any:
    """Which foot vertices stand: move less than `contact` metres to the next frame.

    Args:
        target: (T, V, 3) metres, V > 6787.
        contact: metres per frame.

    Returns:
        (T - 1, 4) bool, vertices `FOOT_VERTICES`.

    Raises:
        ShapeError, UnitError: the input is not of that kind.
    """
    return _foot_steps(target, "target") < contact


@quiet
def foot_sliding(pred: Vertices, target: Vertices, *, contact: float = 0.01) -> FrameValues:
    """How far predicted foot vertices move while the true ones stand.

    Source: WHAM `evaluate_emdb.py`; vertices `FOOT_VERTICES`, world coordinates.

    Args:
        pred: (T, V, 3) metres, V > 6787.
        target: (T, V, 3) metres.
        contact: metres per frame below which a true foot vertex stands.

    Returns:
        (K,) millimetres per frame, one value per standing vertex and step, in the (row-major) order in which
        `foot_contacts(target)` is true; empty if no foot ever stands. Its mean is the published number.

    Raises:
        ShapeError, UnitError, BadData: the input is not of that kind.
    """
    check_pair(pred, target, "V, 3")
    moved = _foot_steps(pred, "pred")
    return moved[foot_contacts(target, contact=contact)] * M_TO_MM


def all_three(mask: Any) -> Any:
    """Which accelerations lie within a mask: (T,) bool -> (T - 2,) bool, true where all three frames are in it."""
    return mask[2:] & mask[1:-1] & mask[:-2]


def _mean_difference(pred: Joints, order: int, root: Sequence[int] = ()) -> FrameValues:
    """Mean length of the differences of `order` over time: (T, J, 3) -> (max(T - order, 0),)."""
    check_shape(pred, "pred")
    check_metres(pred, "pred")
    chosen = checked_root(root, pred.shape[1]) if len(root) else []
    parts = []
    for block in blocks(pred, overlap=order):
        columns = without_root(to_columns(pred[block, ...]), chosen)
        parts.append(mean_length(column_differences(columns, order)))
    return check_finite(joined(parts), pred)


def _foot_steps(vertices: Vertices, name: str) -> Any:
    """How far the foot vertices move, metres: (T, V, 3) -> (T - 1, 4)."""
    xp = check_shape(vertices, name, "V, 3")
    if vertices.shape[1] <= max(FOOT_VERTICES):
        raise ShapeError(f"{name}: expected the 6890 vertices of SMPL, got {tuple(vertices.shape)}")
    check_metres(vertices, name)
    feet = xp.stack([vertices[:, i, :] for i in FOOT_VERTICES], axis=1)
    feet = xp.astype(feet, work_dtype(feet))
    return check_finite(lengths(feet[1:, ...] - feet[:-1, ...]), feet)
