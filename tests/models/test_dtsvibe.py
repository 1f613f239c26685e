from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from hpsbench.errors import FeatureMismatch, ShapeError, UsageError
from hpsbench.geometry.rotations import rot6d_to_rotmat
from hpsbench.models._catalog import load_system
from hpsbench.models._checkpoints import save_checkpoint
from hpsbench.models.dtsvibe import DtsVibe, positions
from hpsbench.types import ClipInput, WindowRule

WIDTH, FLOW = 24, 20
NARROW = {
    "feature_width": WIDTH,
    "flow_width": FLOW,
    "width": 16,
    "encoder_layers": 2,
    "regressor_width": 12,
    "regressor_layers": 1,
    "regressor_hidden": 12,
}
VARIANTS = {
    "dtsvibe": {},
    "dtsvibe-gru-tr": {"temporal_encoder": "gru"},
    "dtsvibe-te-hr": {"regressor": "hmr"},
    "dtsvibe-no-flow": {"flow": False},
}


@pytest.fixture
def given() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 5, WIDTH, generator=generator), torch.randn(2, 5, FLOW, generator=generator)


@pytest.fixture
def made(fill):
    def make(**options) -> DtsVibe:
        return fill(DtsVibe(**{**NARROW, **options}))

    return make


def streams(system: DtsVibe, given: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    return given if system.inputs.flow is not None else given[:1]


def normed(state: dict[str, np.ndarray], prefix: str, frame: np.ndarray) -> np.ndarray:
    scaled = (frame - frame.mean()) / np.sqrt(frame.var() + 1e-5)
    return scaled * state[f"{prefix}.weight"] + state[f"{prefix}.bias"]


def layer_by_hand(state: dict[str, np.ndarray], prefix: str, frames: np.ndarray, heads: int) -> np.ndarray:
    """One post-norm encoder layer, frame by frame and head by head: equations 1 and 2."""
    width = frames.shape[1]
    size = width // heads
    entry = {name.removeprefix(f"{prefix}."): v for name, v in state.items() if name.startswith(f"{prefix}.")}
    joint = frames @ entry["self_attn.in_proj_weight"].T + entry["self_attn.in_proj_bias"]
    query, key, value = np.split(joint, 3, axis=1)
    found = []
    for t in range(len(frames)):
        parts = []
        for head in range(heads):
            here = slice(head * size, (head + 1) * size)
            logits = np.array([query[t, here] @ k for k in key[:, here]]) / np.sqrt(size)
            weights = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
            parts.append(weights @ value[:, here])
        attended = (
            entry["self_attn.out_proj.weight"] @ np.concatenate(parts) + entry["self_attn.out_proj.bias"]
        )
        frame = normed(entry, "norm1", frames[t] + attended)
        hidden = np.maximum(entry["linear1.weight"] @ frame + entry["linear1.bias"], 0)
        change = entry["linear2.weight"] @ hidden + entry["linear2.bias"]
        found.append(normed(entry, "norm2", frame + change))
    return np.array(found)


def positions_by_hand(frames: int, width: int) -> np.ndarray:
    table = np.zeros((frames, width))
    for t in range(frames):
        for i in range(width):
            angle = t / 10000 ** (2 * (i // 2) / width)
            table[t, i] = np.sin(angle) if i % 2 == 0 else np.cos(angle)
    return table


def transform_by_hand(
    state: dict[str, np.ndarray], prefix: str, frames: np.ndarray, layers: int, heads: int
) -> np.ndarray:
    frames = frames + positions_by_hand(*frames.shape)
    for number in range(layers):
        frames = layer_by_hand(state, f"{prefix}.layers.{number}", frames, heads)
    return frames


@pytest.mark.parametrize("case", VARIANTS)
def test_outputs_stay(case: str, made, given, outputs_stay) -> None:
    system = made(**VARIANTS[case])
    with torch.no_grad():
        output = system(*streams(system, given))
        trained = system.forward_train(SimpleNamespace(features=given[0], flow=given[1]))
    tensors = {name: getattr(output, name) for name in ("rotmat", "betas", "camera")}
    if "coarse" in trained.aux:
        tensors["coarse betas"] = trained.aux["coarse"].betas
    outputs_stay(case, tensors)
    torch.testing.assert_close(trained.betas, output.betas, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("flow", [True, False])
def test_the_whole_by_hand(made, given, flow: bool) -> None:
    """In float64, one frame at a time: streams, encoder, late fusion, coarse parameters, regressor."""
    system = made(flow=flow)
    state = {name: value.double().numpy() for name, value in system.state_dict().items()}
    linear = lambda name, x: x @ state[f"{name}.weight"].T + state[f"{name}.bias"]  # noqa: E731
    mean = np.concatenate([state[f"regressor.{name}"][0] for name in ("init_pose", "init_shape", "init_cam")])
    with torch.no_grad():
        output = system(*streams(system, given))
        trained = system.forward_train(SimpleNamespace(features=given[0], flow=given[1]))
    for number in range(2):
        image, motion = (stream[number].double().numpy() for stream in given)
        encoded = transform_by_hand(state, "encoder", linear("reduce_features", image), 2, 8)
        if flow:
            encoded = encoded + linear("reduce_flow", motion)
        coarse = mean + linear("regressor.coarse", encoded)
        entered = linear("regressor.enter", coarse)
        final = coarse + linear(
            "regressor.leave", transform_by_hand(state, "regressor.transformer", entered, 1, 4)
        )
        for got, expected in ((output, final), (trained.aux["coarse"], coarse)):
            rotmat = rot6d_to_rotmat(torch.from_numpy(expected[:, :144]).reshape(5, 24, 6)).numpy()
            np.testing.assert_allclose(got.rotmat[number].numpy(), rotmat, atol=1e-4)
            np.testing.assert_allclose(got.betas[number].numpy(), expected[:, 144:154], atol=1e-4)
            np.testing.assert_allclose(got.camera[number].numpy(), expected[:, 154:], atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_training_starts_at_the_mean_camera(seed: int, given) -> None:
    """A scale near zero throws projected joints far away, and no loss gets over that."""
    torch.manual_seed(seed)
    system = DtsVibe(**{**NARROW, "width": 64, "regressor_width": 160}).eval()
    with torch.no_grad():
        camera = system(*streams(system, given)).camera
    torch.testing.assert_close(camera, torch.tensor([0.9, 0.0, 0.0]).expand_as(camera), atol=0.3, rtol=0)


def test_positions() -> None:
    for width in (16, 160, 512):
        np.testing.assert_allclose(positions(128, width).numpy(), positions_by_hand(128, width), atol=1e-4)


def test_variants_of_table_2(made, given) -> None:
    gru, hmr = made(temporal_encoder="gru"), made(regressor="hmr")
    with torch.no_grad():
        states = gru.encoder(gru.reduce_features(given[0]))[0] + gru.reduce_flow(given[1])
        torch.testing.assert_close(gru(*given).betas, gru.regressor(states)[0].betas)
        encoded = hmr.encoder(hmr.reduce_features(given[0])) + hmr.reduce_flow(given[1])
        torch.testing.assert_close(hmr(*given).betas, hmr.regressor.frames(encoded).betas, atol=1e-5, rtol=0)
        assert not hmr.forward_train(SimpleNamespace(features=given[0], flow=given[1])).aux
    assert gru.encoder.num_layers == 2
    assert not gru.encoder.bidirectional


def test_the_flow_enters_after_the_encoder(made, given) -> None:
    """With the regressor of single frames, a frame's flow moves that frame alone; the images reach every frame."""
    system = made(regressor="hmr")
    with torch.no_grad():
        before = system(*given).betas
        for stream, reach in ((1, [2]), (0, [0, 1, 2, 3, 4])):
            changed = [value.clone() for value in given]
            changed[stream][:, 2] += 1
            moved = (system(*changed).betas - before).abs().amax(dim=(0, 2)) > 1e-6
            assert moved.nonzero().ravel().tolist() == reach


def test_missing_or_needless_flow_is_refused(made, given) -> None:
    with pytest.raises(ShapeError, match=r"reads flow features \(B, T, 20\), got none"):
        made()(given[0])
    with pytest.raises(ShapeError, match="reads flow features none"):
        made(flow=False)(*given)
    with pytest.raises(ShapeError, match="got none"):
        made().forward_train(SimpleNamespace(features=given[0]))
    features = np.zeros((20, WIDTH), np.float32)
    bare = ClipInput(track="a", length=20, frame_id=np.arange(20), features=features)
    with pytest.raises(FeatureMismatch, match="track a: system 'dtsvibe' reads flow, and the clip has none"):
        made().predict(bare)
    assert len(made(flow=False).predict(bare).rows) == 20


def test_predict_cuts_both_streams_alike(made) -> None:
    system = made()
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, WIDTH)).astype(np.float32)
    flow = rng.normal(size=(40, FLOW)).astype(np.float32)
    clip = ClipInput(track="a", length=40, frame_id=np.arange(40), features=features, flow=flow)
    prediction = system.predict(clip)
    with torch.no_grad():
        for first, rows in ((0, range(16)), (16, range(16, 32)), (24, range(32, 40))):
            seen = slice(first, first + 16)
            window = system(torch.from_numpy(features[None, seen]), torch.from_numpy(flow[None, seen]))
            for row in rows:
                expected = window.rotmat[0, row - first].numpy()
                np.testing.assert_allclose(prediction.rotmat[row], expected, atol=1e-4)


@pytest.mark.parametrize("case", VARIANTS)
def test_gradients_reach_every_parameter(made, given, case: str) -> None:
    system = made(**VARIANTS[case]).train()
    torch.manual_seed(0)
    trained = system.forward_train(SimpleNamespace(features=given[0], flow=given[1]))
    (trained.rotmat[..., 0].sum() + trained.betas.square().sum() + trained.camera.sum()).backward()
    for name, value in system.named_parameters():
        assert value.grad is not None, name
        assert torch.isfinite(value.grad).all(), name


def test_parameter_counts() -> None:
    def layers(count: int, width: int) -> int:
        attention, feed = 4 * (width * width + width), 8 * width * width + 5 * width
        return count * (attention + feed + 4 * width)

    reduce = 2048 * 512 + 512
    encoder, transformer = layers(6, 512), layers(3, 160)
    regressor = (512 * 157 + 157) + (157 * 160 + 160) + transformer + (160 * 157 + 157)
    gru = 2 * (3 * 512 * (512 + 512) + 6 * 512)
    hmr = 3469469 - (2048 - 512) * 1024
    with torch.device("meta"):
        counts = [sum(p.numel() for p in DtsVibe(**options).parameters()) for options in VARIANTS.values()]
    assert counts == [
        2 * reduce + encoder + regressor,
        2 * reduce + gru + regressor,
        2 * reduce + encoder + hmr,
        reduce + encoder + regressor,
    ]


def test_windows_of_its_own_length(made) -> None:
    """Section 3.2 tries 8, 32, 64 and 128 frames; positions are of the length that was trained."""
    system = made(length=64)
    assert system.context.length == 64
    assert not system.accepts(WindowRule(length=16, stride=16))
    assert made().accepts(WindowRule(length=16, stride=1, predict="middle", edges="repeat-frame"))


def test_wrong_options_are_refused() -> None:
    with pytest.raises(UsageError, match="temporal_encoder='lstm' is not one of transformer, gru"):
        DtsVibe(temporal_encoder="lstm")
    with pytest.raises(UsageError, match="regressor='spin' is not one of transformer, hmr"):
        DtsVibe(regressor="spin")


def test_own_checkpoints_keep_their_options(tmp_path, made, given) -> None:
    system = made(length=8, temporal_encoder="gru", flow=False)
    loaded = load_system(save_checkpoint(system, tmp_path / "a.safetensors"))
    assert loaded.options == system.options
    assert (loaded.context, loaded.inputs.flow) == (system.context, None)
    with torch.no_grad():
        torch.testing.assert_close(loaded(given[0]).rotmat, system(given[0]).rotmat)
