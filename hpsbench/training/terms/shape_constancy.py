"""Betas that change from frame to frame (HMMR)."""

from hpsbench.losses.params import shape_constancy_loss
from hpsbench.training.step import Part, Step, present


def term(step: Step) -> Part:
    """See `shape_constancy_loss`."""
    betas = present(step.output.betas, "betas")
    return Part(shape_constancy_loss(betas), len(betas))
