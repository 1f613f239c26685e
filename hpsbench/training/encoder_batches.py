"""Batches of the encoder's training: windows of cached crops, mirrored by chance, with what they show."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpsbench.bodies.joints import SMPL24
from hpsbench.features.embedded import SIZE
from hpsbench.geometry.rotations import axis_angle_to_rotmat
from hpsbench.training.encoder_crops import Crops
from hpsbench.types import IntArray


@dataclass(frozen=True)
class Batch:
    """Crops and what they show.

    Attributes:
        images: (B, 112, 112, 3) uint8 RGB.
        rotmat: (B, 24, 3, 3) camera coordinates.
        betas: (B, 10).
        keypoints2d: (B, 24, 2) SMPL joints in the crop, [-1, 1].
    """

    images: Tensor
    rotmat: Tensor
    betas: Tensor
    keypoints2d: Tensor


def epoch_batches(crops: Crops, batch: int, seed: int, epoch: int) -> Iterator[Batch]:
    """One pass in random order, each crop at a random place and mirrored by chance; a last partial batch is left out.

    What is drawn depends on (seed, epoch) alone.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(crops))
    spare = crops.side - SIZE
    for start in range(0, len(order) - batch + 1, batch):
        rows = order[start : start + batch]
        corners = rng.integers(0, spare + 1, (batch, 2))
        yield take(crops, rows, corners, rng.random(batch) < 0.5)


def held_out_batches(crops: Crops, batch: int) -> Iterator[Batch]:
    """All crops in order, cut from the middle, not mirrored."""
    spare = crops.side - SIZE
    for start in range(0, len(crops), batch):
        rows = np.arange(start, min(start + batch, len(crops)))
        yield take(crops, rows, np.full((len(rows), 2), spare // 2), np.zeros(len(rows), bool))


def take(crops: Crops, rows: IntArray, corners: IntArray, mirrored: NDArray[np.bool_]) -> Batch:
    """Cut windows (left, top = `corners`) of 112 px from cached crops, mirror some, and move the targets along."""
    images = np.empty((len(rows), SIZE, SIZE, 3), np.uint8)
    for i, (row, (left, top), mirror) in enumerate(zip(rows, corners, mirrored, strict=True)):
        window = crops.image(int(row))[top : top + SIZE, left : left + SIZE]
        images[i] = window[:, ::-1] if mirror else window
    keypoints = (crops.keypoints2d[rows] - corners[:, None]) * (2 / SIZE) - 1
    pose = crops.full_pose[rows].reshape(-1, 24, 3)
    swap = list(SMPL24.flip)
    keypoints = np.where(mirrored[:, None, None], keypoints[:, swap] * [-1, 1] - [2 / SIZE, 0], keypoints)
    pose = np.where(mirrored[:, None, None], pose[:, swap] * [1, -1, -1], pose)
    return Batch(
        images=torch.from_numpy(images),
        rotmat=axis_angle_to_rotmat(torch.from_numpy(pose.astype(np.float32))),
        betas=torch.from_numpy(crops.betas[rows].astype(np.float32)),
        keypoints2d=torch.from_numpy(keypoints.astype(np.float32)),
    )


def jitter_colours(images: Tensor, generator: torch.Generator) -> Tensor:
    """(B, S, S, 3) uint8 -> the same with brightness, contrast and white balance changed for each crop."""
    count = len(images)

    def spread(size: int, width: float) -> Tensor:
        return (torch.rand((count, 1, 1, size), generator=generator) * 2 - 1) * width

    x = images.float()
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = (x - mean) * (1 + spread(1, 0.25)) + mean
    return (x * (1 + spread(1, 0.2) + spread(3, 0.08)) + spread(1, 16.0)).clamp_(0, 255)
