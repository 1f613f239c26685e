"""Predicted motions that the discriminator tells from captured ones; all windows take part, also those with 2D alone."""

from hpsbench.errors import UsageError
from hpsbench.losses.adversarial import generator_loss
from hpsbench.training.step import Part, Step


def term(step: Step) -> Part:
    """See `generator_loss`. The motion is the output's, or `aux["motion"]` where the system gives another."""
    if step.judge is None:
        raise UsageError("losses.adversarial needs a table [adversary] in the recipe")
    scores = step.judge.judge(step.output.aux.get("motion", step.output))
    return Part(generator_loss(scores), len(scores))
