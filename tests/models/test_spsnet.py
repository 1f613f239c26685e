from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hpsbench.errors import UsageError
from hpsbench.models._catalog import load_system
from hpsbench.models._checkpoints import save_checkpoint
from hpsbench.models.spsnet import SpsNet
from hpsbench.models.vibe import TemporalEncoder
from hpsbench.types import ClipInput, WindowRule

WIDTH = 24
NARROW = {"feature_width": WIDTH, "hidden_size": 8, "regressor_hidden": 12}
VARIANTS = {
    "spsnet": {},
    "spsnet-no-attention": {"temporal_module": "none"},
    "spsnet-no-forecasting": {"forecasting": False},
    "spsnet-gru": {"temporal_module": "gru"},
}


@pytest.fixture
def given() -> torch.Tensor:
    return torch.randn(2, 6, WIDTH, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def made(fill):
    def make(**options) -> SpsNet:
        return fill(SpsNet(**{**NARROW, **options}))

    return make


def softmax(values: np.ndarray) -> np.ndarray:
    grown = np.exp(values - values.max())
    return grown / grown.sum()


def two_layers_by_hand(state: dict[str, np.ndarray], prefix: str, frame: np.ndarray) -> np.ndarray:
    for layer in (0, 2):
        frame = state[f"{prefix}.{layer}.weight"] @ frame + state[f"{prefix}.{layer}.bias"]
        frame = np.where(frame > 0, frame, 0.01 * frame)
    return frame


def fused_by_hand(state: dict[str, np.ndarray], frames: np.ndarray, attention: bool) -> np.ndarray:
    """F of one window, frame by frame in float64: equations 1 and 2, the forecast, and the fusion of figure 4."""
    latent = frames
    if attention:
        queries = [two_layers_by_hand(state, "attention.forward_net", f) for f in frames]
        keys = [two_layers_by_hand(state, "attention.backward_net", f) for f in frames]
        latent = np.array(
            [
                f + softmax(np.array([q @ k for k in keys])) @ frames
                for f, q in zip(frames, queries, strict=True)
            ]
        )
    fused = [latent[0]]
    for i in range(1, len(frames)):
        both = np.array([latent[i], two_layers_by_hand(state, "forecast", frames[i - 1])])
        logits = [(state["fusion.weight"] @ vector + state["fusion.bias"])[0] for vector in both]
        fused.append(softmax(np.array(logits)) @ both)
    return np.array(fused)


@pytest.mark.parametrize("case", VARIANTS)
def test_outputs_stay(case: str, made, given, outputs_stay) -> None:
    system = made(**VARIANTS[case])
    with torch.no_grad():
        output, trained = system(given), system.forward_train(SimpleNamespace(features=given))
    tensors = {name: getattr(output, name) for name in ("rotmat", "betas", "camera")}
    if "forecast" in trained.aux:
        tensors["forecast"] = trained.aux["forecast"]
    outputs_stay(case, tensors)
    torch.testing.assert_close(trained.rotmat, output.rotmat)


@pytest.mark.parametrize("attention", [True, False])
def test_attention_forecast_and_fusion_by_hand(made, given, attention: bool) -> None:
    system = made(temporal_module="self_attention" if attention else "none")
    state = {name: value.double().numpy() for name, value in system.state_dict().items()}
    with torch.no_grad():
        output = system(given)
        for number, sample in enumerate(given.double().numpy()):
            fused = torch.from_numpy(fused_by_hand(state, sample, attention)).float()
            expected = system.regressor.frames(fused[None])
            torch.testing.assert_close(output.rotmat[number], expected.rotmat[0], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(output.camera[number], expected.camera[0], atol=1e-5, rtol=1e-5)
            mean = expected.betas[0].mean(0).expand(6, 10)
            torch.testing.assert_close(output.betas[number], mean, atol=1e-5, rtol=1e-5)
    assert output.aux["fusion"].shape == (2, 5, 2)


def test_without_forecasting_the_latents_are_regressed(made, given) -> None:
    attention, gru = made(forecasting=False), made(forecasting=False, temporal_module="gru")
    plain = made(forecasting=False, temporal_module="none")
    assert isinstance(gru.encoder, TemporalEncoder)
    with torch.no_grad():
        latents = {attention: attention.attention(given)[0], gru: gru.encoder(given), plain: given}
        for system, latent in latents.items():
            expected = system.regressor.frames(latent)
            torch.testing.assert_close(system(given).rotmat, expected.rotmat)
            assert not any(name.startswith(("forecast", "fusion")) for name in system.state_dict())


def test_the_forecast_is_of_the_next_frame(made, given) -> None:
    system = made()
    with torch.no_grad():
        forecast = system.forward_train(SimpleNamespace(features=given)).aux["forecast"]
        torch.testing.assert_close(forecast, system.forecast(given)[:, :-1])
        # A frame's forecast enters the next frame only, and the first frame has none.
        before = system._bodies(given, system._forecast(given), {}).rotmat
        changed = given.clone()
        changed[:, 2] += 1
        after = system._bodies(given, system._forecast(changed), {}).rotmat
    moved = (before - after).abs().amax(dim=(0, 2, 3, 4)) > 1e-7
    assert moved.tolist() == [False, False, False, True, False, False]


def test_rows_for_camera_consistency_and_occlusion(made, given) -> None:
    """Second passes over what the batch brings; without it there are none."""
    system = made().train()
    torch.manual_seed(0)
    batch = SimpleNamespace(features=given, shifted=given + 0.1, occluded=None)
    trained = system.forward_train(batch)
    assert set(trained.aux) == {"attention", "fusion", "forecast", "shifted"}
    trained.aux["shifted"].camera[:, :-1].sum().backward()
    assert system.regressor.deccam.weight.grad.abs().max() > 0
    with torch.no_grad():
        occluded = made().forward_train(SimpleNamespace(features=given, occluded=given * 0)).aux["occluded"]
        torch.testing.assert_close(occluded.rotmat, made()(given * 0).rotmat)


@pytest.mark.parametrize("case", VARIANTS)
def test_gradients_reach_every_parameter(made, given, case: str) -> None:
    system = made(**VARIANTS[case]).train()
    trained = system.forward_train(SimpleNamespace(features=given))
    weights = torch.rand(trained.rotmat.shape, generator=torch.Generator().manual_seed(1))
    ((trained.rotmat * weights).sum() + trained.betas.sum() + trained.camera.sum()).backward()
    for name, value in system.named_parameters():
        assert value.grad is not None, name
        assert torch.isfinite(value.grad).all(), name


def test_parameter_counts() -> None:
    layers, regressor = 2 * (2048 * 2048 + 2048), 3469469
    fusion, gru = 2049, 17840128
    with torch.device("meta"):
        counts = [sum(p.numel() for p in SpsNet(**options).parameters()) for options in VARIANTS.values()]
    assert counts == [
        3 * layers + fusion + regressor,
        layers + fusion + regressor,
        2 * layers + regressor,
        gru + layers + fusion + regressor,
    ]


@pytest.mark.parametrize("length", [8, 16, 32, 48])
def test_windows_of_its_own_length(made, length: int) -> None:
    """Table 5: a system trained for N frames keeps windows of N frames, also under another protocol's rule."""
    system = made(length=length)
    assert (system.context.length, system.context.stride) == (length, length)
    assert SpsNet.context.length == 32
    rule = WindowRule(length=16, stride=1, predict="middle", edges="repeat-frame")
    assert system.accepts(rule) is (length == 16)
    features = np.random.default_rng(0).normal(size=(50, WIDTH)).astype(np.float32)
    clip = ClipInput(track="a", length=50, frame_id=np.arange(50), features=features)
    prediction = system.predict(clip)
    with torch.no_grad():
        first = system(torch.from_numpy(features[None, :length]))
    np.testing.assert_array_equal(prediction.rows, np.arange(50))
    np.testing.assert_allclose(prediction.rotmat[:length], first.rotmat[0].numpy(), atol=1e-5)


def test_wrong_options_are_refused() -> None:
    with pytest.raises(UsageError, match="temporal_module='lstm' is not one of self_attention, gru, none"):
        SpsNet(temporal_module="lstm")


def test_own_checkpoints_keep_their_options(tmp_path, made, given) -> None:
    system = made(length=8, temporal_module="gru", forecasting=False)
    loaded = load_system(save_checkpoint(system, tmp_path / "a.safetensors"))
    assert loaded.options == system.options
    assert loaded.context == system.context
    with torch.no_grad():
        torch.testing.assert_close(loaded(given).rotmat, system(given).rotmat)
