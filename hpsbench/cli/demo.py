"""`hpsbench demo`: the whole flow on the synthetic world, and one table."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from hpsbench.cli.console import emit_json, note, out, progress, table
from hpsbench.cli.evaluate import describe_accounting
from hpsbench.cli.options import AsJson, DryRun, Seed, Workers

METRICS = (("mpjpe", "MPJPE"), ("pa_mpjpe", "PA-MPJPE"), ("pve_raw", "PVE"), ("accel_err", "Accel-err"))


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("demo")(demo_command)


def demo_command(
    root: Annotated[Path, typer.Option("--root", help="Where everything goes.")] = Path("demo"),
    size: Annotated[str, typer.Option("--size", help="tiny, small or full.")] = "small",
    seed: Seed = 0,
    workers: Workers = 2,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Raw data, store, features, corruption, training, evaluation: the whole flow on synthetic data."""
    from hpsbench.demo import plan_demo, run_demo

    if dry_run:
        plan = plan_demo(root, size=size)
        if json:
            emit_json({"dry_run": True, "steps": plan})
        else:
            for number, line in enumerate(plan, 1):
                note(f"{number}. {line}")
        return
    demo = run_demo(root, size=size, seed=seed, workers=workers, watch=_watch)
    if json:
        emit_json(demo.to_json_dict())
        return
    rows = [_cells(row) for row in demo.rows]
    title = (
        f"synthetic 3DPW ({size}, seed {seed}), protocol {demo.rows[0].result.protocol}, test split; "
        "mean, 95 % interval over sequences below"
    )
    names = [f"{label}\n{demo.rows[0].result.summary[key].unit}" for key, label in METRICS]
    table(title, ("system", "tested on", *names, "frames"), rows, right=(*names, "frames"))
    first = demo.rows[0].result
    out().print("frames: " + describe_accounting(first.accounting), markup=False, highlight=False)
    for line in demo.findings:
        note(line)
    for name, path in demo.paths.items():
        note(f"[bold]{name}[/]: {path}")
    note(
        f"took {sum(demo.seconds.values()):.0f} s: "
        + ", ".join(f"{k} {v:.0f}" for k, v in demo.seconds.items())
    )


def _cells(row: Any) -> list[str]:
    summary = row.result.summary
    return [
        f"{row.system}\n  trained on {row.trained_on}",
        row.tested_on,
        *(_value(summary[key]) for key, _ in METRICS),
        f"{summary['mpjpe'].n:,}",
    ]


def _value(measured: Any) -> str:
    if measured.interval is None:
        return f"{measured:.1f}"
    return f"{measured:.1f}\n[{measured.interval[0]:.1f}, {measured.interval[1]:.1f}]"


@contextmanager
def _watch(step: str, unit: str) -> Iterator[Any]:
    note(f"[dim]·[/] {step}")
    with progress(step, unit) as bar:
        yield bar
