"""Large latents of the predicted motion under MPoser (VIBE's alternative to the discriminator)."""

from hpsbench.errors import UsageError
from hpsbench.losses.motion_prior import latent_loss
from hpsbench.models._discriminators import body_pose_of
from hpsbench.training.step import Part, Step


def term(step: Step) -> Part:
    """See `latent_loss`."""
    if step.prior is None:
        raise UsageError("losses.motion_prior needs a table [prior] in the recipe")
    latents, _ = step.prior.encode(body_pose_of(step.output))
    return Part(latent_loss(latents), len(latents))
