import numpy as np
import pytest
import torch

from hpsbench.bodies.joints import PARENTS
from hpsbench.bodies.skinning import pose_joints
from hpsbench.errors import ShapeError
from hpsbench.geometry.alignment import root_align
from hpsbench.geometry.rotations import axis_angle_to_rotmat, rot6d_to_rotmat
from hpsbench.models._checkpoints import load_checkpoint, save_checkpoint
from hpsbench.models.mean_pose import BETA_LIMIT, MeanPose
from hpsbench.types import ClipInput

ROOTS = (1, 2)
REST = torch.randn(24, 3, generator=torch.Generator().manual_seed(5)) * 0.3


def stick_joints(rotmat: torch.Tensor, betas: torch.Tensor) -> torch.Tensor:
    """A stick body: bones grow with the first beta."""
    rest = REST * (1 + 0.1 * betas[:, :1, None])
    return pose_joints(rotmat, rest.expand(len(rotmat), 24, 3), PARENTS["smpl24"])[0]


def mean_error(rotmat: torch.Tensor, betas: torch.Tensor, poses: np.ndarray, shapes: np.ndarray) -> float:
    frames = axis_angle_to_rotmat(torch.tensor(poses, dtype=torch.float32).reshape(-1, 24, 3))
    target = root_align(stick_joints(frames, torch.tensor(shapes, dtype=torch.float32)), ROOTS)
    joints = root_align(stick_joints(rotmat[None], betas[None]), ROOTS)
    return float((joints - target).norm(dim=-1).mean())


@pytest.fixture
def skewed() -> tuple[np.ndarray, np.ndarray]:
    """Poses with a long tail, so that the mean and the median differ."""
    rng = np.random.default_rng(0)
    poses = rng.normal(0, 0.2, (40, 72))
    poses[30:] += 1.5
    return poses, rng.normal(0.5, 0.3, (40, 10))


def test_equal_frames_are_reproduced() -> None:
    pose = np.random.default_rng(1).normal(0, 0.4, 72)
    betas = np.linspace(-1, 1, 10)
    fitted = MeanPose.fit(np.tile(pose, (7, 1)), np.tile(betas, (7, 1)), stick_joints, ROOTS, steps=20)
    rotmat = axis_angle_to_rotmat(torch.tensor(pose, dtype=torch.float32).reshape(24, 3))
    torch.testing.assert_close(rot6d_to_rotmat(fitted.pose.detach()), rotmat, atol=1e-4, rtol=0)
    assert fitted.card["fit"]["joint_error_mm"] < 0.1


def test_the_fit_beats_the_mean_and_no_small_change_beats_the_fit(skewed) -> None:
    poses, shapes = skewed
    start = MeanPose.fit(poses, shapes, stick_joints, ROOTS, steps=0)
    fitted = MeanPose.fit(poses, shapes, stick_joints, ROOTS, steps=300)
    rotmat, betas = rot6d_to_rotmat(fitted.pose.detach()), fitted.betas.detach()
    best = mean_error(rotmat, betas, poses, shapes)
    assert fitted.card["fit"]["joint_error_mm"] == pytest.approx(best * 1000, rel=1e-4)
    assert best < 0.98 * start.card["fit"]["joint_error_mm"] / 1000
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        turn = axis_angle_to_rotmat(torch.randn(24, 3, generator=generator) * 0.05)
        assert mean_error(rotmat @ turn, betas, poses, shapes) > best - 1e-5
    for step in (-0.1, 0.1):
        shifted = betas.clone()
        shifted[0] += step
        assert mean_error(rotmat, shifted, poses, shapes) > best - 1e-5


def test_shapes_stay_those_of_people(skewed) -> None:
    poses, shapes = skewed
    fitted = MeanPose.fit(poses, shapes - 20, stick_joints, ROOTS, steps=5)
    assert fitted.betas.abs().max() <= BETA_LIMIT


def test_every_frame_gets_the_same_body_without_features() -> None:
    prediction = MeanPose().predict(ClipInput(track="a", length=4, frame_id=np.arange(4)))
    assert prediction.rows.tolist() == [0, 1, 2, 3]
    assert prediction.rotmat.shape == (4, 24, 3, 3)
    np.testing.assert_array_equal(prediction.betas, np.zeros((4, 10)))
    np.testing.assert_allclose(prediction.rotmat[3], np.tile(np.eye(3), (24, 1, 1)))


def test_a_fitted_constant_is_kept_in_a_checkpoint(tmp_path, skewed) -> None:
    fitted = MeanPose.fit(*skewed, stick_joints, ROOTS, steps=3)
    loaded = load_checkpoint(save_checkpoint(fitted, tmp_path / "mean_pose.safetensors", fitted.card))
    torch.testing.assert_close(loaded.pose, fitted.pose, atol=0, rtol=0)
    assert loaded.card["fit"] == fitted.card["fit"]
    assert loaded.inputs.features is None


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ShapeError, match=r"got full_pose \(3, 69\) and betas \(3, 10\)"):
        MeanPose.fit(np.zeros((3, 69)), np.zeros((3, 10)), stick_joints, ROOTS)
    with pytest.raises(ShapeError, match="N > 0"):
        MeanPose.fit(np.zeros((0, 72)), np.zeros((0, 10)), stick_joints, ROOTS)
