"""A filled table as the paper prints it: which cell stands where."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hpsbench.tables.fill import Filled
from hpsbench.tables.schema import Table

# Keys and values as a reader knows them; what is not here is shown as it is.
_WORDS: dict[Any, str] = {
    "3dpw": "3DPW",
    "mpi-inf-3dhp": "MPI-INF-3DHP",
    "h36m": "Human3.6M",
    "amass": "AMASS",
    "amass_heldout": "AMASS",
    "instavariety": "InstaVariety",
    "pennaction": "PennAction",
    "posetrack": "PoseTrack",
    "mpjpe": "MPJPE",
    "pa_mpjpe": "PA-MPJPE",
    "pve": "PVE",
    "accel_err": "Accel-err",
    "pck": "PCK",
    "params_m": "#Params",
    "flops_g": "FLOPs",
    "model_size_mb": "Model size",
    "runtime_ms": "Run time",
    "input_frames": "Input frames",
    "row": "method",
    "ratio": "CR",
    "consecutive": "CnSc",
    "seqlen": "length",
    "feature_extractor": "features",
}


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows and columns of cells.

    Attributes:
        row_keys: what labels a row, outermost first.
        row_labels: of every row, one text per key.
        column_labels: of every column, one text per key, outermost first.
        units: of every column.
        cells: row by row; None where the paper has no number.
        control: whether a row is one of ours beside the paper's.
    """

    row_keys: tuple[str, ...]
    row_labels: tuple[tuple[str, ...], ...]
    column_labels: tuple[tuple[str, ...], ...]
    units: tuple[str, ...]
    cells: tuple[tuple[Filled | None, ...], ...]
    control: tuple[bool, ...]


def grid(table: Table, cells: Sequence[Filled]) -> Grid:
    """Put the cells of a table where the paper has them; rows that only hpsbench has come at the end of their block."""
    layout = table.layout
    columns = _ordered(table, {_key(f, layout.columns): None for f in cells}, layout.columns)
    rows = _rows(table, cells)
    places = {(_row_key(f, layout.rows), _key(f, layout.columns)): f for f in cells}
    units = {_key(f, layout.columns): f.cell.unit for f in cells}
    return Grid(
        row_keys=tuple(word(key, key) for key in layout.rows),
        row_labels=tuple(tuple(word(k, v) for k, v in zip(layout.rows, row[0], strict=True)) for row in rows),
        column_labels=tuple(
            tuple(word(k, v) for k, v in zip(layout.columns, column, strict=True)) for column in columns
        ),
        units=tuple(units[column] for column in columns),
        cells=tuple(tuple(places.get((row, column)) for column in columns) for row in rows),
        control=tuple(row[1] for row in rows),
    )


def _rows(table: Table, cells: Sequence[Filled]) -> list[tuple[tuple[Any, ...], bool]]:
    """Rows in the paper's order; a control stands behind the last row of its block (the keys before the last)."""
    keys = table.layout.rows
    printed = list(dict.fromkeys(_row_key(f, keys) for f in cells if not f.cell.control))
    ours = list(dict.fromkeys(_row_key(f, keys) for f in cells if f.cell.control))
    if len(keys) == 1:
        return printed + ours
    blocks = list(dict.fromkeys(row[0][:-1] for row in printed))
    return [row for block in blocks for row in (*printed, *ours) if row[0][:-1] == block]


def _row_key(filled: Filled, keys: Sequence[str]) -> tuple[tuple[Any, ...], bool]:
    return _key(filled, keys), filled.cell.control


def _key(filled: Filled, keys: Sequence[str]) -> tuple[Any, ...]:
    found = (filled.cell.get(key) for key in keys)
    return tuple(tuple(value) if isinstance(value, list) else value for value in found)


def _ordered(table: Table, found: Any, keys: Sequence[str]) -> list[tuple[Any, ...]]:
    """Columns by the order that the layout gives for each key, else by first appearance."""
    seen = list(found)
    first = {key: list(dict.fromkeys(column[i] for column in seen)) for i, key in enumerate(keys)}

    def place(column: tuple[Any, ...]) -> tuple[int, ...]:
        return tuple(
            list(table.layout.order.get(key, first[key])).index(column[i])
            if column[i] in table.layout.order.get(key, first[key])
            else len(seen)
            for i, key in enumerate(keys)
        )

    return sorted(seen, key=place)


def word(key: str, value: Any) -> str:
    """A key's value as a reader knows it."""
    if value is None or value == "":
        return ""
    if key == "ratio" and isinstance(value, float):
        return f"{value:.0%}".replace("%", " %")
    if isinstance(value, tuple):
        return "(" + ", ".join(map(str, value)) + ")"
    try:
        return _WORDS.get(value, str(value))
    except TypeError:
        return str(value)
