"""`hpsbench evaluate`: predict and score under a protocol."""

import os
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from hpsbench.cli.console import as_typed, emit_json, note, out, progress, table
from hpsbench.cli.options import (
    HERE,
    AsJson,
    Device,
    DryRun,
    Flow,
    Limit,
    Out,
    Predictions,
    Recipes,
    Root,
    TrustCode,
    TrustPickle,
)
from hpsbench.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("evaluate")(evaluate_command)


def evaluate_command(
    model: Annotated[
        str, typer.Option("--model", help="Checkpoint, .pt2, .onnx, system name, or package.module:factory.")
    ],
    protocol: Annotated[
        str, typer.Option("--protocol", help="'hpsbench ls protocols', or 'all' that fit.")
    ] = "tcmr",
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference", help="With 'all': the protocol that the others are explained against [tcmr]."
        ),
    ] = None,
    dataset: Annotated[str, typer.Option("--dataset", help="Dataset key.")] = "3dpw",
    setting: Annotated[
        str | None, typer.Option("--setting", help="A protocol's setting of the dataset: h36m-p2.")
    ] = None,
    root: Root = HERE,
    features: Annotated[
        str | None, typer.Option("--features", help="Feature set; default: the protocol's view.")
    ] = None,
    flow: Flow = None,
    predictions: Predictions = None,
    out_folder: Out = None,
    save_predictions: Annotated[
        bool,
        typer.Option(
            "--save-predictions", help="Keep predictions.zarr beside the result; reports show them."
        ),
    ] = False,
    device: Device = "auto",
    limit: Limit = None,
    trust_code: TrustCode = False,
    trust_pickle: TrustPickle = None,
    recipes: Recipes = None,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Run a MODEL over a prepared dataset and score it under a PROTOCOL."""
    from hpsbench.evaluation.feeds import load_source
    from hpsbench.evaluation.plan import plan_evaluation
    from hpsbench.features.backbones import choose_device
    from hpsbench.models._catalog import load_system
    from hpsbench.protocols.catalog import get_protocol
    from hpsbench.store.reader import open_store

    chosen = None if protocol == "all" else get_protocol(protocol, recipes)
    if reference is not None and chosen is not None:
        raise UsageError("--reference compares protocols: it goes with --protocol all")
    if save_predictions and chosen is None:
        raise UsageError("--save-predictions keeps those of one evaluation: name one protocol")
    if dry_run and chosen is None:
        raise UsageError("--dry-run plans one evaluation: name one protocol")
    store = open_store(root / "stores" / f"{dataset}.zarr")
    system = load_system(model, device=choose_device(device), root=root, trust_code=trust_code)
    reads: dict[str, Any] = {"features": features, "flow": flow}
    if predictions is not None:
        reads["predictions"] = load_source(predictions, root=root, trust_code=trust_code)
    about = {"command": as_typed(), "model": model}
    options = {"root": root, "dataset": setting, "limit": limit, "about": about, **reads}
    if chosen is None:
        _under_all(system, store, reference, recipes, out_folder, json, {**options, "device": device})
        return
    if dry_run:
        plan = plan_evaluation(system, chosen, store, dataset=setting, root=root, limit=limit, **reads)
        show_plan(plan, json)
        return
    folder, result = _under_one(system, chosen, store, out_folder, save_predictions, options)
    if json:
        emit_json({"folder": folder, **result.to_json()})
    else:
        show(result)
        note(f"results.json, frames.parquet, sequences.parquet: {folder}")


def _under_all(
    system: Any,
    store: Any,
    reference: str | None,
    recipes: Path | None,
    out_folder: Path | None,
    json: bool,
    options: dict[str, Any],
) -> None:
    from hpsbench.cli.score import save_all, score_under_all, show_matrix

    found = score_under_all(system, store, reference, None, recipes=recipes, **options)
    show_matrix(found, save_all(found, options["root"], out_folder), json)


def _under_one(
    system: Any, protocol: Any, store: Any, out_folder: Path | None, keep: bool, options: dict[str, Any]
) -> tuple[Path, Any]:
    """Evaluate and save; the folder of a result has its name from the result, predictions are written before."""
    from hpsbench.evaluation.run import evaluate

    runs = options["root"] / "runs"
    kept = runs / f".evaluating-{os.getpid()}" if keep else None
    with progress("evaluate", "frames") as bar:
        result = evaluate(system, protocol, store, save=kept, on_track=bar, **options)
    folder = result.save(out_folder or runs / run_name(result))
    if kept is not None:
        _move_predictions(kept, folder)
    return folder, result


def _move_predictions(kept: Path, folder: Path) -> None:
    """Move the predictions of an evaluation beside its result, instead of earlier ones, and drop the rest."""
    from hpsbench.evaluation.run import PREDICTIONS

    if (folder / PREDICTIONS).exists():
        shutil.rmtree(folder / PREDICTIONS)
    shutil.move(kept / PREDICTIONS, folder / PREDICTIONS)
    shutil.rmtree(kept)


def show_plan(plan: dict[str, Any], json: bool) -> None:
    """Print what would be done."""
    if json:
        emit_json({"dry_run": True, **plan})
        return
    for key, value in plan.items():
        note(f"{key}: {value}")


def run_name(result: Any) -> str:
    """Folder of a result under `R/runs`: what was scored, under what, on what; the same evaluation has the same name."""
    import hashlib

    made_of = [
        result.provenance.get(key)
        for key in ("checkpoint_sha256", "features", "predictions_sha256", "protocol_sha256", "store")
    ]
    made_of += [repr(inputs)] if (inputs := result.provenance.get("inputs")) else []
    digest = hashlib.sha256(
        repr([*made_of, result.protocol_sha256, result.partial, *result.flags]).encode()
    ).hexdigest()[:8]
    return f"evaluate-{result.system or 'predictions'}-{result.protocol}-{result.dataset}-{digest}"


def show(result: Any) -> None:
    """Print a result: its metrics, what it stands on, and where every frame went."""
    rows = []
    for name, value in result.summary.items():
        interval = (
            f"[{value.interval[0]:.2f}, {value.interval[1]:.2f}]" if value.interval else value.why_no_interval
        )
        rows.append([name, f"{value:.2f}", value.unit, interval, value.n, value.average])
    title = f"{result.system or 'predictions'} on {'synthetic ' if result.synthetic else ''}{result.dataset}, {result.protocol}"
    columns = ("metric", "value", "unit", "95 % interval", "n", "mean over")
    table(title + (" (PARTIAL)" if result.partial else ""), columns, rows, right=("value", "n"))
    for name, reason in result.absent.items():
        out().print(f"{name}: absent, {reason}", markup=False, highlight=False)
    out().print("frames: " + describe_accounting(result.accounting), markup=False, highlight=False)
    out().print(
        f"windowing: {result.windowing}; " + "; ".join(_origin(result)), markup=False, highlight=False
    )
    if result.flags:
        out().print("flags: " + ", ".join(result.flags), markup=False, highlight=False)


def _origin(result: Any) -> list[str]:
    """What the numbers were made from, short."""
    made = result.provenance
    parts = [f"{key} {made[key]}" for key in ("view", "features") if made.get(key)]
    if made.get("checkpoint_sha256"):
        parts.append(f"checkpoint {made['checkpoint_sha256'][:12]}")
    parts += [f"{name} {digest[:12]}" for name, digest in (made.get("body_sha256") or {}).items()]
    if result.condition:
        parts.append(f"condition {result.condition}")
    return parts


def _counted(reason: str, number: Any) -> str:
    """A count with its reason; tracks that were skipped with theirs."""
    if isinstance(number, dict):
        return f"{reason}: " + "; ".join(f"{name}: {why}" for name, why in number.items())
    return f"{reason} {number}"


def describe_accounting(accounting: Any) -> str:
    """One line: how many frames came in, where each went, how many were scored."""
    words = []
    for key, value in accounting.items():
        if isinstance(value, dict):
            inner = ", ".join(_counted(reason, number) for reason, number in value.items() if number)
            if inner:
                words.append(f"{key} ({inner})")
        elif value or key in ("in", "scored"):
            words.append(f"{key} {value}")
    return ", ".join(words)
