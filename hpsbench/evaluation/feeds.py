"""What a system is given of a store: features, optical-flow features, crops, 2D keypoints, another system's predictions."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from hpsbench.bodies.joints import convert_indices
from hpsbench.bodies.smpl import load_bodies
from hpsbench.corruption._catalog import get_corruption
from hpsbench.errors import FeatureMismatch, MissingData, MissingFeatures, MissingPrediction, UsageError
from hpsbench.evaluation.inputs import ChosenFeatures, choose_features
from hpsbench.evaluation.needs import root_of
from hpsbench.evaluation.rows import StoreRows, field_joint_set
from hpsbench.features.corrupted import corrupted_crop
from hpsbench.features.flow import KIND
from hpsbench.features.frames import Frames
from hpsbench.features.images import DECODER
from hpsbench.geometry.rotations import axis_angle_to_rotmat
from hpsbench.models._catalog import EMBEDDED, find_checkpoint, load_system
from hpsbench.models._system import System
from hpsbench.predictions.files import load_predictions
from hpsbench.predictions.predictions import TAILS, Predictions
from hpsbench.protocols.protocol import Rule
from hpsbench.recipes.access import find_raw
from hpsbench.recipes.catalog import get_recipe
from hpsbench.store.reader import ClipStore, FeatureSet
from hpsbench.types import Array, ClipInput, FloatArray, IntArray, Prediction

PREDICTION_FILES = (".zarr", ".npz", ".parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a user hands over besides system and store.

    Attributes:
        features: name of a feature set; for a system that reads images, of a corrupted set whose hit frames it gets
            corrupted as well.
        flow: name of a set of flow features.
        predictions: of another system, or that system; None: the one that the system names, loaded by its name.
        root: data root; None: the folder above the store's `stores/`.
        raw: folder of the raw dataset, for images; None: found under the root.
    """

    features: str | None = None
    flow: str | None = None
    predictions: Predictions | System | None = None
    root: str | Path | None = None
    raw: str | Path | None = None


def load_source(
    what: str | Path, *, root: Path | None = None, trust_code: bool = False
) -> Predictions | System:
    """Another system's predictions as a user names them: a file of predictions, or a system as for `load_system`.

    Raises:
        BadData, MissingCheckpoint, UnsafeFile: as for `load_predictions` and `load_system`.
    """
    path = Path(what)
    if path.suffix in PREDICTION_FILES and path.exists():
        return load_predictions(path)
    return load_system(what, root=root, trust_code=trust_code)


class Feeds:
    """Makes the `ClipInput` of each stretch of frames, with what the system's `inputs` ask for and nothing else.

    Args:
        system: whose inputs are asked for.
        store: where they come from.
        rule: of the protocol; says the view and the windows.
        given: what the user named.

    Raises:
        MissingFeatures, FeatureMismatch: no set of features or flow features that fits.
        MissingData, MissingRawFiles: no 2D keypoints, or no raw images.
        MissingCheckpoint: the other system cannot be loaded.
        UsageError: the other system is this system.
    """

    def __init__(self, system: System, store: ClipStore, rule: Rule, given: Given) -> None:
        self._store, self._rule, self._given = store, rule, given
        self._inputs = inputs = system.inputs
        self._chosen = choose_features(store, rule, inputs, given.features)
        self._keypoints: list[int] | None = None
        self._flow: FeatureSet | None = None
        self._other: Feeds | None = None
        if inputs.predictions is not None:
            self._join(system)
        if inputs.flow is not None:
            self._flow = _choose_flow(store, rule.view, inputs.flow, given.flow, self.chosen)
        elif given.flow is not None:
            raise UsageError(f"system {system.name!r} reads no flow features, and {given.flow!r} is named")
        if inputs.keypoints2d is not None:
            self._keypoints = _keypoint_order(store, inputs.keypoints2d)
        self._frames = self._open_images() if inputs.images is not None else None

    @property
    def chosen(self) -> ChosenFeatures | None:
        """The feature set behind the predictions: the system's own, or that of the system whose predictions it reads."""
        if self._chosen is not None or self._other is None:
            return self._chosen
        return self._other.chosen

    @property
    def condition(self) -> str | None:
        """Name of the corruption behind what the system reads; None for clean data."""
        if self.chosen is not None:
            return self.chosen.condition
        found = self._read_attrs.get("condition")
        return None if found is None else str(found)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds behind what the system reads."""
        if self.chosen is not None:
            return self.chosen.seeds
        return tuple(int(seed) for seed in self._read_attrs.get("seeds", ()))

    @property
    def flags(self) -> tuple[str, ...]:
        """Remarks that what the system reads calls for."""
        if self.chosen is not None:
            return self.chosen.flags
        return tuple(str(flag) for flag in self._read_attrs.get("flags", ()))

    @property
    def _read_attrs(self) -> Mapping[str, Any]:
        """Attributes of the predictions that are read from a file; empty where there is none."""
        source = self._source if self._inputs.predictions is not None else None
        return source.attrs if isinstance(source, Predictions) else {}

    def clip_input(self, rows: StoreRows, places: IntArray) -> ClipInput:
        """The input for one stretch.

        Args:
            rows: of the protocol.
            places: (T,) which of them, in time order.

        Raises:
            MissingFeatures, MissingRawFiles, MissingPrediction: something is not there for these frames.
        """
        own = rows.rows[places]
        boxes = np.asarray(self._store.views[self._rule.view].bbox_cxcywh[own])
        clip = ClipInput(
            track=str(rows.track[places[0]]),
            length=len(places),
            frame_id=rows.frame_id[places],
            bbox_cxcywh=boxes,
            features=self._features(own),
            flow=None if self._flow is None else self._flow.of(own),
            images=None if self._frames is None else partial(self._crops, own),
            keypoints2d=self._points(own),
            windows=self._rule.windows,
            fps=self._rule.fps or rows.fps,
        )
        if self._inputs.predictions is None:
            return clip
        return replace(clip, predictions=self._others(rows, places))

    def provenance(self) -> dict[str, Any]:
        """What further inputs were made of, as plain JSON values; empty for a system that reads features alone."""
        made: dict[str, Any] = {}
        if self._flow is not None:
            keys = ("extractor", "weights_sha256", "crop_scale", "flow")
            made["flow"] = {"features": self._flow.name, **{key: self._flow.attrs.get(key) for key in keys}}
        if self._frames is not None:
            made["images"] = {
                "size": self._inputs.images,
                "crop_scale": self._frames.crop_scale,
                "decoder": DECODER,
            }
        if self._keypoints is not None:
            made["keypoints2d"] = self._inputs.keypoints2d
        if self._inputs.predictions is not None:
            made["predictions"] = self._about_other()
        return {"inputs": made} if made else {}

    def _features(self, rows: IntArray) -> FloatArray | None:
        if self._inputs.features is None or self._chosen is None:
            return None
        return self._chosen.features.of(rows)

    # 2D keypoints

    def _points(self, rows: IntArray) -> FloatArray | None:
        """(T, J, 3) in the set that the system reads; joints that the store lacks have confidence 0."""
        if self._keypoints is None:
            return None
        stored = np.asarray(self._store.frames["keypoints2d"][rows])
        order = np.asarray(self._keypoints)
        found = np.zeros((len(rows), len(order), 3), stored.dtype)
        found[:, order >= 0] = stored[:, order[order >= 0]]
        return found

    # images

    def _open_images(self) -> Frames:
        raw = self._given.raw
        folder = find_raw(get_recipe(self._store.dataset), self._root).path if raw is None else Path(raw)
        frames = Frames(self._store, folder, self._rule.view)
        frames.crop_scale = self._inputs.crop_scale or frames.crop_scale
        return frames

    def _crops(self, rows: IntArray, wanted: IntArray) -> Array:
        """(n, S, S, 3) uint8 crops of some rows of a clip."""
        size = self._inputs.images or 0
        found = np.zeros((len(wanted), size, size, 3), np.uint8)
        if self._frames is not None:
            for slot, row in enumerate(rows[np.asarray(wanted)].tolist()):
                found[slot] = self._crop(self._frames, row, size)
        return found

    def _crop(self, frames: Frames, row: int, size: int) -> Array:
        """The crop of one row; of a row that the chosen set's corruption hit, the corrupted one."""
        if self._hits is None or row not in self._hits:
            return np.asarray(frames.crop(row, size))
        record, corruption = self._corruption, get_corruption(str(self._corruption["mode"]))
        what = np.array([record["hits"][name][self._hits[row]] for name in corruption.columns])
        return corrupted_crop(frames, corruption, row, what, size, record["fill"])

    @property
    def _corruption(self) -> Mapping[str, Any]:
        record: Mapping[str, Any] | None = None
        if self._chosen is not None:
            record = self._chosen.features.attrs.get("corruption")
        return record or {}

    @cached_property
    def _hits(self) -> dict[int, int] | None:
        """Corrupted row -> its place in the manifest; None for a clean set."""
        if not self._corruption:
            return None
        return {row: place for place, row in enumerate(self._corruption["hits"]["row"])}

    # another system's predictions

    def _join(self, system: System) -> None:
        """Find the other system and what it reads; give this one a body model if it wants one."""
        given = self._given
        source = given.predictions
        if source is None:
            source = load_system(
                _other_name(self._store, str(system.inputs.predictions), self._root), root=self._root
            )
        if not isinstance(source, Predictions):
            if source is system:
                raise UsageError(f"system {system.name!r} reads predictions of another system, not its own")
            inner = replace(given, predictions=None, flow=None)
            self._other = Feeds(source, self._store, self._rule, inner)
        self._source: Predictions | System = source
        if getattr(system, "joints_of", False) is None:
            system.joints_of = _Lsp14(self._store, self._root)  # type: ignore[attr-defined]

    def _others(self, rows: StoreRows, places: IntArray) -> Prediction:
        if self._other is not None and not isinstance(self._source, Predictions):
            return self._source.predict(self._other.clip_input(rows, places))
        table = self._source
        if not isinstance(table, Predictions):
            raise UsageError("predictions of another system are neither a table nor a system")
        found = table.locate(rows.track[places], rows.frame_id[places], rows.rows[places])
        there = np.flatnonzero(found >= 0)
        if len(there) == 0:
            raise MissingPrediction(
                f"track {rows.track[places[0]]}: the other system's predictions have none of its {len(places)} frames; "
                "predict them under the same protocol"
            )
        fields: dict[str, Any] = {
            name: table.take(name, found[there]) for name in TAILS if name in table.arrays
        }
        if "axis_angle" in fields:
            turns = fields.pop("axis_angle").reshape(-1, 24, 3)
            fields["rotmat"] = np.asarray(axis_angle_to_rotmat(turns), np.float32)
        return Prediction(rows=there, joint_set=table.attrs.get("joint_set"), **fields)

    def _about_other(self) -> dict[str, Any]:
        if isinstance(self._source, Predictions):
            keys = ("system", "checkpoint_sha256", "features", "protocol")
            return {key: self._source.attrs.get(key) for key in keys}
        other = self._other.chosen if self._other is not None else None
        return {
            "system": self._source.name,
            "checkpoint_sha256": getattr(self._source, "checkpoint_sha256", None),
            "features": None if other is None else other.features.name,
        }

    @cached_property
    def _root(self) -> Path:
        return Path(self._given.root) if self._given.root is not None else root_of(self._store)


class _Lsp14:
    """LSP joints of bodies, by the store's neutral body model, which is read when it is first needed."""

    def __init__(self, store: ClipStore, root: Path) -> None:
        self._synthetic, self._where = store.synthetic, root
        self._order = convert_indices("h36m17_regressor", "lsp14")

    @cached_property
    def _body(self) -> Any:
        bodies = load_bodies(self._where, self._synthetic)
        bodies.require(genders=["neutral"], regressors=["h36m17"])
        return bodies.neutral

    def __call__(self, rotmat: Tensor, betas: Tensor) -> Tensor:
        """Rotations (N, 24, 3, 3) and betas (N, 10) -> (N, 14, 3) metres."""
        joints: Tensor = self._body.joints(rotmat, betas, via="h36m17")[:, self._order]
        return joints.float()


def _other_name(store: ClipStore, name: str, root: Path) -> str:
    """The checkpoint of the system that is read; on synthetic data the embedded one where there is none of its own."""
    stand_in = EMBEDDED.get(name)
    if stand_in is not None and store.synthetic and find_checkpoint(name, root) is None:
        return stand_in
    return name


def _keypoint_order(store: ClipStore, joint_set: str) -> list[int]:
    if "keypoints2d" not in store.frames:
        raise MissingData(f"{store.location}: the system reads 2D keypoints, and {store.dataset} has none")
    order = convert_indices(field_joint_set(store, "keypoints2d"), joint_set)
    if max(order) < 0:
        raise MissingData(f"{store.location}: none of the joints of {joint_set} is among its 2D keypoints")
    return order


def _choose_flow(
    store: ClipStore, view: str, width: int, named: str | None, chosen: ChosenFeatures | None
) -> FeatureSet:
    """The set of flow features: the named one, or the only one of the view and of the features' condition.

    Raises:
        MissingFeatures: there is none, or several.
        FeatureMismatch: another width.
    """
    condition = None if chosen is None else chosen.condition
    if named is None:
        fitting = [
            name
            for name, found in store.features.items()
            if found.attrs.get("kind") == KIND
            and found.attrs.get("view") == view
            and (name.partition("+")[2] or None) == condition
        ]
        if len(fitting) != 1:
            what = f"several sets of flow features ({', '.join(fitting)})" if fitting else "no flow features"
            under = f" under {condition}" if condition else ""
            raise MissingFeatures(
                f"{store.location}: {what} of the view {view!r}{under}; run 'hpsbench extract {store.dataset} --view {view} "
                "--features flow-dis', or name a set (--flow)"
            )
        named = fitting[0]
    found = store.features[named]
    if found.attrs.get("kind") != KIND or found.dim != width:
        raise FeatureMismatch(
            f"{store.location}: the system reads flow features of width {width}; {named!r} is {found.dim} wide and "
            f"{'of optical flow' if found.attrs.get('kind') == KIND else 'not of optical flow'}"
        )
    return found
