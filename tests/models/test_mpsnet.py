from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hpsbench.errors import CheckpointMismatch, ShapeError, UsageError
from hpsbench.models._catalog import load_system
from hpsbench.models._checkpoints import save_checkpoint
from hpsbench.models.mpsnet import MpsNet, released_pairs
from hpsbench.types import ClipInput, WindowRule

WIDTH = 24
NARROW = {"feature_width": WIDTH, "hidden_size": 10, "attention_width": 6, "regressor_hidden": 12}
VARIANTS = {
    "mpsnet": {},
    "mpsnet-released": {"batch_mixing": "released"},
    "mpsnet-nonlocal": {"temporal_module": "nonlocal", "integration": "none"},
    "mpsnet-moca": {"integration": "none"},
    "mpsnet-tcmr-tf": {"integration": "tcmr_tf"},
}


def softmax(values: np.ndarray) -> np.ndarray:
    grown = np.exp(values - values.max(axis=-1, keepdims=True))
    return grown / grown.sum(axis=-1, keepdims=True)


def maps_by_hand(state: dict[str, np.ndarray], frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """NSSM and attention map of one window (T, F), one dot product at a time."""
    theta = [state["conv_theta.weight"][:, :, 0] @ frame for frame in frames]
    phi = [state["conv_phi.weight"][:, :, 0] @ frame for frame in frames]
    similarity = np.array([[a @ b for b in frames] for a in frames])
    attention = np.array([[a @ b for b in phi] for a in theta])
    return softmax(similarity), softmax(attention)


def moca_by_hand(
    state: dict[str, np.ndarray], frames: np.ndarray, maps: tuple[np.ndarray, np.ndarray] | None = None
) -> np.ndarray:
    """Z (T, F) of one window, from its own maps or from those given."""
    similarity, attention = maps_by_hand(state, frames) if maps is None else maps
    rho = state["conv_mask_forR.weight"].ravel()
    weights = softmax(rho[0] * similarity + rho[1] * attention)
    given = [state["conv_g.weight"][:, :, 0] @ frame for frame in frames]
    return np.array(
        [
            frame + state["conv_mask.weight"][:, :, 0] @ sum(w * g for w, g in zip(row, given, strict=True))
            for frame, row in zip(frames, weights, strict=True)
        ]
    )


def fused_by_hand(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    hidden = np.concatenate([state["attention.fc.weight"] @ v + state["attention.fc.bias"] for v in vectors])
    for layer in (0, 2, 4):
        prefix = f"attention.attention.{layer}"
        hidden = np.tanh(state[f"{prefix}.weight"] @ hidden + state[f"{prefix}.bias"])
    return softmax(hidden) @ vectors


def block_state(system: MpsNet) -> dict[str, np.ndarray]:
    return {name: value.double().numpy() for name, value in system.nonlocalblock.state_dict().items()}


@pytest.fixture
def small():
    """Features of small norm, so that no softmax is one-hot."""

    def make(batch: int, frames: int = 16) -> torch.Tensor:
        return torch.randn(batch, frames, WIDTH, generator=torch.Generator().manual_seed(3)) * 0.4

    return make


@pytest.fixture
def made(fill):
    """MPS-Net under the rule's weights, MoCA's enlarged so that its maps are far from uniform and its context counts."""

    def make(**options) -> MpsNet:
        system = fill(MpsNet(**{**NARROW, **options}))
        with torch.no_grad():
            for name, value in system.nonlocalblock.named_parameters():
                if name.startswith("conv_"):
                    value *= 2.5
        return system

    return make


@pytest.mark.parametrize("case", VARIANTS)
def test_outputs_stay(case: str, made, small, outputs_stay) -> None:
    system = made(**VARIANTS[case])
    given = small(3)
    with torch.no_grad():
        output, trained = system(given), system.forward_train(SimpleNamespace(features=given))
    motion = trained.aux["motion"]
    outputs_stay(
        case,
        {
            **{name: getattr(output, name) for name in ("rotmat", "betas", "camera")},
            "trained betas": trained.betas,
            "motion": motion.rotmat,
        },
    )


def test_parameter_count() -> None:
    with torch.device("meta"):
        counts = [sum(p.numel() for p in MpsNet(**options).parameters()) for options in VARIANTS.values()]
    attention_block, rho = 787971, 2
    assert counts == [
        12646050,
        12646050,
        12646050 - attention_block - rho,
        12646050 - attention_block,
        12646050,
    ]


@pytest.mark.parametrize("frames", [9, 16, 21])
def test_moca_and_hafi_by_hand(made, small, frames: int) -> None:
    """One window at a time, one frame at a time, in float64: equations 1 to 6 and the two levels of figure 5."""
    system = made()
    given = small(2, frames)
    with torch.no_grad():
        encoded = system.nonlocalblock(given)
        refined, weights = system.nonlocalblock.hafi(encoded)
    state = block_state(system)
    m = frames // 2
    for sample, z, fused in zip(given.double().numpy(), encoded.numpy(), refined.numpy(), strict=True):
        expected = moca_by_hand(state, sample)
        np.testing.assert_allclose(z, expected, atol=1e-5)
        assert np.abs(expected - sample).max() > 0.03
        bottom = [
            fused_by_hand(state, expected[rows])
            for rows in ([m - 4, m - 3, m - 2], [m - 1, m, m + 1], [m + 2, m + 3, m + 4])
        ]
        np.testing.assert_allclose(fused, fused_by_hand(state, np.array(bottom)), atol=1e-5)
    torch.testing.assert_close(weights.sum(1), torch.ones(2))


def test_nonlocal_alone_uses_the_attention_map_alone(made, small) -> None:
    system = made(temporal_module="nonlocal", integration="none")
    given = small(1)
    state = {**block_state(system), "conv_mask_forR.weight": np.array([0.0, 1.0])}
    frames = given[0].double().numpy()
    _, attention = maps_by_hand(state, frames)
    values = [state["conv_g.weight"][:, :, 0] @ frame for frame in frames]
    expected = frames + (attention @ np.array(values)) @ state["conv_mask.weight"][:, :, 0].T
    with torch.no_grad():
        got = system.nonlocalblock(given)[0].numpy()
        output = system(given)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert output.betas.shape == (1, 16, 10)
    assert not hasattr(output, "attention")


def test_tcmr_integration_fuses_the_current_frame_and_its_neighbours(made, small) -> None:
    system = made(integration="tcmr_tf")
    with torch.no_grad():
        encoded = system.nonlocalblock(small(2, 11))
        fused, _ = system.nonlocalblock.neighbours(encoded)
    for z, got in zip(encoded.double().numpy(), fused.numpy(), strict=True):
        np.testing.assert_allclose(got, fused_by_hand(block_state(system), z[4:7]), atol=1e-5)


@pytest.mark.parametrize("variant", ["mpsnet", "mpsnet-nonlocal", "mpsnet-moca", "mpsnet-tcmr-tf"])
def test_paper_mixing_does_not_depend_on_the_batch(made, small, variant: str) -> None:
    system = made(**VARIANTS[variant])
    given = small(7)
    with torch.no_grad():
        whole = system(given)
        for order in ([3], [3, 0], [6, 5, 3, 1]):
            part = system(given[order])
            torch.testing.assert_close(part.betas, whole.betas[order], atol=1e-6, rtol=0)
            torch.testing.assert_close(part.rotmat, whole.rotmat[order], atol=1e-6, rtol=0)


def test_released_mixing_depends_on_the_batch_and_agrees_alone(made, small) -> None:
    released, paper = made(batch_mixing="released"), made()
    given = small(8)
    with torch.no_grad():
        mixed, plain = released(given).betas, paper(given).betas
        alone = torch.cat([released(window[None]).betas for window in given])
        turned = released(given.flip(0)).betas.flip(0)
    torch.testing.assert_close(alone, plain, atol=1e-6, rtol=0)
    changed = (mixed - plain).abs().amax(dim=(1, 2))
    assert (changed > 1e-4).all()
    assert (turned - mixed).abs().max() > 1e-4


@pytest.mark.parametrize("batch", [1, 2, 5, 8])
def test_which_maps_meet_in_the_released_code(batch: int) -> None:
    """Section by section: pairs of NSSM first, then pairs of attention maps; odd batches have one mixed pair."""
    similarity = torch.arange(batch).float()[:, None, None].expand(batch, 2, 2)
    attention = 100 + similarity
    pairs = released_pairs(similarity, attention)[:, :, 0, 0].tolist()
    line = [*range(batch), *range(100, 100 + batch)]
    assert pairs == [[line[2 * n], line[2 * n + 1]] for n in range(batch)]
    if batch == 1:
        assert pairs == [[0, 100]]
    if batch % 2 == 0:
        half = batch // 2
        assert pairs[:half] == [[2 * n, 2 * n + 1] for n in range(half)]
        assert pairs[half:] == [[100 + 2 * n - batch, 101 + 2 * n - batch] for n in range(half, batch)]
    elif batch > 1:
        assert pairs[(batch - 1) // 2] == [batch - 1, 100]


def test_released_mixing_by_hand(made, small) -> None:
    """The mixed map weighs g of the window itself."""
    system = made(batch_mixing="released")
    given = small(5)
    state, windows = block_state(system), given.double().numpy()
    maps = [maps_by_hand(state, window) for window in windows]
    line = [m[0] for m in maps] + [m[1] for m in maps]
    with torch.no_grad():
        got = system.nonlocalblock(given, "released").numpy()
    for n, window in enumerate(windows):
        expected = moca_by_hand(state, window, (line[2 * n], line[2 * n + 1]))
        np.testing.assert_allclose(got[n], expected, atol=1e-5)


def clip(track: torch.Tensor) -> ClipInput:
    n = len(track)
    return ClipInput(track="a", length=n, frame_id=np.arange(n), features=track.numpy())


def test_released_prediction_feeds_groups_of_eight_of_one_track(made, small) -> None:
    """As the released evaluation: 8 heads, full windows, 7 tails, in groups of 8; also over several batches."""
    system = made(batch_mixing="released")
    track = small(1, 133)[0]
    windows = [track[i].expand(16, -1) for i in range(8)]
    windows += [track[i : i + 16] for i in range(133 - 15)]
    windows += [track[i].expand(16, -1) for i in range(133 - 7, 133)]
    expected = []
    with torch.no_grad():
        for first in range(0, len(windows), 8):
            group = torch.stack(windows[first : first + 8])
            encoded = system.nonlocalblock(group, "released")
            expected.append(
                system.regressor.frames(system.nonlocalblock.hafi(encoded)[0][:, None]).betas[:, 0]
            )
    predicted = system.predict(clip(track))
    np.testing.assert_array_equal(predicted.rows, np.arange(133))
    np.testing.assert_allclose(predicted.betas, torch.cat(expected).numpy(), atol=1e-5)
    # The next track starts a new group: predicting another one before changes nothing.
    system.predict(clip(small(1, 21)[0]))
    np.testing.assert_array_equal(system.predict(clip(track)).betas, predicted.betas)


def test_paper_prediction_is_one_window_at_a_time(made, small) -> None:
    system = made()
    track = small(1, 20)[0]
    predicted = system.predict(clip(track))
    with torch.no_grad():
        for row in range(8, 13):
            alone = system(track[row - 8 : row + 8][None]).betas[0, 0].numpy()
            np.testing.assert_allclose(predicted.betas[row], alone, atol=1e-6)


def test_training_rows(made, small) -> None:
    """Three rows of the current frame, and T rows for the discriminator: one per frame, or the released scramble."""
    given = small(2)
    frames, scrambled = made(), made(motion_rows="released")
    with torch.no_grad():
        output = frames(given)
        trained = frames.forward_train(SimpleNamespace(features=given))
        motion = trained.aux["motion"]
        encoded = frames.nonlocalblock(given)
        released = scrambled.forward_train(SimpleNamespace(features=given)).aux["motion"]
        as_it_lies = encoded.transpose(1, 2).contiguous().view(2, -1, WIDTH)
    assert trained.betas.shape == (2, 3, 10)
    torch.testing.assert_close(trained.betas, output.betas.expand(2, 3, 10))
    torch.testing.assert_close(motion.rotmat, frames.regressor.frames(encoded).rotmat)
    torch.testing.assert_close(released.betas, frames.regressor.frames(as_it_lies).betas)
    assert (released.betas - motion.betas).abs().max() > 1e-3


def test_training_mixes_the_whole_batch(made, small) -> None:
    system = made(batch_mixing="released")
    given = small(12)
    with torch.no_grad():
        trained = system.forward_train(SimpleNamespace(features=given))
        encoded = system.nonlocalblock(given, "released")
        fused = system.regressor.frames(system.nonlocalblock.hafi(encoded)[0][:, None])
    torch.testing.assert_close(trained.betas[:, :1], fused.betas)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_reach_every_parameter(made, small, variant: str) -> None:
    system = made(**VARIANTS[variant]).train()
    trained = system.forward_train(SimpleNamespace(features=small(4)))
    (
        trained.rotmat.square().sum() + trained.rotmat.sum() + trained.betas.sum() + trained.camera.sum()
    ).backward()
    for name, value in system.named_parameters():
        assert value.grad is not None, name
        assert value.grad.abs().max() > 0, name


def test_in_the_released_mixing_half_of_the_batch_teaches_no_attention(made, small) -> None:
    system = made(batch_mixing="released")
    encoded = system.nonlocalblock(small(4), "released")
    encoded[:2].square().sum().backward(retain_graph=True)
    assert system.nonlocalblock.conv_theta.weight.grad.abs().max() == 0
    assert system.nonlocalblock.conv_g.weight.grad.abs().max() > 0
    encoded[2:].square().sum().backward()
    assert system.nonlocalblock.conv_theta.weight.grad.abs().max() > 0


def test_windows_that_it_accepts() -> None:
    middle = {"stride": 1, "predict": "middle", "edges": "repeat-frame"}
    with torch.device("meta"):
        systems = {name: MpsNet(**NARROW, **options) for name, options in VARIANTS.items()}
    assert [systems["mpsnet"].accepts(WindowRule(length=n, **middle)) for n in (16, 9, 8)] == [
        True,
        True,
        False,
    ]
    released = systems["mpsnet-released"]
    assert [released.accepts(WindowRule(length=n, **middle)) for n in (16, 20)] == [True, False]
    assert systems["mpsnet-tcmr-tf"].accepts(WindowRule(length=3, **middle))
    assert not systems["mpsnet"].accepts(WindowRule(length=16, stride=16))
    assert systems["mpsnet-moca"].accepts(WindowRule(length=16, stride=16))
    assert systems["mpsnet-moca"].context.predict == "all"
    assert systems["mpsnet"].context.predict == MpsNet.context.predict == "middle"


def test_short_windows_and_wrong_options_are_refused(made, small) -> None:
    with pytest.raises(ShapeError, match="windows of 8 frames; hafi needs at least 9"):
        made()(small(1, 8))
    with pytest.raises(UsageError, match="batch_mixing='mixed' is not one of paper, released"):
        MpsNet(batch_mixing="mixed")
    with pytest.raises(UsageError, match="integration='tcmr'"):
        MpsNet(integration="tcmr")


def test_the_released_checkpoint_loads(tmp_path, shapes_of, thin_state) -> None:
    state = thin_state(shapes_of("mpsnet"))
    container = {
        "epoch": 3,
        "gen_state_dict": state,
        "performance": np.float64(52.1),
        "gen_optimizer": {"state": {}},
        "disc_motion_state_dict": {},
    }
    torch.save(container, tmp_path / "mpsnet_model_best.pth.tar")
    loaded = load_system(tmp_path / "mpsnet_model_best.pth.tar")
    assert isinstance(loaded, MpsNet)
    assert loaded.batch_mixing == "paper"
    assert loaded.options["integration"] == "hafi"
    assert sum(p.numel() for p in loaded.parameters()) == 12646050
    own = loaded.state_dict()
    assert set(own) == {name for name in state if ".smpl." not in name}
    for name, value in own.items():
        torch.testing.assert_close(value, state[name])
    del state["nonlocalblock.conv_mask_forR.weight"]
    torch.save(container, tmp_path / "a.pt")
    with pytest.raises(CheckpointMismatch, match=r"missing: nonlocalblock\.conv_mask_forR\.weight"):
        load_system(tmp_path / "a.pt")


@pytest.mark.parametrize("variant", ["mpsnet-nonlocal", "mpsnet-moca"])
def test_variants_are_recognised_by_their_entries(tmp_path, thin_state, variant: str) -> None:
    with torch.device("meta"):
        shapes = {
            name: tuple(value.shape) for name, value in MpsNet(**VARIANTS[variant]).state_dict().items()
        }
    torch.save({"gen_state_dict": thin_state(shapes)}, tmp_path / "a.pt")
    loaded = load_system(tmp_path / "a.pt")
    expected = {"temporal_module": "moca", **VARIANTS[variant]}
    assert {key: loaded.options[key] for key in expected} == expected


def test_own_checkpoints_keep_their_options(tmp_path, made, small) -> None:
    system = made(batch_mixing="released", integration="tcmr_tf")
    loaded = load_system(save_checkpoint(system, tmp_path / "a.safetensors"))
    assert loaded.options == system.options
    with torch.no_grad():
        torch.testing.assert_close(loaded(small(3)).rotmat, system(small(3)).rotmat)
