"""`hpsbench compare`: two results on the same frames, or one setting over several seeds."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from hpsbench.cli.console import emit_json, note, plain, table
from hpsbench.cli.options import HERE, AsJson, Root, Seed
from hpsbench.errors import HpsbenchError, UsageError

if TYPE_CHECKING:
    from hpsbench.evaluation.compare import Comparison
    from hpsbench.evaluation.seeds import SeedSummary
    from hpsbench.results.result import Result


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command("compare")(compare_command)


def compare_command(
    runs: Annotated[
        list[str],
        typer.Argument(help="Results: folders, or names under R/runs. A and B; with --with, seeds of A."),
    ],
    second: Annotated[
        list[str] | None, typer.Option("--with", help="A result of B; once per seed, in the order of A's.")
    ] = None,
    over_seeds: Annotated[
        bool, typer.Option("--over-seeds", help="The runs are seeds of one setting: mean and spread.")
    ] = False,
    fail_if_worse: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if-worse", help="Exit 1 if B is worse by more: 0.5mm, or for one metric pa_mpjpe:0.5mm."
        ),
    ] = None,
    root: Root = HERE,
    seed: Seed = 0,
    resamples: Annotated[int, typer.Option("--resamples", min=100, help="Of the bootstrap.")] = 10_000,
    json: AsJson = False,
) -> None:
    """Compare result B with result A on the same frames: change, 95 % interval, p-value."""
    from hpsbench.evaluation import compare, seeds
    from hpsbench.results.result import find_result, load_result

    def load(names: list[str]) -> "list[Result]":
        return [load_result(find_result(name, root)) for name in names]

    if over_seeds:
        if second or fail_if_worse:
            raise UsageError(
                "--over-seeds summarises one setting; it goes with neither --with nor --fail-if-worse"
            )
        summary = seeds.over_seeds(load(runs), seed=seed, resamples=resamples)
        if json:
            emit_json(summary.to_json())
        else:
            _show_seeds(summary)
        return
    if second is None and len(runs) != 2:
        raise UsageError(
            f"{len(runs)} results: give two, A and B (several seeds of each: A1 A2 --with B1 --with B2)"
        )
    first, other = (runs, second) if second is not None else (runs[:1], runs[1:])
    found = compare.compare_results(load(first), load(other), seed=seed, resamples=resamples)
    worse = None
    for limit in fail_if_worse or ():
        try:
            compare.fail_if_worse(found, limit)
        except UsageError:
            raise
        except HpsbenchError as problem:
            worse = worse or problem
    found = _finite(found)
    if json:
        emit_json({**found.to_json(), "worse": None if worse is None else str(worse)})
    else:
        _show(found)
    if worse is not None:
        raise worse


def _finite(found: "Comparison") -> "Comparison":
    """Intervals without an end are none: JSON has no infinity, and they say nothing."""
    changes = tuple(
        c
        if c.interval is None or all(map(math.isfinite, c.interval))
        else replace(c, interval=None, why_none=f"{found.seeds} seeds are too few for this spread")
        for c in found.changes
    )
    return replace(found, changes=changes)


def _show(found: "Comparison") -> None:
    rows = [
        [
            c.metric,
            c.unit,
            f"{c.first:.2f}",
            f"{c.second:.2f}",
            f"{c.change:+.2f}",
            f"[{c.interval[0]:+.2f}, {c.interval[1]:+.2f}]" if c.interval else c.why_none,
            "" if c.p_value is None else f"{c.p_value:.4f}",
            _verdict(c.worse_by, c.interval),
            c.n,
        ]
        for c in found.changes
    ]
    seeds = f", {found.seeds} seeds each" if found.seeds > 1 else ""
    title = f"B - A on {found.dataset} under {found.protocol}: {found.frames} frames, {found.sequences} sequences{seeds}"
    columns = ("metric", "unit", "A", "B", "change", "95 % interval", "p", "B is", "n")
    table(title, columns, rows, right=("A", "B", "change", "p", "n"))
    for text in found.notes:
        note(f"[dim]{plain(text)}[/]")


def _verdict(worse_by: float | None, interval: tuple[float, float] | None) -> str:
    """What a change says, as in a report: nothing without an interval, undecided where it holds no change."""
    if worse_by is None or interval is None:
        return ""
    if interval[0] <= 0 <= interval[1]:
        return "undecided" if interval[0] < interval[1] else "the same"
    return "worse" if worse_by > 0 else "better"


def _show_seeds(found: "SeedSummary") -> None:
    rows = [
        [
            m.metric,
            m.unit,
            f"{m.mean:.2f}",
            f"{m.std:.2f}",
            f"{min(m.values):.2f} .. {max(m.values):.2f}",
            f"[{m.interval[0]:.2f}, {m.interval[1]:.2f}]" if m.interval else m.why_no_interval,
            m.n,
        ]
        for m in found.metrics
    ]
    who = f"{found.system or 'predictions'} on {found.dataset} under {found.protocol}"
    condition = f", {found.condition}" if found.condition else ""
    columns = ("metric", "unit", "mean", "std", "range", "95 % interval", "n")
    title = f"{who}{condition}: {found.runs} runs, {found.frames} frames each"
    table(title, columns, rows, right=("mean", "std", "n"))
