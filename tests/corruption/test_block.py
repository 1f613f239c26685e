import numpy as np

from hpsbench.corruption._block import block_sides, paint_square, squares
from hpsbench.corruption.center import box_centres
from hpsbench.corruption.random import points_in_boxes


def test_the_side_is_half_the_height_rounded() -> None:
    boxes = np.array([[0, 0, 10, 100.0], [0, 0, 300, 101.0], [5, 5, 6, 5.2]])
    np.testing.assert_array_equal(block_sides(boxes), [50, 51, 1])


def test_center_lies_on_the_middle_of_the_box() -> None:
    plan = squares(np.array([[100.0, 50, 160, 250]]), box_centres, np.random.default_rng(0))
    np.testing.assert_array_equal(plan, [[80, 100, 100]])  # centre (130, 150), side 100


def test_random_centres_fill_the_box_and_nothing_else() -> None:
    boxes = np.tile([[100.0, 50, 160, 250]], (2000, 1))
    plan = squares(boxes, points_in_boxes, np.random.default_rng(0))
    centres = plan[:, :2] + plan[:, 2:] / 2
    assert (np.abs(centres.min(axis=0) - [100, 50]) < 3).all()
    assert (np.abs(centres.max(axis=0) - [160, 250]) < 3).all()
    assert (plan[:, 2] == 100).all()


def test_paint_square_is_black_inside_and_leaves_the_rest(rng: np.random.Generator) -> None:
    image = rng.integers(1, 255, (60, 80, 3), dtype=np.uint8)
    before = image.copy()
    painted = paint_square(image, np.array([70, -5, 20]))
    assert (painted[:15, 70:] == 0).all()
    painted[:15, 70:] = before[:15, 70:]
    np.testing.assert_array_equal(painted, before)
    np.testing.assert_array_equal(image, before)


def test_a_square_outside_the_image_changes_nothing(rng: np.random.Generator) -> None:
    image = rng.integers(1, 255, (20, 20, 3), dtype=np.uint8)
    np.testing.assert_array_equal(paint_square(image, np.array([-30, 3, 10])), image)
    np.testing.assert_array_equal(paint_square(image, np.array([3, 40, 10])), image)


def test_mean_fill_is_the_colour_that_normalises_to_zero() -> None:
    painted = paint_square(np.zeros((4, 4, 3), np.uint8), np.array([0, 0, 2]), fill="mean")
    np.testing.assert_array_equal(painted[0, 0], [124, 116, 104])
