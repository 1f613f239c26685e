"""Mean and spread of a number over several runs that differ in their random seeds only."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from hpsbench.errors import BadData, UsageError
from hpsbench.evaluation.compare import check_comparable
from hpsbench.evaluation.statistics import RESAMPLES, Average, bootstrap_interval, group_sums
from hpsbench.results.result import Result

if TYPE_CHECKING:
    import pandas as pd

_KEYS = ["track", "frame_id"]
# The seed at the end of a condition's name, as in center-0.33x1-s0.
_SEED = re.compile(r"-s\d+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class OverSeeds:
    """One metric of several seeds.

    Attributes:
        metric, unit, average: as in the results.
        values: one per result, in their order.
        mean: of the values.
        std: their standard deviation (n - 1); the spread over seeds.
        interval: 95 % interval of the mean over seeds and sequences (both are resampled), or None.
        why_no_interval: the reason where there is none.
        n: values behind each result's mean.
    """

    metric: str
    unit: str
    average: str
    values: tuple[float, ...]
    mean: float
    std: float
    interval: tuple[float, float] | None
    why_no_interval: str | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedSummary:
    """Several runs as one number per metric, with its spread.

    Attributes:
        protocol, dataset, system: of all.
        condition: of all, without the seed; None for clean input.
        runs: how many.
        seeds: of each run, where it says.
        frames: scored frames of each.
        metrics: those that all runs have.
    """

    protocol: str
    dataset: str
    system: str | None
    condition: str | None
    runs: int
    seeds: tuple[tuple[int, ...], ...]
    frames: int
    metrics: tuple[OverSeeds, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def over_seeds(results: Sequence[Result], *, seed: int = 0, resamples: int = RESAMPLES) -> SeedSummary:
    """Mean and spread of every metric over runs that differ in their seeds only.

    Args:
        results: at least two, of one system under one protocol, on the same frames.
        seed: of the resampling.
        resamples: how many.

    Raises:
        UsageError: fewer than two, or the same run twice.
        BadData: protocol, frames, flags, system or condition differ; the message names each.
    """
    if len(results) < 2:
        raise UsageError(f"{len(results)} result: a spread over seeds needs at least two")
    first = results[0]
    for other in results[1:]:
        check_comparable(first, other)
        _check_same_setting(first, other)
    _check_no_copies(results)
    tables = [r.frames.sort_values(_KEYS, kind="stable").reset_index(drop=True) for r in results]
    shared = [name for name in first.summary if all(name in r.summary for r in results)]
    return SeedSummary(
        protocol=first.protocol,
        dataset=first.dataset,
        system=first.system,
        condition=_without_seed(first.condition),
        runs=len(results),
        seeds=tuple(r.seeds for r in results),
        frames=int(first.accounting["scored"]),
        metrics=tuple(_metric(name, results, tables, seed, resamples) for name in shared),
    )


def _metric(
    name: str, results: Sequence[Result], tables: Sequence["pd.DataFrame"], seed: int, resamples: int
) -> OverSeeds:
    measured = [r.summary[name] for r in results]
    values = np.array([float(value) for value in measured])
    table, counts = tables[0], f"{name}_n"
    average: Average = "frame"
    if measured[0].average in ("track", "video"):
        average = "track" if measured[0].average == "track" else "video"
    sums, numbers = group_sums(
        np.stack([t[name].to_numpy(np.float64) for t in tables]),
        table["sequence"].to_numpy(str),
        weight=table[counts].to_numpy(np.float64) if counts in table else None,
        track=table["track"].to_numpy(str),
        average=average,
    )
    found = bootstrap_interval(sums, numbers, seed=seed, resamples=resamples)
    interval, why = found.interval, found.why_none
    if interval is not None and not np.isfinite(interval).all():
        interval, why = None, f"{len(results)} seeds are too few for this spread"
    return OverSeeds(
        metric=name,
        unit=measured[0].unit,
        average=measured[0].average,
        values=tuple(values.tolist()),
        mean=float(values.mean()),
        std=float(values.std(ddof=1)),
        interval=interval,
        why_no_interval=why,
        n=measured[0].n,
    )


def _without_seed(condition: str | None) -> str | None:
    return None if condition is None else _SEED.sub("", condition)


def _check_same_setting(first: Result, other: Result) -> None:
    problems = [
        f"{what}: {a or 'none'} and {b or 'none'}"
        for what, a, b in (
            ("system", first.system, other.system),
            ("condition", _without_seed(first.condition), _without_seed(other.condition)),
            ("windowing", first.windowing, other.windowing),
        )
        if a != b
    ]
    if problems:
        raise BadData("these results are not seeds of one setting; they differ in " + "; ".join(problems))


def _check_no_copies(results: Sequence[Result]) -> None:
    for (i, one), (j, other) in combinations(enumerate(results, 1), 2):
        same_values = {k: float(v) for k, v in one.summary.items()} == {
            k: float(v) for k, v in other.summary.items()
        }
        checkpoints = {r.provenance.get("checkpoint_sha256") for r in (one, other)}
        if same_values and len(checkpoints) == 1 and one.condition == other.condition:
            raise UsageError(
                f"results {i} and {j} are the same run (same checkpoint, condition and values); give each seed once"
            )
