"""`hpsbench prepare`: raw dataset to clip store, then features for the recipe's default view."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from hpsbench.cli.console import ask_yes_no, emit_json, note, progress, table
from hpsbench.cli.options import (
    HERE,
    AcceptLicence,
    AsJson,
    Device,
    DryRun,
    Limit,
    Recipes,
    Root,
    TrustPickle,
    Workers,
)


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("prepare")(prepare_command)


def prepare_command(
    dataset: Annotated[
        str, typer.Argument(help="Dataset key ('hpsbench ls datasets'), or 'all' that the root holds.")
    ],
    root: Root = HERE,
    features: Annotated[
        str, typer.Option("--features", help="auto, none, or the name of an extractor.")
    ] = "auto",
    workers: Workers = 2,
    device: Device = "auto",
    limit: Limit = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave damaged sequences out, and count them.")
    ] = False,
    accept_licence: AcceptLicence = False,
    trust_pickle: TrustPickle = None,
    recipes: Recipes = None,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Convert a raw DATASET into a clip store, then extract image features. Resumes where it was interrupted."""
    from hpsbench.pipeline.prepare import prepare, prepared_here

    done = []
    for key in prepared_here(root, recipes) if dataset == "all" else [dataset]:
        with _telling_what_helps(skip_bad), progress(f"prepare {key}", "sequences") as bar:
            summary = prepare(
                key,
                root,
                workers=workers,
                limit=limit,
                skip_bad=skip_bad,
                accept_licence=accept_licence or ask_yes_no,
                dry_run=dry_run,
                progress=bar,
                recipes=recipes,
            ).to_json_dict()
        if not json:
            _show(summary)
        summary["features"] = _features(key, root, features, summary, device, workers, recipes)
        if not json:
            note(_feature_line(summary["features"]))
        done.append(summary)
    if json:
        emit_json({"dry_run": dry_run, "datasets": done})


@contextmanager
def _telling_what_helps(skip_bad: bool) -> Iterator[None]:
    """After a damaged sequence, what becomes of the others."""
    from hpsbench.errors import BrokenFile, UnitError

    try:
        yield
    except (BrokenFile, UnitError):
        if not skip_bad:
            note(
                "what was read before is kept. Mend the file and run again, or add --skip-bad to leave it out"
            )
        raise


def _features(
    key: str,
    root: Path,
    wanted: str,
    summary: dict[str, Any],
    device: str,
    workers: int,
    recipes: Path | None,
) -> dict[str, Any]:
    """Extract features for the recipe's default view, or say why there are none."""
    from hpsbench.pipeline.default_features import choose_features
    from hpsbench.pipeline.extract import extract
    from hpsbench.recipes.catalog import get_recipe

    choice = choose_features(
        get_recipe(key, recipes),
        root,
        wanted,
        synthetic=summary["synthetic"],
        store=None if summary["dry_run"] else Path(summary["store"]),
    )
    if choice.extractor is None:
        return {"features": None, "reason": choice.reason}
    if summary["dry_run"]:
        return {"features": f"{choice.extractor}-{choice.view}", "reason": "dry run"}
    store = Path(summary["store"])
    with progress(f"extract {key}", "frames") as bar:
        job = extract(
            store,
            root,
            view=choice.view,
            extractor=choice.extractor,
            device=device,
            workers=workers,
            progress=bar,
        )
    return job.as_dict()


def _feature_line(made: dict[str, Any]) -> str:
    if made["features"] is None:
        return f"features: none ({made['reason']})"
    if made.get("reason"):
        return f"features: would make {made['features']}"
    rate = f", {made['images'] / made['seconds']:.0f} images/s" if made["seconds"] and made["images"] else ""
    return f"features: [bold]{made['features']}[/], {made['frames']} frames{rate}"


def _show(summary: dict[str, Any]) -> None:
    """The store, frames by split, and by view what was kept and what was left out for which reason."""
    if summary["dry_run"]:
        note(f"would write [bold]{summary['dataset']}[/] to {summary['store']} from {summary['raw']}")
    else:
        kind = "synthetic " if summary["synthetic"] else ""
        note(f"[bold]{kind}{summary['dataset']}[/]: {summary['store']} ({summary['seconds']:.1f} s)")
    counts = ("sequences", "tracks", "clips", "frames")
    rows = [[split["split"], *(split[name] for name in counts)] for split in summary["splits"]]
    table("clip store", ("split", *counts), rows, right=counts)
    kept = []
    for view, splits in summary["views"].items():
        for split, count in splits.items():
            reasons = {k: v for k, v in count.items() if k not in ("rows", "kept", "tracks") and v}
            left_out = ", ".join(f"{reason} {n}" for reason, n in reasons.items())
            kept.append([view, split, count["rows"], count["kept"], left_out])
    if kept:
        table(
            "views",
            ("view", "split", "frames", "kept", "left out, by reason"),
            kept,
            right=("frames", "kept"),
        )
    for reason, number in summary["skipped"].items():
        note(f"left out: {number} sequences ({reason})")
    for line in (*summary["broken"], *summary["notes"]):
        note(f"[yellow]note:[/] {line}")
