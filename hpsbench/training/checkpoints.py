"""Save and resume a training run: weights, optimisers, schedules, random states, and where it stands."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from hpsbench.errors import ResumeMismatch
from hpsbench.safe_io import load_torch
from hpsbench.training.processes import gathered

STATE_FILE = "state.pt"


@dataclass(slots=True)
class TrainingState:
    """Where a run stands.

    Attributes:
        epoch: finished epochs.
        step: finished steps.
        within: finished steps of the epoch that is running.
        sums: of the loss parts over those.
        best: best validation (mm).
        history: one line per epoch.
        finished: the run has ended; nothing but this is left of its state.
    """

    epoch: int = 0
    step: int = 0
    within: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    best: float = float("inf")
    history: list[dict[str, Any]] = field(default_factory=list)
    finished: bool = False


def save_state(folder: Path, state: TrainingState, parts: Mapping[str, Any], *, first: bool = True) -> None:
    """Write `state.pt` under a temporary name and rename it, so that a kill leaves the old one or the new one.

    Args:
        folder: of the run.
        state: where it stands.
        parts: whatever has a `state_dict`, by name.
        first: whether this process writes; all must call, for each has its own random state.
    """
    random = gathered((torch.get_rng_state(), _device_random()))
    if not first:
        return
    document = {
        "state": asdict(state),
        "parts": {name: part.state_dict() for name, part in parts.items()},
        "random": [host for host, _ in random],
        "device_random": [device for _, device in random],
    }
    _write(folder, document)


def close_state(folder: Path, state: TrainingState) -> None:
    """Keep of a finished run where it stands alone: weights of optimisers and discriminators are several times the system's."""
    state.finished = True
    _write(folder, {"state": asdict(state)})


def _write(folder: Path, document: Mapping[str, Any]) -> None:
    waiting = folder / f"{STATE_FILE}.part"
    torch.save(document, waiting)
    waiting.replace(folder / STATE_FILE)


def load_state(
    folder: Path, parts: Mapping[str, Any], *, rank: int = 0, world: int = 1
) -> TrainingState | None:
    """Put a saved run back into its objects; None where there is nothing to resume. Nothing is put back of a finished run.

    Raises:
        ResumeMismatch: the run was saved by another number of processes, or by another version of the loop.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        return None
    document = load_torch(path)
    state = TrainingState(**document["state"])
    if state.finished:
        return state
    if set(document.get("parts", {})) != set(parts):
        raise ResumeMismatch(
            f"{path}: was saved by another version of hpsbench; remove {folder} to start again"
        )
    if len(document["random"]) != world:
        raise ResumeMismatch(
            f"{path}: was saved by {len(document['random'])} processes and is resumed by {world}; use --devices "
            f"{len(document['random'])}, or remove {folder} to start again"
        )
    for name, part in parts.items():
        part.load_state_dict(document["parts"][name])
    torch.set_rng_state(document["random"][rank])
    if document["device_random"][rank] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(document["device_random"][rank])
    return state


def _device_random() -> torch.Tensor | None:
    return torch.cuda.get_rng_state() if torch.cuda.is_available() else None
