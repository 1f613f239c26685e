"""Losses on joints: 2D keypoints in the crop, and 3D joints after root alignment.

Source: VIBE `lib/core/loss.py` (kept by TCMR and MPS-Net), described in the papers' equation of the same name.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def keypoints2d_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Squared 2D distance weighted by confidence.

    Args:
        pred: (N, J, 2) projected joints in the crop, [-1, 1].
        target: (N, J, 3) keypoints in the crop, [-1, 1], and confidence. Coordinates without confidence may be NaN.

    Returns:
        A scalar: the mean over N x J x 2. As in the released code the mean counts joints of zero confidence,
        so a set with fewer annotated joints weighs less.
    """
    confidence, wanted = _seen(target)
    return (confidence * (pred - wanted) ** 2).mean()


def keypoints2d_distance_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Absolute 2D differences weighted by confidence; arguments as for `keypoints2d_loss`.

    HMR and HMMR (section 3.2), `src/ops.py` of human_dynamics: the mean counts joints with confidence alone, unlike VIBE's.
    """
    confidence, wanted = _seen(target)
    seen = torch.count_nonzero(confidence).clamp_min(1)
    return (confidence * (pred - wanted).abs()).sum() / (2 * seen)


def joints3d_loss(pred: Tensor, target: Tensor, has: Tensor, root: Sequence[int]) -> Tensor:
    """Squared 3D distance after both sides have lost the mean of their root joints; no confidence.

    Args:
        pred: (N, J, 3) metres.
        target: the same joint set; may be NaN in frames without annotation.
        has: (N,) bool, frames with 3D annotation. Without any such frame the loss is 0.
        root: indices of the joints whose mean is the root (VIBE: both hips of the LSP set).

    Returns:
        A scalar in square metres.
    """
    target = torch.where(has[:, None, None], target, 0.0)
    pred = pred - pred[:, list(root)].mean(dim=1, keepdim=True)
    target = target - target[:, list(root)].mean(dim=1, keepdim=True)
    weight = has.to(pred.dtype)[:, None, None]
    return (weight * (pred - target) ** 2).sum() / (weight.sum() * pred[0].numel()).clamp_min(1.0)


def _seen(target: Tensor) -> tuple[Tensor, Tensor]:
    """Confidence (N, J, 1) and coordinates (N, J, 2) of keypoints, those without confidence 0: NaN x 0 would be NaN."""
    confidence = target[..., 2:]
    return confidence, torch.where(confidence > 0, target[..., :2], 0.0)
