"""The training loop, readable top to bottom.

A run lives in `R/runs/<id>/`: `recipe.json` (what is trained), `log.jsonl` (one line per epoch), TensorBoard events,
`state.pt` (to resume), `best.safetensors` and `last.safetensors` (with their cards). The id depends on recipe, data and
seed, so the same command resumes its own run and no other. Batches depend on seed and epoch alone and the random state
is saved with the weights: a run that was killed and resumed ends with the same weights as one that was not.
"""

import hashlib
import json
import math
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from hpsbench import __version__
from hpsbench.bodies.joints import get_joint_set
from hpsbench.bodies.smpl import Bodies, load_bodies
from hpsbench.errors import HpsbenchError, MissingFeatures
from hpsbench.evaluation.run import evaluate
from hpsbench.features.flow import KIND
from hpsbench.geometry.cameras import project_crop
from hpsbench.losses.joints import joints3d_loss, keypoints2d_loss
from hpsbench.losses.params import pose_loss, shape_loss
from hpsbench.models._adapter import FeatureSystem
from hpsbench.models._catalog import get_system
from hpsbench.models._checkpoints import save_checkpoint
from hpsbench.models._system import HPSOutput
from hpsbench.protocols.catalog import get_protocol
from hpsbench.protocols.protocol import Protocol
from hpsbench.store.reader import ClipStore, open_store
from hpsbench.training.batches import Batch, TrainingWindows
from hpsbench.training.checkpoints import STATE_FILE, TrainingState, load_state, save_state
from hpsbench.training.config import TrainingRecipe, get_training_recipe, parse_set
from hpsbench.training.start import start_regressor

LSP_IN_SPIN49 = slice(25, 39)


class TrainingDiverged(HpsbenchError):
    """A loss that is not a number; the message names the saved batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """What a finished run leaves behind: its folder, its best checkpoint, and the validation curve."""

    folder: Path
    checkpoint: Path
    history: tuple[dict[str, Any], ...]
    steps: int


def train(
    name: str,
    root: Path,
    *,
    sets: tuple[str, ...] = (),
    features: str | None = None,
    seed: int = 0,
    device: str = "auto",
    tiny: bool = False,
    recipes: Path | None = None,
    progress: Any = None,
) -> TrainingRun:
    """Train the system of a recipe on a prepared store; resumes its own unfinished run.

    Args:
        name: of a training recipe.
        root: data root.
        sets: `key=value` texts that change the recipe.
        features: feature set to train on; None: the recipe's, else the clean set of the view.
        seed: of weights, dropout and batch order.
        device: auto, cpu or cuda[:N].
        tiny: apply the recipe's `[tiny]` overrides.
        recipes: folder with further recipes.
        progress: called as (steps done, steps in all, note).

    Raises:
        MissingStore, MissingFeatures, MissingBodyModel: what the recipe needs is not under the root.
        TrainingDiverged: a loss became NaN; the batch is saved beside the log.
    """
    job = _job(name, root, sets, features, seed, tiny, recipes)
    bodies = load_bodies(root, synthetic=job.store.synthetic)
    job.folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(job.describe(), indent=2, default=str) + "\n"
    (job.folder / "recipe.json").write_text(text, encoding="utf-8")
    return _Run(job, bodies, device, root).run(progress)


def plan_training(
    name: str,
    root: Path,
    *,
    sets: tuple[str, ...] = (),
    features: str | None = None,
    seed: int = 0,
    tiny: bool = False,
    recipes: Path | None = None,
) -> dict[str, Any]:
    """What `train` would do with these arguments, touching nothing: recipe, data, windows, steps, folder.

    Raises:
        MissingStore, MissingFeatures: as for `train`.
    """
    job = _job(name, root, sets, features, seed, tiny, recipes)
    schedule = job.recipe.schedule
    return {
        **job.describe(),
        "windows": len(TrainingWindows(job.store, job.recipe, job.features)),
        "steps": int(min(schedule.epochs * schedule.iterations_per_epoch, job.recipe.max_steps or math.inf)),
        "folder": str(job.folder),
        "resumes": (job.folder / STATE_FILE).is_file(),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """A recipe with its overrides applied, and the data it meets."""

    recipe: TrainingRecipe
    store: ClipStore
    features: str
    seed: int
    folder: Path

    def describe(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe.model_dump(mode="json"),
            "store": self.store.location,
            "features": self.features,
            "seed": self.seed,
        }


def _job(
    name: str,
    root: Path,
    sets: tuple[str, ...],
    features: str | None,
    seed: int,
    tiny: bool,
    recipes: Path | None,
) -> _Job:
    typed = dict(map(parse_set, sets))
    recipe = get_training_recipe(name, overrides=typed, extra=recipes)
    store = open_store(root / "stores" / f"{recipe.data.dataset}.zarr")
    declared = {**(recipe.synthetic if store.synthetic else {}), **(recipe.tiny if tiny else {})}
    recipe = get_training_recipe(name, overrides={**declared, **typed}, extra=recipes)
    chosen = features or recipe.data.features or clean_features(store, recipe.data.view)
    folder = root / "runs" / run_id(recipe, store, chosen, seed)
    return _Job(recipe=recipe, store=store, features=chosen, seed=seed, folder=folder)


def clean_features(store: ClipStore, view: str) -> str:
    """The one clean feature set of a view.

    Raises:
        MissingFeatures: there is none, or there are several and one must be named.
    """
    clean = [
        name
        for name, found in store.features.items()
        if found.attrs["view"] == view and not found.attrs["corruption"] and found.attrs.get("kind") != KIND
    ]
    if len(clean) != 1:
        found = "several clean feature sets: " + ", ".join(clean) if clean else "no clean feature set"
        raise MissingFeatures(
            f"{store.location}: {found} of view {view!r}; name one with --features, "
            f"or make one with 'hpsbench extract {store.dataset} --view {view}'"
        )
    return clean[0]


def run_id(recipe: TrainingRecipe, store: ClipStore, features: str, seed: int) -> str:
    """Name of a run: the recipe's name, the seed, and a hash of everything that decides its outcome."""
    content = [
        recipe.model_dump(mode="json"),
        store.attrs["raw_manifest_sha256"],
        dict(store.features[features].attrs),
    ]
    text = json.dumps([*content, seed, __version__], sort_keys=True, default=str)
    return f"{recipe.name}-s{seed}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def loss_terms(
    recipe: TrainingRecipe, bodies: Bodies, output: HPSOutput, batch: Batch, joints3d: Tensor
) -> dict[str, Tensor]:
    """Weighted loss terms of one batch. `joints3d` (N, 49, 3): the target's joints; N = B x T frames."""
    frames = batch.rotmat.shape[0] * batch.rotmat.shape[1]
    rotmat = _present(output.rotmat).reshape(frames, 24, 3, 3)
    betas = _present(output.betas).reshape(frames, 10)
    camera = _present(output.camera).reshape(frames, 3)
    has = batch.has_smpl.reshape(frames)
    pred = bodies.neutral.spin49(rotmat, betas)
    hips = get_joint_set("lsp14").indices(("Right Hip", "Left Hip"))
    weights = recipe.losses
    return {
        "keypoints2d": weights.keypoints2d
        * keypoints2d_loss(project_crop(pred, camera), batch.keypoints2d.reshape(frames, -1, 3)),
        "joints3d": weights.joints3d
        * joints3d_loss(pred[:, LSP_IN_SPIN49], joints3d[:, LSP_IN_SPIN49], has, hips),
        "pose": weights.pose * pose_loss(rotmat, batch.rotmat.reshape(frames, 24, 3, 3), has),
        "shape": weights.shape * shape_loss(betas, batch.betas.reshape(frames, 10), has),
    }


def _present(value: Tensor | None) -> Tensor:
    if value is None:
        raise HpsbenchError("this training recipe needs a system that predicts SMPL parameters and a camera")
    return value


def on_split(protocol: Protocol, dataset: str, split: str) -> Protocol:
    """The protocol on another split of the dataset, for validation; its hash differs from the published one's."""
    rule = replace(protocol.rule(dataset), splits=(split,))
    return replace(protocol, rules={dataset: rule})


class _Run:
    """One run: what it needs, and the loop."""

    def __init__(self, job: _Job, bodies: Bodies, device: str, root: Path) -> None:
        recipe, store, features, seed = job.recipe, job.store, job.features, job.seed
        self.recipe, self.store, self.features, self.seed = recipe, store, features, seed
        self.folder, self.root = job.folder, root
        self.fabric = Fabric(accelerator="auto" if device == "auto" else device.partition(":")[0], devices=1)
        self.windows = TrainingWindows(store, recipe, features)
        torch.manual_seed(seed)
        self.system: FeatureSystem = get_system(recipe.system)(**recipe.options)
        if recipe.init.get("regressor") == "extractor":
            start_regressor(self.system, store.features[features].attrs["extractor"], root)
        optimiser = torch.optim.Adam(
            self.system.parameters(), lr=recipe.optimiser.lr, weight_decay=recipe.optimiser.weight_decay
        )
        schedule = recipe.schedule
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimiser, factor=schedule.plateau_factor, patience=schedule.plateau_patience
        )
        self.model, self.optimiser = self.fabric.setup(self.system, optimiser)
        self.model.mark_forward_method("forward_train")
        self.bodies = bodies.to(self.fabric.device)
        self.protocol = on_split(
            get_protocol(recipe.validation.protocol), store.dataset, recipe.validation.split
        )
        self.state = TrainingState()
        self.total = min(schedule.epochs * schedule.iterations_per_epoch, recipe.max_steps or math.inf)

    def run(self, progress: Any) -> TrainingRun:
        """Train to the end of the schedule, from where the saved state stands."""
        self.state = load_state(self.folder, self.system, self.optimiser, self.plateau) or self.state
        schedule = self.recipe.schedule
        while self.state.epoch < schedule.epochs and self.state.step < self.total:
            parts = self._epoch(progress)
            self.state.epoch += 1
            self._validate(parts)
            save_state(self.folder, self.state, self.system, self.optimiser, self.plateau)
        return TrainingRun(
            folder=self.folder,
            checkpoint=self.folder / "best.safetensors",
            history=tuple(self.state.history),
            steps=self.state.step,
        )

    def _epoch(self, progress: Any) -> dict[str, float]:
        schedule = self.recipe.schedule
        self.model.train()
        sums: dict[str, float] = {}
        batches = self.windows.epoch(
            batch=schedule.batch,
            iterations=schedule.iterations_per_epoch,
            seed=self.seed,
            epoch=self.state.epoch,
        )
        steps = 0
        for batch in batches:
            if self.state.step >= self.total:
                break
            parts = self._step(batch.to(self.fabric.device))
            steps += 1
            self.state.step += 1
            for key, value in parts.items():
                sums[key] = sums.get(key, 0.0) + value
            if progress is not None:
                note = f"epoch {self.state.epoch + 1}/{schedule.epochs}, loss {sum(parts.values()):.3f}"
                progress(self.state.step, int(self.total), note)
        return {key: value / max(steps, 1) for key, value in sums.items()}

    def _step(self, batch: Batch) -> dict[str, float]:
        with torch.no_grad():
            frames = batch.rotmat.shape[0] * batch.rotmat.shape[1]
            joints3d = self.bodies.neutral.spin49(
                batch.rotmat.reshape(frames, 24, 3, 3), batch.betas.reshape(frames, 10)
            )
        terms = loss_terms(self.recipe, self.bodies, self.model.forward_train(batch), batch, joints3d)
        loss = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            path = self.folder / "diverged.pt"
            torch.save({name: getattr(batch, name).cpu() for name in batch.__dataclass_fields__}, path)
            raise TrainingDiverged(
                f"step {self.state.step}: the loss is {loss.item()}; the batch is saved in {path}"
            )
        self.fabric.backward(loss)
        self.optimiser.step()
        self.optimiser.zero_grad()
        return {key: float(value.detach()) for key, value in terms.items()}

    def _validate(self, parts: dict[str, float]) -> None:
        self.model.eval()
        result = evaluate(self.system, self.protocol, self.store, root=self.root, features=self.features)
        summary = {name: float(value) for name, value in result.summary.items()}
        self.plateau.step(summary["pa_mpjpe"])
        line = {"epoch": self.state.epoch, "step": self.state.step, "loss": parts, "validation_mm": summary}
        self.state.history.append(line)
        lines = "".join(json.dumps(entry) + "\n" for entry in self.state.history)
        (self.folder / "log.jsonl").write_text(lines, encoding="utf-8")
        self._save_weights("last", line)
        if summary["pa_mpjpe"] < self.state.best:
            self.state.best = summary["pa_mpjpe"]
            self._save_weights("best", line)

    def _save_weights(self, which: str, line: dict[str, Any]) -> None:
        attrs = self.store.features[self.features].attrs
        card = {
            "system": self.recipe.system,
            "options": self.recipe.options,
            "training_recipe": self.recipe.model_dump(mode="json"),
            "seed": self.seed,
            "epoch": line["epoch"],
            "step": line["step"],
            "validation_mm": line["validation_mm"],
            "trained_on": {
                "dataset": self.store.dataset,
                "split": self.recipe.data.split,
                "features": self.features,
                "recipe_sha256": self.store.attrs["recipe_sha256"],
                "raw_manifest_sha256": self.store.attrs["raw_manifest_sha256"],
                "synthetic": self.store.synthetic,
            },
            "trained_with_3dpw": self.store.dataset == "3dpw",
            "extractor": attrs["extractor"],
            "extractor_sha256": attrs["weights_sha256"],
            "hpsbench": __version__,
            "environment": {"python": platform.python_version(), "torch": torch.__version__},
        }
        save_checkpoint(self.system, self.folder / f"{which}.safetensors", card)
