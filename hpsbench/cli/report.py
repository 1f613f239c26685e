"""`hpsbench report`: results as one self-contained HTML file."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hpsbench.cli.console import emit_json, note, plain
from hpsbench.cli.options import HERE, AsJson, DryRun, Root
from hpsbench.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("report")(report_command)


def report_command(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Results and sweeps: folders, or names under R/runs; LABEL=RUN names one in the report."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="HTML file to write.")] = Path("report.html"),
    root: Root = HERE,
    pred: Annotated[
        list[str] | None,
        typer.Option("--pred", help="Predictions of a run, where they do not lie beside it: [LABEL=]FILE."),
    ] = None,
    title: Annotated[str | None, typer.Option("--title", help="Title of the page.")] = None,
    viewer: Annotated[
        str, typer.Option("--viewer", help="3D viewer of: mesh, skeleton (no body surface), or none.")
    ] = "mesh",
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Write one HTML file about RUNS: tables, plots, worst frames, 3D viewer, protocol, provenance; no network."""
    from hpsbench.reports.page import VIEWERS, plan_report, write_report
    from hpsbench.reports.sweeps import load_material

    if viewer not in VIEWERS:
        raise UsageError(f"--viewer {viewer!r}: one of {', '.join(VIEWERS)}")
    loaded, sweeps = load_material(runs, root=root, predictions=_files(pred or []))
    if dry_run:
        _show_plan(plan_report(loaded, out, sweeps=sweeps, root=root), json)
        return
    written = write_report(loaded, out, sweeps=sweeps, root=root, title=title, viewer=viewer)
    if json:
        emit_json({"path": written.path, "bytes": written.size, "runs": written.runs, "notes": written.notes})
        return
    for text in written.notes:
        note(f"[dim]{plain(text)}[/]")
    count = f"{len(written.runs)} run" + ("" if len(written.runs) == 1 else "s")
    note(f"[bold]{plain(written.path)}[/]: {written.size / 1e6:.1f} MB, {count}")


def _files(given: list[str]) -> dict[str, Path]:
    """Run (label, or place from 1) -> its predictions."""
    found = {}
    for place, text in enumerate(given, 1):
        label, _, rest = text.rpartition("=")
        if label and not Path(text).exists():
            found[label] = Path(rest)
        else:
            found[str(place)] = Path(text)
    return found


def _show_plan(plan: dict[str, Any], json: bool) -> None:
    if json:
        emit_json({"dry_run": True, **plan})
        return
    note(f"would write [bold]{plain(plan['out'])}[/]")
    for setting in plan["settings"]:
        bodies = ", ".join(setting["predictions_of"]) or "no run"
        note(f"{setting['protocol']} on {setting['dataset']}: {plain(', '.join(setting['runs']))}")
        for kind in setting["sweeps"]:
            note(f"  {kind} sweep")
        note(f"  images: {'yes' if setting['images'] else 'no'}; predicted bodies of {plain(bodies)}")
        for text in setting["missing"]:
            note(f"  {plain(text)}")
