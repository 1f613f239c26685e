"""The synthetic body's numbers in SMPL's array layout, worked out from the shipped template.

Only the template's skin, faces and regressor rows are shipped (`body_template.npz`, made by `body_design`). Skinning
weights, shape and pose directions and the male and female templates are polynomials of the rest position, so they
are the same on every machine. Units: metres; rest frame as in `anatomy`.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from hpsbench.synth import anatomy
from hpsbench.synth.anatomy import JOINT, REST_JOINTS
from hpsbench.types import FloatArray, IntArray

Gender = Literal["neutral", "male", "female"]
GENDERS: tuple[Gender, ...] = ("neutral", "male", "female")
LEVELS = 3  # of detail that can be drawn: all 13776 faces, and two thinner lists
_TEMPLATE = Path(__file__).parent / "body_template.npz"
_COORDINATE_STEP = 2.0**-14


@dataclass(frozen=True, kw_only=True)
class BodyArrays:
    """One gender's arrays, SMPL's names and shapes, float64.

    Attributes:
        v_template: (6890, 3) rest skin.
        f: (13776, 3) uint32 faces.
        shapedirs: (6890, 3, 10).
        posedirs: (6890, 3, 207), feature 9 (j - 1) + 3 r + c is entry (r, c) of joint j's rotation minus identity.
        J_regressor: (24, 6890).
        weights: (6890, 24), at most four bones a vertex.
    """

    v_template: FloatArray
    f: IntArray
    shapedirs: FloatArray
    posedirs: FloatArray
    J_regressor: FloatArray
    weights: FloatArray


@functools.cache
def template() -> tuple[FloatArray, IntArray]:
    """Neutral rest skin (6890, 3) and faces (13776, 3)."""
    with np.load(_TEMPLATE) as file:
        return file["vertices"] * _COORDINATE_STEP, file["faces"].astype(np.int64)


@functools.cache
def drawn_faces(level: int) -> IntArray:
    """(F, 3) faces to draw at a level of detail: 0 all, 1 and 2 thinner; they use a subset of the vertices."""
    if level == 0:
        return template()[1]
    with np.load(_TEMPLATE) as file:
        return np.asarray(file[f"drawn_faces_{level - 1}"].astype(np.int64))


@functools.cache
def regressor(name: str) -> FloatArray:
    """(rows, 6890) non-negative weights, each row of sum 1; names and rows in `anatomy.REGRESSOR_ROWS`."""
    matrix = np.zeros((len(anatomy.REGRESSOR_ROWS[name]), anatomy.VERTICES))
    with np.load(_TEMPLATE) as file:
        matrix[file[f"{name}_row"], file[f"{name}_column"]] = file[f"{name}_share"]
    return np.asarray(matrix / matrix.sum(1, keepdims=True))


@functools.cache
def template_normals() -> FloatArray:
    """(6890, 3) unit normals of the neutral template."""
    vertices, faces = template()
    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(total, faces[:, k], normal)
    return np.asarray(total / np.linalg.norm(total, axis=1, keepdims=True))


def ramp(value: FloatArray, low: float, high: float) -> FloatArray:
    """Smooth step from 0 at `low` to 1 at `high` (either may be the larger)."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


@functools.cache
def skin_weights() -> FloatArray:
    """(6890, 24) smooth weights: the body is split step by step along spine, arms and legs."""
    points = template()[0]
    x, y, z = points.T
    side = np.abs(x)
    weights = np.zeros((len(points), 24))
    arm = ramp(side - 0.25 * np.maximum(y - 0.20, 0), 0.085, 0.190) * ramp(y, 0.02, 0.15)
    arm = np.where(side > 0.21, 1.0, arm)
    groin = y - 0.55 * np.maximum(side - 0.05, 0) + 1.2 * np.maximum(0.04 - side, 0) + 0.25 * z
    leg = ramp(groin, -0.315, -0.425)
    _share_spine(weights, y, z, (1 - arm) * (1 - leg))
    for name, here in (("left", ramp(x, -0.012, 0.012)), ("right", ramp(x, 0.012, -0.012))):
        _share_leg(weights, name, y, z, leg * here)
        _share_arm(weights, name, side, arm * np.where(x > 0, name == "left", name == "right"))
    weakest = np.sort(weights, axis=1)[:, -4:-3]
    weights[weights < weakest] = 0
    return np.asarray(weights / weights.sum(1, keepdims=True))


def _share_spine(weights: FloatArray, y: FloatArray, z: FloatArray, share: FloatArray) -> None:
    bones = ("pelvis", "spine1", "spine2", "spine3", "neck", "head")
    jaw = y - 0.35 * np.clip(z - 0.02, 0, 0.08) * (y < 0.37)
    cuts = [ramp(y, -0.18, -0.06), ramp(y, -0.04, 0.05), ramp(y, 0.03, 0.12), ramp(y, 0.235, 0.305)]
    cuts += [np.maximum(ramp(jaw, 0.315, 0.365), ramp(z, 0.040, 0.085) * ramp(y, 0.30, 0.33))]
    rest = share
    for bone, cut in zip(bones, cuts, strict=False):
        weights[:, JOINT[bone]] += rest * (1 - cut)
        rest = rest * cut
    weights[:, JOINT["head"]] += rest


def _share_leg(weights: FloatArray, name: str, y: FloatArray, z: FloatArray, share: FloatArray) -> None:
    knee, ankle = ramp(y, -0.640, -0.745), ramp(y - 0.35 * z, -1.035, -1.105)
    ball = ramp(z, 0.070, 0.115) * ramp(y, -1.06, -1.10)
    weights[:, JOINT[f"{name}_hip"]] += share * (1 - knee)
    weights[:, JOINT[f"{name}_knee"]] += share * knee * (1 - ankle)
    weights[:, JOINT[f"{name}_ankle"]] += share * knee * ankle * (1 - ball)
    weights[:, JOINT[f"{name}_foot"]] += share * knee * ankle * ball


def _share_arm(weights: FloatArray, name: str, side: FloatArray, share: FloatArray) -> None:
    bones = ("collar", "shoulder", "elbow", "wrist", "hand")
    cuts = (
        ramp(side, 0.130, 0.225),
        ramp(side, 0.385, 0.475),
        ramp(side, 0.655, 0.708),
        ramp(side, 0.745, 0.785),
    )
    rest = share
    for bone, cut in zip(bones, cuts, strict=False):
        weights[:, JOINT[f"{name}_{bone}"]] += rest * (1 - cut)
        rest = rest * cut
    weights[:, JOINT[f"{name}_hand"]] += rest


@functools.cache
def shape_directions() -> FloatArray:
    """(6890, 3, 10) displacement per unit of each beta.

    0 stature, 1 girth, 2 leg length, 3 arm length, 4 shoulder width, 5 hip width, 6 belly, 7 chest, 8 trunk length,
    9 head size. One unit is about one standard deviation of a population.
    """
    points = template()[0]
    x, y, z = points.T
    side, sign = np.abs(x), np.sign(x)
    outward = template_normals()
    trunk = ramp(side, 0.21, 0.16) * ramp(y, 0.26, 0.20)
    in_leg, in_arm = ramp(y, -0.30, -0.40), ramp(side, 0.16, 0.21) * ramp(y, 0.05, 0.12)
    limb_tip = 1 - 0.8 * np.maximum(
        ramp(side, 0.60, 0.70), np.maximum(ramp(y, -1.0, -1.08), ramp(y, 0.25, 0.33))
    )
    made = np.zeros((len(points), 3, anatomy.BETAS))
    made[:, :, 0] = 0.030 * points
    made[:, :, 1] = outward * ((0.004 + 0.008 * trunk) * limb_tip)[:, None]
    made[:, 1, 2] = 0.030 * np.minimum(y - REST_JOINTS[JOINT["left_hip"], 1], 0) * in_leg
    made[:, 0, 3] = 0.035 * sign * np.maximum(side - REST_JOINTS[JOINT["left_shoulder"], 0], 0) * in_arm
    made[:, 0, 4] = 0.008 * sign * ramp(side, 0.02, 0.17) * ramp(y, -0.05, 0.15) * ramp(y, 0.32, 0.26)
    made[:, 0, 5] = 0.007 * sign * ramp(side, 0.01, 0.10) * ramp(y, -0.05, -0.20) * ramp(y, -0.75, -0.35)
    made[:, 2, 6] = 0.014 * trunk * ramp(z, 0.0, 0.10) * ramp(y, -0.30, -0.12) * ramp(y, 0.08, -0.06)
    made[:, 2, 7] = 0.007 * trunk * (2 * ramp(z, -0.12, 0.12) - 1) * ramp(y, -0.05, 0.08)
    made[:, 1, 8] = 0.014 * ramp(y, -0.25, 0.20)
    made[:, :, 9] = 0.030 * (points - REST_JOINTS[JOINT["neck"]]) * ramp(y, 0.27, 0.36)[:, None]
    return made


# Template of a gender = neutral template + these multiples of the shape directions + a chest term.
_GENDER_BETAS = {
    "neutral": (0.0,) * 10,
    "male": (0.9, 0.3, 0.2, 0.4, 1.3, -0.8, 0.1, 0.5, 0.2, 0.1),
    "female": (-1.1, -0.3, -0.1, -0.3, -1.3, 1.3, -0.1, -0.2, -0.2, -0.1),
}


def gender_template(gender: Gender) -> FloatArray:
    """(6890, 3) rest skin of a gender."""
    points = template()[0]
    moved = np.asarray(points + shape_directions() @ np.array(_GENDER_BETAS[gender]))
    if gender == "female":
        x, y, z = points.T
        round_x = ramp(np.abs(np.abs(x) - 0.068), 0.07, 0.0)
        moved[:, 2] += 0.028 * round_x * ramp(np.abs(y - 0.09), 0.085, 0.0) * ramp(z, 0.03, 0.08)
    return moved


@functools.cache
def pose_directions() -> FloatArray:
    """(6890, 3, 207) small corrections: skin near a joint bulges as the joint bends, which linear skinning flattens."""
    points, outward = template()[0], template_normals()
    made = np.zeros((len(points), 3, anatomy.POSE_FEATURES))
    for joint in range(1, len(anatomy.JOINT_NAMES)):
        reach = 0.05 if joint in (22, 23, 10, 11) else 0.11
        squared = ((points - REST_JOINTS[joint]) ** 2).sum(1) / reach**2
        near = np.where(squared < 1, (1 - squared) ** 2, 0.0)
        near = near * (skin_weights()[:, joint] + skin_weights()[:, anatomy.PARENTS[joint]])
        first = 9 * (joint - 1)
        for diagonal in (0, 4, 8):
            made[:, :, first + diagonal] = -0.006 * outward * near[:, None]
        for entry, axis in ((1, 2), (5, 0), (6, 1)):
            made[:, axis, first + entry] = 0.002 * near
    return made


@functools.cache
def body_arrays(gender: Gender) -> BodyArrays:
    """All arrays of one gender; they are shared, don't write into them."""
    return BodyArrays(
        v_template=gender_template(gender),
        f=template()[1].astype(np.uint32),
        shapedirs=shape_directions(),
        posedirs=pose_directions(),
        J_regressor=regressor("smpl24"),
        weights=skin_weights(),
    )
