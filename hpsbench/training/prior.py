"""Networks of motions, trained on captured motions before the run that uses them: MPoser, and MEVA's motion decoder.

Each lies in `R/runs/<network>-<hash>/`, and later runs with the same rule, motions, length and seed find it there.
Sources: Kocabas et al. (VIBE), section 3.2; MEVA `meva/lib/vae_recs.py`.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hpsbench.geometry.rotations import axis_angle_to_rotmat
from hpsbench.models._mposer import MPoser, mposer_loss
from hpsbench.models.meva import MotionVae
from hpsbench.safe_io import load_torch
from hpsbench.store.reader import ClipStore
from hpsbench.training.config import Prior
from hpsbench.training.mixture import Motion, MotionWindows, ahead

WEIGHTS = "weights.pt"
ROOT_WEIGHT, DIVERGENCE_WEIGHT = 20.0, 0.1
"""Of the root's squared error and of the divergence in the training of MEVA's motion VAE."""

Loss = Callable[[Motion], Tensor]


def motion_prior(
    rule: Prior, store: ClipStore, length: int, root: Path, *, seed: int, progress: Any = None
) -> MPoser:
    """MPoser of a recipe, found or trained. Its weights are fixed.

    Args:
        rule: the recipe's `[prior]`.
        store: of captured motions.
        length: frames of a window.
        root: data root.
        seed: of its weights and batches.
        progress: called as (steps done, steps in all, note).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = MPoser(**rule.options)

        def loss(motion: Motion) -> Tensor:
            body_pose = motion.axis_angle[:, :, 1:].flatten(-2)
            return mposer_loss(body_pose, network(body_pose))

        _fitted(
            "mposer", network, loss, rule, MotionWindows(store, rule.motions, length), root, seed, progress
        )
    # It stays in training mode, for cuDNN's recurrent layers allow no gradient otherwise; it has no dropout.
    return network.requires_grad_(False)


def motion_decoder(
    network: MotionVae,
    rule: Prior,
    store: ClipStore,
    length: int,
    root: Path,
    *,
    seed: int,
    progress: Any = None,
) -> None:
    """Give MEVA's motion VAE its weights, found or trained, and fix them; arguments as for `motion_prior`."""

    def loss(motion: Motion) -> Tensor:
        return vae_loss(columns(motion.axis_angle), *network(columns(motion.axis_angle)))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network.requires_grad_(True)
        motions = MotionWindows(store, rule.motions, length)
        _fitted("motion-vae", network, loss, rule, motions, root, seed, progress)
        network.requires_grad_(False)


def columns(axis_angle: Tensor) -> Tensor:
    """Axis-angle (B, T, 24, 3) -> MEVA's 6D form (B, T, 144): first column, then second, of each rotation."""
    rotmat = axis_angle_to_rotmat(axis_angle)
    return torch.cat([rotmat[..., 0], rotmat[..., 1]], dim=-1).flatten(-2)


def vae_loss(poses: Tensor, made: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Squared error of poses (B, T, 144) and, once more with weight 20, of the root; divergence with weight 0.1.

    All three are sums over a motion's frames and numbers, averaged over motions, as in MEVA `meva/lib/loss_funcs.py`: were the
    errors means over frames and numbers, the divergence would outweigh them ten thousandfold and the latents say nothing.
    """
    away = (made - poses).square()
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=-1)
    error = away.sum(dim=(1, 2)) + ROOT_WEIGHT * away[..., :6].sum(dim=(1, 2))
    return (error + DIVERGENCE_WEIGHT * divergence).mean()


def _fitted(
    name: str,
    network: nn.Module,
    loss: Loss,
    rule: Prior,
    motions: MotionWindows,
    root: Path,
    seed: int,
    progress: Any,
) -> None:
    """Load a network's weights from where an earlier run left them, or train them and leave them there."""
    shapes = {key: list(value.shape) for key, value in network.state_dict().items()}
    manifest = motions.store.attrs["raw_manifest_sha256"]
    key = json.dumps([rule.model_dump(mode="json"), manifest, motions.length, seed, shapes], sort_keys=True)
    folder = root / "runs" / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:10]}"
    if (folder / WEIGHTS).is_file():
        network.load_state_dict(load_torch(folder / WEIGHTS))
        return
    optimiser = torch.optim.Adam(network.parameters(), lr=rule.lr)
    batches = motions.epoch(batch=rule.batch, iterations=rule.steps, seed=seed, epoch=0)
    for number, motion in enumerate(ahead(batches), 1):
        found = loss(motion)
        optimiser.zero_grad()
        found.backward()  # type: ignore[no-untyped-call]
        if rule.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(network.parameters(), rule.clip_norm)
        optimiser.step()
        if progress is not None:
            progress(number, rule.steps, f"{name}, loss {found.item():.4f}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rule.json").write_text(key + "\n", encoding="utf-8")
    waiting = folder / f"{WEIGHTS}.part"
    torch.save(network.state_dict(), waiting)
    waiting.replace(folder / WEIGHTS)
