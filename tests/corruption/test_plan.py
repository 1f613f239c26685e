import numpy as np

from hpsbench.corruption._catalog import get_corruption
from hpsbench.corruption._plan import Condition, keypoint_boxes, plan_track

THIRD = Condition(mode="center", ratio=0.33)
KNOWN = [0, 2, 7, 9]


def boxes(length: int) -> np.ndarray:
    return np.tile([[100.0, 50, 160, 250]], (length, 1))


def test_a_plan_depends_on_track_and_seed_alone() -> None:
    one = plan_track(get_corruption("random"), THIRD, "a_0", boxes(50))
    again = plan_track(get_corruption("random"), THIRD, "a_0", boxes(50))
    np.testing.assert_array_equal(one.what, again.what)
    other = plan_track(get_corruption("random"), THIRD, "a_1", boxes(50))
    seeded = plan_track(
        get_corruption("random"), Condition(mode="random", ratio=0.33, seed=1), "a_0", boxes(50)
    )
    assert one.frames.tolist() != other.frames.tolist()
    assert one.frames.tolist() != seeded.frames.tolist()


def test_all_modes_of_a_seed_hit_the_same_frames() -> None:
    center = plan_track(get_corruption("center"), THIRD, "a_0", boxes(50))
    random = plan_track(get_corruption("random"), Condition(mode="random", ratio=0.33), "a_0", boxes(50))
    np.testing.assert_array_equal(center.frames, random.frames)


def test_known_draw_stays_the_same_on_every_machine() -> None:
    plan = plan_track(get_corruption("center"), THIRD, "downtown_walking_00_0", boxes(12))
    assert plan.frames.tolist() == KNOWN


def test_boxes_hold_visible_keypoints_only() -> None:
    keypoints = np.array(
        [[[10, 20, 0.9], [30, 80, 0.5], [500, 500, 0.3]], [[1, 1, 0.0], [2, 2, 0.1], [3, 3, 0.2]]]
    )
    view = np.array([[0, 0, 1, 1], [50.0, 60, 20, 20]])
    np.testing.assert_array_equal(keypoint_boxes(keypoints, view), [[10, 20, 30, 80], [40, 50, 60, 70]])


def test_names_tell_everything_that_is_not_usual() -> None:
    assert THIRD.name == "center-0.33x1-s0"
    assert Condition(mode="random", ratio=0.1, consecutive=2, seed=3, pattern="regular").name == (
        "random-0.1x2-s3-regular"
    )
    assert Condition(mode="center", ratio=0.2, fill="mean").name == "center-0.2x1-s0-mean"
