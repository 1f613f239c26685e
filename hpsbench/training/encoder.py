"""Train the embedded encoder together with the SPIN-layout regressor behind it, on synthetic renders.

Two steps: `encoder_crops.render_crops` fills a cache of crops with worker processes; then the loop below runs over it
on the CPU. What comes out (two safetensors files and a card) is what lies in `hpsbench/features/`.
"""

import json
import math
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

from hpsbench import __version__
from hpsbench.bodies.files import MEAN_PARAMS_FILE, body_folder
from hpsbench.bodies.joints import SMPL24
from hpsbench.bodies.mean_params import MeanParams, load_mean_params
from hpsbench.bodies.smpl import BodyModel, load_bodies
from hpsbench.errors import UsageError
from hpsbench.features.backbones import file_sha256
from hpsbench.features.embedded import CARD, DIM, REGRESSOR, WEIGHTS, EmbeddedEncoder
from hpsbench.features.images import normalise
from hpsbench.geometry.rotations import rot6d_to_rotmat
from hpsbench.models._regressor import BodyState, IterativeRegressor
from hpsbench.synth.body import write_body_models
from hpsbench.training.config import parse_set, training_document
from hpsbench.training.encoder_batches import Batch, epoch_batches, jitter_colours
from hpsbench.training.encoder_crops import PARTS, Crops, CropSettings, render_crops
from hpsbench.training.encoder_errors import EVALUATED, EVALUATED_SET, fit_constant, held_out_errors

Progress = Callable[[int, int, str], None]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EncoderLosses(_Table):
    """Weights of the loss terms."""

    pose: float
    joints3d: float
    keypoints2d: float
    shape: float
    guide3d: float
    places: float


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


class Trainee(nn.Module):
    """Encoder and regressor as one network; the regressor's dropout is off.

    While training, a linear head reads joints straight from the features, and the encoder's first 24 places are held
    to the SMPL joints: positions are easier to learn than rotations and bring the encoder on its way.
    """

    def __init__(self, mean: MeanParams) -> None:
        super().__init__()
        self.encoder = EmbeddedEncoder()
        self.regressor = IterativeRegressor(mean=mean)
        self.guide = nn.Linear(DIM, 3 * len(EVALUATED_SET))
        for module in self.regressor.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0

    def forward(self, images: Tensor) -> tuple[BodyState, Tensor, Tensor]:
        """What the network sees in (B, 3, 112, 112) normalised crops.

        Returns: the regressor's state; the guide's joints (B, 17, 3) in metres; places (B, 24, 2) in [-1, 1].
        """
        features, places = self.encoder.with_places(images)
        state: BodyState = self.regressor(features)
        return state, self.guide(features).unflatten(1, (-1, 3)), places[:, : len(SMPL24)]


def losses(output: tuple[BodyState, Tensor, Tensor], batch: Batch, body: BodyModel) -> dict[str, Tensor]:
    """The terms of one batch, unweighted."""
    (pose, betas, camera), guide3d, places = output
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
        "places": _distance(places, batch.keypoints2d),
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
    cache = root / "runs" / "encoder-crops"
    crops, held_out = (
        render_crops(cache, recipe.crops, part, count, workers=recipe.workers, progress=progress)
        for part, count in zip(PARTS, _crop_counts(recipe), strict=True)
    )
    run = _Run(folder, command, recipe, len(crops), len(held_out), begun, time.monotonic())
    body, mean = load_bodies(root, synthetic=True).neutral, load_mean_params(root, synthetic=True)
    before = torch.get_num_threads()
    torch.set_num_threads(recipe.threads)
    try:
        _Loop(run, crops, held_out, body, mean, progress).run()
    finally:
        torch.set_num_threads(before)
    return {**json.loads((folder / CARD.name).read_text(encoding="utf-8")), "folder": str(folder)}


def _crop_counts(recipe: EncoderRecipe) -> tuple[int, int]:
    """Training and held-out crops; a run cut by `max_steps` makes no more than it will see."""
    settings = recipe.crops
    if recipe.max_steps is None:
        return settings.images, settings.held_out
    shards = math.ceil(recipe.max_steps * recipe.schedule.batch / settings.shard)
    return min(settings.images, shards * settings.shard), min(settings.held_out, settings.shard)


@dataclass(frozen=True)
class _Run:
    """What the card says beside the results."""

    folder: Path
    command: str
    recipe: EncoderRecipe
    images: int
    held_out_images: int
    begun: float
    rendered: float

    def write_card(self, history: list[dict[str, Any]]) -> None:
        """Write `embedded_encoder.json`; the last line of the history is the best one."""
        recipe, files = self.recipe, {name: self.folder / name for name in (WEIGHTS.name, REGRESSOR.name)}
        seconds = {"rendering": self.rendered - self.begun, "training": time.monotonic() - self.rendered}
        card = {
            "title": recipe.title,
            "synthetic": True,
            "command": self.command,
            "recipe": recipe.model_dump(exclude={"title", "readings"}),
            "images": {"train": self.images, "held-out": self.held_out_images},
            "minutes": {what: round(value / 60, 1) for what, value in seconds.items()},
            "machine": f"{platform.machine()} CPU, {recipe.threads} threads, torch {torch.__version__}",
            "hpsbench": __version__,
            "held_out": {"unit": "mm", "joints": "lsp14 via h36m17, root mid-hip", **history[-1]},
            "history": history,
            "files": {
                n: {"sha256": file_sha256(path), "bytes": path.stat().st_size} for n, path in files.items()
            },
        }
        waiting = self.folder / f"{CARD.name}.part"
        waiting.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        waiting.replace(self.folder / CARD.name)


class _Loop:
    """One run: its network, optimiser and schedule; `run` is the loop."""

    def __init__(
        self,
        run: _Run,
        crops: Crops,
        held_out: Crops,
        body: BodyModel,
        mean: MeanParams,
        progress: Progress | None,
    ) -> None:
        recipe = run.recipe
        seed, optimiser = recipe.schedule.seed, recipe.optimiser
        torch.manual_seed(seed)
        self.recipe, self.crops, self.held_out, self.body = recipe, crops, held_out, body
        self.folder, self.write_card = run.folder, run.write_card
        self.progress = progress or (lambda done, total, note: None)
        self.constant = fit_constant(crops, body)
        self.generator = torch.Generator().manual_seed(seed)
        self.model = Trainee(mean).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = torch.optim.AdamW(_groups(self.model, optimiser), fused=True)
        per_epoch = len(crops) // recipe.schedule.batch
        self.steps = min(recipe.schedule.epochs * per_epoch, recipe.max_steps or sys.maxsize)

    def run(self) -> None:
        """Train; weights and card are written after every epoch that is the best so far on the held-out crops."""
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
            errors = held_out_errors(self.model, self.held_out, self.body, self.constant)
            history.append({"epoch": epoch + 1, "step": step, **errors})
            self.progress(step, self.steps, json.dumps(history[-1]))
            if errors["pa_mpjpe"] < best:
                best = errors["pa_mpjpe"]
                save_weights(self.model, self.folder)
                self.write_card(history)

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
        waiting.chmod(0o644)
        waiting.replace(folder / name)
