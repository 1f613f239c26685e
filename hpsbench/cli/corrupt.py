"""`hpsbench corrupt`: one more feature set, of corrupted images."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from hpsbench.cli.console import note, progress
from hpsbench.cli.extract import show_job
from hpsbench.cli.options import HERE, AsJson, Device, DryRun, Root, Seed, Split, View, Workers


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("corrupt")(corrupt_command)


def corrupt_command(
    ratio: Annotated[
        float, typer.Option("--ratio", help="Share of corrupted frames of a track; 0.33 is one third.")
    ],
    mode: Annotated[str, typer.Option("--mode", help="What is done: 'hpsbench ls corruptions'.")] = "center",
    consecutive: Annotated[int, typer.Option("--consecutive", min=1, help="Frames of a burst.")] = 1,
    pattern: Annotated[
        Literal["random", "regular"], typer.Option("--pattern", help="Where bursts lie: random or regular.")
    ] = "random",
    seed: Seed = 0,
    dataset: Annotated[str, typer.Option("--dataset", help="Dataset key.")] = "3dpw",
    root: Root = HERE,
    split: Split = None,
    view: View = None,
    features: Annotated[
        str, typer.Option("--features", help="auto, or the extractor of the clean set.")
    ] = "auto",
    preview: Annotated[
        Path | None, typer.Option("--preview", help="Write a contact sheet to this picture.")
    ] = None,
    device: Device = "auto",
    workers: Workers = 2,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Hide part of some frames and extract their features again, as the confidence-aware paper does."""
    from hpsbench.pipeline import corrupt as room
    from hpsbench.recipes.catalog import get_recipe

    store = root / "stores" / f"{dataset}.zarr"
    with progress(f"corrupt {dataset}", "frames") as bar:
        job = room.corrupt(
            store,
            root,
            mode=mode,
            ratio=ratio,
            consecutive=consecutive,
            seed=seed,
            splits=split or ["test"],
            pattern=pattern,
            view=view or get_recipe(dataset).default_view,
            extractor=features,
            device=device,
            workers=workers,
            dry_run=dry_run,
            progress=bar,
        )
    show_job(job.as_dict(), dry_run, json)
    if preview is not None and not dry_run:
        note(f"contact sheet: {room.preview(store, root, job.features, preview)}")
