"""`hpsbench predict`: a system's bodies of every frame a protocol lets it see, as a file."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hpsbench.cli.console import emit_json, note, progress
from hpsbench.cli.evaluate import show_plan
from hpsbench.cli.options import (
    HERE,
    AsJson,
    Device,
    DryRun,
    Flow,
    Limit,
    Predictions,
    Recipes,
    Root,
    TrustCode,
    TrustPickle,
)


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("predict")(predict_command)


def predict_command(
    model: Annotated[
        str, typer.Option("--model", help="Checkpoint, .pt2, .onnx, system name, or package.module:factory.")
    ],
    out_file: Annotated[Path, typer.Option("--out", help="Predictions to write: .zarr, .npz or .parquet.")],
    protocol: Annotated[str, typer.Option("--protocol", help="Says which frames a system may see.")] = "tcmr",
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
    device: Device = "auto",
    limit: Limit = None,
    trust_code: TrustCode = False,
    trust_pickle: TrustPickle = None,
    recipes: Recipes = None,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Run a MODEL over a prepared dataset and keep what it predicts."""
    from hpsbench.evaluation.feeds import load_source
    from hpsbench.evaluation.plan import plan_evaluation
    from hpsbench.evaluation.run import predict
    from hpsbench.features.backbones import choose_device
    from hpsbench.models._catalog import load_system
    from hpsbench.predictions.files import save_predictions
    from hpsbench.protocols.catalog import get_protocol
    from hpsbench.store.reader import open_store

    chosen = get_protocol(protocol, recipes)
    store = open_store(root / "stores" / f"{dataset}.zarr")
    system = load_system(model, device=choose_device(device), root=root, trust_code=trust_code)
    reads: dict[str, Any] = {"features": features, "flow": flow}
    if predictions is not None:
        reads["predictions"] = load_source(predictions, root=root, trust_code=trust_code)
    if dry_run:
        plan = plan_evaluation(system, chosen, store, dataset=setting, root=root, limit=limit, **reads)
        show_plan({**plan, "out": str(out_file)}, json)
        return
    with progress("predict", "frames") as bar:
        made = predict(system, store, chosen, root=root, dataset=setting, limit=limit, on_track=bar, **reads)
    path = save_predictions(made, out_file)
    if json:
        emit_json(
            {"predictions": path, "frames": len(made), "arrays": sorted(made.arrays), **dict(made.attrs)}
        )
    else:
        note(f"{len(made)} frames ({', '.join(sorted(made.arrays))}): {path}")
