"""Windows of one prepared store as training batches: features in, targets of every frame beside them.

Everything stays in the store's mapped files and is read window by window, so that memory does not grow with the data;
targets are float32. Keypoints are normalised by the recipe's crop rule on a copy, so that serving a window twice gives
the same batch. What a frame lacks is marked by its flag, and stands as zero behind it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hpsbench.bodies.joints import convert_indices
from hpsbench.errors import UsageError
from hpsbench.geometry.rotations import axis_angle_to_rotmat
from hpsbench.store.reader import ClipStore, FeatureSet, View
from hpsbench.store.windows import windows
from hpsbench.training.config import Source, TrainingRecipe
from hpsbench.types import Array, IntArray

Transform = Callable[[Array], Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """B windows of T frames.

    Attributes:
        features: (B, T, D).
        rotmat: (B, T, 24, 3, 3) and betas (B, T, 10): the annotated SMPL parameters, camera coordinates.
        keypoints2d: (B, T, 49, 3) in the crop, [-1, 1], confidence 0 or 1; joint set `spin49`.
        has_smpl: (B, T) bool.
        joints3d: (B, T, 14, 3) annotated LSP joints, metres, camera coordinates; None where no source has any.
        has_joints3d: (B, T) bool, frames with those.
        flow: (B, T, D') features of optical flow, where the system reads them.
        shifted: (B, T, D) the features one frame later, where a loss compares them.
        occluded: (B, T, D) features of crops in which joints were hidden, with `has_occluded` (B,).
        masks: (B, T, S, S) silhouettes in the crop, with `has_mask` (B, T).
        flow_field: (B, T, 2, S, S) optical flow to the frame before over the crop, [-1, 1], with `has_flow` (B, T).
    """

    features: Tensor
    rotmat: Tensor
    betas: Tensor
    keypoints2d: Tensor
    has_smpl: Tensor
    joints3d: Tensor | None = None
    has_joints3d: Tensor | None = None
    flow: Tensor | None = None
    shifted: Tensor | None = None
    occluded: Tensor | None = None
    has_occluded: Tensor | None = None
    masks: Tensor | None = None
    has_mask: Tensor | None = None
    flow_field: Tensor | None = None
    has_flow: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """What there is, by name."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in found.items() if value is not None}

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        return Batch(**{name: value.to(device) for name, value in self.tensors().items()})

    def part(self, rows: slice) -> "Batch":
        """Some of the windows."""
        return Batch(**{name: value[rows] for name, value in self.tensors().items()})


def join(batches: Sequence[Batch]) -> Batch:
    """Batches of several stores as one; all have the same fields."""
    if len(batches) == 1:
        return batches[0]
    parts = [batch.tensors() for batch in batches]
    return Batch(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a run's system and losses want of a batch beyond features, keypoints and SMPL parameters.

    Attributes:
        joints3d: annotated joints, where a source has them.
        flow: features of optical flow.
        shifted: the windows one frame later.
        occluded: features of occluded crops.
        masks, flow_field: arrays that lie beside the store.
    """

    joints3d: bool = False
    flow: bool = False
    shifted: bool = False
    occluded: bool = False
    masks: bool = False
    flow_field: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Further:
    """Where a source's further inputs and targets are.

    Attributes:
        wanted: which.
        flow: set of flow features.
        occluded: sets of features of occluded crops, one of which is drawn for each window.
        folder: with `masks.npy` (N, S, S) and `flow.npy` (N, 2, S, S), one row per row of the store.
        transform: what is done to features before a network sees them: (n, D) -> (n, D').
    """

    wanted: Wanted = Wanted()
    flow: FeatureSet | None = None
    occluded: tuple[FeatureSet, ...] = ()
    folder: Path | None = None
    transform: Transform | None = None


class TrainingWindows:
    """Every training window of one source: one split of one store under one view.

    Args:
        store: a prepared clip store.
        recipe: names split, view, window length and stride, and the crop rule of the 2D targets.
        features: name of the feature set to read.
        source: which of the recipe's sources; None: its only one.
        further: inputs and targets beyond the usual.
        limit: use the first so many tracks.

    Raises:
        MissingFeatures: the feature set is absent, or lacks rows that the windows need.
        UsageError: the view has no boxes to normalise keypoints with.
    """

    def __init__(
        self,
        store: ClipStore,
        recipe: TrainingRecipe,
        features: str,
        *,
        source: Source | None = None,
        further: Further | None = None,
        limit: int | None = None,
    ) -> None:
        self.source = source or recipe.all_sources()[0]
        self.further = further or Further()
        self.store, self.features = store, store.features[features]
        self.view: View = store.views[str(self.source.view)]
        self.length = recipe.windows.length
        self._cut(recipe, limit)
        self.feature_places = self.features.positions(self.rows)
        self._open_targets()

    def _cut(self, recipe: TrainingRecipe, limit: int | None) -> None:
        """Windows as the place of their first row among the kept rows, whose numbers are `rows`."""
        rule, stride = recipe.windows, self.source.stride or recipe.windows.stride
        keep, wanted = self.view.keep, self.length + int(self.further.wanted.shifted)
        starts: list[IntArray] = [np.empty(0, np.int64)]
        used: list[IntArray] = [np.empty(0, np.int64)]
        before = 0
        for number, track in enumerate(self.store.tracks(split=self.source.one_split())):
            if limit is not None and number >= limit:
                break
            rows = track.rows[keep[track.rows]]
            cut = windows(
                len(rows),
                length=wanted,
                stride=stride,
                predict=rule.predict,
                edges=rule.edges,
                match=rule.match,
            )
            starts.append(np.array([before + window.first for window in cut], np.int64))
            used.append(rows)
            before += len(rows)
        self.rows = np.concatenate(used)
        self.starts = np.concatenate(starts)

    @property
    def places(self) -> IntArray:
        """(W, T): for each window the places of its rows in `rows`."""
        return self.starts[:, None] + np.arange(self.length)

    def _open_targets(self) -> None:
        frames, source = self.store.frames, self.source
        self.has_pose = source.smpl and "full_pose" in frames and "betas" in frames
        self.keypoint_order = convert_indices(frames["keypoints2d"].attrs["joint_set"], "spin49")
        self.joint_order: list[int] | None = None
        if source.joints3d and "joints3d" in frames:
            order = convert_indices(frames["joints3d"].attrs["joint_set"], "lsp14")
            if min(order) >= 0 and frames["joints3d"].attrs.get("frame") == "camera":
                self.joint_order = order
        if not np.isfinite(self.view.bbox_cxcywh[self.rows[:1]]).all():
            raise UsageError(
                f"{self.store.location}: view {source.view!r} has no boxes to crop keypoints with"
            )
        self.masks, self.flow_fields = self._beside("masks"), self._beside("flow")

    def _beside(self, name: str) -> Array | None:
        folder = self.further.folder
        path = None if folder is None else folder / f"{name}.npy"
        if path is None or not path.is_file():
            return None
        found: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        if len(found) != len(self.store):
            raise UsageError(
                f"{path}: {len(found)} rows, and {self.store.location} has {len(self.store)}; one row per row of the store"
            )
        return found

    def __len__(self) -> int:
        return len(self.starts)

    def batch(self, chosen: IntArray, rng: np.random.Generator | None = None) -> Batch:
        """The windows of these numbers, in this order; `rng` draws which occluded copy is seen."""
        places = self.starts[chosen][:, None] + np.arange(self.length)
        rows = self.rows[places]
        return Batch(
            features=self._features(self.features, self.feature_places[places]),
            **self._parameters(rows),
            keypoints2d=self._keypoints(rows),
            **self._joints(rows),
            **self._further(places, rng),
        )

    def _features(self, found: FeatureSet, at: IntArray) -> Tensor:
        values = np.asarray(found.data.take(at.ravel()), np.float32)
        if self.further.transform is not None:
            values = self.further.transform(values)
        return torch.as_tensor(values).reshape(*at.shape, -1)

    def _parameters(self, rows: IntArray) -> dict[str, Tensor]:
        """SMPL parameters. Frames without them hold NaN in stores; a mask alone would let it through (0 x NaN)."""
        count = rows.size
        if not self.has_pose:
            has, pose, betas = np.zeros(count, bool), np.zeros((count, 72)), np.zeros((count, 10))
        else:
            frames, flat = self.store.frames, rows.ravel()
            has = np.asarray(frames["has_smpl"][flat]) if "has_smpl" in frames else np.ones(count, bool)
            has = has.astype(bool)
            pose = np.where(has[:, None], frames["full_pose"][flat], 0.0)
            betas = np.where(has[:, None], frames["betas"][flat], 0.0)
        rotmat = torch.as_tensor(axis_angle_to_rotmat(pose.astype(np.float32).reshape(-1, 24, 3))).float()
        return {
            "rotmat": rotmat.reshape(*rows.shape, 24, 3, 3),
            "betas": torch.as_tensor(betas.astype(np.float32)).reshape(*rows.shape, 10),
            "has_smpl": torch.as_tensor(has).reshape(rows.shape),
        }

    def _keypoints(self, rows: IntArray) -> Tensor:
        flat, source = rows.ravel(), self.source
        scale, least = source.crop_scale or 1.0, source.min_confidence or 0.0
        keypoints = np.asarray(self.store.frames["keypoints2d"][flat])
        made = crop_keypoints(keypoints, self.view.bbox_cxcywh[flat], self.keypoint_order, scale, least)
        return torch.as_tensor(made).reshape(*rows.shape, -1, 3)

    def _joints(self, rows: IntArray) -> dict[str, Tensor]:
        if not self.further.wanted.joints3d:
            return {}
        joints = np.zeros((rows.size, 14, 3), np.float32)
        has = np.zeros(rows.size, bool)
        if self.joint_order is not None:
            found = np.asarray(self.store.frames["joints3d"][rows.ravel()], np.float32)[:, self.joint_order]
            has = np.asarray(np.isfinite(found).all(axis=(1, 2)))
            joints = np.where(has[:, None, None], found, 0.0)
        shaped = torch.as_tensor(joints).reshape(*rows.shape, 14, 3)
        return {"joints3d": shaped, "has_joints3d": torch.as_tensor(has).reshape(rows.shape)}

    def _further(self, places: IntArray, rng: np.random.Generator | None) -> dict[str, Tensor]:
        wanted, rows, made = self.further.wanted, self.rows[places], dict[str, Tensor]()
        if wanted.flow and self.further.flow is not None:
            at = self.further.flow.positions(rows.ravel()).reshape(rows.shape)
            made["flow"] = torch.as_tensor(
                np.asarray(self.further.flow.data.take(at.ravel()), np.float32)
            ).reshape(*rows.shape, -1)
        if wanted.shifted:
            made["shifted"] = self._features(self.features, self.feature_places[places + 1])
        if wanted.occluded:
            made |= self._occluded(rows, rng or np.random.default_rng(0))
        for name, flag, values, tail in (
            ("masks", "has_mask", self.masks, (56, 56)),
            ("flow_field", "has_flow", self.flow_fields, (2, 56, 56)),
        ):
            if getattr(wanted, name):
                shape = tail if values is None else values.shape[1:]
                shown = np.zeros((*rows.shape, *shape)) if values is None else values[rows.ravel()]
                made[name] = torch.as_tensor(np.array(shown, np.float32)).reshape(*rows.shape, *shape)
                made[flag] = torch.full(rows.shape, values is not None)
        return made

    def _occluded(self, rows: IntArray, rng: np.random.Generator) -> dict[str, Tensor]:
        sets = self.further.occluded
        if not sets:
            nothing = torch.zeros(*rows.shape, self.features.dim)
            return {"occluded": nothing, "has_occluded": torch.zeros(len(rows), dtype=torch.bool)}
        drawn = rng.integers(len(sets), size=len(rows))
        found = [
            self._features(sets[number], sets[number].positions(window)[None])
            for number, window in zip(drawn, rows, strict=True)
        ]
        return {"occluded": torch.cat(found), "has_occluded": torch.ones(len(rows), dtype=torch.bool)}

    def epoch(self, *, batch: int, iterations: int, seed: int, epoch: int) -> Iterator[Batch]:
        """An epoch of so many steps: shuffled without replacement over all epochs, starting over when all windows were seen.

        The order depends on seed and epoch alone, so a resumed run sees what an uninterrupted one would have seen.
        """
        for chosen in draws(len(self), batch, iterations, seed=seed, epoch=epoch):
            yield self.batch(chosen)


def draws(
    count: int, batch: int, iterations: int, *, seed: int, epoch: int, stream: Sequence[int] = ()
) -> Iterator[IntArray]:
    """Numbers below `count`, `batch` at a time, without replacement until all were drawn; then they start over.

    An epoch goes on where the one before left off, as VIBE's loaders do: shuffled orders follow each other without end, each
    of its own seed, so that any epoch can be drawn without those before it.

    Args:
        count: at least 1.
        batch: at most `count` are drawn at a time.
        iterations: draws of an epoch, the same in all.
        seed: of the orders.
        epoch: which, from 0.
        stream: tells orders of one seed apart.
    """
    size = min(batch, count)
    order: IntArray
    turn, used = divmod(epoch * iterations * size, count)
    order = np.random.default_rng([seed, turn, *stream]).permutation(count)[used:]
    for _ in range(iterations):
        while len(order) < size:
            turn += 1
            order = np.concatenate([order, np.random.default_rng([seed, turn, *stream]).permutation(count)])
        yield order[:size]
        order = order[size:]


def crop_keypoints(
    keypoints: Array, bbox_cxcywh: Array, order: list[int], scale: float, min_confidence: float
) -> Array:
    """Keypoints of a dataset's set in pixels -> another set in the crop.

    Args:
        keypoints: (N, J, 3) pixels and confidence.
        bbox_cxcywh: (N, 4) pixels.
        order: for every joint of the wanted set its index in J, -1 where the dataset lacks it.
        scale: of the crop over the box.
        min_confidence: joints at or below it count as unseen.

    Returns:
        (N, len(order), 3) float32: x, y in [-1, 1] over the crop, confidence 0 or 1. Coordinates of unseen joints are 0;
        a joint that is not a number, or whose frame has no box, counts as unseen.

    Source: VIBE `lib/data_utils/img_utils.py` (`transfrom_keypoints`): x_norm = 2 (x - cx) / (scale side).
    """
    index = np.asarray(order)
    picked = np.where((index >= 0)[None, :, None], keypoints[:, np.maximum(index, 0)], 0.0)
    side = bbox_cxcywh[:, None, 2:4] * scale
    with np.errstate(divide="ignore", invalid="ignore"):
        xy = 2.0 * (picked[..., :2] - bbox_cxcywh[:, None, :2]) / side
    seen = (picked[..., 2] > min_confidence) & np.isfinite(xy).all(axis=-1)
    xy = np.where(seen[..., None], xy, 0.0)
    return np.concatenate([xy, seen[..., None]], axis=-1).astype(np.float32)
