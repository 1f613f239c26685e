"""Divergence with confidence: a prediction's error counts as much as the network vouches for it.

Source: Zhang et al. (confidence-aware temporal feature aggregation) section III.D, equations 5 to 8.
"""

import torch
from torch import Tensor


def confidence_loss(error: Tensor, log_variance: Tensor, valid: Tensor) -> Tensor:
    """E / exp(s) + s: twice the negative log-likelihood of a Gaussian of variance exp(s), without its constant.

    Args:
        error: (B, T, D) weighted squared error of the prediction of each frame from each of D distances; may be NaN where
            not valid.
        log_variance: (B, T, D) s.
        valid: (B, T, D) bool, pairs that take part.

    Returns:
        A scalar: sum over D of the mean over the valid pairs of each. A distance without valid pairs adds 0.
    """
    weight, error = valid.to(error.dtype), torch.where(valid, error, 0.0)  # NaN x 0 would be NaN
    paid = weight * (error * (-log_variance).exp() + log_variance)
    return (paid.sum(dim=(0, 1)) / weight.sum(dim=(0, 1)).clamp_min(1.0)).sum()
