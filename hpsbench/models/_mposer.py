"""MPoser: a prior of human motion, a sequential variational autoencoder of body poses.

Kocabas et al., CVPR 2020 (VIBE), section 3.2; never released. Printed: GRU encoder and decoder, a latent vector of 32
numbers per step, and its use: the discriminator is off and a norm of the latents is added to the loss. Readings: input
axis-angle without the root, both GRUs one-way with 2 layers of 512, two linear layers to mean and log-variance, output 6D
rotations, reconstruction measured on matrices; the prior is the squared norm (the print leaves open which) of the
encoder's mean, averaged over steps.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hpsbench.errors import ShapeError
from hpsbench.geometry.rotations import axis_angle_to_rotmat, rot6d_to_rotmat
from hpsbench.losses.motion_prior import latent_loss
from hpsbench.models._discriminators import NUM_BODY_JOINTS, NUM_BODY_POSE

LATENT = 32
KL_WEIGHT = 0.005


class Reconstruction(NamedTuple):
    """What the autoencoder makes of a motion.

    Attributes:
        rotmat: (B, T, 23, 3, 3) decoded rotations.
        mean, log_variance: (B, T, 32) of the latents.
    """

    rotmat: Tensor
    mean: Tensor
    log_variance: Tensor


class MPoser(nn.Module):
    """The motion prior. VIBE section 3.2, "Motion Prior (MPoser)"; comparison in Table 2.

    Args:
        latent: numbers per step.
        hidden_size: of both GRUs.
        n_layers: of both GRUs.
    """

    def __init__(self, latent: int = LATENT, hidden_size: int = 512, n_layers: int = 2) -> None:
        super().__init__()
        self.encoder = nn.GRU(NUM_BODY_POSE, hidden_size, num_layers=n_layers, batch_first=True)
        self.to_mean = nn.Linear(hidden_size, latent)
        self.to_log_variance = nn.Linear(hidden_size, latent)
        self.decoder = nn.GRU(latent, hidden_size, num_layers=n_layers, batch_first=True)
        self.to_rot6d = nn.Linear(hidden_size, NUM_BODY_JOINTS * 6)

    def encode(self, body_pose: Tensor) -> tuple[Tensor, Tensor]:
        """Motions (B, T, 69), axis-angle without the root -> mean and log-variance (B, T, 32).

        Raises:
            ShapeError: another shape.
        """
        if body_pose.ndim != 3 or body_pose.shape[2] != NUM_BODY_POSE:
            raise ShapeError(f"body_pose: expected (B, T, {NUM_BODY_POSE}), got {tuple(body_pose.shape)}")
        states: Tensor = self.encoder(body_pose)[0]
        return self.to_mean(states), self.to_log_variance(states)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, T, 32) -> rotations (B, T, 23, 3, 3)."""
        states: Tensor = self.decoder(latents)[0]
        rot6d: Tensor = self.to_rot6d(states)
        rotmat: Tensor = rot6d_to_rotmat(rot6d.reshape(*rot6d.shape[:-1], NUM_BODY_JOINTS, 6))
        return rotmat

    def forward(self, body_pose: Tensor) -> Reconstruction:
        """Motions (B, T, 69) -> their reconstruction, in training from latents drawn round the mean."""
        mean, log_variance = self.encode(body_pose)
        latents = mean
        if self.training:
            latents = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return Reconstruction(self.decode(latents), mean, log_variance)

    def prior(self, body_pose: Tensor) -> Tensor:
        """The regulariser of a predicted motion (B, T, 69): mean over steps of the squared norm of its latent, a scalar."""
        return latent_loss(self.encode(body_pose)[0])


def mposer_loss(body_pose: Tensor, found: Reconstruction) -> Tensor:
    """Loss of MPoser's own training: mean squared difference of matrices, and 0.005 x divergence per step.

    Args:
        body_pose: (B, T, 69) the motions.
        found: MPoser's output for them.
    """
    target = axis_angle_to_rotmat(body_pose.reshape(*body_pose.shape[:-1], NUM_BODY_JOINTS, 3))
    divergence = 0.5 * (found.mean.square() + found.log_variance.exp() - 1 - found.log_variance)
    loss: Tensor = (found.rotmat - target).square().mean() + KL_WEIGHT * divergence.sum(dim=-1).mean()
    return loss
