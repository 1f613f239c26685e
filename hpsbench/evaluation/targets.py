"""Ground truth of store rows as a protocol wants it: which body, which joints, which frame, which precision."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hpsbench.bodies.joints import JointSet
from hpsbench.bodies.regressors import Regressor
from hpsbench.bodies.smpl import Bodies, BodyModel
from hpsbench.errors import BadData, ProtocolMismatch
from hpsbench.evaluation.orientations import global_rotations
from hpsbench.evaluation.rows import StoreRows, field_joint_set
from hpsbench.geometry.rotations import axis_angle_to_rotmat
from hpsbench.protocols.protocol import JointSource, Rule
from hpsbench.store.reader import ClipStore
from hpsbench.types import Array, FloatArray, IntArray


@dataclass(slots=True)
class Targets:
    """Makes targets of rows on demand; keeps nothing but refitted shapes.

    Args:
        store: the clip store.
        rule: of the protocol on its dataset.
        rows: the store rows and what is known of them; methods take places in these.
        bodies: None where the protocol needs no body.
    """

    store: ClipStore
    rule: Rule
    rows: StoreRows
    bodies: Bodies | None
    _refitted: dict[tuple[str, bytes], FloatArray] = field(default_factory=dict)

    def joints(self, places: IntArray) -> tuple[Array, Array | None]:
        """Scored joints (n, J, 3) and root (n, 3) in metres; no root where the protocol takes none off."""
        return selected(self.rule.target, self.points(places), self.given)

    @property
    def given(self) -> JointSet | None:
        """The joint set of `points`."""
        source = self.rule.target
        return field_joint_set(self.store, source.source) if source.kind == "field" else source.source_set

    def points(self, places: IntArray) -> Array:
        """All joints (n, J, 3) of the set that the scored ones come from, float64 metres."""
        source = self.rule.target
        if source.kind == "field":
            return np.asarray(self.store.frames[source.source][self.rows.rows[places]], np.float64)
        points = self._by_body(
            str(source.body),
            places,
            lambda body, pose, betas: body.joints(pose, betas, via=via_of(body, source)),
        )
        return points.astype(np.float64) + self._shift(places)

    def vertices(self, places: IntArray) -> Array:
        """Vertices (n, 6890, 3) of the mesh that the protocol compares, root at the model's origin, metres."""
        return self._by_body(
            str(self.rule.target.mesh), places, lambda body, *params: body.vertices(*params), halved=True
        )

    def placed_vertices(self, places: IntArray) -> Array:
        """The same where the body stands: with the protocol's translation, metres."""
        return self.vertices(places) + self._shift(places)

    def vertices_tpose(self, places: IntArray) -> Array:
        """Vertices (n, 6890, 3) in the T-pose, metres."""
        return self._by_body(
            str(self.rule.target.mesh),
            places,
            lambda body, pose, betas: body.vertices(np.zeros((len(betas), 72), np.float32), betas),
            halved=True,
        )

    def rotations(self, places: IntArray) -> FloatArray:
        """Global joint rotations (n, 24, 3, 3)."""
        return global_rotations(self._pose(places))

    def _by_body(
        self,
        kind: str,
        places: IntArray,
        make: Callable[[BodyModel, Array, Array], Any],
        *,
        halved: bool = False,
    ) -> Array:
        """What a body gives for rows, body by body where people differ in gender."""
        if self.bodies is None:
            raise ProtocolMismatch("this protocol needs body models; give root or bodies")
        pose, betas = self._pose(places), self._betas(kind, places)
        if halved and self.rule.target.dtype == "float16":
            # The released loader halves the axis-angle vectors.
            pose = self._rotmat(np.asarray(self._axis_angle(places), np.float16).astype(np.float32))
            betas = betas.astype(np.float16).astype(np.float32)
        genders = self.rows.gender[places] if kind == "smpl-gendered" else np.full(len(places), "neutral")
        parts: Array | None = None
        for gender in np.unique(genders):
            own = genders == gender
            if gender not in ("neutral", "male", "female"):
                raise BadData(
                    f"{self.store.location}: gender {str(gender)!r} of a track is none of neutral, male, female"
                )
            values = make(self.bodies.by_gender(str(gender)), pose[own], betas[own]).cpu().numpy()
            if own.all():
                return np.asarray(values)
            parts = np.empty((len(places), *values.shape[1:]), values.dtype) if parts is None else parts
            parts[own] = values
        if parts is None:
            raise BadData("no rows to make a body of")
        return parts

    def _axis_angle(self, places: IntArray) -> FloatArray:
        if "full_pose" not in self.store.frames:
            raise ProtocolMismatch(
                f"{self.store.location} has no SMPL parameters (full_pose), which the protocol needs"
            )
        return np.asarray(self.store.frames["full_pose"][self.rows.rows[places]], np.float32)

    def _pose(self, places: IntArray) -> FloatArray:
        return self._rotmat(self._axis_angle(places), places)

    def _rotmat(self, axis_angle: FloatArray, places: IntArray | None = None) -> FloatArray:
        """(n, 72) -> (n, 24, 3, 3), turned into the world where the protocol scores there."""
        rotmat = np.asarray(axis_angle_to_rotmat(axis_angle.reshape(-1, 24, 3)))
        if self.rule.target.frame == "world" and places is not None:
            camera = np.asarray(self.store.frames["extrinsics"][self.rows.rows[places]])[:, :3, :3]
            rotmat[:, 0] = np.swapaxes(camera, 1, 2) @ rotmat[:, 0]
        return rotmat

    def _betas(self, kind: str, places: IntArray) -> FloatArray:
        betas = np.asarray(self.store.frames["betas"][self.rows.rows[places]], np.float32)
        if kind != "smpl-refit" or self.bodies is None:
            return betas
        genders = self.rows.gender[places]
        found = np.empty_like(betas)
        for gender, row in {(str(g), b.tobytes()) for g, b in zip(genders, betas, strict=True)}:
            own = (genders == gender) & (betas == np.frombuffer(row, np.float32)).all(axis=1)
            if (gender, row) not in self._refitted:
                self._refitted[gender, row] = refit_betas(self.bodies, gender, betas[own][0])
            found[own] = self._refitted[gender, row]
        return found

    def _shift(self, places: IntArray) -> Array:
        """(n, 1, 3) world translation, or zeros where the body stands at the model's origin."""
        if self.rule.target.transl == "none":
            return np.zeros((len(places), 1, 3))
        if "transl" not in self.store.frames:
            raise ProtocolMismatch(f"{self.store.location} has no field 'transl', which the protocol needs")
        array = self.store.frames["transl"]
        if array.attrs.get("frame", "world") != "world":
            raise ProtocolMismatch(
                f"{self.store.location}: transl is in {array.attrs['frame']} coordinates, not the world's"
            )
        return np.asarray(array[self.rows.rows[places]], np.float64)[:, None, :]


def via_of(body: BodyModel, source: JointSource) -> str | Regressor:
    """What makes the joints of a posed body: a regressor on its mesh, or the model itself (kinematic joints, SPIN's 49)."""
    return body.regressor(source.source) if source.kind == "via" else source.source


def selected(source: JointSource, points: Array, given: JointSet | None) -> tuple[Array, Array | None]:
    """Scored joints (n, J, 3) and root (n, 3) out of joints of the set that they come from, in its precision."""
    if source.dtype == "float16":
        points = points.astype(np.float16).astype(np.float64)
    return points[:, source.rows(given)], root_of(source, points, given)


def root_of(source: JointSource, points: Array, given: Any) -> Array | None:
    """(n, 3) root of joints in their source set: the mean of the root's joints; None for the root `none`."""
    root = source.root
    if root.of == "none":
        return None
    if root.of == "source":
        rows = list(root.source_rows(given or source.source_set or source.joints))
    else:
        selected = source.rows(given)
        rows = [selected[i] for i in root.rows]
    return np.asarray(points[:, rows].mean(axis=1, dtype=np.float64))


def refit_betas(bodies: Bodies, gender: str, betas: FloatArray) -> FloatArray:
    """Betas (10,) of the neutral body whose T-pose is nearest to that of a gendered body, in the mean square.

    The T-pose is linear in the betas, so this is the least-squares solution of what human_dynamics'
    `compute_neutral_shape.py` fits.
    """
    still = np.zeros((11, 72), np.float32)
    steps = np.concatenate([np.zeros((1, 10)), np.eye(10)]).astype(np.float32)
    basis = bodies.neutral.vertices(still, steps).cpu().numpy().astype(np.float64).reshape(11, -1)
    wanted = (
        bodies.by_gender(gender).vertices(still[:1], betas[None]).cpu().numpy().astype(np.float64).ravel()
    )
    directions = (basis[1:] - basis[0]).T
    return np.asarray(np.linalg.lstsq(directions, wanted - basis[0], rcond=None)[0], np.float32)
