"""Gathers prediction and target clip by clip: joints are kept, meshes are compared in blocks and forgotten."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hpsbench.bodies.smpl import Bodies
from hpsbench.evaluation.frames import FramePlan
from hpsbench.evaluation.measures import VertexValues
from hpsbench.evaluation.orientations import slerp_filter
from hpsbench.evaluation.predicted import Predicted, check_needs, why_absent
from hpsbench.evaluation.row_cache import RowCache
from hpsbench.evaluation.rows import StoreRows
from hpsbench.evaluation.targets import Targets, selected
from hpsbench.evaluation.values import Side
from hpsbench.geometry.rotations import axis_angle_to_rotmat
from hpsbench.metrics.motion import FOOT_VERTICES
from hpsbench.protocols.protocol import JointSource, Rule
from hpsbench.store.reader import ClipStore
from hpsbench.types import Array, BoolArray, IntArray

# Frames whose bodies are posed at once: 6890 vertices of 256 frames are 21 MB.
_BLOCK = 256


@dataclass(frozen=True, slots=True)
class Shared:
    """What scoring the same predictions under several rules has in common.

    Attributes:
        target: joints of the ground truth.
        pred: joints of the predictions, and their mesh errors.
    """

    target: RowCache
    pred: RowCache


@dataclass(slots=True)
class Collector:
    """Everything that is kept of predictions and targets until the metrics are taken.

    Attributes:
        shared: joints and mesh errors that were made before, under other rules; None: nothing is shared.
        predicted: (N,) bool, rows that were given a prediction.
        extra: predictions of rows that no window of the protocol predicts.
        absent: metric -> why these predictions cannot support it.
        flags: remarks for the result.
    """

    store: ClipStore
    rule: Rule
    rows: StoreRows
    plan: FramePlan
    bodies: Bodies | None
    shared: Shared | None = None
    targets: Targets = field(init=False)
    predicted: BoolArray = field(init=False)
    extra: int = 0
    absent: dict[str, str] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)
    vertices: VertexValues = field(init=False)
    _sides: dict[str, dict[str, Array]] = field(default_factory=lambda: {"pred": {}, "target": {}})

    def __post_init__(self) -> None:
        self.targets = Targets(self.store, self.rule, self.rows, self.bodies)
        self.predicted = np.zeros(len(self.plan), bool)
        self.vertices = VertexValues(rule=self.rule, rows=len(self.plan))

    def add(
        self,
        places: IntArray,
        arrays: Mapping[str, Array],
        *,
        joint_set: str | None = None,
        frame: str = "camera",
    ) -> None:
        """Take the predictions of some rows of one stretch of a track.

        Args:
            places: (n,) which of the plan's rows, in time order.
            arrays: as in `predictions.Predictions`.
            joint_set: of `joints3d`.
            frame: `camera` or `world`.

        Raises:
            ProtocolMismatch: predictions that the protocol cannot score; says why.
            MissingBodyModel: a body or regressor that it needs is absent.
        """
        check_needs(self.rule, arrays, frame)
        self.absent.update(why_absent(self.rule, arrays))
        needed = self.plan.predicted[places]
        self.extra += int((~self.plan.scored[places]).sum())
        self.predicted[places] = True
        arrays, meshes = self._smoothed({name: np.asarray(values)[needed] for name, values in arrays.items()})
        own = places[needed]
        for start in range(0, len(own), _BLOCK):
            part = slice(start, start + _BLOCK)
            self._add_block(own[part], _cut(arrays, part), _cut(meshes, part), joint_set, frame)

    def sides(self) -> tuple[Side, Side]:
        """What was gathered, prediction and target; NaN where nothing was."""
        made = []
        for name, source in (("pred", self.rule.pred), ("target", self.rule.target)):
            parts = self._sides[name]
            joints = parts.get("joints", np.full((len(self.plan), len(source.joints), 3), np.nan))
            made.append(Side(joints=joints, **{k: parts.get(k) for k in ("root", "rotations", "feet")}))
        return made[0], made[1]

    def _add_block(
        self,
        places: IntArray,
        arrays: Mapping[str, Array],
        meshes: Mapping[str, Array],
        joint_set: str | None,
        frame: str,
    ) -> None:
        body = self._predicted(places, arrays, joint_set, frame)
        joints, root = self._pred_joints(places, arrays, body)
        true_joints, true_root = self._target_joints(places)
        self._keep("pred", places, joints=joints, root=root)
        self._keep("target", places, joints=true_joints, root=true_root)
        wanted = {metric.inputs for metric in self.rule.metrics if metric.name not in self.absent}
        if "rotations" in wanted:
            self._keep("pred", places, rotations=body.rotations())
            self._keep("target", places, rotations=self.targets.rotations(places))
        if "feet" in wanted:
            feet = list(FOOT_VERTICES)
            meshed = self._predicted(places, meshes, joint_set, frame)
            self._keep("pred", places, feet=meshed.placed_vertices()[:, feet])
            self._keep("target", places, feet=self.targets.placed_vertices(places)[:, feet])
        scored = self.plan.scored[places]
        if not scored.any():
            return
        roots = tuple(None if value is None else value[scored] for value in (root, true_root))
        for inputs in sorted(wanted & {"vertices", "vertices_tpose"}):
            own = _cut(meshes, scored)
            self._compare_meshes(inputs, places[scored], own, joint_set, frame, (roots[0], roots[1]))

    def _pred_joints(
        self, places: IntArray, arrays: Mapping[str, Array], body: Predicted
    ) -> tuple[Array, Array | None]:
        source, shared = self.rule.pred, self.shared
        if shared is None or self.rule.smooth is not None:
            return body.joints()
        key = ("joints", *_placed(source), source.kind, source.source, source.body)
        points = shared.pred.get(
            key,
            self.rows.rows[places],
            lambda part: self._predicted(
                places[part], _cut(arrays, part), body.joint_set, body.frame
            ).points(),
        )
        return selected(source, points, body.given)

    def _target_joints(self, places: IntArray) -> tuple[Array, Array | None]:
        source = self.rule.target
        if self.shared is None:
            return self.targets.joints(places)
        key = ("joints", *_placed(source), source.kind, source.source, source.body)
        rows = self.rows.rows[places]
        points = self.shared.target.get(key, rows, lambda part: self.targets.points(places[part]))
        return selected(source, points, self.targets.given)

    def _compare_meshes(
        self,
        inputs: str,
        places: IntArray,
        meshes: Mapping[str, Array],
        joint_set: str | None,
        frame: str,
        roots: tuple[Array | None, Array | None],
    ) -> None:
        def errors(part: IntArray) -> Array:
            meshed = self._predicted(places[part], _cut(meshes, part), joint_set, frame)
            pair = (getattr(meshed, inputs)(), getattr(self.targets, inputs)(places[part]))
            own = [None if root is None else root[part] for root in roots]
            return self.vertices.compare(inputs, *pair, (own[0], own[1]))

        if self.shared is None or self.rule.smooth is not None:
            self.vertices.put(places, inputs, errors(np.arange(len(places))))
            return
        metrics = tuple((m.metric, m.align) for m in self.rule.metrics if m.inputs == inputs)
        target, pred = self.rule.target, self.rule.pred
        rooted = any(align == "root" for _, align in metrics)
        meshes_of = (target.mesh, target.dtype, target.frame, pred.body, pred.frame)
        key = (inputs, metrics, meshes_of, (target, pred) if rooted else None)
        self.vertices.put(places, inputs, self.shared.pred.get(key, self.rows.rows[places], errors))

    def _predicted(
        self, places: IntArray, arrays: Mapping[str, Array], joint_set: str | None, frame: str
    ) -> Predicted:
        extrinsics = None
        if self.rule.pred.frame == "world" and frame == "camera":
            extrinsics = np.asarray(self.store.frames["extrinsics"][self.rows.rows[places]])
            self.flags.add("ground-truth-camera")
        return Predicted(
            rule=self.rule,
            arrays=arrays,
            joint_set=joint_set,
            frame=frame,
            bodies=self.bodies,
            gender=self.rows.gender[places],
            extrinsics=extrinsics,
        )

    def _smoothed(self, arrays: dict[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        """Arrays for joints and for the mesh, filtered in time as the protocol says."""
        smooth = self.rule.smooth
        if smooth is None or not ("rotmat" in arrays or "axis_angle" in arrays):
            return arrays, arrays
        own = dict(arrays)
        if "axis_angle" in own:
            own["rotmat"] = np.asarray(axis_angle_to_rotmat(own.pop("axis_angle").reshape(-1, 24, 3)))
        own["rotmat"] = slerp_filter(own["rotmat"], smooth.ratio)
        return own, own if smooth.mesh else arrays

    def _keep(self, side: str, places: IntArray, **values: Any) -> None:
        for name, rows in values.items():
            if rows is None:
                continue
            kept = self._sides[side]
            if name not in kept:
                kept[name] = np.full((len(self.plan), *rows.shape[1:]), np.nan)
            kept[name][places] = rows


def _placed(source: JointSource) -> tuple[str, str]:
    """Where the points of a source lie."""
    return source.frame, source.transl


def _cut(arrays: Mapping[str, Array], part: slice | BoolArray | IntArray) -> dict[str, Array]:
    return {name: values[part] for name, values in arrays.items()}
