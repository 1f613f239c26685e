"""Motion prior: predicted motions whose latent vectors are large are unlikely ones.

Source: VIBE section 3.2, "Motion prior (MPoser)".
"""

from torch import Tensor


def latent_loss(latents: Tensor) -> Tensor:
    """Mean over windows and steps of the squared norm of the latent vectors (B, T, L)."""
    return latents.square().sum(dim=-1).mean()
