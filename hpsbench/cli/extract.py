"""`hpsbench extract`: image features of one view of a prepared store."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hpsbench.cli.console import emit_json, note, progress
from hpsbench.cli.options import HERE, AsJson, Device, DryRun, Limit, Root, Split, View, Workers


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("extract")(extract_command)


def extract_command(
    dataset: Annotated[str, typer.Argument(help="Dataset key.")] = "3dpw",
    root: Root = HERE,
    view: View = None,
    features: Annotated[
        str,
        typer.Option("--features", "--extractor", help="auto, or an extractor: spin, embedded, flow-dis."),
    ] = "auto",
    targets: Annotated[
        list[str] | None,
        typer.Option(
            "--targets", help="Instead: masks or flow, for the losses that read them; several times."
        ),
    ] = None,
    split: Split = None,
    device: Device = "auto",
    workers: Workers = 2,
    limit: Limit = None,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Compute CNN features of the crops of a view. Resumes where it was interrupted."""
    from hpsbench.pipeline.extract import extract
    from hpsbench.recipes.catalog import get_recipe

    if targets:
        _targets(dataset, root, view or get_recipe(dataset).default_view, targets, dry_run, json)
        return
    with progress(f"extract {dataset}", "frames") as bar:
        job = extract(
            root / "stores" / f"{dataset}.zarr",
            root,
            view=view or get_recipe(dataset).default_view,
            extractor=features,
            splits=split,
            device=device,
            workers=workers,
            limit=limit,
            dry_run=dry_run,
            progress=bar,
        )
    show_job(job.as_dict(), dry_run, json)


def _targets(dataset: str, root: Path, view: str, kinds: list[str], dry_run: bool, json: bool) -> None:
    from hpsbench.pipeline.targets import FOLDER, write_targets

    for kind in kinds:
        if dry_run:
            path = root / FOLDER / dataset / view / f"{kind}.npy"
            note(f"would write {path}")
            continue
        with progress(f"{kind} of {dataset}", "rows") as bar:
            made = write_targets(
                root / "stores" / f"{dataset}.zarr", root, view=view, kind=kind, progress=bar
            )
        if json:
            emit_json(made)
        else:
            note(f"{kind} of {made['rows'] - made['without']} of {made['rows']} rows: {made['path']}")


def show_job(job: dict[str, Any], dry_run: bool, json: bool) -> None:
    """Print what a feature job did or would do."""
    if json:
        emit_json({"dry_run": dry_run, **job})
        return
    verb = "would hold" if dry_run else "holds"
    rate = f", {job['images'] / job['seconds']:.0f} images/s" if job["seconds"] and job["images"] else ""
    note(
        f"feature set [bold]{job['features']}[/] in {job['store']} {verb} {job['frames']} frames "
        f"({job['gigabytes']} GB); {job['images']} images through {job['extractor']}{rate}"
    )
