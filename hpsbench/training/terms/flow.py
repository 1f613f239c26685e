"""Joints carried back by optical flow against the joints of the frame before (DTS-VIBE's refinement)."""

import torch

from hpsbench.geometry.cameras import project_crop
from hpsbench.losses.flow import flow_loss
from hpsbench.training.step import Part, Step, present


def term(step: Step) -> Part:
    """See `flow_loss`; windows that have a flow field take part, joints with a keypoint."""
    has = present(step.batch.has_flow, "flow fields").all(dim=1)
    camera = present(step.output.camera, "a camera")
    points = project_crop(step.joints(step.output), camera.flatten(0, 1)).unflatten(0, camera.shape[:2])
    seen = step.batch.keypoints2d[..., 2] > 0
    if not bool(has.any()):
        return Part(0.0 * points.sum(), 0)
    field = present(step.batch.flow_field, "flow fields")
    return Part(flow_loss(points[has], field[has], seen[has]), torch.count_nonzero(has))
