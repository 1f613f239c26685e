"""The tables of a report: every number with its unit, its n and its interval."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpsbench.errors import HpsbenchError
from hpsbench.evaluation.compare import better_direction, compare_results
from hpsbench.reports.material import Run
from hpsbench.results.measured import Measured

NAMES: Mapping[str, str] = {
    "mpjpe": "MPJPE",
    "pa_mpjpe": "PA-MPJPE",
    "pve": "PVE",
    "pve_raw": "PVE",
    "pve_pelvis": "PVE, pelvis aligned",
    "accel_err": "Accel-err",
    "accel_pred": "Accel, prediction alone",
    "joint_error": "joint error, not aligned",
    "w_mpjpe": "W-MPJPE",
    "wa_mpjpe": "WA-MPJPE",
    "rte": "RTE",
    "mpjae": "MPJAE",
    "pck": "PCK",
    "auc": "AUC",
}
PERCENTILES = (5, 25, 50, 75, 95, 99)
_RESAMPLES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of text.

    Attributes:
        caption: what it shows.
        columns: headings; the first column names the rows.
        rows: cells.
        numeric: places of the columns that are aligned to the right.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: frozenset[int]


def metric_name(metric: str) -> str:
    """A metric as people write it."""
    return NAMES.get(metric, metric)


def number(value: float, unit: str = "") -> str:
    """A number with as many digits as mean something.

    Example:
        >>> number(88.3412, "mm"), number(6.812, "mm/frame^2"), number(0.71234, "1")
        ('88.3', '6.81', '0.712')
    """
    if not np.isfinite(value):
        return "–"
    if unit == "1":
        return f"{value:.3f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def interval(measured: Measured) -> str:
    """Its 95 % interval, or why there is none."""
    if measured.interval is None:
        return measured.why_no_interval or "none"
    low, high = measured.interval
    return f"{number(low, measured.unit)} to {number(high, measured.unit)}"


def why_no_interval(runs: Iterable[Run]) -> str | None:
    """The one reason why no number of any run has an interval, or None."""
    values = [value for run in runs for value in run.result.summary.values()]
    reasons = {value.why_no_interval if value.interval is None else None for value in values}
    return reasons.pop() if len(reasons) == 1 else None


def metrics_of(runs: Iterable[Run]) -> list[str]:
    """Names of all metrics that some run has, in the order of the first that has them."""
    return list(dict.fromkeys(name for run in runs for name in run.result.summary))


def shown_unit(unit: str) -> str:
    """A unit as people write it: `mm/frame^2` -> `mm/frame²`."""
    return unit.replace("^2", "²").replace("^3", "³")


def unit_of(runs: Iterable[Run], metric: str) -> str:
    """Unit of a metric in the first run that has it."""
    found = next((run.result.summary[metric].unit for run in runs if metric in run.result.summary), "")
    return shown_unit(found)


def lead_metric(runs: Sequence[Run]) -> str:
    """The metric that stands for all where only one can be shown: it has a value for each frame."""
    known = [m for m in metrics_of(runs) if all(m in run.result.frames for run in runs)]
    for wanted in ("pa_mpjpe", "mpjpe"):
        if wanted in known:
            return wanted
    return (known or metrics_of(runs) or [""])[0]


def results_table(runs: Sequence[Run]) -> Table:
    """One row per run and metric."""
    rows = []
    for run in runs:
        for metric, value in run.result.summary.items():
            rows.append(
                [
                    run.label,
                    metric_name(metric),
                    number(value.value, value.unit),
                    shown_unit(value.unit),
                    interval(value),
                    f"{value.n:,}",
                    value.average,
                ]
            )
        rows += [
            [run.label, metric_name(metric), "absent", "", reason, "", ""]
            for metric, reason in run.result.absent.items()
        ]
    columns = ("run", "metric", "value", "unit", "95 % interval", "n", "mean over")
    return Table(caption="Every metric of every run", columns=columns, rows=rows, numeric=frozenset({2, 5}))


def summary_table(runs: Sequence[Run]) -> tuple[Table, set[tuple[int, int]]]:
    """One row per run, one column per metric; and the cells that are the best of their column."""
    metrics = metrics_of(runs)
    columns = ["run", *(f"{metric_name(m)}\n{unit_of(runs, m)}" for m in metrics), "frames"]
    rows, best = [], set()
    for run in runs:
        cells = [run.label]
        for metric in metrics:
            value = run.result.summary.get(metric)
            cells.append(
                "absent"
                if value is None
                else number(value.value, value.unit)
                + (f"\n{interval(value)}" if value.interval is not None else "")
            )
        rows.append([*cells, f"{run.result.accounting.get('scored', 0):,}"])
    for column, metric in enumerate(metrics, 1):
        better = better_direction(metric)
        values = {
            i: float(r.result.summary[metric]) for i, r in enumerate(runs) if metric in r.result.summary
        }
        if better is None or len(values) < 2:
            continue
        top = (min if better == "lower" else max)(values.values())
        best |= {(row, column) for row, value in values.items() if value == top}
    caption = "Means, and below them their 95 % intervals over sequences; the best of a column is bold"
    numeric = frozenset(range(1, len(columns)))
    return Table(caption=caption, columns=columns, rows=rows, numeric=numeric), best


def changes_table(runs: Sequence[Run]) -> tuple[Table | None, list[str]]:
    """What each run changes against the first one on the same frames, and what cannot be compared and why."""
    rows, notes = [], []
    reasons: dict[str, None] = {}
    for other in runs[1:]:
        try:
            found = compare_results(runs[0].result, other.result, resamples=_RESAMPLES)
        except HpsbenchError as error:
            notes.append(f"{other.label}: {error}")
            continue
        for change in found.changes:
            band = change.interval
            shown = (
                f"{number(band[0])} to {number(band[1])}"
                if band is not None and np.isfinite(band).all()
                else change.why_none or "none"
            )
            if shown in (change.why_none, "none"):
                reasons[shown] = None
                shown = "–"
            rows.append(
                [
                    other.label,
                    metric_name(change.metric),
                    f"{change.change:+.2f}",
                    shown_unit(change.unit),
                    shown,
                    "" if change.p_value is None else f"{change.p_value:.4f}",
                    _verdict(change.worse_by, band),
                    f"{change.n:,}",
                ]
            )
    if not rows:
        return None, notes
    columns = ("run", "metric", "change", "unit", "95 % interval", "p", "it is", "n")
    caption = f"Change against {runs[0].label}, on the same frames, paired by sequence; undecided: the interval holds 0"
    caption += f"; no interval: {', '.join(reasons)}" if reasons else ""
    return Table(caption=caption, columns=columns, rows=rows, numeric=frozenset({2, 5, 7})), notes


def _verdict(worse: float | None, band: tuple[float, float] | None) -> str:
    """What a change says: nothing of a metric that is neither good nor bad, and nothing without an interval."""
    if worse is None or band is None or not np.isfinite(band).all():
        return ""
    if band[0] <= 0 <= band[1]:
        return "undecided"
    return "worse" if worse > 0 else "better"


def accounting_table(runs: Sequence[Run]) -> Table:
    """Where every frame went."""
    rows = []
    for run in runs:
        counts = run.result.accounting
        reasons = counts.get("masked_by_reason", {})
        masked = ", ".join(f"{reason} {count:,}" for reason, count in reasons.items() if count)
        tracks = counts.get("tracks", {})
        rows.append(
            [
                run.label,
                *(f"{counts.get(key, 0):,}" for key in ("in", "scored", "masked", "too_short", "tail")),
                f"{tracks.get('used', 0)} of {tracks.get('in', 0)}",
                masked or "none",
            ]
        )
    columns = ("run", "frames in", "scored", "masked", "too short", "tail", "tracks used", "masked because")
    return Table(caption="Where every frame went", columns=columns, rows=rows, numeric=frozenset(range(1, 7)))


def joint_errors(run: Run, metric: str) -> dict[str, float]:
    """Joint -> mean error over the scored frames, of the columns `<metric>.<joint>`; empty where there are none."""
    frames = run.result.frames
    scored = frames[frames["scored"]]
    prefix = f"{metric}."
    return {
        str(column).removeprefix(prefix): float(scored[column].mean())
        for column in frames
        if str(column).startswith(prefix)
    }


def joints_table(runs: Sequence[Run], metric: str) -> Table | None:
    """Mean error of each joint, and over how many frames."""
    errors = [joint_errors(run, metric) for run in runs]
    joints = list(dict.fromkeys(joint for own in errors for joint in own))
    if not joints:
        return None
    rows = [[j, *(number(own[j]) if j in own else "–" for own in errors)] for j in joints]
    unit = unit_of(runs, metric)
    return Table(
        caption=f"{metric_name(metric)} of each joint, mean over scored frames [{unit}]",
        columns=["joint", *(f"{run.label}\n{len(scored_values(run, metric)):,} frames" for run in runs)],
        rows=rows,
        numeric=frozenset(range(1, len(runs) + 1)),
    )


def scored_values(run: Run, metric: str) -> Any:
    """(n,) finite values of a metric on the scored frames."""
    frames = run.result.frames
    if metric not in frames:
        return np.zeros(0)
    values = frames.loc[frames["scored"], metric].to_numpy(np.float64)
    return values[np.isfinite(values)]


def percentiles_table(runs: Sequence[Run], metric: str) -> Table:
    """How the values of frames are spread."""
    rows = []
    for run in runs:
        values = scored_values(run, metric)
        cells = np.percentile(values, PERCENTILES).tolist() if len(values) else [np.nan] * len(PERCENTILES)
        top = float(values.max()) if len(values) else np.nan
        rows.append([run.label, *(number(v) for v in [*cells, top]), f"{len(values):,}"])
    columns = ["run", *(f"{p} %" for p in PERCENTILES), "largest", "n"]
    unit = unit_of(runs, metric)
    caption = f"{metric_name(metric)} of frames: the share in the heading lies below [{unit}]"
    return Table(caption=caption, columns=columns, rows=rows, numeric=frozenset(range(1, len(columns))))


def sequences_table(runs: Sequence[Run], metric: str) -> Table:
    """Each sequence: all metrics of a single run, or one metric of several."""
    unit = unit_of(runs, metric)
    if len(runs) == 1:
        table = runs[0].result.sequences
        metrics = [m for m in runs[0].result.summary if m in table]
        columns = ["sequence", "frames", *(f"{metric_name(m)} [{unit_of(runs, m)}]" for m in metrics)]
        rows = [
            [str(r["sequence"]), f"{int(r['frames']):,}", *(number(float(r[m])) for m in metrics)]
            for r in table.to_dict("records")
        ]
        caption = "Means over each sequence"
    else:
        means = [_sequence_means(run, metric) for run in runs]
        names = list(dict.fromkeys(name for own in means for name in own))
        columns = ["sequence", *(run.label for run in runs)]
        rows = [[n, *(own.get(n, "–") for own in means)] for n in names]
        caption = f"{metric_name(metric)} of each sequence [{unit}], and below it over how many frames"
    return Table(caption=caption, columns=columns, rows=rows, numeric=frozenset(range(1, len(columns))))


def _sequence_means(run: Run, metric: str) -> dict[str, str]:
    """Sequence -> its mean and the number of its values."""
    table = run.result.sequences
    if metric not in table:
        return {}
    counts = table[f"{metric}_n"] if f"{metric}_n" in table else table["frames"]
    return {
        str(name): f"{number(float(mean))}\n{int(count):,}"
        for name, mean, count in zip(table["sequence"], table[metric], counts, strict=True)
    }
