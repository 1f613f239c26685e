import numpy as np
import pytest
import torch

from hpsbench.models.vibe import Vibe

WIDTH, HIDDEN = 24, 8


def naive_gru(
    state: dict[str, np.ndarray], prefix: str, frames: np.ndarray, layer: int, suffix: str = ""
) -> np.ndarray:
    """One direction of one GRU layer, gates r, z, n, with b_hn inside the reset product; zero initial state."""
    w_ih, w_hh, b_ih, b_hh = (
        state[f"{prefix}.{k}_l{layer}{suffix}"] for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    hidden = np.zeros(w_hh.shape[1])
    states = []
    for frame in frames[::-1] if suffix else frames:
        given, own = np.split(w_ih @ frame + b_ih, 3), np.split(w_hh @ hidden + b_hh, 3)
        reset, update = (1 / (1 + np.exp(-(given[i] + own[i]))) for i in (0, 1))
        new = np.tanh(given[2] + reset * own[2])
        hidden = (1 - update) * new + update * hidden
        states.append(hidden)
    return np.array(states[::-1] if suffix else states)


def stacked_gru(
    state: dict[str, np.ndarray], prefix: str, frames: np.ndarray, layers: int, bidirectional: bool
) -> np.ndarray:
    for layer in range(layers):
        parts = [naive_gru(state, prefix, frames, layer)]
        if bidirectional:
            parts.append(naive_gru(state, prefix, frames, layer, "_reverse"))
        frames = np.concatenate(parts, axis=1)
    return frames


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_the_encoder_is_gru_relu_linear_and_the_features(
    fill, features, bidirectional: bool, residual: bool
) -> None:
    vibe = fill(
        Vibe(
            2,
            HIDDEN,
            bidirectional=bidirectional,
            residual=residual,
            feature_width=WIDTH,
            regressor_hidden=12,
        )
    )
    given = features(2, 5, WIDTH)
    with torch.no_grad():
        got = vibe.encoder(given).numpy()
    state = {name: value.double().numpy() for name, value in vibe.state_dict().items()}
    for sample, result in zip(given.double().numpy(), got, strict=True):
        hidden = stacked_gru(state, "encoder.gru", sample, 2, bidirectional)
        expected = np.maximum(hidden, 0) @ state["encoder.linear.weight"].T + state["encoder.linear.bias"]
        np.testing.assert_allclose(result, expected + sample * residual, atol=1e-5)


def test_without_a_linear_layer_the_gru_speaks_itself(fill, features) -> None:
    vibe = fill(Vibe(1, WIDTH, add_linear=False, feature_width=WIDTH, regressor_hidden=12))
    given = features(1, 4, WIDTH)
    with torch.no_grad():
        got = vibe.encoder(given).numpy()[0]
    state = {name: value.double().numpy() for name, value in vibe.state_dict().items()}
    hidden = naive_gru(state, "encoder.gru", given[0].double().numpy(), 0)
    np.testing.assert_allclose(got, hidden + given[0].numpy(), atol=1e-5)
    narrow = Vibe(1, HIDDEN, add_linear=False, feature_width=WIDTH, regressor_hidden=12).eval()
    assert narrow(given).betas.shape == (1, 4, 10)
    assert narrow.encoder(given).shape == (1, 4, HIDDEN)


def test_a_one_way_gru_does_not_look_ahead(fill, features) -> None:
    given = features(1, 6, WIDTH)
    changed = given.clone()
    changed[0, 4:] += 1
    for bidirectional in (False, True):
        vibe = fill(Vibe(2, HIDDEN, bidirectional=bidirectional, feature_width=WIDTH, regressor_hidden=12))
        with torch.no_grad():
            same = torch.equal(vibe(given).betas[0, :4], vibe(changed).betas[0, :4])
        assert same is not bidirectional


@pytest.mark.parametrize(("bidirectional", "count"), [(False, 21309597), (True, 45439133)])
def test_parameter_counts(bidirectional: bool, count: int) -> None:
    with torch.device("meta"):
        vibe = Vibe(bidirectional=bidirectional)
    assert sum(p.numel() for p in vibe.parameters()) == count


def test_parameter_count_of_the_constructor_defaults_of_the_release() -> None:
    with torch.device("meta"):
        vibe = Vibe(n_layers=1, hidden_size=2048, add_linear=False)
    assert sum(p.numel() for p in vibe.parameters()) == 28647581
