"""Where things are on the synthetic body: rest joints, bones, landmark vertices, regressor rows.

Rest frame: metres, T-pose, y up, facing +z, x to the subject's left; the floor is at `FLOOR`, the origin in the
lower chest as in SMPL. Joint order, parents and landmark vertex ids are those of SMPL (public facts of the
`smplx` package: `vertex_ids.py`, `joint_names.py`); the positions are our own.
"""

from types import MappingProxyType

import numpy as np

from hpsbench.types import FloatArray

VERTICES = 6890
FACES = 13776
BETAS = 10
POSE_FEATURES = 207

JOINT_NAMES = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle",
    "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand",
    "right_hand",
)  # fmt: skip
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
JOINT = MappingProxyType({name: index for index, name in enumerate(JOINT_NAMES)})
FLOOR = -1.16

# Name -> (x, y, z) of the left or middle joint; the right one is its mirror image.
_HALF = {
    "pelvis": (0.0, -0.225, 0.015),
    "left_hip": (0.068, -0.315, 0.015),
    "spine1": (0.0, -0.115, 0.000),
    "left_knee": (0.103, -0.693, 0.015),
    "spine2": (0.0, 0.020, 0.000),
    "left_ankle": (0.090, -1.090, -0.027),
    "spine3": (0.0, 0.075, 0.015),
    "left_foot": (0.115, -1.140, 0.094),
    "neck": (0.0, 0.285, -0.012),
    "left_collar": (0.080, 0.195, -0.010),
    "head": (0.0, 0.353, 0.015),
    "left_shoulder": (0.174, 0.217, -0.020),
    "left_elbow": (0.430, 0.214, -0.032),
    "left_wrist": (0.682, 0.218, -0.036),
    "left_hand": (0.766, 0.214, -0.036),
}


def mirrored(table: dict[str, tuple[float, float, float]], names: tuple[str, ...]) -> FloatArray:
    """(len(names), 3) positions by name; `right_*` is the mirror image of `left_*`."""
    rows = []
    for name in names:
        x, y, z = table[name.replace("right_", "left_")]
        rows.append((-x if name.startswith("right_") else x, y, z))
    return np.array(rows, dtype=np.float64)


REST_JOINTS = mirrored(_HALF, JOINT_NAMES)

# Vertex ids that smplx picks as keypoints of SMPL, by name.
LANDMARK_IDS = MappingProxyType({
    "nose": 332, "right_eye": 6260, "left_eye": 2800, "right_ear": 4071, "left_ear": 583,
    "left_big_toe": 3216, "left_small_toe": 3226, "left_heel": 3387,
    "right_big_toe": 6617, "right_small_toe": 6624, "right_heel": 6787,
    "left_thumb": 2746, "left_index": 2319, "left_middle": 2445, "left_ring": 2556, "left_pinky": 2673,
    "right_thumb": 6191, "right_index": 5782, "right_middle": 5905, "right_ring": 6016, "right_pinky": 6133,
})  # fmt: skip

_HALF_LANDMARKS = {
    "nose": (0.0, 0.412, 0.146),
    "left_eye": (0.032, 0.447, 0.112),
    "left_ear": (0.092, 0.425, 0.005),
    "left_big_toe": (0.092, -1.145, 0.185),
    "left_small_toe": (0.150, -1.145, 0.125),
    "left_heel": (0.092, -1.140, -0.085),
    "left_thumb": (0.785, 0.200, 0.060),
    "left_index": (0.868, 0.212, 0.006),
    "left_middle": (0.880, 0.213, -0.026),
    "left_ring": (0.868, 0.212, -0.057),
    "left_pinky": (0.840, 0.211, -0.087),
}
LANDMARKS = mirrored(_HALF_LANDMARKS, tuple(LANDMARK_IDS))

# Extra points inside the body that other regressors give (rest frame; left or middle).
_POINTS = _HALF | {
    "mid_hip": (0.0, -0.300, 0.010),
    "h36m_left_hip": (0.120, -0.320, 0.005),
    "lsp_left_hip": (0.105, -0.300, 0.010),
    "h36m_spine": (0.0, -0.030, 0.000),
    "thorax": (0.0, 0.215, -0.010),
    "h36m_neck": (0.0, 0.250, -0.005),
    "lsp_neck": (0.0, 0.255, 0.000),
    "jaw": (0.0, 0.380, 0.065),
    "h36m_head": (0.0, 0.430, 0.035),
    "head_top": (0.0, 0.535, 0.010),
}

# Rows of each regressor, as names of points above. Row order: sets `smpl24`, `h36m17_regressor`,
# `j_regressor_extra9`, and `smplcoco19` (whose last five rows are landmark vertices).
_H36M_ARM = ("{}_shoulder", "{}_elbow", "{}_wrist")
REGRESSOR_ROWS = MappingProxyType({
    "smpl24": JOINT_NAMES,
    "h36m17": (
        "mid_hip", "h36m_left_hip", "left_knee", "left_ankle", "h36m_right_hip", "right_knee", "right_ankle",
        "h36m_spine", "h36m_neck", "jaw", "head_top",
        *(name.format("left") for name in _H36M_ARM), *(name.format("right") for name in _H36M_ARM),
    ),
    "extra9": (
        "lsp_right_hip", "lsp_left_hip", "lsp_neck", "head_top", "mid_hip", "thorax", "h36m_spine", "jaw",
        "h36m_head",
    ),
    "cocoplus": (
        "right_ankle", "right_knee", "lsp_right_hip", "lsp_left_hip", "left_knee", "left_ankle",
        "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist",
        "lsp_neck", "head_top", "nose", "left_eye", "right_eye", "left_ear", "right_ear",
    ),
})  # fmt: skip


def regressor_point(name: str) -> FloatArray:
    """(3,) rest position of a named point of `REGRESSOR_ROWS` (not of a landmark)."""
    side = -1.0 if "right_" in name else 1.0
    x, y, z = _POINTS[name.replace("right_", "left_")]
    return np.array((side * x, y, z))
