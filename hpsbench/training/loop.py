"""The training loop, readable top to bottom.

A run lives in `R/runs/<id>/`: `recipe.json` (what is trained), `log.jsonl` (one line per epoch), `tensorboard/`,
`state.pt` (to resume), `best.safetensors` and `last.safetensors` (with their cards). The id depends on recipe, data and
seed, so the same command resumes its own run and no other. Batches depend on seed and epoch alone and the random state
is saved with the weights: a run that was killed and resumed ends with the same weights as one that was not.
"""

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hpsbench.bodies.smpl import Bodies, load_bodies
from hpsbench.errors import HpsbenchError
from hpsbench.evaluation.run import evaluate
from hpsbench.models._checkpoints import save_checkpoint
from hpsbench.pipeline.work import lock
from hpsbench.protocols.catalog import get_protocol
from hpsbench.protocols.protocol import Protocol
from hpsbench.training.adversary import Opponent
from hpsbench.training.batches import Batch
from hpsbench.training.card import training_card
from hpsbench.training.checkpoints import STATE_FILE, TrainingState, close_state, load_state, save_state
from hpsbench.training.job import Job, Request, first_stage, make_job, without_data
from hpsbench.training.kit import (
    Hardware,
    check_batch,
    full_precision,
    make_fabric,
    make_mixture,
    make_motions,
    make_plateau,
    make_prior,
    make_system,
    steps_of,
)
from hpsbench.training.log import RunLog
from hpsbench.training.mixture import Motion, ahead
from hpsbench.training.processes import from_first, launch, shared, sum_gradients, summed
from hpsbench.training.start import joints_of_features
from hpsbench.training.step import Part, Step
from hpsbench.training.terms import get_terms

SAVE_EVERY = 300.0
"""Seconds between saved states within an epoch."""


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
    limit: int | None = None,
    only_prepared: bool = False,
    hardware: Hardware | None = None,
    progress: Any = None,
) -> TrainingRun:
    """Train the system of a recipe on prepared stores; resumes its own unfinished run.

    Args:
        name: of a training recipe.
        root: data root.
        sets: `key=value` texts that change the recipe.
        features: feature set of the recipe's dataset; None: the recipe's, else the clean set of the view.
        seed: of weights, dropout and batch order.
        device: auto, cpu or cuda[:N].
        tiny: apply the recipe's `[tiny]` overrides.
        recipes: folder with further recipes.
        limit: train and validate on the first so many tracks; marks the checkpoint as partial.
        only_prepared: leave out sources of the recipe that are not prepared.
        hardware: processes, precision, compilation; None: one process in full precision on `device`.
        progress: called as (steps done, steps in all, note).

    Raises:
        MissingStore, MissingFeatures, MissingBodyModel: what the recipe needs is not under the root.
        TrainingDiverged: a loss became NaN; the batch is saved beside the log.
        HpsbenchError: another process trains the same.
    """
    request = Request(
        name=name,
        root=root,
        sets=sets,
        features=features,
        seed=seed,
        tiny=tiny,
        recipes=recipes,
        limit=limit,
        only_prepared=only_prepared,
    )
    return _train(request, hardware or Hardware(device=device), progress)


def _train(request: Request, hardware: Hardware, progress: Any) -> TrainingRun:
    """Train what comes first, where there is such a thing, and then this; in this process or in several."""
    job = make_job(request)
    first = first_stage(job)
    if first is not None:
        _train(first, hardware, progress)
    with lock(request.root, f"training {job.folder.name}"):
        job.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(job.describe(), indent=2, default=str) + "\n"
        (job.folder / "recipe.json").write_text(text, encoding="utf-8")
        if hardware.devices > 1:
            launch(_train_here, hardware.devices, {"request": request, "hardware": hardware})
            return _finished(job)
        return _train_here(request, hardware, progress)


def _train_here(request: Request, hardware: Hardware, progress: Any = None) -> TrainingRun:
    """The part of a run that this process does."""
    job = make_job(request)
    bodies = load_bodies(request.root, synthetic=job.store.synthetic)
    return Run(job, bodies, hardware).run(progress)


def _finished(job: Job) -> TrainingRun:
    """What a run left in its folder."""
    lines = (job.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    history = tuple(json.loads(line) for line in lines)
    return TrainingRun(
        folder=job.folder,
        checkpoint=job.folder / "best.safetensors",
        history=history,
        steps=history[-1]["step"],
    )


def plan_training(
    name: str,
    root: Path,
    *,
    sets: tuple[str, ...] = (),
    features: str | None = None,
    seed: int = 0,
    tiny: bool = False,
    recipes: Path | None = None,
    limit: int | None = None,
    only_prepared: bool = False,
) -> dict[str, Any]:
    """What `train` would do with these arguments, touching nothing: recipe, data, windows, steps, folder.

    Raises:
        MissingStore, MissingFeatures: as for `train`.
    """
    request = Request(
        name=name,
        root=root,
        sets=sets,
        features=features,
        seed=seed,
        tiny=tiny,
        recipes=recipes,
        limit=limit,
        only_prepared=only_prepared,
    )
    job = make_job(request)
    schedule, mixture = job.recipe.schedule, make_mixture(job)
    return {
        **job.describe(),
        "windows": len(mixture),
        "without_data": without_data(job),
        "batch": mixture.counts(schedule.batch),
        "steps": steps_of(job),
        "folder": str(job.folder),
        "resumes": (job.folder / STATE_FILE).is_file(),
    }


def for_validation(protocol: Protocol, dataset: str, split: str, metric: str) -> Protocol:
    """The protocol on another split of the dataset; its hash differs from the published one's.

    Metrics of meshes are left out unless one of them picks the best epoch: posing every mesh takes longer than all the
    rest of a validation.
    """
    rule = protocol.rule(dataset)
    metrics = tuple(m for m in rule.metrics if m.name == metric or not m.inputs.startswith("vertices"))
    return replace(protocol, rules={dataset: replace(rule, splits=(split,), metrics=metrics)})


class Run:
    """One run: what it needs, and the loop."""

    def __init__(self, job: Job, bodies: Bodies, hardware: Hardware) -> None:
        self.job, self.recipe, self.folder = job, job.recipe, job.folder
        self.fabric = make_fabric(hardware)
        self.rank, self.world = self.fabric.global_rank, self.fabric.world_size
        self.hardware = hardware
        self.bodies = bodies.to(self.fabric.device)
        self.system = make_system(job, self.fabric.device)
        self.forward_train = self.system.forward_train
        if hardware.compile:
            self.forward_train = torch.compile(self.system.forward_train)
        transform = None
        if self.system.inputs.predictions is not None:
            transform = joints_of_features(job.request.root, self.bodies)
        self.mixture, self.motions = make_mixture(job, transform), make_motions(job)
        check_batch(job, self.mixture, self.world)
        self.optimiser = torch.optim.Adam(
            self.system.parameters(),
            lr=self.recipe.optimiser.lr,
            weight_decay=self.recipe.optimiser.weight_decay,
            fused=True,
        )
        self.opponent = self._make_opponent()
        self.prior: Any = None
        self.plateaus = [make_plateau(o, self.recipe.schedule) for o in self._optimisers()]
        rule = self.recipe.validation
        protocol = get_protocol(rule.protocol)
        self.protocol = for_validation(protocol, job.store.dataset, rule.split, rule.metric)
        self.state, self.total = TrainingState(), steps_of(job)
        self.terms = get_terms(self.recipe.weights())
        self.took_part: dict[str, bool] = {}
        self.saved = time.monotonic()

    # what a run needs

    def _make_opponent(self) -> Opponent | None:
        weight, rule = self.recipe.weights().get("adversarial"), self.recipe.adversary
        return None if not weight or rule is None else Opponent(rule, weight, self.fabric.device)

    def _optimisers(self) -> list[torch.optim.Optimizer]:
        return [self.optimiser, *([self.opponent.optimiser] if self.opponent else [])]

    def _parts(self) -> dict[str, Any]:
        """What is saved to resume."""
        parts: dict[str, Any] = {"model": self.system}
        if self.opponent is not None:
            parts["discriminator"] = self.opponent.network
        for number, (optimiser, plateau) in enumerate(zip(self._optimisers(), self.plateaus, strict=True)):
            parts |= {f"optimiser{number}": optimiser, f"plateau{number}": plateau}
        return parts

    # the loop

    def run(self, progress: Any) -> TrainingRun:
        """Train to the end of the schedule, from where the saved state stands."""
        if self.rank == 0:
            self.prior = make_prior(self.job, self.fabric.device, progress)
        from_first(None)
        if self.rank:
            self.prior = make_prior(self.job, self.fabric.device)
        if self.rank:
            torch.manual_seed(self.job.seed + 7919 * self.rank)  # each process draws its own dropout
        saved = load_state(self.folder, self._parts(), rank=self.rank, world=self.world)
        self.state = saved or self.state
        with RunLog(self.folder, writes=self.rank == 0) as log:
            while self.state.epoch < self.recipe.schedule.epochs and self.state.step < self.total:
                begun = time.perf_counter()
                parts, waited = self._epoch(progress, log)
                self.state.epoch, self.state.within, self.state.sums = self.state.epoch + 1, 0, {}
                self._validate(parts, {"seconds": time.perf_counter() - begun, "data_wait": waited}, log)
                self._save()
        if self.rank == 0 and not self.state.finished:
            close_state(self.folder, self.state)
        return TrainingRun(
            folder=self.folder,
            checkpoint=self.folder / "best.safetensors",
            history=tuple(self.state.history),
            steps=self.state.step,
        )

    def _epoch(self, progress: Any, log: RunLog) -> tuple[dict[str, float], float]:
        """The steps of an epoch that are left. Returns the mean of each loss part, and the share of time spent on data."""
        schedule, state = self.recipe.schedule, self.state
        self.system.train()
        begun, waited = time.perf_counter(), 0.0
        batches = self._batches()
        while state.step < self.total:
            asked = time.perf_counter()
            found = next(batches, None)
            waited += time.perf_counter() - asked
            if found is None:
                break
            parts = self._step(*found)
            state.step, state.within = state.step + 1, state.within + 1
            for key, value in parts.items():
                state.sums[key] = state.sums.get(key, 0.0) + value
            log.step(state.step, parts)
            if progress is not None:
                shown = ", ".join(f"{key} {value:.3f}" for key, value in parts.items())
                total = sum(parts[name] for name in self.terms)
                note = f"epoch {state.epoch + 1}/{schedule.epochs}, loss {total:.3f} ({shown})"
                progress(state.step, self.total, note)
            if time.monotonic() - self.saved > SAVE_EVERY:
                self._save()
        batches.close()  # type: ignore[attr-defined]
        means = {key: value / max(state.within, 1) for key, value in state.sums.items()}
        return means, waited / max(time.perf_counter() - begun, 1e-9)

    def _batches(self) -> Iterator[tuple[Batch, Motion | None]]:
        """What is left of the epoch, made ahead: windows, and captured motions where there is a discriminator."""
        schedule, state = self.recipe.schedule, self.state
        common: dict[str, Any] = {
            "iterations": schedule.iterations_per_epoch,
            "seed": self.job.seed,
            "epoch": state.epoch,
            "first": state.within,
            "rank": self.rank,
            "world": self.world,
        }
        windows = self.mixture.epoch(batch=schedule.batch, **common)
        if self.motions is None or self.recipe.adversary is None:
            return ahead((batch, None) for batch in windows)
        count = self.recipe.adversary.batch or schedule.batch
        return ahead(zip(windows, self.motions.epoch(batch=count, **common), strict=True))

    def _step(self, batch: Batch, real: Motion | None) -> dict[str, float]:
        """One optimiser step of both sides. All passes through the discriminator run before either side moves.

        A step in parts weighs each by its windows: exact for terms in which every window takes part.
        """
        parts: dict[str, float] = {}
        pieces, windows = self.recipe.schedule.accumulate, len(batch.features)
        for number in range(pieces):
            own = slice(number, None, pieces)
            piece = (batch if pieces == 1 else batch.part(own)).to(self.fabric.device)
            share = len(piece.features) / windows
            generator, opponent = self._losses(piece, real, own)
            total = torch.stack(list(generator.values())).sum()
            against = torch.stack(list(opponent.values())).sum() if opponent else None
            measured = summed({k: float(v.detach()) * share for k, v in (generator | opponent).items()})
            if not all(map(math.isfinite, measured.values())):
                self._stop(batch, measured)
            parts = {name: parts.get(name, 0.0) + value for name, value in measured.items()}
            (total * share).backward()  # type: ignore[no-untyped-call]
            if against is not None:
                (against * share).backward()  # type: ignore[no-untyped-call]
        sum_gradients([self.system] + ([self.opponent.network] if self.opponent else []))
        if self.recipe.optimiser.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.system.parameters(), self.recipe.optimiser.clip_norm)
        for optimiser in self._optimisers():
            optimiser.step()
            optimiser.zero_grad()
        return parts

    def _losses(
        self, batch: Batch, real: Motion | None, own: slice
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Weighted loss parts of the generator and of the discriminator, as this process's share of the whole batch's."""
        with self.fabric.autocast():
            output = self.forward_train(batch)
        if self.hardware.precision != "32-true":
            output = full_precision(output)
        weights = self.recipe.weights()
        step = Step(batch, output, self.bodies.neutral, weights, self.opponent, self.prior)
        parts: dict[str, Part] = {}
        for name, term in self.terms.items():
            part = term(step)
            parts[name] = Part(weights[name] * part.value, part.count)
            self.took_part[name] = self.took_part.get(name, False) or bool(part.count)
        generator, opponent = shared(parts), dict[str, Tensor]()
        if self.opponent is not None and real is not None:
            shown = Motion(axis_angle=real.axis_angle[own], betas=real.betas[own])
            opponent = shared(self.opponent.parts(output, shown.to(self.fabric.device)))
        return generator, opponent

    def _stop(self, batch: Batch, measured: Mapping[str, float]) -> None:
        path = self.folder / "diverged.pt"
        if self.rank == 0:
            torch.save({name: value.cpu() for name, value in batch.tensors().items()}, path)
        wrong = ", ".join(f"{name} {value}" for name, value in measured.items() if not math.isfinite(value))
        raise TrainingDiverged(
            f"step {self.state.step}: the loss is no number ({wrong}); the batch is saved in {path}. A lower learning rate "
            "(--set optimiser.lr=...) often helps"
        )

    # after an epoch

    def _validate(self, parts: dict[str, float], spent: dict[str, float], log: RunLog) -> None:
        summary: dict[str, float] = from_first(self._score() if self.rank == 0 else {})
        rule, schedule = self.recipe.validation, self.recipe.schedule
        generator = sum(parts[name] for name in self.terms if name in parts)
        for plateau in self.plateaus:
            plateau.step(summary[rule.metric] if schedule.plateau_on == "validation" else generator)
        line = {
            "epoch": self.state.epoch,
            "step": self.state.step,
            "loss": parts,
            "validation_mm": summary,
            "lr": [optimiser.param_groups[0]["lr"] for optimiser in self._optimisers()],
            "took_part": dict(self.took_part),
            **spent,
        }
        self.state.history.append(line)
        log.epoch(self.state.history)
        best = summary[rule.metric] < self.state.best
        if best:
            self.state.best = summary[rule.metric]
        if self.rank == 0:
            for which in ("last", "best") if best else ("last",):
                self._save_weights(which)

    def _score(self) -> dict[str, float]:
        self.system.eval()
        job = self.job
        limits = [n for n in (job.request.limit, self.recipe.validation.tracks) if n is not None]
        result = evaluate(
            self.system,
            self.protocol,
            job.store,
            root=job.request.root,
            bodies=self.bodies,
            features=job.features,
            limit=min(limits, default=None),
        )
        return {name: float(value) for name, value in result.summary.items()}

    def _save(self) -> None:
        save_state(self.folder, self.state, self._parts(), first=self.rank == 0)
        self.saved = time.monotonic()

    def _save_weights(self, which: str) -> None:
        how = {
            "device": str(self.fabric.device),
            "processes": self.world,
            "precision": self.hardware.precision,
            "compiled": self.hardware.compile,
        }
        options = self.recipe.options | {
            key: self.system.options[key]
            for key in ("feature_width", "flow_width")
            if key in self.system.options
        }
        card = training_card(self.job, options, self.state, how)
        save_checkpoint(self.system, self.folder / f"{which}.safetensors", card)
