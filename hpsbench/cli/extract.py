"""`hpsbench extract`: image features of one view of a prepared store."""

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
    features: Annotated[str, typer.Option("--features", help="auto, or the name of an extractor.")] = "auto",
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
