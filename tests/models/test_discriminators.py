import numpy as np
import pytest
import torch

from hpsbench.errors import ShapeError, UsageError
from hpsbench.geometry.rotations import axis_angle_to_rotmat
from hpsbench.models._discriminators import (
    AttentiveDiscriminator,
    MotionDiscriminator,
    PoseDiscriminator,
    SelfAttention,
    body_pose_of,
    shape_and_pose_of,
)
from hpsbench.models._system import HPSOutput

HIDDEN = 8
VARIANTS = {
    "attention": {},
    "attention-2x6": {"attention_layers": 2, "attention_size": 6},
    "attention-1": {"attention_layers": 1},
    "concat": {"feature_pool": "concat"},
    "last": {"feature_pool": "last"},
}


@pytest.fixture
def motion() -> torch.Tensor:
    return torch.randn(3, 5, 69, generator=torch.Generator().manual_seed(0)) * 0.5


def softmax(values: np.ndarray) -> np.ndarray:
    grown = np.exp(values - values.max())
    return grown / grown.sum()


@pytest.mark.parametrize(
    ("layout", "options"),
    [
        ("vibe_motion_discriminator", {}),
        ("vibe_motion_discriminator_concat", {"feature_pool": "concat"}),
    ],
)
def test_released_entries_load(shapes_of, thin_state, layout, options) -> None:
    shapes = shapes_of(layout)
    with torch.device("meta"):
        network = MotionDiscriminator(**options)
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == shapes
    network.load_state_dict(thin_state(shapes), assign=True)
    with torch.no_grad():
        assert torch.isfinite(network.eval()(torch.zeros(1, 2, 69))).all()


@pytest.mark.parametrize(
    ("options", "count"),
    [({}, 11762690), ({"feature_pool": "concat"}, 9663489), ({"feature_pool": "last"}, 9662465)],
)
def test_parameter_counts(options, count) -> None:
    with torch.device("meta"):
        network = MotionDiscriminator(**options)
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize("case", VARIANTS)
def test_outputs_stay(case, fill, motion, outputs_stay) -> None:
    network = fill(MotionDiscriminator(hidden_size=HIDDEN, **VARIANTS[case]))
    outputs_stay(f"discriminator-{case}", {"score": network(motion)})


@pytest.mark.parametrize("case", VARIANTS)
def test_pooling_by_hand(case, fill, motion) -> None:
    """From the GRU's states on, a loop over samples in float64."""
    network = fill(MotionDiscriminator(hidden_size=HIDDEN, **VARIANTS[case]))
    with torch.no_grad():
        states = network.gru(motion.transpose(0, 1))[0].transpose(0, 1).double().numpy()
        scores = network(motion).numpy()
    state = {name: value.double().numpy() for name, value in network.state_dict().items()}
    layers = sorted({int(name.split(".")[2]) for name in state if name.startswith("attention.")})
    for steps, score in zip(states, scores, strict=True):
        if case == "concat":
            rectified = np.maximum(steps, 0)
            pooled = np.concatenate([rectified.mean(0), rectified.max(0)])
        elif case == "last":
            pooled = steps[-1]
        else:
            logits = []
            for step in steps:
                for layer in layers:
                    prefix = f"attention.attention.{layer}"
                    step = np.tanh(state[f"{prefix}.weight"] @ step + state[f"{prefix}.bias"])
                logits.append(step[0])
            pooled = softmax(np.array(logits)) @ steps
        expected = state["fc.weight"] @ pooled + state["fc.bias"]
        np.testing.assert_allclose(score, expected, atol=1e-5)


def test_names_of_the_attention_count_tanh_and_dropout() -> None:
    layers = {3: {"0", "3", "6"}, 2: {"0", "3"}, 1: {"0"}}
    for count, expected in layers.items():
        network = MotionDiscriminator(hidden_size=HIDDEN, attention_layers=count)
        names = [name for name in network.state_dict() if name.startswith("attention.")]
        assert {name.split(".")[2] for name in names} == expected


def test_start_of_the_attention() -> None:
    attention = MotionDiscriminator(hidden_size=64).attention
    for name, value in attention.named_parameters():
        if name.endswith("bias"):
            assert (value == 0.01).all()
        else:
            assert 0.09 < value.abs().max() <= 0.1


def test_dropout_zeroes_some_logits_in_training(fill, motion) -> None:
    """As released: dropout follows the scalar logit too, so weights of training differ from draw to draw."""
    network = fill(MotionDiscriminator(hidden_size=HIDDEN, attention_dropout=0.5)).train()
    torch.manual_seed(0)
    drawn = torch.stack([network.attention(torch.ones(40, 6, HIDDEN)) for _ in range(2)])
    assert (drawn[0] - drawn[1]).abs().max() > 1e-3
    equal_steps = network.eval().attention(torch.ones(1, 6, HIDDEN))
    torch.testing.assert_close(equal_steps, torch.full((1, 6), 1 / 6))


@pytest.mark.parametrize("options", [*VARIANTS.values(), {"spectral_norm": True}])
def test_one_sample_and_one_step_keep_their_shape_and_gradients_flow(options, motion) -> None:
    torch.manual_seed(0)
    network = MotionDiscriminator(hidden_size=HIDDEN, **options)
    for given in (motion[:1], motion[:, :1], motion[:1, :1]):
        assert network(given).shape == (len(given), 1)
    motion.requires_grad_()
    (network(motion) - 1).square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    assert motion.grad.abs().max() > 0


def test_wrong_options_and_shapes_are_refused(motion) -> None:
    with pytest.raises(UsageError, match="feature_pool='mean' is not one of attention, concat, last"):
        MotionDiscriminator(feature_pool="mean")
    with pytest.raises(UsageError, match="attention_layers=0"):
        MotionDiscriminator(attention_layers=0)
    network = MotionDiscriminator(hidden_size=HIDDEN)
    for wrong in (motion[..., :66], motion[0], motion[:, :0]):
        with pytest.raises(ShapeError, match=r"body_pose: expected \(B, T, 69\)"):
            network(wrong)


def test_what_a_discriminator_sees_of_an_output() -> None:
    axis_angle = torch.randn(2, 4, 24, 3, generator=torch.Generator().manual_seed(1)) * 0.6
    betas = torch.arange(80.0).reshape(2, 4, 10)
    output = HPSOutput(rotmat=axis_angle_to_rotmat(axis_angle), betas=betas)
    torch.testing.assert_close(body_pose_of(output), axis_angle[:, :, 1:].flatten(2), atol=1e-5, rtol=1e-5)
    both = shape_and_pose_of(output)
    torch.testing.assert_close(both[..., :10], betas)
    torch.testing.assert_close(both[..., 10:], axis_angle.flatten(2), atol=1e-5, rtol=1e-5)
    bare = HPSOutput(joints3d=torch.zeros(1, 1, 14, 3), joint_set="lsp14")
    with pytest.raises(ShapeError, match="needs rotations"):
        body_pose_of(bare)
    with pytest.raises(ShapeError, match="rotations and betas"):
        shape_and_pose_of(bare)


def attend_by_hand(state: dict[str, np.ndarray], frames: np.ndarray) -> np.ndarray:
    def network(prefix: str, frame: np.ndarray) -> np.ndarray:
        for layer in (0, 2):
            frame = state[f"{prefix}.{layer}.weight"] @ frame + state[f"{prefix}.{layer}.bias"]
            frame = np.where(frame > 0, frame, 0.01 * frame)
        return frame

    queries = [network("forward_net", frame) for frame in frames]
    keys = [network("backward_net", frame) for frame in frames]
    weights = [softmax(np.array([q @ k for k in keys])) for q in queries]
    return np.array([frame + row @ frames for frame, row in zip(frames, weights, strict=True)])


def test_self_attention_by_hand(fill) -> None:
    attention = fill(SelfAttention(12))
    given = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        got, weights = attention(given)
    state = {name: value.double().numpy() for name, value in attention.state_dict().items()}
    for sample, result in zip(given.double().numpy(), got.numpy(), strict=True):
        np.testing.assert_allclose(result, attend_by_hand(state, sample), atol=1e-5)
    assert weights.std(dim=-1).max() > 0.01


def test_attentive_discriminator(fill, outputs_stay) -> None:
    """Mean of the attended frames, one layer, sigmoid; the order of frames makes no difference."""
    network = fill(AttentiveDiscriminator())
    given = torch.randn(3, 6, 82, generator=torch.Generator().manual_seed(3)) * 0.3
    with torch.no_grad():
        score = network(given)
        shuffled = network(given[:, torch.randperm(6, generator=torch.Generator().manual_seed(4))])
    state = {n.removeprefix("attention."): v.double().numpy() for n, v in network.state_dict().items()}
    for sample, value in zip(given.double().numpy(), score.numpy(), strict=True):
        mean = attend_by_hand(state, sample).mean(0)
        expected = 1 / (1 + np.exp(-(state["classifier.weight"] @ mean + state["classifier.bias"])))
        np.testing.assert_allclose(value, expected, atol=1e-5)
    torch.testing.assert_close(score, shuffled)
    outputs_stay("discriminator-spsnet", {"score": score})
    count = 4 * (82 * 82 + 82) + 83
    assert sum(p.numel() for p in network.parameters()) == count
    with pytest.raises(ShapeError, match=r"shape_and_pose: expected \(B, T, 82\)"):
        network(given[..., :72])


def test_pose_discriminator(fill, outputs_stay) -> None:
    """23 scores from one joint each, and one from all."""
    network = fill(PoseDiscriminator(width=6, hidden=10))
    axis_angle = torch.randn(4, 23, 3, generator=torch.Generator().manual_seed(5))
    given = axis_angle_to_rotmat(axis_angle)
    with torch.no_grad():
        scores = network(given)
        changed = given.clone()
        changed[:, 7] = torch.eye(3)
        moved = (network(changed) - scores).abs().amax(dim=0) > 1e-7
    assert scores.shape == (4, 24)
    assert moved.nonzero().ravel().tolist() == [7, 23]
    outputs_stay("discriminator-pose", {"scores": scores})
    with torch.device("meta"):
        whole = PoseDiscriminator()
    expected = (9 * 32 + 32) + (32 * 32 + 32) + 23 * 33 + (736 * 1024 + 1024) + (1024 * 1024 + 1024) + 1025
    assert sum(p.numel() for p in whole.parameters()) == expected
    with pytest.raises(ShapeError, match=r"expected \(N, 23, 3, 3\)"):
        network(torch.eye(3).expand(2, 24, 3, 3))
