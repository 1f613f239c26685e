import numpy as np
import pytest
from scipy import stats

from hpsbench.errors import ShapeError, UsageError
from hpsbench.evaluation import statistics


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def skewed(rng, sequences=24):
    """Sums and counts of sequences with log-normal errors about 80 mm and unequal lengths."""
    counts = rng.integers(200, 2000, sequences).astype(float)
    return counts * 80 * np.exp(rng.normal(0, 0.4, sequences) - 0.08), counts


def covers(interval, truth):
    low, high = interval.interval
    return low <= truth <= high


def share_covered(rng, draw, truth, times=400):
    """Share of simulated data sets, in percent, whose interval holds the truth."""
    return 100 * np.mean(
        [
            covers(statistics.bootstrap_interval(*draw(rng), seed=i, resamples=300), truth)
            for i in range(times)
        ]
    )


def test_coverage_of_frame_means_at_24_sequences(rng):
    assert 92 <= share_covered(rng, skewed, 80) <= 98


def test_coverage_of_video_means_at_24_sequences(rng):
    def draw(rng):
        return 50 + 30 * rng.exponential(size=24), np.ones(24)

    assert 92 <= share_covered(rng, draw, 80) <= 98


def test_coverage_with_two_levels(rng):
    def draw(rng):
        sums, counts = skewed(rng)
        seeds = rng.normal(0, 3, size=(4, 1)) + rng.normal(0, 2, size=(4, 24))
        return sums + counts * seeds, np.tile(counts, (4, 1))

    assert 92 <= share_covered(rng, draw, 80, times=300) <= 98


def test_percentile_intervals_would_cover_less(rng):
    """The reason for studentised intervals: on the same skewed data the plain ones miss more often."""
    missed = {"studentised": 0, "percentile": 0}
    for i in range(200):
        sums, counts = 40 * rng.exponential(size=12), np.ones(12)
        ours = statistics.bootstrap_interval(sums, counts, seed=i, resamples=400)
        missed["studentised"] += not covers(ours, 40)
        draws = rng.multinomial(12, np.full(12, 1 / 12), size=400) @ sums / 12
        missed["percentile"] += not np.quantile(draws, 0.025) <= 40 <= np.quantile(draws, 0.975)
    assert missed["studentised"] < missed["percentile"]


def test_interval_of_normal_means_is_near_students(rng):
    means = rng.normal(80, 10, 200)
    ours = statistics.bootstrap_interval(means, np.ones(200))
    theirs = stats.t.interval(0.95, 199, means.mean(), stats.sem(means))
    np.testing.assert_allclose(ours.interval, theirs, atol=0.25)
    assert ours.value == pytest.approx(means.mean())


def test_the_mean_is_weighted_by_frames():
    counts = np.asarray([100, 900, 500, 500, 500, 500])
    result = statistics.bootstrap_interval(counts * np.asarray([10, 20, 30, 30, 30, 30]), counts)
    assert result.value == pytest.approx((1000 + 18000 + 60000) / 3000)
    assert result.interval[0] < result.value < result.interval[1]
    assert (result.sequences, result.seeds, result.why_none) == (6, 1, None)


def test_scale_and_order_carry_over(rng):
    sums, counts = skewed(rng)
    low, high = statistics.bootstrap_interval(sums, counts).interval
    np.testing.assert_allclose(statistics.bootstrap_interval(3 * sums, counts).interval, (3 * low, 3 * high))
    shifted = statistics.bootstrap_interval(sums + 5 * counts, counts).interval
    np.testing.assert_allclose(shifted, (low + 5, high + 5))


def test_the_seed_decides(rng):
    data = skewed(rng)
    once = statistics.bootstrap_interval(*data, seed=3)
    assert once == statistics.bootstrap_interval(*data, seed=3)
    assert once.interval != statistics.bootstrap_interval(*data, seed=4).interval


def test_below_six_sequences_there_is_none_and_a_reason(rng):
    sums, counts = skewed(rng, 5)
    result = statistics.bootstrap_interval(sums, counts)
    assert result.interval is None
    assert result.why_none == "5 sequences; an interval needs at least 6"
    assert result.value == pytest.approx(sums.sum() / counts.sum())
    one = statistics.paired_difference([1.0, 2.0], [1.0, 1.0], ["a", "a"])
    assert one.interval is None
    assert one.p_value is None
    assert one.why_none == "1 sequence; an interval needs at least 6"


def test_no_errors_give_no_width():
    result = statistics.bootstrap_interval(np.zeros(8), np.full(8, 100))
    assert (result.value, result.interval) == (0.0, (0.0, 0.0))
    same = statistics.bootstrap_interval(np.full(8, 700.0), np.full(8, 100))
    np.testing.assert_allclose(same.interval, 7.0)


def test_seeds_widen_the_interval(rng):
    sums, counts = skewed(rng)
    alike = statistics.bootstrap_interval(np.stack([sums] * 3), np.stack([counts] * 3))
    apart = statistics.bootstrap_interval(np.stack([0.7 * sums, sums, 1.3 * sums]), np.stack([counts] * 3))
    assert apart.value == pytest.approx(alike.value)
    assert apart.interval[1] - apart.interval[0] > 1.2 * (alike.interval[1] - alike.interval[0])
    assert apart.seeds == 3
    single = statistics.bootstrap_interval(sums, counts)
    np.testing.assert_allclose(alike.interval, single.interval, rtol=0.02)


def test_seed_spread():
    spread = statistics.seed_spread([[10, 10], [20, 20], [30, 30]], [[1, 1]] * 3)
    assert (spread.mean, spread.std, spread.values) == (20.0, 10.0, (10.0, 20.0, 30.0))
    assert statistics.seed_spread([10.0], [1]).std is None


@pytest.fixture
def frames(rng):
    """Per-frame values of 12 sequences of unequal length, frames of a sequence alike: (values, sequence)."""
    sequence = np.repeat([f"s{i:02d}" for i in range(12)], rng.integers(20, 200, 12))
    level = dict(zip(np.unique(sequence), rng.gamma(9, 9, 12), strict=True))
    return np.asarray([level[s] for s in sequence]) + rng.normal(0, 5, len(sequence)), sequence


def test_paired_difference_sees_what_the_intervals_hide(rng, frames):
    values, sequence = frames
    better = values - 2 + rng.normal(0, 3, len(values))
    result = statistics.paired_difference(better, values, sequence)
    assert result.value == pytest.approx((better - values).mean())
    assert (result.first, result.second, result.n) == (
        pytest.approx(better.mean()),
        pytest.approx(values.mean()),
        len(values),
    )
    assert result.interval[1] < 0
    assert result.p_value < 0.01
    alone = statistics.bootstrap_interval(*statistics.group_sums(values, sequence))
    assert alone.interval[1] - alone.interval[0] > 10 * (result.interval[1] - result.interval[0])


def test_paired_difference_of_the_same_is_nothing(frames):
    values, sequence = frames
    result = statistics.paired_difference(values, values * (1 + 1e-15), sequence)
    assert (result.value, result.interval, result.p_value) == (0.0, (0.0, 0.0), 1.0)
    shifted = statistics.paired_difference(values + 1, values, sequence)
    np.testing.assert_allclose(shifted.interval, 1.0)
    assert shifted.p_value < 0.001


def test_p_value_and_interval_agree_and_are_calibrated(rng):
    sequence = np.repeat(np.arange(24), 10)
    p_values = []
    for i in range(200):
        difference = np.repeat(rng.gamma(2, 1, 24) - 2, 10)
        result = statistics.paired_difference(difference, np.zeros(240), sequence, seed=i, resamples=400)
        p_values.append(result.p_value)
        excludes = not result.interval[0] <= 0 <= result.interval[1]
        assert excludes == (result.p_value < 0.05) or 0.04 < result.p_value < 0.06
    assert 0.02 <= np.mean(np.asarray(p_values) < 0.05) <= 0.08
    assert 0.4 <= np.mean(np.asarray(p_values) < 0.5) <= 0.6


def test_swapping_the_two_flips_the_sign(rng, frames):
    values, sequence = frames
    other = values + rng.normal(0.5, 3, len(values))
    there = statistics.paired_difference(values, other, sequence)
    back = statistics.paired_difference(other, values, sequence)
    assert there.value == pytest.approx(-back.value)
    np.testing.assert_allclose(there.interval, [-back.interval[1], -back.interval[0]], rtol=0.01)


def test_frames_may_be_permuted(rng, frames):
    values, sequence = frames
    other = values + rng.normal(0.5, 3, len(values))
    order = rng.permutation(len(values))
    once = statistics.paired_difference(values, other, sequence)
    again = statistics.paired_difference(values[order], other[order], sequence[order])
    np.testing.assert_allclose(once.interval, again.interval)


def test_frames_without_a_value_are_left_out(frames):
    values, sequence = frames
    holes = values.copy()
    holes[::7] = np.nan
    kept = ~np.isnan(holes)
    once = statistics.paired_difference(holes, holes - 1 + 0.01 * values, sequence)
    again = statistics.paired_difference(values[kept], (values - 1 + 0.01 * values)[kept], sequence[kept])
    np.testing.assert_allclose(once.interval, again.interval)
    assert once.n == kept.sum()
    with pytest.raises(UsageError, match="values at different frames"):
        statistics.paired_difference(holes, values, sequence)


def test_averages_differ_as_the_protocols_say():
    values = np.asarray([1.0, 1, 1, 5, 9, np.nan])
    sequence = np.asarray(["a", "a", "a", "a", "b", "b"])
    track = np.asarray(["a_0", "a_0", "a_0", "a_1", "b_0", "b_0"])
    for average, sums, counts in (
        ("frame", [8, 9], [4, 1]),
        ("track", [1 + 5, 9], [2, 1]),
        ("video", [2, 9], [1, 1]),
    ):
        found = statistics.group_sums(values, sequence, track=track, average=average)
        np.testing.assert_allclose(found[0], [sums])
        np.testing.assert_allclose(found[1], [counts])
    weighted = statistics.group_sums(values, sequence, weight=np.asarray([1, 1, 2, 0, 3, 1]))
    np.testing.assert_allclose(weighted, ([[4, 27]], [[4, 3]]))


def test_paired_ratio(rng, frames):
    values, sequence = frames
    result = statistics.paired_ratio(0.8 * values + rng.normal(0, 1, len(values)), values, sequence)
    assert result.interval[0] < 0.8 < result.interval[1]
    assert result.interval[1] - result.interval[0] < 0.02


def test_seeds_are_paired_in_order(rng, frames):
    values, sequence = frames
    first = np.stack([values - 2 + rng.normal(0, 3, len(values)) for _ in range(3)])
    second = np.stack([values] * 3)
    result = statistics.paired_difference(first, second, sequence)
    assert result.seeds == 3
    assert result.interval[1] < 0


def test_memory_does_not_grow_with_the_sequences(rng):
    sums, counts = skewed(rng, 3000)
    result = statistics.bootstrap_interval(sums, counts, resamples=1000)
    assert result.interval[1] - result.interval[0] < 5


@pytest.mark.parametrize(
    ("sums", "counts", "error", "message"),
    [
        ([1.0, 2.0], [1.0], ShapeError, "expected both"),
        ([], [], ShapeError, "expected both"),
        ([1.0, np.nan], [1, 1], UsageError, "finite"),
        ([1.0, 2.0], [1, 0], UsageError, "counts positive"),
    ],
)
def test_bad_input_is_named(sums, counts, error, message):
    with pytest.raises(error, match=message):
        statistics.bootstrap_interval(sums, counts)


def test_bad_calls_are_named():
    with pytest.raises(UsageError, match="level"):
        statistics.bootstrap_interval(np.ones(8), np.ones(8), level=95)
    with pytest.raises(UsageError, match="needs the track"):
        statistics.group_sums([1.0], ["a"], average="track")
    with pytest.raises(UsageError, match="no frame has a value"):
        statistics.group_sums([np.nan], ["a"])
    with pytest.raises(ShapeError, match="one per frame"):
        statistics.group_sums([1.0, 2.0], ["a"])
    with pytest.raises(ShapeError, match="same shape"):
        statistics.paired_difference([1.0, 2.0], [1.0], ["a", "b"])
