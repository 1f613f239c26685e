"""What every corruption must keep, whoever adds it."""

import numpy as np
import pytest

from hpsbench.corruption._catalog import get_corruption, list_corruptions
from hpsbench.corruption._pattern import check_pattern

BOXES = np.array([[20.0, 10, 60, 90], [0.0, 0, 30, 50], [70.0, 40, 99, 99]])


@pytest.mark.parametrize("name", list_corruptions())
def test_a_plan_repeats_and_has_a_row_a_frame(name: str) -> None:
    corruption = get_corruption(name)
    assert corruption.name == name
    plan = corruption.plan(BOXES, np.random.default_rng(5))
    assert plan.shape[0] == len(BOXES)
    assert plan.shape[1] == len(corruption.columns)
    assert plan.dtype == np.int64
    np.testing.assert_array_equal(plan, corruption.plan(BOXES, np.random.default_rng(5)))
    assert corruption.plan(BOXES[:0], np.random.default_rng(5)).shape == (0, plan.shape[1])


@pytest.mark.parametrize("name", list_corruptions())
def test_applying_changes_a_copy_only(name: str) -> None:
    corruption = get_corruption(name)
    image = np.random.default_rng(1).integers(1, 255, (100, 100, 3), dtype=np.uint8)
    before = image.copy()
    for what in corruption.plan(BOXES, np.random.default_rng(5)):
        changed = corruption.apply(image, what)
        assert changed.shape == image.shape
        assert changed.dtype == np.uint8
        assert (changed != before).any()
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("name", list_corruptions())
def test_severity_is_a_table_of_five_feasible_levels(name: str) -> None:
    levels = get_corruption(name).levels
    assert len(levels) == 5
    for ratio, consecutive in levels:
        check_pattern(ratio, consecutive, "random")
    assert [ratio for ratio, _ in levels] == sorted(ratio for ratio, _ in levels)
