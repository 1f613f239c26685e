"""Train the embedded encoder together with the SPIN-layout regressor behind it, on synthetic renders.

Two steps: `encoder_crops.render_crops` fills a cache of crops with worker processes; then the loop below runs over it
on the CPU. What comes out (two safetensors files and a card) is what lies in `hpsbench/features/`.
"""

import json
import math
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

from hpsbench import __version__
from hpsbench.bodies.files import MEAN_PARAMS_FILE, body_folder
from hpsbench.bodies.joints import LSP14, SMPL24, convert_indices, get_joint_set
from hpsbench.bodies.mean_params import MeanParams, load_mean_params
from hpsbench.bodies.smpl import BodyModel, load_bodies
from hpsbench.errors import UsageError
from hpsbench.features.backbones import file_sha256
from hpsbench.features.embedded import CARD, DIM, REGRESSOR, SIZE, WEIGHTS, EmbeddedEncoder
from hpsbench.features.images import normalise
from hpsbench.geometry.alignment import root_align, similarity_align
from hpsbench.geometry.rotations import axis_angle_to_rotmat, rot6d_to_rotmat
from hpsbench.geometry.units import M_TO_MM
from hpsbench.models._regressor import BodyState, IterativeRegressor
from hpsbench.synth.body import write_body_models
from hpsbench.training.config import parse_set, training_document
from hpsbench.training.encoder_crops import PARTS, Crops, CropSettings, render_crops

Progress = Callable[[int, int, str], None]
EVALUATED = "h36m17"
EVALUATED_SET = get_joint_set("h36m17_regressor")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EncoderLosses(_Table):
    """Weights of the loss terms."""

    pose: float
    joints3d: float
    keypoints2d: float
    shape: float
    guide3d: float
    guide2d: float


class EncoderOptimiser(_Table):
    """AdamW with warm-up and a cosine to zero."""

    lr: float = Field(gt=0)
    regressor_lr: float = Field(gt=0)
    weight_decay: float = 0.0
    warm_up: int = Field(default=0, ge=0)


class EncoderSchedule(_Table):
    """How long."""

    epochs: int = Field(ge=1)
    batch: int = Field(ge=2)
    seed: int = 0


class EncoderRecipe(_Table):
    """`recipes/training/encoder.toml`, checked."""

    name: str
    title: str
    source: str
    system: str
    readings: tuple[str, ...] = ()
    crops: CropSettings
    losses: EncoderLosses
    optimiser: EncoderOptimiser
    schedule: EncoderSchedule
    max_steps: int | None = Field(default=None, ge=1)
    """Stop after so many steps, and render no more crops than they need; for trying."""
    threads: int = Field(default=2, ge=1)
    workers: int = Field(default=2, ge=1)


def get_encoder_recipe(
    sets: tuple[str, ...] = (), overrides: Mapping[str, Any] | None = None, extra: Path | None = None
) -> EncoderRecipe:
    """The shipped recipe with dotted overrides, and `key=value` texts as typed on the command line.

    Raises:
        UsageError: a key that the recipe lacks, or a value of the wrong type; the message names it.
    """
    document: dict[str, Any] = {**training_document("encoder", extra)}
    for dotted, value in {**(overrides or {}), **dict(map(parse_set, sets))}.items():
        *tables, key = dotted.split(".")
        place = document
        for table in tables:
            place[table] = {**place.get(table, {})}
            place = place[table]
        place[key] = value
    try:
        return EncoderRecipe.model_validate(document)
    except ValidationError as problem:
        lines = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in problem.errors())
        raise UsageError(f"training recipe 'encoder': {lines}") from None


@dataclass(frozen=True)
class Batch:
    """Crops and what they show.

    Attributes:
        images: (B, 112, 112, 3) uint8 RGB.
        rotmat: (B, 24, 3, 3) camera coordinates.
        betas: (B, 10).
        keypoints2d: (B, 24, 2) SMPL joints in the crop, [-1, 1].
    """

    images: Tensor
    rotmat: Tensor
    betas: Tensor
    keypoints2d: Tensor


def epoch_batches(crops: Crops, batch: int, seed: int, epoch: int) -> Iterator[Batch]:
    """One pass in random order, each crop at a random place and mirrored by chance; a last partial batch is left out.

    What is drawn depends on (seed, epoch) alone.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(crops))
    spare = crops.side - SIZE
    for start in range(0, len(order) - batch + 1, batch):
        rows = order[start : start + batch]
        corners = rng.integers(0, spare + 1, (batch, 2))
        yield take(crops, rows, corners, rng.random(batch) < 0.5)


def held_out_batches(crops: Crops, batch: int) -> Iterator[Batch]:
    """All crops in order, cut from the middle, not mirrored."""
    spare = crops.side - SIZE
    for start in range(0, len(crops), batch):
        rows = np.arange(start, min(start + batch, len(crops)))
        yield take(crops, rows, np.full((len(rows), 2), spare // 2), np.zeros(len(rows), bool))


def take(crops: Crops, rows: np.ndarray, corners: np.ndarray, mirrored: np.ndarray) -> Batch:
    """Cut windows (left, top = `corners`) of 112 px from cached crops, mirror some, and move the targets along."""
    images = np.empty((len(rows), SIZE, SIZE, 3), np.uint8)
    for i, (row, (left, top), mirror) in enumerate(zip(rows, corners, mirrored, strict=True)):
        window = crops.image(int(row))[top : top + SIZE, left : left + SIZE]
        images[i] = window[:, ::-1] if mirror else window
    keypoints = (crops.keypoints2d[rows] - corners[:, None]) * (2 / SIZE) - 1
    pose = crops.full_pose[rows].reshape(-1, 24, 3)
    swap = list(SMPL24.flip)
    keypoints = np.where(mirrored[:, None, None], keypoints[:, swap] * [-1, 1] - [2 / SIZE, 0], keypoints)
    pose = np.where(mirrored[:, None, None], pose[:, swap] * [1, -1, -1], pose)
    return Batch(
        images=torch.from_numpy(images),
        rotmat=axis_angle_to_rotmat(torch.from_numpy(pose.astype(np.float32))),
        betas=torch.from_numpy(crops.betas[rows].astype(np.float32)),
        keypoints2d=torch.from_numpy(keypoints.astype(np.float32)),
    )


def jitter_colours(images: Tensor, generator: torch.Generator) -> Tensor:
    """(B, S, S, 3) uint8 -> the same with brightness, contrast and white balance changed for each crop."""
    count = len(images)

    def spread(size: int, width: float) -> Tensor:
        return (torch.rand((count, 1, 1, size), generator=generator) * 2 - 1) * width

    x = images.float()
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = (x - mean) * (1 + spread(1, 0.25)) + mean
    return (x * (1 + spread(1, 0.2) + spread(3, 0.08)) + spread(1, 16.0)).clamp_(0, 255)


class Trainee(nn.Module):
    """Encoder and regressor as one network; the regressor's dropout is off.

    A linear head reads joints straight from the features while training and is then thrown away: positions are easier
    to learn than rotations and bring the encoder on its way.
    """

    def __init__(self, mean: MeanParams) -> None:
        super().__init__()
        self.encoder = EmbeddedEncoder()
        self.regressor = IterativeRegressor(mean=mean)
        self.guide = nn.Linear(DIM, 3 * len(EVALUATED_SET) + 2 * len(SMPL24))
        for module in self.regressor.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0

    def forward(self, images: Tensor) -> tuple[BodyState, Tensor, Tensor]:
        """What the network sees in (B, 3, 112, 112) normalised crops.

        Returns: the regressor's state; the guide's joints (B, 17, 3) in metres and keypoints (B, 24, 2) in [-1, 1].
        """
        features = self.encoder(images)
        joints, keypoints = self.guide(features).split((3 * len(EVALUATED_SET), 2 * len(SMPL24)), dim=1)
        state: BodyState = self.regressor(features)
        return state, joints.unflatten(1, (-1, 3)), keypoints.unflatten(1, (-1, 2))


def losses(output: tuple[BodyState, Tensor, Tensor], batch: Batch, body: BodyModel) -> dict[str, Tensor]:
    """The terms of one batch, unweighted."""
    (pose, betas, camera), guide3d, guide2d = output
    rotmat = rot6d_to_rotmat(pose.reshape(-1, 24, 6))
    joints, smpl24 = body.joints(rotmat, betas, via=EVALUATED), body.joints(rotmat, betas)
    with torch.no_grad():
        target = body.joints(batch.rotmat, batch.betas, via=EVALUATED)
    target = target - target[:, :1]
    projected = camera[:, None, :1] * (smpl24[..., :2] + camera[:, None, 1:])
    return {
        "pose": ((rotmat - batch.rotmat) ** 2).mean(),
        "joints3d": _distance(joints - joints[:, :1], target),
        "keypoints2d": _distance(projected, batch.keypoints2d),
        "shape": ((betas - batch.betas) ** 2).mean(),
        "guide3d": ((guide3d - target) ** 2).mean(),
        "guide2d": ((guide2d - batch.keypoints2d) ** 2).mean(),
    }


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean distance of points, with a gradient at zero."""
    return (a - b).square().sum(-1).add(1e-8).sqrt().mean()


def train_encoder(
    recipe: EncoderRecipe,
    root: Path,
    *,
    folder: Path | None = None,
    command: str = "hpsbench train encoder",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Render crops (or take those that are there), train, and write weights and card.

    Writes `embedded_encoder.safetensors`, `embedded_spin.safetensors` (float16) and `embedded_encoder.json` to
    `folder` after every epoch that is the best so far on the held-out crops, whose people, motions, clothes and
    scenes are not in the training crops. To ship them, copy them into `hpsbench/features/`.

    Args:
        recipe: from `get_encoder_recipe`.
        root: data root; crops are cached in `R/runs/encoder-crops/`, the synthetic body in `R/body_models/`.
        folder: where the results go; None: `R/runs/encoder/`.
        command: what the card says was typed.
        progress: called as (done, all, note).

    Returns: the card: command, recipe, images, minutes, held-out error and that of a constant pose, files.
    """
    folder = folder or root / "runs" / "encoder"
    folder.mkdir(parents=True, exist_ok=True)
    if not (body_folder(root, synthetic=True) / MEAN_PARAMS_FILE).is_file():
        write_body_models(root)
    begun = time.monotonic()
    parts = {
        part: render_crops(
            root / "runs" / "encoder-crops",
            recipe.crops,
            part,
            count,
            workers=recipe.workers,
            progress=progress,
        )
        for part, count in zip(PARTS, _crop_counts(recipe), strict=True)
    }
    rendered = time.monotonic()
    body = load_bodies(root, synthetic=True).neutral
    before = torch.get_num_threads()
    torch.set_num_threads(recipe.threads)
    try:
        mean = load_mean_params(root, synthetic=True)
        loop = _Loop(recipe, parts["train"], parts["held-out"], body, mean, folder, progress)
        history = loop.run()
    finally:
        torch.set_num_threads(before)
    minutes = {"rendering": rendered - begun, "training": time.monotonic() - rendered}
    return _write_card(
        folder, command, recipe, parts, {k: round(v / 60, 1) for k, v in minutes.items()}, history
    )


def _crop_counts(recipe: EncoderRecipe) -> tuple[int, int]:
    """Training and held-out crops; a run cut by `max_steps` makes no more than it will see."""
    settings = recipe.crops
    if recipe.max_steps is None:
        return settings.images, settings.held_out
    shards = math.ceil(recipe.max_steps * recipe.schedule.batch / settings.shard)
    return min(settings.images, shards * settings.shard), min(settings.held_out, settings.shard)


class _Loop:
    """One run: its network, optimiser and schedule; `run` is the loop."""

    def __init__(
        self,
        recipe: EncoderRecipe,
        crops: Crops,
        held_out: Crops,
        body: BodyModel,
        mean: MeanParams,
        folder: Path,
        progress: Progress | None,
    ) -> None:
        seed, optimiser = recipe.schedule.seed, recipe.optimiser
        torch.manual_seed(seed)
        self.recipe, self.crops, self.held_out, self.body = recipe, crops, held_out, body
        self.folder, self.progress = folder, progress or (lambda done, total, note: None)
        self.generator = torch.Generator().manual_seed(seed)
        self.model = Trainee(mean).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = torch.optim.AdamW(_groups(self.model, optimiser), fused=True)
        per_epoch = len(crops) // recipe.schedule.batch
        self.steps = min(recipe.schedule.epochs * per_epoch, recipe.max_steps or sys.maxsize)

    def run(self) -> list[dict[str, Any]]:
        """Train; returns one line per epoch with the held-out error."""
        schedule, step, best = self.recipe.schedule, 0, math.inf
        history: list[dict[str, Any]] = []
        while step < self.steps:
            epoch = len(history)
            for batch in epoch_batches(self.crops, schedule.batch, schedule.seed, epoch):
                loss = self._step(step, batch)
                step += 1
                if step % 20 == 0:
                    self.progress(step, self.steps, f"loss {loss:.3f}")
                if step >= self.steps:
                    break
            errors = held_out_errors(self.model, self.held_out, self.body)
            history.append({"epoch": epoch + 1, "step": step, **errors})
            self.progress(step, self.steps, json.dumps(history[-1]))
            if errors["pa_mpjpe"] < best:
                best = errors["pa_mpjpe"]
                save_weights(self.model, self.folder)
        return history

    def _step(self, step: int, batch: Batch) -> float:
        optimiser, weights = self.recipe.optimiser, self.recipe.losses.model_dump()
        warm = min(1.0, (step + 1) / max(1, optimiser.warm_up))
        for group in self.optimiser.param_groups:
            group["lr"] = group["full_lr"] * warm * (1 + math.cos(math.pi * step / self.steps)) / 2
        self.model.train()
        parts = losses(self.model(normalise(jitter_colours(batch.images, self.generator))), batch, self.body)
        loss = torch.stack([weights[name] * value for name, value in parts.items()]).sum()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        return float(loss.detach())


def _groups(model: Trainee, optimiser: EncoderOptimiser) -> list[dict[str, Any]]:
    """Parameters by learning rate and weight decay; norms and biases are not decayed."""
    groups = []
    for part, lr in (
        (model.encoder, optimiser.lr),
        (model.guide, optimiser.lr),
        (model.regressor, optimiser.regressor_lr),
    ):
        for decayed, decay in ((True, optimiser.weight_decay), (False, 0.0)):
            own = [p for p in part.parameters() if (p.ndim > 1) == decayed]
            groups.append({"params": own, "lr": lr, "full_lr": lr, "weight_decay": decay})
    return groups


@torch.inference_mode()
def held_out_errors(model: nn.Module, crops: Crops, body: BodyModel) -> dict[str, float]:
    """Errors over the crops in mm, on the 14 LSP joints from the H36M regressor with the mid-hip as root.

    Returns: `mpjpe`, `pa_mpjpe`, and `constant_mpjpe`, `constant_pa_mpjpe` of the one pose that suits these crops best
    in the mean-square sense (so a constant that was fitted elsewhere does worse).
    """
    model.eval()
    pred, target = [], []
    for batch in held_out_batches(crops, 64):
        (pose, betas, _), _, _ = model(normalise(batch.images))
        pred.append(_lsp14(body, rot6d_to_rotmat(pose.reshape(-1, 24, 6)), betas))
        target.append(_lsp14(body, batch.rotmat, batch.betas))
    joints, wanted = torch.cat(pred).double(), torch.cat(target).double()
    constant = wanted.mean(dim=0, keepdim=True).expand_as(wanted)

    def error(points: Tensor) -> float:
        return round(float((points - wanted).norm(dim=-1).mean()) * M_TO_MM, 2)

    return {
        "mpjpe": error(joints),
        "pa_mpjpe": error(similarity_align(joints, wanted)),
        "constant_mpjpe": error(constant),
        "constant_pa_mpjpe": error(similarity_align(constant, wanted)),
    }


def _lsp14(body: BodyModel, rotmat: Tensor, betas: Tensor) -> Tensor:
    """(B, 14, 3) joints relative to the mid-hip."""
    joints = body.joints(rotmat, betas, via=EVALUATED)
    chosen = joints[:, convert_indices(EVALUATED_SET, "lsp14")]
    rooted: Tensor = root_align(chosen, LSP14.indices(["Right Hip", "Left Hip"]))
    return rooted


def save_weights(model: Trainee, folder: Path) -> None:
    """Write encoder and regressor as float16 safetensors, each all or nothing."""
    for module, name in ((model.encoder, WEIGHTS.name), (model.regressor, REGRESSOR.name)):
        state = {
            key: value.detach().half().contiguous()
            for key, value in module.state_dict().items()
            if not key.endswith("num_batches_tracked")
        }
        waiting = folder / f"{name}.part"
        save_file(state, waiting)
        waiting.replace(folder / name)


def _write_card(
    folder: Path,
    command: str,
    recipe: EncoderRecipe,
    parts: Mapping[str, Crops],
    minutes: Mapping[str, float],
    history: list[dict[str, Any]],
) -> dict[str, Any]:
    best = min(history, key=lambda line: line["pa_mpjpe"])
    files = {name: folder / name for name in (WEIGHTS.name, REGRESSOR.name)}
    card = {
        "title": recipe.title,
        "synthetic": True,
        "command": command,
        "recipe": recipe.model_dump(exclude={"title", "readings"}),
        "images": {part: len(crops) for part, crops in parts.items()},
        "minutes": dict(minutes),
        "machine": f"{platform.machine()} CPU, {recipe.threads} threads, torch {torch.__version__}",
        "hpsbench": __version__,
        "held_out": {"unit": "mm", "joints": "lsp14 via h36m17, root mid-hip", **best},
        "history": history,
        "files": {
            name: {"sha256": file_sha256(path), "bytes": path.stat().st_size} for name, path in files.items()
        },
    }
    (folder / CARD.name).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return {**card, "folder": str(folder)}
