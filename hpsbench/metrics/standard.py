"""The numbers that nearly every table prints, in one pass over the joints."""

from collections.abc import Collection, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from array_api_compat import array_namespace

from hpsbench.errors import ShapeError, UsageError
from hpsbench.geometry.alignment import checked_root
from hpsbench.geometry.procrustes import to_columns, work_dtype
from hpsbench.geometry.units import M_TO_MM
from hpsbench.metrics.checks import (
    BODY_LIMIT,
    FREE_SCALE_LIMIT,
    FrameValues,
    Joints,
    check_finite,
    check_metres,
    check_pair,
    quiet,
)
from hpsbench.metrics.distances import (
    aligned_distances,
    column_differences,
    joined,
    map_blocks,
)

Alignment: TypeAlias = Literal["none", "root", "procrustes"]
Acceleration: TypeAlias = tuple[Literal["accel_err", "accel_pred"], Literal["none", "root"]]

ALIGNMENTS: Final[tuple[Alignment, ...]] = ("none", "root", "procrustes")


class StandardErrors(NamedTuple):
    """Per-frame values of `mpjpe` (T,), `pa_mpjpe` (T,) and `accel_err` (T - 2,), in their units."""

    mpjpe: FrameValues
    pa_mpjpe: FrameValues
    accel_err: FrameValues


class JointPass(NamedTuple):
    """What one pass over the joints found.

    Attributes:
        means: alignment -> (T,) millimetres: mean distance of the joints after it.
        distances: alignment -> (J, T) float32 millimetres: the distance of each joint, of the alignments that were kept.
        accelerations: (`accel_err` or `accel_pred`, alignment) -> (T - 2,) mm/frame^2, of frames 1 to T - 2.
    """

    means: dict[Alignment, Any]
    distances: dict[Alignment, Any]
    accelerations: dict[Acceleration, Any]


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
    chosen = checked_root(root, pred.shape[1])
    roots = [_mean_of(side, chosen) for side in (pred, target)]
    key: Acceleration = ("accel_err", "root")
    found = joint_pass(
        pred, target, roots=(roots[0], roots[1]), aligned=("root", "procrustes"), accelerations=(key,)
    )
    return StandardErrors(found.means["root"], found.means["procrustes"], found.accelerations[key])


@quiet
def joint_pass(
    pred: Joints,
    target: Joints,
    *,
    roots: tuple[Any, Any] | None = None,
    aligned: Collection[Alignment] = (),
    keep: Collection[Alignment] = (),
    accelerations: Collection[Acceleration] = (),
) -> JointPass:
    """Errors after several alignments and accelerations, reading the joints once.

    Args:
        pred: (T, J, 3) metres.
        target: (T, J, 3) metres.
        roots: (T, 3) of pred and of target, metres: what the alignment `root` takes off.
        aligned: alignments whose errors are wanted.
        keep: those of them whose distances joint by joint are wanted too.
        accelerations: which accelerations are wanted, and after which alignment.

    Raises:
        ShapeError, UnitError, BadData: the input is not of that kind.
        UsageError: the alignment `root` without roots.
    """
    xp = check_pair(pred, target)
    limit = FREE_SCALE_LIMIT if not accelerations and set(aligned) <= {"procrustes"} else BODY_LIMIT
    check_metres(pred, "pred", limit)
    check_metres(target, "target", limit)
    wanted = {*aligned, *(align for _, align in accelerations)}
    _check_roots(pred, roots, wanted)
    frames, joints, _ = pred.shape
    kept = {name: xp.empty((joints, frames), dtype=xp.float32, device=pred.device) for name in keep}

    @quiet
    def measure(block: slice) -> tuple[dict[Alignment, Any], dict[Acceleration, Any]]:
        # The last two frames come again as the first two of the next block.
        own = slice(block.start, block.stop if block.stop >= frames else block.stop - 2)
        p, t = to_columns(pred[block, ...]), to_columns(target[block, ...])
        offsets = None if roots is None else tuple(_as_columns(side[block, ...], p) for side in roots)
        found, changes = _differences(p, t, offsets, aligned, accelerations)
        if "procrustes" in aligned:
            found["procrustes"] = aligned_distances(p, t)  # last: it centres both sides in place
        means = {}
        for name in aligned:
            own_part = found[name][:, : min(own.stop, frames) - own.start]
            means[name] = xp.sum(own_part, axis=0) * (M_TO_MM / joints)
            if name in kept:
                kept[name][:, own] = own_part * M_TO_MM
        return means, changes

    parts = list(map_blocks(measure, pred, overlap=2))
    means = {name: joined([found[name] for found, _ in parts]) for name in aligned}
    changes = {key: joined([found[key] for _, found in parts]) for key in accelerations}
    return JointPass(
        {name: check_finite(values, pred, target) for name, values in means.items()},
        kept,
        {key: check_finite(values, pred, target) for key, values in changes.items()},
    )


def _mean_of(points: Joints, joints: Sequence[int]) -> Any:
    """Mean of some joints, in the dtype that is computed in: (T, J, 3) -> (T, 3)."""
    xp = array_namespace(points)
    dtype = work_dtype(points)
    total = xp.astype(points[:, joints[0], :], dtype)
    for i in joints[1:]:
        total = total + xp.astype(points[:, i, :], dtype)
    return total / len(joints)


def _check_roots(pred: Joints, roots: tuple[Any, Any] | None, alignments: set[Any]) -> None:
    if roots is None:
        if "root" in alignments:
            raise UsageError("joint_pass: the alignment 'root' needs roots=(of pred, of target)")
        return
    for name, root in zip(("pred", "target"), roots, strict=True):
        if tuple(root.shape) != (pred.shape[0], 3):
            raise ShapeError(f"roots of {name}: expected ({pred.shape[0]}, 3), got {tuple(root.shape)}")


def _as_columns(root: Any, like: Any) -> Any:
    """(F, 3) -> (3, F) in the dtype of `like`."""
    xp = array_namespace(root)
    return xp.permute_dims(xp.astype(root, like.dtype), (1, 0))


def _differences(
    pred: Any,
    target: Any,
    offsets: tuple[Any, ...] | None,
    aligned: Collection[Alignment],
    accelerations: Collection[Acceleration],
) -> tuple[dict[Alignment, Any], dict[Acceleration, Any]]:
    """Distances (J, F) in metres and accelerations (F - 2,) in mm/frame^2 of one block, coordinate by coordinate.

    A coordinate of a block stays in the second-level cache, three of them do not.
    """
    xp = array_namespace(pred)
    plain_too = "none" in {*aligned, *(align for name, align in accelerations if name == "accel_err")}
    squares: dict[Any, Any] = {}
    for i in range(3):
        moved: dict[str, Any] = {"none": pred[i, ...] - target[i, ...]}
        if offsets is not None:
            offset = offsets[0][i, ...] - offsets[1][i, ...]
            if plain_too:
                moved["root"] = moved["none"] - offset
            else:
                moved["root"] = moved["none"]
                moved["root"] -= offset
        for key in accelerations:
            name, align = key
            points = moved[align] if name == "accel_err" else pred[i, ...]
            if name == "accel_pred" and align == "root" and offsets is not None:
                points = points - offsets[0][i, ...]
            _add_square(squares, key, column_differences(points, 2), spare=True)
        for wanted in aligned:
            if wanted != "procrustes":
                _add_square(squares, wanted, moved[wanted])
    lengths = {key: xp.sqrt(values) for key, values in squares.items()}
    factor = M_TO_MM / pred.shape[1]
    return (
        {wanted: lengths[wanted] for wanted in aligned if wanted != "procrustes"},
        {key: xp.sum(lengths[key], axis=0) * factor for key in accelerations},
    )


def _add_square(squares: dict[Any, Any], key: Any, values: Any, *, spare: bool = False) -> None:
    """Add the squares of a coordinate to what is kept under a key; in place of the values where they are spare."""
    if spare:
        values *= values
    square = values if spare else values * values
    if key in squares:
        squares[key] += square
    else:
        squares[key] = square
