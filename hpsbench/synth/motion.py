"""Procedural motion: angle curves -> SMPL poses -> a root path in which the planted foot stays where it is.

World frame: metres, y up, floor at y = 0, a person with heading 0 faces +z. `full_pose` and `transl` are SMPL's for
the given rest joints: the root joint lies at `rest_joints[0] + transl`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from hpsbench.errors import UnknownName
from hpsbench.synth.anatomy import JOINT, REST_JOINTS
from hpsbench.synth.body import forward_kinematics
from hpsbench.synth.gaits import ANGLES, COLUMN, KINDS, LIMITS, SIDES, Curves, keyframes, smooth_noise
from hpsbench.types import FloatArray

MIXED = "mixed"
_BLEND_SECONDS = 0.6
_SMOOTH_SECONDS = 0.03
_Z_UP = Rotation.from_matrix([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
# Points of the sole, fixed to a joint: (joint, offset in the rest frame).
_SOLE = (
    ("ankle", (0.0, -0.062, -0.050)),
    ("foot", (-0.010, -0.020, 0.005)),
    ("foot", (-0.015, -0.018, 0.070)),
)


@dataclass(frozen=True, kw_only=True)
class Motion:
    """A motion of one person.

    Attributes:
        kind: one of `gaits.KINDS`, or "mixed".
        fps: frames per second.
        full_pose: (T, 72) axis-angle, radians.
        transl: (T, 3) metres, world frame (y up, floor at 0), SMPL's translation.
        rest_joints: (24, 3) T-pose joints of the person it was made for.
    """

    kind: str
    fps: float
    full_pose: FloatArray
    transl: FloatArray
    rest_joints: FloatArray

    def __len__(self) -> int:
        return len(self.full_pose)

    @property
    def root(self) -> FloatArray:
        """(T, 3) position of the root joint."""
        return np.asarray(self.transl + self.rest_joints[0])

    def z_up(self) -> "Motion":
        """The same motion in a world whose z axis points up (as AMASS has it): x stays, y becomes z."""
        return self.moved(_Z_UP, np.zeros(3))

    def moved(self, turn: Rotation, shift: FloatArray) -> "Motion":
        """The same motion, turned about the world's origin and then shifted by (3,) metres."""
        pose = self.full_pose.copy()
        pose[:, :3] = (turn * Rotation.from_rotvec(pose[:, :3])).as_rotvec()
        transl = turn.apply(self.root) + shift - self.rest_joints[0]
        return Motion(
            kind=self.kind, fps=self.fps, full_pose=pose, transl=transl, rest_joints=self.rest_joints
        )


def synthesize(kind: str, frames: int, fps: float, rng: np.random.Generator, *,
               rest_joints: FloatArray = REST_JOINTS) -> Motion:  # fmt: skip
    """Make a motion; every draw comes from `rng`.

    Args:
        kind: a key of `gaits.KINDS`, or "mixed" for a chain of kinds with smooth transitions.
        frames: T, at least 1.
        fps: frames per second.
        rng: source of speed, amplitude, posture, heading and noise.
        rest_joints: (24, 3) T-pose joints of the person (`SyntheticBody.rest_joints`): legs set the stride.

    Raises:
        UnknownName: no such kind.
    """
    if kind != MIXED and kind not in KINDS:
        raise UnknownName("motion", kind, choices=[*KINDS, MIXED])
    curves = _mixed(frames, fps, rng) if kind == MIXED else _single(kind, frames, fps, rng)
    _add_person(curves, rng)
    pose = pose_from_angles(curves.table)
    return Motion(kind=kind, fps=fps, full_pose=pose, transl=_walk_root(curves, pose, rest_joints),
                  rest_joints=rest_joints)  # fmt: skip


def _single(kind: str, frames: int, fps: float, rng: np.random.Generator) -> Curves:
    curves = Curves(frames, fps)
    KINDS[kind](curves, rng)
    return curves


def _mixed(frames: int, fps: float, rng: np.random.Generator, kinds: Sequence[str] = tuple(KINDS)) -> Curves:
    """Segments of 2 to 5 s of different kinds, cross-faded; the heading goes on from segment to segment."""
    whole, overlap = Curves(frames, fps), round(_BLEND_SECONDS * fps)
    start, last = 0, ""
    while start < frames:
        last = str(rng.choice([k for k in kinds if k != last]))
        length = int(rng.uniform(2.0, 5.0) * fps) + overlap
        part = _single(last, length, fps, rng).table
        part[:, COLUMN["heading"]] -= part[0, COLUMN["heading"]]
        stop = min(start + length, frames)
        part = part[: stop - start]
        if start:
            part[:, COLUMN["heading"]] += whole.table[start, COLUMN["heading"]]
            share = np.clip(np.arange(len(part)) / overlap, 0, 1)
            share = (share**2 * (3 - 2 * share))[:, None]
            part = share * part + (1 - share) * whole.table[start:stop]
        whole.table[start:stop] = part
        if stop < frames:
            whole.table[stop:] = part[-1]
        start = stop - overlap if stop < frames else frames
    return whole


def _add_person(curves: Curves, rng: np.random.Generator) -> None:
    """Posture, small movements and looking about; then the joint limits."""
    frames, fps = len(curves), curves.fps
    quiet = np.array([name in {"heading", "lift", "carry", "hang"} for name in ANGLES])
    scale = np.where(quiet, 0.0, 1.0)
    posture = rng.standard_normal(len(ANGLES)) * 0.05 * scale
    posture[COLUMN["spine_pitch"]] += abs(rng.normal(0, 0.06))
    curves.table += posture + 0.035 * scale * smooth_noise((frames, len(ANGLES)), 0.45 * fps, rng)
    curves["head_yaw"] += keyframes(curves.time, rng, -0.8, 0.8, every=(1.0, 3.0), move=0.4)
    curves["head_pitch"] += keyframes(curves.time, rng, -0.3, 0.5, every=(1.0, 3.0), move=0.4)
    for name, (low, high) in LIMITS.items():
        curves[name] = np.clip(curves[name], low, high)
    curves.table = gaussian_filter1d(curves.table, _SMOOTH_SECONDS * fps, axis=0, mode="nearest")


def _turn(axes: str, *angles: FloatArray) -> Rotation:
    return Rotation.from_euler(axes, np.stack(np.broadcast_arrays(*angles), axis=-1))


def pose_from_angles(table: FloatArray) -> FloatArray:
    """(T, 72) axis-angle from an angle table (T, len(ANGLES)); upper-case axes turn with the body."""
    a = {name: table[:, n] for name, n in COLUMN.items()}
    joints: dict[str, Rotation] = {
        "pelvis": _turn("YXZ", a["heading"] + a["pelvis_twist"], a["pelvis_pitch"], a["pelvis_roll"]),
        "neck": _turn("YXZ", 0.4 * a["head_yaw"], 0.4 * a["head_pitch"], 0.4 * a["head_roll"]),
        "head": _turn("YXZ", 0.6 * a["head_yaw"], 0.6 * a["head_pitch"], 0.6 * a["head_roll"]),
    }
    for bone, share in (("spine1", 0.35), ("spine2", 0.35), ("spine3", 0.30)):
        joints[bone] = _turn(
            "YXZ", share * a["spine_twist"], share * a["spine_pitch"], share * a["spine_roll"]
        )
    for side, sign in zip(SIDES, (1.0, -1.0), strict=True):
        b = {name: a[f"{side}_{name}"] for name in (key[5:] for key in a if key.startswith("left_"))}
        joints[f"{side}_hip"] = _turn("XZY", -b["hip_flex"], sign * b["hip_spread"], sign * b["hip_twist"])
        joints[f"{side}_knee"] = _turn("X", b["knee"])
        joints[f"{side}_ankle"] = _turn("X", -b["ankle"])
        joints[f"{side}_foot"] = _turn("X", b["toe"])
        lifted = 0.22 * np.maximum(np.maximum(b["arm_spread"], b["arm_raise"]) - 0.6, 0) + b["shrug"]
        joints[f"{side}_collar"] = _turn("Z", sign * lifted)
        lowered = -sign * (np.pi / 2 - b["arm_spread"] + lifted)
        joints[f"{side}_shoulder"] = _turn("XZX", -b["arm_raise"], lowered, b["arm_twist"])
        joints[f"{side}_elbow"] = _turn("Y", -sign * b["elbow"])
        joints[f"{side}_wrist"] = _turn("XZ", b["wrist_twist"], sign * b["wrist_bend"])
        joints[f"{side}_hand"] = _turn("Z", -sign * 0.1 * np.ones(len(table)))
    pose = np.zeros((len(table), 24, 3))
    for name, rotation in joints.items():
        pose[:, JOINT[name]] = rotation.as_rotvec().reshape(-1, 3)
    return pose.reshape(-1, 72)


def sole_points(full_pose: FloatArray, rest_joints: FloatArray) -> FloatArray:
    """(T, 6, 3) heel, ball and toe of both feet, with the root joint at the origin."""
    rotmat = Rotation.from_rotvec(full_pose.reshape(-1, 3)).as_matrix().reshape(-1, 24, 3, 3)
    turned, posed = forward_kinematics(rotmat, rest_joints - rest_joints[0])
    points = []
    for side, sign in zip(SIDES, (1.0, -1.0), strict=True):
        for bone, (x, y, z) in _SOLE:
            joint = JOINT[f"{side}_{bone}"]
            points.append(posed[:, joint] + turned[:, joint] @ np.array((sign * x, y, z)))
    return np.stack(points, axis=1)


def _walk_root(curves: Curves, full_pose: FloatArray, rest_joints: FloatArray) -> FloatArray:
    """(T, 3) translation: the lowest part of the soles carries the body and stays put; in the air it flies on."""
    soles, fps = sole_points(full_pose, rest_joints), curves.fps
    height = soles[..., 1]
    lowest = height.min(1, keepdims=True)
    load = np.exp(-(height - lowest) / 0.012)
    load /= load.sum(1, keepdims=True)
    step = np.diff(soles, axis=0, append=soles[-1:])
    velocity = -(load[..., None] * step).sum(1) * fps
    on_ground = np.exp(-curves["lift"] / 0.015) * (1 - curves["hang"])
    heading = curves["heading"]
    forward = np.stack([np.sin(heading), np.zeros_like(heading), np.cos(heading)], axis=1)
    in_air = (1 - on_ground) * (1 - curves["hang"])
    velocity = on_ground[:, None] * velocity + (in_air * curves["carry"])[:, None] * forward
    velocity = gaussian_filter1d(velocity, 0.06 * fps, axis=0, mode="nearest")
    root = np.cumsum(velocity, axis=0) / fps
    root -= root[:1]
    standing = gaussian_filter1d(-lowest[:, 0], 0.03 * fps, mode="nearest")
    hanging = 1.02 * (rest_joints[0, 1] - rest_joints[JOINT["left_foot"], 1])
    root[:, 1] = (1 - curves["hang"]) * standing + curves["hang"] * hanging + curves["lift"]
    return np.asarray(root - rest_joints[0])


STANDING_POSE = pose_from_angles(Curves(1, 30.0).table)[0]
