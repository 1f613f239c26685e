import numpy as np
import pytest
import torch

from hpsbench import metrics
from hpsbench.errors import ShapeError, UsageError
from hpsbench.metrics.motion import FOOT_VERTICES, WHAM_JITTER_UNIT


def second(x):
    return x[2:] - 2 * x[1:-1] + x[:-2]


def test_accel_err_is_the_mean_size_of_the_difference(make_pair, array):
    pred, target = make_pair(frames=2000)
    expected = 1000 * np.linalg.norm(second(pred) - second(target), axis=-1).mean(-1)
    ours = np.asarray(metrics.accel_err(array(pred), array(target)))
    np.testing.assert_allclose(ours, expected, rtol=1e-9)
    alone = np.asarray(metrics.accel_pred(array(pred)))
    np.testing.assert_allclose(alone, 1000 * np.linalg.norm(second(pred), axis=-1).mean(-1), rtol=1e-9)


def test_constant_acceleration_by_hand(array):
    t = np.arange(10.0)[:, None, None]
    path = np.broadcast_to(0.5 * 0.004 * t**2 * [1, 0, 0], (10, 14, 3)).copy()
    np.testing.assert_allclose(np.asarray(metrics.accel_pred(array(path))), np.full(8, 4.0))
    still = np.zeros_like(path)
    np.testing.assert_allclose(np.asarray(metrics.accel_err(array(still), array(path))), np.full(8, 4.0))


def test_a_steady_drift_is_no_acceleration(make_pair):
    pred, target = make_pair()
    drift = np.arange(30.0)[:, None, None] * [0.01, 0, 0.02] + 1
    np.testing.assert_allclose(
        metrics.accel_err(pred + drift, target), metrics.accel_err(pred, target), atol=1e-9
    )
    np.testing.assert_allclose(metrics.accel_err(target + drift, target), 0, atol=1e-9)


def test_accel_pred_is_not_an_error(make_pair):
    _, target = make_pair()
    assert metrics.accel_err(target, target).max() == 0
    assert metrics.accel_pred(target).min() > 0


@pytest.mark.parametrize("frames", [0, 1, 2, 3, 4])
def test_short_tracks_have_few_values_or_none(array, frames):
    points = array(np.zeros((frames, 14, 3)))
    assert tuple(metrics.accel_err(points, points).shape) == (max(frames - 2, 0),)
    assert tuple(metrics.accel_pred(points).shape) == (max(frames - 2, 0),)
    assert tuple(metrics.jitter(points, fps=30).shape) == (max(frames - 3, 0),)


def test_values_do_not_depend_on_the_blocks(make_pair):
    pred, target = make_pair(frames=3200)
    whole = metrics.accel_err(pred, target)
    np.testing.assert_array_equal(whole[1500:1600], metrics.accel_err(pred[1500:1602], target[1500:1602]))
    jerk = metrics.jitter(pred, fps=25)
    np.testing.assert_array_equal(jerk[1500:1600], metrics.jitter(pred[1500:1603], fps=25))


def test_jitter_of_a_cubic_is_its_third_derivative(array):
    t = np.arange(12.0)[:, None, None] / 25
    path = np.broadcast_to(t**3 * [0, 7.0, 0], (12, 24, 3)).copy()
    np.testing.assert_allclose(np.asarray(metrics.jitter(array(path), fps=25)), np.full(9, 42.0))
    assert pytest.approx(4.2) == metrics.jitter(path, fps=25)[0] / WHAM_JITTER_UNIT
    with pytest.raises(UsageError, match="fps"):
        metrics.jitter(path, fps=0)


def test_all_three_needs_all_three_frames(array):
    mask = array(np.asarray([True, True, True, False, True, True, True]))
    assert np.asarray(metrics.all_three(mask)).tolist() == [True, False, False, False, True]


@pytest.fixture
def feet():
    """Target: two vertices stand, two move 20 mm a frame. Prediction: slides 3 mm a frame."""
    target = np.zeros((5, 6890, 3))
    time = np.arange(5.0)[:, None]
    target[:, FOOT_VERTICES[2:], 0] = 0.020 * time
    pred = np.zeros_like(target)
    pred[:, :, 2] = 0.003 * time
    return pred, target


def test_foot_sliding_counts_standing_vertices_only(feet, array):
    pred, target = (array(x) for x in feet)
    values = np.asarray(metrics.foot_sliding(pred, target))
    np.testing.assert_allclose(values, np.full(4 * 2, 3.0))
    contacts = np.asarray(metrics.foot_contacts(target))
    assert contacts.tolist() == [[True, True, False, False]] * 4
    assert len(np.asarray(metrics.foot_sliding(pred, target, contact=0.03))) == 16


def test_feet_that_never_stand_give_no_values(feet):
    pred, target = feet
    target = target + 0.05 * np.arange(5.0)[:, None, None]
    assert metrics.foot_sliding(pred, target).shape == (0,)


def test_foot_sliding_needs_the_mesh_of_smpl():
    points = np.zeros((5, 24, 3))
    with pytest.raises(ShapeError, match="6890 vertices"):
        metrics.foot_sliding(points, points)


def test_numpy_and_torch_agree(make_pair, feet):
    pred, target = make_pair()
    p, t = torch.tensor(pred), torch.tensor(target)
    np.testing.assert_allclose(metrics.accel_err(pred, target), metrics.accel_err(p, t).numpy(), rtol=1e-12)
    np.testing.assert_allclose(metrics.jitter(pred, fps=30), metrics.jitter(p, fps=30).numpy(), rtol=1e-12)
    assert isinstance(metrics.foot_sliding(*map(torch.tensor, feet)), torch.Tensor)
