"""Curves of a report: metrics against the share of corrupted frames, the severity, or the length of the windows."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hpsbench.reports import tables
from hpsbench.reports.figures import Axes, nice_ticks
from hpsbench.reports.material import Run
from hpsbench.reports.wording import systems_of
from hpsbench.results.measured import Measured

_WINDOWS = re.compile(r"windows-(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One number of a curve.

    Attributes:
        x: where it stands.
        value: mean.
        interval: 95 %, or None.
        says: what it is of, in words.
    """

    x: float
    value: float
    interval: tuple[float, float] | None
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The axis that curves run along.

    Attributes:
        label: what it counts.
        ticks: (place, text).
    """

    label: str
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A drawn plot.

    Attributes:
        title: what is drawn.
        unit: of its values.
        svg: markup.
        series: names of its lines, in the order of their colours.
    """

    title: str
    unit: str
    svg: str
    series: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Plots that belong together.

    Attributes:
        heading: what they show.
        text: how to read them; may be empty.
        plots: one per metric.
        numbers: the same as tables.
    """

    heading: str
    text: str
    plots: tuple[Plot, ...]
    numbers: tuple[tables.Table, ...] = ()


def shares(highest: float) -> Scale:
    """The share of corrupted frames, in percent."""
    return Scale(
        label="corrupted frames [%]", ticks=tuple((tick, f"{tick:g}") for tick in nice_ticks(0, highest))
    )


def severities(highest: int = 5) -> Scale:
    """The severity of a corruption; 0 is clean."""
    return Scale(
        label="severity", ticks=tuple((float(s), "clean" if s == 0 else str(s)) for s in range(highest + 1))
    )


def lengths(found: Sequence[int]) -> Scale:
    """Lengths of windows, in powers of two."""
    own = tuple((math.log2(length), str(length)) for length in sorted(set(found)))
    return Scale(label="frames of a window", ticks=own if len(own) > 1 else (*own, (own[0][0] + 1, "")))


def draw_curves(curves: Mapping[str, Sequence[Point]], scale: Scale, metric: str, unit: str) -> Plot | None:
    """A metric along a scale, one line per series.

    Args:
        curves: series -> its points, in the order of the scale.
        scale: the axis.
        metric: name of the metric, as people write it.
        unit: of the metric, as people write it.
    """
    tops = [max(p.interval[1] if p.interval else 0, p.value) for own in curves.values() for p in own]
    if not tops:
        return None
    axes = Axes(
        [x for x, _ in scale.ticks],
        nice_ticks(0, max(tops)),
        scale.label,
        "",  # the caption above a plot says the unit
        x_texts=[text for _, text in scale.ticks],
    )
    for series, own in enumerate(curves.values()):
        axes.line([(point.x, point.value) for point in own], series, beside=True)
        for point in own:
            axes.dot(point.x, point.value, series, point.interval, point.says)
    svg = axes.svg(f"{metric} against {scale.label}, one line per system, with 95 % intervals")
    return Plot(title=metric, unit=unit, svg=svg, series=tuple(curves))


def curves_of_runs(runs: Sequence[Run]) -> list[Panel]:
    """What the conditions of the runs themselves make curves of: corrupted input, and windows of other lengths."""
    return [*_corruptions(runs), *_window_lengths(runs)]


def _corruptions(runs: Sequence[Run]) -> list[Panel]:
    """One panel per kind of corruption, along its severity where it has one, else along the share of frames."""
    modes = dict.fromkeys(r.condition.mode for r in runs if r.condition.ratio or r.condition.severity)
    found = []
    for mode in modes:
        own = [r for r in runs if r.condition.mode == mode]
        graded = any(r.condition.severity for r in own)
        scale = severities() if graded else shares(max(100 * (r.condition.ratio or 0) for r in own))

        def place(run: Run, graded: bool = graded) -> float | None:
            condition = run.condition
            if condition.mode == "clean":
                return 0.0
            if graded:
                return None if condition.severity is None else float(condition.severity)
            return None if condition.ratio is None else 100 * condition.ratio

        groups = {label: [r for r in o if r in own or r.condition.mode == "clean"] for label, o in systems_of(runs).items()}  # fmt: skip
        groups = {label: o for label, o in groups.items() if any(r in own for r in o)}
        plots = _plots(runs, groups, scale, place)
        if plots:
            found.append(Panel(heading=f"Corruption: {mode}", text="", plots=plots))
    return found


def _window_lengths(runs: Sequence[Run]) -> list[Panel]:
    """Where runs differ in the length of their windows, as a sweep over lengths marks them."""
    known = {run.label: length for run in runs if (length := window_length(run)) is not None}
    if len(set(known.values())) < 2:
        return []
    groups = {label: [r for r in own if r.label in known] for label, own in systems_of(runs).items()}
    groups = {label: own for label, own in groups.items() if own}
    plots = _plots(runs, groups, lengths(list(known.values())), lambda run: math.log2(known[run.label]))
    return [Panel(heading="Length of the windows", text="", plots=plots)] if plots else []


def window_length(run: Run) -> int | None:
    """Frames of the windows that a sweep over lengths chose; None for any other run."""
    marks = [found for flag in run.result.flags if (found := _WINDOWS.fullmatch(flag))]
    return int(marks[0][1]) if marks else None


def _plots(
    runs: Sequence[Run],
    groups: Mapping[str, Sequence[Run]],
    scale: Scale,
    place: Callable[[Run], float | None],
) -> tuple[Plot, ...]:
    found = []
    for metric in tables.metrics_of(runs):
        curves = {}
        for label, own in groups.items():
            placed = [(x, r) for r in own if (x := place(r)) is not None and metric in r.result.summary]
            placed.sort(key=lambda pair: (pair[0], pair[1].label))
            curves[label] = [_point(x, label, r, r.result.summary[metric]) for x, r in placed]
        drawn = draw_curves(curves, scale, tables.metric_name(metric), tables.unit_of(runs, metric))
        if drawn is not None:
            found.append(drawn)
    return tuple(found)


def _point(x: float, label: str, run: Run, value: Measured) -> Point:
    unit = tables.shown_unit(value.unit)
    says = f"{label}, {run.condition.text}: {tables.number(value.value, value.unit)} {unit}"
    return Point(x=x, value=value.value, interval=value.interval, says=says)
