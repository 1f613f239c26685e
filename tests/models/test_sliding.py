"""Windows that share work give what the network itself gives, one window at a time."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hpsbench.models import _adapter
from hpsbench.models._adapter import FeatureSystem
from hpsbench.models._regressor import IterativeRegressor
from hpsbench.models._sliding import (
    GROUP,
    WINDOWS_PER_BATCH,
    SharedGru,
    gru_step,
    overlaps_much,
    regress,
    windows_at_once,
)
from hpsbench.models._system import HPSOutput
from hpsbench.models.mpsnet import RELEASED_GROUP, MpsNet
from hpsbench.models.tcmr import Tcmr
from hpsbench.models.vibe import Vibe
from hpsbench.types import ClipInput, WindowRule

WIDTH = 24
NARROW = {"feature_width": WIDTH, "hidden_size": 10, "attention_width": 6, "regressor_hidden": 12}
SYSTEMS: dict[str, tuple[type[FeatureSystem], dict[str, Any]]] = {
    "tcmr": (Tcmr, {}),
    "tcmr, 1 layer": (Tcmr, {"n_layers": 1}),
    "tcmr, 3 layers": (Tcmr, {"n_layers": 3}),
    "mpsnet": (MpsNet, {}),
    "mpsnet, released": (MpsNet, {"batch_mixing": "released"}),
    "mpsnet, non-local": (MpsNet, {"temporal_module": "nonlocal"}),
    "mpsnet, TF-intgr.": (MpsNet, {"integration": "tcmr_tf"}),
    "mpsnet, TF-intgr., released": (MpsNet, {"integration": "tcmr_tf", "batch_mixing": "released"}),
}
FIELDS = ("rotmat", "betas", "camera")


@pytest.fixture
def made(fill) -> Callable[[str], FeatureSystem]:
    """A narrow system under the rule's weights, enlarged so that maps, states and heads count."""

    def make(case: str) -> FeatureSystem:
        kind, options = SYSTEMS[case]
        system = fill(kind(**{**NARROW, **options}))
        with torch.no_grad():
            for name, value in system.named_parameters():
                if "conv_" in name or "gru" in name:
                    value *= 2
        return system

    return make


def track(frames: int) -> torch.Tensor:
    return torch.randn(frames, WIDTH, generator=torch.Generator().manual_seed(5)) * 0.5


def clip(features: torch.Tensor, windows: WindowRule | None = None) -> ClipInput:
    n = len(features)
    return ClipInput(track="a", length=n, frame_id=np.arange(n), features=features.numpy(), windows=windows)


def sliding(frames: int, length: int = 16, stride: int = 1) -> torch.Tensor:
    """Rows of a few windows of one repeated frame, then of all full windows, out of order."""
    full = torch.arange(0, frames - length + 1, stride)[:, None] + torch.arange(length)
    still = torch.tensor([3, 0, frames - 1])[:, None].expand(-1, length)
    return torch.cat([still, full.flip(0)])


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("step", [0, 3, 6, -1])
def test_a_shared_gru_is_the_gru(layers: int, bidirectional: bool, step: int) -> None:
    torch.manual_seed(0)
    gru = nn.GRU(5, 4, num_layers=layers, bidirectional=bidirectional)
    frames, rows = torch.randn(12, 5), sliding(12, length=7)
    with torch.no_grad():
        expected = gru(frames[rows].transpose(0, 1))[0][step]
        found = SharedGru(gru, frames, rows).at(step)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_one_step_of_a_gru() -> None:
    torch.manual_seed(1)
    cell = nn.GRUCell(3, 4)
    given, state = torch.randn(6, 3), torch.randn(6, 4)
    with torch.no_grad():
        gates = nn.functional.linear(given, cell.weight_ih, cell.bias_ih)
        kept = gates.clone(), state.clone()
        torch.testing.assert_close(gru_step(gates, state, cell.weight_hh, cell.bias_hh), cell(given, state))
        torch.testing.assert_close(gru_step(gates, None, cell.weight_hh, cell.bias_hh), cell(given))
    torch.testing.assert_close((gates, state), kept, atol=0, rtol=0)  # what it was given stays


def test_the_regressor_from_parts(fill) -> None:
    regressor = fill(IterativeRegressor(WIDTH, 12))
    features = track(9)
    with torch.no_grad():
        for part, whole in zip(regress(regressor, features), regressor(features), strict=True):
            torch.testing.assert_close(part, whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("case", SYSTEMS)
@pytest.mark.parametrize(("length", "stride"), [(16, 1), (16, 3), (9, 1), (21, 2)])
def test_windows_of_a_track_are_those_of_the_network(made, case: str, length: int, stride: int) -> None:
    system, frames = made(case), track(60)
    rows = sliding(60, length, stride)
    assert system.shares_windows
    with torch.no_grad():
        found, expected = system.forward_windows(frames, rows), system(frames[rows])
    for name in FIELDS:
        value = getattr(expected, name)
        assert value.shape[:2] == (len(rows), 1)
        assert (value[0] - value[-1]).abs().max() > 1e-3, name
        torch.testing.assert_close(getattr(found, name), value, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.aux["attention"], expected.aux["attention"], atol=1e-5, rtol=0)
    assert not found.betas.requires_grad


@pytest.mark.parametrize("case", SYSTEMS)
@pytest.mark.parametrize("frames", [1, 15, 16, 40, WINDOWS_PER_BATCH + 30])
def test_predictions_of_a_track_are_those_of_a_loop(made, case: str, frames: int, monkeypatch) -> None:
    """Also beyond one batch of windows, and for the groups of 8 of the released mixing."""
    system, given = made(case), clip(track(frames))
    found = system.predict(given)
    monkeypatch.setattr(system, "shares_windows", False)
    monkeypatch.setattr(_adapter, "FRAMES_PER_BATCH", 16 * RELEASED_GROUP)
    expected = system.predict(given)
    np.testing.assert_array_equal(found.rows, expected.rows)
    for name in FIELDS:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-5)


@pytest.mark.parametrize(
    ("length", "stride", "windows"), [(16, 1, 256), (16, 4, 248), (243, 60, 8), (2000, 1, 8), (3, 1, 256)]
)
def test_batches_of_windows_keep_the_released_groups(length: int, stride: int, windows: int) -> None:
    rule = WindowRule(length=length, stride=stride, predict="middle")
    assert windows_at_once(rule, 1024) == windows
    assert windows % RELEASED_GROUP == 0
    assert RELEASED_GROUP == GROUP


@pytest.mark.parametrize(
    ("length", "stride", "much"), [(16, 1, True), (16, 4, True), (16, 5, False), ("track", "track", False)]
)
def test_sharing_is_for_windows_that_overlap_much(length: Any, stride: Any, much: bool) -> None:
    assert overlaps_much(WindowRule(length=length, stride=stride)) is much


class Louder(Tcmr):
    """A system of someone's own, which changes the network but knows nothing of shared windows."""

    def forward(self, features: torch.Tensor) -> HPSOutput:
        output = super().forward(features)
        return replace(output, betas=2 * output.betas)


def test_a_subclass_with_another_forward_is_not_bypassed(fill) -> None:
    given = clip(track(40))
    quiet, loud = (fill(kind(**NARROW)).predict(given).betas for kind in (Tcmr, Louder))
    np.testing.assert_allclose(loud, 2 * quiet, atol=1e-5)


def test_frames_are_encoded_once_where_windows_overlap(made, monkeypatch) -> None:
    system = made("tcmr")
    calls: list[tuple[int, int]] = []
    whole: list[int] = []
    real, plain = system.forward_windows, system.forward
    monkeypatch.setattr(system, "forward_windows", lambda f, r: calls.append((len(f), len(r))) or real(f, r))
    monkeypatch.setattr(system, "forward", lambda f: whole.append(len(f)) or plain(f))
    system.predict(clip(track(600)))
    assert sum(windows for _, windows in calls) == 600
    assert sum(frames for frames, _ in calls) <= 600 + 16 * len(calls)
    assert len(calls) == -(-600 // WINDOWS_PER_BATCH)
    assert not whole
    calls.clear()
    apart = WindowRule(length=16, stride=8, predict="middle", edges="drop", short="skip")
    system.predict(clip(track(600), apart))  # each frame in two windows: nothing much to share
    assert not calls
    assert sum(whole) == 74


@pytest.mark.parametrize("system", [Vibe(feature_width=8, hidden_size=4, regressor_hidden=4), None])
def test_systems_that_share_nothing_are_called_as_they_are(system: FeatureSystem | None) -> None:
    system = (system or MpsNet(**{**NARROW, "feature_width": 8}, integration="none")).eval()
    frames, rows = torch.randn(20, 8), sliding(20)
    assert not system.shares_windows
    with torch.no_grad():
        torch.testing.assert_close(
            system.forward_windows(frames, rows).betas, system(frames[rows]).betas, atol=0, rtol=0
        )


def test_training_mode_and_gradients_are_left_alone(made) -> None:
    system = made("mpsnet").train()
    system.predict(clip(track(40)))
    assert system.training
    assert all(value.grad is None and value.requires_grad for value in system.parameters())
