"""`hpsbench synth`: write a synthetic dataset in its raw layout."""

from typing import Annotated

import typer

from hpsbench.cli.console import emit_json, note, progress
from hpsbench.cli.options import HERE, AsJson, DryRun, Root, Seed, Workers


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("synth")(synth_command)


def synth_command(
    dataset: Annotated[str, typer.Argument(help="Dataset key, or 'all'.")],
    root: Root = HERE,
    size: Annotated[str, typer.Option("--size", help="tiny, small or full.")] = "tiny",
    seed: Seed = 0,
    layout: Annotated[
        str | None,
        typer.Option(
            "--layout",
            help="Raw layout of a dataset that comes in several (h36m: official, moon, fetch; posetrack: 2018, 21, 2017; "
            "instavariety: tfrecord, collection; mpi-inf-3dhp: frames, video). Default: the first.",
        ),
    ] = None,
    workers: Workers = 2,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Write a synthetic DATASET in the official raw layout, with known ground truth and the known defects."""
    from hpsbench.synth.world import list_worlds, plan_world, synthesize_raw

    written = []
    for key in list_worlds() if dataset == "all" else [dataset]:
        if dry_run:
            written.append(plan_world(key, root, size=size, seed=seed, layout=layout))
            continue
        with progress(f"synth {key}", "frames") as bar:
            written.append(
                synthesize_raw(key, root, size=size, seed=seed, workers=workers, progress=bar, layout=layout)
            )
    if json:
        emit_json({"synthetic": True, "dry_run": dry_run, "datasets": written})
        return
    verb = "would write" if dry_run else "wrote"
    for done in written:
        note(
            f"{verb} synthetic [bold]{done['dataset']}[/] ({size}, seed {seed}): {done['summary']} in {done['folder']}"
        )
