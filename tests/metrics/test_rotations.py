import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from hpsbench import metrics
from hpsbench.errors import BadData, ShapeError


def random_rotations(rng, frames=8, joints=9):
    return Rotation.random(frames * joints, rng=rng).as_matrix().reshape(frames, joints, 3, 3)


def test_mpjae_is_the_mean_angle_in_degrees(rng, array):
    target = random_rotations(rng)
    angles = rng.uniform(0, 180, size=(8, 9))
    turn = Rotation.from_rotvec((angles[..., None] * [0, 0.6, 0.8]).reshape(-1, 3), degrees=True).as_matrix()
    pred = target @ turn.reshape(8, 9, 3, 3)
    np.testing.assert_allclose(
        np.asarray(metrics.mpjae(array(pred), array(target))), angles.mean(-1), atol=1e-6
    )


def test_mpjae_agrees_with_scipy_and_has_no_error_on_itself(rng):
    pred, target = random_rotations(rng), random_rotations(rng)
    between = Rotation.from_matrix(pred.reshape(-1, 3, 3)).inv() * Rotation.from_matrix(
        target.reshape(-1, 3, 3)
    )
    expected = np.degrees(between.magnitude()).reshape(8, 9).mean(-1)
    np.testing.assert_allclose(metrics.mpjae(pred, target), expected)
    np.testing.assert_allclose(metrics.mpjae(pred, pred), 0, atol=1e-9)


def test_pa_mpjae_takes_the_procrustes_rotation_off(rng, make_pair, array):
    _, joints = make_pair(frames=8)
    target = random_rotations(rng)
    turn = Rotation.random(8, rng=rng).as_matrix()
    pred_joints, pred = joints @ turn.swapaxes(-1, -2), turn[:, None] @ target
    rotation = metrics.procrustes_rotation(array(pred_joints), array(joints))
    values = metrics.mpjae(array(pred), array(target), rotation=rotation)
    np.testing.assert_allclose(np.asarray(values), 0, atol=1e-6)
    assert metrics.mpjae(pred, target).min() > 1


def test_numpy_and_torch_agree_in_float32(rng):
    pred, target = (random_rotations(rng).astype(np.float32) for _ in range(2))
    ours, theirs = metrics.mpjae(pred, target), metrics.mpjae(torch.tensor(pred), torch.tensor(target))
    assert ours.dtype == np.float64
    assert isinstance(theirs, torch.Tensor)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12)


def test_what_is_no_rotation_is_refused(rng):
    target = random_rotations(rng)
    with pytest.raises(ShapeError, match=r"expected \(T, J, 3, 3\), got \(8, 72\)"):
        metrics.mpjae(np.zeros((8, 72)), np.zeros((8, 72)))
    with pytest.raises(BadData, match="pred: frame 0 holds matrices that are no rotations"):
        metrics.mpjae(2 * target, target)
    broken = target.copy()
    broken[5, 2, 0, 0] = np.nan
    with pytest.raises(BadData, match="frame 5"):
        metrics.mpjae(target, broken)
    with pytest.raises(ShapeError, match="rotation: expected"):
        metrics.mpjae(target, target, rotation=np.eye(3))
    assert metrics.mpjae(target[:0], target[:0]).shape == (0,)
