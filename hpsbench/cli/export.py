"""`hpsbench export`: a view of a clip store, written as a file that older code reads."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hpsbench.cli.console import note, plain, progress, render
from hpsbench.cli.options import HERE, AsJson, DryRun, Root


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("export")(export_command)


def export_command(
    dataset: Annotated[
        str, typer.Option("--dataset", help="Dataset key, or the name of an imported store.")
    ] = "3dpw",
    root: Root = HERE,
    format: Annotated[
        str, typer.Option("--format", help="vibe-db: VIBE's, TCMR's *_db.pt, *_db.h5.")
    ] = "vibe-db",
    split: Annotated[
        str | None,
        typer.Option("--split", help="train, val or test; all: where the layout has one file (AMASS, Penn)."),
    ] = None,
    view: Annotated[str | None, typer.Option("--view", help="View of the store; default: its own.")] = None,
    features: Annotated[
        str | None,
        typer.Option("--features", help="Feature set, or none; default: spin-VIEW if it is there."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; default: R/exports/*_db.*.")
    ] = None,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Write a view of a clip store as a file that VIBE, TCMR and MPS-Net read."""
    from hpsbench.pipeline.assemble import store_path
    from hpsbench.pipeline.export import export_store

    with progress(f"export {dataset}", "rows") as bar:
        summary = export_store(
            store_path(root, dataset),
            format=format,
            split=split,
            view=view,
            features=features,
            out=out,
            dry_run=dry_run,
            progress=bar,
        ).to_json_dict()
    render(summary, json, lambda: _show(summary))


def _show(summary: dict[str, Any]) -> None:
    would = "would write" if summary["dry_run"] else "wrote"
    kind = "synthetic " if summary["synthetic"] else ""
    note(
        f"{would} {kind}[bold]{plain(summary['file'])}[/]: {summary['rows']} frames, {summary['size'] / 2**20:.1f} MiB"
    )
    note(f"view {summary['view']}, split {summary['split']}, features {summary['features'] or 'none'}")
    note(f"keys: {', '.join(summary['keys'])}")
    for line in summary["notes"]:
        note(f"[yellow]note:[/] {plain(line)}")
