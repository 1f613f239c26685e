"""Optical flow: joints that are carried back to the frame before land on the joints there.

Source: DTS-VIBE section 3.2 (flow loss of the refinement stage).
"""

import torch
from torch import Tensor
from torch.nn.functional import grid_sample


def flow_loss(points: Tensor, flow: Tensor, seen: Tensor) -> Tensor:
    """Squared distance between joints carried back by the flow and the predicted joints of the frame before.

    Args:
        points: (B, T, J, 2) predicted joints in the crop, [-1, 1]. Both frames get gradient; where the flow is read does not.
        flow: (B, T, 2, S, S) displacement (x, y) from each frame to the one before, in the same units, over the crop; that
            of frame 0 is not read. Read bilinearly, 0 outside the crop.
        seen: (B, T, J) bool, joints that take part.

    Returns:
        A scalar: mean over frames 1 to T - 1 and J joints, counting joints that take no part as 0.
    """
    batch, frames, joints, _ = points.shape
    here = points[:, 1:].detach().reshape(batch * (frames - 1), 1, joints, 2)
    fields = flow[:, 1:].reshape(batch * (frames - 1), 2, *flow.shape[-2:])
    read = grid_sample(fields, here, mode="bilinear", padding_mode="zeros", align_corners=False)
    carried = points[:, 1:] + read[:, :, 0].transpose(1, 2).reshape(batch, frames - 1, joints, 2)
    distance = (carried - points[:, :-1]).square().sum(dim=-1)
    return torch.where(seen[:, 1:], distance, torch.zeros_like(distance)).mean()
