import pytest
import torch

from hpsbench.losses.joints import joints3d_loss, keypoints2d_loss
from hpsbench.losses.params import pose_loss, shape_loss


def test_keypoints_count_in_the_mean_even_without_confidence() -> None:
    pred = torch.zeros(1, 2, 2)
    target = torch.tensor([[[1.0, 1.0, 1.0], [5.0, 5.0, 0.0]]])
    assert keypoints2d_loss(pred, target).item() == pytest.approx(2 / 4)


def test_joints3d_ignores_translation_and_frames_without_annotation() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(3, 4, 3, generator=generator)
    pred = target + 7.0
    pred[2] += torch.randn(4, 3, generator=generator)
    has = torch.tensor([True, True, False])
    assert joints3d_loss(pred, target, has, root=(2, 3)).item() == pytest.approx(0.0, abs=1e-10)
    assert joints3d_loss(pred, target, ~has, root=(2, 3)).item() > 0.1


def test_joints3d_of_one_moved_joint_is_the_hand_computed_mean() -> None:
    target = torch.zeros(1, 4, 3)
    pred = target.clone()
    pred[0, 0, 1] = 0.3
    assert joints3d_loss(pred, target, torch.tensor([True]), root=(2, 3)).item() == pytest.approx(0.09 / 12)


def test_parameter_losses_are_zero_where_nothing_is_annotated() -> None:
    pred, target = torch.ones(2, 24, 3, 3), torch.zeros(2, 24, 3, 3)
    nothing = torch.tensor([False, False])
    assert pose_loss(pred, target, nothing).item() == 0.0
    assert pose_loss(pred, target, torch.tensor([True, False])).item() == pytest.approx(1.0)
    assert shape_loss(torch.full((2, 10), 2.0), torch.zeros(2, 10), ~nothing).item() == pytest.approx(4.0)
