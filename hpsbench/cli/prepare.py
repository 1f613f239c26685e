"""`hpsbench prepare`: raw dataset to clip store, then features for the recipe's default view."""

from typing import Annotated, Any

import typer

from hpsbench.cli.console import ask_yes_no, emit_json, note, progress, table
from hpsbench.cli.options import HERE, AcceptLicence, AsJson, Device, DryRun, Limit, Recipes, Root, Workers


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("prepare")(prepare_command)


def prepare_command(
    dataset: Annotated[str, typer.Argument(help="Dataset key ('hpsbench ls datasets'), or 'all' that the root holds.")],
    root: Root = HERE,
    features: Annotated[str, typer.Option("--features", help="auto, none, or the name of an extractor.")] = "auto",
    workers: Workers = 2,
    device: Device = "auto",
    limit: Limit = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave damaged sequences out, and count them.")] = False,
    accept_licence: AcceptLicence = False,
    recipes: Recipes = None,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Convert a raw DATASET into a clip store, then extract image features. Resumes where it was interrupted."""
    from hpsbench.pipeline.prepare import prepare, prepared_here

    done = []
    for key in prepared_here(root, recipes) if dataset == "all" else [dataset]:
        with progress(f"prepare {key}", "sequences") as bar:
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
        summary["features"] = _extract(key, root, features, summary, device, dry_run, recipes)
        done.append(summary)
        if not json:
            _show(summary)
    if json:
        emit_json({"dry_run": dry_run, "datasets": done})


def _extract(key: str, root: Any, features: str, summary: Any, device: str, dry_run: bool, recipes: Any) -> Any:
    """Features of the recipe's default view, or why there are none."""
    from hpsbench.pipeline.extract import extract, plan_features

    plan = plan_features(key, root, features=features, recipes=recipes, synthetic=summary["synthetic"])
    if plan.extractor is None or dry_run:
        return {"set": plan.set_name, "reason": plan.reason}
    with progress(f"extract {key}", "frames") as bar:
        made = extract(key, root, view=plan.view, extractor=plan.extractor, device=device, progress=bar)
    return made.to_json_dict()


def _show(summary: Any) -> None:
    verb = "would be" if summary.get("dry_run") else "is"
    note(f"[bold]{summary['dataset']}[/] {verb} at {summary['store']}")
    table(
        "clip store",
        ("split", "sequences", "tracks", "clips", "frames"),
        [[row[k] for k in ("split", "sequences", "tracks", "clips", "frames")] for row in summary["splits"]],
        right=("sequences", "tracks", "clips", "frames"),
    )
