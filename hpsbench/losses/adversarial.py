"""Least-squares adversarial losses: scores of motions, near 1 for captured ones, near 0 for predicted ones.

Source: VIBE section 3.2, equations 2 and 3, `lib/core/loss.py`; SPS-Net section 3.4; HMMR's pose discriminator.
"""

from torch import Tensor


def generator_loss(fake: Tensor) -> Tensor:
    """What the generator pays for being told apart: mean over motions of (score - 1)^2.

    Args:
        fake: (B, S) scores of predicted motions; S scores of one motion are summed.
    """
    return (fake - 1).square().sum(dim=1).mean()


def predicted_loss(fake: Tensor) -> Tensor:
    """What the discriminator pays for predicted motions: mean of score^2.

    Args:
        fake: (B, S) scores of predicted motions, cut off from the generator.
    """
    return fake.square().sum(dim=1).mean()


def captured_loss(real: Tensor, noise: Tensor | None = None) -> Tensor:
    """What the discriminator pays for captured motions: mean of (score - label)^2.

    Args:
        real: (R, S) scores of captured motions.
        noise: (R, 1) how far their labels lie below 1; None: the labels are 1.
    """
    label = 1.0 if noise is None else 1.0 - noise
    return (real - label).square().sum(dim=1).mean()
