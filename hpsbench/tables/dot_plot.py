"""A study as one SVG file: a panel per metric, a row per system, a dot with its 95 % interval."""

from collections.abc import Sequence
from html import escape

from hpsbench.ablations.line_plot import round_ticks
from hpsbench.tables.cells import Cell
from hpsbench.tables.fill import Filled
from hpsbench.tables.layout import word
from hpsbench.tables.run import Reproduced

_LABELS, _PANEL, _ROW, _TOP, _BOTTOM = 220, 250, 24, 74, 44
_PAD = 14
_REFERENCE, _OTHER = "#d55e00", "#0072b2"


def dot_plot(found: Reproduced) -> str:
    """An SVG document. The first row is the reference: a line stands at its value in every panel."""
    study = found.table
    rows = [row.row for row in study.rows]
    width = _LABELS + len(study.places) * _PANEL
    height = _TOP + len(rows) * _ROW + _BOTTOM
    title = study.title + (" (synthetic data)" if found.synthetic else "")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title)}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="10" y="22" font-size="15" font-weight="bold">{escape(title)}</text>',
        f'<text x="10" y="42" fill="#444">{escape(_about(found))}</text>',
    ]
    for number, row in enumerate(rows):
        y = _TOP + _ROW * number + _ROW / 2
        parts.append(f'<text x="{_LABELS - 10}" y="{y + 4}" text-anchor="end">{escape(row)}</text>')
    for number, place in enumerate(study.places):
        cells = {
            f.cell.row: f for f in found.cells if _same(f.cell, place.metric, place.dataset, place.condition)
        }
        drawn = _panel([cells.get(row) for row in rows], word("metric", place.metric))
        parts.append(f'<g transform="translate({_LABELS + number * _PANEL} {_TOP})">{drawn}</g>')
    return "".join([*parts, "</svg>\n"])


def _about(found: Reproduced) -> str:
    measured = [f for f in found.cells if f.results]
    frames = {value for f in measured if (value := f.n) is not None}
    seeds = {len(f.results) for f in measured}
    counts = f"n = {max(frames):,} scored frames" if frames else "nothing measured"
    return f"{counts}, {max(seeds, default=0)} seeds; dots: mean over seeds, bars: 95 % interval over seeds and sequences; left is better"


def _same(cell: Cell, metric: str, dataset: str, condition: object) -> bool:
    return (cell.metric, cell.dataset, dict(cell.condition)) == (metric, dataset, condition)


def _panel(cells: Sequence[Filled | None], name: str) -> str:
    measured = [f for f in cells if f is not None and f.measured is not None]
    if not measured:
        return f'<text x="{_PAD}" y="-8" font-weight="bold">{escape(name)}: not measured</text>'
    ends = [end for f in measured for end in (f.measured, *(f.interval or ())) if end is not None]
    ticks = round_ticks(ends)
    bottom = _ROW * len(cells)

    def at(value: float) -> float:
        return round(_PAD + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (_PANEL - 2 * _PAD), 1)

    unit = measured[0].cell.unit
    parts = [f'<text x="{_PAD}" y="-8" font-weight="bold">{escape(name)}, {escape(unit)}</text>']
    for tick in ticks:
        parts.append(f'<path d="M{at(tick)} 0V{bottom}" stroke="#ddd"/>')
        parts.append(f'<text x="{at(tick)}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>')
    first = cells[0]
    if first is not None and first.measured is not None:
        parts.append(
            f'<path d="M{at(first.measured)} 0V{bottom}" stroke="{_REFERENCE}" stroke-dasharray="4 3"/>'
        )
    for number, cell in enumerate(cells):
        y = _ROW * number + _ROW / 2
        if cell is None or cell.measured is None:
            parts.append(f'<text x="{_PAD}" y="{y + 4}" fill="#777">not measured</text>')
            continue
        colour = _OTHER if number else _REFERENCE
        said = f"{cell.measured:.1f} {unit}"
        if cell.interval is not None:
            low, high = cell.interval
            said += f", 95 % interval {low:.1f} to {high:.1f}"
            parts.append(f'<path d="M{at(low)} {y}H{at(high)}" stroke="{colour}" stroke-width="2.5"/>')
        parts.append(
            f'<circle cx="{at(cell.measured)}" cy="{y}" r="4.5" fill="{colour}"><title>{escape(f"{cell.cell.row}: {said}")}</title></circle>'
        )
    return "".join(parts)
