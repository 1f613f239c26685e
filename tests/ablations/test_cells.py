from collections.abc import Callable

import numpy as np
import pytest

from hpsbench.ablations.cells import GROUPS, measure_cell
from hpsbench.ablations.corruption_error import corruption_error
from hpsbench.errors import BadData
from hpsbench.results.result import Result

Make = Callable[..., Result]
# Errors by frame: 9 on the corrupted frame, 5 and 3 at distances 1 and 2, 1 further away.
BY_FRAME = np.array([1, 3, 5, 9, 5, 3, 1, 1, 1, 1.0])


def test_corrupted_neighbouring_and_clean_frames_stand_apart(make_result: Make) -> None:
    result = make_result(BY_FRAME)
    cells = {group: measure_cell([result], "mpjpe", group, resamples=100) for group in GROUPS}
    assert [cells[group].value for group in GROUPS] == [3, 9, 5, 3, 1]
    assert [cells[group].n for group in GROUPS] == [80, 8, 16, 16, 40]


def test_a_change_is_of_the_same_frames(make_result: Make) -> None:
    clean = make_result(np.ones((8, 10)), corrupted=False)
    cell = measure_cell([make_result(BY_FRAME)], "mpjpe", "corrupted", clean, resamples=100)
    assert (cell.value, cell.reference, cell.change) == (9, 1, 8)
    assert cell.change_interval == (8, 8)
    assert cell.p_value is not None
    assert cell.p_value < 0.05


def test_seeds_are_averaged_and_an_interval_holds_the_value(make_result: Make) -> None:
    rng = np.random.default_rng(0)
    results = [make_result(rng.normal(50, 5, (8, 1)) + BY_FRAME) for _ in range(3)]
    cell = measure_cell(results, "mpjpe", resamples=200)
    assert cell.value == pytest.approx(np.mean([r.summary["mpjpe"] for r in results]))
    assert cell.interval is not None
    assert cell.interval[0] < cell.value < cell.interval[1]


def test_clean_features_have_no_corrupted_frames(make_result: Make) -> None:
    cell = measure_cell([make_result(BY_FRAME, corrupted=False)], "mpjpe", "corrupted")
    assert (cell.value, cell.why_none) == (None, "no such frame")
    assert measure_cell([make_result(BY_FRAME)], "pve").why_none == "not measured"


def test_other_frames_are_refused(make_result: Make) -> None:
    with pytest.raises(BadData, match="other frames"):
        measure_cell([make_result(BY_FRAME), make_result(BY_FRAME[:9], frames=9)], "mpjpe")


def test_the_corruption_error_is_a_mean_of_ratios(make_result: Make) -> None:
    flat = np.ones((8, 10))
    own = {"noise": [make_result(4 * flat), make_result(8 * flat)], "jpeg": [make_result(3 * flat)]}
    other = {"noise": [make_result(8 * flat), make_result(8 * flat)], "jpeg": [make_result(2 * flat)]}
    found = corruption_error(own, other, "mpjpe", resamples=100)
    assert found.value == pytest.approx((12 / 16 + 3 / 2) / 2)
    assert found.interval == pytest.approx((found.value, found.value))
    assert found.sequences == 8
    clean = make_result(1 * flat), make_result(1 * flat)
    relative = corruption_error(own, other, "mpjpe", clean=clean, resamples=100)
    assert relative.value == pytest.approx((10 / 14 + 2 / 1) / 2)


def test_its_interval_is_about_that_of_resampled_ratios(make_result: Make) -> None:
    rng = np.random.default_rng(1)
    above, below = rng.uniform(4, 8, (8, 1)), rng.uniform(8, 12, (8, 1))
    own, other = {"noise": [make_result(above)]}, {"noise": [make_result(below)]}
    found = corruption_error(own, other, "mpjpe", resamples=2000)
    draws = rng.integers(0, 8, (4000, 8))
    ratios = above[draws, 0].sum(axis=1) / below[draws, 0].sum(axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    assert found.interval is not None
    width = found.interval[1] - found.interval[0]
    assert 0.9 < width / (high - low) < 2.2
    assert found.interval[0] < above.sum() / below.sum() < found.interval[1]


def test_a_baseline_that_loses_nothing_makes_no_ratio(make_result: Make) -> None:
    one = make_result(np.ones((8, 10)))
    found = corruption_error({"noise": [one]}, {"noise": [one]}, "mpjpe", clean=(one, one))
    assert found.value is None
    assert "loses nothing under noise" in str(found.why_none)


def test_seeds_that_hit_other_sequences_make_no_mean(make_result: Make) -> None:
    """Of frames that one seed has in these sequences and another in those, no mean pairs them."""
    results = [make_result(BY_FRAME), make_result(BY_FRAME)]
    for number, result in enumerate(results):
        first_half = result.frames["sequence"].isin([f"s{i}" for i in range(4)])
        result.frames.loc[first_half == (number == 0), "corrupted_distance"] = 9.0
    clean = make_result(np.ones((8, 10)), corrupted=False)
    cell = measure_cell(results, "mpjpe", "corrupted", clean, resamples=100)
    assert (cell.value, cell.why_none) == (None, "no sequence has such frames under every seed")
    results[1].frames.loc[results[1].frames["sequence"] == "s5", "corrupted_distance"] = 0.0
    cell = measure_cell(results, "mpjpe", "corrupted", clean, resamples=100)
    assert cell.n == round((1 + 10) / 2), "of s5 alone: one frame under the first seed, ten under the second"
    assert cell.value == pytest.approx((9 + BY_FRAME.sum()) / 11)
