"""MPoser, trained on captured motions before the run that uses it. Kocabas et al. (VIBE), section 3.2."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from hpsbench.models._mposer import MPoser, mposer_loss
from hpsbench.safe_io import load_torch
from hpsbench.store.reader import ClipStore
from hpsbench.training.config import Prior
from hpsbench.training.mixture import MotionWindows, ahead

FILE = "mposer.pt"


def motion_prior(
    rule: Prior, store: ClipStore, length: int, root: Path, *, seed: int, progress: Any = None
) -> MPoser:
    """The motion prior of a recipe: found in `R/runs/mposer-<hash>`, or trained and put there. Its weights are fixed.

    Args:
        rule: the recipe's `[prior]`.
        store: of captured motions.
        length: frames of a window.
        root: data root.
        seed: of its weights and batches.
        progress: called as (steps done, steps in all, note).
    """
    key = json.dumps(
        [rule.model_dump(mode="json"), store.attrs["raw_manifest_sha256"], length, seed], sort_keys=True
    )
    folder = root / "runs" / f"mposer-{hashlib.sha256(key.encode()).hexdigest()[:10]}"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = MPoser(**rule.options)
        if (folder / FILE).is_file():
            network.load_state_dict(load_torch(folder / FILE))
        else:
            _train(network, rule, MotionWindows(store, rule.motions, length), seed, progress)
            folder.mkdir(parents=True, exist_ok=True)
            waiting = folder / f"{FILE}.part"
            torch.save(network.state_dict(), waiting)
            waiting.replace(folder / FILE)
            (folder / "prior.json").write_text(key + "\n", encoding="utf-8")
    # It stays in training mode, for cuDNN's recurrent layers allow no gradient otherwise; it has no dropout.
    return network.requires_grad_(False)


def _train(network: MPoser, rule: Prior, motions: MotionWindows, seed: int, progress: Any) -> None:
    optimiser = torch.optim.Adam(network.parameters(), lr=rule.lr)
    batches = motions.epoch(batch=rule.batch, iterations=rule.steps, seed=seed, epoch=0)
    for number, motion in enumerate(ahead(batches), 1):
        body_pose = motion.axis_angle[:, :, 1:].flatten(-2)
        loss = mposer_loss(body_pose, network(body_pose))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if progress is not None:
            progress(number, rule.steps, f"motion prior, loss {loss.item():.4f}")
