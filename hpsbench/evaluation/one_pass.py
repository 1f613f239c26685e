"""Everything that a rule's metrics want of the joints, in one pass over the predicted frames.

Errors with and without the root, after Procrustes, joint by joint, and accelerations share most of their work: reading
and transposing the joints. `OnePass` does it once for all metrics of a rule; what is not a matter of single joints
(world alignments, paths, rotations, meshes) stays with `evaluation.measures`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hpsbench.evaluation.frames import FramePlan
from hpsbench.evaluation.values import Side, Values, nothing
from hpsbench.geometry.units import per_frame2_to_si
from hpsbench.metrics.standard import Acceleration, Alignment, JointPass, joint_pass
from hpsbench.protocols.protocol import Metric, Rule
from hpsbench.types import Array, BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class OnePass:
    """What was found.

    Attributes:
        plan, rule: of the frames.
        rows: (n,) predicted rows, chain after chain in time order.
        place: (n,) of each row in its chain.
        size: (n,) length of its chain.
        found: errors and accelerations of these rows.
    """

    plan: FramePlan
    rule: Rule
    rows: IntArray
    place: IntArray
    size: IntArray
    found: JointPass

    def values(self, metric: Metric) -> Values | None:
        """Values of a metric; None where it is no part of the pass."""
        key = _acceleration(metric, self.rule)
        if key is not None and key in self.found.accelerations:
            return self._accelerations(metric, self.found.accelerations[key])
        align = _alignment(metric, self.rule)
        if align is None or align not in self.found.means:
            return None
        per_frame = self.found.means[align]
        scored = self.plan.scored[self.rows]
        values = nothing(self.plan)
        values.value[self.rows[scored]] = per_frame[scored]
        values.weight[self.rows[scored]] = 1.0
        return values

    def distances(self, metric: Metric) -> FloatArray | None:
        """(n, J) float32 millimetres of each joint in the n scored rows, in the order of the plan.

        None where the metric is no mean over joints, or no part of the pass.
        """
        align = _alignment(metric, self.rule)
        if align is None or align not in self.found.distances:
            return None
        kept = self.found.distances[align]
        scored = np.flatnonzero(self.plan.scored[self.rows])
        order = scored[np.argsort(self.rows[scored], kind="stable")]
        return _taken(kept.T, order)

    def _accelerations(self, metric: Metric, found: FloatArray) -> Values:
        factor = per_frame2_to_si(self.rule.fps) if metric.unit == "m/s^2" and self.rule.fps else 1.0
        rows = self.rows[1:-1]
        counts = self._inside(metric.trim) & self._counted(metric, rows)
        values = nothing(self.plan)
        values.value[rows[counts]] = found[counts] * factor
        values.weight[rows[counts]] = 1.0
        return values

    def _inside(self, trim: int) -> BoolArray:
        """(n - 2,) accelerations of three frames of one chain, without `trim` of them at either end of it."""
        place, size = self.place[1:-1], self.size[1:-1]
        return np.asarray((place >= 1 + trim) & (place < size - 1 - trim))

    def _counted(self, metric: Metric, rows: IntArray) -> BoolArray:
        """(n - 2,) accelerations that the metric counts."""
        scored = self.plan.scored
        if metric.visible == "any":
            return np.ones(len(rows), bool)
        if metric.visible == "all-three":
            own = scored[self.rows]
            return np.asarray(own[:-2] & own[1:-1] & own[2:])
        return np.asarray(scored[rows])


def run_pass(rule: Rule, metrics: Iterable[Metric], plan: FramePlan, pred: Side, target: Side) -> OnePass:
    """Go over the joints of all predicted rows, once.

    Args:
        rule: of the protocol on its dataset.
        metrics: those that can be measured.
        plan: the frames; its chains hold every predicted row once.
        pred: joints of all rows.
        target: joints of all rows.

    Raises:
        BadData, UnitError, ShapeError: from the metric functions, for joints that are not finite or not metres.
    """
    rows = np.concatenate(plan.chains) if plan.chains else np.zeros(0, np.int64)
    sizes = np.array([len(chain) for chain in plan.chains], np.int64)
    place = np.concatenate([np.arange(n) for n in sizes]) if len(sizes) else rows
    if not len(rows):
        nothing_found = JointPass({}, {}, {})
        return OnePass(plan=plan, rule=rule, rows=rows, place=place, size=rows, found=nothing_found)
    roots = None
    if pred.root is not None and target.root is not None:
        roots = _taken(pred.root, rows), _taken(target.root, rows)
    listed = list(metrics)
    aligned = dict.fromkeys(align for metric in listed if (align := _alignment(metric, rule)) is not None)
    accelerations = dict.fromkeys(
        key for metric in listed if (key := _acceleration(metric, rule)) is not None
    )
    found = joint_pass(
        _taken(pred.joints, rows),
        _taken(target.joints, rows),
        roots=roots,
        aligned=aligned,
        keep=aligned,
        accelerations=accelerations,
    )
    return OnePass(plan=plan, rule=rule, rows=rows, place=place, size=np.repeat(sizes, sizes), found=found)


def _alignment(metric: Metric, rule: Rule) -> Alignment | None:
    """The alignment of a mean over all joints; None for other metrics."""
    if metric.metric != "joint_error" or metric.joints is not None:
        return None
    if metric.align == "procrustes":
        return "procrustes"
    return _rooted(metric, rule) if metric.align in ("none", "root") else None


def _acceleration(metric: Metric, rule: Rule) -> Acceleration | None:
    if metric.joints is not None or metric.align not in ("none", "root"):
        return None
    if metric.metric == "accel_err":
        return "accel_err", _rooted(metric, rule)
    return ("accel_pred", _rooted(metric, rule)) if metric.metric == "accel_pred" else None


def _rooted(metric: Metric, rule: Rule) -> Literal["none", "root"]:
    """Whether a root is taken off: a protocol may have none."""
    none = metric.align == "none" or "none" in (rule.target.root.of, rule.pred.root.of)
    return "none" if none else "root"


def _taken(values: Array, rows: IntArray) -> Array:
    """Some rows; where they follow each other, without a copy."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and bool((np.diff(rows) == 1).all()):
        return values[rows[0] : rows[-1] + 1]
    return values[rows]
