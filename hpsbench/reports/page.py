"""One self-contained HTML file about one or more results: no network, no server, small enough for an e-mail."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hpsbench
from hpsbench.errors import HpsbenchError
from hpsbench.leaderboards.entry import flag_reason
from hpsbench.reports import figures, tables
from hpsbench.reports.clips3d import viewer_clips
from hpsbench.reports.curves import curves_of_runs
from hpsbench.reports.material import Run
from hpsbench.reports.pictures import worst_frames
from hpsbench.reports.scene import Scene, open_scene
from hpsbench.reports.sources import bibtex, explained, papers, provenance_of
from hpsbench.reports.sweeps import Sweep, panels_of
from hpsbench.reports.timeline import Budget, timeline
from hpsbench.reports.wording import sentences

LIMIT_BYTES = 5 * 10**6
VIEWERS = ("mesh", "skeleton", "none")
_MOST_WORST_RUNS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A report that was written.

    Attributes:
        path: the file.
        size: its bytes.
        runs: labels of the runs in it.
        notes: what it lacks and why.
    """

    path: Path
    size: int
    runs: tuple[str, ...]
    notes: tuple[str, ...]


def write_report(
    runs: Sequence[Run],
    out: str | Path,
    *,
    sweeps: Sequence[Sweep] = (),
    root: Path | None = None,
    title: str | None = None,
    viewer: str = "mesh",
) -> Written:
    """Write a report; the same runs give the same bytes.

    Args:
        runs: of `load_runs` or `load_material`.
        out: the HTML file.
        sweeps: of `load_material`, each of the setting of some run.
        root: data root, for images and bodies; else the folders above each run are searched for its store.
        title: of the page.
        viewer: `mesh`, `skeleton` (no body surface leaves the machine) or `none`.

    Raises:
        HpsbenchError: the page does not fit into `LIMIT_BYTES`, even without most of its pictures.
    """
    budget = Budget()
    for _ in range(6):
        text, notes = render(runs, sweeps, root=root, title=title, viewer=viewer, budget=budget)
        data = text.encode("utf-8")
        if len(data) < LIMIT_BYTES:
            break
        budget = budget.smaller()
    else:
        raise HpsbenchError(
            f"the report of {len(runs)} runs takes {len(data) / 1e6:.1f} MB, more than {LIMIT_BYTES / 1e6:g} MB even with "
            "few pictures; report fewer runs at once"
        )
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_bytes(data)
    temporary.replace(path)
    return Written(path=path, size=len(data), runs=tuple(run.label for run in runs), notes=tuple(notes))


def plan_report(
    runs: Sequence[Run], out: str | Path, *, sweeps: Sequence[Sweep] = (), root: Path | None = None
) -> dict[str, Any]:
    """What `write_report` would show, without making it."""
    groups = []
    for key, own in by_setting(runs).items():
        scene, why = open_scene(own[0], root)
        groups.append(
            {
                "dataset": key[0],
                "protocol": key[1],
                "runs": [run.label for run in own],
                "sweeps": [sweep.kind for sweep in sweeps if sweep.setting == key],
                "predictions_of": [run.label for run in own if run.predictions is not None],
                "images": scene is not None and scene.frames is not None,
                "missing": [why] if scene is None else scene.missing,
            }
        )
    return {"out": str(out), "settings": groups}


def by_setting(runs: Iterable[Run]) -> dict[tuple[str, str, bool | None], list[Run]]:
    """Runs whose numbers may stand side by side."""
    found: dict[tuple[str, str, bool | None], list[Run]] = {}
    for run in runs:
        found.setdefault(run.setting, []).append(run)
    return found


def render(
    runs: Sequence[Run],
    sweeps: Sequence[Sweep] = (),
    *,
    root: Path | None,
    title: str | None,
    viewer: str,
    budget: Budget,
) -> tuple[str, list[str]]:
    """The page, and what it lacks and why."""
    import jinja2
    from markupsafe import Markup

    notes: list[str] = []
    data: dict[str, Any] = {}
    groups = []
    for number, (key, own) in enumerate(by_setting(runs).items()):
        group = _group(f"g{number}", own, root, viewer, budget, data, notes)
        swept = [panel for sweep in sweeps if sweep.setting == key for panel in panels_of(sweep)]
        groups.append({**group, "curves": [*curves_of_runs(own), *swept]})
    loader = jinja2.Environment(
        loader=jinja2.PackageLoader("hpsbench.reports", "assets"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    loader.filters["drawn"] = _markup
    scripts = [asset(name) for name in ("timeline.js", "viewer3d.js", "page.js")]
    text = loader.get_template("report.html").render(
        title=title or _title(runs),
        version=hpsbench.__version__,
        synthetic=any(run.result.synthetic for run in runs),
        groups=groups,
        notes=notes,
        provenance=[provenance_of(run) for run in runs],
        bibtex=bibtex(runs),
        papers=papers(runs),
        style=Markup(asset("report.css")),
        script=Markup("\n".join(scripts)),
        data=Markup(safe_json(data)),
    )
    return text, notes


def asset(name: str) -> str:
    """A file that ships with the package."""
    return (Path(__file__).parent / "assets" / name).read_text(encoding="utf-8")


def safe_json(document: Any) -> str:
    """JSON that may stand inside a script element: nothing in it can end the element."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _title(runs: Sequence[Run]) -> str:
    systems = list(dict.fromkeys(run.result.system or "predictions" for run in runs))
    data = list(dict.fromkeys(run.result.dataset for run in runs))
    return f"{', '.join(systems)} on {', '.join(data)}"


def _group(
    key: str,
    runs: list[Run],
    root: Path | None,
    viewer: str,
    budget: Budget,
    data: dict[str, Any],
    notes: list[str],
) -> dict[str, Any]:
    """All that the template shows of runs of one setting; what scripts need goes into `data`."""
    first, lead = runs[0].result, tables.lead_metric(runs)
    scene, why = open_scene(runs[0], root)
    if why:
        notes.append(f"No images, annotated bodies or 3D clips of {first.dataset}: {why}.")
    worst = _worst(runs, scene, lead, budget) if lead in first.frames else []
    line = timeline(runs, scene, lead, budget)
    clips = None
    if scene is not None and viewer != "none" and lead in first.frames:
        clips = viewer_clips(scene, runs, lead, budget=budget.coordinates, mesh=viewer == "mesh")
    lacking = [run.label for run in runs if run.predictions is None]
    if lacking:
        notes.append(
            f"Predictions were not kept for {'; '.join(lacking)}, so their bodies are not shown "
            "('hpsbench evaluate --save-predictions' keeps them)."
        )
    notes += [f"{first.dataset}: {text}." for text in (scene.missing if scene else [])]
    if line is not None:
        data[f"{key}-timeline"] = line
    if clips is not None:
        data[f"{key}-viewer"] = clips
    summary, best = tables.summary_table(runs)
    changes, incomparable = tables.changes_table(runs)
    name, unit = tables.metric_name(lead), tables.unit_of(runs, lead)
    return {
        "key": key,
        "dataset": first.dataset,
        "protocol": first.protocol,
        "synthetic": first.synthetic,
        "runs": [_run_card(run) for run in runs],
        "sentences": sentences(runs, lead),
        "summary": summary,
        "best": best,
        "lead": name,
        "unit": unit,
        "results": tables.results_table(runs),
        "accounting": tables.accounting_table(runs),
        "changes": changes,
        "incomparable": incomparable,
        "intervals": _intervals(runs),
        "why_no_interval": tables.why_no_interval(runs),
        "distribution": _markup(figures.distribution_plot(runs, lead, name, unit) or ""),
        "percentiles": tables.percentiles_table(runs, lead),
        "has_timeline": line is not None,
        "timeline_left_out": line["left_out"] if line else 0,
        "timeline_hits": any(hit for track in (line or {}).get("tracks", ()) for hit in track["corrupted"]),
        "skeletons": _skeletons(runs, lead),
        "joints": tables.joints_table(runs, lead),
        "sequences": tables.sequences_table(runs, lead),
        "worst": worst,
        "worst_pictured": any(frame.crop for run in worst for frame in run["frames"]),
        "viewer": None if clips is None else _viewer_words(clips),
        "explain": explained(first.protocol, first.dataset),
    }


def _run_card(run: Run) -> dict[str, Any]:
    return {
        "label": run.label,
        "condition": run.condition.text,
        "flags": [f"{flag} ({flag_reason(flag) or 'no known reason'})" for flag in run.result.flags],
        "partial": run.result.partial,
    }


def _intervals(runs: Sequence[Run]) -> list[dict[str, Any]]:
    found, said = [], tables.why_no_interval(runs)
    for metric in tables.metrics_of(runs):
        bars, ticks = figures.interval_bars(runs, metric, said=said)
        unit = tables.unit_of(runs, metric)
        found.append({"name": tables.metric_name(metric), "unit": unit, "bars": bars, "ticks": ticks})
    return found


def _markup(svg: str) -> Any:
    """A drawing made here, whose texts are escaped already."""
    from markupsafe import Markup

    return Markup(svg)


def _skeletons(runs: Sequence[Run], metric: str) -> list[dict[str, Any]]:
    errors = [
        {joint: error for joint, error in tables.joint_errors(run, metric).items() if math.isfinite(error)}
        for run in runs
    ]
    values = [value for own in errors for value in own.values()]
    if not values:
        return []
    low, high = min(values), max(values)
    found = []
    for run, own in zip(runs, errors, strict=True):
        title = f"{run.label}: mean {tables.metric_name(metric)} of each joint, drawn on a figure"
        drawn = figures.skeleton_plot(own, low, high, title) if own else None
        if drawn is not None:
            found.append({"label": run.label, "svg": _markup(drawn), "low": low, "high": high})
    return found


def _worst(runs: Sequence[Run], scene: Scene | None, lead: str, budget: Budget) -> list[dict[str, Any]]:
    shown = [run for run in runs if run.predictions is not None][:_MOST_WORST_RUNS] or list(runs[:1])
    return [
        {
            "label": run.label,
            "frames": worst_frames(
                scene, run.result.frames, lead, predictions=run.predictions, count=budget.worst
            ),
        }
        for run in shown
        if lead in run.result.frames
    ]


def _viewer_words(clips: dict[str, Any]) -> dict[str, Any]:
    kind = "meshes, with fewer vertices than the scored ones" if "faces" in clips else "skeletons"
    return {
        "kind": kind,
        "bodies": clips["bodies"],
        "clips": [{"track": c["track"], "why": c["why"], "frames": c["frames"]} for c in clips["clips"]],
    }
