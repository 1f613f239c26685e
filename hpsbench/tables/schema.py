"""The TOML of a published table: where its numbers are, which run fills which cell, and what the paper claims.

Fields are explained in `docs/tables.md`.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hpsbench.errors import UsageError

Match = dict[str, Any]
"""Key of a cell -> value, or list of values; `!key`: none of them. Keys: `row`, `method`, `variant`, `dataset`,
`metric`, `certainty`, `trained_with_3dpw`, and the keys of the cell's condition."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Corruption(_Part):
    """How the images are hurt. A value `$key` is taken from the cell's condition; a ratio of 0 is clean."""

    mode: str
    ratio: float | str
    consecutive: int | str = 1


class TimeOf(_Part):
    """Which modules of a system are timed: `only` these, or all `without` these."""

    system: str
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    batch: int = 1
    frames: int = 32


class Fill(_Part):
    """What fills the cells that match; the first fill that matches a cell counts."""

    match: Match = {}
    train: str | None = None
    """Training recipe."""
    set: dict[str, Any] = {}
    """Keys of the training recipe that differ, `a.b = value`; a value `$key` is taken from the cell's condition."""
    options: dict[str, Any] = {}
    """Options of the trained system that differ when it predicts, not when it is trained."""
    trained_on: Literal["same", "clean"] = "same"
    """Whether training features are corrupted like those of the test."""
    system: str | None = None
    """A system whose own checkpoint is used, not trained here."""
    smooth: int | None = Field(default=None, ge=3)
    """Length of a median filter over time behind the system, in frames (odd)."""
    costs_of: str | None = None
    """A method of the table of costs."""
    window_of: str | None = None
    """A system whose number of input frames fills the cell."""
    time_of: TimeOf | None = None
    """A part of a system whose time fills the cell."""
    why_not: str | None = None
    """Why nothing here can fill the cell."""
    corruption: Corruption | None = None
    extractor: str | None = None
    """Features that are needed where the usual ones will not do."""
    protocol: str | None = None
    """Another protocol than the table's."""
    dataset: str | None = None
    """Dataset, or a protocol's setting of one, where it is not the cell's."""

    @model_validator(mode="after")
    def _one_source(self) -> "Fill":
        given = [
            k for k in ("train", "system", "costs_of", "window_of", "time_of", "why_not") if getattr(self, k)
        ]
        if len(given) != 1:
            raise ValueError(
                f"one of train, system, costs_of, window_of, time_of, why_not is needed, found {given}"
            )
        return self


class Control(_Part):
    """A row that the paper does not have, measured under each of the table's conditions and shown apart."""

    row: str
    method: str
    why: str
    fill: Fill


class Claim(_Part):
    """A statement about cells.

    `better` beats each of `worse` in the metrics and datasets that both have (lower, or higher for PCK). With `baseline`
    the difference to the cell of the same row, dataset and metric that matches it is compared: what is lost from there.
    """

    id: str
    says: str
    where: str = ""
    kind: Literal["claim", "expectation"] = "claim"
    relation: Literal["better", "no-difference"] = "better"
    better: Match
    worse: Match
    baseline: Match | None = None
    same: tuple[str, ...] = ("dataset", "metric")
    """Keys in which the two cells of a comparison agree."""
    baseline_same: tuple[str, ...] = ("dataset", "metric", "row")
    """Keys in which a cell and its baseline agree."""
    metrics: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    times: float | None = Field(default=None, gt=1)
    """At least so many times as good."""
    share: float = Field(default=1.0, gt=0.5, le=1)
    """Share of the comparisons that has to hold: less than 1 where the paper says "almost all"."""


class Layout(_Part):
    """How the paper prints it: keys that make rows and columns, outermost first, and the order of their values."""

    rows: tuple[str, ...] = ("row",)
    columns: tuple[str, ...] = ("dataset", "metric")
    order: dict[str, tuple[Any, ...]] = {}


class Place(_Part):
    """A column of a study: what is measured of every row."""

    dataset: str
    metric: str
    condition: dict[str, Any] = {}


class Row(_Part):
    """A row of a study: what is measured. The fill that matches `method` says how."""

    row: str
    method: str


class Table(_Part):
    """One table as a fact.

    A `study` is a comparison that no paper prints: its rows and places are listed here instead of read from `source`.
    """

    id: str
    paper: str
    number: str
    title: str
    kind: Literal["table", "figure", "study"] = "table"
    source: str | None = None
    protocol: str
    rows: tuple[Row, ...] = ()
    places: tuple[Place, ...] = ()
    notes: tuple[str, ...] = ()
    layout: Layout = Layout()
    fill: tuple[Fill, ...] = ()
    controls: tuple[Control, ...] = ()
    claims: tuple[Claim, ...] = ()

    @model_validator(mode="after")
    def _has_cells(self) -> "Table":
        if (self.kind == "study") != bool(self.rows and self.places) or (self.kind == "study") == bool(
            self.source
        ):
            raise ValueError(
                "a study has 'rows' and 'places' and no 'source'; any other table a 'source' alone"
            )
        return self


def parse_table(document: Mapping[str, Any], shared: Mapping[str, Any], where: str) -> Table:
    """A table of its TOML; the fills that all tables share come after its own.

    Raises:
        UsageError: a key that the schema lacks, or a value of the wrong type; says where.
    """
    whole = {**document, "fill": [*document.get("fill", ()), *shared.get("fill", ())]}
    try:
        return Table.model_validate(whole)
    except ValidationError as problem:
        lines = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in problem.errors())
        raise UsageError(f"{where}: {lines}") from None
