"""Silhouettes: a soft one of a mesh by splatting its vertices, and its cross entropy against a mask.

SPS-Net renders with a differentiable renderer (section 3.4, equation 7). Here each vertex is spread over 3 x 3 pixels
by a quadratic B-spline, which is smooth in the vertex's place, and the density d becomes a silhouette 1 - exp(-d). On a
grid of 56 x 56 the 6,890 vertices of a body leave no holes.
"""

import torch
from torch import Tensor

SIDE = 56
FLOOR = 1e-6


def soft_silhouette(points: Tensor, side: int = SIDE) -> Tensor:
    """Silhouettes of projected vertices.

    Args:
        points: (N, V, 2) in the crop, [-1, 1]; x to the right, y down. Vertices outside the crop leave no trace.
        side: pixels along the crop's side.

    Returns:
        (N, side, side) in [0, 1), row is y.
    """
    place = (points + 1) * (side / 2) - 0.5
    nearest = place.detach().round()
    weights = _spline(place - nearest)
    density = points.new_zeros(points.shape[0], side * side)
    for row in range(3):
        for column in range(3):
            x, y = nearest[..., 0] + (column - 1), nearest[..., 1] + (row - 1)
            inside = (x >= 0) & (x < side) & (y >= 0) & (y < side)
            weight = torch.where(inside, weights[column][..., 0] * weights[row][..., 1], 0.0)
            at = torch.where(inside, y * side + x, 0.0).long()
            density = density.scatter_add(1, at, weight)
    return (1 - torch.exp(-density)).reshape(-1, side, side)


def _spline(offset: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weights of the pixel before, at and after the nearest one, by the offset from it in [-0.5, 0.5]."""
    return 0.5 * (0.5 - offset).square(), 0.75 - offset.square(), 0.5 * (0.5 + offset).square()


def mask_loss(silhouette: Tensor, mask: Tensor, has: Tensor) -> Tensor:
    """Cross entropy of the mask's pixels, the positive term only: people may be hidden, so nothing is said of the others.

    Args:
        silhouette: (N, S, S) in [0, 1].
        mask: (N, S, S) 0 or 1; whatever it is in frames without a mask.
        has: (N,) bool, frames with a mask. Without any such frame the loss is 0.

    Returns:
        A scalar: mean over the pixels of the frames with a mask; the silhouette is floored at 1e-6.
    """
    mask = torch.where(has[:, None, None], mask, 0.0)
    per_frame = -(mask * silhouette.clamp_min(FLOOR).log()).mean(dim=(1, 2))
    weight = has.to(per_frame.dtype)
    return (weight * per_frame).sum() / weight.sum().clamp_min(1.0)
