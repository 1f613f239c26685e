"""What every system keeps: one suite, run over all systems that are listed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from hpsbench.models._adapter import FeatureSystem, choose_windows
from hpsbench.models._catalog import get_system, list_systems, load_system, read_card
from hpsbench.models._checkpoints import save_checkpoint
from hpsbench.models._system import HPSOutput, System
from hpsbench.store.windows import predicted_rows, rule_windows
from hpsbench.types import ClipInput, Prediction, WindowRule

RULES = {
    "tcmr": WindowRule(length=16, stride=1, predict="middle", edges="repeat-frame", short="skip"),
    "vibe": WindowRule(length=16, stride=16, predict="all", edges="drop", short="skip"),
    "meva": WindowRule(length=90, stride=80, edges="shift-last", overlap="cut-half", short="pad"),
    "track": WindowRule(length="track", stride="track"),
    "own": None,
}
TEXT_FIELDS = ("title", "paper", "predicts", "fixed", "reading")
LISTED_FIELDS = ("fixed", "reading")  # one line, or a list of lines


@dataclass(frozen=True)
class FeatureBatch:
    features: torch.Tensor
    flow: torch.Tensor | None = None


@pytest.fixture(params=list_systems())
def system(request: pytest.FixtureRequest) -> FeatureSystem:
    torch.manual_seed(0)
    made: FeatureSystem = get_system(request.param)(**read_card(request.param).get("narrow", {}))
    return made.eval()


def width_of(system: FeatureSystem) -> int:
    return int(system.options["feature_width"])


def features(system: FeatureSystem, *leading: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(*leading, width_of(system), generator=generator)


def streams(system: FeatureSystem, *leading: int) -> tuple[torch.Tensor, ...]:
    """What a network is called with: features, and flow features where it reads them."""
    given = features(system, *leading)
    if system.inputs.flow is None:
        return (given,)
    return given, torch.rand(*leading, system.inputs.flow, generator=torch.Generator().manual_seed(2))


def clip(system: FeatureSystem, frames: int, windows: WindowRule | None) -> ClipInput:
    given = [stream.numpy() for stream in streams(system, frames)]
    names = ("features", "flow")[: len(given)]
    inputs: dict[str, Any] = dict(zip(names, given, strict=True))
    if system.inputs.predictions is not None:
        joints = given[0].reshape(frames, -1, 3)
        inputs = {"predictions": Prediction(rows=np.arange(frames), joints3d=joints, joint_set="lsp14")}
    return ClipInput(track="a", length=frames, frame_id=np.arange(frames), windows=windows, **inputs)


def window_length(system: FeatureSystem) -> int:
    length = system.context.length
    return 16 if length == "track" else max(length, 2)


def tensors(output: HPSOutput | Prediction) -> dict[str, Any]:
    names = ("rotmat", "betas", "camera", "transl", "joints3d", "vertices")
    return {name: getattr(output, name) for name in names if getattr(output, name) is not None}


def trained_tensors(output: HPSOutput) -> list[torch.Tensor]:
    """What the losses read of an output of `forward_train`: its fields, and the rows that only a loss needs."""
    found = list(tensors(output).values())
    for value in output.aux.values():
        if isinstance(value, HPSOutput):
            found += trained_tensors(value)
        elif isinstance(value, torch.Tensor) and value.requires_grad:
            found.append(value)
    return found


@pytest.mark.parametrize("name", list_systems())
def test_the_card_says_what_the_system_is(name: str) -> None:
    card = read_card(name)
    for field in TEXT_FIELDS:
        lines = card[field] if field in LISTED_FIELDS and isinstance(card[field], list) else [card[field]]
        assert lines
        for line in lines:
            assert isinstance(line, str), field
            assert line.strip(), field
            assert "\n" not in line, field
    assert set(card["inputs"]) <= {"features", "flow", "images", "keypoints2d", "predictions", "window"}
    with torch.device("meta"):
        whole = get_system(name)()
    assert card["parameters"] == sum(value.numel() for value in whole.parameters() if value.requires_grad)
    assert get_system(name).name == name
    for key in ("features", "flow", "predictions"):
        assert getattr(whole.inputs, key) == card["inputs"].get(key)


def test_it_is_a_system(system: FeatureSystem) -> None:
    assert isinstance(system, System)
    assert system.context is None or isinstance(system.context, WindowRule)
    assert type(system)(**system.options).options == system.options


def test_windows_go_in_and_bodies_come_out(system: FeatureSystem) -> None:
    length = window_length(system)
    with torch.no_grad():
        output = system(*streams(system, 3, length))
    frames = {tuple(value.shape[:2]) for value in tensors(output).values()}
    assert frames in ({(3, length)}, {(3, 1)})
    for name, value in tensors(output).items():
        assert torch.isfinite(value).all(), name
    if output.rotmat is not None:
        identity = output.rotmat @ output.rotmat.transpose(-1, -2)
        torch.testing.assert_close(identity, torch.eye(3).expand_as(identity), atol=1e-4, rtol=0)
        assert (torch.linalg.det(output.rotmat) > 0).all()


def test_a_window_does_not_depend_on_its_batch(system: FeatureSystem) -> None:
    given = streams(system, 4, window_length(system))
    with torch.no_grad():
        together = system(*given)
        alone = system(*(stream[2:3] for stream in given))
        turned = system(*(stream.flip(0) for stream in given))
    for name, value in tensors(together).items():
        torch.testing.assert_close(value[2:3], tensors(alone)[name], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(value.flip(0), tensors(turned)[name], atol=1e-5, rtol=1e-5)


def test_gradients_reach_every_parameter(system: FeatureSystem) -> None:
    system.train()
    torch.manual_seed(0)
    output = system.forward_train(FeatureBatch(*streams(system, 4, window_length(system))))
    weights = torch.Generator().manual_seed(2)
    loss = torch.stack(
        [(v * torch.rand(v.shape, generator=weights)).sum() for v in trained_tensors(output)]
    ).sum()
    loss.backward()
    trained = {name: value for name, value in system.named_parameters() if value.requires_grad}
    assert trained
    for name, value in trained.items():
        assert value.grad is not None, f"{name} gets no gradient"
        assert torch.isfinite(value.grad).all(), name


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("frames", [1, 15, 16, 37, 100])
def test_predict_gives_the_rows_of_the_window_rule(system: FeatureSystem, rule: str, frames: int) -> None:
    chosen, whose = choose_windows(system, RULES[rule])
    prediction = system.predict(clip(system, frames, RULES[rule]))
    if system.inputs.features is None:
        expected = np.arange(frames)
    else:
        cut = rule_windows(frames, chosen or WindowRule(length="track", stride="track"))
        expected = np.unique(predicted_rows(cut))
    np.testing.assert_array_equal(prediction.rows, expected)
    if whose == "system":
        np.testing.assert_array_equal(prediction.rows, np.arange(frames))
    for name, value in tensors(prediction).items():
        assert len(value) == len(prediction.rows), name
        assert value.dtype == np.float32, name
        assert np.isfinite(value).all(), name


def test_predict_repeats_itself_and_leaves_the_mode(system: FeatureSystem) -> None:
    system.train()
    first, second = (tensors(system.predict(clip(system, 20, RULES["tcmr"]))) for _ in range(2))
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])
    assert system.training


def test_a_checkpoint_brings_it_back(system: FeatureSystem, tmp_path) -> None:
    path = save_checkpoint(system, tmp_path / "a.safetensors", {"extractor": "embedded"})
    loaded = load_system(path)
    assert type(loaded) is type(system)
    assert loaded.options == system.options
    assert loaded.inputs.extractor == "embedded"
    given = streams(system, 2, window_length(system))
    with torch.no_grad():
        ours, theirs = tensors(system(*given)), tensors(loaded(*given))
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], atol=0, rtol=0)
