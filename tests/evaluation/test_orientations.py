import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from hpsbench.bodies.joints import PARENTS, SMPL24
from hpsbench.evaluation.orientations import global_rotations, slerp_filter


def test_global_rotations_are_products_from_the_root() -> None:
    rotmat = Rotation.random(2 * 24, random_state=0).as_matrix().reshape(2, 24, 3, 3)
    found = global_rotations(rotmat)
    for joint in range(24):
        expected, parent = rotmat[:, joint], PARENTS["smpl24"][joint]
        while parent >= 0:
            expected, parent = rotmat[:, parent] @ expected, PARENTS["smpl24"][parent]
        np.testing.assert_allclose(found[:, joint], expected, atol=1e-12)


def test_turning_the_root_turns_all() -> None:
    rotmat = np.tile(np.eye(3), (1, 24, 1, 1))
    rotmat[:, SMPL24.index("pelvis")] = Rotation.from_euler("z", 30, degrees=True).as_matrix()
    np.testing.assert_allclose(global_rotations(rotmat), np.repeat(rotmat[:, :1], 24, axis=1), atol=1e-12)


def test_the_filter_is_a_recursive_slerp() -> None:
    turns = Rotation.random(12, random_state=1)
    found = slerp_filter(turns.as_matrix()[:, None], 0.3)[:, 0]
    smoothed = turns[0]
    for frame in range(1, 12):
        smoothed = Slerp([0, 1], Rotation.concatenate([smoothed, turns[frame]]))(0.3)
        np.testing.assert_allclose(found[frame], smoothed.as_matrix(), atol=1e-9)


def test_a_ratio_of_one_and_a_still_pose_change_nothing() -> None:
    turns = Rotation.random(5, random_state=2).as_matrix()[:, None]
    np.testing.assert_allclose(slerp_filter(turns, 1.0), turns, atol=1e-9)
    still = np.repeat(turns[:1], 5, axis=0)
    np.testing.assert_allclose(slerp_filter(still, 0.3), still, atol=1e-9)
    assert slerp_filter(turns[:0], 0.3).shape == (0, 1, 3, 3)
