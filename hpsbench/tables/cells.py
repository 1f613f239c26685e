"""The printed numbers of a table as cells, and finding cells by what they are."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpsbench.data_dir import data_dir
from hpsbench.errors import UsageError
from hpsbench.leaderboards.reported import Flag, read_flags
from hpsbench.tables.catalog import read_numbers
from hpsbench.tables.schema import Fill, Match, Table

# Dataset in the files of printed numbers -> key of hpsbench, where the two differ.
_DATASETS = {"mpi_inf_3dhp": "mpi-inf-3dhp"}
# Printed metric -> name in a result.
RESULT_NAMES = {
    "mpjpe": "mpjpe",
    "pa_mpjpe": "pa_mpjpe",
    "pve": "pve_raw",
    "accel_err": "accel_err",
    "pck": "pck150",
}
HIGHER_IS_BETTER = ("pck",)
UNITS = {
    "mpjpe": "mm",
    "pa_mpjpe": "mm",
    "pve": "mm",
    "accel_err": "mm/frame^2",  # printed as mm/s^2 by all five papers, which it is not
    "pck": "%",
    "params_m": "M",
    "flops_g": "G",
    "model_size_mb": "MB",
    "runtime_ms": "ms",
    "input_frames": "frames",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One printed number, or a place in a figure whose number is not printed.

    Attributes:
        row: label as printed.
        method: stable name of what was measured.
        variant: empty for a method as published.
        dataset: key of hpsbench; empty where the number is none of a dataset (sizes, times).
        metric: printed metric.
        condition: setting of the row.
        paper: the printed value, None where there is none.
        text: the digits as printed.
        unit: of value and measurement; accelerations are mm/frame^2 whatever the paper says.
        certainty: `sure`, `inferred` or `unsure`, of reading the paper.
        trained_with_3dpw: `yes`, `no`, `unknown` or `na`.
        control: whether it is a row of ours beside the paper's.
        flags: what is known to be wrong with the printed number, `name: reason`.
        comparable: False where the printed number is not of the quantity that its column names.
    """

    row: str
    method: str
    variant: str
    dataset: str
    metric: str
    condition: Mapping[str, Any]
    paper: float | None
    text: str
    unit: str
    certainty: str
    trained_with_3dpw: str
    control: bool = False
    flags: tuple[str, ...] = ()
    comparable: bool = True

    def get(self, key: str) -> Any:
        """A property or an entry of the condition by name; None where it has none."""
        return getattr(self, key) if key in self.__slots__ else self.condition.get(key)


def table_cells(table: Table) -> list[Cell]:
    """All cells of a table, in the order of its file; of a table proper those with a printed value."""
    if table.source is None:
        return _study_cells(table)
    flags = read_flags(data_dir("leaderboards"))
    cells = [_cell(row, [flag for flag in flags if flag.fits(row)]) for row in read_numbers(table.source)]
    return [cell for cell in cells if cell.paper is not None or table.kind == "figure"]


def _study_cells(table: Table) -> list[Cell]:
    """Every row of a study at every place."""
    return [
        Cell(
            row=row.row,
            method=row.method,
            variant="",
            dataset=place.dataset,
            metric=place.metric,
            condition=place.condition,
            paper=None,
            text="",
            unit=UNITS[place.metric],
            certainty="sure",
            trained_with_3dpw="yes",
        )
        for row in table.rows
        for place in table.places
    ]


def control_cells(table: Table, cells: Sequence[Cell]) -> list[tuple[Cell, Fill]]:
    """Cells of the rows that only hpsbench has, one per control, condition, dataset and metric of the table."""
    places = {
        (json.dumps(dict(c.condition), sort_keys=True), c.dataset, c.metric): c
        for c in cells
        if not c.control
    }
    return [
        (
            Cell(
                row=control.row,
                method=control.method,
                variant="control",
                dataset=cell.dataset,
                metric=cell.metric,
                condition=cell.condition,
                paper=None,
                text="",
                unit=cell.unit,
                certainty="sure",
                trained_with_3dpw="yes",
                control=True,
            ),
            control.fill,
        )
        for control in table.controls
        for cell in places.values()
    ]


def matches(cell: Cell, match: Match) -> bool:
    """Whether a cell is what `match` describes; see `schema.Match`."""
    return all(
        _fits(cell.get(key.lstrip("!")), wanted) != key.startswith("!") for key, wanted in match.items()
    )


def select(cells: Iterable[Cell], *wanted: Match) -> list[Cell]:
    """Cells that fit all of these."""
    return [cell for cell in cells if all(matches(cell, match) for match in wanted)]


def need_some(where: str, cells: Sequence[Cell], match: Match) -> None:
    """Refuse a choice of cells that chooses none.

    Raises:
        UsageError: no cell fits; says which values there are.
    """
    if select(cells, match):
        return
    chosen = " and ".join(f"{key}={_as_typed(value)}" for key, value in match.items())
    told = []
    for key in match:
        values = sorted(
            {str(value) for cell in cells if (value := cell.get(key.lstrip("!"))) not in (None, "")}
        )
        told.append(f"{key.lstrip('!')}: {', '.join(values) or 'no cell has it'}")
    keys = sorted(
        {"row", "method", "variant", "dataset", "metric"}.union(*(cell.condition for cell in cells))
    )
    raise UsageError(f"{where}: no cell has {chosen}. There are: {'; '.join(told)}. Keys: {', '.join(keys)}")


def _as_typed(wanted: Any) -> str:
    """Values that are looked for, as a person would type them: of a label with commas the whole."""
    if not isinstance(wanted, (list, tuple)):
        return str(wanted)
    texts = [value for value in wanted if isinstance(value, str)] or list(map(str, wanted))
    return next((text for text in texts if "," in text), ",".join(texts))


def fill_of(table: Table, cell: Cell) -> Fill:
    """The first fill of the table that matches a cell.

    Raises:
        UsageError: none does; the table's file has to say what fills the cell or why nothing can.
    """
    for fill in table.fill:
        if matches(cell, fill.match):
            return fill
    raise UsageError(
        f"{table.id}: nothing says what fills {cell.row!r}, {cell.dataset} {cell.metric} {dict(cell.condition)}; "
        "add a [[fill]] with 'train', 'system' or 'why_not'"
    )


def from_condition(value: Any, cell: Cell) -> Any:
    """`$key` -> the entry `key` of the cell's condition, inside a text too; anything else stays.

    Raises:
        UsageError: the condition has no such entry.
    """
    if not (isinstance(value, str) and "$" in value):
        return value
    before, _, key = value.partition("$")
    if key not in cell.condition:
        raise UsageError(
            f"{value}: the condition of {cell.row!r} has no {key!r}, only {', '.join(cell.condition) or 'nothing'}"
        )
    entry = cell.condition[key]
    return f"{before}{entry}" if before else entry


def _fits(value: Any, wanted: Any) -> bool:
    if value == wanted:
        return True
    return isinstance(wanted, (list, tuple)) and value in wanted


def _cell(row: Mapping[str, str], flags: Sequence[Flag]) -> Cell:
    return Cell(
        row=row["row_label"],
        method=row["method"],
        variant=row["variant"],
        dataset=_DATASETS.get(row["dataset"], row["dataset"]),
        metric=row["metric"],
        condition=json.loads(row["condition_json"]),
        paper=float(row["value"]) if row["value"] else None,
        text=row["value"],
        unit=UNITS[row["metric"]],
        certainty=row["certainty"],
        trained_with_3dpw=row["trained_with_3dpw"],
        flags=tuple(f"{flag.name}: {flag.reason}" for flag in flags),
        comparable=all(flag.compares for flag in flags),
    )
