import numpy as np
import pytest

from hpsbench.corruption._catalog import get_corruption
from hpsbench.corruption._corruption import Scene
from hpsbench.corruption._plan import Condition, choose_condition, keypoint_boxes, plan_track
from hpsbench.errors import ShapeError, UsageError

THIRD = Condition(mode="center", ratio=0.33)
KNOWN = [0, 2, 7, 9]


def boxes(length: int, tight: tuple[float, ...] = (100, 50, 160, 250)) -> Scene:
    return Scene(
        rows=np.arange(length),
        tight=np.tile(np.array(tight, float), (length, 1)),
        boxes=np.tile([[130.0, 150, 220, 220]], (length, 1)),
        keypoints=np.zeros((length, 0, 2)),
        others=np.full((length, 4), np.nan),
    )


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
    assert Condition(mode="noise", ratio=0.33, severity=2).name == "noise-0.33x1-s0-sev2"


def test_other_box_layouts_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"are these \(cx, cy, w, h\)"):
        plan_track(get_corruption("center"), THIRD, "a_0", boxes(9, (100, 100, 40, 40)))


def test_known_squares_stay_the_same_on_every_machine() -> None:
    setting = Condition(mode="random", ratio=0.33)
    plan = plan_track(get_corruption("random"), setting, "downtown_walking_00_0", boxes(12))
    assert plan.what.tolist() == [[65, 70, 100], [56, 19, 100], [51, 180, 100], [61, 95, 100]]


def test_a_severity_is_a_level_of_the_table() -> None:
    block = choose_condition(get_corruption("center"), severity=4)
    assert (block.ratio, block.consecutive, block.severity) == (0.33, 2, None)
    noise = choose_condition(get_corruption("noise"), severity=4, ratio=0.1, consecutive=2)
    assert (noise.ratio, noise.consecutive, noise.severity) == (0.1, 2, 4)
    assert choose_condition(get_corruption("noise"), ratio=1.0).name == "noise-1x1-s0-sev3"
    frozen = get_corruption("frozen")
    assert choose_condition(frozen, severity=5, ratio=0.33).consecutive == 16
    with pytest.raises(
        UsageError, match=r"is the ratio 0\.33 in bursts of 16, which the ratio 0\.1 contradicts"
    ):
        choose_condition(frozen, severity=5, ratio=0.1)
    with pytest.raises(UsageError, match="that is the clean feature set"):
        choose_condition(frozen, ratio=0.0)
    with pytest.raises(UsageError, match=r"--ratio 0\.33"):
        choose_condition(get_corruption("center"))
    with pytest.raises(UsageError, match="severities 1 to 5"):
        choose_condition(get_corruption("center"), severity=6)


def test_a_ratio_of_one_is_every_frame() -> None:
    plan = plan_track(
        get_corruption("noise"), Condition(mode="noise", ratio=1.0, severity=1), "a_0", boxes(7)
    )
    assert plan.frames.tolist() == list(range(7))


def test_held_frames_are_the_last_that_arrived() -> None:
    setting = Condition(mode="frozen", ratio=0.33, consecutive=3)
    plan = plan_track(get_corruption("frozen"), setting, "a_0", boxes(9))
    arrived = sorted(set(range(9)) - set(plan.frames.tolist()))
    for frame, (source,) in zip(plan.frames.tolist(), plan.what.tolist(), strict=True):
        assert source == max((a for a in arrived if a < frame), default=arrived[0])


def test_a_picture_that_never_moves_is_the_first_one() -> None:
    plan = plan_track(get_corruption("frozen"), Condition(mode="frozen", ratio=1.0), "a_0", boxes(5))
    assert plan.frames.tolist() == [1, 2, 3, 4]
    assert set(plan.what[:, 0].tolist()) == {0}
    assert plan.cut == 1


def test_shuffled_bursts_keep_their_frames() -> None:
    setting = Condition(mode="shuffled", ratio=0.33, consecutive=4)
    plan = plan_track(get_corruption("shuffled"), setting, "a_0", boxes(60))
    assert sorted(plan.what[:, 0].tolist()) == plan.frames.tolist()
    assert (plan.what[:, 0] != plan.frames).all()
    assert np.abs(plan.what[:, 0] - plan.frames).max() <= 3
