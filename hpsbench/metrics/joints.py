"""Joint errors: plain, after root alignment, after similarity alignment; PCK and AUC.

Arguments are (pred, target), both (T, J, 3) in metres with the same joints in the same order, NumPy or torch.
Results have one value per frame, float64 where the device has it.
"""

import itertools
from collections.abc import Sequence
from typing import Any, Literal

from hpsbench.errors import UsageError
from hpsbench.geometry.alignment import checked_root
from hpsbench.geometry.procrustes import is_one_point, to_columns
from hpsbench.metrics.checks import (
    BODY_LIMIT,
    FREE_SCALE_LIMIT,
    FrameValues,
    Joints,
    check_finite,
    check_metres,
    check_pair,
    check_shape,
    quiet,
)
from hpsbench.metrics.distances import (
    aligned_mean_distance,
    blocks,
    joined,
    joint_distances,
    mean_joint_distance,
)

Comparison = Literal["<", "<="]

# Thresholds in millimetres when none are given: mmhuman3d's 31 for the mean, MEVA's and 3dpw-eval's 200 for the integral.
AUC_MEAN_THRESHOLDS = tuple(float(t) for t in range(0, 151, 5))
AUC_INTEGRAL_THRESHOLDS = tuple(float(t) for t in range(200))


@quiet
def joint_error(pred: Joints, target: Joints) -> FrameValues:
    """Mean joint distance as the joints are given, without any alignment.

    Args:
        pred: (T, J, 3) metres.
        target: (T, J, 3) metres.

    Returns:
        (T,) millimetres.

    Raises:
        ShapeError, UnitError, BadData: the input is not of that kind.

    Examples:
        >>> import numpy as np
        >>> target = np.zeros((2, 14, 3))
        >>> joint_error(target + [0, 0, 0.01], target)
        array([10., 10.])
    """
    _check(pred, target)
    return check_finite(mean_joint_distance(pred, target), pred, target)


@quiet
def mpjpe(pred: Joints, target: Joints, *, root: Sequence[int]) -> FrameValues:
    """Mean joint distance after the root is taken off both sides.

    Args:
        pred: (T, J, 3) metres.
        target: (T, J, 3) metres.
        root: indices of the joints whose mean is the root (mid-hip of `LSP14`: 2 and 3). A root joint stays in
            the mean over joints, where it counts zero.

    Returns:
        (T,) millimetres.

    Raises:
        ShapeError, UnitError, BadData: the input is not of that kind.
    """
    _check(pred, target)
    values = mean_joint_distance(pred, target, checked_root(root, pred.shape[1]))
    return check_finite(values, pred, target)


@quiet
def pa_mpjpe(pred: Joints, target: Joints) -> FrameValues:
    """Mean joint distance after the best similarity (scale, rotation, translation, no reflection) of each frame.

    A frame whose predicted joints are all the same point is compared with the mean of the target, repeated; count
    such frames with `pa_degenerate`.
    Source: Gower 1975; the "reconstruction error" of Kanazawa et al. 2018.

    Args:
        pred: (T, J, 3) metres (any unit that is the same in all joints gives the same result).
        target: (T, J, 3) metres.

    Returns:
        (T,) millimetres.

    Raises:
        ShapeError, UnitError, BadData: the input is not of that kind.
    """
    _check(pred, target, limit=FREE_SCALE_LIMIT)
    parts = [
        aligned_mean_distance(to_columns(pred[block, ...]), to_columns(target[block, ...]))
        for block in blocks(pred)
    ]
    return check_finite(joined(parts), pred, target)


def pa_degenerate(pred: Joints) -> Any:
    """Frames that no similarity can align, because all joints are the same point: (T, J, 3) -> (T,) bool."""
    check_shape(pred, "pred")
    return joined([is_one_point(pred[block, ...]) for block in blocks(pred)])


@quiet
def pck(pred: Joints, target: Joints, *, threshold: float = 150.0, compare: Comparison = "<") -> FrameValues:
    """Share of joints nearer than a threshold. Align before, as the protocol says (root, or Procrustes).

    Args:
        pred: (T, J, 3) metres.
        target: (T, J, 3) metres.
        threshold: millimetres.
        compare: "<" (mmhuman3d) or "<=" (MEVA, 3dpw-eval).

    Returns:
        (T,) percent.

    Raises:
        ShapeError, UnitError, BadData: the input is not of that kind.
        UsageError: another comparison.
    """
    xp = _check(pred, target)
    _check_comparison(compare)
    distance = check_finite(joint_distances(pred, target), pred, target)
    correct = distance < threshold if compare == "<" else distance <= threshold
    return xp.mean(xp.astype(correct, distance.dtype), axis=-1) * 100


@quiet
def auc(
    pred: Joints,
    target: Joints,
    *,
    thresholds: Sequence[float] | None = None,
    compare: Comparison = "<",
    kind: Literal["mean", "integral"] = "mean",
) -> FrameValues:
    """Area under the curve of PCK over its threshold. Align before, as the protocol says.

    The kinds differ: "mean" of PCK at the thresholds (mmhuman3d: 0, 5, ..., 150 mm with "<", so that the first is
    always 0); "integral" of the piecewise linear curve over the range of the thresholds (MEVA, 3dpw-eval: 0, 1, ...,
    199 mm with "<="; they print the fraction).

    Args:
        pred: (T, J, 3) metres.
        target: (T, J, 3) metres.
        thresholds: millimetres, increasing; None: those of the kind.
        compare: "<" or "<=".
        kind: "mean" or "integral".

    Returns:
        (T,) percent.

    Raises:
        ShapeError, UnitError, BadData: the input is not of that kind.
        UsageError: another kind or comparison, thresholds that do not increase.
    """
    xp = _check(pred, target)
    _check_comparison(compare)
    limits = _thresholds(thresholds, kind)
    distance = check_finite(joint_distances(pred, target), pred, target)
    grid = xp.asarray(limits, dtype=distance.dtype, device=distance.device)
    first = xp.searchsorted(grid, xp.reshape(distance, (-1,)), side="right" if compare == "<" else "left")
    credit = xp.asarray(_credits(limits, kind), dtype=distance.dtype, device=distance.device)
    return xp.mean(xp.reshape(credit[first], distance.shape), axis=-1) * 100


def _credits(limits: list[float], kind: str) -> list[float]:
    """What a joint adds to the AUC if the thresholds from number i on are met, for i = 0 ... n."""
    n = len(limits)
    if kind == "mean":
        weights = [1 / n] * n
    else:
        steps = [(b - a) / (limits[-1] - limits[0]) for a, b in itertools.pairwise(limits)]
        weights = [(a + b) / 2 for a, b in zip([0.0, *steps], [*steps, 0.0], strict=True)]
    return [sum(weights[i:]) for i in range(n + 1)]


def _thresholds(thresholds: Sequence[float] | None, kind: str) -> list[float]:
    if kind not in {"mean", "integral"}:
        raise UsageError(f"auc: kind must be 'mean' or 'integral', got {kind!r}")
    default = AUC_MEAN_THRESHOLDS if kind == "mean" else AUC_INTEGRAL_THRESHOLDS
    limits = [float(t) for t in (default if thresholds is None else thresholds)]
    if len(limits) < 2 or any(a >= b for a, b in itertools.pairwise(limits)):
        raise UsageError(f"auc: thresholds must be at least two, increasing, in millimetres; got {limits}")
    return limits


def _check_comparison(compare: str) -> None:
    if compare not in {"<", "<="}:
        raise UsageError(f"compare must be '<' or '<=', got {compare!r}")


def _check(pred: Joints, target: Joints, limit: float = BODY_LIMIT) -> Any:
    xp = check_pair(pred, target)
    check_metres(pred, "pred", limit)
    check_metres(target, "target", limit)
    return xp
