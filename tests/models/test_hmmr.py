from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hpsbench.models._catalog import load_system
from hpsbench.models._checkpoints import save_checkpoint
from hpsbench.models.hmmr import Hmmr
from hpsbench.types import ClipInput, WindowRule

WIDTH, GROUPS = 24, 4
NARROW = {"feature_width": WIDTH, "groups": GROUPS, "regressor_hidden": 12}
FULL = {"deltas": [-5, 5], "hallucinate": True}


@pytest.fixture
def given() -> torch.Tensor:
    return torch.randn(2, 20, WIDTH, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def made(fill):
    def make(**options) -> Hmmr:
        return fill(Hmmr(**{**NARROW, **options}))

    return make


def norm_by_hand(state: dict[str, np.ndarray], prefix: str, frames: np.ndarray) -> np.ndarray:
    """Group norm of (T, F): statistics of a group are over its channels and all frames."""
    parts = []
    for group in np.split(frames, GROUPS, axis=1):
        parts.append((group - group.mean()) / np.sqrt(group.var() + 1e-6))
    return np.concatenate(parts, axis=1) * state[f"{prefix}.weight"] + state[f"{prefix}.bias"]


def convolution_by_hand(state: dict[str, np.ndarray], prefix: str, frames: np.ndarray) -> np.ndarray:
    padded = np.concatenate([np.zeros((1, WIDTH)), frames, np.zeros((1, WIDTH))])
    weight = state[f"{prefix}.weight"]
    return np.array(
        [
            sum(weight[:, :, k] @ padded[t + k] for k in range(3)) + state[f"{prefix}.bias"]
            for t in range(len(frames))
        ]
    )


def encode_by_hand(state: dict[str, np.ndarray], frames: np.ndarray) -> np.ndarray:
    for block in range(3):
        hidden = frames
        for half in (1, 2):
            hidden = np.maximum(norm_by_hand(state, f"encoder.blocks.{block}.norm{half}", hidden), 0)
            hidden = convolution_by_hand(state, f"encoder.blocks.{block}.conv{half}", hidden)
        frames = frames + hidden
    return frames


@pytest.mark.parametrize(("case", "options"), [("hmmr", {}), ("hmmr-full", FULL)])
def test_outputs_stay(case, options, made, given, outputs_stay) -> None:
    system = made(**options)
    with torch.no_grad():
        output, trained = system(given), system.forward_train(SimpleNamespace(features=given))
    tensors = {name: getattr(output, name) for name in ("rotmat", "betas", "camera")}
    for name, value in trained.aux.items():
        tensors[name] = value if isinstance(value, torch.Tensor) else value.rotmat
    outputs_stay(case, tensors)
    torch.testing.assert_close(trained.rotmat, output.rotmat)


@pytest.mark.parametrize("frames", [1, 7, 20])
def test_the_encoder_by_hand(made, given, frames: int) -> None:
    system = made()
    given = given[:, :frames]
    state = {name: value.double().numpy() for name, value in system.state_dict().items()}
    with torch.no_grad():
        strip = system.encoder(given)
        for sample, got in zip(given.double().numpy(), strip.numpy(), strict=True):
            np.testing.assert_allclose(got, encode_by_hand(state, sample), atol=1e-4)
        torch.testing.assert_close(system(given).rotmat, system.regressor.frames(strip).rotmat)


def test_a_row_of_the_strip_sees_thirteen_frames(made, given) -> None:
    """4 frames a block and its own; the norms, which span the window, are switched off here."""
    system = made()
    for block in system.encoder.blocks:
        block.norm1, block.norm2 = torch.nn.Identity(), torch.nn.Identity()
    moved = []
    with torch.no_grad():
        before = system.encoder(given)
        for frame in range(20):
            changed = given.clone()
            changed[:, frame] += 1
            moved.append(not torch.equal(before[:, 10], system.encoder(changed)[:, 10]))
    assert [frame for frame in range(20) if moved[frame]] == list(range(4, 17))


def test_deltas_start_from_the_current_bodies_and_keep_shape_and_camera(made, given) -> None:
    system = made(**FULL)
    with torch.no_grad():
        trained = system.forward_train(SimpleNamespace(features=given))
        for distance in (-5, 5):
            delta = trained.aux[f"delta_{distance}"]
            torch.testing.assert_close(delta.betas, trained.betas)
            torch.testing.assert_close(delta.camera, trained.camera)
            assert (delta.rotmat - trained.rotmat).abs().max() > 1e-3
        network = system.deltas[1]
        strip = system.encoder(given)[0, 3].double()
        state = system.regressor(system.encoder(given)[0, 3:4])
        pose = state.pose[0].double()
        weights = {name: value.double() for name, value in network.state_dict().items()}
        for _ in range(3):
            hidden = weights["fc1.weight"] @ torch.cat([strip, pose]) + weights["fc1.bias"]
            hidden = weights["fc2.weight"] @ hidden + weights["fc2.bias"]
            pose = pose + weights["decpose.weight"] @ hidden + weights["decpose.bias"]
        moved = network(system.encoder(given)[0, 3:4], state).pose[0]
    torch.testing.assert_close(moved.double(), pose, atol=1e-5, rtol=1e-5)
    expected = state._replace(pose=moved[None]).output(1)
    torch.testing.assert_close(trained.aux["delta_5"].rotmat[0, 3], expected.rotmat[0, 0])


def test_hallucination_sees_one_frame_alone(made, given) -> None:
    system = made(**FULL)
    changed = given.clone()
    changed[:, 5] += 1
    with torch.no_grad():
        aux, other = (system.forward_train(SimpleNamespace(features=f)).aux for f in (given, changed))
    moved = (aux["hallucinated"] - other["hallucinated"]).abs().amax(dim=(0, 2)) > 0
    assert moved.nonzero().ravel().tolist() == [5]
    expected = system.regressor.frames(aux["hallucinated"])
    torch.testing.assert_close(aux["hallucinated_bodies"].rotmat, expected.rotmat)
    torch.testing.assert_close(aux["strip"], system.encoder(given))
    assert {"hallucinated_delta_-5", "hallucinated_delta_5"} <= set(aux)


def test_residual_branches_start_small() -> None:
    torch.manual_seed(0)
    system = Hmmr(feature_width=64, groups=4, regressor_hidden=8, hallucinate=True)
    given = torch.randn(1, 20, 64)
    with torch.no_grad():
        assert (system.encoder(given) - given).abs().mean() < 0.2 * given.abs().mean()
        assert (system.hallucinator(given) - given).abs().mean() < 0.1 * given.abs().mean()
    fan = 64 * 3
    weight = system.encoder.blocks[0].conv2.weight.detach()
    assert weight.std().item() == pytest.approx((0.001 / fan) ** 0.5, rel=0.05)
    assert weight.abs().max().item() == pytest.approx((3 * 0.001 / fan) ** 0.5, rel=0.01)  # uniform


@pytest.mark.parametrize("options", [{}, FULL])
def test_gradients_reach_every_parameter(made, given, options) -> None:
    system = made(**options).train()
    trained = system.forward_train(SimpleNamespace(features=given))
    loss = (
        (trained.rotmat * torch.linspace(0, 1, 9).reshape(3, 3)).sum()
        + trained.betas.sum()
        + trained.camera.sum()
    )
    for value in trained.aux.values():
        part = value if isinstance(value, torch.Tensor) else value.rotmat
        loss = loss + (part * torch.linspace(0, 1, part.shape[-1])).sum()
    loss.backward()
    for name, value in system.named_parameters():
        assert value.grad is not None, name
        assert torch.isfinite(value.grad).all(), name


def test_parameter_counts() -> None:
    convolutions = 6 * (2048 * 2048 * 3 + 2048 + 2 * 2048)
    delta = ((2048 + 144) * 1024 + 1024) + (1024 * 1024 + 1024) + (1024 * 144 + 144)
    hallucinator = 3 * (2048 * 2048 + 2048)
    with torch.device("meta"):
        counts = [sum(p.numel() for p in Hmmr(**options).parameters()) for options in ({}, FULL)]
    assert counts[0] == convolutions + 3469469
    assert counts[1] == counts[0] + 2 * delta + hallucinator


def test_every_frame_comes_from_the_window_in_which_it_lies_most_centrally(made) -> None:
    system = made()
    assert not system.accepts(WindowRule(length=16, stride=16))
    assert system.accepts(WindowRule(length=20, stride=20))
    features = np.random.default_rng(0).normal(size=(44, WIDTH)).astype(np.float32)
    prediction = system.predict(ClipInput(track="a", length=44, frame_id=np.arange(44), features=features))
    np.testing.assert_array_equal(prediction.rows, np.arange(44))
    with torch.no_grad():
        for first, rows in ((0, range(14)), (8, range(14, 22)), (16, range(22, 30)), (24, range(30, 44))):
            window = system(torch.from_numpy(features[None, first : first + 20]))
            for row in rows:
                expected = window.rotmat[0, row - first].numpy()
                np.testing.assert_allclose(prediction.rotmat[row], expected, atol=1e-5)


def test_own_checkpoints_keep_their_options(tmp_path, made, given) -> None:
    system = made(length=12, **FULL)
    loaded = load_system(save_checkpoint(system, tmp_path / "a.safetensors"))
    assert loaded.options == system.options
    assert loaded.context == system.context
    with torch.no_grad():
        torch.testing.assert_close(loaded(given).rotmat, system(given).rotmat)
