from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hpsbench.models.tcmr import Tcmr
from hpsbench.types import WindowRule

WIDTH = 24


@pytest.fixture
def tcmr(fill) -> Tcmr:
    return fill(Tcmr(2, 8, WIDTH, attention_width=6, regressor_hidden=12))


def test_attention_by_hand(tcmr: Tcmr, features) -> None:
    vectors = features(4, 3, WIDTH)
    with torch.no_grad():
        got = tcmr.encoder.attention(vectors).numpy()
    state = {n: v.double().numpy() for n, v in tcmr.encoder.attention.state_dict().items()}
    for sample, weights in zip(vectors.double().numpy(), got, strict=True):
        hidden = np.concatenate([state["fc.weight"] @ vector + state["fc.bias"] for vector in sample])
        for layer in (0, 2, 4):
            hidden = np.tanh(state[f"attention.{layer}.weight"] @ hidden + state[f"attention.{layer}.bias"])
        np.testing.assert_allclose(weights, np.exp(hidden) / np.exp(hidden).sum(), atol=1e-6)
        assert weights.sum() == pytest.approx(1)
        assert weights.max() / weights.min() <= np.exp(2)


def test_branches_see_past_future_and_all(tcmr: Tcmr, features) -> None:
    """The past branch ends before frame 8, the future one begins after it; the present one sees every frame."""
    given = features(1, 16, WIDTH)
    with torch.no_grad():
        before, _ = tcmr.encoder(given)
        for frame in range(16):
            changed = given.clone()
            changed[0, frame] += 1
            after, _ = tcmr.encoder(changed)
            moved = [not torch.equal(before[0, i], after[0, i]) for i in range(3)]
            assert moved == [frame < 8, True, frame > 8]


def test_the_branches_by_hand(tcmr: Tcmr, features) -> None:
    given = features(1, 16, WIDTH)
    encoder = tcmr.encoder
    with torch.no_grad():
        vectors, _ = encoder(given)
        past = encoder.gru_bef(given[:, :8].transpose(0, 1))[1][-1]
        future = encoder.gru_aft(given[:, [15, 14, 13, 12, 11, 10, 9]].transpose(0, 1))[1][-1]
        present = encoder.gru_cur(given.transpose(0, 1))[0][8]
        expected = [
            encoder.linear_bef(past.relu()),
            encoder.linear_cur(present.relu()),
            encoder.linear_aft(future.relu()),
        ]
    torch.testing.assert_close(vectors[0], torch.cat(expected), atol=1e-6, rtol=0)


def test_one_frame_is_predicted_and_three_are_trained(tcmr: Tcmr, features) -> None:
    given = features(2, 16, WIDTH)
    with torch.no_grad():
        output, trained = tcmr(given), tcmr.forward_train(SimpleNamespace(features=given))
        vectors, weights = tcmr.encoder(given)
        past, future = (tcmr.regressor.frames(vectors[:, i : i + 1]) for i in (0, 2))
    assert output.rotmat.shape == (2, 1, 24, 3, 3)
    assert trained.rotmat.shape == (2, 3, 24, 3, 3)
    torch.testing.assert_close(trained.betas[:, 2:], output.betas)
    torch.testing.assert_close(trained.betas[:, :1], past.betas)
    torch.testing.assert_close(trained.betas[:, 1:2], future.betas)
    torch.testing.assert_close(output.aux["attention"], weights)


def test_windows_that_it_accepts(tcmr: Tcmr) -> None:
    assert tcmr.accepts(WindowRule(length=16, stride=1, predict="middle", edges="repeat-frame"))
    assert tcmr.accepts(WindowRule(length=8, stride=1, predict="middle", edges="repeat-frame"))
    for other in (
        WindowRule(length=16, stride=16, predict="all"),
        WindowRule(length=20, stride=8, predict="middle", keep=8),
        WindowRule(length="track", stride="track"),
        WindowRule(length=1, stride=1, predict="middle"),
    ):
        assert not tcmr.accepts(other)
