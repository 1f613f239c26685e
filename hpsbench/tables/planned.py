"""A plan of a table: what fills each of its cells, and the steps behind that."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hpsbench.tables.absent import AbsentStore
from hpsbench.tables.cells import Cell
from hpsbench.tables.schema import Fill, Table
from hpsbench.tables.steps import Record, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class CellPlan:
    """How one cell is filled: by evaluations (one a seed), or not, and why."""

    cell: Cell
    fill: Fill
    evaluations: tuple[str, ...] = ()
    why_not: str | None = None


@dataclass(frozen=True, kw_only=True)
class TablePlan:
    """All of a table.

    Attributes:
        table: the facts.
        synthetic: whether the stores at hand are synthetic; None where there is none.
        cells: the paper's, then the controls.
        steps: by id, in an order in which they can run.
        record: of what was done.
        is_done: whether a step's outcome is there.
        missing: stores that are not there and are planned with all the same.
    """

    table: Table
    synthetic: bool | None
    cells: tuple[CellPlan, ...]
    steps: Mapping[str, Step]
    record: Record
    is_done: Callable[[Step], bool]
    missing: tuple[AbsentStore, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For JSON: what would be run."""
        rows = []
        for step in self.steps.values():
            seconds, runs = self.record.estimate(step)
            done = self.is_done(step)
            rows.append(
                {
                    "id": step.id,
                    "kind": step.kind,
                    "label": step.label,
                    "exists": done,
                    "units": step.units,
                    "seconds": 0.0 if done else round(seconds, 1),
                    "estimated_from": runs,
                    "needs": list(step.needs),
                }
            )
        missing: dict[str, int] = {}
        for plan in self.cells:
            if plan.why_not is not None:
                missing[plan.why_not] = missing.get(plan.why_not, 0) + 1
        return {
            "table": self.table.id,
            "synthetic": self.synthetic,
            "plan": rows,
            "exist": len([row for row in rows if row["exists"]]),
            "seconds": round(sum(float(str(row["seconds"])) for row in rows), 1),
            "cells": len(self.cells),
            "missing": [store.to_json() for store in self.missing],
            "left_out": sorted({d for step in self.steps.values() for d in step.what.get("left_out", ())}),
            "cannot": [{"why_not": why, "cells": number} for why, number in missing.items()],
        }
