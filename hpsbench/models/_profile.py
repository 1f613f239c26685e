"""What a system costs: parameters, multiply-adds, bytes and measured time per window, by module."""

import platform
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hpsbench.bodies.joints import get_joint_set
from hpsbench.errors import UsageError
from hpsbench.features.backbones import SPIN_SIZE, ResNet50
from hpsbench.models._adapter import FeatureSystem
from hpsbench.models._costs import bytes_of, count_costs, parameters_of, watched

ANY_LENGTH = 16
"""Frames of a window for systems that take whole tracks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One module, with its children.

    Attributes:
        module: its name in the network; "" is the whole.
        kind: its class.
        parameters: trainable numbers.
        multiply_adds: for one window; see `models._costs` for what is counted.
        bytes: of weights and buffers in memory.
        milliseconds: for one window: the batch's time over its windows, shared out among the modules as in calls that were
            watched module by module; None where nothing was measured.
    """

    module: str
    kind: str
    parameters: int
    multiply_adds: int
    bytes: int
    milliseconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a system costs.

    Attributes:
        system: its name.
        options: that it was built with.
        frames: of the window that was run.
        predicts: frames that such a window predicts.
        batch: windows at once.
        parts: the whole first, then its modules.
        image_network: what one frame costs before: `parameters` and `multiply_adds` of SPIN's ResNet-50; None for
            systems that read no features.
        machine: where the time was measured: device, threads, torch, ...
    """

    system: str
    options: Mapping[str, Any]
    frames: int
    predicts: int
    batch: int
    parts: tuple[Part, ...]
    image_network: Mapping[str, int] | None
    machine: Mapping[str, Any]

    def to_json_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "options": dict(self.options), "parts": [asdict(part) for part in self.parts]}


def profile_system(
    system: FeatureSystem,
    *,
    batch: int = 1,
    frames: int | None = None,
    depth: int = 2,
    repeats: int = 5,
) -> Profile:
    """Count what a system costs on shapes, and measure it where it is.

    Args:
        system: a feature system, on the device to measure on; its weights don't matter.
        batch: windows at once.
        frames: of a window; None: the system's own.
        depth: how deep modules are told apart.
        repeats: timed calls, of which the fastest counts (others wait for the machine); 0 measures nothing.

    Raises:
        UsageError: a system that is no network of ours, so that its modules cannot be seen.
    """
    if not isinstance(system, FeatureSystem) or not system.options:
        raise UsageError(
            f"{getattr(system, 'name', system)!r} is not a network that hpsbench can look into; profile counts modules of "
            "feature systems"
        )
    length = frames or (system.context.length if isinstance(system.context.length, int) else ANY_LENGTH)
    twin = _on_meta(system)
    given = _inputs(twin, batch, length, "meta")
    outputs: list[Any] = []
    costs = count_costs(twin, lambda: outputs.append(twin(*given)))
    elapsed, shares = _measured(system, batch, length, repeats)
    parts = []
    for name, module in twin.named_modules():
        if name.count(".") >= depth and name:
            continue
        spent = None if elapsed is None else elapsed * _share(shares, name)
        parts.append(
            Part(
                module=name,
                kind=type(module).__name__,
                parameters=parameters_of(twin, name),
                multiply_adds=costs.of(name) // batch,
                bytes=bytes_of(twin, name),
                milliseconds=None if spent is None else 1000 * spent / batch,
            )
        )
    output = outputs[0]
    shown = output.rotmat if output.rotmat is not None else output.joints3d
    return Profile(
        system=system.name,
        options=system.options,
        frames=length,
        predicts=int(shown.shape[1]),
        batch=batch,
        parts=tuple(parts),
        image_network=image_network() if system.inputs.features is not None else None,
        machine=_machine(system),
    )


def image_network() -> dict[str, int]:
    """SPIN's ResNet-50 on one crop: `parameters`, `multiply_adds`, and `elementwise` as ptflops counts it."""
    with torch.device("meta"):
        network, crop = ResNet50().eval(), torch.zeros(1, 3, SPIN_SIZE, SPIN_SIZE)
    costs = count_costs(network, lambda: network(crop))
    return {
        "parameters": parameters_of(network),
        "multiply_adds": costs.of(),
        "elementwise": costs.elementwise_of(),
        "bytes": bytes_of(network),
    }


def _on_meta(system: FeatureSystem) -> FeatureSystem:
    """The same network without memory; one of another package is made as it makes itself."""
    with torch.device("meta"):
        try:
            twin = type(system)(**system.options)
        except TypeError:
            twin = type(system)()
    return twin.eval()


def _inputs(system: FeatureSystem, batch: int, frames: int, device: str | torch.device) -> tuple[Tensor, ...]:
    """Random windows of what the network is called with, in the order in which it reads them."""
    inputs, tails = system.inputs, list[tuple[int, ...]]()
    if inputs.features is not None or (inputs.images is None and inputs.keypoints2d is None):
        tails.append((int(system.options["feature_width"]),))
    if inputs.flow is not None:
        tails.append((inputs.flow,))
    if inputs.images is not None:
        tails.append((3, inputs.images, inputs.images))
    if inputs.keypoints2d is not None:
        tails.append((len(get_joint_set(inputs.keypoints2d)), 3))
    return tuple(torch.rand(batch, frames, *tail, device=device) for tail in tails)


@torch.no_grad()
def _measured(
    system: FeatureSystem, batch: int, frames: int, repeats: int
) -> tuple[float | None, Counter[str]]:
    """Seconds of the fastest call, and of each module's own work in the fastest watched one."""
    parameters = next(iter(system.parameters()), None)
    if repeats < 1 or parameters is None:
        return None, Counter()
    device, training = parameters.device, system.training
    given = _inputs(system, batch, frames, device)
    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    system.eval()
    try:
        for _ in range(2):
            system(*given)
        plain, watched_runs = [], []
        for _ in range(repeats):
            plain.append(_timed(lambda: system(*given), wait))
            watched_runs.append(_timed_by_module(system, given, wait))
    finally:
        system.train(training)
    return min(plain), min(watched_runs, key=lambda run: sum(run.values()))


def _timed(call: Callable[[], Any], wait: Callable[[], None]) -> float:
    wait()
    begun = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - begun


def _timed_by_module(system: nn.Module, given: tuple[Tensor, ...], wait: Callable[[], None]) -> Counter[str]:
    """Seconds that each module spends itself, its children's apart."""
    spent: Counter[str] = Counter()
    stack: list[tuple[str, float]] = []

    def enter(name: str) -> None:
        wait()
        now = time.perf_counter()
        if stack:
            spent[stack[-1][0]] += now - stack[-1][1]  # type: ignore[assignment]
        stack.append((name, now))

    def leave(_: str) -> None:
        wait()
        now = time.perf_counter()
        name, since = stack.pop()
        spent[name] += now - since  # type: ignore[assignment]
        if stack:
            stack[-1] = (stack[-1][0], now)

    with watched(system, enter, leave):
        system(*given)
    return spent


def _share(spent: Counter[str], module: str) -> float:
    """Part of the time that a module takes with its children; 1 for the whole."""
    if not module:
        return 1.0
    own = [value for name, value in spent.items() if name == module or name.startswith(f"{module}.")]
    return sum(own) / max(sum(spent.values()), 1e-12)


def _machine(system: nn.Module) -> dict[str, Any]:
    parameters = next(iter(system.parameters()), None)
    device = torch.device("cpu") if parameters is None else parameters.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": f"{device.type} ({name})",
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "precision": "float32",
    }
