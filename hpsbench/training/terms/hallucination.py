"""Movie strips made of one frame alone against those of the window (HMMR)."""

from hpsbench.losses.forecast import feature_loss
from hpsbench.training.step import Part, Step, auxiliary


def term(step: Step) -> Part:
    """See `feature_loss`; the window's strip gets no gradient from it."""
    made = auxiliary(step, "hallucinated")
    return Part(feature_loss(made, auxiliary(step, "strip")), len(made))
