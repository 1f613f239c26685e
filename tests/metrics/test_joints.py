import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation

from hpsbench import metrics
from hpsbench.errors import UsageError

ERRORS = {
    "joint_error": metrics.joint_error,
    "mpjpe": lambda p, t: metrics.mpjpe(p, t, root=[2, 3]),
    "pa_mpjpe": metrics.pa_mpjpe,
    "pck": metrics.pck,
    "auc": metrics.auc,
}
every_error = pytest.mark.parametrize("name", ERRORS)


def svd_loop(pred, target):
    """PA-MPJPE one frame at a time, by SVD, float64, millimetres."""
    values = []
    for one, other in zip(pred.astype(float), target.astype(float), strict=True):
        p, t = one - one.mean(0), other - other.mean(0)
        u, s, vh = np.linalg.svd(p.T @ t)
        signs = np.asarray([1, 1, np.sign(np.linalg.det(u @ vh))])
        aligned = (s * signs).sum() / (p**2).sum() * p @ (u * signs) @ vh
        values.append(1000 * np.linalg.norm(aligned - t, axis=-1).mean())
    return np.asarray(values)


@every_error
def test_a_perfect_prediction_has_no_error(make_pair, array, name):
    _, target = make_pair()
    values = np.asarray(ERRORS[name](array(target), array(target)))
    expected = {"pck": 100, "auc": 100 * 30 / 31}.get(name, 0)  # no distance is below the first threshold, 0
    np.testing.assert_allclose(values, np.full(30, expected), atol=1e-9)


@every_error
def test_numpy_and_torch_agree_and_keep_their_kind(make_pair, name):
    pred, target = make_pair(frames=2500)
    ours = ERRORS[name](pred, target)
    theirs = ERRORS[name](torch.tensor(pred), torch.tensor(target))
    assert isinstance(ours, np.ndarray)
    assert isinstance(theirs, torch.Tensor)
    assert ours.shape == tuple(theirs.shape) == (2500,)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12, atol=1e-12)


@every_error
def test_float32_is_computed_in_float64(make_pair, array, name):
    pred, target = (x.astype(np.float32) for x in make_pair())
    values = np.asarray(ERRORS[name](array(pred), array(target)))
    assert values.dtype == np.float64
    exact = ERRORS[name](pred.astype(float), target.astype(float))
    np.testing.assert_allclose(values, exact, rtol=1e-12, atol=1e-12)


@every_error
def test_frames_and_joints_may_be_permuted(make_pair, rng, name):
    pred, target = make_pair()
    values = ERRORS[name](pred, target)
    order = rng.permutation(30)
    np.testing.assert_allclose(ERRORS[name](pred[order], target[order]), values[order], atol=1e-10)
    if name != "mpjpe":
        joints = rng.permutation(14)
        np.testing.assert_allclose(ERRORS[name](pred[:, joints], target[:, joints]), values, atol=1e-10)


@every_error
def test_no_frames_give_no_values(array, name):
    nothing = array(np.zeros((0, 14, 3)))
    assert tuple(ERRORS[name](nothing, nothing).shape) == (0,)


def test_joint_error_is_millimetres_and_not_aligned(make_pair, array):
    _, target = make_pair()
    moved = target + np.asarray([0, 0.006, 0.008])
    np.testing.assert_allclose(np.asarray(metrics.joint_error(array(moved), array(target))), 10.0)
    one = target.copy()
    one[:, 5, 1] += 0.028
    np.testing.assert_allclose(metrics.joint_error(one, target), 28 / 14)


def test_mpjpe_takes_the_root_off_both_sides(make_pair, array):
    pred, target = make_pair()
    p, t = (x - x[:, [2, 3]].mean(1, keepdims=True) for x in (pred, target))
    expected = 1000 * np.linalg.norm(p - t, axis=-1).mean(-1)
    np.testing.assert_allclose(np.asarray(metrics.mpjpe(array(pred), array(target), root=[2, 3])), expected)
    moved = metrics.mpjpe(pred + 5.0, target - 3.0, root=(2, 3))
    np.testing.assert_allclose(moved, expected, rtol=1e-12)


def test_an_error_at_the_root_falls_on_all_other_joints():
    target = np.zeros((1, 14, 3))
    pred = target.copy()
    pred[:, 2, 0] = 0.020  # one of the two root joints: the root moves by 10 mm
    np.testing.assert_allclose(metrics.mpjpe(pred, target, root=[2, 3]), [10.0])
    np.testing.assert_allclose(metrics.mpjpe(pred, target, root=[0]), [20 / 14])


@pytest.mark.parametrize("joints", [2, 3, 4, 14, 24])
@pytest.mark.parametrize("frames", [1, 2, 3, 1500])
def test_pa_mpjpe_equals_the_svd_loop(make_pair, array, frames, joints):
    pred, target = make_pair(frames=frames, joints=joints)
    values = np.asarray(metrics.pa_mpjpe(array(pred), array(target)))
    np.testing.assert_allclose(values, svd_loop(pred, target), atol=1e-6)  # 1e-9 m


@pytest.mark.parametrize("noise", [0.0, 1e-5, 0.5])
def test_pa_mpjpe_equals_the_svd_loop_when_mirrored(make_pair, noise):
    pred, target = make_pair(frames=400, noise=noise)
    mirrored = pred * [-1, 1, 1]
    np.testing.assert_allclose(metrics.pa_mpjpe(mirrored, target), svd_loop(mirrored, target), atol=1e-6)
    assert metrics.pa_mpjpe(mirrored, target).min() > 10


def test_pa_mpjpe_ignores_similarity(make_pair, rng):
    pred, target = make_pair()
    values = metrics.pa_mpjpe(pred, target)
    moved = 2.3 * pred @ Rotation.random(rng=rng).as_matrix() + [1.0, 2.0, 3.0]
    np.testing.assert_allclose(metrics.pa_mpjpe(moved, target), values, atol=1e-9)
    np.testing.assert_allclose(metrics.pa_mpjpe(2.3 * target - 1, target), 0, atol=1e-9)


def test_pa_mpjpe_agrees_with_scipy(make_pair):
    pred, target = make_pair(frames=20)
    for p, t, ours in zip(pred, target, metrics.pa_mpjpe(pred, target), strict=True):
        theirs_target, theirs_pred, _ = procrustes(t, p)
        size = np.linalg.norm(t - t.mean(0))  # SciPy scales the target to 1
        np.testing.assert_allclose(
            ours, 1000 * size * np.linalg.norm(theirs_target - theirs_pred, axis=-1).mean()
        )


def test_one_predicted_point_is_compared_with_the_mean_of_the_target(make_pair, array):
    pred, target = make_pair(frames=4)
    pred[1] = [0.3, 0.1, 4.7]
    pred[2] = 0.0
    values = np.asarray(metrics.pa_mpjpe(array(pred), array(target)))
    spread = 1000 * np.linalg.norm(target - target.mean(1, keepdims=True), axis=-1).mean(-1)
    np.testing.assert_allclose(values[1:3], spread[1:3])
    assert np.asarray(metrics.pa_degenerate(array(pred))).tolist() == [False, True, True, False]


def test_one_joint_is_degenerate_and_has_no_error():
    points = np.asarray([[[0.1, 0.2, 0.3]]])
    assert metrics.pa_mpjpe(points + 1, points) == pytest.approx(0)
    assert metrics.pa_degenerate(points).all()


@given(
    arrays(np.float64, (3, 5, 3), elements=st.sampled_from([0.0, 1.0, -1.0, 0.5, 1e-9, 1 / 3])),
    arrays(np.float64, (3, 5, 3), elements=st.sampled_from([0.0, 1.0, -1.0, 0.5, 1e-9, 1 / 3])),
)
def test_degenerate_bodies_get_the_optimum(pred, target):
    values = metrics.pa_mpjpe(pred, target)
    assert np.isfinite(values).all()
    # The least-squares optimum bounds the mean distance: (mean d)^2 <= mean d^2, which SVD gives uniquely.
    for p, t, value in zip(pred, target, values / 1000, strict=True):
        p, t = p - p.mean(0), t - t.mean(0)
        if (p**2).sum() < 1e-20:
            continue
        u, s, vh = np.linalg.svd(p.T @ t)
        signs = np.asarray([1, 1, -1 if np.linalg.det(u @ vh) < 0 else 1])
        best = max((t**2).sum() - (s * signs).sum() ** 2 / (p**2).sum(), 0) / 5
        assert value**2 <= best + 1e-12


def test_pck_counts_joints_under_the_threshold(array):
    target = np.zeros((1, 4, 3))
    pred = target.copy()
    pred[0, :, 0] = [0.0, 0.05, 0.15, 0.25]  # exactly 0, 50, 150, 250 mm
    pred, target = array(pred), array(target)
    assert float(metrics.pck(pred, target)[0]) == 50
    assert float(metrics.pck(pred, target, compare="<=")[0]) == 75
    assert float(metrics.pck(pred, target, threshold=50, compare="<")[0]) == 25
    assert float(metrics.pck(pred, target, threshold=50, compare="<=")[0]) == 50


def test_auc_is_the_mean_of_pck(make_pair, array):
    pred, target = make_pair(noise=0.01, scale=1.0)
    pred = target + 0.3 * (pred - target)
    for compare in ("<", "<="):
        by_hand = np.mean(
            [metrics.pck(pred, target, threshold=x, compare=compare) for x in range(0, 151, 5)], axis=0
        )
        ours = metrics.auc(array(pred), array(target), compare=compare)
        np.testing.assert_allclose(np.asarray(ours), by_hand)


def test_auc_integral_is_the_trapezoid_of_pck(make_pair, array):
    _, target = make_pair()
    pred = target + np.random.default_rng(0).normal(size=target.shape) * 0.08
    grid = [0.0, 10.0, 15.0, 60.0, 199.0]
    for thresholds in (grid, None):
        x = np.arange(200.0) if thresholds is None else np.asarray(grid)
        curve = np.stack([metrics.pck(pred, target, threshold=t, compare="<=") for t in x])
        by_hand = np.trapezoid(curve, x, axis=0) / 199
        ours = metrics.auc(array(pred), array(target), thresholds=thresholds, compare="<=", kind="integral")
        np.testing.assert_allclose(np.asarray(ours), by_hand)


def test_auc_of_a_known_distance():
    target = np.zeros((1, 1, 3))
    pred = np.asarray([[[0.0751, 0, 0]]])  # above 0 ... 75: 15 of 31 thresholds remain
    np.testing.assert_allclose(metrics.auc(pred, target), [100 * 15 / 31])


def test_wrong_options_are_named(make_pair):
    pair = make_pair()
    with pytest.raises(UsageError, match="compare must be '<' or '<=', got '>'"):
        metrics.pck(*pair, compare=">")
    with pytest.raises(UsageError, match="kind must be 'mean' or 'integral'"):
        metrics.auc(*pair, kind="sum")
    with pytest.raises(UsageError, match="increasing"):
        metrics.auc(*pair, thresholds=[0, 10, 10])
