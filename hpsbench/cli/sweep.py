"""`hpsbench sweep`: models under many corruptions, or at many sequence lengths."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpsbench.cli.console import as_typed, emit_json, note, out, progress, table
from hpsbench.cli.options import HERE, AsJson, Device, DryRun, Limit, Out, Recipes, Root, TrustCode
from hpsbench.errors import UsageError

if TYPE_CHECKING:
    from hpsbench.ablations.evaluations import Bench, Model
    from hpsbench.ablations.report import Sweep

_sweeps = typer.Typer(
    no_args_is_help=True, help="Models under many corruptions, or at many sequence lengths."
)

Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="As for 'evaluate'; may be given several times. 'median:MODEL' is MODEL and a median filter; 'NAME=MODEL' names it.",
    ),
]
ProtocolName = Annotated[str, typer.Option("--protocol", help="'hpsbench ls protocols'.")]
Dataset = Annotated[str, typer.Option("--dataset", help="Dataset key.")]
Resamples = Annotated[int, typer.Option("--resamples", min=100, help="Of the bootstrap.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the app."""
    app.add_typer(_sweeps, name="sweep")


@_sweeps.command("corruption")
def corruption_command(
    model: Models = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            help="Model that errors are relative to: one of them, by its name, or a further one; default: the first.",
        ),
    ] = None,
    mode: Annotated[
        list[str] | None,
        typer.Option("--mode", help="A corruption, or all; several times. Default: center, random."),
    ] = None,
    severity: Annotated[
        list[int] | None,
        typer.Option("--severity", min=1, max=5, help="1 to 5; several times. Default: all."),
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option("--seed", help="Of the corruption; several times. Default: 0.")
    ] = None,
    ratio: Annotated[
        float | None, typer.Option("--ratio", help="Share of corrupted frames, of graded corruptions.")
    ] = None,
    consecutive: Annotated[
        int | None, typer.Option("--consecutive", min=1, help="Frames of a burst, of graded corruptions.")
    ] = None,
    protocol: ProtocolName = "tcmr",
    dataset: Dataset = "3dpw",
    root: Root = HERE,
    workers: Annotated[int, typer.Option("--workers", "-j", min=1, help="Threads for images.")] = 2,
    resamples: Resamples = 10_000,
    out_folder: Out = None,
    device: Device = "auto",
    limit: Limit = None,
    trust_code: TrustCode = False,
    recipes: Recipes = None,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Score models on clean input and under every corruption and severity; feature sets are made once and shared."""
    from hpsbench.ablations.corruption_sweep import (
        SEVERITIES,
        Settings,
        plan_corruption_sweep,
        sweep_corruption,
    )

    bench = _bench(root, dataset, protocol, recipes, device, limit)
    names = [_label(text) for text in model or ()]
    further = [baseline] if baseline and baseline not in (*names, *(model or ())) else []
    models = _models([*further, *(model or ())], bench, trust_code)
    settings = Settings(
        modes=tuple(mode or ("center", "random")),
        severities=tuple(severity or SEVERITIES),
        seeds=tuple(seed or (0,)),
        ratio=ratio,
        consecutive=consecutive,
        workers=workers,
    )
    if dry_run:
        _show_plan(plan_corruption_sweep(bench, models, settings), json)
        return
    against = baseline if baseline is None or baseline in names else _label(baseline)
    with progress("sweep corruption", "steps") as bar:
        found = sweep_corruption(bench, models, settings, baseline=against, resamples=resamples, on_step=bar)
    _finish(found, root, out_folder, json)


@_sweeps.command("seqlen")
def seqlen_command(
    model: Models = None,
    length: Annotated[
        list[int] | None,
        typer.Option("--length", min=1, help="Test length; several times. Default: 8 16 32 48 64 128."),
    ] = None,
    train: Annotated[
        str | None, typer.Option("--train", help="Training recipe to train at each --train-length before.")
    ] = None,
    train_length: Annotated[
        list[int] | None, typer.Option("--train-length", min=1, help="Several times; goes with --train.")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a key of the training recipe: schedule.epochs=3."),
    ] = None,
    features: Annotated[
        str | None, typer.Option("--features", help="Feature set; default: the protocol's view.")
    ] = None,
    protocol: ProtocolName = "tcmr",
    dataset: Dataset = "3dpw",
    root: Root = HERE,
    resamples: Resamples = 10_000,
    out_folder: Out = None,
    device: Device = "auto",
    limit: Limit = None,
    trust_code: TrustCode = False,
    recipes: Recipes = None,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Score models with windows of several lengths, all on the same frames."""
    from hpsbench.ablations.length_sweep import LENGTHS, plan_length_sweep, sweep_lengths

    if (train is None) != (not train_length):
        raise UsageError("--train RECIPE and --train-length go together: one run for each length")
    if sets and train is None:
        raise UsageError(
            f"--set {sets[0]} changes a training recipe: give --train RECIPE and --train-length, too"
        )
    bench = _bench(root, dataset, protocol, recipes, device, limit)
    lengths = tuple(length or LENGTHS)
    if dry_run:
        plan: dict[str, Any] = {
            "protocol": bench.protocol.id,
            "store": bench.store.location,
            "lengths": lengths,
        }
        if model or train is None:
            plan = plan_length_sweep(bench, _models(model or [], bench, trust_code), lengths, features)
        if train is not None:
            plan |= _training_plan(train, train_length or [], sets, root, recipes, len(lengths))
        _show_plan(plan, json)
        return
    trained = [] if train is None else _train(train, train_length or [], sets, root, device, recipes)
    models = _models([*(model or ()), *trained], bench, trust_code)
    with progress("sweep seqlen", "steps") as bar:
        found = sweep_lengths(bench, models, lengths, features=features, resamples=resamples, on_step=bar)
    _finish(found, root, out_folder, json)


def _bench(
    root: Path, dataset: str, protocol: str, recipes: Path | None, device: str, limit: int | None
) -> "Bench":
    from hpsbench.ablations.evaluations import Bench
    from hpsbench.protocols.catalog import get_protocol
    from hpsbench.store.reader import open_store

    return Bench(
        store=open_store(root / "stores" / f"{dataset}.zarr"),
        protocol=get_protocol(protocol, recipes),
        root=root,
        device=device,
        limit=limit,
        about={"command": as_typed()},
    )


def _models(named: list[str], bench: "Bench", trust_code: bool) -> "list[Model]":
    """The models of a sweep; a checkpoint is called after its file, unless `NAME=MODEL` says how."""
    from hpsbench.ablations.evaluations import Model
    from hpsbench.ablations.length_sweep import trained_length
    from hpsbench.features.backbones import choose_device
    from hpsbench.models._catalog import load_system

    if not named:
        raise UsageError(
            "a sweep needs a model: --model ckpt.pt, or --model median:ckpt.pt for its filtered twin"
        )
    found = []
    device = choose_device(bench.device or "auto")
    for text in named:
        system = load_system(_source(text), device=device, root=bench.root, trust_code=trust_code)
        found.append(Model(label=_label(text), system=system, train_length=trained_length(system)))
    return found


def _source(text: str) -> str:
    name, equals, source = text.partition("=")
    return source if equals and "/" not in name else text


def _label(text: str) -> str:
    """`NAME` of `NAME=MODEL`; else the model, without folders that say nothing (`runs/x/best.safetensors` is `x`)."""
    source = _source(text)
    if source != text:
        return text.partition("=")[0]
    prefix, colon, rest = source.partition(":")
    path = Path(rest if colon else source)
    name = path.parent.name if path.stem in ("best", "last") and path.parent.name else path.stem
    return f"{prefix}:{name}" if colon else name


def _train(
    recipe: str, lengths: list[int], sets: list[str] | None, root: Path, device: str, recipes: Path | None
) -> list[str]:
    """Train a recipe at each length; the same run is found again."""
    from hpsbench.training.loop import train

    made = []
    for length in lengths:
        with progress(f"train {recipe} at {length}", "steps") as bar:
            run = train(
                recipe,
                root,
                sets=(*(sets or ()), f"windows.length={length}"),
                device=device,
                recipes=recipes,
                progress=bar,
            )
        made.append(f"{recipe}-{length}={run.checkpoint}")
    return made


def _training_plan(
    recipe: str, lengths: list[int], sets: list[str] | None, root: Path, recipes: Path | None, tests: int
) -> dict[str, Any]:
    """The runs that a sweep trains first, and at most how many evaluations they get."""
    from hpsbench.training.loop import plan_training

    runs = []
    for length in lengths:
        run = plan_training(recipe, root, sets=(*(sets or ()), f"windows.length={length}"), recipes=recipes)
        runs.append(f"{recipe} at {length}: {run['windows']} windows, {run['steps']} steps, {run['folder']}")
    return {"trainings": runs, "evaluations_of_trained": len(lengths) * tests}


def _show_plan(plan: dict[str, Any], json: bool) -> None:
    if json:
        emit_json({"dry_run": True, **plan})
        return
    for key, value in plan.items():
        note(
            f"{key}: {', '.join(map(str, value)) or 'none'}"
            if isinstance(value, (list, tuple))
            else f"{key}: {value}"
        )


def _finish(found: "Sweep", root: Path, out_folder: Path | None, json: bool) -> None:
    from hpsbench.ablations.report import save_sweep, sweep_folder, sweep_tables, why_no_intervals

    folder = save_sweep(found, out_folder or sweep_folder(root, found))
    if json:
        emit_json({"folder": folder, **found.to_json()})
        return
    for title, columns, rows in sweep_tables(found):
        table(title, columns, rows)
    if (why := why_no_intervals(found)) is not None:
        note(f"no intervals: {why}")
    marks = [m for m, there in (("SYNTHETIC data", found.synthetic), ("PARTIAL", found.partial)) if there]
    if marks:
        out().print(", ".join(marks), markup=False, highlight=False)
    note(f"sweep.json, cells.csv, tables.md and one plot per metric: {folder}")
