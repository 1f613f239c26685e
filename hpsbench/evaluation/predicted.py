"""Predictions of some frames as a protocol compares them: joints, root, mesh, rotations."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from hpsbench.bodies.joints import JointSet, get_joint_set
from hpsbench.bodies.smpl import Bodies, BodyModel
from hpsbench.errors import ProtocolMismatch
from hpsbench.evaluation.orientations import global_rotations
from hpsbench.evaluation.targets import selected, via_of
from hpsbench.geometry.cameras import camera_to_world
from hpsbench.geometry.rotations import axis_angle_to_rotmat
from hpsbench.protocols.protocol import Rule
from hpsbench.types import Array, FloatArray

Kind = Literal["body", "joints", "vertices"]


def kind_of(arrays: Mapping[str, Any]) -> Kind:
    """What predictions are made of: a posed body, joints alone, or vertices alone; a body wins."""
    if ("rotmat" in arrays or "axis_angle" in arrays) and "betas" in arrays:
        return "body"
    return "joints" if "joints3d" in arrays else "vertices"


def why_absent(rule: Rule, arrays: Mapping[str, Any]) -> dict[str, str]:
    """Metrics that these predictions, or the protocol's target, cannot support: name -> reason."""
    reasons = {}
    kind = kind_of(arrays)
    for metric in rule.metrics:
        if metric.inputs != "joints" and rule.target.body is None:
            reasons[metric.name] = "the target is annotated joints, without a body"
        elif metric.inputs in ("vertices", "feet") and kind == "joints":
            reasons[metric.name] = "joints-only predictions have no mesh"
        elif metric.inputs in ("vertices_tpose", "rotations") and kind != "body":
            what = "shape" if metric.inputs == "vertices_tpose" else "joint rotations"
            reasons[metric.name] = f"{kind}-only predictions have no {what}"
    return reasons


def check_needs(rule: Rule, arrays: Mapping[str, Any], frame: str) -> None:
    """Refuse predictions that a protocol cannot compare.

    Raises:
        ProtocolMismatch: no translation, where the protocol scores positions; world coordinates, where it compares in
            the camera's.
    """
    if frame == "world" and rule.pred.frame == "camera":
        raise ProtocolMismatch(
            "the predictions are in world coordinates, the protocol compares bodies as the camera sees them; give them in "
            "camera coordinates (frame = 'camera')"
        )
    if (
        "transl" in rule.needs
        and "transl" not in arrays
        and not (frame == "world" and kind_of(arrays) != "body")
    ):
        raise ProtocolMismatch(
            "the protocol scores positions in the world, and the predictions have no transl: this system says how a "
            "body stands, not where. Use a protocol of camera coordinates"
        )


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """Predictions of n frames of one clip.

    Attributes:
        rule: of the protocol.
        arrays: as `predictions.Predictions` has them, n rows each.
        joint_set: of `joints3d`.
        frame: `camera` or `world`.
        bodies: None for predictions that need no body.
        gender: (n,) of the person, for protocols that pose a gendered body.
        extrinsics: (n, 4, 4) world to camera, to bring camera coordinates into the world; or None.
    """

    rule: Rule
    arrays: Mapping[str, Array]
    joint_set: str | None
    frame: str
    bodies: Bodies | None
    gender: Array
    extrinsics: Array | None = None

    def joints(self) -> tuple[Array, Array | None]:
        """Scored joints (n, J, 3) and root (n, 3), metres."""
        return selected(self.rule.pred, self.points(), self.given)

    @property
    def given(self) -> JointSet:
        """The joint set of `points`."""
        if kind_of(self.arrays) == "joints":
            return get_joint_set(str(self.joint_set))
        source = self.rule.pred
        if source.source_set is None:
            raise ProtocolMismatch(f"predicted joints cannot come from the store's field {source.source!r}")
        return source.source_set

    def points(self) -> Array:
        """All joints (n, J, 3) of the set that the scored ones come from, float64 metres."""
        source = self.rule.pred
        kind = kind_of(self.arrays)
        if kind == "joints":
            points = np.asarray(self.arrays["joints3d"], np.float64)
        elif kind == "vertices":
            points = self._regressed(np.asarray(self.arrays["vertices"]))
        else:
            points = self._by_body(
                lambda body, pose, betas: body.joints(pose, betas, via=via_of(body, source))
            )
        return self._placed(points.astype(np.float64))

    def vertices(self) -> Array:
        """Vertices (n, 6890, 3), root at the model's origin, metres."""
        if kind_of(self.arrays) == "vertices":
            given = np.asarray(self.arrays["vertices"])
            return given if "transl" not in self.arrays else given - self.arrays["transl"][:, None, :]
        return self._by_body(lambda body, pose, betas: body.vertices(pose, betas))

    def placed_vertices(self) -> Array:
        """The same where the body stands, metres."""
        if kind_of(self.arrays) == "vertices":
            return self._in_frame(np.asarray(self.arrays["vertices"]))
        return self._placed(self.vertices())

    def vertices_tpose(self) -> Array:
        """Vertices (n, 6890, 3) of the predicted shape in the T-pose, metres."""
        return self._by_body(
            lambda body, pose, betas: body.vertices(np.zeros((len(betas), 72), np.float32), betas)
        )

    def rotations(self) -> FloatArray:
        """Global joint rotations (n, 24, 3, 3)."""
        return global_rotations(self.rotmat)

    @cached_property
    def rotmat(self) -> FloatArray:
        """Local joint rotations (n, 24, 3, 3)."""
        if "rotmat" in self.arrays:
            return np.asarray(self.arrays["rotmat"])
        return np.asarray(axis_angle_to_rotmat(np.asarray(self.arrays["axis_angle"]).reshape(-1, 24, 3)))

    def _by_body(self, make: Any) -> Array:
        if self.bodies is None:
            raise ProtocolMismatch("predicted SMPL parameters need body models; give root or bodies")
        betas = np.asarray(self.arrays["betas"])
        neutral = self.rule.pred.body != "smpl-gendered"
        genders = np.full(len(betas), "neutral") if neutral else self.gender
        parts: Array | None = None
        for gender in np.unique(genders):
            own = genders == gender
            body: BodyModel = self.bodies.by_gender(str(gender))
            values = make(body, self.rotmat[own], betas[own]).cpu().numpy()
            if own.all():
                return np.asarray(values)
            parts = np.empty((len(betas), *values.shape[1:]), values.dtype) if parts is None else parts
            parts[own] = values
        if parts is None:
            raise ProtocolMismatch("no predictions to make a body of")
        return parts

    def _regressed(self, vertices: Array) -> Array:
        source = self.rule.pred
        if source.kind != "via" or self.bodies is None:
            raise ProtocolMismatch(
                f"joints of {source.source!r} cannot be made of vertices alone; give pose and betas, or joints3d"
            )
        return np.asarray(self.bodies.regressor(source.source).regress(vertices.astype(np.float64)))

    def _placed(self, points: Array) -> Array:
        """Points of a body at the model's origin, or of given joints, where the protocol compares them."""
        if self.rule.pred.transl == "none":
            return points
        if kind_of(self.arrays) == "body":
            points = points + np.asarray(self.arrays["transl"], points.dtype)[:, None, :]
        return self._in_frame(points)

    def _in_frame(self, points: Array) -> Array:
        if self.rule.pred.frame == "world" and self.frame == "camera":
            if self.extrinsics is None:
                raise ProtocolMismatch(
                    "predictions in camera coordinates need the store's extrinsics to reach the world"
                )
            return np.asarray(camera_to_world(points.astype(np.float64), self.extrinsics.astype(np.float64)))
        return points
