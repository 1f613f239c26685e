"""`hpsbench score`: score predictions that were made anywhere."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hpsbench.cli.console import emit_json, note, progress, table
from hpsbench.cli.evaluate import run_name, show
from hpsbench.cli.options import HERE, AsJson, Limit, Out, Recipes, Root
from hpsbench.errors import BadData, MissingData


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("score")(score_command)


def score_command(
    predictions: Annotated[Path, typer.Argument(help="Predictions: .zarr, .npz or .parquet.")],
    protocol: Annotated[str, typer.Option("--protocol", help="A protocol, or 'all' that fit.")] = "tcmr",
    dataset: Annotated[str, typer.Option("--dataset", help="Dataset key.")] = "3dpw",
    setting: Annotated[
        str | None, typer.Option("--setting", help="A protocol's setting of the dataset: h36m-p2.")
    ] = None,
    root: Root = HERE,
    out_folder: Out = None,
    limit: Limit = None,
    recipes: Recipes = None,
    json: AsJson = False,
) -> None:
    """Score PREDICTIONS against a prepared dataset under a protocol."""
    from hpsbench.evaluation.run import score_predictions
    from hpsbench.predictions.files import load_predictions
    from hpsbench.protocols.catalog import get_protocol, list_protocols
    from hpsbench.store.reader import open_store

    store = open_store(root / "stores" / f"{dataset}.zarr")
    given = load_predictions(predictions)
    names = list_protocols(recipes) if protocol == "all" else [protocol]
    results, refused = {}, {}
    for name in names:
        try:
            with progress(f"score {name}", "frames") as bar:
                results[name] = score_predictions(
                    get_protocol(name, recipes),
                    given,
                    store,
                    root=root,
                    dataset=setting,
                    limit=limit,
                    on_track=bar,
                    about={"command": " ".join(["hpsbench", *sys.argv[1:]]), "predictions": predictions.name},
                )
        except (BadData, MissingData) as problem:
            if protocol != "all":
                raise
            refused[name] = str(problem)
    folders = {
        name: result.save(out_folder or root / "runs" / run_name(result)) for name, result in results.items()
    }
    if json:
        scored = {name: {"folder": folders[name], **result.to_json()} for name, result in results.items()}
        emit_json({"results": scored, "refused": refused} if protocol == "all" else scored[protocol])
    elif protocol == "all":
        _show_all(results, refused)
    else:
        show(results[protocol])
        note(f"results.json, frames.parquet, sequences.parquet: {folders[protocol]}")


def _show_all(results: dict[str, Any], refused: dict[str, str]) -> None:
    """One row per protocol; a metric that a protocol does not have stays empty."""
    metrics = list(dict.fromkeys(name for result in results.values() for name in result.summary))
    rows = [
        [name, *(f"{r.summary[m]:.2f}" if m in r.summary else "" for m in metrics), r.accounting["scored"]]
        for name, r in results.items()
    ]
    units = {m: next(r.summary[m].unit for r in results.values() if m in r.summary) for m in metrics}
    columns = ("protocol", *(f"{m} {units[m]}" for m in metrics), "frames")
    table("one set of predictions under every protocol that fits", columns, rows, right=columns[1:])
    for name, reason in refused.items():
        note(f"[dim]{name}: not scored: {reason}[/]")
