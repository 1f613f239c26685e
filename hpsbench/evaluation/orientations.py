"""Global joint orientations from local ones, and smoothing of predicted rotations."""

from typing import Any

import numpy as np

from hpsbench.bodies.joints import PARENTS
from hpsbench.geometry.rotations import quaternion_to_rotmat, rotmat_to_quaternion
from hpsbench.types import FloatArray


def global_rotations(rotmat: Any) -> FloatArray:
    """Rotation of every SMPL joint against the camera (or world): products along the kinematic tree.

    Args:
        rotmat: (N, 24, 3, 3) rotation of each joint against its parent; joint 0 against the camera.

    Returns:
        (N, 24, 3, 3) float64.
    """
    local = np.asarray(rotmat, np.float64)
    found = np.empty_like(local)
    for joint, parent in enumerate(PARENTS["smpl24"]):
        found[:, joint] = local[:, joint] if parent < 0 else found[:, parent] @ local[:, joint]
    return found


def slerp_filter(rotmat: FloatArray, ratio: float) -> FloatArray:
    """Causal smoothing of rotations: each frame is `ratio` of the way from the smoothed frame before it to itself.

    Signs of the quaternions are made continuous first. A ratio of 0.3 lags about 2.3 frames behind.
    Source: MEVA `meva/utils/geometry.py` (`smooth_pose_mat`); TCMR and MPS-Net under `--filter`.

    Args:
        rotmat: (T, J, 3, 3), frames in time order.
        ratio: weight of the new frame, above 0, at most 1.

    Returns:
        (T, J, 3, 3) float64.
    """
    if len(rotmat) == 0:
        return np.asarray(rotmat, np.float64)
    found = np.asarray(rotmat_to_quaternion(np.asarray(rotmat, np.float64)))
    for frame in range(1, len(found)):
        before, now = found[frame - 1], found[frame]
        cosine = np.sum(before * now, axis=-1, keepdims=True)
        now = np.where(cosine < 0, -now, now)
        angle = np.arccos(np.clip(np.abs(cosine), 0.0, 1.0))
        sine = np.sin(angle)
        small = sine < 1e-6
        safe = np.where(small, 1.0, sine)
        first = np.where(small, 1 - ratio, np.sin((1 - ratio) * angle) / safe)
        second = np.where(small, ratio, np.sin(ratio * angle) / safe)
        mixed = first * before + second * now
        found[frame] = mixed / np.linalg.norm(mixed, axis=-1, keepdims=True)
    return np.asarray(quaternion_to_rotmat(found))
