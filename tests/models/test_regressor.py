import numpy as np
import pytest
import torch

from hpsbench.bodies.mean_params import MeanParams
from hpsbench.models._regressor import REGRESSOR_ENTRIES, BodyState, IterativeRegressor


def naive(state: dict[str, np.ndarray], features: np.ndarray) -> np.ndarray:
    """The regressor as a loop over samples and passes, in float64."""
    bodies = []
    for feature in features:
        pose, shape, camera = state["init_pose"][0], state["init_shape"][0], state["init_cam"][0]
        for _ in range(3):
            hidden = state["fc1.weight"] @ np.concatenate([feature, pose, shape, camera]) + state["fc1.bias"]
            hidden = state["fc2.weight"] @ hidden + state["fc2.bias"]
            pose = pose + state["decpose.weight"] @ hidden + state["decpose.bias"]
            shape = shape + state["decshape.weight"] @ hidden + state["decshape.bias"]
            camera = camera + state["deccam.weight"] @ hidden + state["deccam.bias"]
        bodies.append(np.concatenate([pose, shape, camera]))
    return np.array(bodies)


def test_three_shared_passes_without_a_non_linearity(fill) -> None:
    regressor = fill(IterativeRegressor(24, 12))
    features = torch.randn(5, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        got = torch.cat(regressor(features), dim=1).numpy()
    state = {name: value.double().numpy() for name, value in regressor.state_dict().items()}
    np.testing.assert_allclose(got, naive(state, features.double().numpy()), atol=1e-5)
    # Without a non-linearity the result is affine in the feature.
    with torch.no_grad():
        a, b, middle = (
            torch.cat(regressor(f), 1) for f in (features[:1], features[1:2], features[:2].mean(0)[None])
        )
    torch.testing.assert_close(middle, (a + b) / 2, atol=1e-5, rtol=1e-5)


def test_entries_are_those_of_spins_checkpoint(shapes_of) -> None:
    shapes = shapes_of("hmr")
    own = {name: tuple(value.shape) for name, value in IterativeRegressor().state_dict().items()}
    assert set(own) == set(REGRESSOR_ENTRIES)
    assert own == {name: shapes[name] for name in own}


def test_the_heads_start_small_and_the_state_at_the_mean() -> None:
    torch.manual_seed(0)
    regressor = IterativeRegressor(32, 16).eval()
    for head in (regressor.decpose, regressor.decshape, regressor.deccam):
        bound = 0.01 * (6 / sum(head.weight.shape)) ** 0.5
        assert 0.5 * bound < head.weight.abs().max() <= bound
    mean = MeanParams(
        np.arange(144, dtype=np.float32), np.arange(10, dtype=np.float32), np.arange(3, dtype=np.float32)
    )
    started = IterativeRegressor(32, 16, mean).eval()(torch.zeros(2, 32), passes=0)
    np.testing.assert_array_equal(started.pose[1].numpy(), mean.pose)
    np.testing.assert_array_equal(started.camera[0].numpy(), mean.cam)
    assert regressor(torch.zeros(1, 32), passes=0).pose.reshape(24, 6)[3].tolist() == [1, 0, 0, 1, 0, 0]


def test_dropout_is_there_while_training_only(fill) -> None:
    regressor = fill(IterativeRegressor(24, 12))
    features = torch.ones(1, 24)
    torch.testing.assert_close(regressor(features).pose, regressor(features).pose, atol=0, rtol=0)
    regressor.train()
    assert not torch.equal(regressor(features).pose, regressor(features).pose)


def test_the_6d_form_is_interleaved() -> None:
    six = torch.tensor([2.0, 0.3, 0.0, 0.5, 0.0, 4.0])  # columns (2, 0, 0) and (0.3, 0.5, 4)
    state = BodyState(six.repeat(24)[None], torch.zeros(1, 10), torch.zeros(1, 3))
    rotmat = state.output(1).rotmat[0, 0, 7]
    second = torch.tensor([0.0, 0.5, 4.0]) / (0.25 + 16) ** 0.5
    expected = torch.stack(
        [torch.tensor([1.0, 0, 0]), second, torch.tensor([0.0, -second[2], second[1]])], dim=1
    )
    torch.testing.assert_close(rotmat, expected)


@pytest.mark.parametrize("frames", [1, 6])
def test_frames_keep_their_order(fill, features, frames: int) -> None:
    regressor = fill(IterativeRegressor(24, 12))
    given = features(3, frames, 24)
    output = regressor.frames(given)
    assert output.rotmat.shape == (3, frames, 24, 3, 3)
    alone = regressor.frames(given[2:, frames - 1 :])
    torch.testing.assert_close(output.betas[2, frames - 1], alone.betas[0, 0])
