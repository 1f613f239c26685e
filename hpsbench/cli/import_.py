"""`hpsbench import`: a processed file that circulates becomes a clip store."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hpsbench.cli.console import ask_yes_no, note, plain, progress, render
from hpsbench.cli.options import HERE, AcceptLicence, AsJson, DryRun, Root, TrustPickle


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("import")(import_command)


def import_command(
    file: Annotated[
        Path, typer.Argument(help="VIBE, TCMR or MPS-Net *_db.pt; insta_train_db.h5; SPIN or mmhuman3d .npz.")
    ],
    dataset: Annotated[str, typer.Option("--dataset", help="Key of the dataset that it was made from.")],
    root: Root = HERE,
    split: Annotated[
        str | None, typer.Option("--split", help="train, val or test; default: by the file's name.")
    ] = None,
    view: Annotated[
        str | None,
        typer.Option("--view", help="View whose boxes and crops it has; default: the recipe's."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the store; default: DATASET-import-FILE.")
    ] = None,
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="The file was made from synthetic data.")
    ] = False,
    accept_licence: AcceptLicence = False,
    trust_pickle: TrustPickle = None,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Turn a processed FILE into a clip store of its own, safely and in slices. Resumes where it was interrupted."""
    from hpsbench.pipeline.import_ import import_file

    with progress(f"import {file.name}", "frames") as bar:
        summary = import_file(
            file,
            dataset,
            root,
            split=split,
            view=view,
            name=name,
            synthetic=synthetic,
            accept_licence=accept_licence or ask_yes_no,
            dry_run=dry_run,
            progress=bar,
        ).to_json_dict()
    render(summary, json, lambda: _show(summary))


def _show(summary: dict[str, Any]) -> None:
    would = "would write" if summary["dry_run"] else "wrote"
    kind = "synthetic " if summary["synthetic"] else ""
    note(
        f"{would} [bold]{kind}{summary['dataset']}[/] from a {summary['kind']} file: {plain(summary['store'])}"
    )
    note(
        f"{summary['rows']} frames of {summary['tracks']} tracks in {summary['clips']} clips ({summary['split']})"
    )
    note(f"fields: {', '.join(summary['fields'])}; features: {summary['features'] or 'none'}")
    for what, count in summary["missing"].items():
        note(f"missing: {count} ({what})")
    if summary["left_out"]:
        note(f"left out: {plain(', '.join(summary['left_out']))}")
    for line in summary["notes"]:
        note(f"[yellow]note:[/] {plain(line)}")
