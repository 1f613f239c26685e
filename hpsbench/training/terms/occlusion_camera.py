"""Cameras of windows whose joints were hidden against those of the clean windows (SPS-Net); the clean side is fixed."""

from hpsbench.losses.params import shape_loss as mean_square
from hpsbench.training.step import Part, Step, auxiliary, present


def term(step: Step) -> Part:
    """Mean squared difference over the windows that have features of occluded crops."""
    has = present(step.batch.has_occluded, "features of occluded crops")
    clean = present(step.output.camera, "a camera").detach().flatten(0, 1)
    hidden = present(auxiliary(step, "occluded").camera, "a camera").flatten(0, 1)
    each = has[:, None].expand(step.batch.has_smpl.shape).flatten()
    return Part(mean_square(hidden, clean, each), has.sum())
