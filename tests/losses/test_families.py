"""Values computed by hand, gradients by finite differences."""

import math

import pytest
import torch

from hpsbench.losses.adversarial import captured_loss, generator_loss, predicted_loss
from hpsbench.losses.camera import camera_consistency_loss
from hpsbench.losses.confidence import confidence_loss
from hpsbench.losses.flow import flow_loss
from hpsbench.losses.forecast import feature_loss
from hpsbench.losses.joints import keypoints2d_distance_loss
from hpsbench.losses.mask import mask_loss, soft_silhouette
from hpsbench.losses.motion_prior import latent_loss
from hpsbench.losses.params import shape_constancy_loss, shape_prior_loss
from hpsbench.losses.smplify import (
    PoseMixture,
    bending_loss,
    body_fitting_loss,
    camera_fitting_loss,
    reprojection,
    robust,
)


def test_adversarial_losses_are_least_squares() -> None:
    fake, real = torch.tensor([[0.5], [-1.0]]), torch.tensor([[0.8], [1.0], [0.0]])
    assert generator_loss(fake).item() == pytest.approx((0.25 + 4.0) / 2)
    assert predicted_loss(fake).item() == pytest.approx((0.25 + 1.0) / 2)
    assert captured_loss(real).item() == pytest.approx((0.04 + 0.0 + 1.0) / 3)
    noise = torch.tensor([[0.1], [0.0], [0.0]])
    assert captured_loss(real, noise).item() == pytest.approx((0.01 + 1.0) / 3)


def test_several_scores_of_one_motion_are_summed() -> None:
    assert generator_loss(torch.tensor([[0.0, 0.0, 1.0]])).item() == pytest.approx(2.0)


def test_cameras_are_compared_on_shared_frames_with_gradient_on_both_sides() -> None:
    camera = torch.zeros(1, 3, 3, requires_grad=True)
    shifted = torch.zeros(1, 3, 3)
    shifted[0, 0, 0], shifted[0, 2] = 2.0, 100.0  # the last frame is not shared
    shifted.requires_grad_()
    loss = camera_consistency_loss(camera, shifted)
    assert loss.item() == pytest.approx(4.0 / 6)
    loss.backward()
    assert camera.grad is not None
    assert camera.grad[0, 1, 0].item() == pytest.approx(-4.0 / 6)
    assert shifted.grad is not None
    assert shifted.grad[0, 0, 0].item() == pytest.approx(4.0 / 6)
    assert camera.grad[0, 0].abs().sum() == 0


def test_features_that_are_forecast_get_no_gradient() -> None:
    made, wanted = torch.tensor([[1.0, 3.0]], requires_grad=True), torch.zeros(1, 2, requires_grad=True)
    loss = feature_loss(made, wanted)
    assert loss.item() == pytest.approx(5.0)
    loss.backward()
    assert wanted.grad is None
    assert made.grad is not None


def test_confidence_weighs_errors_and_has_its_optimum_at_the_error() -> None:
    error = torch.tensor([[[2.0, 1.0]], [[4.0, 7.0]]])
    log_variance = torch.tensor([[[0.0, 1.0]], [[math.log(2), 5.0]]])
    valid = torch.tensor([[[True, True]], [[True, False]]])
    wanted = ((2.0 + 0.0) + (4.0 / 2 + math.log(2))) / 2 + (math.exp(-1) + 1.0)
    assert confidence_loss(error, log_variance, valid).item() == pytest.approx(wanted)
    s = torch.tensor([[[math.log(3.0)]]], requires_grad=True)
    confidence_loss(torch.tensor([[[3.0]]]), s, torch.tensor([[[True]]])).backward()
    assert s.grad is not None
    assert s.grad.item() == pytest.approx(0.0, abs=1e-6)


def test_flow_that_carries_joints_to_where_they_were_costs_nothing() -> None:
    before = torch.tensor([[0.1, -0.2], [0.3, 0.4]])
    step = torch.tensor([0.25, -0.125])
    points = torch.stack([before, before + step])[None].requires_grad_()
    flow = (-step)[None, None, :, None, None].expand(1, 2, 2, 8, 8)
    seen = torch.ones(1, 2, 2, dtype=torch.bool)
    assert flow_loss(points, flow, seen).item() == pytest.approx(0.0, abs=1e-12)
    still = flow_loss(points, torch.zeros_like(flow), seen)
    assert still.item() == pytest.approx(0.25**2 + 0.125**2)
    one = seen.clone()
    one[0, 1, 0] = False
    assert flow_loss(points, torch.zeros_like(flow), one).item() == pytest.approx(still.item() / 2)
    still.backward()
    assert points.grad is not None
    assert (points.grad[0, 0] == -points.grad[0, 1]).all(), (
        "gradient through both joints, not the reading place"
    )


def test_flow_is_read_bilinearly_at_the_joint() -> None:
    field = torch.zeros(1, 2, 2, 2, 2)
    field[0, 1, 0] = torch.tensor(
        [[0.0, 1.0], [0.0, 1.0]]
    )  # x displacement 0 left, 1 right; centres at -0.5 and 0.5
    points = torch.zeros(1, 2, 1, 2)
    points[0, 1, 0, 0] = 0.25
    seen = torch.ones(1, 2, 1, dtype=torch.bool)
    assert flow_loss(points, field, seen).item() == pytest.approx((0.25 + 0.75) ** 2)


def test_a_silhouette_covers_its_vertices_and_nothing_else() -> None:
    found = soft_silhouette(torch.tensor([[[0.0, 0.0], [5.0, 0.0]]]), side=5)
    assert found[0, 2, 2].item() == pytest.approx(1 - math.exp(-0.75 * 0.75))
    assert found[0, 2, 1].item() == pytest.approx(1 - math.exp(-0.125 * 0.75))
    assert found[0, 0].abs().sum() == 0
    assert found[0, :, 4].abs().sum() == 0


def test_silhouette_axes_are_x_right_and_y_down() -> None:
    found = soft_silhouette(torch.tensor([[[0.8, -0.8]]]), side=10)[0]
    assert divmod(int(found.argmax()), 10) in {(0, 8), (0, 9), (1, 8), (1, 9)}
    assert found[:3, 7:].sum() == pytest.approx(found.sum().item())


def test_the_silhouettes_gradient_agrees_with_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    points = (torch.rand(2, 40, 2, generator=generator, dtype=torch.float64) * 2.2 - 1.1).requires_grad_()
    mask = torch.rand(2, 14, 14, generator=generator).round().double()
    has = torch.tensor([True, True])

    def loss(at: torch.Tensor) -> torch.Tensor:
        return mask_loss(soft_silhouette(at, side=14), mask, has)

    assert torch.autograd.gradcheck(loss, (points,), eps=1e-6, atol=1e-6)


def test_mask_loss_is_the_positive_cross_entropy_of_frames_with_masks() -> None:
    silhouette = torch.tensor([[[0.5, 0.0], [0.25, 1.0]], [[0.1, 0.1], [0.1, 0.1]]])
    mask = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])
    wanted = (math.log(2) + math.log(4)) / 4
    assert mask_loss(silhouette, mask, torch.tensor([True, False])).item() == pytest.approx(wanted)
    assert mask_loss(silhouette, mask, torch.tensor([False, False])).item() == 0.0


def test_latents_and_shapes_by_hand() -> None:
    assert latent_loss(torch.tensor([[[3.0, 4.0], [0.0, 1.0]]])).item() == pytest.approx(13.0)
    betas = torch.zeros(1, 3, 10)
    betas[0, 1, 0] = 2.0
    assert shape_constancy_loss(betas).item() == pytest.approx(0.5 * 8.0 / 20)
    assert shape_prior_loss(betas).item() == pytest.approx(4.0 / 30)


def test_the_mean_of_keypoint_distances_is_over_seen_joints() -> None:
    target = torch.tensor([[[1.0, -2.0, 1.0], [9.0, 9.0, 0.0]]])
    assert keypoints2d_distance_loss(torch.zeros(1, 2, 2), target).item() == pytest.approx(3.0 / 2)
    target[..., 2] = 0.0
    assert keypoints2d_distance_loss(torch.zeros(1, 2, 2), target).item() == 0.0


def test_robust_errors_level_off_at_sigma_squared() -> None:
    assert robust(torch.tensor(100.0**2)).item() == pytest.approx(100.0**2 / 2)
    assert robust(torch.tensor(1e12)).item() == pytest.approx(100.0**2, rel=1e-3)


def test_mixture_prior_is_the_smallest_negative_log_likelihood() -> None:
    means = torch.tensor([[0.0, 0.0], [4.0, 0.0]])
    covariances = torch.stack([torch.eye(2), 4 * torch.eye(2)])
    prior = PoseMixture.of(means, covariances, torch.tensor([0.25, 0.75]))
    at = torch.tensor([[1.0, 0.0], [4.0, 2.0]])
    first = 0.5 * 1.0 - math.log(0.25) + math.log(2 * math.pi)
    second = 0.5 * 4.0 / 4 - math.log(0.75) + math.log(2 * math.pi) + math.log(4.0)
    assert prior(at).tolist() == pytest.approx([first, second], rel=1e-6)


def test_joints_that_bend_the_wrong_way_pay() -> None:
    pose = torch.zeros(3, 69)
    pose[1, 52], pose[2, 9] = 1.0, 1.0
    found = bending_loss(pose)
    assert found[0].item() == pytest.approx(4.0)
    assert found[1].item() == pytest.approx(3.0 + math.exp(2.0))
    assert found[2].item() == pytest.approx(3.0 + math.exp(-2.0))


def test_temporal_fitting_by_hand() -> None:
    keypoints = torch.zeros(2, 1, 3)
    keypoints[:, :, 2] = 0.5
    projected = torch.tensor([[[0.0, 0.0]], [[10.0, 0.0]]])
    joints = torch.tensor([[[0.0, 0.0, 0.0]], [[0.0, 0.3, 0.0]]])
    assert reprojection(projected, keypoints)[1, 0].item() == pytest.approx(0.25 * 1e4 * 100 / (1e4 + 100))
    pose, betas = torch.zeros(2, 69), torch.zeros(2, 10)
    betas[0, 0] = 2.0
    found = body_fitting_loss(projected, joints, keypoints, pose, betas, None)
    wanted = 0.25 * 1e4 * 100 / (1e4 + 100) + 15.2**2 * 8 + 25 * 4.0 + 1e-4 * 0.25 * 10 + 0.25 * 0.3
    assert found.item() == pytest.approx(wanted, rel=1e-6)


def test_camera_stage_leaves_out_frames_that_lack_a_torso_joint() -> None:
    keypoints = torch.ones(2, 4, 3)
    keypoints[1, 2, 2] = 0.0
    projected = torch.zeros(2, 4, 2)
    depth, start = torch.tensor([2.0, 3.0]), torch.tensor([2.0, 2.5])
    found = camera_fitting_loss(projected, keypoints, depth, start)
    assert found.item() == pytest.approx(8.0 + 1e4 * 0.25)
