"""What a run is made of: the machine, the network on it, the windows, captured motions, the motion prior."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from hpsbench.bodies.mean_params import load_mean_params
from hpsbench.errors import UsageError
from hpsbench.models._adapter import FeatureSystem
from hpsbench.models._catalog import get_system
from hpsbench.models._mposer import MPoser
from hpsbench.models._system import PREDICTED_FIELDS, HPSOutput
from hpsbench.models.meva import Meva
from hpsbench.training.batches import TrainingWindows
from hpsbench.training.config import Schedule
from hpsbench.training.job import Job, first_stage, make_job
from hpsbench.training.mixture import Mixture, MotionWindows
from hpsbench.training.prior import motion_decoder, motion_prior
from hpsbench.training.start import set_dropout, start_from_checkpoint, start_regressor


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """Where and how a run computes; none of it is part of the run's name.

    Attributes:
        device: auto, cpu or cuda[:N].
        devices: processes on this machine, one a device; they share each batch.
        nodes: machines; more than one are started with torchrun.
        precision: "32-true", the reference, or "bf16-mixed": the network alone in half precision.
        compile: whether torch.compile makes the network's code.
    """

    device: str = "auto"
    devices: int = 1
    nodes: int = 1
    precision: str = "32-true"
    compile: bool = False


PRECISIONS: Mapping[str, str] = {"fp32": "32-true", "bf16": "bf16-mixed"}


def hardware_of(device: str, devices: int, nodes: int, precision: str, compile: bool) -> Hardware:
    """Hardware as it is named on the command line.

    Raises:
        UsageError: an unknown precision, or one numbered device for several processes.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"--precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    if devices * nodes > 1 and ":" in device:
        raise UsageError(
            f"--device {device} names one device, and --devices {devices} wants several; use --device cuda"
        )
    return Hardware(
        device=device, devices=devices, nodes=nodes, precision=PRECISIONS[precision], compile=compile
    )


def make_system(job: Job, device: torch.device) -> FeatureSystem:
    """The network of a job on its device, with the weights that it starts from."""
    recipe = job.recipe
    torch.manual_seed(job.seed)
    kind, width = get_system(recipe.system), job.store.features[job.features].dim
    options = dict(recipe.options)
    if recipe.system != "lstm_kalman":
        options.setdefault("feature_width", width)
    flow = job.sources[0].further.flow
    if flow is not None:
        options.setdefault("flow_width", flow.dim)
    start = recipe.init.get("regressor")
    if start == "mean":
        options["mean"] = load_mean_params(job.request.root, synthetic=job.store.synthetic)
    system: FeatureSystem = kind(**options)
    if start == "extractor":
        start_regressor(system, job.store.features[job.features].attrs["extractor"], job.request.root)
    if recipe.init.get("checkpoint"):
        first = first_stage(job)
        place = recipe.init["checkpoint"] if first is None else make_job(first).folder / "best.safetensors"
        start_from_checkpoint(system, place, job.request.root)
    if isinstance(system, Meva) and recipe.motion_vae is not None and job.motions is not None:
        rule, length = recipe.motion_vae, recipe.windows.length
        motion_decoder(system.vae_model, rule, job.motions, length, job.request.root, seed=job.seed)
    set_dropout(system, recipe.dropout)
    return system.to(device)


def make_mixture(job: Job, transform: Any = None) -> Mixture:
    """The windows of a job's sources, in the groups of its recipe."""
    shares = job.recipe.data.shares
    groups: dict[str, list[TrainingWindows]] = {name: [] for name in shares}
    for data in job.sources:
        windows = TrainingWindows(
            data.store,
            job.recipe,
            data.features,
            source=data.source,
            further=replace(data.further, transform=transform),
            limit=job.request.limit,
        )
        groups.setdefault(data.source.group, []).append(windows)
    return Mixture({name: pools for name, pools in groups.items() if pools}, shares)


def steps_of(job: Job) -> int:
    """Steps of the whole schedule."""
    schedule = job.recipe.schedule
    return int(min(schedule.epochs * schedule.iterations_per_epoch, job.recipe.max_steps or math.inf))


def make_plateau(
    optimiser: torch.optim.Optimizer, schedule: Schedule
) -> torch.optim.lr_scheduler.ReduceLROnPlateau:
    """What lowers a learning rate after epochs without a validation error, or training loss, that is lower by 1e-4.

    Of an error that is a share, as in VIBE's trainer. Not of a loss: a divergence (catfa) may fall below 0, where a share of
    the lowest leaves room for worse.
    """
    return torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser,
        factor=schedule.plateau_factor,
        patience=schedule.plateau_patience,
        threshold_mode="abs" if schedule.plateau_on == "training" else "rel",
    )


def make_motions(job: Job) -> MotionWindows | None:
    """Captured motions for the discriminator, where the recipe has one."""
    rule = job.recipe.adversary
    if job.motions is None or rule is None or "adversarial" not in job.recipe.weights():
        return None
    return MotionWindows(job.motions, rule.motions, job.recipe.windows.length, job.request.limit)


def make_prior(job: Job, device: torch.device, progress: Any = None) -> MPoser | None:
    """The motion prior, found or trained, where the recipe has one."""
    rule, store = job.recipe.prior, job.motions
    if rule is None or store is None or "motion_prior" not in job.recipe.weights():
        return None
    length, root = job.recipe.windows.length, job.request.root
    return motion_prior(rule, store, length, root, seed=job.seed, progress=progress).to(device)


def check_batch(job: Job, mixture: Mixture, processes: int) -> None:
    """Whether every process gets windows of every group in every part of a step.

    Raises:
        UsageError: the batch is too small.
    """
    schedule = job.recipe.schedule
    smallest = min(mixture.counts(schedule.batch).values())
    if smallest < max(processes, schedule.accumulate, 1):
        raise UsageError(
            f"training recipe {job.recipe.name!r}: a batch of {schedule.batch} has {smallest} windows of one group, which "
            f"{processes} processes in {schedule.accumulate} parts cannot share; use --set schedule.batch=..., or fewer devices"
        )


def make_fabric(hardware: Hardware) -> Fabric:
    """The machine, as Lightning Fabric drives it: devices, precision, processes."""
    kind, _, number = hardware.device.partition(":")
    several = hardware.devices * hardware.nodes > 1
    devices: Any = [int(number)] if number and not several else hardware.devices
    fabric = Fabric(
        accelerator="auto" if kind == "auto" else kind,
        devices=devices,
        num_nodes=hardware.nodes,
        strategy="ddp" if several else "auto",
        precision=hardware.precision,  # type: ignore[arg-type]
    )
    if several:
        fabric.launch()
    return fabric


def full_precision(output: HPSOutput) -> HPSOutput:
    """An output of half precision, as the losses want it."""
    changed: dict[str, Any] = {}
    for name in PREDICTED_FIELDS:
        value = getattr(output, name)
        changed[name] = None if value is None else value.float()
    aux = {
        name: full_precision(value)
        if isinstance(value, HPSOutput)
        else value.float()
        if isinstance(value, Tensor) and value.is_floating_point()
        else value
        for name, value in output.aux.items()
    }
    return replace(output, **changed, aux=aux)
