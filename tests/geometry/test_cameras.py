import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hpsbench.errors import ShapeError
from hpsbench.geometry import cameras, units


@pytest.fixture
def extrinsics(rng):
    matrices = np.tile(np.eye(4), (6, 1, 1))
    matrices[:, :3, :3] = Rotation.random(6, rng=rng).as_matrix()
    matrices[:, :3, 3] = rng.normal(size=(6, 3))
    return matrices


def test_world_to_camera_is_the_homogeneous_product(rng, array, extrinsics):
    points = rng.normal(size=(6, 14, 3))
    homogeneous = np.concatenate([points, np.ones((6, 14, 1))], axis=-1)
    expected = np.einsum("fij,fnj->fni", extrinsics, homogeneous)[..., :3]
    moved = cameras.world_to_camera(array(points), array(extrinsics))
    np.testing.assert_allclose(np.asarray(moved), expected, atol=1e-14)
    np.testing.assert_allclose(
        np.asarray(cameras.camera_to_world(moved, array(extrinsics))), points, atol=1e-14
    )


def test_orientation_turns_with_the_points(rng, extrinsics):
    pose = Rotation.random(6, rng=rng).as_matrix()
    offsets = np.asarray([[0.1, 0.2, 0.3], [0, 0, 0]])
    turned = cameras.world_to_camera(offsets @ pose.swapaxes(-1, -2), extrinsics)
    in_camera = cameras.rotate_to_camera(pose, extrinsics)
    np.testing.assert_allclose(turned[:, 0] - turned[:, 1], (in_camera @ offsets[0]), atol=1e-14)


def test_project_by_hand(array):
    intrinsics = array(np.asarray([[1000.0, 0, 960], [0, 1000, 540], [0, 0, 1]]))
    pixels = cameras.project(array(np.asarray([[0.5, -0.25, 2.0]])), intrinsics)
    np.testing.assert_allclose(np.asarray(pixels), [[960 + 250, 540 - 125]])


def test_crop_intrinsics_maps_the_box_to_the_crop(array):
    intrinsics = cameras.camera_matrix(1000.0, (960.0, 540.0), array(np.zeros(1)))
    box = array(np.asarray([1210.0, 415.0, 100.0, 100.0]))
    inside = cameras.crop_intrinsics(intrinsics, box, 224)
    pixels = cameras.project(array(np.asarray([[0.5, -0.25, 2.0], [0.6, -0.25, 2.0]])), inside)
    np.testing.assert_allclose(np.asarray(pixels), [[112, 112], [224, 112]])


def test_weak_perspective_to_translation_by_hand(array):
    camera = array(np.asarray([[0.9, 0.1, -0.2]]))
    expected = [[0.1, -0.2, 10000 / (224 * 0.9 + 1e-9)]]
    np.testing.assert_allclose(np.asarray(cameras.weak_perspective_to_translation(camera)), expected)


def test_project_crop_is_nearly_weak_perspective(array):
    camera = array(np.asarray([0.9, 0.1, -0.2]))
    point = array(np.asarray([[0.3, 0.4, 0.0]]))
    # At the depth of the root, s (x + tx) exactly.
    np.testing.assert_allclose(
        np.asarray(cameras.project_crop(point, camera)), [[0.9 * 0.4, 0.9 * 0.2]], rtol=1e-9
    )


def test_units():
    assert units.per_frame2_to_si(30) == pytest.approx(0.9)
    assert np.isclose(180 * units.DEG_TO_RAD, np.pi)


def test_shapes_are_named():
    with pytest.raises(ShapeError, match="extrinsics"):
        cameras.world_to_camera(np.zeros((2, 3)), np.eye(3))
    with pytest.raises(ShapeError, match="camera"):
        cameras.weak_perspective_to_translation(np.zeros(4))


def test_project_h36m_by_hand(array):
    intrinsics = array(np.asarray([[1000.0, 0, 500], [0, 2000, 400], [0, 0, 1]]))
    distortion = array(np.asarray([-0.2, 0.3, -0.4, 0.01, 0.02]))
    point = array(np.asarray([[1.0, -2.0, 4.0]]))
    # x = 0.25, y = -0.5, r2 = 0.3125
    gain = 1 - 0.2 * 0.3125 + 0.3 * 0.3125**2 - 0.4 * 0.3125**3 + 0.01 * -0.5 + 0.02 * 0.25
    want = [
        [1000 * (0.25 * gain + 0.02 * 0.3125) + 500, 2000 * (-0.5 * gain + 0.01 * 0.3125) + 400],
    ]
    np.testing.assert_allclose(np.asarray(cameras.project_h36m(point, intrinsics, distortion)), want)


def test_project_h36m_without_distortion_is_a_pinhole_and_takes_batches(rng, array):
    points = np.add(rng.normal(size=(6, 17, 3)), [0, 0, 5.0])
    intrinsics = np.tile([[1100.0, 0, 510], [0, 1090, 505], [0, 0, 1]], (6, 1, 1))
    pinhole = cameras.project(array(points), array(intrinsics))
    none = cameras.project_h36m(array(points), array(intrinsics), array(np.zeros((6, 5))))
    np.testing.assert_allclose(np.asarray(none), np.asarray(pinhole), atol=1e-9)
    one_camera = cameras.project_h36m(array(points), array(intrinsics[0]), array(np.zeros(5)))
    np.testing.assert_allclose(np.asarray(one_camera), np.asarray(pinhole), atol=1e-9)


def test_project_h36m_names_wrong_shapes(rng):
    with pytest.raises(ShapeError, match=r"\(4,\)"):
        cameras.project_h36m(rng.normal(size=(2, 3)), np.eye(3), np.zeros(4))
    with pytest.raises(ShapeError, match="points"):
        cameras.project_h36m(rng.normal(size=(2, 2)), np.eye(3), np.zeros(5))
