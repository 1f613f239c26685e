"""From per-frame values to a `Result`: means three ways, intervals over sequences, tables."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hpsbench.errors import BadData, MissingPrediction
from hpsbench.evaluation.frame_context import SPEED, target_speed
from hpsbench.evaluation.frames import FramePlan
from hpsbench.evaluation.measures import (
    VertexValues,
    count_degenerate,
    has_joint_values,
    joint_values,
    measure,
)
from hpsbench.evaluation.one_pass import OnePass, run_pass
from hpsbench.evaluation.statistics import bootstrap_interval, group_sums
from hpsbench.evaluation.values import Side, Values
from hpsbench.protocols.protocol import Metric, Protocol, Rule
from hpsbench.results.measured import Measured
from hpsbench.results.result import Result
from hpsbench.types import Array, BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Everything about N rows that a result is made from.

    Attributes:
        sequence: (N,) video of each row.
        frame_id: (N,) number of each frame, or its row.
        absent: metric name -> why it cannot be measured.
        context: column name -> (N,) what else is known of each row (`evaluation.frame_context`).
    """

    protocol: Protocol
    rule: Rule
    plan: FramePlan
    pred: Side
    target: Side
    vertices: VertexValues
    sequence: Array
    frame_id: IntArray
    accounting: Mapping[str, Any]
    absent: Mapping[str, str] = field(default_factory=dict)
    context: Mapping[str, Array] = field(default_factory=dict)


def build_result(scored: Scored, **about: Any) -> Result:
    """Measure every metric and put the result together.

    Args:
        scored: plan, joints and per-frame vertex errors.
        about: further fields of `Result`: system, provenance, flags, ...

    Raises:
        MissingPrediction: scored frames whose predicted joints are not finite; says how many.
        BadData: scored frames whose target is not finite.
    """
    plan = _finite_plan(scored)
    sequences = Sequences.of(plan, scored.sequence)
    absent = dict(scored.absent)
    summary: dict[str, Measured] = {}
    columns: dict[str, Values] = {}
    shared = _shared(scored, plan)
    for metric in scored.rule.metrics:
        if metric.name in absent:
            continue
        values = _measured(metric, scored, plan, shared)
        if not values.weight.any():
            absent[metric.name] = _why_empty(metric, plan)
            continue
        columns[metric.name] = values
        summary[metric.name] = summarise(metric, values, plan, sequences, scored.rule.round)
    accounting = {**scored.accounting, "degenerate": count_degenerate(plan, scored.pred)}
    return Result(
        protocol=scored.protocol.id,
        protocol_sha256=scored.protocol.sha256,
        dataset=scored.rule.name,
        summary=summary,
        absent=absent,
        frames=_frame_table(plan, scored, columns, shared),
        sequences=_sequence_table(plan, sequences, columns),
        accounting=accounting,
        **about,
    )


def plain_means(scored: Scored) -> dict[str, tuple[float, int]]:
    """Value and n of every metric that has one, as `build_result` gives them; without intervals and tables.

    Raises:
        MissingPrediction, BadData: see `build_result`.
    """
    plan = _finite_plan(scored)
    sequences = Sequences.of(plan, scored.sequence)
    shared = _shared(scored, plan)
    found = {}
    for metric in scored.rule.metrics:
        if metric.name in scored.absent:
            continue
        values = _measured(metric, scored, plan, shared)
        if values.weight.any():
            by_average = _by_average(values, plan, sequences)
            value = _reported(metric, by_average, scored.rule.round)
            found[metric.name] = (value, round(values.weight.sum()))
    return found


def _shared(scored: Scored, plan: FramePlan) -> OnePass:
    """One pass over the joints for all metrics that are not absent."""
    present = [metric for metric in scored.rule.metrics if metric.name not in scored.absent]
    return run_pass(scored.rule, present, plan, scored.pred, scored.target)


def _measured(metric: Metric, scored: Scored, plan: FramePlan, shared: OnePass) -> Values:
    """Values of one metric: from the pass, or by its own function."""
    values = shared.values(metric)
    if values is not None:
        return values
    return measure(metric, scored.rule, plan, scored.pred, scored.target, scored.vertices)


@dataclass(frozen=True, slots=True)
class Sequences:
    """The videos behind N rows.

    Attributes:
        names: in order of first occurrence.
        row: (N,) index of each row's video.
        group: (G,) index of each track's video.
    """

    names: tuple[str, ...]
    row: IntArray
    group: IntArray

    @classmethod
    def of(cls, plan: FramePlan, sequence: Array) -> "Sequences":
        """Number the videos; a track belongs to the video of its first row."""
        names, first, inverse = np.unique(np.asarray(sequence, str), return_index=True, return_inverse=True)
        place = np.empty(len(names), np.int64)
        order = np.argsort(first, kind="stable")
        place[order] = np.arange(len(names))
        row = place[inverse]
        _, first_of_group = np.unique(plan.group, return_index=True)
        return cls(tuple(names[order].tolist()), row, row[first_of_group])


def summarise(
    metric: Metric, values: Values, plan: FramePlan, sequences: Sequences, rounding: float | None
) -> Measured:
    """Mean of one metric over frames, tracks and videos, and the interval of the one that the protocol names."""
    by_average = _by_average(values, plan, sequences)
    values_or_nan = np.where(values.weight > 0, values.value, np.nan)
    sums, counts = group_sums(
        values_or_nan, sequences.row, weight=values.weight, track=plan.group, average=metric.average
    )
    found = bootstrap_interval(sums, counts)
    return Measured(
        _reported(metric, by_average, rounding),
        unit=metric.unit,
        n=round(values.weight.sum()),
        average=metric.average,
        by_average=by_average,
        interval=found.interval,
        why_no_interval=found.why_none,
        sequences=found.sequences,
    )


def _by_average(values: Values, plan: FramePlan, sequences: Sequences) -> dict[str, float]:
    """The mean over frames, the mean of the tracks' means, the mean of the videos' means."""
    weighted = np.where(values.weight > 0, values.value, 0.0) * values.weight
    tracks = _means(weighted, values.weight, plan.group, len(plan.names))
    videos = _means(weighted, values.weight, sequences.row, len(sequences.names))
    return {
        "frame": float(weighted.sum() / values.weight.sum()),
        "track": float(np.nanmean(tracks)),
        "video": float(np.nanmean(videos)),
    }


def _reported(metric: Metric, by_average: Mapping[str, float], rounding: float | None) -> float:
    """The mean that the protocol names, rounded where it says so."""
    value = by_average[metric.average]
    return _rounded(value, rounding) if rounding is not None and metric.unit.startswith("mm") else value


def _rounded(value: float, metres: float) -> float:
    """A length in millimetres to a multiple of so many metres."""
    digits = round(-math.log10(metres))
    return round(round(value / 1000.0, digits) * 1000.0, max(digits - 3, 0))


def _means(weighted: FloatArray, weight: FloatArray, index: IntArray, count: int) -> FloatArray:
    """Weighted mean per group; NaN where a group has no value."""
    total = np.bincount(index, weights=weight, minlength=count)
    sums = np.bincount(index, weights=weighted, minlength=count)
    means = np.full(count, np.nan)
    np.divide(sums, total, out=means, where=total > 0)
    return means


def _finite_plan(scored: Scored) -> FramePlan:
    """The plan with chains broken at rows that have no finite joints; scored rows must have them.

    Raises:
        MissingPrediction, BadData: see `build_result`.
    """
    plan = scored.plan
    finite: dict[str, BoolArray] = {}
    for name, side in (("pred", scored.pred), ("target", scored.target)):
        root = side.joints[:, 0] if side.root is None else side.root
        parts = np.concatenate([side.joints.reshape(len(plan), -1), root], axis=1)
        finite[name] = np.asarray(np.isfinite(parts).all(axis=1))
    for name, error in (("pred", MissingPrediction), ("target", BadData)):
        bad = np.flatnonzero(plan.scored & ~finite[name])
        if len(bad):
            where = f"track {plan.track[bad[0]]}, frame {int(scored.frame_id[bad[0]])}"
            raise error(
                f"{name}: {len(bad)} of {int(plan.scored.sum())} scored frames have no finite joints, the first is "
                f"{where}; give a value for every frame that the protocol scores"
            )
    whole = finite["pred"] & finite["target"]
    if whole[plan.predicted].all():
        return plan
    chains = [part for chain in plan.chains for part in _runs(chain, whole[chain])]
    return dataclasses.replace(plan, predicted=plan.predicted & whole, chains=tuple(chains))


def _runs(chain: IntArray, keep: Array) -> list[IntArray]:
    """The parts of a chain between rows that are not kept."""
    places = np.flatnonzero(keep)
    parts = np.split(places, np.flatnonzero(np.diff(places) != 1) + 1)
    return [chain[part] for part in parts if len(part)]


def _why_empty(metric: Metric, plan: FramePlan) -> str:
    if not plan.scored.any():
        return "no frame is scored"
    if metric.metric in ("accel_err", "accel_pred", "jitter"):
        return "no track has enough neighbouring frames"
    if metric.inputs == "feet":
        return "no true foot ever stands still"
    return "no frame has a value"


def _frame_table(
    plan: FramePlan, scored: Scored, columns: Mapping[str, Values], shared: OnePass
) -> "pd.DataFrame":
    """One row per frame that is scored or has a value: the metrics, their joints, and what is known of the frame."""
    import pandas as pd

    shown = plan.scored.copy()
    for values in columns.values():
        shown |= values.weight > 0
    rows = np.flatnonzero(shown)
    table: dict[str, Any] = {
        "track": np.asarray(plan.track, str)[rows].astype(object),
        "sequence": np.asarray(scored.sequence, str)[rows].astype(object),
        "frame_id": np.asarray(scored.frame_id, np.int64)[rows],
        "scored": plan.scored[rows],
    }
    for name, values in columns.items():
        table[name] = values.value[rows]
        if (values.weight > 1).any():
            table[f"{name}_n"] = values.weight[rows].astype(np.int64)
    speed = target_speed(plan, scored.target.joints, scored.target.root, np.asarray(scored.frame_id))
    for name, known in {**scored.context, SPEED: speed}.items():
        table[name] = known[rows]
    inside = plan.scored[rows]
    for metric in scored.rule.metrics:
        if metric.name in columns and has_joint_values(metric):
            distances = shared.distances(metric)
            if distances is None:
                distances = joint_values(metric, plan, scored.pred, scored.target)
            names = metric.joint_names or scored.rule.target.joints.names
            for joint, own in zip(names, distances.T, strict=True):
                column = np.full(len(rows), np.nan, np.float32)
                column[inside] = own
                table[f"{metric.name}.{joint}"] = column
    return pd.DataFrame(table)


def _sequence_table(plan: FramePlan, sequences: Sequences, columns: Mapping[str, Values]) -> "pd.DataFrame":
    """One row per video: frames, tracks, and each metric's mean with its n."""
    import pandas as pd

    count = len(sequences.names)
    used = np.unique(plan.group[plan.scored])
    table: dict[str, Any] = {
        "sequence": np.asarray(sequences.names, dtype=object),
        "tracks": np.bincount(sequences.group[used], minlength=count)
        if len(used)
        else np.zeros(count, np.int64),
        "frames": np.bincount(sequences.row[plan.scored], minlength=count),
    }
    for name, values in columns.items():
        weighted = np.where(values.weight > 0, values.value, 0.0) * values.weight
        table[name] = _means(weighted, values.weight, sequences.row, count)
        table[f"{name}_n"] = np.bincount(sequences.row, weights=values.weight, minlength=count).astype(
            np.int64
        )
    return pd.DataFrame(table)
