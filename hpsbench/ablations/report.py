"""A sweep as files: sweep.json with every number, cells.csv, tables.md, and one plot per metric."""

import csv
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hpsbench.ablations.cells import Cell
from hpsbench.ablations.corruption_sweep import CorruptionSweep, SweepCell
from hpsbench.ablations.length_sweep import LengthCell, LengthSweep
from hpsbench.ablations.line_plot import Curve, Panel, line_plot

Sweep = CorruptionSweep | LengthSweep
Table = tuple[str, list[str], list[list[str]]]
"""Title, column names, rows."""


def sweep_folder(root: Path, sweep: Sweep) -> Path:
    """Where a sweep is saved: `R/runs/sweep-<kind>-<protocol>-<hash of the results behind it and the baseline>`."""
    document = sweep.to_json()
    made_of = [document["runs"], document.get("baseline")]
    digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:8]
    protocol = sweep.protocol.replace("@", "-")
    return root / "runs" / f"sweep-{document['sweep']}-{protocol}-{digest}"


def save_sweep(sweep: Sweep, folder: Path) -> Path:
    """Write sweep.json, cells.csv, tables.md and `<metric>.svg`, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    document = sweep.to_json()
    text = json.dumps(document, indent=2, allow_nan=False, default=str) + "\n"
    (folder / "sweep.json").write_text(text, encoding="utf-8")
    with (folder / "cells.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(document["cells"][0]))
        writer.writeheader()
        for cell in document["cells"]:
            writer.writerow({key: _flat(value) for key, value in cell.items()})
    lines = [
        f"# {_headline(sweep)}",
        "",
        "Means with 95 % intervals over sequences; in brackets or as `lost`: the change.",
        "",
    ]
    if (why := why_no_intervals(sweep)) is not None:
        lines += [f"No intervals: {why}.", ""]
    for metric, drawn in sweep_plots(sweep).items():
        (folder / f"{metric}.svg").write_text(drawn, encoding="utf-8")
    for title, columns, rows in sweep_tables(sweep):
        lines += [f"## {title}", "", _row(columns), _row(["---"] * len(columns)), *map(_row, rows), ""]
    for metric in sweep_plots(sweep):
        lines += [f"![{metric}]({metric}.svg)", ""]
    (folder / "tables.md").write_text("\n".join(lines), encoding="utf-8")
    return folder


def sweep_tables(sweep: Sweep) -> list[Table]:
    """One table per metric, and for corruptions one of corruption errors."""
    return _corruption_tables(sweep) if isinstance(sweep, CorruptionSweep) else _length_tables(sweep)


def sweep_plots(sweep: Sweep) -> dict[str, str]:
    """Metric -> SVG."""
    return _corruption_plots(sweep) if isinstance(sweep, CorruptionSweep) else _length_plots(sweep)


def _headline(sweep: Sweep) -> str:
    what = "Corruption" if isinstance(sweep, CorruptionSweep) else "Sequence length"
    data = f"{'synthetic ' if sweep.synthetic else ''}{sweep.dataset}"
    return f"{what} sweep on {data} under {sweep.protocol}" + (" (PARTIAL)" if sweep.partial else "")


def _corruption_tables(sweep: CorruptionSweep) -> list[Table]:
    tables: list[Table] = []
    for metric, unit in _metrics(sweep.cells):
        rows = []
        for key in dict.fromkeys((c.mode, c.severity, c.model) for c in _ordered(sweep, metric)):
            own = {
                c.frames: c
                for c in sweep.cells
                if (c.mode, c.severity, c.model) == key and c.metric == metric
            }
            mode, severity, model = key
            whole = own["all"].cell
            apart = [_with_change(own[group].cell) if group in own else "" for group in _APART]
            rows.append([mode, str(severity or ""), model, _with_interval(whole), _lost(whole), *apart])
        columns = ["corruption", "severity", "model", "all frames", "lost", *_APART]
        tables.append((f"{metric}, {unit}", columns, rows))
    tables.append(_frame_counts(sweep))
    rows = [
        [
            error.metric,
            error.mode,
            error.model,
            _joined(_value(error.absolute.value), error.absolute.interval) or str(error.absolute.why_none),
            _joined(_value(error.relative.value), error.relative.interval) or str(error.relative.why_none),
        ]
        for error in sweep.errors
        if error.model != sweep.baseline
    ]
    if rows:
        columns = ["metric", "corruption", "model", "error", "relative error"]
        tables.append((f"corruption error, {sweep.baseline} = 1", columns, rows))
    return tables


_APART = ("corrupted", "neighbour 1", "neighbour 2", "further")


def _frame_counts(sweep: CorruptionSweep) -> Table:
    """How many values of each metric stand behind the means, of one seed on average; the same for all models."""
    counts: dict[tuple[str, int, str], dict[str, int]] = {}
    for cell in (c for c in sweep.cells if c.model == sweep.models[0]):
        counts.setdefault((cell.mode, cell.severity, cell.metric), {})[cell.frames] = cell.cell.n
    rows: dict[tuple[str, ...], list[str]] = {}
    for (mode, severity, metric), own in counts.items():
        numbers = [str(own[group]) if group in own else "" for group in ("all", *_APART)]
        rows.setdefault((mode, str(severity or ""), *numbers), []).append(metric)
    seeds = max(len(cell.condition) for cell in sweep.cells)
    return (
        "values behind each mean" + (f", of one of {seeds} seeds" if seeds > 1 else ""),
        ["corruption", "severity", "metric", "all frames", *_APART],
        [
            [mode, severity, ", ".join(metrics), *numbers]
            for (mode, severity, *numbers), metrics in rows.items()
        ],
    )


def _ordered(sweep: CorruptionSweep, metric: str) -> list[SweepCell]:
    """By corruption and severity, so that the models stand under each other."""
    modes = list(dict.fromkeys(cell.mode for cell in sweep.cells))
    own = [cell for cell in sweep.cells if cell.metric == metric]
    return sorted(own, key=lambda c: (modes.index(c.mode), c.severity, sweep.models.index(c.model)))


def _corruption_plots(sweep: CorruptionSweep) -> dict[str, str]:
    severities = sorted({cell.severity for cell in sweep.cells})
    modes = [mode for mode in dict.fromkeys(c.mode for c in sweep.cells) if mode != "clean"]
    names = [(float(s), "clean" if s == 0 else str(s)) for s in severities]
    drawn = {}
    for metric, unit in _metrics(sweep.cells):
        panels = []
        for mode in modes:
            own = [
                c
                for c in sweep.cells
                if c.metric == metric and c.mode in ("clean", mode) and c.frames in ("all", "corrupted")
            ]
            curves = []
            for model in sweep.models:
                for frames in ("all", "corrupted"):
                    mine = [c for c in own if c.model == model and (c.frames == frames)]
                    label = model if frames == "all" else f"{model}, corrupted frames"
                    curves.append(_curve(label, [(c.severity, c.cell) for c in mine]))
            panels.append(Panel(title=mode, curves=tuple(curve for curve in curves if curve.points)))
        title = f"{metric}: {_headline(sweep)}"
        drawn[metric] = line_plot(
            title, panels, x_label="severity", y_label=f"{metric} [{unit}]", x_names=names
        )
    return drawn


def _length_tables(sweep: LengthSweep) -> list[Table]:
    tables: list[Table] = []
    lengths = [str(length) for length in sweep.lengths]
    for metric, unit in _metrics(sweep.cells):
        rows = []
        for model, trained in dict.fromkeys((c.model, c.train_length) for c in sweep.cells):
            own = {c.test_length: c.cell for c in sweep.cells if (c.model, c.metric) == (model, metric)}
            cells = [_with_interval(own[n]) if n in own else "-" for n in sweep.lengths]
            lost = [_lost(own[n]) if n in own else "" for n in sweep.lengths]
            rows.append([model, str(trained or "?"), "value", *cells])
            if any(lost):
                rows.append(["", "", "from its train length", *lost])
        tables.append(
            (f"{metric}, {unit}; columns: test length", ["model", "train length", "", *lengths], rows)
        )
    counts = [str(sweep.frames_without_tails[length]) for length in sweep.lengths]
    rows = [["scored here", *[str(sweep.frames)] * len(lengths)], ["without tails and short tracks", *counts]]
    tables.append(("frames; columns: test length", ["", *lengths], rows))
    if sweep.why_not:
        rows = [[model, str(length), why] for (model, length), why in sweep.why_not.items()]
        tables.append(("not measured", ["model", "test length", "why"], rows))
    return tables


def _length_plots(sweep: LengthSweep) -> dict[str, str]:
    names = [(math.log2(length), str(length)) for length in sweep.lengths]
    drawn = {}
    for metric, unit in _metrics(sweep.cells):
        curves = []
        for model, trained in dict.fromkeys((c.model, c.train_length) for c in sweep.cells):
            mine = [c for c in sweep.cells if (c.model, c.metric) == (model, metric)]
            label = f"{model} (trained on {trained or '?'})"
            curves.append(_curve(label, [(math.log2(c.test_length), c.cell) for c in mine]))
        title = f"{metric}: {_headline(sweep)}"
        panel = Panel(title=f"{sweep.frames} frames at every length", curves=tuple(curves))
        drawn[metric] = line_plot(
            title, [panel], x_label="test length, frames", y_label=f"{metric} [{unit}]", x_names=names
        )
    return drawn


def _curve(series: str, cells: Sequence[tuple[float, Any]]) -> Curve:
    points = [(float(x), cell.value, cell.interval) for x, cell in cells if cell.value is not None]
    return Curve(series=series, points=tuple(sorted(points)))


def _metrics(cells: Sequence[SweepCell] | Sequence[LengthCell]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((cell.metric, cell.unit) for cell in cells))


def _value(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"


def _joined(text: str, interval: tuple[float, float] | None, form: str = ".2f") -> str:
    if not text or interval is None:
        return text
    return f"{text} [{interval[0]:{form}}, {interval[1]:{form}}]"


def _with_interval(cell: Cell) -> str:
    return _joined(_value(cell.value), cell.interval) or "-"


def _lost(cell: Cell) -> str:
    return _joined(_signed(cell.change), cell.change_interval, "+.2f")


def _with_change(cell: Cell) -> str:
    """The mean of some frames, and what they lost."""
    change = _lost(cell)
    return f"{_value(cell.value)} ({change})" if change else _value(cell.value)


def why_no_intervals(sweep: Sweep) -> str | None:
    """Why the sweep's numbers have no intervals, where all lack one for one reason."""
    reasons = {cell.cell.why_none for cell in sweep.cells if cell.cell.value is not None}
    return str(next(iter(reasons))) if len(reasons) == 1 and None not in reasons else None


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def _flat(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
