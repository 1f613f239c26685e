"""Per-frame values of every metric of a protocol, one function of `hpsbench.metrics` at a time.

What metrics share (`evaluation.one_pass`) is measured there; here is what remains, and every metric by itself.

A metric's value belongs to a frame: a joint error to its own, an acceleration to its centre frame, a foot step to the
frame it starts from. Frames without a value (unscored, first and last of a track, without a standing foot) have weight
0, so that no NaN enters a mean.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hpsbench import metrics as hb_metrics
from hpsbench.evaluation.frames import FramePlan
from hpsbench.evaluation.values import Side, Values, nothing
from hpsbench.geometry.alignment import similarity_align
from hpsbench.geometry.units import M_TO_MM, per_frame2_to_si
from hpsbench.metrics.motion import FOOT_VERTICES, WHAM_JITTER_UNIT
from hpsbench.protocols.protocol import Metric, Rule
from hpsbench.types import Array, BoolArray, FloatArray, IntArray

# Frames per block where a long array would otherwise be copied whole.
BLOCK = 256
# Joints are smaller: 24 of 2,048 frames are 1 MB.
_JOINT_BLOCK = 2048


@dataclass(slots=True, kw_only=True)
class VertexValues:
    """Per-frame vertex errors, filled block by block so that no mesh is kept.

    Attributes:
        rule: the protocol's, for which metrics there are.
        values: metric name -> (N,) millimetres, NaN where nothing was filled in.
    """

    rule: Rule
    rows: int
    values: dict[str, FloatArray] = field(default_factory=dict)

    def add(self, rows: IntArray, inputs: str, pred: Array, target: Array, roots: tuple[Any, Any]) -> None:
        """Compare the meshes of some rows under every metric that reads them, and keep the errors.

        Args:
            rows: (n,) which rows these are.
            inputs: `vertices` (posed) or `vertices_tpose`.
            pred: (n, V, 3) metres.
            target: (n, V, 3) metres.
            roots: (n, 3) of pred and of target, or None twice.
        """
        self.put(rows, inputs, self.compare(inputs, pred, target, roots))

    def compare(self, inputs: str, pred: Array, target: Array, roots: tuple[Any, Any]) -> FloatArray:
        """Errors (n, M) of n meshes under the M metrics that read them; arguments as for `add`."""
        errors = []
        for metric in self._reading(inputs):
            first, second = pred, target
            if metric.align == "root" and roots[0] is not None:
                first = pred - np.asarray(roots[0], pred.dtype)[:, None, :]
                second = target - np.asarray(roots[1], target.dtype)[:, None, :]
            errors.append(_numpy(metric.function(first, second)))
        return np.stack(errors, axis=1)

    def put(self, rows: IntArray, inputs: str, errors: FloatArray) -> None:
        """Keep errors (n, M) of some rows, as `compare` gives them."""
        for metric, column in zip(self._reading(inputs), errors.T, strict=True):
            self.values.setdefault(metric.name, np.full(self.rows, np.nan))[rows] = column

    def _reading(self, inputs: str) -> list[Metric]:
        return [metric for metric in self.rule.metrics if metric.inputs == inputs]


def measure(
    metric: Metric, rule: Rule, plan: FramePlan, pred: Side, target: Side, vertices: VertexValues
) -> Values:
    """Values of one metric.

    Raises:
        BadData, UnitError, ShapeError: from the metric functions, for joints that are not finite or not metres.
    """
    if metric.inputs in ("vertices", "vertices_tpose"):
        return _at(plan, vertices.values[metric.name][plan.scored], np.flatnonzero(plan.scored))
    if metric.inputs == "rotations":
        return _rotations(metric, plan, pred, target)
    if metric.inputs == "feet":
        return _feet(metric, plan, pred, target)
    if metric.metric in ("accel_err", "accel_pred", "jitter", "rte") or metric.align in ("first-2", "all"):
        return _along_chains(metric, rule, plan, pred, target)
    rows = np.flatnonzero(plan.scored)
    first, second = _aligned(metric, pred, rows), _aligned(metric, target, rows)
    if metric.align == "procrustes":
        first = similarity_align(first, second) if metric.metric != "joint_error" else first
        if metric.metric == "joint_error":
            return _at(plan, hb_metrics.pa_mpjpe(first, second), rows)
    return _at(plan, _frame_function(metric)(first, second), rows)


def has_joint_values(metric: Metric) -> bool:
    """Whether a metric is a mean of distances, one per joint and frame."""
    return metric.metric == "joint_error" and metric.align in ("root", "procrustes", "none")


def joint_values(metric: Metric, plan: FramePlan, pred: Side, target: Side) -> FloatArray:
    """Distances of the single joints behind a metric's values.

    Args:
        metric: one for which `has_joint_values` holds.
        plan: says which rows are scored.
        pred: joints of all rows.
        target: joints of all rows.

    Returns:
        (n, J) float32 millimetres of the n scored rows; their mean over joints is the metric's value. Computed block
        by block, so that only this array is as long as the data.
    """
    rows = np.flatnonzero(plan.scored)
    joints = target.joints.shape[1] if metric.joints is None else len(metric.joints)
    found = np.empty((len(rows), joints), np.float32)
    for start in range(0, len(rows), _JOINT_BLOCK):
        part = slice(start, start + _JOINT_BLOCK)
        first, second = _aligned(metric, pred, rows[part]), _aligned(metric, target, rows[part])
        if metric.align == "procrustes":
            first = np.asarray(similarity_align(first, second))
        found[part] = np.linalg.norm(first - second, axis=-1) * M_TO_MM
    return found


def count_degenerate(plan: FramePlan, pred: Side) -> int:
    """Scored frames whose predicted joints are all the same point, so that no similarity fits them."""
    if not plan.scored.any():
        return 0
    return int(np.sum(hb_metrics.pa_degenerate(pred.joints[plan.scored])))


def _frame_function(metric: Metric) -> Callable[[Any, Any], Any]:
    """The function with its thresholds, in the metric's unit."""
    compare = "<" if metric.strict else "<="
    factor = 0.01 if metric.unit == "1" else 1.0
    if metric.metric == "pck":
        return lambda p, t: metric.function(p, t, threshold=metric.thresholds[0], compare=compare) * factor
    if metric.metric == "auc":
        limits, kind = metric.thresholds, metric.auc
        return lambda p, t: metric.function(p, t, thresholds=limits, compare=compare, kind=kind) * factor
    return metric.function


def _aligned(metric: Metric, side: Side, rows: IntArray) -> FloatArray:
    """Joints of some rows in float64, root taken off where the metric says so; the metric's joints only."""
    joints = np.asarray(side.joints[rows], np.float64)
    if metric.align == "root" and side.root is not None:
        joints = joints - np.asarray(side.root[rows], np.float64)[:, None, :]
    return joints if metric.joints is None else joints[:, list(metric.joints)]


def _along_chains(metric: Metric, rule: Rule, plan: FramePlan, pred: Side, target: Side) -> Values:
    """Metrics that run over time, chain by chain; a value counts if its frame does (see `Metric.visible`)."""
    found = nothing(plan)
    for chain in plan.chains:
        first, second = _aligned(metric, pred, chain), _aligned(metric, target, chain)
        values, offset = _chain_values(metric, rule, first, second, pred, target, chain)
        rows = chain[offset : offset + len(values)]
        counts = _counts(metric, plan, chain, rows, offset)
        if metric.trim:
            counts[: metric.trim] = False
            counts[max(len(counts) - metric.trim, 0) :] = False
        found.value[rows[counts]] = values[counts]
        found.weight[rows[counts]] = 1.0
    return found


def _chain_values(
    metric: Metric, rule: Rule, first: Array, second: Array, pred: Side, target: Side, chain: IntArray
) -> tuple[Array, int]:
    """Values of one chain, and how many frames after its start the first of them belongs to."""
    if metric.metric == "accel_pred":
        return _numpy(metric.function(first)), 1
    if metric.metric == "accel_err":
        factor = per_frame2_to_si(rule.fps) if metric.unit == "m/s^2" and rule.fps else 1.0
        return _numpy(metric.function(first, second)) * factor, 1
    if metric.metric == "jitter":
        factor = 1 / WHAM_JITTER_UNIT if metric.unit.startswith("10 ") else 1.0
        return _numpy(metric.function(first, fps=rule.fps)) * factor, 1
    if metric.metric == "rte":
        return _path_error(metric, pred, target, chain), 0
    world = hb_metrics.w_mpjpe if metric.align == "first-2" else hb_metrics.wa_mpjpe
    return _numpy(world(first, second, chunk=metric.chunk or max(len(chain), 1))), 0


def _path_error(metric: Metric, pred: Side, target: Side, chain: IntArray) -> Array:
    """Root path errors of one chain; none where the true root does not move (there is no path to divide by)."""
    first = np.asarray(pred.joints[chain, 0] if pred.root is None else pred.root[chain], np.float64)
    second = np.asarray(target.joints[chain, 0] if target.root is None else target.root[chain], np.float64)
    if len(chain) < 2 or not float(hb_metrics.path_length(second)) > 0:
        return np.empty(0)
    return _numpy(metric.function(first, second))


def _counts(metric: Metric, plan: FramePlan, chain: IntArray, rows: IntArray, offset: int) -> BoolArray:
    """Which of a chain's values enter the mean."""
    if metric.visible == "any":
        return np.ones(len(rows), bool)
    if metric.visible == "all-three" and offset == 1 and len(rows):
        return np.array(hb_metrics.all_three(plan.scored[chain])[: len(rows)])
    return np.array(plan.scored[rows])


def _rotations(metric: Metric, plan: FramePlan, pred: Side, target: Side) -> Values:
    """Angles between global rotations, after the Procrustes rotation of the joints if the metric says so."""
    rows = np.flatnonzero(plan.scored)
    chosen = list(metric.joints) if metric.joints is not None else slice(None)
    first, second = (np.asarray(side.rotations, np.float64)[rows][:, chosen] for side in (pred, target))
    turn = None
    if metric.align == "procrustes":
        pair = (np.asarray(side.joints[rows], np.float64) for side in (pred, target))
        turn = hb_metrics.procrustes_rotation(*pair)
    return _at(plan, metric.function(first, second, rotation=turn), rows)


def _feet(metric: Metric, plan: FramePlan, pred: Side, target: Side) -> Values:
    """Steps of predicted feet while the true ones stand; a frame's weight is its number of standing vertices."""
    found = nothing(plan)
    for chain in plan.chains:
        for start in range(0, len(chain) - 1, BLOCK):
            rows = chain[start : start + BLOCK + 1]
            first, second = (_as_mesh(np.asarray(side.feet)[rows]) for side in (pred, target))
            standing = np.asarray(hb_metrics.foot_contacts(second)) & plan.scored[rows[:-1], None]
            moved = np.zeros(standing.shape)
            moved[np.asarray(hb_metrics.foot_contacts(second))] = _numpy(metric.function(first, second))
            count = standing.sum(axis=1)
            kept = count > 0
            found.weight[rows[:-1][kept]] = count[kept]
            found.value[rows[:-1][kept]] = (moved * standing).sum(axis=1)[kept] / count[kept]
    return found


def _as_mesh(feet: FloatArray) -> FloatArray:
    """The foot vertices at their places in an otherwise empty mesh."""
    mesh = np.repeat(np.asarray(feet)[:, :1], max(FOOT_VERTICES) + 1, axis=1)
    mesh[:, list(FOOT_VERTICES)] = feet
    return mesh


def _at(plan: FramePlan, values: Any, rows: IntArray) -> Values:
    found = nothing(plan)
    found.value[rows] = _numpy(values)
    found.weight[rows] = 1.0
    return found


def _numpy(values: Any) -> Array:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, np.float64)
