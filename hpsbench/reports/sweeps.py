"""Sweeps in a report: what `hpsbench sweep` measured, as curves and tables, and the runs that it rests on."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hpsbench.errors import BrokenFile, MissingData
from hpsbench.reports import tables
from hpsbench.reports.curves import Panel, Plot, Point, Scale, draw_curves, lengths, severities
from hpsbench.reports.material import Run, load_runs
from hpsbench.results.result import RESULTS

FILE = "sweep.json"
# Models up to which the corrupted frames get curves of their own beside those of all frames.
_FEW = 3
_GROUPS = ("all", "corrupted", "neighbour 1", "neighbour 2", "further")

Cell = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A sweep that was saved.

    Attributes:
        folder: where it lies.
        kind: over corruptions or over lengths of the windows.
        document: everything that it says.
    """

    folder: Path
    kind: Literal["corruption", "seqlen"]
    document: Mapping[str, Any]

    @property
    def setting(self) -> tuple[str, str, bool | None]:
        """What must agree before numbers may stand side by side, as `Run.setting`."""
        return str(self.document["dataset"]), str(self.document["protocol"]), self.document["synthetic"]

    @property
    def models(self) -> list[str]:
        """Labels of the models."""
        return list(dict.fromkeys(str(cell["model"]) for cell in self.document["cells"]))

    @property
    def metrics(self) -> list[tuple[str, str]]:
        """Names and units of the metrics."""
        return list(dict.fromkeys((str(c["metric"]), str(c["unit"])) for c in self.document["cells"]))

    def cells(self, **wanted: Any) -> list[Cell]:
        """Its numbers with these values, those without a value left out."""
        return [
            cell
            for cell in self.document["cells"]
            if cell["value"] is not None and all(cell.get(key) == value for key, value in wanted.items())
        ]

    def run_names(self) -> list[str]:
        """One run of each model, as `load_runs` takes them: on clean input, or with windows as long as in training.

        Raises:
            MissingData: its folder is gone.
        """
        names = []
        for model in self.models:
            own = [run for run in self.document["runs"] if run["model"] == model]
            if self.kind == "corruption":
                folder = next(run["folders"][0] for run in own if run["mode"] == "clean")
            else:
                trained = next(cell["train_length"] for cell in self.cells(model=model))
                chosen = min(own, key=lambda run: abs(run["test_length"] - (trained or math.inf)))
                folder = chosen["folder"]
            names.append(f"{model}={self._found(str(folder))}")
        return names

    def _found(self, folder: str) -> Path:
        """A run's folder, as the sweep names it or beside the sweep itself, where the root was moved."""
        places = (self.folder.parent / Path(folder).name, Path(folder))
        for place in places:
            if (place / RESULTS).is_file():
                return place
        raise MissingData(
            f"{self.folder / FILE} rests on the run {folder}, which is neither there nor at {places[0]}; "
            "run the sweep again with the same command"
        )


def find_sweep(name: str, root: Path) -> Sweep | None:
    """The sweep in a folder, or of a name under `root/runs`; None where there is none.

    Raises:
        BrokenFile: it cannot be read.
    """
    for folder in (Path(name), root / "runs" / name):
        path = folder.parent / FILE if folder.name == FILE else folder / FILE
        if path.is_file():
            return _read(path)
    return None


def _read(path: Path) -> Sweep:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BrokenFile(f"{path}: not valid JSON ({error}); run the sweep again") from error
    needed = ("sweep", "dataset", "protocol", "synthetic", "cells", "runs")
    lacking = [key for key in needed if not isinstance(document, dict) or key not in document]
    if lacking:
        raise BrokenFile(f"{path}: no {lacking[0]!r}; it is no sweep, or not a whole one")
    if document["sweep"] not in ("corruption", "seqlen"):
        raise BrokenFile(f"{path}: a sweep of kind {document['sweep']!r}; known: corruption, seqlen")
    return Sweep(folder=path.parent, kind=document["sweep"], document=document)


def load_material(
    names: Sequence[str], *, root: Path = Path(), predictions: Mapping[str, Path] | None = None
) -> tuple[list[Run], list[Sweep]]:
    """Runs and sweeps of a report. A sweep brings runs of its own where no run of its setting is named.

    Args:
        names: as for `load_runs`; those that are a sweep's folder, or its name under `root/runs`, are sweeps.
        root: data root.
        predictions: as for `load_runs`.

    Raises:
        UsageError, MissingData, BrokenFile, BadData: as for `load_runs`; or a sweep that cannot be read.
    """
    sweeps, rest = [], []
    for name in names:
        found = find_sweep(name, root)
        if found is None:
            rest.append(name)
        else:
            sweeps.append(found)
    runs = load_runs(rest, root=root) if rest and sweeps else []
    settings = {run.setting for run in runs}
    for sweep in sweeps:
        if sweep.setting not in settings:
            rest += sweep.run_names()
            settings.add(sweep.setting)
    return load_runs(rest, root=root, predictions=predictions), sweeps


def panels_of(sweep: Sweep) -> list[Panel]:
    """Everything that a page shows of a sweep."""
    return _corruption_panels(sweep) if sweep.kind == "corruption" else [_length_panel(sweep)]


def _corruption_panels(sweep: Sweep) -> list[Panel]:
    modes = [m for m in dict.fromkeys(str(c["mode"]) for c in sweep.document["cells"]) if m != "clean"]
    lead = _lead(sweep)
    text = (
        f"What corrupted input adds to each model's {tables.metric_name(lead)}, by severity; "
        "brackets are 95 % intervals over sequences, of the same frames paired."
    )
    overview = [_cost_table(sweep, modes, lead), *_error_tables(sweep)]
    panels = [Panel(heading="Corruption sweep: what it costs", text=text, plots=(), numbers=tuple(overview))]
    for mode in modes:
        plots = [_severity_plot(sweep, mode, metric, unit) for metric, unit in sweep.metrics]
        panels.append(
            Panel(
                heading=f"Corruption sweep: {mode}",
                text="",
                plots=tuple(plot for plot in plots if plot is not None),
                numbers=tuple(_severity_table(sweep, mode, metric, unit) for metric, unit in sweep.metrics),
            )
        )
    return panels


def _lead(sweep: Sweep) -> str:
    names = [name for name, _ in sweep.metrics]
    return next((name for name in ("pa_mpjpe", "mpjpe") if name in names), names[0])


def _severity_plot(sweep: Sweep, mode: str, metric: str, unit: str) -> Plot | None:
    curves: dict[str, list[Point]] = {}
    for model in sweep.models:
        for frames in ("all", "corrupted") if len(sweep.models) <= _FEW else ("all",):
            name = model if frames == "all" else f"{model}, corrupted frames alone"
            clean = sweep.cells(model=model, mode="clean", metric=metric) if frames == "all" else []
            own = [*clean, *sweep.cells(model=model, mode=mode, metric=metric, frames=frames)]
            own.sort(key=lambda cell: cell["severity"])
            curves[name] = [
                _point(cell["severity"], f"{name}, severity {cell['severity']}", cell) for cell in own
            ]
    scale = severities(max((c["severity"] for c in sweep.cells(mode=mode)), default=5))
    return draw_curves(
        {k: v for k, v in curves.items() if v}, scale, tables.metric_name(metric), tables.shown_unit(unit)
    )


def _severity_table(sweep: Sweep, mode: str, metric: str, unit: str) -> tables.Table:
    rows = []
    for severity in sorted({c["severity"] for c in sweep.cells(mode=mode, metric=metric)}):
        for model in sweep.models:
            own = {
                c["frames"]: c for c in sweep.cells(mode=mode, metric=metric, severity=severity, model=model)
            }
            cells = [
                _with_interval(own[g]["value"], own[g]["interval"], unit) if g in own else "–"
                for g in _GROUPS
            ]
            rows.append([model, str(severity), *cells, _changed(own.get("all"), unit)])
    names = ["all frames", "corrupted", "1 from a corrupted one", "2 from one", "further"]
    return tables.Table(
        caption=f"{tables.metric_name(metric)} under {mode} [{tables.shown_unit(unit)}], by where frames lie",
        columns=["model", "severity", *names, "change from clean"],
        rows=rows,
        numeric=frozenset(range(1, 8)),
    )


def _cost_table(sweep: Sweep, modes: Sequence[str], metric: str) -> tables.Table:
    unit = dict(sweep.metrics)[metric]
    levels = sorted({c["severity"] for c in sweep.document["cells"] if c["severity"]})
    rows = []
    for mode in modes:
        for model in sweep.models:
            cells = []
            for level in levels:
                own = sweep.cells(mode=mode, model=model, severity=level, metric=metric, frames="all")
                cells.append(_changed(own[0] if own else None, unit))
            rows.append([mode, model, *cells])
    return tables.Table(
        caption=f"Change of {tables.metric_name(metric)} from clean input [{tables.shown_unit(unit)}], by severity",
        columns=["corruption", "model", *map(str, levels)],
        rows=rows,
        numeric=frozenset(range(2, 2 + len(levels))),
    )


def _error_tables(sweep: Sweep) -> list[tables.Table]:
    """Corruption errors against the baseline, where there is another model."""
    baseline = sweep.document.get("baseline")
    rows = []
    for error in sweep.document.get("errors", ()):
        if error["model"] == baseline:
            continue
        shown = [
            _with_interval(e["value"], e["interval"], "1") if e["value"] is not None else str(e["why_none"])
            for e in (error["absolute"], error["relative"])
        ]
        rows.append([error["model"], tables.metric_name(error["metric"]), error["mode"], *shown])
    if not rows:
        return []
    caption = f"Corruption errors: sums over the severities, {baseline} = 1; below 1 is better. Relative: of what is lost from clean input"
    columns = ["model", "metric", "corruption", "error", "relative error"]
    return [tables.Table(caption=caption, columns=columns, rows=rows, numeric=frozenset({3, 4}))]


def _length_panel(sweep: Sweep) -> Panel:
    document = sweep.document
    plots, shown = [], []
    scale: Scale = lengths([int(n) for n in document["lengths"]])
    trained = {c["model"]: c["train_length"] for c in document["cells"]}
    names = {m: f"{m} (trained on {trained[m] or '?'} frames)" for m in sweep.models}
    for metric, unit in sweep.metrics:
        curves = {}
        rows = []
        for model in sweep.models:
            own = sorted(sweep.cells(model=model, metric=metric), key=lambda cell: cell["test_length"])
            curves[names[model]] = [
                _point(math.log2(c["test_length"]), f"{model}, windows of {c['test_length']} frames", c)
                for c in own
            ]
            at = {c["test_length"]: _with_interval(c["value"], c["interval"], unit) for c in own}
            rows.append([names[model], *(at.get(n, "–") for n in document["lengths"])])
        drawn = draw_curves(curves, scale, tables.metric_name(metric), tables.shown_unit(unit))
        if drawn is not None:
            plots.append(drawn)
        shown.append(
            tables.Table(
                caption=f"{tables.metric_name(metric)} [{tables.shown_unit(unit)}] by frames of the tested windows",
                columns=["model", *map(str, document["lengths"])],
                rows=rows,
                numeric=frozenset(range(1, 1 + len(document["lengths"]))),
            )
        )
    text = f"Every length is scored on the same {document['frames']:,} frames."
    missing = [f"{w['model']} at {w['test_length']}: {w['why_not']}" for w in document.get("why_not", ())]
    text += f" Not measured: {'; '.join(missing)}." if missing else ""
    return Panel(heading="Length of the windows", text=text, plots=tuple(plots), numbers=tuple(shown))


def _point(x: float, name: str, cell: Cell) -> Point:
    unit = str(cell["unit"])
    says = f"{name}: {tables.number(cell['value'], unit)} {tables.shown_unit(unit)}"
    return Point(x=float(x), value=cell["value"], interval=_interval(cell["interval"]), says=says)


def _interval(given: Any) -> tuple[float, float] | None:
    return None if given is None else (float(given[0]), float(given[1]))


def _with_interval(value: float, interval: Any, unit: str) -> str:
    shown = tables.number(value, unit)
    if interval is None:
        return shown
    return f"{shown}\n{tables.number(interval[0], unit)} to {tables.number(interval[1], unit)}"


def _changed(cell: Cell | None, unit: str) -> str:
    if cell is None or cell.get("change") is None:
        return "–"
    shown = f"{cell['change']:+.2f}" if abs(cell["change"]) < 10 else f"{cell['change']:+.1f}"
    band = cell.get("change_interval")
    return shown if band is None else f"{shown}\n{band[0]:+.1f} to {band[1]:+.1f}"
