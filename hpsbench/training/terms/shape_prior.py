"""Large betas (HMMR)."""

from hpsbench.losses.params import shape_prior_loss
from hpsbench.training.step import Part, Step, present


def term(step: Step) -> Part:
    """See `shape_prior_loss`."""
    betas = present(step.output.betas, "betas")
    return Part(shape_prior_loss(betas), len(betas))
