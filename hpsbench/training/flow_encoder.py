"""Train the embedded encoder's flow twin: the same network on optical flow, for DTS-VIBE's second stream on synthetic data.

From the flow between two crops of one person the network tells how each joint moved in the crop.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

from hpsbench import __version__
from hpsbench.errors import FeatureMismatch, MissingData, UsageError
from hpsbench.features.backbones import file_sha256
from hpsbench.features.embedded import DIM, SIZE, EmbeddedEncoder
from hpsbench.features.flow import METHODS, REFERENCE_SIDE, TWIN, planes_of_pairs
from hpsbench.features.frames import Frames
from hpsbench.geometry.cameras import project
from hpsbench.recipes.access import find_raw
from hpsbench.recipes.catalog import get_recipe
from hpsbench.store.reader import ClipStore, open_store
from hpsbench.training.config import parse_set, training_document
from hpsbench.types import FloatArray, IntArray

NAME = "flow-encoder"
UNIT = 0.05
"""Of the motions that the network tells, in halves of the crop's side: about the mean motion of a joint."""
Progress = Callable[[int, int, str], None]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FlowData(_Table):
    """Which pairs of frames."""

    dataset: str
    view: str
    split: str
    validation: str
    method: str
    pairs: int = Field(ge=1)
    held_out: int = Field(ge=1)


class FlowOptimiser(_Table):
    """AdamW with warm-up and a cosine to zero."""

    lr: float = Field(gt=0)
    weight_decay: float = 0.0
    warm_up: int = Field(default=0, ge=0)


class FlowSchedule(_Table):
    """How long."""

    epochs: int = Field(ge=1)
    batch: int = Field(ge=2)
    seed: int = 0


class FlowRecipe(_Table):
    """`recipes/training/flow-encoder.toml`, checked."""

    name: str
    title: str
    source: str
    system: str
    readings: tuple[str, ...] = ()
    data: FlowData
    optimiser: FlowOptimiser
    schedule: FlowSchedule


def get_flow_recipe(sets: tuple[str, ...] = (), extra: Path | None = None) -> FlowRecipe:
    """The shipped recipe with `table.key=value` texts as typed on the command line.

    Raises:
        UsageError: a key that the recipe lacks, a value of the wrong type, or an unknown flow method.
    """
    document: dict[str, Any] = {**training_document(NAME, extra)}
    for dotted, value in map(parse_set, sets):
        table, _, key = dotted.partition(".")
        document[table] = {**document.get(table, {}), key: value} if key else value
    try:
        recipe = FlowRecipe.model_validate(document)
    except ValidationError as problem:
        lines = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in problem.errors())
        raise UsageError(f"training recipe {NAME!r}: {lines}") from None
    if recipe.data.method not in METHODS:
        raise UsageError(
            f"training recipe {NAME!r}: data.method={recipe.data.method!r} is not one of {', '.join(METHODS)}"
        )
    return recipe


@dataclass(frozen=True)
class _Pairs:
    """Flow planes (n, 3, 112, 112) float16, and how each joint moved (n, J, 2), in halves of the crop's side."""

    planes: Tensor
    motion: Tensor

    def __len__(self) -> int:
        return len(self.planes)


class Trainee(nn.Module):
    """The encoder and the head that is thrown away."""

    def __init__(self, joints: int) -> None:
        super().__init__()
        self.encoder = EmbeddedEncoder()
        self.head = nn.Linear(DIM, 2 * joints)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, planes: Tensor) -> Tensor:
        """Flow planes (B, 3, 112, 112) -> motion (B, J, 2), in units of `UNIT` halves of the crop's side."""
        motion: Tensor = self.head(self.encoder(planes))
        return motion.reshape(len(planes), -1, 2)


def train_flow_encoder(
    recipe: FlowRecipe, root: Path, *, threads: int = 2, progress: Progress | None = None
) -> dict[str, Any]:
    """Train the twin on a synthetic store and write its weights and card to `R/checkpoints`.

    Args:
        recipe: from `get_flow_recipe`.
        root: data root, with the store and its raw images.
        threads: of the CPU.
        progress: called as (steps done, steps, note).

    Returns: the card, with the held-out error in pixels of a 224 crop and that of saying that nothing moves.

    Raises:
        FeatureMismatch: the store is real data.
        MissingData: a split has no two frames of one clip.
    """
    store = open_store(root / "stores" / f"{recipe.data.dataset}.zarr")
    if not store.synthetic:
        raise FeatureMismatch(
            f"{store.location} is real data; the flow twin is for synthetic data. For real data put torchvision's ResNet-50 "
            f"into {root / 'checkpoints'}"
        )
    data, before = recipe.data, torch.get_num_threads()
    raw = find_raw(get_recipe(store.dataset), root).path
    torch.set_num_threads(threads)
    try:
        train = _read(store, raw, recipe, data.split, data.pairs)
        held_out = _read(store, raw, recipe, data.validation, data.held_out)
        encoder, history = _fit(recipe, train, held_out, progress)
    finally:
        torch.set_num_threads(before)
    path = root / TWIN
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting = path.with_name(f"{path.name}.part")
    save_file({name: value.contiguous() for name, value in encoder.items()}, waiting)
    waiting.replace(path)
    best = min(history, key=lambda line: float(line["held_out_px"]))
    card = {
        "title": recipe.title,
        "synthetic": True,
        "recipe": recipe.model_dump(exclude={"title", "readings"}),
        "pairs": {"train": len(train), "held_out": len(held_out)},
        "held_out_px": best["held_out_px"],
        "no_motion_px": _mean_px(held_out.motion),
        "history": history,
        "store": {key: store.attrs[key] for key in ("dataset", "raw_manifest_sha256")},
        "sha256": file_sha256(path),
        "hpsbench": __version__,
    }
    path.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return {**card, "checkpoint": str(path)}


def _read(store: ClipStore, raw: Path, recipe: FlowRecipe, split: str, most: int) -> _Pairs:
    """Flow planes and motions of a split's pairs, spread evenly over it."""
    frames = Frames(store, raw, recipe.data.view)
    keep = store.views[recipe.data.view].keep
    rows = np.concatenate([track.rows[keep[track.rows]] for track in store.tracks(split)])
    pairs = [(int(row), earlier) for row in rows if (earlier := frames.earlier(int(row))) is not None]
    if not pairs:
        raise MissingData(
            f"{store.location}: split {split!r} has no two frames of one clip in the view {recipe.data.view!r}"
        )
    chosen: IntArray = np.asarray(pairs)[np.linspace(0, len(pairs) - 1, min(most, len(pairs))).astype(int)]
    now, before = (_in_crop(store, recipe.data.view, frames.crop_scale, side) for side in chosen.T)
    motion = now - before
    usable = np.isfinite(motion).all(axis=(1, 2))
    planes = [
        planes_of_pairs(frames.pair(int(row), SIZE)[None], recipe.data.method)[0].astype(np.float16)
        for row in chosen[usable, 0]
    ]
    return _Pairs(torch.from_numpy(np.stack(planes)), torch.from_numpy(motion[usable]).float())


def _in_crop(store: ClipStore, view: str, scale: float, rows: IntArray) -> FloatArray:
    """(n, J, 2) where the joints of rows lie in their crops, in halves of the crop's side."""
    order = np.unique(rows)
    joints = np.asarray(store.frames["joints3d"][order], np.float64)
    pixels = np.asarray(project(joints, np.asarray(store.frames["intrinsics"][order], np.float64)))
    box = np.asarray(store.views[view].bbox_cxcywh[order])[:, None]
    places: FloatArray = (pixels - box[..., :2]) / (scale * box[..., 2:3] / 2)
    return places[np.searchsorted(order, rows)]


def _fit(
    recipe: FlowRecipe, train: _Pairs, held_out: _Pairs, progress: Progress | None
) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """The loop: the encoder of the best epoch on the held-out pairs, and one line per epoch."""
    schedule, chosen = recipe.schedule, recipe.optimiser
    torch.manual_seed(schedule.seed)
    model = Trainee(train.motion.shape[1])
    optimiser = torch.optim.AdamW(model.parameters(), lr=chosen.lr, weight_decay=chosen.weight_decay)
    per_epoch = max(1, len(train) // schedule.batch)
    total = schedule.epochs * per_epoch
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min(1.0, (step + 1) / (chosen.warm_up + 1)) * 0.5 * (1 + np.cos(np.pi * step / total)),
    )
    history: list[dict[str, Any]] = []
    best: dict[str, Tensor] = {}
    begun = time.monotonic()
    for epoch in range(schedule.epochs):
        model.train()
        for step, places in enumerate(_batches(len(train), schedule.batch, [schedule.seed, epoch])):
            said = model(train.planes[places].float())
            loss = _distance(said, train.motion[places] / UNIT)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            rate.step()
            if progress:
                progress(epoch * per_epoch + step + 1, total, f"loss {loss.item():.3f}")
        line = {
            "epoch": epoch,
            "held_out_px": _held_out(model, held_out),
            "seconds": time.monotonic() - begun,
        }
        history.append({key: round(value, 3) for key, value in line.items()})
        if history[-1]["held_out_px"] == min(entry["held_out_px"] for entry in history):
            best = {name: value.detach().clone() for name, value in model.encoder.state_dict().items()}
    return best, history


def _batches(count: int, batch: int, seed: list[int]) -> Iterator[IntArray]:
    order: IntArray = np.random.default_rng(seed).permutation(count)
    for first in range(0, max(count - batch, 0) + 1, batch):
        yield order[first : first + batch]


def _distance(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().sum(-1).add(1e-8).sqrt().mean()


@torch.no_grad()
def _held_out(model: Trainee, pairs: _Pairs) -> float:
    """Mean error of a joint's motion, pixels of a 224 crop."""
    model.eval()
    said = torch.cat([model(part.float()) for part in torch.split(pairs.planes, 64)]) * UNIT
    return _mean_px(said - pairs.motion)


def _mean_px(motion: Tensor) -> float:
    return float(torch.linalg.vector_norm(motion, dim=-1).mean()) * REFERENCE_SIDE / 2
