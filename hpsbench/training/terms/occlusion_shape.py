"""Betas of windows whose joints were hidden against those of the clean windows (SPS-Net); the clean side gets no gradient."""

from hpsbench.losses.params import shape_loss
from hpsbench.training.step import Part, Step, auxiliary, present


def term(step: Step) -> Part:
    """See `shape_loss`; windows that have features of occluded crops take part."""
    has = present(step.batch.has_occluded, "features of occluded crops")
    clean = present(step.output.betas, "betas").detach().flatten(0, 1)
    hidden = present(auxiliary(step, "occluded").betas, "betas").flatten(0, 1)
    each = has[:, None].expand(step.batch.has_smpl.shape).flatten()
    return Part(shape_loss(hidden, clean, each), has.sum())
