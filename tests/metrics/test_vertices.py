import tracemalloc

import numpy as np
import pytest
import torch

from hpsbench import metrics


@pytest.fixture
def meshes(rng):
    target = rng.normal(size=(200, 300, 3), scale=0.3)
    return target + 0.05 * rng.normal(size=target.shape), target


def test_pve_is_the_mean_distance_in_millimetres(meshes, array):
    pred, target = meshes
    expected = 1000 * np.linalg.norm(pred - target, axis=-1).mean(-1)
    np.testing.assert_allclose(np.asarray(metrics.pve(array(pred), array(target))), expected, rtol=1e-12)
    moved = metrics.pve(array(target + np.asarray([0, 0.03, 0.04])), array(target))
    np.testing.assert_allclose(np.asarray(moved), 50.0)


def test_pve_is_not_aligned_and_has_no_error_on_itself(meshes):
    _, target = meshes
    np.testing.assert_array_equal(metrics.pve(target, target), 0)


def test_permutations_and_layouts_do_not_matter(meshes, rng):
    pred, target = meshes
    values = metrics.pve(pred, target)
    order, points = rng.permutation(200), rng.permutation(300)
    np.testing.assert_allclose(metrics.pve(pred[order], target[order]), values[order], rtol=1e-12)
    np.testing.assert_allclose(metrics.pve(pred[:, points], target[:, points]), values, rtol=1e-12)
    np.testing.assert_allclose(metrics.pve(np.asfortranarray(pred), target), values, rtol=1e-12)


def test_float32_is_computed_in_float64(meshes, array):
    pred, target = (x.astype(np.float32) for x in meshes)
    values = np.asarray(metrics.pve(array(pred), array(target)))
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, metrics.pve(pred.astype(float), target.astype(float)), rtol=1e-13)


@pytest.mark.parametrize("threads", ["1", "2", "7", ""])
def test_threads_do_not_change_a_bit(meshes, monkeypatch, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone = metrics.pve(*meshes)
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    np.testing.assert_array_equal(metrics.pve(*meshes), alone)


def test_extra_memory_does_not_grow_with_the_track():
    pred = np.zeros((1, 6890, 3), dtype=np.float32)
    peaks = []
    for frames in (200, 800):
        long = np.broadcast_to(pred, (frames, 6890, 3))
        tracemalloc.start()
        metrics.pve(long, long)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 100_000
    assert max(peaks) < 8_000_000


def test_no_frames_give_no_values():
    assert metrics.pve(np.zeros((0, 6890, 3)), np.zeros((0, 6890, 3))).shape == (0,)
    assert metrics.pve(torch.zeros(0, 6890, 3), torch.zeros(0, 6890, 3)).shape == (0,)


@pytest.mark.parametrize("offset", [0.0, 5.0])
def test_whole_float32_meshes_are_right_to_a_nanometre(rng, array, offset):
    """Squares are taken in float32 there; the mean over thousands of vertices hides their rounding."""
    target = (rng.normal(size=(70, 6890, 3), scale=0.3) + offset).astype(np.float32)
    pred = (target + 0.05 * rng.normal(size=target.shape)).astype(np.float32)
    expected = np.linalg.norm(pred.astype(float) - target, axis=-1).mean(-1)
    values = np.asarray(metrics.pve(array(pred), array(target)))
    assert values.dtype == np.float64
    np.testing.assert_allclose(values / 1000, expected, rtol=0, atol=1e-9)
