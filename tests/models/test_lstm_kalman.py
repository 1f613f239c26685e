from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from hpsbench.bodies.joints import LSP14
from hpsbench.errors import FeatureMismatch, ShapeError, UsageError
from hpsbench.models._catalog import load_system
from hpsbench.models._checkpoints import save_checkpoint
from hpsbench.models.lstm_kalman import LstmKalman, measurements
from hpsbench.types import ClipInput, Prediction, WindowRule

NARROW = {"hidden_size": 8, "noise_size": 6}
State = dict[str, np.ndarray]


@pytest.fixture
def given() -> Tensor:
    return torch.randn(2, 6, 42, generator=torch.Generator().manual_seed(0)) * 0.4


@pytest.fixture
def kalman(fill) -> LstmKalman:
    return fill(LstmKalman(**NARROW))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def cell(state: State, prefix: str, x: np.ndarray, memory: list[np.ndarray]) -> np.ndarray:
    """One LSTM step, gates i, f, g, o; changes `memory` = [hidden, cell]."""
    total = (
        state[f"{prefix}.weight_ih"] @ x
        + state[f"{prefix}.bias_ih"]
        + state[f"{prefix}.weight_hh"] @ memory[0]
        + state[f"{prefix}.bias_hh"]
    )
    i, f, g, o = np.split(total, 4)
    memory[1] = sigmoid(f) * memory[1] + sigmoid(i) * np.tanh(g)
    memory[0] = sigmoid(o) * np.tanh(memory[1])
    return memory[0]


def linear(state: State, name: str, x: np.ndarray) -> np.ndarray:
    return state[f"{name}.weight"] @ x + state[f"{name}.bias"]


def filter_by_hand(state: State, measured: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The filter with full covariance matrices, in float64: states, priors, gains of one track (T, 42)."""
    x, P = measured[0], 0.1 * np.eye(42)
    motion = [[np.zeros(8), np.zeros(8)] for _ in range(3)]
    process, noise = ([np.zeros(6), np.zeros(6)] for _ in range(2))
    states, priors, gains = [], [], []
    for z in measured:
        Q = np.diag(
            np.exp(linear(state, "process_noise.fc", cell(state, "process_noise.lstm.cells.0", x, process)))
        )
        value = x
        for layer in range(3):
            value = cell(state, f"motion.cells.{layer}", value, motion[layer])
        for layer in (0, 2):
            value = np.maximum(linear(state, f"motion_head.{layer}", value), 0)
        prior = linear(state, "motion_head.4", value)
        P = P + Q
        R = np.diag(
            np.exp(
                linear(state, "measurement_noise.fc", cell(state, "measurement_noise.lstm.cells.0", z, noise))
            )
        )
        K = P @ np.linalg.inv(P + R)
        x = prior + K @ (z - prior)
        rest = np.eye(42) - K
        P = rest @ P @ rest.T + K @ R @ K.T
        states.append(x)
        priors.append(prior)
        gains.append(np.diag(K).copy())
    return np.array(states), np.array(priors), np.array(gains)


def test_outputs_stay(kalman, given, outputs_stay) -> None:
    with torch.no_grad():
        output, trained = kalman(given), kalman.forward_train(SimpleNamespace(features=given))
    outputs_stay("lstm_kalman", {"joints3d": output.joints3d, **output.aux})
    torch.testing.assert_close(trained.joints3d, output.joints3d)


def test_the_filter_by_hand(kalman, given) -> None:
    state = {name: value.double().numpy() for name, value in kalman.state_dict().items()}
    with torch.no_grad():
        output = kalman(given)
    for number, measured in enumerate(given.double().numpy()):
        states, priors, gains = filter_by_hand(state, measured)
        np.testing.assert_allclose(output.joints3d[number].flatten(1).numpy(), states, atol=1e-5)
        np.testing.assert_allclose(output.aux["prior"][number].flatten(1).numpy(), priors, atol=1e-5)
        np.testing.assert_allclose(output.aux["gain"][number].numpy(), gains, atol=1e-5)


def test_the_gain_weighs_prior_and_measurement(kalman, given) -> None:
    """Sure measurements are kept, hopeless ones ignored; in between the state lies between the two."""
    with torch.no_grad():
        kalman.measurement_noise.fc.bias.fill_(-100)
        sure = kalman(given)
        torch.testing.assert_close(sure.joints3d.flatten(2), given, atol=1e-3, rtol=1e-3)
        kalman.measurement_noise.fc.bias.fill_(100)
        hopeless = kalman(given)
    assert hopeless.aux["gain"].max() < 1e-2
    torch.testing.assert_close(hopeless.joints3d, hopeless.aux["prior"], atol=1e-2, rtol=1e-2)


def test_no_frame_sees_a_later_one_and_no_track_another(kalman, given) -> None:
    changed = given.clone()
    changed[0, 4:] += 1
    with torch.no_grad():
        before, after, alone = kalman(given).joints3d, kalman(changed).joints3d, kalman(given[1:]).joints3d
    assert torch.equal(before[0, :4], after[0, :4])
    assert (before[0, 4] - after[0, 4]).abs().max() > 1e-3
    torch.testing.assert_close(alone[0], before[1], atol=1e-6, rtol=0)


def test_measurements_are_relative_to_the_middle_of_the_hips() -> None:
    joints = torch.randn(3, 14, 3, generator=torch.Generator().manual_seed(1))
    seen = measurements(joints).reshape(3, 14, 3)
    middle = LSP14.midpoint(joints, "Right Hip", "Left Hip")
    torch.testing.assert_close(seen, joints - middle[:, None])
    torch.testing.assert_close(measurements(joints + 5.0), measurements(joints), atol=1e-5, rtol=0)
    with pytest.raises(ShapeError, match=r"expected \(..., 14, 3\), got \(3, 24, 3\)"):
        measurements(torch.zeros(3, 24, 3))


def clip(predictions: Prediction | None, frames: int = 9) -> ClipInput:
    return ClipInput(track="a", length=frames, frame_id=np.arange(frames), predictions=predictions)


def test_predict_filters_the_joints_of_another_system(kalman) -> None:
    rng = np.random.default_rng(0)
    joints = rng.normal(size=(9, 14, 3)).astype(np.float32)
    rows = np.arange(9)
    prediction = kalman.predict(clip(Prediction(rows=rows, joints3d=joints, joint_set="lsp14")))
    with torch.no_grad():
        expected = kalman(measurements(torch.from_numpy(joints))[None]).joints3d[0].numpy()
    np.testing.assert_array_equal(prediction.joints3d, expected)
    assert (prediction.joint_set, prediction.joints3d.dtype) == ("lsp14", np.float32)
    # Joints of another set are brought into order by name.
    wide = rng.normal(size=(9, 49, 3)).astype(np.float32)
    wide[:, 25:39] = joints
    again = kalman.predict(clip(Prediction(rows=rows, joints3d=wide, joint_set="spin49")))
    np.testing.assert_array_equal(again.joints3d, expected)
    none = kalman.predict(clip(Prediction(rows=rows[:0], joints3d=joints[:0], joint_set="lsp14")))
    assert none.joints3d.shape == (0, 14, 3)


def test_bodies_become_joints_where_there_is_a_body_model(kalman) -> None:
    rng = np.random.default_rng(0)
    joints = torch.from_numpy(rng.normal(size=(9, 14, 3)).astype(np.float32))
    bodies = Prediction(
        rows=np.arange(9),
        rotmat=np.tile(np.eye(3, dtype=np.float32), (9, 24, 1, 1)),
        betas=np.zeros((9, 10), np.float32),
    )
    with pytest.raises(FeatureMismatch, match="no body model was given"):
        kalman.predict(clip(bodies))
    kalman.joints_of = lambda rotmat, betas: joints[: len(rotmat)] + betas[:, :1, None]
    direct = Prediction(rows=np.arange(9), joints3d=joints.numpy(), joint_set="lsp14")
    np.testing.assert_array_equal(
        kalman.predict(clip(bodies)).joints3d, kalman.predict(clip(direct)).joints3d
    )


def test_what_it_cannot_read_is_refused(kalman) -> None:
    with pytest.raises(FeatureMismatch, match=r"track a: .*reads the predictions of another system \(spin\)"):
        kalman.predict(clip(None))
    few = Prediction(rows=np.arange(9), joints3d=np.zeros((9, 24, 3), np.float32), joint_set="smpl24")
    with pytest.raises(FeatureMismatch, match=r"joint set smpl24 lacks .*Head"):
        kalman.predict(clip(few))
    with pytest.raises(UsageError, match="feature_width=48; measurements are 42 numbers"):
        LstmKalman(feature_width=48)


def test_only_whole_tracks(kalman) -> None:
    assert kalman.accepts(WindowRule(length="track", stride="track"))
    assert not kalman.accepts(WindowRule(length=16, stride=16))
    assert kalman.context.length == "track"


def test_gradients_reach_every_parameter(kalman, given) -> None:
    kalman.train()
    torch.manual_seed(0)
    trained = kalman.forward_train(SimpleNamespace(features=given))
    target = torch.zeros_like(trained.joints3d)
    loss = (trained.joints3d - target).square().sum() + 0.8 * (trained.aux["prior"] - target).square().sum()
    loss.backward()
    for name, value in kalman.named_parameters():
        assert value.grad is not None, name
        assert torch.isfinite(value.grad).all(), name
        assert value.grad.abs().max() > 0, name


def test_start_of_the_weights() -> None:
    torch.manual_seed(0)
    kalman = LstmKalman(**NARROW)
    first = kalman.motion.cells[0]
    assert first.bias_ih.tolist() == [0.0] * 8 + [1.0] * 8 + [0.0] * 16
    assert not first.bias_hh.any()
    limit = (6 / (42 + 32)) ** 0.5
    assert 0.9 * limit < first.weight_ih.abs().max() <= limit


def test_parameter_count() -> None:
    def lstm(width: int, size: int) -> int:
        return 4 * size * (width + size) + 8 * size

    motion = lstm(42, 512) + 2 * lstm(512, 512) + 2 * (512 * 512 + 512) + (512 * 42 + 42)
    noise = lstm(42, 256) + (256 * 42 + 42)
    with torch.device("meta"):
        assert sum(p.numel() for p in LstmKalman().parameters()) == motion + 2 * noise


def test_own_checkpoints_keep_their_options(tmp_path, kalman, given) -> None:
    loaded = load_system(save_checkpoint(kalman, tmp_path / "a.safetensors"))
    assert loaded.options == kalman.options
    with torch.no_grad():
        torch.testing.assert_close(loaded(given).joints3d, kalman(given).joints3d)
