"""`hpsbench score`: score predictions that were made anywhere, under one protocol or all that fit."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpsbench.cli.console import as_typed, emit_json, note, progress, table
from hpsbench.cli.evaluate import run_name, show
from hpsbench.cli.options import HERE, AsJson, Device, Limit, Out, Recipes, Root
from hpsbench.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from hpsbench.evaluation.many_rules import Frames
    from hpsbench.evaluation.matrix import Effect, Explanation, Matrix

ALL = "all"
_DEFAULT_REFERENCE = "tcmr"


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
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference", help="With 'all': the protocol that the others are explained against [tcmr]."
        ),
    ] = None,
    frames: Annotated[
        str | None,
        typer.Option(
            "--frames",
            help="With 'all': 'all' that a protocol scores must be predicted; 'predicted' leaves the others out; "
            "'common' scores those that every protocol scores.",
        ),
    ] = None,
    root: Root = HERE,
    out_folder: Out = None,
    device: Device = "auto",
    limit: Limit = None,
    recipes: Recipes = None,
    json: AsJson = False,
) -> None:
    """Score PREDICTIONS against a prepared dataset under a protocol, or under all that fit, and why they differ."""
    from hpsbench.evaluation.run import score_predictions
    from hpsbench.predictions.files import load_predictions, predictions_sha256
    from hpsbench.protocols.catalog import get_protocol
    from hpsbench.store.reader import open_store

    if protocol != ALL and (reference or frames):
        raise UsageError("--reference and --frames compare protocols: they go with --protocol all")
    chosen = None if protocol == ALL else get_protocol(protocol, recipes)
    store = open_store(root / "stores" / f"{dataset}.zarr")
    given = load_predictions(predictions)
    options: dict[str, Any] = {"root": root, "dataset": setting, "device": device, "limit": limit}
    about = {
        "command": as_typed(),
        "predictions": predictions.name,
        "predictions_sha256": predictions_sha256(predictions),
    }
    if chosen is None:
        found = score_under_all(given, store, reference, frames, recipes=recipes, about=about, **options)
        show_matrix(found, save_all(found, root, out_folder), json)
        return
    with progress(f"score {protocol}", "frames") as bar:
        result = score_predictions(chosen, given, store, on_track=bar, about=about, **options)
    folder = result.save(out_folder or root / "runs" / run_name(result))
    if json:
        emit_json({"folder": folder, **result.to_json()})
    else:
        show(result)
        note(f"results.json, frames.parquet, sequences.parquet: {folder}")


def score_under_all(
    source: Any,
    store: Any,
    reference: str | None,
    frames: str | None,
    *,
    recipes: Path | None,
    **options: Any,
) -> "Matrix":
    """The matrix of predictions, or of a system, under every protocol that there is."""
    from hpsbench.evaluation.matrix import FRAMES, protocol_matrix
    from hpsbench.protocols.catalog import get_protocol, list_protocols

    wanted: dict[str, Frames] = {name: name for name in FRAMES}
    chosen = frames or FRAMES[0]
    if chosen not in wanted:
        raise UnknownName("choice of frames", chosen, FRAMES)
    names = list_protocols(recipes)
    named = reference or (_DEFAULT_REFERENCE if _DEFAULT_REFERENCE in names else None)
    with progress("score", "steps") as bar:
        return protocol_matrix(
            source,
            store,
            [get_protocol(name, recipes) for name in names],
            reference=named,
            frames=wanted[chosen],
            on_protocol=bar,
            **options,
        )


def save_all(found: "Matrix", root: Path, out_folder: Path | None) -> dict[str, Path]:
    """Save every result: under `out_folder`, one folder per protocol, or as runs."""
    return {
        name: result.save(out_folder / name if out_folder else root / "runs" / run_name(result))
        for name, result in found.results.items()
    }


def show_matrix(found: "Matrix", folders: dict[str, Path], json: bool) -> None:
    """Print one row per protocol, then one row per cause of a difference, then what does not fit."""
    if json:
        document = found.to_json()
        results = {name: {"folder": folders[name], **one} for name, one in document["results"].items()}
        emit_json({**document, "results": results})
        return
    _show_values(found)
    for one in found.explanations:
        _show_explanation(found, one)
    if found.why_unexplained:
        note(f"not explained: {found.why_unexplained}; name another protocol with --reference")
    for name, reason in found.refused.items():
        note(f"[dim]{name}: not scored: {reason}[/]")
    if found.frames == ALL and any("have no prediction" in reason for reason in found.refused.values()):
        note(
            "predictions of one protocol may lack frames that another scores: see --frames predicted, common"
        )
    for folder in folders.values():
        note(f"results.json, frames.parquet, sequences.parquet: {folder}")


_TITLES = {
    "all": "scored under every protocol that fits",
    "predicted": "scored under every protocol that fits; frames without a prediction left out (PARTIAL)",
    "common": "scored under every protocol that fits, on the frames that all of them score (PARTIAL)",
}


def _show_values(found: "Matrix") -> None:
    """Metrics that several protocols have as columns, the others one by one."""
    counts = Counter(name for result in found.results.values() for name in result.summary)
    alone = [name for name, count in counts.items() if count == 1 and len(found.results) > 1]
    metrics = [name for name in counts if name not in alone]
    units = {m: next(r.summary[m].unit for r in found.results.values() if m in r.summary) for m in metrics}
    rows = [
        [
            name,
            *(f"{r.summary[m]:.2f}" if m in r.summary else "" for m in metrics),
            r.accounting["scored"],
            *([] if found.frames == ALL else [_left_out(r)]),
        ]
        for name, r in found.results.items()
    ]
    columns = ["protocol", *(f"{m} {units[m]}" for m in metrics), "frames"]
    columns += [] if found.frames == ALL else ["left out"]
    table(_TITLES[found.frames], columns, rows, right=columns[1:])
    single = [
        [name, m, f"{r.summary[m]:.2f}", r.summary[m].unit, r.summary[m].n]
        for name, r in found.results.items()
        for m in alone
        if m in r.summary
    ]
    if single:
        columns = ["protocol", "metric", "value", "unit", "n"]
        table("metrics of one protocol alone", columns, single, right=("value", "n"))


def _left_out(result: Any) -> int:
    """Frames that the restriction to predicted or common ones took from the result."""
    reasons = result.accounting["masked_by_reason"]
    return sum(reasons.get(name, 0) for name in ("no prediction", "not scored under every protocol"))


def _show_explanation(found: "Matrix", one: "Explanation") -> None:
    """From the reference's values to the protocol's, one row per cause; n in brackets."""
    metrics = [effect.metric for effect in one.start]
    if not metrics:
        note(f"{one.protocol}: no metric in common with {found.reference}")
        return
    start = [f"{effect.value:.2f} ({effect.n})" for effect in one.start]
    rows: list[list[Any]] = [[found.reference, "", *start]]
    missing = 0
    for step in one.steps:
        what = "; ".join(step.what)
        if step.unpredicted != missing:
            what += f" ({step.unpredicted} frames without a prediction left out)"
        missing = step.unpredicted
        rows.append([step.cause, what, *(_moved(effect) for effect in step.effects)])
    last = one.steps[-1].effects if one.steps else one.start
    rows.append([one.protocol, "", *("" if e.value is None else f"{e.value:.2f} ({e.n})" for e in last)])
    columns = ["cause", "what is changed", *(f"{e.metric} {e.unit} (n)" for e in one.start)]
    table(f"from {found.reference} to {one.protocol}", columns, rows, right=columns[2:])


def _moved(effect: "Effect") -> str:
    """A change and n; a plain 0 where nothing moved at all."""
    if effect.change is None:
        return ""
    text = "0" if abs(effect.change) < 1e-9 else f"{effect.change:+.2f}"
    return f"{'+0.00' if text == '-0.00' else text} ({effect.n})"
