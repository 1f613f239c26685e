"""`hpsbench corrupt`: one more feature set, of corrupted images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from hpsbench.cli.console import note, progress
from hpsbench.cli.extract import show_job
from hpsbench.cli.options import HERE, AsJson, Device, DryRun, Root, Seed, View, Workers


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("corrupt")(corrupt_command)


def corrupt_command(
    ratio: Annotated[
        float | None,
        typer.Option(
            "--ratio",
            help="Share of corrupted frames of a track; 0.33 is one third, 1 all of them. Default: the severity's.",
        ),
    ] = None,
    mode: Annotated[str, typer.Option("--mode", help="What is done: 'hpsbench ls corruptions'.")] = "center",
    severity: Annotated[
        int | None,
        typer.Option("--severity", min=1, max=5, help="How strong; of blocks and lost frames: how often."),
    ] = None,
    consecutive: Annotated[
        int | None, typer.Option("--consecutive", min=1, help="Frames of a burst; default: 1.")
    ] = None,
    pattern: Annotated[
        Literal["random", "regular"], typer.Option("--pattern", help="Where bursts lie: random or regular.")
    ] = "random",
    fill: Annotated[
        Literal["black", "mean"], typer.Option("--fill", help="Colour of what is hidden: black or mean.")
    ] = "black",
    seed: Seed = 0,
    dataset: Annotated[str, typer.Option("--dataset", help="Dataset key.")] = "3dpw",
    root: Root = HERE,
    split: Annotated[
        list[str] | None,
        typer.Option("--split", help="train, val, test or all; may be given several times. Default: test."),
    ] = None,
    view: View = None,
    features: Annotated[
        str, typer.Option("--features", help="auto, or the extractor of the clean set.")
    ] = "auto",
    preview: Annotated[
        Path | None, typer.Option("--preview", help="Write a contact sheet to this picture.")
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option("--manifest", help="Write which frames are hit, and where, to this CSV file."),
    ] = None,
    device: Device = "auto",
    workers: Workers = 2,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Corrupt some frames and extract their features again, as the confidence-aware paper does with black squares."""
    from hpsbench.pipeline import corrupt as room
    from hpsbench.recipes.catalog import get_recipe

    if preview is not None:
        room.check_picture(preview)
    store = root / "stores" / f"{dataset}.zarr"
    with progress(f"corrupt {dataset}", "frames") as bar:
        job = room.corrupt(
            store,
            root,
            mode=mode,
            ratio=ratio,
            consecutive=consecutive,
            severity=severity,
            seed=seed,
            splits=split or ["test"],
            pattern=pattern,
            fill=fill,
            view=view or get_recipe(dataset).default_view,
            extractor=features,
            device=device,
            workers=workers,
            dry_run=dry_run,
            progress=bar,
        )
    show_job(job.as_dict(), dry_run, json)
    if not json:
        _show_counts(job.corruption, job.frames)
    if preview is not None and not dry_run:
        note(f"contact sheet: {room.preview(store, root, job.features, preview)}")
    if manifest is not None and not dry_run:
        note(f"manifest: {room.write_manifest(store, job.features, manifest)}")


def _show_counts(corruption: Mapping[str, Any] | None, frames: int) -> None:
    if corruption is not None:
        cut = f"; {corruption['cut']} more did not fit" if corruption["cut"] else ""
        share = f"{corruption['hit']} of {frames} frames ({corruption['hit'] / frames:.1%})"
        note(f"corrupted: {share} of {corruption['tracks']} tracks{cut}")
        if unchanged := corruption.get("unchanged"):
            note(
                f"[yellow]note:[/] {unchanged} of {corruption['hit']} corrupted frames look as before: what is changed lies "
                "outside the crop of the person, or is too small or too dark to show"
            )
