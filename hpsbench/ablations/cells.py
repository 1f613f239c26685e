"""Numbers of a sweep: means of some frames with intervals, and their changes, over several seeds of one setting."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hpsbench.errors import BadData
from hpsbench.evaluation.frame_context import CORRUPTED
from hpsbench.evaluation.statistics import (
    RESAMPLES,
    Average,
    Interval,
    bootstrap_interval,
    group_sums,
    paired_difference,
)
from hpsbench.results.result import Result
from hpsbench.types import Array, BoolArray, FloatArray

if TYPE_CHECKING:
    import pandas as pd

_KEYS = ["track", "frame_id"]
GROUPS = ("all", "corrupted", "neighbour 1", "neighbour 2", "further")
"""Which frames: all; those that were hit; those 1 and 2 frames from a hit one; the rest, which is clean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One number.

    Attributes:
        value: mean over the frames, and over seeds; None where no frame has a value.
        interval: 95 %, or None.
        why_none: why there is no interval, or no value.
        n: values behind it, of one seed on average; sequences that have none under one of the seeds are left out.
        reference: mean of the same frames in the run that it is compared with, or None.
        change: value - reference, of the same frames, or None.
        change_interval, p_value: of the change.
    """

    value: float | None
    interval: tuple[float, float] | None = None
    why_none: str | None = None
    n: int = 0
    reference: float | None = None
    change: float | None = None
    change_interval: tuple[float, float] | None = None
    p_value: float | None = None


def same_frames(results: Sequence[Result]) -> list["pd.DataFrame"]:
    """The frame tables of results, all in one order.

    Raises:
        BadData: they are not of the same frames.
    """
    tables = [r.frames.sort_values(_KEYS, kind="stable").reset_index(drop=True) for r in results]
    for result, table in zip(results, tables, strict=True):
        for column in (*_KEYS, "scored"):
            if len(table) != len(tables[0]) or not (table[column] == tables[0][column]).all():
                raise BadData(
                    f"{result!r} is of other frames than {results[0]!r} ({len(table)} and {len(tables[0])} rows, first "
                    f"difference in {column!r}); remove the run and measure it again"
                )
    return tables


def measure_cell(
    results: Sequence[Result],
    metric: str,
    group: str = "all",
    reference: Result | None = None,
    *,
    resamples: int = RESAMPLES,
) -> Cell:
    """Mean of one metric over some frames.

    Args:
        results: of one setting, one per seed.
        metric: a result name.
        group: one of `GROUPS`; the others but `all` need corrupted features.
        reference: the run that the change is taken from, on the same frames.
        resamples: of the bootstrap.
    """
    tables = same_frames([*results, *([reference] if reference is not None else [])])
    if metric not in results[0].summary or any(metric not in table for table in tables):
        return Cell(value=None, why_none=results[0].absent.get(metric, "not measured"))
    values = np.stack([t[metric].to_numpy(np.float64) for t in tables[: len(results)]])
    inside = np.stack([_inside(table, group) for table in tables[: len(results)]])
    before = None
    if reference is not None:
        before = np.broadcast_to(tables[-1][metric].to_numpy(np.float64), values.shape)
        inside &= np.isfinite(before)
        before = np.where(inside & np.isfinite(values), before, np.nan)
    values = np.where(inside, values, np.nan)
    if np.isnan(values).all(axis=1).any():
        return Cell(value=None, why_none="no such frame")
    how = _averaging(results[0], metric, tables[0])
    sequence = tables[0]["sequence"].to_numpy(str)
    shared = _of_every_seed(values, sequence)
    if not shared.any():
        return Cell(value=None, why_none="no sequence has such frames under every seed")
    values = np.where(shared, values, np.nan)
    before = None if before is None else np.where(shared, before, np.nan)
    sums, counts = group_sums(values, sequence, **how)
    found = bootstrap_interval(sums, counts, resamples=resamples)
    cell = Cell(
        value=found.value,
        interval=_finite(found),
        why_none=found.why_none,
        n=round(float(np.isfinite(values).sum()) / len(values)),
    )
    if before is None:
        return cell
    change = paired_difference(values, before, sequence, resamples=resamples, **how)
    return Cell(
        value=cell.value,
        interval=cell.interval,
        why_none=cell.why_none,
        n=cell.n,
        reference=change.second,
        change=change.value,
        change_interval=_finite(change),
        p_value=change.p_value,
    )


def sequence_sums(result: Result, metric: str) -> tuple[Array, FloatArray, FloatArray]:
    """Names of the sequences, and each one's sum and number of values of a metric."""
    (table,) = same_frames([result])
    values = table[metric].to_numpy(np.float64)
    known = np.isfinite(values)
    sequence = table["sequence"].to_numpy(str)
    sums, counts = group_sums(values, sequence, weight=_weights(table, metric))
    return np.unique(sequence[known]), sums[0], counts[0]


def _of_every_seed(values: FloatArray, sequence: Array) -> BoolArray:
    """(N,) frames of sequences that have a value under every seed: (S, N) values, (N,) names."""
    _, index = np.unique(sequence, return_inverse=True)
    found = np.stack([np.bincount(index, weights=np.isfinite(row)) for row in values])
    everywhere: BoolArray = np.asarray((found > 0).all(axis=0))
    return everywhere[index]


def _inside(table: "pd.DataFrame", group: str) -> Array:
    if group == "all":
        return np.ones(len(table), bool)
    if CORRUPTED not in table:
        return np.zeros(len(table), bool)
    distance = table[CORRUPTED].to_numpy(np.float64)
    if group == "further":
        return ~(distance <= len(GROUPS) - 3)
    wanted: Array = distance == GROUPS.index(group) - 1
    return wanted


def _averaging(result: Result, metric: str, table: "pd.DataFrame") -> dict[str, Any]:
    average = result.summary[metric].average
    kind: Average = "track" if average == "track" else "video" if average == "video" else "frame"
    return {
        "weight": _weights(table, metric),
        "track": table["track"].to_numpy(str),
        "average": kind,
    }


def _weights(table: "pd.DataFrame", metric: str) -> FloatArray | None:
    name = f"{metric}_n"
    return table[name].to_numpy(np.float64) if name in table else None


def _finite(found: Interval) -> tuple[float, float] | None:
    ok = found.interval is not None and np.isfinite(found.interval).all()
    return found.interval if ok else None
