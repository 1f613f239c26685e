"""Motions are smooth, within limits, on the ground, varied, and the same from the same generator."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hpsbench.errors import UnknownName
from hpsbench.synth.anatomy import JOINT, REST_JOINTS
from hpsbench.synth.body import load_synthetic_body
from hpsbench.synth.gaits import ANGLES, COLUMN, KINDS, LIMITS, Curves, keyframes, smooth_noise
from hpsbench.synth.motion import MIXED, STANDING_POSE, Motion, pose_from_angles, sole_points, synthesize

FPS = 30.0
ALL_KINDS = (*KINDS, MIXED)


def make(kind: str, seed: int = 0, frames: int = 150) -> Motion:
    return synthesize(kind, frames, FPS, np.random.default_rng(seed))


def turns_per_frame(motion: Motion) -> np.ndarray:
    """(T - 1, 24) angle between successive frames, radians."""
    rotation = Rotation.from_rotvec(motion.full_pose.reshape(-1, 3)).as_matrix().reshape(-1, 24, 3, 3)
    step = np.einsum("tjba,tjbc->tjac", rotation[:-1], rotation[1:])
    return np.arccos(np.clip((np.trace(step, axis1=2, axis2=3) - 1) / 2, -1, 1))


def soles(motion: Motion) -> np.ndarray:
    return sole_points(motion.full_pose, motion.rest_joints) + motion.root[:, None]


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_motion_is_smooth_and_on_the_ground(kind: str) -> None:
    for seed in range(2):
        motion = make(kind, seed)
        assert motion.full_pose.shape == (150, 72)
        assert motion.transl.shape == (150, 3)
        assert np.isfinite(motion.full_pose).all()
        assert np.rad2deg(turns_per_frame(motion)).max() < 45
        assert np.linalg.norm(np.diff(motion.transl, axis=0), axis=1).max() * FPS < 7
        lowest = soles(motion)[..., 1].min(1)
        assert lowest.min() > -0.05
        if kind != "climbing":
            assert lowest.min() < 0.03


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_the_same_generator_gives_the_same_motion(kind: str) -> None:
    one, two, other = make(kind), make(kind), make(kind, seed=1)
    np.testing.assert_array_equal(one.full_pose, two.full_pose)
    np.testing.assert_array_equal(one.transl, two.transl)
    assert np.abs(one.full_pose - other.full_pose).max() > 0.1


def test_a_walker_gets_on_without_sliding() -> None:
    speeds, slides = [], []
    for seed in range(6):
        motion = make("walking", seed)
        path = np.linalg.norm(np.diff(motion.root[:, [0, 2]], axis=0), axis=1) * FPS
        points = soles(motion)
        moved = np.linalg.norm(np.diff(points[..., [0, 2]], axis=0), axis=-1) * FPS
        speeds.append(path.mean())
        slides.append(moved.min(1).mean())
    assert 0.4 < np.mean(speeds) < 1.8
    assert np.mean(slides) < 0.35 * np.mean(speeds), "the slowest point of the soles stays about where it is"


def test_walkers_face_where_they_go() -> None:
    motion = make("walking", 3)
    forward = Rotation.from_rotvec(motion.full_pose[:, :3]).apply((0, 0, 1))[15:-15, [0, 2]]
    step = motion.root[30:, [0, 2]] - motion.root[:-30, [0, 2]]  # one second, about one cycle
    assert (forward * step).sum() > 0.8 * np.linalg.norm(step, axis=1).sum()


def test_kinds_do_what_they_are_called() -> None:
    frames = 300
    height = {k: make(k, 1, frames).root[:, 1] for k in ALL_KINDS}
    assert height["sitting"].min() < 0.72 < 0.85 < height["sitting"].max()
    assert soles(make("jumping", 1, frames))[..., 1].min(1).max() > 0.1, "both feet leave the ground"
    assert np.ptp(height["climbing"]) > 0.3
    running = np.linalg.norm(np.diff(make("running", 1, frames).root[:, [0, 2]], axis=0), axis=1).mean() * FPS
    walking = np.linalg.norm(np.diff(make("walking", 1, frames).root[:, [0, 2]], axis=0), axis=1).mean() * FPS
    assert running > 1.5 * walking
    forward = Rotation.from_rotvec(make("turning", 1, frames).full_pose[:, :3]).apply((0, 0, 1))
    heading = np.unwrap(np.arctan2(forward[:, 0], forward[:, 2]))
    assert np.ptp(heading) > 1.5, "turns about"
    body = load_synthetic_body("neutral", 2)
    reaching = make("reaching", 1, frames)
    joints = body.joints(reaching.full_pose, np.zeros(10), reaching.transl)
    assert np.ptp(joints[:, JOINT["left_wrist"], 1]) > 0.7


def test_a_constant_pose_is_a_bad_guess() -> None:
    body = load_synthetic_body("neutral", 2)
    parts = []
    for seed, kind in enumerate(ALL_KINDS):
        pose = make(kind, seed, 90).full_pose.copy()
        pose[:, :3] = 0
        joints = body.joints(pose, np.zeros(10))
        parts.append(joints - joints[:, :1])
    everything = np.concatenate(parts)
    error = np.linalg.norm(everything - everything.mean(0), axis=-1)[:, [4, 5, 7, 8, 18, 19, 20, 21]]
    assert error.mean() > 0.15, "metres, knees, ankles, elbows, wrists"


def test_shape_sets_the_stride() -> None:
    body = load_synthetic_body("neutral", 2)
    long_legs = body.rest_joints(2.5 * np.eye(10)[2])
    near, far = (
        synthesize("walking", 150, FPS, np.random.default_rng(0), rest_joints=rest)
        for rest in (REST_JOINTS, long_legs)
    )
    assert far.root[:, 1].mean() > near.root[:, 1].mean() + 0.03


def test_moving_and_turning_upright_keep_the_body() -> None:
    motion = make("walking", 0, 20)
    body = load_synthetic_body("neutral", 2)
    before = body.joints(motion.full_pose, np.zeros(10), motion.transl)
    motion = Motion(kind="walking", fps=FPS, full_pose=motion.full_pose, transl=motion.transl,
                    rest_joints=body.rest_joints(np.zeros(10)))  # fmt: skip
    after = motion.z_up()
    joints = body.joints(after.full_pose, np.zeros(10), after.transl)
    np.testing.assert_allclose(joints, before[..., [0, 2, 1]] * (1, -1, 1), atol=1e-5)
    shifted = motion.moved(Rotation.identity(), np.array((1.0, 2.0, 3.0)))
    np.testing.assert_allclose(shifted.transl - motion.transl, np.tile((1, 2, 3), (20, 1)), atol=1e-9)


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'walking'"):
        make("walkin")


def test_a_single_frame_is_a_motion() -> None:
    assert len(synthesize("sitting", 1, FPS, np.random.default_rng(0))) == 1


def test_standing_pose_hangs_the_arms() -> None:
    joints = load_synthetic_body("neutral", 2).joints(STANDING_POSE[None], np.zeros(10))[0]
    for side in ("left", "right"):
        assert joints[JOINT[f"{side}_wrist"], 1] < joints[JOINT[f"{side}_shoulder"], 1] - 0.35
        assert np.sign(joints[JOINT[f"{side}_wrist"], 0]) == (1 if side == "left" else -1)


@pytest.mark.parametrize(
    ("angle", "joint", "axis", "sign"),
    [
        ("left_hip_flex", "left_knee", 2, 1), ("right_hip_flex", "right_knee", 2, 1),
        ("left_hip_spread", "left_ankle", 0, 1), ("right_hip_spread", "right_ankle", 0, -1),
        ("left_knee", "left_ankle", 2, -1), ("left_ankle", "left_foot", 1, 1),
        ("left_arm_raise", "left_elbow", 2, 1), ("right_arm_raise", "right_elbow", 2, 1),
        ("left_arm_spread", "left_wrist", 0, 1), ("right_arm_spread", "right_wrist", 0, -1),
        ("left_elbow", "left_wrist", 2, 1), ("right_elbow", "right_wrist", 2, 1),
        ("spine_pitch", "head", 2, 1), ("spine_roll", "head", 0, -1),
    ],
)  # fmt: skip
def test_positive_angles_move_joints_the_way_their_names_say(
    angle: str, joint: str, axis: int, sign: int
) -> None:
    zero, bent = np.zeros((1, len(ANGLES))), np.zeros((1, len(ANGLES)))
    bent[0, COLUMN[angle]] = 0.4
    body = load_synthetic_body("neutral", 2)
    before, after = (body.joints(pose_from_angles(t), np.zeros(10))[0, JOINT[joint]] for t in (zero, bent))
    assert sign * (after - before)[axis] > 0.01


def test_angles_stay_within_their_limits() -> None:
    for name, kind in enumerate(KINDS):
        curves = Curves(90, FPS)
        KINDS[kind](curves, np.random.default_rng(name))
        for angle, (low, high) in LIMITS.items():
            inside = (curves[angle] > low - 0.6) & (curves[angle] < high + 0.6)
            assert inside.all(), f"{kind}: {angle} is far outside of its limits before they are applied"


def test_keyframes_hold_and_move_smoothly() -> None:
    time = np.arange(300) / FPS
    value = keyframes(time, np.random.default_rng(0), -1.0, 2.0, every=(1.0, 2.0))
    assert value.min() >= -1
    assert value.max() <= 2
    assert np.ptp(value) > 0.5
    assert np.abs(np.diff(value)).max() < 3 * 1.9 / (0.5 * FPS)


def test_smooth_noise_has_unit_size() -> None:
    noise = smooth_noise((4000, 3), 5.0, np.random.default_rng(0))
    np.testing.assert_allclose(noise.std(0), 1, atol=0.2)
    assert np.abs(np.diff(noise, axis=0)).std() < 0.3
