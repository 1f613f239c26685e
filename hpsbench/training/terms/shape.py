"""Betas against annotated ones, in frames that have SMPL parameters."""

from hpsbench.losses.params import shape_loss
from hpsbench.training.step import Part, Step, present


def term(step: Step) -> Part:
    """See `shape_loss`."""
    betas, has = present(step.output.betas, "betas").flatten(0, 1), step.wanted("has_smpl")
    return Part(shape_loss(betas, step.wanted("betas"), has), has.sum())
