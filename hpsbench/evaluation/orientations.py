"""Global joint orientations from local ones, and smoothing of predicted rotations."""

from typing import Any

import numpy as np

from hpsbench.bodies.joints import PARENTS
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
