"""A discriminator in training: what it is shown, and its own step.

All its passes run before any step of either side. The generator's pass holds its weights fixed, so that no gradient of
them is computed that the next line would throw away; its own pass sees predicted and captured motions together.
Source: VIBE `lib/core/trainer.py`, `lib/core/loss.py`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hpsbench.geometry.rotations import axis_angle_to_rotmat
from hpsbench.losses.adversarial import captured_loss, predicted_loss
from hpsbench.models._discriminators import (
    AttentiveDiscriminator,
    MotionDiscriminator,
    PoseDiscriminator,
    body_pose_of,
    shape_and_pose_of,
)
from hpsbench.models._system import HPSOutput
from hpsbench.training.config import Adversary
from hpsbench.training.mixture import Motion
from hpsbench.training.step import Part, present


class _Kind(NamedTuple):
    """A discriminator's class, and what it is shown of an output and of captured motions."""

    make: Callable[..., nn.Module]
    predicted: Callable[[HPSOutput], Tensor]
    captured: Callable[[Motion], Tensor]


def _poses(output: HPSOutput) -> Tensor:
    return present(output.rotmat, "rotations")[:, :, 1:].flatten(0, 1)


def _captured_poses(motion: Motion) -> Tensor:
    rotmat: Tensor = axis_angle_to_rotmat(motion.axis_angle[:, :, 1:].flatten(0, 1))
    return rotmat


KINDS: Mapping[str, _Kind] = {
    "motion": _Kind(
        MotionDiscriminator, body_pose_of, lambda motion: motion.axis_angle[:, :, 1:].flatten(-2)
    ),
    "attentive": _Kind(
        AttentiveDiscriminator,
        shape_and_pose_of,
        lambda motion: torch.cat([motion.betas, motion.axis_angle.flatten(-2)], dim=-1),
    ),
    "pose": _Kind(PoseDiscriminator, _poses, _captured_poses),
}


class Opponent:
    """A discriminator and its optimiser.

    Args:
        rule: the recipe's `[adversary]`.
        weight: of its loss, the same as of the generator's share.
        device: where it computes.
    """

    def __init__(self, rule: Adversary, weight: float, device: torch.device) -> None:
        self.rule, self.weight, self._kind = rule, weight, KINDS[rule.network]
        self.network = self._kind.make(**rule.options).to(device)
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), lr=rule.lr, weight_decay=rule.weight_decay, fused=True
        )

    def judge(self, output: HPSOutput) -> Tensor:
        """Scores (B, S) of predicted motions, for the generator: the weights are fixed."""
        with _fixed(self.network):
            scores: Tensor = self.network(self._kind.predicted(output))
        return scores

    def parts(self, output: HPSOutput, real: Motion) -> dict[str, Part]:
        """The discriminator's own loss of predicted motions, cut off from the generator, and of captured ones."""
        fake = output.aux.get("motion", output)
        shown = self._kind.predicted(_cut_off(fake))
        captured = self._kind.captured(real)
        scores: Tensor = self.network(torch.cat([shown, captured]))
        made, given = scores[: len(shown)], scores[len(shown) :]
        noise = None
        if self.rule.label_noise:
            noise = self.rule.label_noise * torch.rand_like(given[:, :1])
        return {
            "discriminator_fake": Part(self.weight * predicted_loss(made), len(made)),
            "discriminator_real": Part(self.weight * captured_loss(given, noise), len(given)),
        }


def _cut_off(output: HPSOutput) -> HPSOutput:
    given: dict[str, Any] = {}
    for name in ("rotmat", "betas"):
        value = getattr(output, name)
        given[name] = None if value is None else value.detach()
    return HPSOutput(**given)


@contextmanager
def _fixed(network: nn.Module) -> Iterator[None]:
    trained = [p for p in network.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
