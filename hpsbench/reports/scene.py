"""What a report shows of the store behind a result: images, annotated bodies, and predicted bodies beside them."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench.bodies.joints import JointSet, get_joint_set
from hpsbench.bodies.smpl import Bodies, BodyModel, load_bodies
from hpsbench.errors import HpsbenchError, MissingBodyModel
from hpsbench.evaluation.rows import StoreRows, choose_rule, field_joint_set, select_rows
from hpsbench.features.frames import Frames
from hpsbench.pipeline.extract import raw_folder
from hpsbench.predictions.predictions import Predictions
from hpsbench.protocols.catalog import get_protocol
from hpsbench.protocols.protocol import Rule
from hpsbench.reports.material import Run
from hpsbench.store.reader import ClipStore, open_store
from hpsbench.types import Array, FloatArray, IntArray

_CHECKED = ("recipe_sha256", "raw_manifest_sha256")


@dataclass(kw_only=True)
class Scene:
    """The store, images and bodies behind a setting.

    Attributes:
        store: where the ground truth lies.
        rule: of the protocol; says view and body.
        rows: the store's rows that the protocol looks at.
        frames: finds images, or None where the raw dataset is not at hand.
        bodies: body models, or None where they are not at hand.
        missing: what is not at hand and why, in words.
    """

    store: ClipStore
    rule: Rule
    rows: StoreRows
    frames: Frames | None
    bodies: Bodies | None
    missing: list[str] = field(default_factory=list)

    def locate(self, track: Array, frame_id: IntArray) -> IntArray:
        """(n,) rows of the store; -1 for a frame that it does not have."""
        known = {
            key: row
            for key, row in zip(
                zip(self.rows.track.tolist(), self.rows.frame_id.tolist(), strict=True),
                self.rows.rows.tolist(),
                strict=True,
            )
        }
        keys = zip(np.asarray(track).tolist(), np.asarray(frame_id).tolist(), strict=True)
        return np.array([known.get((str(t), int(f)), -1) for t, f in keys], np.int64)

    def crop(self, row: int, size: int) -> Any:
        """(size, size, 3) uint8 RGB crop of a row as a system sees it, or None where there is no image."""
        if self.frames is None:
            return None
        try:
            return self.frames.crop(row, size)
        except (HpsbenchError, OSError) as error:
            if not self.missing or not self.missing[-1].startswith("an image"):
                self.missing.append(f"an image cannot be shown: {error}")
            return None

    @property
    def has_mesh(self) -> bool:
        """Whether annotated bodies can be posed."""
        return self.bodies is not None and {"full_pose", "betas"} <= set(self.store.frames)

    def truth_vertices(self, rows: IntArray) -> FloatArray:
        """(n, V, 3) annotated bodies in camera coordinates, pelvis at the origin, metres."""
        parts = np.zeros((len(rows), 0, 3), np.float32)
        genders = self._genders(rows)
        for gender in np.unique(genders):
            own = genders == gender
            pose, betas = (
                np.asarray(self.store.frames[name].take(rows[own]), np.float32)
                for name in ("full_pose", "betas")
            )
            vertices = centred_vertices(self._body(str(gender)), pose, betas)
            if parts.shape[1] == 0:
                parts = np.zeros((len(rows), *vertices.shape[1:]), np.float32)
            parts[own] = vertices
        return parts

    def truth_joints(self, rows: IntArray) -> tuple[FloatArray, JointSet] | None:
        """(n, J, 3) annotated joints in camera coordinates, metres, and their set; None where there are none."""
        if "joints3d" not in self.store.frames:
            return None
        joints = np.asarray(self.store.frames["joints3d"].take(rows), np.float64)
        return joints, field_joint_set(self.store, "joints3d")

    def pred_vertices(self, predictions: Predictions, places: IntArray) -> FloatArray | None:
        """(n, V, 3) predicted bodies, pelvis at the origin, metres; None for predictions without a mesh."""
        arrays = predictions.arrays
        if "betas" in arrays and self.bodies is not None:
            pose = predictions.take("rotmat" if "rotmat" in arrays else "axis_angle", places)
            return centred_vertices(
                self.bodies.neutral, pose.astype(np.float32), predictions.take("betas", places)
            )
        if "vertices" in arrays:
            vertices = np.asarray(predictions.take("vertices", places), np.float32)
            return np.asarray(vertices - vertices.mean(axis=1, keepdims=True))
        return None

    def pred_joints(self, predictions: Predictions, places: IntArray) -> tuple[FloatArray, JointSet] | None:
        """(n, J, 3) predicted joints, metres, and their set; None where neither joints nor a body are there."""
        arrays = predictions.arrays
        if "betas" in arrays and self.bodies is not None:
            pose = predictions.take("rotmat" if "rotmat" in arrays else "axis_angle", places)
            posed = self.bodies.neutral.joints(pose.astype(np.float32), predictions.take("betas", places))
            return posed.cpu().numpy().astype(np.float64), get_joint_set("smpl24")
        if "joints3d" in arrays:
            joints = np.asarray(predictions.take("joints3d", places), np.float64)
            return joints, get_joint_set(str(predictions.attrs["joint_set"]))
        return None

    @cached_property
    def faces(self) -> IntArray:
        """(F, 3) triangles of the body."""
        return np.zeros((0, 3), np.int64) if self.bodies is None else np.asarray(self.bodies.neutral.faces)

    def _genders(self, rows: IntArray) -> Array:
        if self.rule.target.body not in ("smpl-gendered", "smpl-refit"):
            return np.full(len(rows), "neutral")
        clips = self.store.clips
        clip = np.searchsorted(clips["start"].to_numpy(), rows, side="right") - 1
        return np.array([g if g in ("male", "female") else "neutral" for g in clips["gender"].iloc[clip]])

    def _body(self, gender: str) -> BodyModel:
        if self.bodies is None:
            raise MissingBodyModel("no body model is at hand; ask has_mesh first")
        return self.bodies.by_gender(gender)


def centred_vertices(body: BodyModel, pose: Array, betas: Array) -> FloatArray:
    """(n, V, 3) vertices of posed bodies with the pelvis at the origin, metres."""
    vertices = body.vertices(pose, betas).cpu().numpy()
    pelvis = body.joints(pose, betas)[:, :1].cpu().numpy()
    return np.asarray(vertices - pelvis, np.float32)


def pelvis_of(joints: FloatArray, joint_set: JointSet) -> FloatArray:
    """(n, 3) of joints: the pelvis where the set has one, else the middle of the hips, else the mean."""
    for name in ("smpl_pelvis", "pelvis", "op_mid_hip"):
        if name in joint_set.meanings:
            return np.asarray(joints[:, joint_set.meanings.index(name)])
    for left, right in (("left_hip", "right_hip"), ("smpl_left_hip", "smpl_right_hip")):
        if left in joint_set.meanings and right in joint_set.meanings:
            return np.asarray(joint_set.midpoint(joints, left, right))
    return np.asarray(joints.mean(axis=1))


def open_scene(run: Run, root: Path | None) -> tuple[Scene | None, str | None]:
    """The scene behind a run, or why there is none.

    Args:
        run: a result.
        root: data root; where it has no such store, the folders above the run are searched.

    Returns:
        (scene, None) or (None, reason). A store that is not the one that was scored is not shown.
    """
    provenance = run.result.provenance.get("store") or {}
    dataset = str(provenance.get("dataset") or run.result.dataset)
    path = _find_store(run.folder, dataset, root)
    if path is None:
        return None, f"the store {dataset}.zarr is not at hand (give its data root with --root)"
    try:
        store = open_store(path)
        rule = choose_rule(get_protocol(run.result.protocol), store, run.result.dataset)
        differ = [k for k in _CHECKED if provenance.get(k) not in (None, store.attrs.get(k))]
        if differ:
            return None, f"{path.name} is not the store that was scored: {', '.join(differ)} differ"
        rows = select_rows(store, rule)
    except HpsbenchError as error:
        return None, str(error)
    scene = Scene(store=store, rule=rule, rows=rows, frames=None, bodies=None)
    own_root = path.parent.parent
    try:
        scene.frames = Frames(store, raw_folder(store, own_root), rule.view)
    except (HpsbenchError, KeyError) as error:
        scene.missing.append(f"no images: {error}")
    try:
        bodies = load_bodies(own_root, store.synthetic)
        bodies.require(genders=["neutral"])
        scene.bodies = bodies
    except HpsbenchError as error:
        scene.missing.append(f"no body model: {error}")
    return scene, None


def _find_store(folder: Path, dataset: str, root: Path | None) -> Path | None:
    for place in ([] if root is None else [root]) + list(folder.resolve().parents):
        path = place / "stores" / f"{dataset}.zarr"
        if path.is_dir():
            return path
    return None
