"""A protocol with all its names resolved: joint sets, regressors, masks and metric functions are looked up here, once.

A `Protocol` covers one or more datasets (or settings of a dataset); `Protocol.rule(dataset)` is everything that the
harness needs to score one of them. Nothing outside the TOML knows which protocol it serves.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from hpsbench.bodies.joints import JointSet, convert_indices, get_joint_set
from hpsbench.bodies.regressors import REGRESSOR_JOINT_SETS
from hpsbench.errors import ProtocolMismatch, UnknownName, UsageError
from hpsbench.protocols.schema import (
    DatasetTable,
    JointsTable,
    MetricTable,
    ProtocolTable,
    SmoothTable,
    WindowsTable,
)
from hpsbench.store.windows import predicted_rows, rule_windows
from hpsbench.types import WindowRule

Inputs = Literal["joints", "vertices", "vertices_tpose", "rotations", "feet"]

# metric key of the TOML -> function of hpsbench.metrics, and what it reads of prediction and target.
METRIC_INPUTS: Mapping[str, Inputs] = {
    "joint_error": "joints",
    "pck": "joints",
    "auc": "joints",
    "accel_err": "joints",
    "accel_pred": "joints",
    "jitter": "joints",
    "rte": "joints",
    "pve": "vertices",
    "foot_sliding": "feet",
    "mpjae": "rotations",
}
FIELDS = ("joints3d", "joints3d_univ")
MASKS = ("all", "valid", "seen", "visible-2d>6", "nonzero-2d")
_VISIBLE = re.compile(r"visible-2d>(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """Whose position is taken off before root-aligned errors: the mean of these rows.

    Attributes:
        text: as the TOML says it.
        of: rows of the `selected` joints, of the `source` set before the selection, or `none`.
        rows: their indices.
        joint: what the one joint of the source set is, in the vocabulary of all sets; else None.
    """

    text: str
    of: Literal["selected", "source", "none"]
    rows: tuple[int, ...] = ()
    joint: str | None = None

    def source_rows(self, source_set: JointSet) -> tuple[int, ...]:
        """Rows of a root that is taken before the selection, in the set that the joints really come in."""
        return self.rows if self.joint is None else (source_set.index(self.joint),)


@dataclass(frozen=True, slots=True, kw_only=True)
class JointSource:
    """Where the joints of one side (target or prediction) come from.

    Attributes:
        kind: `via` a regressor on the mesh, `from` a set that the model makes itself, or a `field` of the store.
        source: the regressor, the set or the field.
        source_set: joints before the selection; None for a field, whose store says it.
        joints: the joints that are scored.
        take: names of the source set in the order of `joints`; None: by meaning.
        body, mesh: bodies behind joints and vertices; None where there is no body.
    """

    kind: Literal["via", "from", "field"]
    source: str
    source_set: JointSet | None
    joints: JointSet
    take: tuple[str, ...] | None
    root: Root
    body: str | None
    mesh: str | None
    dtype: Literal["float32", "float16"]
    frame: Literal["camera", "world"]
    transl: Literal["none", "world"]

    def rows(self, source_set: JointSet | None = None) -> list[int]:
        """Rows of the source set (of `source_set` instead, where it is given) that are the scored joints.

        Raises:
            ProtocolMismatch: the set lacks one of the joints.
        """
        own = source_set or self.source_set or self.joints
        if own.names == self.joints.names:
            return list(range(len(own)))
        if self.take is not None and source_set in (None, self.source_set):
            return own.indices(self.take)
        rows = convert_indices(own, self.joints)
        missing = [name for name, row in zip(self.joints.names, rows, strict=True) if row < 0]
        if missing:
            raise ProtocolMismatch(
                f"joints of {own.id} cannot be scored as {self.joints.id}: it has no {', '.join(missing)}"
            )
        return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One number that is reported, and how its function is called.

    Attributes:
        name: result name (`mpjpe`).
        metric: the function's name in `hpsbench.metrics`.
        function: the function itself.
        inputs: what it reads of both sides.
        align: what is taken off or fitted before.
        thresholds: millimetres, for pck (one) and auc.
        strict: whether "correct" means `<` (True) or `<=`.
        auc: mean of the thresholds' values, or the integral over them.
        joints: rows of the scored joints; None: all.
        joint_names: names of these joints, or None.
        chunk: frames per chunk that is aligned by itself; None: whole tracks.
        trim: values dropped at either end of every track's acceleration.
        visible: which values of an acceleration count: those whose `centre` frame is scored, those of which
            `all-three` frames are, or `any`.
        unit: of the result.
        average: over frames, tracks or videos.
    """

    name: str
    metric: str
    function: Callable[..., Any]
    inputs: Inputs
    align: Literal["root", "procrustes", "none", "first-2", "all"]
    thresholds: tuple[float, ...]
    strict: bool
    auc: Literal["mean", "integral"]
    joints: tuple[int, ...] | None
    joint_names: tuple[str, ...] | None
    chunk: int | None
    trim: int
    visible: Literal["centre", "all-three", "any"]
    unit: str
    average: Literal["frame", "track", "video"]
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One protocol on one dataset: everything that scoring needs.

    Attributes:
        name: the dataset's (or setting's) name on results and boards.
        dataset: the store's dataset key.
        splits, where, view: which rows of the store.
        seen, scored: masks that must all hold, for windows and for the mean.
        visible_set, visible_first, visible_confidence: which keypoints the mask `visible-2d>N` counts.
        windows: None where predictions are submitted and nothing is cut.
        expect: counts that a real dataset must give.
        published: False for settings that no paper used.
    """

    name: str
    dataset: str
    splits: tuple[str, ...]
    where: Mapping[str, tuple[str, ...]]
    view: str
    seen: tuple[str, ...]
    scored: tuple[str, ...]
    visible_set: str | None
    visible_first: int
    visible_confidence: float
    windows: WindowRule | None
    gaps: Literal["break", "bridge"]
    join_tracks: bool
    tracks: Literal["by-name", "first-occurrence"]
    average: Literal["frame", "track", "video"]
    round: float | None
    smooth: SmoothTable | None
    flip_test: bool
    needs: tuple[str, ...]
    fps: float | None
    expect: Mapping[str, int]
    target: JointSource
    pred: JointSource
    metrics: tuple[Metric, ...]
    published: bool
    note: str | None


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A named, versioned protocol.

    Attributes:
        table: the file as it was checked.
        rules: dataset or setting -> rule.
    """

    table: ProtocolTable
    rules: Mapping[str, Rule]

    @property
    def name(self) -> str:
        """Its name, `tcmr`."""
        return self.table.name

    @property
    def version(self) -> int:
        """Raised with every change of what is measured."""
        return self.table.version

    @property
    def id(self) -> str:
        """Name and version, `tcmr@1`."""
        return f"{self.name}@{self.version}"

    @cached_property
    def sha256(self) -> str:
        """Hash of what is measured: all rules, metrics spelled out; titles, notes and defect texts apart."""
        text = json.dumps(self.canonical(), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def canonical(self) -> dict[str, Any]:
        """What is hashed, as plain values."""
        return {
            "name": self.name,
            "version": self.version,
            "datasets": {name: _plain(rule) for name, rule in self.rules.items()},
        }

    def rule(self, dataset: str) -> Rule:
        """The rule for a dataset, or for one of its settings.

        Raises:
            ProtocolMismatch: the protocol does not cover it.
        """
        if dataset not in self.rules:
            choices = ", ".join(self.rules)
            settings = [name for name, rule in self.rules.items() if rule.dataset == dataset]
            hint = f" For {dataset}, name one of its settings: {', '.join(settings)}." if settings else ""
            raise ProtocolMismatch(
                f"protocol {self.id} does not cover dataset {dataset!r}; it covers {choices}.{hint}"
            )
        return self.rules[dataset]


def resolve_protocol(table: ProtocolTable, metrics: Mapping[str, Mapping[str, Any]], where: str) -> Protocol:
    """Look up every name of a protocol's table.

    Args:
        table: the checked file.
        metrics: result name -> keys of its metric table (`_metrics.toml`).
        where: the file, for messages.

    Raises:
        UsageError: a name that is unknown, with the nearest known one, or rules that have no meaning together.
    """
    rules = {}
    for name, own in table.datasets.items():
        try:
            rules[name] = _rule(table, name, own, metrics)
        except (UsageError, ProtocolMismatch) as error:
            raise UsageError(f"{where}: datasets.{name}: {error}") from error
    return Protocol(table=table, rules=rules)


def _rule(
    table: ProtocolTable, name: str, own: DatasetTable, metrics: Mapping[str, Mapping[str, Any]]
) -> Rule:
    average = own.average or table.average
    target = _joint_source(own.target, needs_body=True)
    pred = _joint_source(own.pred, needs_body=False)
    if target.joints.names != pred.joints.names:
        raise UsageError(
            f"target scores {target.joints.id}, pred scores {pred.joints.id}; both must be the same set"
        )
    return Rule(
        name=name,
        dataset=own.dataset or name,
        splits=tuple(own.splits),
        where={column: tuple(values) for column, values in own.where.items()},
        view=own.view,
        seen=_masks(own.seen, "seen", may_be_seen=False),
        scored=_masks(own.scored, "scored", may_be_seen=True),
        visible_set=None if own.visible.joints is None else get_joint_set(own.visible.joints).id,
        visible_first=own.visible.first,
        visible_confidence=own.visible.confidence,
        windows=_window_rule(own.windows or table.windows),
        gaps=own.gaps or table.gaps,
        join_tracks=table.join_tracks,
        tracks=table.tracks,
        average=average,
        round=table.round,
        smooth=table.smooth,
        flip_test=table.flip_test,
        needs=tuple(table.needs),
        fps=own.fps,
        expect={str(key): count for key, count in own.expect.items()},
        target=target,
        pred=pred,
        metrics=tuple(_metric(entry, metrics, target.joints, average, own.fps) for entry in own.metrics),
        published=own.published,
        note=own.note,
    )


def _masks(value: str | list[str], key: str, *, may_be_seen: bool) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else tuple(value)
    choices = [mask for mask in MASKS if may_be_seen or mask != "seen"]
    for name in names:
        if name not in choices and not _VISIBLE.fullmatch(name):
            raise UnknownName(f"mask in {key}", name, choices)
    return names


def visible_count(mask: str) -> int | None:
    """The number in a mask `visible-2d>6`; None for other masks."""
    found = _VISIBLE.fullmatch(mask)
    return int(found[1]) if found else None


def _window_rule(table: WindowsTable | None) -> WindowRule | None:
    if table is None:
        return None
    values = table.model_dump()
    values["stride"] = table.length if table.stride is None else table.stride
    rule = WindowRule(**values)
    size = 1 if rule.length == "track" else rule.length
    for n in (size, 2 * size + 3, 3 * size + 1):
        rows = predicted_rows(rule_windows(n, rule))
        if len(rows) != len(set(rows.tolist())):
            raise UsageError(
                "windows predict frames more than once; give overlap or predict so that each is given once"
            )
    return rule


def _joint_source(table: JointsTable, *, needs_body: bool) -> JointSource:
    joints = get_joint_set(table.joints)
    kind: Literal["via", "from", "field"]
    source_set: JointSet | None
    if table.via is not None:
        kind, source = "via", table.via
        if source not in REGRESSOR_JOINT_SETS:
            raise UnknownName("joint regressor", source, REGRESSOR_JOINT_SETS)
        source_set = get_joint_set(REGRESSOR_JOINT_SETS[source])
    elif table.from_ is not None:
        kind, source = "from", table.from_
        source_set = get_joint_set(source)
    else:
        kind, source, source_set = "field", str(table.field), None
        if source not in FIELDS:
            raise UnknownName("field of joints", source, FIELDS)
    body = table.body
    if kind == "field" and body is not None:
        raise UsageError(f"joints of the field {source!r} have no body; leave body={body!r}")
    if kind != "field" and body is None:
        if needs_body:
            raise UsageError(
                f"target joints {kind} {source!r} need body = 'smpl-neutral', 'smpl-gendered' or 'smpl-refit'"
            )
        body = "smpl-neutral"
    found = JointSource(
        kind=kind,
        source=source,
        source_set=source_set,
        joints=joints,
        take=None if table.take is None else tuple(table.take),
        root=_root(table.root, joints, source_set),
        body=body,
        mesh=table.mesh or body,
        dtype=table.dtype,
        frame=table.frame,
        transl=table.transl,
    )
    if source_set is not None:
        found.rows()
    return found


def _root(text: str, joints: JointSet, source_set: JointSet | None) -> Root:
    if text == "none":
        return Root(text=text, of="none")
    if text == "mid-hip":
        return Root(text=text, of="selected", rows=tuple(joints.indices(("left_hip", "right_hip"))))
    if "/" not in text:
        return Root(text=text, of="selected", rows=(joints.index(text),))
    set_id, joint = text.split("/", 1)
    named = get_joint_set(set_id)
    if source_set is not None and named.id != source_set.id:
        raise UsageError(f"root {text!r}: joints come from {source_set.id}, not from {set_id}")
    row = named.index(joint)
    return Root(text=text, of="source", rows=(row,), joint=named.meanings[row])


def _metric(
    entry: str | MetricTable,
    known: Mapping[str, Mapping[str, Any]],
    joints: JointSet,
    average: str,
    fps: float | None,
) -> Metric:
    own = {"name": entry} if isinstance(entry, str) else entry.model_dump(exclude_none=True)
    name = str(own["name"])
    if name not in known and "metric" not in own:
        raise UnknownName("metric", name, known)
    keys = {**known.get(name, {}), **own}
    function_name = str(keys["metric"])
    if function_name not in METRIC_INPUTS:
        raise UnknownName(f"function of metric {name}", function_name, METRIC_INPUTS)
    thresholds = _thresholds(keys)
    if function_name in ("pck", "auc") and (not thresholds or "compare" not in keys):
        raise UsageError(
            f"metric {name}: {function_name} needs a threshold (or thresholds) and compare = '<' or '<='"
        )
    unit = str(keys.get("unit", ""))
    if not unit:
        raise UsageError(f"metric {name}: give its unit")
    if (unit.endswith("s^2") or function_name == "jitter") and fps is None:
        raise UsageError(f"metric {name} is in {unit}: it needs fps in the dataset's table")
    named = keys.get("joints")
    inputs = METRIC_INPUTS[function_name]
    if inputs == "vertices" and keys.get("mesh") == "tpose":
        inputs = "vertices_tpose"
    return Metric(
        name=name,
        metric=function_name,
        function=_function(function_name),
        inputs=inputs,
        align=keys.get("align", "none"),
        thresholds=thresholds,
        strict=keys.get("compare", "<") == "<",
        auc=keys.get("auc", "mean"),
        joints=None if named is None else tuple(joints.indices(named)),
        joint_names=None if named is None else tuple(named),
        chunk=keys.get("chunk"),
        trim=int(keys.get("trim", 0)),
        visible=keys.get("visible", "centre"),
        unit=unit,
        average=keys.get("average", average),
        title=str(keys.get("title", name)),
    )


def _thresholds(keys: Mapping[str, Any]) -> tuple[float, ...]:
    if "thresholds" in keys:
        first, last, step = (float(keys["thresholds"][key]) for key in ("first", "last", "step"))
        count = round((last - first) / step) + 1
        return tuple(first + step * i for i in range(count))
    return (float(keys["threshold"]),) if "threshold" in keys else ()


def _function(name: str) -> Callable[..., Any]:
    from hpsbench import metrics

    return getattr(metrics, name)  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    """Dataclasses, joint sets and functions as JSON values; texts for people are left out."""
    if isinstance(value, JointSet):
        return {"id": value.id, "names": list(value.names)}
    if isinstance(value, SmoothTable):
        return value.model_dump()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = (field.name for field in dataclasses.fields(value))
        return {name: _plain(getattr(value, name)) for name in fields if name not in _NOT_HASHED}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


_NOT_HASHED = frozenset({"function", "title", "note", "published", "text"})
