"""What a cell holds once its steps are done: the measured value with interval and n, or why there is none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from hpsbench.errors import HpsbenchError
from hpsbench.evaluation.seeds import over_seeds
from hpsbench.results.result import Result
from hpsbench.tables.cells import RESULT_NAMES, Cell
from hpsbench.tables.schema import TimeOf
from hpsbench.tables.trained import Trained, all_converged, largest_change

TIMED_CALLS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A cell with what was measured.

    Attributes:
        cell: what it is.
        measured: in the cell's unit; None with `why_not`.
        n: values behind it.
        interval: 95 %, or None.
        why_no_interval: the reason where there is none.
        results: one a seed; empty for costs, times and windows.
        undertrained: whether a training behind it was shorter than its recipe declares.
        trained: the trainings behind it.
        flags: of the results.
        counted: whether the value is counted or looked up, and so exact.
        why_not: why nothing was measured.
    """

    cell: Cell
    measured: float | None = None
    n: int | None = None
    interval: tuple[float, float] | None = None
    why_no_interval: str | None = None
    results: tuple[Result, ...] = ()
    undertrained: bool = False
    trained: tuple[Trained, ...] = ()
    flags: tuple[str, ...] = ()
    counted: bool = False
    why_not: str | None = None

    def difference(self, *, synthetic: bool | None) -> float | None:
        """Measured - paper; None on synthetic data, and where the printed number is of another quantity."""
        paper = self.cell.paper
        if synthetic or self.measured is None or paper is None or not self.cell.comparable:
            return None
        return self.measured - paper

    def to_json(self, *, synthetic: bool | None) -> dict[str, Any]:
        """The cell of `reproduce --json`."""
        cell, change = self.cell, largest_change(self.trained)
        return {
            "row": cell.row,
            "method": cell.method,
            "dataset": cell.dataset or None,
            "metric": cell.metric,
            "condition": dict(cell.condition),
            "paper": cell.paper,
            "measured": self.measured,
            "unit": cell.unit,
            "n": self.n,
            "interval": None if self.interval is None else list(self.interval),
            "why_not": self.why_not,
            "difference": self.difference(synthetic=synthetic),
            "variant": cell.variant,
            "certainty": cell.certainty,
            "seeds": len(self.results) or None,
            "undertrained": self.undertrained,
            "converged": all_converged(self.trained),
            "last_fifth_percent": None if change is None else round(change, 3),
            "flags": list(self.flags),
            "paper_flags": list(cell.flags),
        }


def fill_from_results(cell: Cell, results: Sequence[Result], *, trained: Sequence[Trained] = ()) -> Filled:
    """A cell from its evaluations, one a seed, and the trainings behind them."""
    name = RESULT_NAMES[cell.metric]
    if name not in results[0].summary:
        reason = results[0].absent.get(name, "the evaluation has no such metric")
        return Filled(cell=cell, why_not=f"{name}: {reason}")
    flags = tuple(sorted({flag for result in results for flag in result.flags}))
    facts: dict[str, Any] = {
        "results": tuple(results),
        "undertrained": any(one.undertrained for one in trained),
        "trained": tuple(trained),
        "flags": flags,
    }
    if len(results) == 1:
        value = results[0].summary[name]
        return Filled(
            cell=cell,
            measured=float(value),
            n=value.n,
            interval=value.interval,
            why_no_interval=value.why_no_interval,
            **facts,
        )
    try:
        over = next(m for m in over_seeds(results).metrics if m.metric == name)
    except HpsbenchError as problem:
        return Filled(cell=cell, why_not=str(problem))
    return Filled(
        cell=cell,
        measured=over.mean,
        n=over.n,
        interval=over.interval,
        why_no_interval=over.why_no_interval,
        **facts,
    )


def fill_from_costs(cell: Cell, method: str) -> Filled:
    """Parameters or multiply-adds of a method, counted from our networks."""
    row = costs()[method]
    counted = {"params_m": row.params_m, "flops_g": row.flops_g}
    if cell.metric not in counted:
        return Filled(cell=cell, why_not=f"{cell.metric} is not counted")
    why = "counted, not sampled"
    return Filled(cell=cell, measured=counted[cell.metric], n=1, why_no_interval=why, counted=True)


def fill_from_window(cell: Cell, system: str) -> Filled:
    """How many frames a system sees at once, from its card."""
    from hpsbench.models._catalog import read_card

    frames = read_card(system)["inputs"]["window"]
    why = "a property of the system"
    return Filled(cell=cell, measured=float(frames), n=1, why_no_interval=why, counted=True)


def fill_from_time(cell: Cell, part: TimeOf, device: str) -> Filled:
    """Milliseconds of a part of a system on this machine, for a batch of windows."""
    profile = _profile(part.system, part.batch, part.frames, device)
    top = [p for p in profile.parts if p.module and "." not in p.module and p.milliseconds is not None]
    chosen = [p for p in top if (not part.only or p.module in part.only) and p.module not in part.without]
    return Filled(
        cell=cell,
        measured=float(sum(p.milliseconds or 0.0 for p in chosen)),
        n=TIMED_CALLS,
        why_no_interval="the fastest of these calls on this machine",
    )


@cache
def costs() -> Mapping[str, Any]:
    """Method -> its row of counted costs."""
    from hpsbench.tables.mpsnet_costs import mpsnet_table2

    return {row.method: row for row in mpsnet_table2()}


@cache
def _profile(system: str, batch: int, frames: int, device: str) -> Any:
    from hpsbench.features.backbones import choose_device
    from hpsbench.models._catalog import get_system
    from hpsbench.models._profile import profile_system

    made = get_system(system)().eval().to(choose_device(device))
    return profile_system(made, batch=batch, frames=frames, depth=1, repeats=TIMED_CALLS)
