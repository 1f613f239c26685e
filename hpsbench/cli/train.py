"""`hpsbench train`: train a system from a recipe."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hpsbench.cli.console import emit_json, note, progress, table
from hpsbench.cli.options import HERE, AsJson, Device, DryRun, Recipes, Root, Seed


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("train")(train_command)


def train_command(
    recipe: Annotated[str, typer.Argument(help="Training recipe: 'hpsbench ls training'.")],
    root: Root = HERE,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="Change a key of the recipe: schedule.epochs=3.")
    ] = None,
    features: Annotated[str | None, typer.Option("--features", help="Feature set to train on.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    recipes: Recipes = None,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Train the system of a RECIPE on a prepared store. Resumes its own unfinished run."""
    if recipe == "encoder":
        _train_encoder(root, tuple(sets or ()), dry_run, json)
        return
    if recipe == "flow-encoder":
        _train_flow_encoder(root, tuple(sets or ()), dry_run, json)
        return
    from hpsbench.training.loop import plan_training, train

    plan = plan_training(recipe, root, sets=tuple(sets or ()), features=features, seed=seed, recipes=recipes)
    if dry_run:
        _show_plan(plan, json)
        return
    with progress(f"train {recipe}", "steps") as bar:
        run = train(
            recipe,
            root,
            sets=tuple(sets or ()),
            features=features,
            seed=seed,
            device=device,
            recipes=recipes,
            progress=bar,
        )
    if json:
        emit_json(
            {"run": run.folder, "checkpoint": run.checkpoint, "steps": run.steps, "history": run.history}
        )
        return
    metrics = list(run.history[-1]["validation_mm"]) if run.history else []
    rows = [[h["epoch"], h["step"], *(f"{h['validation_mm'][m]:.1f}" for m in metrics)] for h in run.history]
    table(
        "validation, mm (accelerations: mm/frame^2)",
        ("epoch", "step", *metrics),
        rows,
        right=("epoch", "step", *metrics),
    )
    note(f"best checkpoint: {run.checkpoint}")


def _show_plan(plan: dict[str, Any], json: bool) -> None:
    if json:
        emit_json({"dry_run": True, **plan})
        return
    for key, value in plan.items():
        note(f"{key}: {value}")


def _train_encoder(root: Path, sets: tuple[str, ...], dry_run: bool, json: bool) -> None:
    from hpsbench.training.encoder import get_encoder_recipe, train_encoder

    recipe, folder = get_encoder_recipe(sets), root / "runs" / "encoder"
    if dry_run:
        _show_plan({"recipe": "encoder", **recipe.model_dump(mode="json")}, json)
        return
    with progress("train encoder", "steps") as bar:
        card = train_encoder(recipe, root, folder=folder, progress=bar)
    if json:
        emit_json(card)
    else:
        note(f"encoder, regressor and card are in {folder}")


def _train_flow_encoder(root: Path, sets: tuple[str, ...], dry_run: bool, json: bool) -> None:
    from hpsbench.training.flow_encoder import get_flow_recipe, train_flow_encoder

    recipe = get_flow_recipe(sets)
    if dry_run:
        _show_plan(recipe.model_dump(mode="json"), json)
        return
    with progress("train flow-encoder", "steps") as bar:
        card = train_flow_encoder(recipe, root, progress=bar)
    if json:
        emit_json(card)
    else:
        note(
            f"held out: joint motion {card['held_out_mm']:.2f} mm wrong, {card['no_motion_mm']:.2f} mm if nothing moved"
        )
        note(f"weights and card: {card['checkpoint']}")
