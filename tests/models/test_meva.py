from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from hpsbench.errors import CheckpointMismatch, ShapeError, UsageError
from hpsbench.geometry.rotations import axis_angle_to_rotmat, rot6d_to_rotmat
from hpsbench.models._catalog import load_system
from hpsbench.models._checkpoints import save_checkpoint
from hpsbench.models.meva import Meva, MotionVae, columns_to_rotmat
from hpsbench.types import ClipInput, WindowRule

WIDTH, LATENT = 24, 6
NARROW = {"feature_width": WIDTH, "hidden_size": 8, "latent": LATENT, "length": 9, "regressor_hidden": 12}
State = dict[str, np.ndarray]


@pytest.fixture
def given() -> torch.Tensor:
    return torch.randn(2, 7, WIDTH, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def made(fill):
    def make(**options) -> Meva:
        return fill(Meva(**{**NARROW, **options}))

    return make


def state_of(module: nn.Module) -> State:
    return {name: value.double().numpy() for name, value in module.state_dict().items()}


def linear(state: State, name: str, x: np.ndarray) -> np.ndarray:
    return state[f"{name}.weight"] @ x + state[f"{name}.bias"]


def gru_cell(state: State, prefix: str, suffix: str, x: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Gates r, z, n; b_hn inside the reset product."""
    given = np.split(state[f"{prefix}weight_ih{suffix}"] @ x + state[f"{prefix}bias_ih{suffix}"], 3)
    own = np.split(state[f"{prefix}weight_hh{suffix}"] @ hidden + state[f"{prefix}bias_hh{suffix}"], 3)
    reset, update = (1 / (1 + np.exp(-(given[i] + own[i]))) for i in (0, 1))
    return (1 - update) * np.tanh(given[2] + reset * own[2]) + update * hidden


def encoder_by_hand(state: State, prefix: str, frames: np.ndarray, hidden_size: int) -> np.ndarray:
    """Two bidirectional layers, tanh, linear."""
    for layer in range(2):
        ways = []
        for reverse in ("", "_reverse"):
            hidden, states = np.zeros(hidden_size), []
            for frame in frames[::-1] if reverse else frames:
                hidden = gru_cell(state, f"{prefix}.gru.", f"_l{layer}{reverse}", frame, hidden)
                states.append(hidden)
            ways.append(states[::-1] if reverse else states)
        frames = np.concatenate([np.array(way) for way in ways], axis=1)
    return np.array([linear(state, f"{prefix}.linear", np.tanh(frame)) for frame in frames])


def decode_by_hand(state: State, latent: np.ndarray, first: np.ndarray, frames: int) -> np.ndarray:
    pose, hidden, poses = first, np.zeros(LATENT), []
    for _ in range(frames):
        hidden = gru_cell(state, "vae_model.d_rnn.rnn_f.", "", np.concatenate([pose, latent]), hidden)
        value = hidden
        for layer in (0, 1):
            value = np.tanh(linear(state, f"vae_model.d_mlp.affine_layers.{layer}", value))
        pose = linear(state, "vae_model.d_out", value)
        poses.append(pose)
    return np.array(poses)


def first_pose_by_hand(state: State, latent: np.ndarray, vae: str) -> np.ndarray:
    if vae == "rec_1":
        return linear(state, "vae_init_mlp.2", np.tanh(linear(state, "vae_init_mlp.0", latent)))
    value = latent
    for layer in (0, 1):
        value = np.maximum(linear(state, f"vae_model.init_pose_mlp.affine_layers.{layer}", value), 0)
    return linear(state, "vae_model.init_pose_out", value)


@pytest.mark.parametrize("vae", ["rec_1", "rec_2"])
def test_outputs_stay(vae, made, given, outputs_stay) -> None:
    system = made(vae=vae)
    with torch.no_grad():
        output, trained = system(given), system.forward_train(SimpleNamespace(features=given))
    tensors = {name: getattr(output, name) for name in ("rotmat", "betas", "camera")}
    outputs_stay(f"meva-{vae}", {**tensors, "coarse": output.aux["coarse"]})
    torch.testing.assert_close(trained.rotmat, output.rotmat)


@pytest.mark.parametrize("vae", ["rec_1", "rec_2"])
def test_the_whole_by_hand(made, given, vae: str) -> None:
    """In float64, one window and frame at a time: encoder, latent, decoded motion, refinement."""
    system = made(vae=vae)
    state = state_of(system)
    with torch.no_grad():
        output = system(given)
    for number, features in enumerate(given.double().numpy()):
        encoded = features + encoder_by_hand(state, "feat_encoder", features, 8)
        latent = encoder_by_hand(state, "motion_encoder", encoded, LATENT).mean(0)
        coarse = decode_by_hand(state, latent, first_pose_by_hand(state, latent, vae), 7)
        for t in range(7):
            pose = coarse[t]
            shape, camera = state["regressor.init_shape"][0], state["regressor.init_cam"][0]
            for _ in range(3):
                hidden = linear(state, "regressor.fc1", np.concatenate([encoded[t], pose, shape, camera]))
                hidden = linear(state, "regressor.fc2", hidden)
                pose = pose + linear(state, "regressor.decpose", hidden)
                shape = shape + linear(state, "regressor.decshape", hidden)
                camera = camera + linear(state, "regressor.deccam", hidden)
            for got, six in ((output.rotmat[number, t], pose), (output.aux["coarse"][number, t], coarse[t])):
                rotmat = columns_to_rotmat(torch.from_numpy(six.reshape(24, 6))).numpy()
                np.testing.assert_allclose(got.numpy(), rotmat, atol=1e-4)
            np.testing.assert_allclose(output.betas[number, t].numpy(), shape, atol=1e-4)
            np.testing.assert_allclose(output.camera[number, t].numpy(), camera, atol=1e-4)


def test_the_6d_form_is_column_after_column() -> None:
    generator = torch.Generator().manual_seed(1)
    rotmat = axis_angle_to_rotmat(torch.randn(50, 3, generator=generator, dtype=torch.float64))
    columns = torch.cat([rotmat[:, :, 0], rotmat[:, :, 1]], dim=1)
    torch.testing.assert_close(columns_to_rotmat(columns), rotmat)
    # Of any six numbers both ways to orthonormalise give the same; SPIN interleaves them.
    six = torch.randn(50, 6, generator=generator, dtype=torch.float64)
    interleaved = six.reshape(50, 2, 3).transpose(1, 2).reshape(50, 6)
    torch.testing.assert_close(columns_to_rotmat(six), rot6d_to_rotmat(interleaved))
    assert torch.isfinite(columns_to_rotmat(torch.zeros(2, 6))).all()


def test_the_motion_encoder_reads_what_the_feature_encoder_says(made, given) -> None:
    """Not the raw features: without the feature encoder's own part the coarse motion changes."""
    system = made()
    with torch.no_grad():
        encoded = system.feat_encoder(given)
        latent = system.motion_encoder(encoded).mean(1)
        coarse = system.vae_model.decode(latent, 7, system.vae_init_mlp(latent))
        torch.testing.assert_close(
            system(given).aux["coarse"], columns_to_rotmat(coarse.reshape(2, 7, 24, 6))
        )
        raw = system.motion_encoder(given).mean(1)
        assert (raw - latent).abs().max() > 1e-3


def test_a_window_may_be_shorter_but_not_longer(made, given) -> None:
    """The released code decodes 90 poses and cuts; a shorter window has its own latent."""
    system = made()
    with torch.no_grad():
        latent = torch.randn(2, LATENT, generator=torch.Generator().manual_seed(2))
        first = system.vae_init_mlp(latent)
        whole = system.vae_model.decode(latent, 9, first)
        torch.testing.assert_close(system.vae_model.decode(latent, 4, first), whole[:, :4])
        assert system(given[:, :1]).betas.shape == (2, 1, 10)
    with pytest.raises(ShapeError, match="at most 9 frames, got 14"):
        system(torch.cat([given, given], dim=1))


def test_only_windows_of_its_own_length(made) -> None:
    system = made()
    assert (system.context.length, system.context.stride) == (9, 8)
    assert (Meva.context.length, Meva.context.stride) == (90, 80)
    with torch.device("meta"):
        whole = Meva()
    assert whole.context == Meva.context
    assert whole.accepts(WindowRule(length=90, stride=80, edges="shift-last", overlap="cut-half"))
    assert not whole.accepts(WindowRule(length=16, stride=16))
    features = np.random.default_rng(0).normal(size=(21, WIDTH)).astype(np.float32)
    prediction = system.predict(ClipInput(track="a", length=21, frame_id=np.arange(21), features=features))
    np.testing.assert_array_equal(prediction.rows, np.arange(21))


@pytest.mark.parametrize(("vae", "frozen"), [("rec_1", 5114000), ("rec_2", 6237984)])
def test_parameter_counts(vae: str, frozen: int) -> None:
    with torch.device("meta"):
        system = Meva(vae=vae)
    assert sum(p.numel() for p in system.parameters() if p.requires_grad) == 58727469
    assert sum(p.numel() for p in system.vae_model.parameters()) == frozen
    assert not any(p.requires_grad for p in system.vae_model.parameters())


def test_gradients_pass_through_the_frozen_decoder(made, given) -> None:
    system = made().train()
    trained = system.forward_train(SimpleNamespace(features=given))
    (trained.rotmat[..., 0].sum() + trained.betas.sum() + trained.camera.sum()).backward()
    for name, value in system.named_parameters():
        assert (value.grad is None) == name.startswith("vae_model."), name
    assert system.motion_encoder.linear.weight.grad.abs().max() > 0


@pytest.mark.parametrize("kind", ["rec_1", "rec_2"])
def test_the_motion_vae_alone(fill, kind: str) -> None:
    """Encoder by hand, latents drawn in training, gradients for its own training."""
    vae = fill(MotionVae(kind, LATENT))
    poses = torch.randn(2, 5, 144, generator=torch.Generator().manual_seed(3)) * 0.5
    state = state_of(vae)
    with torch.no_grad():
        made, mean, log_variance = vae(poses)
    for number, motion in enumerate(poses.double().numpy()):
        ways = []
        for prefix, steps in (("e_rnn.rnn_f.", motion), ("e_rnn.rnn_b.", motion[::-1])):
            hidden, states = np.zeros(LATENT // 2), []
            for step in steps:
                hidden = gru_cell(state, prefix, "", step, hidden)
                states.append(hidden)
            ways.append(np.mean(states, axis=0))
        value = np.concatenate(ways)
        for layer in (0, 1):
            value = np.tanh(linear(state, f"e_mlp.affine_layers.{layer}", value))
        np.testing.assert_allclose(mean[number].numpy(), linear(state, "e_mu", value), atol=1e-5)
        np.testing.assert_allclose(log_variance[number].numpy(), linear(state, "e_logvar", value), atol=1e-5)
    first = poses[:, 0] if kind == "rec_1" else None
    torch.testing.assert_close(made, vae.decode(mean, 5, first))
    vae.train()
    torch.manual_seed(0)
    drawn, mean, log_variance = vae(poses)
    assert (drawn - made).abs().max() > 1e-3
    (drawn.square().sum() + mean.square().sum() + log_variance.exp().sum()).backward()
    assert all(p.grad is not None for p in vae.parameters())
    if kind == "rec_1":
        with pytest.raises(UsageError, match="decodes from a given first pose"):
            vae.decode(mean, 5)


@pytest.mark.parametrize(
    "options",
    [
        {"hidden_size": 64, "latent": 32},
        {"hidden_size": 48, "latent": 32, "vae": "rec_2"},
        {"n_layers": 1, "hidden_size": 64, "latent": 16},
    ],
)
def test_a_container_in_the_released_layout_loads(tmp_path, thin_state, options) -> None:
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in Meva(**options).state_dict().items()}
    prefixes = {"vae_model", "feat_encoder", "motion_encoder", "vae_init_mlp", "regressor"}
    assert {name.split(".")[0] for name in shapes} == prefixes
    body = {"smpl.shapedirs": (4, 3, 10), "regressor.smpl.betas": (64, 10)}
    state = thin_state({**shapes, **body})
    container = {"epoch": 3, "gen_state_dict": state, "performance": np.float32(54.7), "gen_optimizer": {}}
    torch.save(container, tmp_path / "model_best.pth.tar")
    loaded = load_system(tmp_path / "model_best.pth.tar")
    assert isinstance(loaded, Meva)
    assert {key: loaded.options[key] for key in options} == options
    assert not any(p.requires_grad for p in loaded.vae_model.parameters())
    for name, value in loaded.state_dict().items():
        torch.testing.assert_close(value, state[name])
    del state["vae_model.d_out.bias"]
    torch.save(container, tmp_path / "a.pt")
    with pytest.raises(CheckpointMismatch, match=r"missing: vae_model\.d_out\.bias"):
        load_system(tmp_path / "a.pt")


def test_own_checkpoints_keep_their_options(tmp_path, made, given) -> None:
    system = made(vae="rec_2")
    loaded = load_system(save_checkpoint(system, tmp_path / "a.safetensors"))
    assert loaded.options == system.options
    assert loaded.context == system.context
    with torch.no_grad():
        torch.testing.assert_close(loaded(given).rotmat, system(given).rotmat)


def test_wrong_options_are_refused() -> None:
    with pytest.raises(UsageError, match="vae='rec_3' is not one of rec_1, rec_2"):
        Meva(vae="rec_3")
