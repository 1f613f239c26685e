"""Projected joints against 2D keypoints by absolute differences, as HMR and HMMR; seen joints take part."""

import torch

from hpsbench.geometry.cameras import project_crop
from hpsbench.losses.joints import keypoints2d_distance_loss
from hpsbench.training.step import Part, Step, present


def term(step: Step) -> Part:
    """See `keypoints2d_distance_loss`."""
    camera = present(step.output.camera, "a camera").flatten(0, 1)
    projected = project_crop(step.joints(step.output), camera)
    wanted = step.wanted("keypoints2d")
    return Part(keypoints2d_distance_loss(projected, wanted), torch.count_nonzero(wanted[..., 2]))
