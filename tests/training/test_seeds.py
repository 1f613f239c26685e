from pathlib import Path

import pytest

from hpsbench.errors import UsageError
from hpsbench.training.loop import TrainingRun
from hpsbench.training.seeds import spread, train_seeds


def test_spread_by_hand() -> None:
    found = spread("pa_mpjpe", [60.0, 62.0, 64.0])
    assert (found.mean, found.std) == (62.0, 2.0)
    half = 4.30265273 * 2.0 / 3**0.5  # Student's t, 2 degrees of freedom, 95 %
    assert found.interval == pytest.approx((62.0 - half, 62.0 + half), rel=1e-6)


def test_each_seed_counts_with_its_best_epoch() -> None:
    def one(seed: int) -> TrainingRun:
        history = tuple(
            {"validation_mm": {"pa_mpjpe": value, "mpjpe": 2 * value}}
            for value in (70.0 + seed, 60.0 + seed, 65.0)
        )
        return TrainingRun(folder=Path(f"{seed}"), checkpoint=Path("best"), history=history, steps=3)

    found = train_seeds(one, 4, 3, "pa_mpjpe")
    assert found.seeds == (4, 5, 6)
    assert [m.metric for m in found.metrics] == ["pa_mpjpe", "mpjpe"]
    assert found.metrics[0].values == (64.0, 65.0, 65.0)
    assert found.metrics[1].values == (128.0, 130.0, 130.0)
    assert found.to_json()["runs"][0]["seed"] == 4
    with pytest.raises(UsageError, match="at least two"):
        train_seeds(one, 0, 1, "pa_mpjpe")
