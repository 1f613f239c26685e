"""What a network's weights are before the first step, and what its dropout layers do."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hpsbench.bodies.joints import convert_indices
from hpsbench.bodies.smpl import Bodies
from hpsbench.errors import CheckpointMismatch, MissingCheckpoint, UsageError
from hpsbench.features import embedded
from hpsbench.features.backbones import SPIN_CHECKPOINT
from hpsbench.models._catalog import EMBEDDED, find_checkpoint, load_system
from hpsbench.models._checkpoints import load_regressor
from hpsbench.models._regressor import IterativeRegressor
from hpsbench.models.lstm_kalman import measurements
from hpsbench.training.batches import Transform
from hpsbench.types import Array


def start_regressor(system: Any, extractor: str, root: Path) -> None:
    """Start a system's regressors from the weights that came with the image encoder, as VIBE starts from SPIN's.

    Raises:
        UsageError: the system has no such regressor, or the extractor came without one.
        MissingCheckpoint, CheckpointMismatch: as for `load_regressor`.
    """
    regressors = [
        network
        for network in (getattr(system, name, None) for name in ("regressor", "generator"))
        if isinstance(network, IterativeRegressor)
    ]
    if not regressors:
        raise UsageError(f"{type(system).__name__} has no regressor to start from the extractor's")
    known = {"spin": root / SPIN_CHECKPOINT, embedded.NAME: embedded.REGRESSOR}
    if extractor not in known:
        raise UsageError(
            f"extractor {extractor!r} came without a regressor (known: {', '.join(known)}); "
            "use --set init.regressor=random"
        )
    for regressor in regressors:
        load_regressor(regressor, known[extractor])


def start_from_checkpoint(system: nn.Module, name: str | Path, root: Path) -> None:
    """Start from the weights of a checkpoint: a file, or a name under `R/checkpoints`.

    Raises:
        MissingCheckpoint: there is none; the message says where it was looked for.
        CheckpointMismatch: weights of another network.
    """
    path = find_checkpoint(name, root)
    if path is None:
        raise MissingCheckpoint(
            f"nothing to start from: no checkpoint {str(name)!r}, here or under {root / 'checkpoints'}, and no training "
            "recipe of that name; change init.checkpoint"
        )
    loaded = load_system(path, root=root)
    try:
        system.load_state_dict(loaded.state_dict())  # type: ignore[attr-defined]
    except (RuntimeError, AttributeError) as problem:
        raise CheckpointMismatch(
            f"{path}: does not fit {type(system).__name__} of this recipe: {problem}"
        ) from None


def set_dropout(system: nn.Module, rate: float | None) -> None:
    """Give every dropout layer a rate; None leaves them."""
    if rate is None:
        return
    for layer in system.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = rate
        elif isinstance(layer, nn.GRU | nn.LSTM | nn.MultiheadAttention) and layer.dropout:
            layer.dropout = rate


def joints_of_features(root: Path, bodies: Bodies) -> Transform:
    """For a system that reads another's joints: features (n, D) -> what the frame-based system makes of them, (n, 42).

    Raises:
        MissingCheckpoint: the frame-based system is not there.
    """
    name = EMBEDDED["spin"] if bodies.synthetic else "spin"
    frame_based: Any = load_system(name, root=root)
    order = convert_indices("h36m17_regressor", "lsp14")

    @torch.no_grad()
    def transform(features: Array) -> Array:
        output = frame_based(torch.as_tensor(features)[None])
        body = bodies.neutral
        rotmat, betas = (value[0].to(body.device) for value in (output.rotmat, output.betas))
        joints = body.joints(rotmat, betas, via="h36m17")[:, order]
        return np.asarray(measurements(joints).cpu().numpy())

    return transform
