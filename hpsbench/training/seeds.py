"""One recipe with several seeds: mean, spread and interval of what the validation found."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from hpsbench.errors import UsageError
from hpsbench.training.loop import TrainingRun

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One validation metric over seeds, each at its best epoch.

    Attributes:
        metric: its name; millimetres, accelerations millimetres per frame squared.
        values: one per seed.
        mean: of them.
        std: their standard deviation (n - 1).
        interval: 95 % interval of the mean by Student's t: of the training's randomness alone, not of the sequences'.
    """

    metric: str
    values: tuple[float, ...]
    mean: float
    std: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedRuns:
    """Runs that differ in their seed alone.

    Attributes:
        seeds: of the runs.
        runs: one per seed.
        metrics: of the validation.
    """

    seeds: tuple[int, ...]
    runs: tuple[TrainingRun, ...]
    metrics: tuple[Spread, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        runs = [{"seed": s, "run": str(r.folder), "checkpoint": str(r.checkpoint)} for s, r in self._pairs()]
        return {
            "seeds": list(self.seeds),
            "runs": runs,
            "metrics": [asdict(metric) for metric in self.metrics],
        }

    def _pairs(self) -> list[tuple[int, TrainingRun]]:
        return list(zip(self.seeds, self.runs, strict=True))


def train_seeds(one: Callable[[int], TrainingRun], first: int, count: int, metric: str) -> SeedRuns:
    """Train with seeds first, first + 1, ...; each run resumes on its own.

    Args:
        one: trains with a seed.
        first: seed.
        count: how many.
        metric: of the validation, which picks the epoch of each run.

    Raises:
        UsageError: fewer than two.
    """
    if count < 2:
        raise UsageError(f"--seeds {count}: a spread over seeds needs at least two")
    seeds = tuple(range(first, first + count))
    runs = tuple(one(seed) for seed in seeds)
    best = [min(run.history, key=lambda line: line["validation_mm"][metric])["validation_mm"] for run in runs]
    names = [name for name in best[0] if all(name in found for found in best)]
    spreads = tuple(spread(name, [found[name] for found in best]) for name in names)
    return SeedRuns(seeds=seeds, runs=runs, metrics=spreads)


def spread(metric: str, values: Sequence[float]) -> Spread:
    """Mean, standard deviation and interval of some values, at least two."""
    found = np.asarray(values, np.float64)
    mean, std = float(found.mean()), float(found.std(ddof=1))
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(found) - 1)) * std / len(found) ** 0.5
    return Spread(
        metric=metric, values=tuple(found.tolist()), mean=mean, std=std, interval=(mean - half, mean + half)
    )
