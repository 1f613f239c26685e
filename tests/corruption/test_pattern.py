from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpsbench.corruption._pattern import burst_frames, exact_ratio
from hpsbench.errors import UsageError


def runs(frames: np.ndarray) -> list[int]:
    """Lengths of the runs of consecutive numbers."""
    cuts = np.flatnonzero(np.diff(frames) > 1) + 1
    return [len(part) for part in np.split(frames, cuts)] if len(frames) else []


@given(
    length=st.integers(1, 200),
    ratio=st.sampled_from([0.1, 0.2, 0.33]),
    consecutive=st.integers(1, 3),
    pattern=st.sampled_from(["random", "regular"]),
    seed=st.integers(0, 5),
)
def test_bursts_are_full_apart_and_meet_the_share(
    length: int, ratio: float, consecutive: int, pattern: str, seed: int
) -> None:
    bursts = burst_frames(
        length, ratio=ratio, consecutive=consecutive, rng=np.random.default_rng(seed), pattern=pattern
    )
    wanted = int(exact_ratio(ratio) * length / consecutive + Fraction(1, 2))
    assert len(bursts.frames) + bursts.cut == wanted * consecutive
    lengths = runs(bursts.frames)
    assert all(n == consecutive for n in lengths[:-1])
    assert sum(lengths) == len(bursts.frames) == len(set(bursts.frames.tolist()))
    assert len(bursts.frames) == 0 or (bursts.frames[0] >= 0 and bursts.frames[-1] < length)
    if bursts.cut == 0:
        assert lengths == [consecutive] * wanted


def test_a_third_in_bursts_of_one_hits_exactly_a_third() -> None:
    for length in (9, 120, 121, 122):
        bursts = burst_frames(length, ratio=0.33, consecutive=1, rng=np.random.default_rng(1))
        assert len(bursts.frames) == round(length / 3)
        assert bursts.cut == 0


def test_regular_third_is_every_third_frame_and_three_of_nine() -> None:
    every_third = burst_frames(
        30, ratio=0.33, consecutive=1, rng=np.random.default_rng(3), pattern="regular"
    ).frames
    assert set(np.diff(every_third)) == {3}
    three_of_nine = burst_frames(
        45, ratio=0.33, consecutive=3, rng=np.random.default_rng(3), pattern="regular"
    ).frames
    assert set(np.diff(three_of_nine[::3])) == {9}


def test_the_random_pattern_is_uniform_over_all_placements() -> None:
    rng = np.random.default_rng(0)
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(3000):
        frames = tuple(burst_frames(6, ratio=0.33, consecutive=1, rng=rng).frames.tolist())
        counts[frames] = counts.get(frames, 0) + 1
    assert len(counts) == 10  # pairs of 6 frames that are not neighbours: C(5, 2)
    assert min(counts.values()) > 0.7 * 300
    assert max(counts.values()) < 1.3 * 300


def test_a_last_burst_without_room_is_cut_and_counted() -> None:
    bursts = burst_frames(6, ratio=0.75, consecutive=3, rng=np.random.default_rng(0))
    assert runs(bursts.frames) == [3, 2]
    assert bursts.cut == 1


@pytest.mark.parametrize("length", [24, 72])
def test_regular_bursts_stay_apart_at_the_end_of_a_track(length: int) -> None:
    rng = np.random.default_rng(0)
    bursts = burst_frames(length, ratio=0.75, consecutive=4, rng=rng, pattern="regular")
    assert runs(bursts.frames) == [4] * floor(0.75 * length / 4 + 0.5)
    assert bursts.frames[-1] < length


def test_nothing_is_hit_where_the_share_rounds_to_none() -> None:
    assert len(burst_frames(4, ratio=0.1, consecutive=1, rng=np.random.default_rng(0)).frames) == 0
    assert len(burst_frames(0, ratio=0.33, consecutive=1, rng=np.random.default_rng(0)).frames) == 0


@pytest.mark.parametrize(
    ("ratio", "consecutive", "pattern", "says"),
    [
        (1.5, 1, "random", "between 0 and 1"),
        (0.6, 1, "random", "largest is 1/2"),
        (0.1, 0, "random", "at least 1"),
        (0.1, 1, "fancy", "one of random, regular"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(
    ratio: float, consecutive: int, pattern: str, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        burst_frames(30, ratio=ratio, consecutive=consecutive, rng=np.random.default_rng(0), pattern=pattern)
