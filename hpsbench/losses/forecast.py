"""Losses on features: a forecast or a hallucination of a feature against the feature itself.

Sources: SPS-Net section 3.3, equation 3; HMMR section 3.4 (hallucinated movie strip).
"""

from torch import Tensor


def feature_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared difference of features of equal shape; `wanted` gets no gradient."""
    return (made - wanted.detach()).square().mean()
