"""Mean corruption error: how much a system errs under corruption, relative to a baseline.

For one corruption, the sum of a system's errors over severities and seeds divided by the baseline's; the mean of these over
corruptions. The relative one takes each system's own clean error off before, so that it says how much is lost. 1 is the
baseline. Source: Hendrycks and Dietterich, ICLR 2019 (section 4), with errors in mm instead of misclassified shares.

Intervals resample sequences: a sequence's share in the ratio is linearised, and the mean of these shares gets the same
studentised bootstrap as every other number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hpsbench.ablations.cells import sequence_sums
from hpsbench.errors import BadData
from hpsbench.evaluation.statistics import RESAMPLES, bootstrap_interval
from hpsbench.results.result import Result
from hpsbench.types import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptionError:
    """A ratio to the baseline.

    Attributes:
        value: None where there is none.
        interval: 95 %, or None.
        why_none: why there is no value, or no interval.
        sequences: that were resampled.
    """

    value: float | None
    interval: tuple[float, float] | None = None
    why_none: str | None = None
    sequences: int = 0


def corruption_error(
    results: Mapping[str, Sequence[Result]],
    baseline: Mapping[str, Sequence[Result]],
    metric: str,
    *,
    clean: tuple[Result, Result] | None = None,
    resamples: int = RESAMPLES,
) -> CorruptionError:
    """Mean over corruptions of errors relative to a baseline.

    Args:
        results: corruption -> results of the system, every severity and seed.
        baseline: the same of the baseline.
        metric: a result name for which lower is better.
        clean: clean results of system and baseline: then the relative error.
        resamples: of the bootstrap.

    Raises:
        BadData: results of other frames or of other settings.
    """
    ratios, influences, sequences = [], [], 0
    for name, own in results.items():
        above, below = _sums(own, metric), _sums(baseline[name], metric)
        if len(own) != len(baseline[name]) or above.shape != below.shape:
            raise BadData(f"{name}: system and baseline were measured on other sequences or severities")
        if clean is not None:
            above = above - len(own) * _sums(clean[:1], metric)
            below = below - len(own) * _sums(clean[1:], metric)
        if below.sum() <= 0:
            return CorruptionError(
                value=None, why_none=f"the baseline loses nothing under {name}, so there is no ratio"
            )
        ratio = float(above.sum() / below.sum())
        ratios.append(ratio)
        influences.append((above - ratio * below) / below.sum())
        sequences = len(above)
    value = float(np.mean(ratios))
    shares = value + sequences * np.mean(influences, axis=0)
    found = bootstrap_interval(shares, np.ones(sequences), resamples=resamples)
    return CorruptionError(value=value, interval=found.interval, why_none=found.why_none, sequences=sequences)


def _sums(results: Sequence[Result], metric: str) -> FloatArray:
    """(n,) sum of a metric over all frames of each sequence, all results together."""
    parts = [sequence_sums(result, metric) for result in results]
    names = parts[0][0]
    for other, _, _ in parts[1:]:
        if not np.array_equal(names, other):
            raise BadData(f"{metric}: the results are of other sequences")
    total: FloatArray = np.sum([sums for _, sums, _ in parts], axis=0)
    return total
