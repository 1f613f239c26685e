"""Save and resume a training run: weights, optimiser, schedule, random state, and where it stands."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hpsbench.safe_io import load_torch

STATE_FILE = "state.pt"


@dataclass(slots=True)
class TrainingState:
    """Where a run stands: finished epochs, finished steps, best validation PA-MPJPE (mm), one line per epoch."""

    epoch: int = 0
    step: int = 0
    best: float = float("inf")
    history: list[dict[str, Any]] = field(default_factory=list)


def save_state(folder: Path, state: TrainingState, model: nn.Module, optimiser: Any, scheduler: Any) -> None:
    """Write `state.pt` under a temporary name and rename it, so that a kill leaves the old one or the new one."""
    document = {
        "state": asdict(state),
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "scheduler": scheduler.state_dict(),
        "random": torch.get_rng_state(),
    }
    waiting = folder / f"{STATE_FILE}.part"
    torch.save(document, waiting)
    waiting.replace(folder / STATE_FILE)


def load_state(folder: Path, model: nn.Module, optimiser: Any, scheduler: Any) -> TrainingState | None:
    """Put a saved run back into its objects; None where there is nothing to resume."""
    path = folder / STATE_FILE
    if not path.is_file():
        return None
    document = load_torch(path)
    model.load_state_dict(document["model"])
    optimiser.load_state_dict(document["optimiser"])
    scheduler.load_state_dict(document["scheduler"])
    torch.set_rng_state(document["random"])
    return TrainingState(**document["state"])
