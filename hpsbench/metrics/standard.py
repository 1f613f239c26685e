"""The three numbers that nearly every table prints, in one pass over the joints."""

from collections.abc import Sequence
from typing import NamedTuple

from hpsbench.geometry.alignment import checked_root
from hpsbench.geometry.procrustes import to_columns
from hpsbench.geometry.units import M_TO_MM
from hpsbench.metrics.checks import (
    FrameValues,
    Joints,
    check_finite,
    check_metres,
    check_pair,
    quiet,
)
from hpsbench.metrics.distances import (
    aligned_mean_distance,
    blocks,
    column_differences,
    joined,
    mean_length,
    without_root,
)


class StandardErrors(NamedTuple):
    """Per-frame values of `mpjpe` (T,), `pa_mpjpe` (T,) and `accel_err` (T - 2,), in their units."""

    mpjpe: FrameValues
    pa_mpjpe: FrameValues
    accel_err: FrameValues


@quiet
def standard_errors(pred: Joints, target: Joints, *, root: Sequence[int]) -> StandardErrors:
    """What `mpjpe`, `pa_mpjpe` and `accel_err` with this root return, reading the joints once instead of three times.

    Tracks may follow each other in the arrays: joint errors are per frame, and the accelerations of the two frames on
    either side of a joint between tracks are to be left out by the caller.

    Args:
        pred: (T, J, 3) metres.
        target: (T, J, 3) metres.
        root: indices of the joints whose mean is taken off both sides for MPJPE and acceleration.

    Raises:
        ShapeError, UnitError, BadData: the input is not of that kind.
    """
    check_pair(pred, target)
    check_metres(pred, "pred")
    check_metres(target, "target")
    chosen = checked_root(root, pred.shape[1])
    frames = pred.shape[0]
    plain, aligned, accelerations = [], [], []
    for block in blocks(pred, overlap=2):
        p, t = to_columns(pred[block, ...]), to_columns(target[block, ...])
        moved = without_root(p - t, chosen)
        # The last two frames come again as the first two of the next block.
        own = slice(None) if block.stop >= frames else slice(0, block.stop - block.start - 2)
        plain.append((mean_length(moved) * M_TO_MM)[own])
        accelerations.append(mean_length(column_differences(moved, 2)) * M_TO_MM)
        aligned.append(aligned_mean_distance(p, t)[own])
    return StandardErrors(
        check_finite(joined(plain), pred, target),
        check_finite(joined(aligned), pred, target),
        check_finite(joined(accelerations), pred, target),
    )
