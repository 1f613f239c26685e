"""What a protocol's TOML may say: strict pydantic models, key by key.

The keys are explained in `docs/protocols.md` and, in words for each protocol, by `protocols.explain`. A key or a value
that is not known fails when the file is loaded, and the message says what was probably meant. What the keys name
(joint sets, regressors, metrics) is looked up in `protocols.protocol`.
"""

import difflib
from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hpsbench.errors import UsageError

Body: TypeAlias = Literal["smpl-neutral", "smpl-gendered", "smpl-refit"]
Average: TypeAlias = Literal["frame", "track", "video"]
Gaps: TypeAlias = Literal["break", "bridge"]
Align: TypeAlias = Literal["root", "procrustes", "none", "first-2", "all"]
Positive: TypeAlias = Annotated[int, Field(ge=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)


class WindowsTable(_Strict):
    """How a track's seen frames are cut: the arguments of `hpsbench.store.windows.windows`."""

    length: Positive | Literal["track"]
    stride: Positive | Literal["track"] | None = None
    predict: Literal["all", "middle", "last"] = "all"
    keep: Positive | None = None
    edges: Literal["drop", "repeat-frame", "repeat-window", "shift-last", "zero-image"] = "drop"
    overlap: Literal["none", "cut-half", "central"] = "none"
    short: Literal["skip", "pad", "error"] = "skip"
    match: Positive | None = None


class JointsTable(_Strict):
    """Where the joints (and mesh) of one side come from.

    Attributes:
        body: the body that makes the mesh; needed with `via` and `from`.
        mesh: another body for the vertices than for the joints.
        via: a regressor on the mesh; or `from`: a set that the model makes itself; or `field`: a field of the store.
        joints: joint set that is scored.
        take: names of the source set in the order of `joints`, where no map by meaning holds.
        root: `mid-hip`, a joint of the scored set, `<source set>/<joint>` (taken before the selection), or `none`.
        dtype: precision through which joints, pose and shape pass.
        frame: camera or world coordinates.
        transl: `none`: the body stands at the model's origin; `world`: the dataset's world translation is added.
    """

    body: Body | None = None
    mesh: Body | None = None
    via: str | None = None
    from_: str | None = Field(default=None, alias="from")
    field: str | None = None
    joints: str
    take: list[str] | None = None
    root: str
    dtype: Literal["float32", "float16"] = "float32"
    frame: Literal["camera", "world"] = "camera"
    transl: Literal["none", "world"] = "none"

    @model_validator(mode="after")
    def _one_source(self) -> "JointsTable":
        named = [
            key for key, value in (("via", self.via), ("from", self.from_), ("field", self.field)) if value
        ]
        if len(named) != 1:
            raise ValueError(
                f"exactly one of via, from and field says where joints come from, found {named or 'none'}"
            )
        return self


class RangeTable(_Strict):
    """Thresholds first, first + step, ..., last, in millimetres."""

    first: float
    last: float
    step: float = Field(gt=0)


class MetricTable(_Strict):
    """One number that a protocol reports: a name, a function, and how it is called.

    A bare name in a protocol's list stands for the table of that name in `_metrics.toml`; a table may change keys of it.
    """

    name: str
    metric: str | None = None
    align: Align | None = None
    threshold: float | None = None
    thresholds: RangeTable | None = None
    compare: Literal["<", "<="] | None = None
    auc: Literal["mean", "integral"] | None = None
    joints: list[str] | None = None
    chunk: Positive | None = None
    trim: Annotated[int, Field(ge=0)] | None = None
    visible: Literal["centre", "all-three", "any"] | None = None
    mesh: Literal["posed", "tpose"] | None = None
    unit: str | None = None
    average: Average | None = None
    title: str | None = None


class SmoothTable(_Strict):
    """Filter over a track's predicted rotations before scoring."""

    method: Literal["slerp"]
    ratio: float = Field(gt=0, le=1)
    mesh: bool


class DefectTable(_Strict):
    """A known defect of the released script, and what is done about it here."""

    official: str
    ours: str


class VisibleTable(_Strict):
    """Which 2D keypoints the masks `visible-2d>N` count.

    Attributes:
        joints: joint set that the store's keypoints are read as; None: their own.
        first: only so many of its joints.
        confidence: a keypoint is visible above it.
    """

    joints: str | None = None
    first: Positive = 14
    confidence: float = 0.0


class DatasetTable(_Strict):
    """One dataset, or one setting of a dataset, under a protocol."""

    dataset: str | None = None
    splits: list[str] = Field(min_length=1)
    where: dict[str, list[str]] = {}
    view: str
    seen: str | list[str]
    scored: str | list[str]
    target: JointsTable
    pred: JointsTable
    metrics: list[str | MetricTable] = Field(min_length=1)
    windows: WindowsTable | None = None
    gaps: Gaps | None = None
    average: Average | None = None
    fps: float | None = Field(default=None, gt=0)
    visible: VisibleTable = VisibleTable()
    expect: dict[Literal["tracks", "frames"], Positive] = {}
    published: bool = True
    note: str | None = None


class ProtocolTable(_Strict):
    """A whole protocol file."""

    name: str
    version: Positive
    title: str
    source: str
    windows: WindowsTable | None = None
    gaps: Gaps = "break"
    join_tracks: bool = False
    tracks: Literal["by-name", "first-occurrence"] = "by-name"
    average: Average = "frame"
    round: float | None = Field(default=None, gt=0)
    smooth: SmoothTable | None = None
    flip_test: bool = False
    needs: list[Literal["transl"]] = []
    defects: list[DefectTable] = []
    datasets: dict[str, DatasetTable] = Field(min_length=1)


def parse_protocol(document: dict[str, Any], where: str) -> ProtocolTable:
    """A protocol's TOML document as a checked table.

    Raises:
        UsageError: naming file, key, what was found and the nearest known key or value.
    """
    try:
        return ProtocolTable.model_validate(document)
    except ValidationError as error:
        lines = [_sentence(problem, document) for problem in error.errors()]
        raise UsageError(f"{where}: " + "; ".join(dict.fromkeys(lines))) from error


def _sentence(problem: Any, document: dict[str, Any]) -> str:
    """One pydantic problem as a sentence with key, value and suggestion."""
    path = [str(part) for part in problem["loc"]]
    key = ".".join(part for part in path if part not in ("str", "MetricTable", "list[str]"))
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], _keys_of(path), n=1)
        return f"unknown key {key!r}" + (f", did you mean {near[0]!r}?" if near else "")
    if problem["type"] == "missing":
        return f"key {key!r} is missing"
    if problem["type"] == "literal_error":
        choices = [part.strip(" '") for part in problem["ctx"]["expected"].replace(" or ", ", ").split(",")]
        near = difflib.get_close_matches(str(problem["input"]), choices, n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        return f"{key} = {problem['input']!r} is not one of {', '.join(choices)}{hint}"
    return f"{key} = {problem['input']!r}: {problem['msg']}"


def _keys_of(path: list[str]) -> Iterable[str]:
    """Known keys of the table in which the last part of `path` was found."""
    models: dict[str, type[BaseModel]] = {
        "windows": WindowsTable,
        "target": JointsTable,
        "pred": JointsTable,
        "metrics": MetricTable,
        "smooth": SmoothTable,
        "defects": DefectTable,
        "thresholds": RangeTable,
        "visible": VisibleTable,
    }
    for part in reversed(path[:-1]):
        if part in models:
            return [field.alias or name for name, field in models[part].model_fields.items()]
        if part == "datasets":
            break
    table = DatasetTable if len(path) > 2 else ProtocolTable
    return list(table.model_fields)


AVERAGES: tuple[str, ...] = get_args(Average)
