import numpy as np
import pytest
import torch

from hpsbench.errors import ShapeError
from hpsbench.geometry.rotations import axis_angle_to_rotmat
from hpsbench.models._mposer import KL_WEIGHT, MPoser, Reconstruction, mposer_loss


@pytest.fixture
def motion() -> torch.Tensor:
    return torch.randn(3, 5, 69, generator=torch.Generator().manual_seed(0)) * 0.4


@pytest.fixture
def narrow(fill) -> MPoser:
    return fill(MPoser(latent=4, hidden_size=8))


def test_outputs_stay(narrow, motion, outputs_stay) -> None:
    with torch.no_grad():
        found = narrow(motion)
        outputs_stay("mposer", {**found._asdict(), "prior": narrow.prior(motion)})


def test_a_latent_vector_of_32_numbers_per_step() -> None:
    with torch.no_grad():
        found = MPoser().eval()(torch.zeros(2, 3, 69))
    assert found.mean.shape == found.log_variance.shape == (2, 3, 32)
    assert found.rotmat.shape == (2, 3, 23, 3, 3)


def test_training_draws_round_the_mean_and_evaluation_does_not(narrow, motion) -> None:
    with torch.no_grad():
        assert torch.equal(narrow(motion).rotmat, narrow(motion).rotmat)
        narrow.train()
        torch.manual_seed(0)
        first = narrow(motion)
        torch.manual_seed(0)
        noise = torch.randn_like(first.mean)
        expected = narrow.decode(first.mean + (0.5 * first.log_variance).exp() * noise)
    torch.testing.assert_close(first.rotmat, expected)
    assert (narrow(motion).rotmat - first.rotmat).abs().max() > 1e-3


def test_the_prior_is_the_mean_squared_norm_of_the_latents(narrow, motion) -> None:
    with torch.no_grad():
        mean = narrow.encode(motion)[0].double().numpy()
        expected = np.mean([latent @ latent for latent in mean.reshape(-1, 4)])
        assert float(narrow.prior(motion)) == pytest.approx(expected, rel=1e-5)


def test_the_loss_by_hand(motion) -> None:
    target = axis_angle_to_rotmat(motion.reshape(3, 5, 23, 3))
    zero = torch.zeros(3, 5, 4)
    assert float(mposer_loss(motion, Reconstruction(target, zero, zero))) == pytest.approx(0, abs=1e-7)
    off = Reconstruction(target + 0.5, zero, zero)
    assert float(mposer_loss(motion, off)) == pytest.approx(0.25, rel=1e-5)
    shifted = Reconstruction(target, zero + 2, zero + 1)
    per_number = 0.5 * (4 + np.e - 1 - 1)
    assert float(mposer_loss(motion, shifted)) == pytest.approx(KL_WEIGHT * 4 * per_number, rel=1e-5)


def test_gradients_reach_every_parameter_and_the_motion(narrow, motion) -> None:
    mposer_loss(motion, narrow.train()(motion)).backward()
    for name, value in narrow.named_parameters():
        assert value.grad is not None, name
        assert torch.isfinite(value.grad).all()
    motion.requires_grad_()
    narrow.prior(motion).backward()
    assert motion.grad.abs().max() > 0


def test_other_shapes_are_refused(narrow) -> None:
    with pytest.raises(ShapeError, match=r"body_pose: expected \(B, T, 69\), got \(2, 16, 72\)"):
        narrow.encode(torch.zeros(2, 16, 72))
