"""Curves with intervals as one SVG file: small panels of one scale, a legend, and the numbers in the titles of the points."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10

# Distinguishable without colour too: every series has its own mark. Okabe and Ito's palette.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8a6d3b")
_PANEL = (260, 190)
_ONE_PANEL = (460, 280)
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 26, 40
_COLUMNS = 3
_ROW = 20
_LETTER, _SMALL = 10, 7
"""Width of a letter of the title and of the legend, rather more than it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One line.

    Attributes:
        series: its name in the legend.
        points: (x, y, interval or None).
    """

    series: str
    points: tuple[tuple[float, float, tuple[float, float] | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Some lines in one frame."""

    title: str
    curves: tuple[Curve, ...]


def line_plot(
    title: str, panels: Sequence[Panel], *, x_label: str, y_label: str, x_names: Sequence[tuple[float, str]]
) -> str:
    """An SVG document.

    Args:
        title: above all panels.
        panels: drawn on one scale, three to a row.
        x_label: of every panel.
        y_label: likewise.
        x_names: ticks of the x axis: (place, text).
    """
    series = list(dict.fromkeys(curve.series for panel in panels for curve in panel.curves))
    size = _PANEL if len(panels) > 1 else _ONE_PANEL
    columns = max(1, min(_COLUMNS, len(panels)))
    rows = -(-len(panels) // columns)
    top = 34 + _ROW * len(series)
    legend = max((len(name) for name in series), default=0)
    width = max(columns * size[0], 20 + _LETTER * len(title), 54 + _SMALL * legend)
    height = top + rows * size[1]
    ticks = round_ticks(_values(panels))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title)}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="10" y="20" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    for number, name in enumerate(series):
        y = 38 + _ROW * number
        parts.append(_line([(12.0, y), (36.0, y)], number) + _mark(24, y, number, name))
        parts.append(f'<text x="44" y="{y + 4}">{escape(name)}</text>')
    for number, panel in enumerate(panels):
        across, down = number % columns * size[0], top + number // columns * size[1]
        drawn = _panel(panel, size, series, ticks, x_names, x_label, y_label)
        parts.append(f'<g transform="translate({across} {down})">{drawn}</g>')
    return "".join([*parts, "</svg>\n"])


def _values(panels: Sequence[Panel]) -> list[float]:
    return [
        value
        for panel in panels
        for curve in panel.curves
        for _, y, interval in curve.points
        for value in (y, *(interval or ()))
    ]


def round_ticks(values: Sequence[float], count: int = 4) -> list[float]:
    """Round numbers whose range covers the values."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    raw = max(high - low, abs(high) * 1e-3, 1e-9) / count
    power = 10.0 ** floor(log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first, last = floor(low / step), -floor(-high / step)
    return [round(i * step, 10) for i in range(first, max(last, first + 1) + 1)]


def _panel(
    panel: Panel,
    size: tuple[int, int],
    series: Sequence[str],
    ticks: Sequence[float],
    x_names: Sequence[tuple[float, str]],
    x_label: str,
    y_label: str,
) -> str:
    right, bottom = size[0] - _RIGHT, size[1] - _BOTTOM
    places = [x for x, _ in x_names]
    low, high = min(places, default=0.0), max(places, default=1.0)

    def at(x: float, y: float) -> tuple[float, float]:
        across = 0.04 + 0.92 * (x - low) / ((high - low) or 1.0)
        up = (y - ticks[0]) / (ticks[-1] - ticks[0])
        return round(_LEFT + across * (right - _LEFT), 1), round(bottom - up * (bottom - _TOP), 1)

    parts = [f'<text x="{_LEFT}" y="16" font-weight="bold">{escape(panel.title)}</text>']
    for tick in ticks:
        y = at(low, tick)[1]
        parts.append(f'<path d="M{_LEFT} {y}H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{y + 4}" text-anchor="end">{tick:g}</text>')
    for place, text in x_names:
        x = at(place, ticks[0])[0]
        parts.append(f'<path d="M{x} {bottom}v4" stroke="#888"/>')
        parts.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{escape(text)}</text>')
    middle = (_TOP + bottom) / 2
    parts.append(
        f'<text x="{(_LEFT + right) / 2}" y="{bottom + 31}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text transform="translate(12 {middle}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>'
    )
    for curve in panel.curves:
        number = series.index(curve.series)
        parts.append(_line([at(x, y) for x, y, _ in curve.points], number))
        for x, y, interval in curve.points:
            said = f"{curve.series}: {y:.2f}"
            if interval is not None:
                (px, bottom_y), (_, top_y) = at(x, interval[0]), at(x, interval[1])
                colour = _COLOURS[number % len(_COLOURS)]
                parts.append(f'<path d="M{px} {bottom_y}V{top_y}" stroke="{colour}" opacity="0.6"/>')
                said += f" [{interval[0]:.2f}, {interval[1]:.2f}]"
            parts.append(_mark(*at(x, y), number, said))
    return "".join(parts)


def _line(points: Sequence[tuple[float, float]], number: int) -> str:
    path = " ".join(f"{'L' if i else 'M'}{x} {y}" for i, (x, y) in enumerate(points))
    return f'<path d="{path}" fill="none" stroke="{_COLOURS[number % len(_COLOURS)]}" stroke-width="1.6"/>'


def _mark(x: float, y: float, number: int, said: str) -> str:
    """A disk, a square, a triangle or a diamond, filled in the first round of colours and open in the next."""
    colour = _COLOURS[number % len(_COLOURS)]
    shape = (
        f"M{x - 3.5} {y}a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0",
        f"M{x - 3} {y - 3}h6v6h-6z",
        f"M{x} {y - 4}l4 7h-8z",
        f"M{x} {y - 4.5}l4.5 4.5l-4.5 4.5l-4.5 -4.5z",
    )[number % 4]
    fill = colour if number < len(_COLOURS) else "#fff"
    return f'<path d="{shape}" fill="{fill}" stroke="{colour}"><title>{escape(said)}</title></path>'
