"""`hpsbench train`: train a system from a recipe."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from hpsbench.cli.console import emit_json, note, progress, table
from hpsbench.cli.options import HERE, AsJson, Device, DryRun, Limit, Recipes, Root, Seed

Seeds = Annotated[
    int, typer.Option("--seeds", min=1, help="Train with so many seeds, and show mean, spread and interval.")
]
Devices = Annotated[
    int, typer.Option("--devices", min=1, help="Processes that share each batch, one a device.")
]
Nodes = Annotated[int, typer.Option("--nodes", min=1, help="Machines; start more than one with torchrun.")]
Precision = Annotated[
    str,
    typer.Option("--precision", help="fp32, the reference, or bf16: the network alone in half precision."),
]
Compile = Annotated[bool, typer.Option("--compile", help="Let torch.compile make the network's code.")]
OnlyPrepared = Annotated[
    bool,
    typer.Option("--only-prepared", help="Leave out data that is not prepared; the checkpoint says which."),
]


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
    seeds: Seeds = 1,
    device: Device = "auto",
    devices: Devices = 1,
    nodes: Nodes = 1,
    precision: Precision = "fp32",
    compile: Compile = False,
    only_prepared: OnlyPrepared = False,
    limit: Limit = None,
    recipes: Recipes = None,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Train the system of a RECIPE on prepared stores. Resumes its own unfinished run."""
    special = {
        "encoder": _train_encoder,
        "flow-encoder": _train_flow_encoder,
        "mean-pose": _train_mean_pose,
        "pose-mixture": _train_pose_mixture,
    }
    if recipe in special:
        given = {
            "--features": features,
            "--seed": seed,
            "--seeds": seeds - 1,
            "--devices": devices - 1,
            "--nodes": nodes - 1,
            "--precision": precision != "fp32",
            "--compile": compile,
            "--only-prepared": only_prepared,
            "--limit": limit,
        }
        _refuse(recipe, [name for name, value in given.items() if value])
        special[recipe](root, tuple(sets or ()), dry_run, json)
        return
    from hpsbench.training.kit import hardware_of
    from hpsbench.training.loop import plan_training, train

    what: dict[str, Any] = {
        "sets": tuple(sets or ()),
        "features": features,
        "recipes": recipes,
        "limit": limit,
        "only_prepared": only_prepared,
    }
    hardware = hardware_of(device, devices, nodes, precision, compile)
    plan = plan_training(recipe, root, seed=seed, **what)
    if dry_run:
        _show_plan(plan, json)
        return
    if plan["left_out"]:
        note(f"not prepared, left out: {', '.join(plan['left_out'])}")

    def one(seed: int) -> Any:
        with progress(f"train {recipe}" + (f" (seed {seed})" if seeds > 1 else ""), "steps") as bar:
            return train(recipe, root, seed=seed, hardware=hardware, progress=bar, **what)

    if seeds > 1:
        _several(one, seed, seeds, str(plan["recipe"]["validation"]["metric"]), json)
        return
    _show(one(seed), json)


def _refuse(recipe: str, given: list[str]) -> None:
    """Options of the training loop mean nothing to a recipe that has no such loop."""
    from hpsbench.errors import UsageError

    if given:
        raise UsageError(
            f"training recipe {recipe!r} is no video system and has no {', '.join(given)}; what it has can be changed with "
            f"--set, and 'hpsbench train {recipe} --dry-run' shows it"
        )


def _show(run: Any, json: bool) -> None:
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
    if run.history:
        idle = sorted(name for name, took in run.history[-1]["took_part"].items() if not took)
        if idle:
            note(f"without data in this run, as its card says: {', '.join(idle)}")
    note(f"best checkpoint: {run.checkpoint}")


def _several(one: Callable[[int], Any], seed: int, count: int, metric: str, json: bool) -> None:
    from hpsbench.training.seeds import train_seeds

    found = train_seeds(one, seed, count, metric)
    if json:
        emit_json(found.to_json())
        return
    rows = [
        [m.metric, f"{m.mean:.1f}", f"{m.std:.1f}", f"{m.interval[0]:.1f} to {m.interval[1]:.1f}"]
        for m in found.metrics
    ]
    table(
        f"validation at each run's best epoch, {count} seeds, mm (accelerations: mm/frame^2)",
        ("metric", "mean", "spread", "95 % of the mean"),
        rows,
        right=("mean", "spread", "95 % of the mean"),
    )
    for run in found.runs:
        note(f"best checkpoint: {run.checkpoint}")


def _show_plan(plan: dict[str, Any], json: bool) -> None:
    if json:
        emit_json({"dry_run": True, **plan})
        return
    recipe = plan.get("recipe")
    if not isinstance(recipe, dict):
        _show_fit(plan)
        return
    note(f"{recipe['name']}: {recipe['title']}")
    note(f"source: {recipe['source']}")
    for reading in recipe["readings"]:
        note(f"reading: {reading}")
    for source in plan["sources"]:
        note(
            f"data: {source['dataset']} {source['split']}, group {source['group']}, features {source['features']}"
        )
    if plan["left_out"]:
        note(f"not prepared, left out: {', '.join(plan['left_out'])}")
    losses = ", ".join(f"{name} {weight:g}" for name, weight in recipe["losses"].items() if weight)
    note(f"losses: {losses}")
    if plan["without_data"]:
        note(
            f"no data for: {', '.join(plan['without_data'])} (docs/training.md says which command makes them)"
        )
    batch = ", ".join(f"{count} {group}" for group, count in plan["batch"].items())
    note(f"{plan['windows']:,} windows; {plan['steps']:,} steps of {batch}")
    note(f"folder: {plan['folder']}{' (resumes)' if plan['resumes'] else ''}")


def _show_fit(plan: dict[str, Any]) -> None:
    """The recipe of what is no video system: its tables as `table.key: value`, which is how --set names them."""
    for key, value in plan.items():
        if isinstance(value, dict):
            for inner, content in value.items():
                note(f"{key}.{inner}: {content}")
        elif isinstance(value, (list, tuple)):
            for line in value:
                note(f"{key.removesuffix('s')}: {line}")
        else:
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
            f"held out: joint motion {card['held_out_px']:.2f} px wrong (of a 224 crop), {card['no_motion_px']:.2f} px if nothing moved"
        )
        note(f"weights and card: {card['checkpoint']}")


def _train_mean_pose(root: Path, sets: tuple[str, ...], dry_run: bool, json: bool) -> None:
    from hpsbench.training.constant import get_mean_pose_recipe, train_mean_pose

    recipe = get_mean_pose_recipe(sets)
    if dry_run:
        _show_plan(recipe.model_dump(mode="json"), json)
        return
    made = train_mean_pose(recipe, root)
    if json:
        emit_json(made)
        return
    fitted, error = made["fitted_on"], made["fit"]["joint_error_mm"]
    note(
        f"mean pose of {fitted['frames']} frames of {fitted['dataset']} {fitted['split']}: their joints lie "
        f"{error:.1f} mm from its own on average"
    )
    note(f"checkpoint: {made['checkpoint']} ('hpsbench evaluate --model mean-pose')")


def _train_pose_mixture(root: Path, sets: tuple[str, ...], dry_run: bool, json: bool) -> None:
    from hpsbench.training.pose_mixture import get_mixture_recipe, train_pose_mixture

    recipe = get_mixture_recipe(sets)
    if dry_run:
        _show_plan(recipe.model_dump(mode="json"), json)
        return
    made = train_pose_mixture(recipe, root)
    if json:
        emit_json(made)
        return
    fitted = made["fitted_on"]
    note(
        f"{recipe.mixture.components} Gaussians of {fitted['frames']} poses of {fitted['dataset']} {fitted['split']}: "
        f"log-likelihood {made['log_likelihood']:.2f} nats a pose after {made['steps']} steps"
    )
    note(f"weights and card: {made['checkpoint']}; smplify:MODEL reads them on synthetic data")
