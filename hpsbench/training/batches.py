"""Windows of one prepared store as training batches: features in, targets of every frame beside them.

Features stay in the store's mapped file and are read window by window; targets of a frame are made once, in float32.
Keypoints are normalised by the recipe's crop rule on a copy, so that serving a window twice gives the same batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hpsbench.bodies.joints import convert_indices
from hpsbench.geometry.rotations import axis_angle_to_rotmat
from hpsbench.store.reader import ClipStore
from hpsbench.store.windows import windows
from hpsbench.training.config import TrainingRecipe
from hpsbench.types import Array, IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """B windows of T frames.

    Attributes:
        features: (B, T, D).
        rotmat: (B, T, 24, 3, 3) and betas (B, T, 10): the annotated SMPL parameters, camera coordinates.
        keypoints2d: (B, T, 49, 3) in the crop, [-1, 1], confidence 0 or 1; joint set `spin49`.
        has_smpl: (B, T) bool.
    """

    features: Tensor
    rotmat: Tensor
    betas: Tensor
    keypoints2d: Tensor
    has_smpl: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        return Batch(**{name: getattr(self, name).to(device) for name in self.__dataclass_fields__})


class TrainingWindows:
    """Every training window of one split of one store under one view.

    Args:
        store: a prepared clip store with SMPL parameters.
        recipe: names split, view, window length and stride, and the crop rule of the 2D targets.
        features: name of the feature set to read.

    Raises:
        MissingFeatures: the feature set is absent, or lacks rows that the windows need.
    """

    def __init__(self, store: ClipStore, recipe: TrainingRecipe, features: str) -> None:
        self.features = store.features[features]
        view = store.views[recipe.data.view]
        keep = np.asarray(view.keep[:])
        cut: list[IntArray] = []
        used: list[IntArray] = []
        for track in store.tracks(split=recipe.data.split):
            rows = track.rows[keep[track.rows]]
            used.append(rows)
            for window in windows(len(rows), length=recipe.windows.length, stride=recipe.windows.stride):
                cut.append(rows[window.first : window.last + 1])
        self.rows = np.unique(np.concatenate(used)) if used else np.empty(0, np.int64)
        store_rows = np.asarray(cut, dtype=np.int64).reshape(-1, recipe.windows.length)
        self.places = np.searchsorted(self.rows, store_rows)
        self.feature_places = self.features.positions(self.rows)
        self._read_targets(store, recipe)

    def _read_targets(self, store: ClipStore, recipe: TrainingRecipe) -> None:
        rows, data = self.rows, recipe.data
        has = (
            np.asarray(store.frames["has_smpl"][rows])
            if "has_smpl" in store.frames
            else np.ones(len(rows), bool)
        )
        # Frames without SMPL parameters hold NaN; a mask in the loss alone would let them through (0 x NaN).
        pose = np.where(has[:, None], store.frames["full_pose"][rows], 0.0).astype(np.float32)
        betas = np.where(has[:, None], store.frames["betas"][rows], 0.0).astype(np.float32)
        self.rotmat = torch.as_tensor(axis_angle_to_rotmat(pose.reshape(-1, 24, 3))).float()
        self.betas = torch.as_tensor(betas)
        self.has_smpl = torch.as_tensor(has)
        box = np.asarray(store.views[data.view].bbox_cxcywh[rows])
        keypoints = np.asarray(store.frames["keypoints2d"][rows])
        order = convert_indices(store.frames["keypoints2d"].attrs["joint_set"], "spin49")
        self.keypoints2d = torch.as_tensor(
            crop_keypoints(keypoints, box, order, data.crop_scale, data.min_confidence)
        )

    def __len__(self) -> int:
        return len(self.places)

    def batch(self, chosen: IntArray) -> Batch:
        """The windows of these numbers, in this order."""
        places = self.places[chosen]
        features = np.asarray(self.features.data.take(self.feature_places[places].ravel()), np.float32)
        at = torch.as_tensor(places)
        return Batch(
            features=torch.as_tensor(features).reshape(*places.shape, -1),
            rotmat=self.rotmat[at],
            betas=self.betas[at],
            keypoints2d=self.keypoints2d[at],
            has_smpl=self.has_smpl[at],
        )

    def epoch(self, *, batch: int, iterations: int, seed: int, epoch: int) -> Iterator[Batch]:
        """An epoch of so many steps: shuffled without replacement, starting over when all windows were seen.

        The order depends on seed and epoch alone, so a resumed run sees what an uninterrupted one would have seen.
        """
        rng = np.random.default_rng([seed, epoch])
        order: IntArray = np.empty(0, np.int64)
        for _ in range(iterations):
            while len(order) < min(batch, len(self)):
                order = np.concatenate([order, rng.permutation(len(self))])
            yield self.batch(order[:batch])
            order = order[batch:]


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
        (N, len(order), 3) float32: x, y in [-1, 1] over the crop, confidence 0 or 1. Coordinates of unseen joints are 0.

    Source: VIBE `lib/data_utils/img_utils.py` (`transfrom_keypoints`): x_norm = 2 (x - cx) / (scale side).
    """
    index = np.asarray(order)
    picked = np.where((index >= 0)[None, :, None], keypoints[:, np.maximum(index, 0)], 0.0)
    side = bbox_cxcywh[:, None, 2:4] * scale
    seen = picked[..., 2] > min_confidence
    with np.errstate(divide="ignore", invalid="ignore"):
        xy = 2.0 * (picked[..., :2] - bbox_cxcywh[:, None, :2]) / side
    xy = np.where(seen[..., None], xy, 0.0)
    return np.concatenate([xy, seen[..., None]], axis=-1).astype(np.float32)
