import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hpsbench as hb
from hpsbench.errors import BadData, UsageError
from hpsbench.evaluation.seeds import over_seeds
from hpsbench.results.result import Result

TRACK = np.repeat([f"s{i}_0" for i in range(8)], 20)


@pytest.fixture
def make_run() -> Callable[..., Result]:
    """A run whose right ankle is off by 14 times so many millimetres: MPJPE is that number."""

    def make(
        error: float = 1.0, protocol: str = "tcmr", frames: int = 160, spread: float = 0, **changes: Any
    ) -> Result:
        target = np.random.default_rng(0).normal(0, 0.3, (160, 14, 3))[:frames]
        pred = target.copy()
        pred[:, 0, 0] += 14 * error / 1000
        pred[:, 1, 0] += spread * np.repeat(np.linspace(-1, 1, 8), 20)[:frames]
        result = hb.score(protocol, {"joints3d": pred}, {"joints3d": target}, track=TRACK[:frames])
        return dataclasses.replace(result, system="vibe", **changes)

    return make


def test_mean_and_spread_by_hand(make_run: Callable[..., Result]) -> None:
    found = over_seeds([make_run(error) for error in (1, 2, 3, 4, 10)])
    mpjpe = next(m for m in found.metrics if m.metric == "mpjpe")
    assert mpjpe.values == pytest.approx((1, 2, 3, 4, 10))
    assert mpjpe.mean == pytest.approx(4)
    assert mpjpe.std == pytest.approx(np.sqrt((9 + 4 + 1 + 0 + 36) / 4))
    assert (mpjpe.unit, mpjpe.n, found.runs, found.frames) == ("mm", 160, 5, 160)
    assert mpjpe.interval is not None
    assert mpjpe.interval[0] < 4 < mpjpe.interval[1], "seeds are resampled: sequences alone do not vary here"
    assert mpjpe.why_no_interval is None
    assert {m.metric for m in found.metrics} == {"mpjpe", "pa_mpjpe", "accel_err", "accel_pred"}


def test_the_average_is_the_protocols(make_run: Callable[..., Result]) -> None:
    found = over_seeds([make_run(error, "hmmr") for error in (1, 2)])
    assert found.metrics[0].average == "video"
    assert found.metrics[0].mean == pytest.approx(1.5, abs=0.01)


def test_few_sequences_have_a_spread_and_no_interval(make_run: Callable[..., Result]) -> None:
    found = over_seeds([make_run(error, frames=60) for error in (1, 2)]).metrics[0]
    assert found.interval is None
    assert found.why_no_interval == "3 sequences; an interval needs at least 6"
    assert found.std == pytest.approx(np.sqrt(0.5))


def test_two_seeds_bound_a_spread_that_is_theirs_alone_widely(make_run: Callable[..., Result]) -> None:
    found = over_seeds([make_run(error) for error in (1, 2)]).metrics[0]
    assert found.interval is not None
    assert found.interval[0] < min(found.values)
    assert found.interval[1] > max(found.values)
    varied = over_seeds([make_run(error, spread=0.2) for error in (1, 1.1)]).metrics[0]
    assert varied.interval is not None
    assert varied.interval[0] < varied.mean < varied.interval[1]


def test_the_seed_in_a_condition_may_differ_and_nothing_else(make_run: Callable[..., Result]) -> None:
    runs = [make_run(1 + i, condition=f"center-0.33x1-s{i}", seeds=(i,)) for i in range(2)]
    found = over_seeds(runs)
    assert found.condition == "center-0.33x1"
    assert found.seeds == ((0,), (1,))
    other = make_run(5, condition="center-0.1x1-s2")
    with pytest.raises(BadData, match=r"condition: center-0\.33x1 and center-0\.1x1"):
        over_seeds([*runs, other])
    with pytest.raises(BadData, match="system: vibe and tcmr"):
        over_seeds([runs[0], dataclasses.replace(runs[1], system="tcmr")])
    with pytest.raises(BadData, match=r"protocol: tcmr@1 and vibe@1"):
        over_seeds([runs[0], make_run(2, "vibe")])


def test_one_run_or_the_same_run_twice_is_no_spread(make_run: Callable[..., Result]) -> None:
    with pytest.raises(UsageError, match="1 result: a spread over seeds needs at least two"):
        over_seeds([make_run()])
    with pytest.raises(UsageError, match="results 1 and 3 are the same run"):
        over_seeds([make_run(1), make_run(2), make_run(1)])
