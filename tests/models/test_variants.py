"""Every variant that the papers' ablation tables need: shapes, gradients, and outputs that stay.

Weights come from the rule of names and shapes; the stored values are few, so that one small file holds all variants.
A change on purpose: run this file's tests once with `HPSBENCH_WRITE_EXPECTED=1`, and say why in the commit.
"""

from itertools import combinations
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hpsbench.models._adapter import FeatureSystem
from hpsbench.models._catalog import get_system, read_card
from hpsbench.models._system import HPSOutput

NO_HAFI: dict[str, Any] = {"integration": "none"}
VARIANTS: dict[str, tuple[str, dict[str, Any], int]] = {
    # name: system, options, frames predicted of a window of 16 (of its own length where that is fixed)
    "spin": ("spin", {}, 16),
    "vibe one-way": ("vibe", {}, 16),
    "vibe one-way, no residual": ("vibe", {"residual": False}, 16),
    "vibe bidirectional": ("vibe", {"bidirectional": True}, 16),
    "vibe bidirectional, no residual": ("vibe", {"bidirectional": True, "residual": False}, 16),
    "tcmr": ("tcmr", {}, 1),
    "mpsnet": ("mpsnet", {}, 1),
    "mpsnet, released mixing": ("mpsnet", {"batch_mixing": "released"}, 1),
    "mpsnet, non-local only": ("mpsnet", {"temporal_module": "nonlocal", **NO_HAFI}, 16),
    "mpsnet, non-local + HAFI": ("mpsnet", {"temporal_module": "nonlocal"}, 1),
    "mpsnet, MoCA only": ("mpsnet", NO_HAFI, 16),
    "mpsnet, MoCA only, released mixing": ("mpsnet", {"batch_mixing": "released", **NO_HAFI}, 16),
    "mpsnet, MoCA + TF-intgr.": ("mpsnet", {"integration": "tcmr_tf"}, 1),
    "hmmr": ("hmmr", {}, 20),
    "hmmr, deltas and hallucination": ("hmmr", {"deltas": [-5, 5], "hallucinate": True}, 20),
    "meva rec_1": ("meva", {"vae": "rec_1"}, 20),
    "meva rec_2": ("meva", {"vae": "rec_2"}, 20),
    "spsnet": ("spsnet", {}, 32),
    "spsnet without self-attention": ("spsnet", {"temporal_module": "none"}, 32),
    "spsnet without forecasting": ("spsnet", {"forecasting": False}, 32),
    "spsnet without both": ("spsnet", {"temporal_module": "none", "forecasting": False}, 32),
    "spsnet GRU": ("spsnet", {"temporal_module": "gru"}, 32),
    "spsnet of 8 frames": ("spsnet", {"length": 8}, 8),
    "catfa": ("catfa", {}, 16),
    "catfa {1,0,-1}": ("catfa", {"distances": [1, 0, -1]}, 16),
    "catfa {4,..,0}": ("catfa", {"distances": [4, 3, 2, 1, 0]}, 16),
    "catfa GRU": ("catfa", {"aggregation": "gru"}, 16),
    "catfa TCN": ("catfa", {"aggregation": "tcn"}, 16),
    "catfa mean": ("catfa", {"aggregation": "mean"}, 16),
    "catfa equal weights": ("catfa", {"aggregation": "equal"}, 16),
    "catfa, d = -1 alone": ("catfa", {"single": -1}, 16),
    "dtsvibe TE + TR": ("dtsvibe", {}, 16),
    "dtsvibe GRU + TR": ("dtsvibe", {"temporal_encoder": "gru"}, 16),
    "dtsvibe TE + HR": ("dtsvibe", {"regressor": "hmr"}, 16),
    "dtsvibe without flow": ("dtsvibe", {"flow": False}, 16),
    "lstm_kalman": ("lstm_kalman", {}, 16),
}
UNUSED = {"meva rec_2": ("vae_init_mlp.",)}
"""Entries that the released layout keeps although this variant does not use them."""
BATCH = 2


@pytest.fixture(scope="module")
def made(fill):
    """A narrow system of a variant under the rule's weights."""
    classes = {name: (get_system(name), read_card(name)["narrow"]) for name, _, _ in VARIANTS.values()}

    def make(variant: str) -> FeatureSystem:
        name, options, _ = VARIANTS[variant]
        kind, narrow = classes[name]
        return fill(kind(**{**narrow, **options}))

    return make


@pytest.fixture
def streams(features):
    """Features, and flow where the system reads it, of windows of its own length."""

    def make(system: FeatureSystem) -> list[torch.Tensor]:
        frames = 16 if system.context.length in ("track", 1) else system.context.length
        given = [0.7 * features(BATCH, frames, system.options["feature_width"])]
        if system.inputs.flow is not None:
            given.append(0.5 * features(BATCH, frames, system.inputs.flow).flip(1))
        return given

    return make


def tensors(output: HPSOutput) -> dict[str, torch.Tensor]:
    found = {name: getattr(output, name) for name in ("rotmat", "betas", "camera", "joints3d")}
    return {name: value for name, value in found.items() if value is not None}


def trained(output: HPSOutput) -> list[torch.Tensor]:
    """What losses read: the fields, and the rows in `aux` that carry gradients."""
    found = list(tensors(output).values())
    for value in output.aux.values():
        if isinstance(value, HPSOutput):
            found += trained(value)
        elif isinstance(value, torch.Tensor) and value.requires_grad:
            found.append(value)
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_shapes(variant: str, made, streams) -> None:
    system = made(variant)
    frames = VARIANTS[variant][2]
    with torch.no_grad():
        output = system(*streams(system))
    if output.joints3d is not None:
        assert output.joints3d.shape == (BATCH, frames, 14, 3)
        return
    assert output.rotmat.shape == (BATCH, frames, 24, 3, 3)
    assert output.betas.shape == (BATCH, frames, 10)
    assert output.camera.shape == (BATCH, frames, 3)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_reach_every_parameter_and_the_inputs(variant: str, made, streams) -> None:
    system = made(variant).train()
    torch.manual_seed(0)
    given = [stream.requires_grad_() for stream in streams(system)]
    batch = SimpleNamespace(**dict(zip(("features", "flow"), given, strict=False)))
    weights = torch.Generator().manual_seed(2)
    loss = sum(
        (v * torch.rand(v.shape, generator=weights)).sum() for v in trained(system.forward_train(batch))
    )
    loss.backward()
    for name, value in system.named_parameters():
        if not value.requires_grad or name.startswith(UNUSED.get(variant, ("-",))):
            continue
        assert value.grad is not None, name
        assert torch.isfinite(value.grad).all(), name
    assert all(stream.grad.abs().max() > 0 for stream in given)


def test_outputs_stay(made, streams, outputs_stay) -> None:
    found = {}
    with torch.no_grad():
        for variant in VARIANTS:
            system = made(variant)
            output = tensors(system(*streams(system)))
            found[variant] = torch.cat([value.flatten() for value in output.values()])
    outputs_stay("variants", found)
    same = [
        {"catfa mean", "catfa equal weights"},
        {"hmmr", "hmmr, deltas and hallucination"},
    ]  # the latter in training
    total = {name: round(value.double().sum().item(), 5) for name, value in found.items()}
    for name, other in combinations(total, 2):
        assert (total[name] == total[other]) == ({name, other} in same), (name, other)
