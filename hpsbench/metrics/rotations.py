"""Errors of orientation."""

from typing import Any

from array_api_compat import array_namespace

from hpsbench.errors import BadData, ShapeError
from hpsbench.geometry.alignment import fit_similarity
from hpsbench.geometry.procrustes import work_dtype
from hpsbench.geometry.rotations import rotation_angle
from hpsbench.geometry.units import RAD_TO_DEG
from hpsbench.metrics.checks import (
    FREE_SCALE_LIMIT,
    FrameValues,
    Joints,
    Rotmats,
    check_finite,
    check_metres,
    check_pair,
    quiet,
)

# How far R^T R may be from the identity: networks and float16 give a little, another quantity gives much.
_ORTHONORMAL = 0.05


@quiet
def mpjae(pred: Rotmats, target: Rotmats, *, rotation: Any = None) -> FrameValues:
    """Mean angle between predicted and true joint orientations (global ones, in 3dpw-eval: of 9 joints).

    The Procrustes variant (`pa_mpjae` of 3dpw-eval) multiplies each prediction by the rotation that aligns the
    joints of that frame: `mpjae(pred, target, rotation=procrustes_rotation(pred_joints, target_joints))`.

    Args:
        pred: (T, J, 3, 3) rotation matrices.
        target: (T, J, 3, 3) rotation matrices.
        rotation: (T, 3, 3) multiplied from the left onto the predictions of each frame, or None.

    Returns:
        (T,) degrees, 0 to 180.

    Raises:
        ShapeError, BadData: the input is not of that kind.
    """
    xp = check_pair(pred, target, "J, 3, 3")
    dtype = work_dtype(pred)
    first, second = xp.astype(pred, dtype), xp.astype(target, dtype)
    _check_rotations(first, "pred")
    _check_rotations(second, "target")
    if rotation is not None:
        if tuple(rotation.shape) != (pred.shape[0], 3, 3):
            raise ShapeError(f"rotation: expected ({pred.shape[0]}, 3, 3), got {tuple(rotation.shape)}")
        first = xp.astype(rotation, dtype)[:, None, :, :] @ first
    return xp.mean(rotation_angle(first, second), axis=-1) * RAD_TO_DEG


def procrustes_rotation(pred: Joints, target: Joints) -> Any:
    """Rotation of the best similarity of each frame, for `mpjae`: (T, J, 3) twice -> (T, 3, 3)."""
    check_pair(pred, target)
    check_metres(pred, "pred", FREE_SCALE_LIMIT)
    check_metres(target, "target")
    return fit_similarity(pred, target).rotation


def _check_rotations(rotmat: Rotmats, name: str) -> None:
    xp = array_namespace(rotmat)
    if 0 in rotmat.shape:
        return
    gram = xp.matrix_transpose(rotmat) @ rotmat
    identity = xp.eye(3, dtype=rotmat.dtype, device=rotmat.device)
    off = xp.max(xp.abs(gram - identity), axis=(1, 2, 3))
    check_finite(off, rotmat)
    worst = float(xp.max(off))
    if worst > _ORTHONORMAL:
        raise BadData(
            f"{name}: frame {int(xp.argmax(off))} holds matrices that are no rotations (R^T R is {worst:.3g} off the "
            "identity); are these axis-angle vectors, or not normalised?"
        )
