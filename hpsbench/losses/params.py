"""Losses on SMPL parameters: rotations and shape.

Source: VIBE `lib/core/loss.py`, kept by TCMR and MPS-Net; HMMR's two terms on shape alone. Global rotation is included, the camera is not.
"""

import torch
from torch import Tensor


def pose_loss(pred: Tensor, target: Tensor, has: Tensor) -> Tensor:
    """Mean squared difference of rotation matrices over the frames that have SMPL parameters.

    Args:
        pred: (N, 24, 3, 3) rotation matrices.
        target: the same; may be NaN in other frames.
        has: (N,) bool. Without any such frame the loss is 0.

    Returns:
        A scalar; dimensionless.
    """
    return _mean_square(pred, target, has)


def shape_loss(pred: Tensor, target: Tensor, has: Tensor) -> Tensor:
    """Mean squared difference of betas (N, 10) over the frames that have SMPL parameters; `has` as in `pose_loss`."""
    return _mean_square(pred, target, has)


def shape_constancy_loss(betas: Tensor) -> Tensor:
    """Half the mean squared step of betas (B, T, 10) from frame to frame. HMMR section 3.2 (constant shape)."""
    return 0.5 * (betas[:, 1:] - betas[:, :-1]).square().mean()


def shape_prior_loss(betas: Tensor) -> Tensor:
    """Mean square of betas (..., 10). HMMR, `src/trainer.py` of human_dynamics."""
    return betas.square().mean()


def _mean_square(pred: Tensor, target: Tensor, has: Tensor) -> Tensor:
    each = has.reshape(-1, *[1] * (pred.ndim - 1))
    weight, target = each.to(pred.dtype), torch.where(each, target, 0.0)  # NaN x 0 would be NaN
    per_frame = pred[0].numel()
    return (weight * (pred - target) ** 2).sum() / (weight.sum() * per_frame).clamp_min(1.0)
