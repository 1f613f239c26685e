import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from hpsbench.errors import ShapeError
from hpsbench.geometry import rotations

ANGLES = [0.0, 1e-12, 1e-7, 1e-4, 0.3, 1.0, 3.0, np.pi - 1e-3, np.pi - 1e-7, np.pi]


def axis_angles(rng):
    axes = rng.normal(size=(len(ANGLES), 50, 3))
    axes /= np.linalg.norm(axes, axis=-1, keepdims=True)
    return axes * np.asarray(ANGLES)[:, None, None]


def test_axis_angle_to_rotmat_agrees_with_scipy(rng, array):
    vectors = axis_angles(rng)
    ours = np.asarray(rotations.axis_angle_to_rotmat(array(vectors)))
    theirs = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(*vectors.shape, 3)
    np.testing.assert_allclose(ours, theirs, atol=2e-15)


def test_rotmat_to_axis_angle_agrees_with_scipy(rng, array):
    matrices = Rotation.from_rotvec(axis_angles(rng).reshape(-1, 3)).as_matrix()
    ours = np.asarray(rotations.rotmat_to_axis_angle(array(matrices)))
    theirs = Rotation.from_matrix(matrices).as_rotvec()
    half_turn = np.linalg.norm(theirs, axis=-1) > np.pi - 1e-9  # the axis is free there
    ours[half_turn] *= np.sign(np.sum(ours[half_turn] * theirs[half_turn], axis=-1, keepdims=True))
    np.testing.assert_allclose(ours, theirs, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_axis_angle_survives_the_round_trip(rng, array, dtype):
    matrices = Rotation.from_rotvec(axis_angles(rng).reshape(-1, 3)).as_matrix().astype(dtype)
    again = rotations.axis_angle_to_rotmat(rotations.rotmat_to_axis_angle(array(matrices)))
    assert np.asarray(again).dtype == dtype
    np.testing.assert_allclose(np.asarray(again), matrices, atol=20 * np.finfo(dtype).eps)


@pytest.mark.parametrize("diagonal", [(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)])
def test_identity_and_half_turns_about_the_axes(diagonal):
    matrix = np.diag(np.asarray(diagonal, dtype=float))
    vector = rotations.rotmat_to_axis_angle(matrix)
    expected = 0.0 if diagonal == (1, 1, 1) else np.pi
    np.testing.assert_allclose(np.linalg.norm(vector), expected, atol=1e-15)
    np.testing.assert_allclose(rotations.axis_angle_to_rotmat(vector), matrix, atol=1e-15)


def test_quaternion_agrees_with_scipy(rng, array):
    matrices = Rotation.random(200, rng=rng).as_matrix()
    ours = np.asarray(rotations.rotmat_to_quaternion(array(matrices)))
    theirs = Rotation.from_matrix(matrices).as_quat(canonical=True, scalar_first=True)
    np.testing.assert_allclose(ours, theirs, atol=1e-14)
    np.testing.assert_allclose(
        np.asarray(rotations.quaternion_to_rotmat(array(3 * ours))), matrices, atol=1e-14
    )


def test_rotation_angle_keeps_small_angles(rng, array):
    vectors = axis_angles(rng).reshape(-1, 3)
    base = Rotation.random(len(vectors), rng=rng)
    first, second = base.as_matrix(), (base * Rotation.from_rotvec(vectors)).as_matrix()
    angle = np.asarray(rotations.rotation_angle(array(first), array(second)))
    np.testing.assert_allclose(angle, np.linalg.norm(vectors, axis=-1), atol=1e-14, rtol=1e-8)


def test_rot6d_is_interleaved(array):
    identity = rotations.rot6d_to_rotmat(array(np.asarray([1.0, 0, 0, 1, 0, 0])))
    np.testing.assert_array_equal(np.asarray(identity), np.eye(3))
    quarter = np.asarray([0.0, -2, 1, 0, 0, 0])  # columns (0, 1, 0) and (-2, 0, 0)
    matrix = np.asarray(rotations.rot6d_to_rotmat(array(quarter)))
    np.testing.assert_allclose(matrix, [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-15)


def test_rot6d_round_trip_and_gram_schmidt(rng, array):
    matrices = Rotation.random(24, rng=rng).as_matrix().reshape(2, 12, 3, 3)
    six = rotations.rotmat_to_rot6d(array(matrices))
    assert tuple(six.shape) == (2, 12, 6)
    np.testing.assert_allclose(np.asarray(rotations.rot6d_to_rotmat(six)), matrices, atol=1e-15)
    loose = np.asarray(rotations.rot6d_to_rotmat(array(rng.normal(size=(50, 6)))))
    np.testing.assert_allclose(
        loose @ loose.swapaxes(-1, -2), np.broadcast_to(np.eye(3), (50, 3, 3)), atol=1e-13
    )
    np.testing.assert_allclose(np.linalg.det(loose), 1.0)


def test_rot6d_eps_is_the_floor_of_the_norm():
    tiny = np.asarray([1e-7, 0, 0, 1, 0, 0])
    assert rotations.rot6d_to_rotmat(tiny)[0, 0] == pytest.approx(0.1)
    assert rotations.rot6d_to_rotmat(tiny, eps=1e-12)[0, 0] == pytest.approx(1.0)


@pytest.mark.parametrize("size", [0.0, 1e-5, 0.7])
def test_gradients_are_finite_and_right(size):
    vector = torch.tensor([[size, 0.5 * size, -size]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rotations.axis_angle_to_rotmat, vector, atol=1e-6)
    matrix = rotations.axis_angle_to_rotmat(vector)
    rotations.rotmat_to_axis_angle(matrix).sum().backward()
    np.testing.assert_allclose(vector.grad.numpy(), 1.0, atol=1e-6)


def test_gradient_of_rot6d_is_finite_at_zero():
    zero = torch.zeros(6, requires_grad=True)
    rotations.rot6d_to_rotmat(zero).sum().backward()
    assert torch.isfinite(zero.grad).all()


def test_wrong_shape_is_named():
    with pytest.raises(ShapeError, match=r"rot6d: expected \(\.\.\., 6\), got \(2, 144\)"):
        rotations.rot6d_to_rotmat(np.zeros((2, 144)))
    with pytest.raises(ShapeError, match="axis_angle"):
        rotations.axis_angle_to_rotmat(np.zeros((2, 72)))
