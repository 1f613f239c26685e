import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hpsbench import metrics
from hpsbench.errors import BadData, ShapeError, UsageError


@pytest.fixture
def walk(rng):
    """(pred, target) in the world, (230, 24, 3): a walk, and the same with drift, noise and another frame."""
    body = rng.normal(size=(24, 3)) * [0.25, 0.5, 0.15]
    time = np.arange(230.0)[:, None, None]
    target = body + 0.03 * time * [1, 0, 0.3] + 0.02 * rng.normal(size=(230, 24, 3))
    drift = 1e-4 * time**1.5 * [0, 0.2, 1]
    turn = Rotation.from_rotvec([0.3, 2, 0.1]).as_matrix()
    return 0.9 * (target + drift + 0.01 * rng.normal(size=target.shape)) @ turn + 5.0, target


def fit(pred, target):
    """Similarity from pred to target (points, 3), by SciPy's rotation."""
    p, t = pred - pred.mean(0), target - target.mean(0)
    rotation = Rotation.align_vectors(t, p)[0].as_matrix()
    scale = np.sum((p @ rotation.T) * t) / np.sum(p**2)
    return lambda x: scale * (x - pred.mean(0)) @ rotation.T + target.mean(0)


@pytest.mark.parametrize(("name", "frames"), [("w_mpjpe", 2), ("wa_mpjpe", 100)])
def test_chunks_are_aligned_by_their_first_two_or_all_frames(walk, array, name, frames):
    pred, target = walk
    expected = []
    for start in (0, 100, 200):
        p, t = pred[start : start + 100], target[start : start + 100]
        moved = fit(p[:frames].reshape(-1, 3), t[:frames].reshape(-1, 3))(p)
        expected.append(1000 * np.linalg.norm(moved - t, axis=-1).mean(-1))
    ours = np.asarray(getattr(metrics, name)(array(pred), array(target)))
    np.testing.assert_allclose(ours, np.concatenate(expected), rtol=1e-6)


@pytest.mark.parametrize("name", ["w_mpjpe", "wa_mpjpe"])
def test_world_errors_ignore_one_similarity_of_the_whole(walk, rng, name):
    pred, target = walk
    metric = getattr(metrics, name)
    moved = 1.4 * pred @ Rotation.random(rng=rng).as_matrix() - 2.0
    np.testing.assert_allclose(metric(moved, target), metric(pred, target), rtol=1e-8)
    np.testing.assert_allclose(metric(0.7 * target + 1.0, target), 0, atol=1e-9)


def test_a_chunk_of_one_frame_is_aligned_with_itself(walk):
    pred, target = walk[0][:101], walk[1][:101]
    w, wa = metrics.w_mpjpe(pred, target), metrics.wa_mpjpe(pred, target)
    assert w.shape == wa.shape == (101,)
    assert w[100] == wa[100]
    np.testing.assert_allclose(w[100], metrics.pa_mpjpe(pred[100:], target[100:])[0])
    assert w[:100].mean() > wa[:100].mean()


def test_chunk_length_is_an_argument(walk):
    pred, target = walk
    np.testing.assert_allclose(
        metrics.wa_mpjpe(pred, target, chunk=1), metrics.pa_mpjpe(pred, target), rtol=1e-9
    )
    with pytest.raises(UsageError, match="chunk"):
        metrics.wa_mpjpe(pred, target, chunk=0)
    assert metrics.w_mpjpe(pred[:0], target[:0]).shape == (0,)


def test_rte_is_the_error_over_the_length_of_the_path(array):
    target = np.zeros((101, 3))
    target[:, 0] = np.linspace(0, 10, 101)  # 10 m straight on
    pred = target.copy()
    pred[:, 1] = 0.1 * (-1.0) ** np.arange(101)
    # The best rigid motion leaves the alternating 0.1 m, nearly.
    values = np.asarray(metrics.rte(array(pred), array(target)))
    np.testing.assert_allclose(values, 1.0, atol=0.02)


def test_rte_does_not_fit_a_scale(walk):
    target = walk[1].mean(1)
    assert metrics.rte(1.5 * target, target).max() > 10
    turned = target @ Rotation.from_rotvec([0, 1, 0]).as_matrix() + 3
    np.testing.assert_allclose(metrics.rte(turned, target), 0, atol=1e-9)


def test_rte_of_a_path_that_stands_still_is_defined():
    still = np.full((20, 3), 0.7)
    np.testing.assert_array_equal(metrics.rte(still + 1, still), 0)
    np.testing.assert_array_equal(metrics.rte(still[:1], still[:1]), 0)
    assert metrics.path_length(still) == 0
    moving = still + np.linspace(0, 1, 20)[:, None]
    with pytest.raises(BadData, match="does not move"):
        metrics.rte(moving, still)
    assert metrics.rte(still[:0], still[:0]).shape == (0,)


def test_rte_takes_paths_only():
    with pytest.raises(ShapeError, match=r"expected \(T, 3\), got \(5, 24, 3\)"):
        metrics.rte(np.zeros((5, 24, 3)), np.zeros((5, 24, 3)))
    bad = np.zeros((5, 3))
    bad[2] = np.nan
    with pytest.raises(BadData, match="target: 1 of 5 frames"):
        metrics.rte(np.zeros((5, 3)), bad)
