"""The plots of a report as inline SVG, coloured by the page's style sheet so that they follow light and dark mode."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from hpsbench.reports.material import Run
from hpsbench.reports.skeletons import bones, position
from hpsbench.reports.tables import number, scored_values, shown_unit

WIDTH, HEIGHT = 420, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 12, 40
# Colours; where there are more series, lines are dashed and dots are hollow in the next round, and again in the third.
SERIES, ROUNDS = 8, 3
# From a low to a high error; joints also carry their number, so that colour is not all.
_RAMP = ((253, 231, 150), (253, 180, 90), (240, 110, 65), (205, 45, 60), (128, 20, 90))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One row of an interval plot, in percent of the axis.

    Attributes:
        series: which run, for its colour.
        label, text: name of the run, and its value and interval in words.
        at: the mean.
        low, width: of the interval, or None.
    """

    series: int
    label: str
    text: str
    at: float
    low: float | None
    width: float | None


def interval_bars(
    runs: Sequence[Run], metric: str, *, said: str | None = None
) -> tuple[list[Bar], list[tuple[float, str]]]:
    """Means and intervals of a metric on one axis that begins at zero, and the axis' ticks (percent, text).

    `said`: a reason for the lack of intervals that the page gives elsewhere.
    """
    found = [
        (i, run, run.result.summary[metric]) for i, run in enumerate(runs) if metric in run.result.summary
    ]
    tops = [max(value.value, *(value.interval or (value.value,))) for _, _, value in found]
    ticks = nice_ticks(0.0, max(tops, default=1.0))
    top = ticks[-1] or 1.0
    bars = []
    for place, run, value in found:
        low = high = None
        text = f"{number(value.value, value.unit)} {shown_unit(value.unit)}"
        if value.interval is not None:
            low, high = value.interval
            text += f", 95 % interval {number(low, value.unit)} to {number(high, value.unit)}"
        elif value.why_no_interval and value.why_no_interval != said:
            text += f"; no interval: {value.why_no_interval}"
        bars.append(
            Bar(
                series=place,
                label=run.label,
                text=text,
                at=round(100 * max(value.value, 0) / top, 2),
                low=None if low is None else round(100 * max(low, 0) / top, 2),
                width=None if low is None or high is None else round(100 * (high - max(low, 0)) / top, 2),
            )
        )
    return bars, [(round(100 * tick / top, 2), f"{tick:g}") for tick in ticks]


def look(series: int) -> str:
    """Classes of a series: its colour, and the round in which that colour is used.

    Example:
        >>> look(1), look(9)
        ('s1', 's1 r1')
    """
    turn = series // SERIES % ROUNDS
    return f"s{series % SERIES}" + (f" r{turn}" if turn else "")


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """About `count` round numbers whose range covers low to high.

    Example:
        >>> nice_ticks(0, 177)
        [0.0, 50.0, 100.0, 150.0, 200.0]
    """
    span = max(high - low, 1e-9)
    raw = span / count
    power = 10.0 ** np.floor(np.log10(raw))
    step = float(next(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= raw * 0.999))
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    return [round(float(i * step), 10) for i in np.arange(first, last + 1)]


class Axes:
    """A frame with ticks and labels, and the way from data to the drawing."""

    def __init__(
        self,
        x: Sequence[float],
        y: Sequence[float],
        x_label: str,
        y_label: str,
        x_texts: Sequence[str] | None = None,
    ) -> None:
        self.x, self.y = x, y
        self.x_texts = x_texts or [f"{tick:g}" for tick in x]
        self.parts = [self._grid(x_label, y_label)]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a point lies in the drawing."""
        across = (x - self.x[0]) / ((self.x[-1] - self.x[0]) or 1)
        up = (y - self.y[0]) / ((self.y[-1] - self.y[0]) or 1)
        return (
            round(_LEFT + across * (WIDTH - _LEFT - _RIGHT), 1),
            round(HEIGHT - _BOTTOM - up * (HEIGHT - _TOP - _BOTTOM), 1),
        )

    def line(self, points: Sequence[tuple[float, float]], series: int, *, beside: bool = False) -> None:
        """A line through points; `beside`: through where `dot` puts them."""
        aside = self._aside(series) if beside else 0
        path = " ".join(
            f"{'L' if i else 'M'}{x + aside:g} {y:g}" for i, (x, y) in enumerate(self.at(*p) for p in points)
        )
        self.parts.append(f'<path class="line {look(series)}" d="{path}"/>')

    def dot(self, x: float, y: float, series: int, band: tuple[float, float] | None, title: str) -> None:
        """A point with its interval."""
        px, py = self.at(x, y)
        px += self._aside(series)
        whisker = ""
        if band is not None:
            low, high = (self.at(x, value)[1] for value in band)
            whisker = f'<path class="line thin s{series % SERIES}" d="M{px:g} {low:g}V{high:g}"/>'
        self.parts.append(
            f'<g><title>{escape(title)}</title>{whisker}<circle class="dot {look(series)}" cx="{px:g}" '
            f'cy="{py:g}" r="4"/></g>'
        )

    def _aside(self, series: int) -> float:
        """How far to the right a series is drawn, so that intervals at one place stand side by side."""
        return 3.0 * (series % SERIES)

    def svg(self, title: str) -> str:
        """The drawing; `title` says what it shows to those who cannot see it."""
        return (
            f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
            + "".join(self.parts)
            + "</svg>"
        )

    def _grid(self, x_label: str, y_label: str) -> str:
        parts = []
        left, right, bottom = _LEFT, WIDTH - _RIGHT, HEIGHT - _BOTTOM
        for tick in self.y:
            y = self.at(self.x[0], tick)[1]
            parts.append(f'<path class="rule" d="M{left} {y:g}H{right}"/>')
            parts.append(f'<text class="tick end" x="{left - 6}" y="{y + 4:g}">{tick:g}</text>')
        for tick, text in zip(self.x, self.x_texts, strict=True):
            x = self.at(tick, self.y[0])[0]
            parts.append(f'<path class="rule" d="M{x:g} {bottom}v4"/>')
            parts.append(f'<text class="tick middle" x="{x:g}" y="{bottom + 17}">{escape(text)}</text>')
        parts.append(
            f'<text class="axis middle" x="{(left + right) / 2:g}" y="{HEIGHT - 5}">{escape(x_label)}</text>'
        )
        middle = (_TOP + bottom) / 2
        if y_label:
            turned = f"translate(11 {middle:g}) rotate(-90)"
            parts.append(f'<text class="axis middle" transform="{turned}">{escape(y_label)}</text>')
        return "".join(parts)


def distribution_plot(runs: Sequence[Run], metric: str, name: str, unit: str) -> str | None:
    """Share of frames whose value lies below x, one line per run; cut at the 99.5th percentile."""
    values = [np.sort(scored_values(run, metric)) for run in runs]
    full = [v for v in values if len(v)]
    if not full:
        return None
    top = max(float(np.percentile(v, 99.5)) for v in full)
    axes = Axes(nice_ticks(0.0, top), [0, 25, 50, 75, 100], f"{name} [{unit}]", "% of frames below")
    edge = axes.x[-1]
    for series, own in enumerate(values):
        if len(own) == 0:
            continue
        shares = np.linspace(0, 100, max(2, min(len(own), 120)))
        points = [(0.0, 0.0), *zip(np.percentile(own, shares).tolist(), shares.tolist(), strict=True)]
        inside = [(x, y) for x, y in points if x <= edge]
        if inside[-1][1] >= 100:
            inside.append((edge, 100.0))
        axes.line(inside, series)
    return axes.svg(f"Distribution of {name} over frames: share of frames below each value, one line per run")


def skeleton_plot(errors: Mapping[str, float], low: float, high: float, title: str) -> str | None:
    """A figure of a person with each joint coloured by its error, and the error beside it.

    Args:
        errors: joint -> mean error, mm.
        low: error of one end of the colours.
        high: error of the other end.
        title: says what it shows to those who cannot see it.
    """
    places = {joint: position(joint) for joint in errors}
    known = {joint: place for joint, place in places.items() if place is not None}
    if len(known) < 3:
        return None
    names = list(known)
    parts = []
    for first, second in bones(names):
        (x1, y1), (x2, y2) = known[names[first]], known[names[second]]
        parts.append(f'<path class="bone" d="M{x1:g} {y1:g}L{x2:g} {y2:g}"/>')
    for joint, (x, y) in known.items():
        value = errors[joint]
        red, green, blue = ramp((value - low) / ((high - low) or 1))
        side, shift = ("end", -7) if x < 50 else ("start", 7)
        parts.append(
            f"<g><title>{escape(joint)}: {value:.1f} mm</title>"
            f'<circle class="joint" cx="{x:g}" cy="{y:g}" r="4.6" style="fill:rgb({red},{green},{blue})"/>'
            f'<text class="value {side}" x="{x + shift:g}" y="{y + (2.4 if x != 50 else -1.5):g}">{value:.0f}</text></g>'
        )
    return (
        f'<svg class="skeleton" viewBox="-12 0 124 186" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg>"
    )


def ramp(share: float) -> tuple[int, int, int]:
    """RGB of a place between low (0) and high (1)."""
    at = float(np.clip(share, 0, 1)) * (len(_RAMP) - 1)
    first = min(int(at), len(_RAMP) - 2)
    mixed = [a + (b - a) * (at - first) for a, b in zip(_RAMP[first], _RAMP[first + 1], strict=True)]
    return round(mixed[0]), round(mixed[1]), round(mixed[2])
