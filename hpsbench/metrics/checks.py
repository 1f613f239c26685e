"""Checks at the door: shape, kind, unit, finiteness. The metrics behind them trust their input."""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numpy as np
from array_api_compat import array_namespace

from hpsbench.errors import BadData, ShapeError, UnitError, UsageError

# NumPy or torch arrays; the names say the shape.
Joints: TypeAlias = Any  # (T, J, 3) metres
Vertices: TypeAlias = Any  # (T, V, 3) metres
Path: TypeAlias = Any  # (T, 3) metres
Rotmats: TypeAlias = Any  # (T, J, 3, 3)
FrameValues: TypeAlias = Any  # (T,)

BODY_LIMIT = 20.0  # metres; no body is larger
FREE_SCALE_LIMIT = 500.0  # metres; where a scale is fitted anyway, only millimetres are worth a word
Metric = TypeVar("Metric", bound=Callable[..., Any])

_FRAMES, _POINTS = 16, 64  # how many are looked at, at least (where there are so many)


def quiet(metric: Metric) -> Metric:
    """A metric without NumPy's warnings about infinities: `check_finite` turns them into an error that says more."""
    return np.errstate(invalid="ignore", over="ignore")(metric)


def check_pair(pred: Any, target: Any, tail: str = "J, 3") -> Any:
    """Array namespace of two arrays of the same library and of shape (T, <tail>), J and V being any number >= 1.

    Raises:
        UsageError: not two arrays of the same library.
        ShapeError: wrong or different shapes.
    """
    try:
        xp = array_namespace(pred, target)
    except TypeError as error:
        kinds = f"{type(pred).__name__} and {type(target).__name__}"
        raise UsageError(
            f"pred and target must be two NumPy arrays or two torch tensors, got {kinds}"
        ) from error
    check_shape(pred, "pred", tail)
    check_shape(target, "target", tail)
    if pred.shape != target.shape:
        raise ShapeError(f"pred and target differ in shape: {tuple(pred.shape)} and {tuple(target.shape)}")
    return xp


def check_shape(array: Any, name: str, tail: str = "J, 3") -> Any:
    """Array namespace of an array of shape (T, <tail>): letters stand for any number >= 1.

    Raises:
        UsageError: not an array.
        ShapeError: another shape.
    """
    try:
        xp = array_namespace(array)
    except TypeError as error:
        raise UsageError(
            f"{name}: expected a NumPy array or a torch tensor, got {type(array).__name__}"
        ) from error
    wanted = tail.split(", ")
    found = tuple(array.shape)
    fits = len(found) == len(wanted) + 1 and all(
        n >= 1 if w.isalpha() else n == int(w) for n, w in zip(found[1:], wanted, strict=True)
    )
    if not fits:
        raise ShapeError(f"{name}: expected (T, {tail}), got {found}")
    return xp


def check_metres(points: Any, name: str, limit: float = BODY_LIMIT) -> None:
    """Refuse points that seem to be millimetres, judged by a few frames and points of (T, N, 3).

    Raises:
        UnitError: the median of the frames looked at spans more than `limit` metres along an axis.
    """
    xp = array_namespace(points)
    frames, count, _ = points.shape
    if frames == 0:
        return
    some = points[:: max(1, frames // _FRAMES), :: max(1, count // _POINTS), :]
    if bool(xp.max(some) - xp.min(some) <= limit):
        return
    extent = xp.max(xp.max(some, axis=1) - xp.min(some, axis=1), axis=-1)
    median = xp.sort(extent)[extent.shape[0] // 2]
    if bool(median > limit):
        raise UnitError(
            f"{name}: the points of a frame span {float(median):.4g} m, expected a body of at most {limit:g} m; "
            "are these millimetres? Divide them by 1000."
        )


def check_finite(values: FrameValues, pred: Any, target: Any = None) -> FrameValues:
    """The values of a metric themselves, once it is sure that all are finite.

    Looking at the values costs less than looking at the input, and nothing that is not finite gets past a distance.

    Raises:
        BadData: the input holds NaN or infinity; the message says in which frames.
    """
    xp = array_namespace(values)
    if bool(xp.all(xp.isfinite(values))):
        return values
    for name, array in (("pred", pred), ("target", target)):
        if array is None:
            continue
        finite = xp.all(xp.isfinite(xp.reshape(array, (array.shape[0], -1))), axis=1)
        where = xp.nonzero(~finite)[0]
        if where.shape[0]:
            raise BadData(
                f"{name}: {int(where.shape[0])} of {int(array.shape[0])} frames hold NaN or infinity, the first is "
                f"frame {int(where[0])} of the array; leave out frames without a value before they are compared"
            )
    raise BadData("pred or target: the numbers are too large to compute with")
