"""Forecast features against the frozen ones (SPS-Net)."""

from hpsbench.losses.forecast import feature_loss
from hpsbench.training.step import Part, Step, auxiliary


def term(step: Step) -> Part:
    """See `feature_loss`; frames 1 to T - 1, each forecast from the frame before."""
    made = auxiliary(step, "forecast")
    return Part(feature_loss(made, step.batch.features[:, 1:]), len(made))
