"""Temporal SMPLify: what bodies pay for missing 2D keypoints, for unlikely poses, and for moving in jumps.

All terms are sums over frames, as minimised. Keypoints and projected joints are pixels of a 224 crop.
Source: VIBE section 3.4 and supplement, `lib/smplify/losses.py`; Bogo et al., ECCV 2016 (SMPLify).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SIGMA = 100.0
DEPTH_WEIGHT = 100.0
PRIOR_WEIGHT, BENDING_WEIGHT, SHAPE_WEIGHT = 4.78, 15.2, 5.0
SMOOTH2D_WEIGHT, SMOOTH3D_WEIGHT = 0.01, 1.0
BENDING = ((52, 1.0), (55, -1.0), (9, -1.0), (12, -1.0))
"""Elbows and knees: place in the 69 body angles, and the sign of the unnatural direction."""


def robust(squared: Tensor, sigma: float = SIGMA) -> Tensor:
    """Geman-McClure: sigma^2 e^2 / (sigma^2 + e^2) of squared errors e^2."""
    return sigma**2 * squared / (sigma**2 + squared)


@dataclass(frozen=True, slots=True, eq=False)
class PoseMixture:
    """Gaussian mixture over the 69 body angles (SMPLify's prior, 8 components).

    Attributes:
        means: (M, 69) radians.
        precisions: (M, 69, 69).
        offsets: (M,) minus the logarithm of each component's weight over the square root of its determinant, the smallest
            determinant being 1 and the constant of a Gaussian included.
    """

    means: Tensor
    precisions: Tensor
    offsets: Tensor

    @classmethod
    def of(cls, means: Tensor, covariances: Tensor, weights: Tensor) -> "PoseMixture":
        """Of a mixture's means (M, D), covariances (M, D, D) and weights (M,)."""
        means, covariances, weights = (value.double() for value in (means, covariances, weights))
        half = 0.5 * torch.linalg.slogdet(covariances).logabsdet
        constant = 0.5 * means.shape[1] * torch.log(torch.tensor(2 * torch.pi, dtype=torch.float64))
        offsets = -(weights.log() - constant - (half - half.min()))
        return cls(means.float(), torch.linalg.inv(covariances).float(), offsets.float())

    def __call__(self, body_pose: Tensor) -> Tensor:
        """(N, 69) -> (N,): the smallest of the components' negative log-likelihoods."""
        away = body_pose[:, None] - self.means
        square = torch.einsum("nmi,mij,nmj->nm", away, self.precisions, away)
        return (0.5 * square + self.offsets).amin(dim=1)


def bending_loss(body_pose: Tensor) -> Tensor:
    """(N, 69) -> (N,): exp(signed angle)^2 of elbows and knees, which grows where they bend the wrong way."""
    places = [place for place, _ in BENDING]
    signs = body_pose.new_tensor([sign for _, sign in BENDING])
    return torch.exp(signs * body_pose[:, places]).square().sum(dim=1)


def camera_fitting_loss(projected: Tensor, keypoints: Tensor, depth: Tensor, start: Tensor) -> Tensor:
    """Stage 1: torso joints against keypoints, in frames where all of them are seen, and a depth near the start.

    Args:
        projected: (T, 4, 2) hips and shoulders.
        keypoints: (T, 4, 3) with confidence.
        depth: (T,) metres.
        start: (T,) depth at the start.
    """
    seen = (keypoints[..., 2] > 0).all(dim=1).to(projected.dtype)
    error = (projected - keypoints[..., :2]).square().sum(dim=(1, 2))
    return (seen * error + DEPTH_WEIGHT**2 * (depth - start).square()).sum()


def reprojection(projected: Tensor, keypoints: Tensor) -> Tensor:
    """(T, J, 2) and (T, J, 3) -> (T, J): confidence squared times the robust error, summed over x and y."""
    error = robust((projected - keypoints[..., :2]).square()).sum(dim=-1)
    return keypoints[..., 2].square() * error


def body_fitting_loss(
    projected: Tensor,
    joints: Tensor,
    keypoints: Tensor,
    body_pose: Tensor,
    betas: Tensor,
    prior: PoseMixture | None,
) -> Tensor:
    """Stage 2: keypoints, likely poses and shapes, and small steps from frame to frame.

    Args:
        projected: (T, J, 2).
        joints: (T, J, 3) metres.
        keypoints: (T, J, 3); confidence 0 where a joint takes no part.
        body_pose: (T, 69).
        betas: (T, 10).
        prior: of poses; None: without.

    Returns:
        A scalar. The confidence of a step is that of its later frame, as in the released code.
    """
    confidence = keypoints[1:, :, 2].square()
    steps2d = (projected[1:] - projected[:-1]).abs().sum(dim=-1)
    steps3d = (joints[1:] - joints[:-1]).abs().sum(dim=-1)
    total = reprojection(projected, keypoints).sum()
    total = total + BENDING_WEIGHT**2 * bending_loss(body_pose).sum() + SHAPE_WEIGHT**2 * betas.square().sum()
    total = total + SMOOTH2D_WEIGHT**2 * (confidence * steps2d).sum()
    total = total + SMOOTH3D_WEIGHT**2 * (confidence * steps3d).sum()
    if prior is not None:
        total = total + PRIOR_WEIGHT**2 * prior(body_pose).sum()
    return total
