"""Weights by a rule from names and shapes, and checkpoints in the released layouts."""

import json
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

STATE_DICTS = Path(__file__).parent / "state_dicts"
EXPECTED = Path(__file__).parent / "expected"
INTEGERS = ("num_batches_tracked", "faces_tensor", "parents", "extra_joints_idxs")


def rule_tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    """A sine wave whose phase is the name's checksum; weights are scaled by their fan-in, variances are positive."""
    if name.endswith(INTEGERS):
        return torch.zeros(shape, dtype=torch.int64)
    size = int(np.prod(shape))
    wave = torch.sin(torch.arange(size, dtype=torch.float64) * 0.7 + zlib.crc32(name.encode()) % 1000)
    if name.endswith("running_var"):
        wave = 1 + 0.5 * wave
    elif len(shape) > 1 and "init_" not in name:
        wave = wave * (2 / np.prod(shape[1:])) ** 0.5
    else:
        wave = wave * 0.1
    return wave.to(torch.float32).reshape(shape)


def rule_state(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    return {name: rule_tensor(name, tuple(shape)) for name, shape in shapes.items()}


@pytest.fixture(scope="session")
def fill() -> Callable[[nn.Module], Any]:
    """Fill a module's state by the rule, and put it into evaluation mode."""

    def filled(module: nn.Module) -> nn.Module:
        shapes = {name: tuple(value.shape) for name, value in module.state_dict().items()}
        module.load_state_dict(rule_state(shapes))
        return module.eval()

    return filled


@pytest.fixture(scope="session")
def shapes_of() -> Callable[[str], dict[str, tuple[int, ...]]]:
    """Entry names and shapes of a released state dict."""

    def read(name: str) -> dict[str, tuple[int, ...]]:
        content = json.loads((STATE_DICTS / f"{name}.json").read_text(encoding="utf-8"))
        return {key: tuple(shape) for key, shape in content.items()}

    return read


@pytest.fixture(scope="session")
def thin_state() -> Callable[[Mapping[str, tuple[int, ...]]], dict[str, Tensor]]:
    """A state dict of true shapes that takes no room: each entry is one small number, expanded."""

    def make(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        state = {}
        for name, shape in shapes.items():
            kind = torch.int64 if name.endswith(INTEGERS) else torch.float32
            value = 1e-4 * (1 + zlib.crc32(name.encode()) % 7)
            state[name] = torch.full((1,) * len(shape), value, dtype=kind).expand(shape)
        return state

    return make


@pytest.fixture
def features() -> Callable[..., Tensor]:
    """Smooth features (B, T, F) from a rule."""

    def make(batch: int, frames: int, width: int) -> Tensor:
        count = torch.arange(batch * frames * width, dtype=torch.float64)
        return (
            torch.sin(count * 0.37 + 0.2 * torch.floor(count / width)).float().reshape(batch, frames, width)
        )

    return make


@pytest.fixture(scope="session")
def outputs_stay() -> Callable[[str, Mapping[str, Tensor]], None]:
    """Compare tensors with those stored under a case's name: shape, mean and some values of each.

    A change on purpose: run the test once with `HPSBENCH_WRITE_EXPECTED=1`, and say why in the commit.
    """

    def check(case: str, tensors: Mapping[str, Tensor]) -> None:
        found = {name: _digest(value) for name, value in tensors.items()}
        path = EXPECTED / f"{case}.json"
        if os.environ.get("HPSBENCH_WRITE_EXPECTED"):
            path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        expected = json.loads(path.read_text(encoding="utf-8"))
        assert list(found) == list(expected)
        for name, values in expected.items():
            assert found[name]["shape"] == values["shape"], name
            assert found[name]["mean"] == pytest.approx(values["mean"], abs=1e-6), name
            assert found[name]["some"] == pytest.approx(values["some"], abs=1e-5), name

    return check


def _digest(value: Tensor) -> dict[str, Any]:
    flat = value.detach().double().flatten()
    return {
        "shape": list(value.shape),
        "mean": float(flat.mean()),
        "some": flat[:: max(len(flat) // 12, 1)].tolist(),
    }
