import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation

from hpsbench.errors import ShapeError
from hpsbench.geometry import alignment


def svd_rule(pred, target, scaled=True):
    """The alignment of one frame as the field's scripts define it, by SVD."""
    p, t = pred - pred.mean(0), target - target.mean(0)
    u, _, vh = np.linalg.svd(p.T @ t)
    sign = np.diag([1, 1, np.sign(np.linalg.det(u @ vh))])
    rotation = vh.T @ sign @ u.T
    scale = np.trace(rotation @ p.T @ t) / (p**2).sum() if scaled else 1.0
    return scale * p @ rotation.T + target.mean(0)


def bodies(rng, frames=40, joints=14, noise=0.1):
    target = rng.normal(size=(frames, joints, 3)) * [0.3, 0.8, 0.2] + rng.normal(size=(frames, 1, 3))
    turned = target @ Rotation.random(frames, rng=rng).as_matrix()
    return 1.7 * turned + noise * rng.normal(size=target.shape) + 2.0, target


@pytest.mark.parametrize("noise", [0.0, 1e-6, 0.1, 10.0])
def test_similarity_align_is_the_svd_rule(rng, array, noise):
    pred, target = bodies(rng, noise=noise)
    ours = np.asarray(alignment.similarity_align(array(pred), array(target)))
    np.testing.assert_allclose(ours, [svd_rule(p, t) for p, t in zip(pred, target, strict=True)], atol=1e-12)


def test_rigid_align_is_the_svd_rule_without_scale(rng, array):
    pred, target = bodies(rng)
    ours = np.asarray(alignment.rigid_align(array(pred), array(target)))
    np.testing.assert_allclose(
        ours, [svd_rule(p, t, scaled=False) for p, t in zip(pred, target, strict=True)], atol=1e-12
    )


def test_mirrored_bodies_are_not_reflected(rng, array):
    pred, target = bodies(rng, frames=300, noise=0.05)
    pred = pred * [-1, 1, 1]
    fit = alignment.fit_similarity(array(pred), array(target))
    np.testing.assert_allclose(np.linalg.det(np.asarray(fit.rotation)), 1.0, atol=1e-9)
    ours = np.asarray(fit.apply(array(pred)))
    np.testing.assert_allclose(ours, [svd_rule(p, t) for p, t in zip(pred, target, strict=True)], atol=1e-9)


def test_rotation_agrees_with_scipy_align_vectors(rng):
    pred, target = bodies(rng)
    fit = alignment.fit_similarity(pred, target)
    for i, (p, t) in enumerate(zip(pred, target, strict=True)):
        theirs, _ = Rotation.align_vectors(t - t.mean(0), p - p.mean(0))
        np.testing.assert_allclose(fit.rotation[i], theirs.as_matrix(), atol=1e-10)


def test_residual_agrees_with_scipy_procrustes(rng):
    pred, target = bodies(rng)
    aligned = alignment.similarity_align(pred, target)
    for p, a, t in zip(pred, aligned, target, strict=True):
        _, _, disparity = procrustes(t, p)  # relative to the target's spread
        np.testing.assert_allclose(((a - t) ** 2).sum() / ((t - t.mean(0)) ** 2).sum(), disparity, atol=1e-12)


@pytest.mark.parametrize("rank", [1, 2])
def test_flat_and_straight_bodies_follow_the_svd_rule(rng, array, rank):
    pred, target = bodies(rng, noise=0.02)
    flat = [1.0, 1.0, 0.0] if rank == 2 else [1.0, 0.0, 0.0]
    pred, target = rng.normal(size=pred.shape) * flat, target * flat
    ours = np.asarray(alignment.similarity_align(array(pred), array(target)))
    theirs = np.asarray([svd_rule(p, t) for p, t in zip(pred, target, strict=True)])
    error = np.linalg.norm(ours - target, axis=-1), np.linalg.norm(theirs - target, axis=-1)
    np.testing.assert_allclose(*error, atol=1e-9)


def test_one_point_becomes_the_mean_of_the_target(rng, array):
    _, target = bodies(rng, frames=3)
    pred = np.broadcast_to(np.asarray([0.1, 0.2, 3.3]), target.shape).copy()
    fit = alignment.fit_similarity(array(pred), array(target))
    assert np.asarray(fit.degenerate).all()
    expected = np.broadcast_to(target.mean(1, keepdims=True), target.shape)
    np.testing.assert_allclose(np.asarray(fit.apply(array(pred))), expected, atol=1e-14)


@given(
    st.integers(0, 10**6), st.integers(1, 5), st.floats(1e-8, 1e3), st.sampled_from([0.0, 1e-12, 1e-6, 1e-3])
)
def test_any_input_gives_finite_rotations(seed, joints, size, thickness):
    rng = np.random.default_rng(seed)
    pred = rng.normal(size=(4, joints, 3)) * [1, thickness, thickness**2] * size
    target = rng.normal(size=(4, joints, 3)) * [1, thickness, 0]
    fit = alignment.fit_similarity(pred, target)
    assert all(np.isfinite(part).all() for part in fit)
    np.testing.assert_allclose(fit.rotation @ fit.rotation.swapaxes(-1, -2) - np.eye(3), 0, atol=1e-8)
    np.testing.assert_allclose(np.linalg.det(fit.rotation), 1, atol=1e-8)
    aligned = alignment.similarity_align(pred, target)
    theirs = np.asarray([svd_rule(p, t) for p, t in zip(pred, target, strict=True)]) if joints > 1 else target
    best = ((theirs - target) ** 2).sum(axis=(1, 2))
    assert (((aligned - target) ** 2).sum(axis=(1, 2)) <= best + 1e-9).all()


def test_first_frames_align_uses_the_first_frames_only(rng, array):
    pred, target = bodies(rng, noise=0.0)
    turn = Rotation.random(rng=rng).as_matrix()
    pred = 0.5 * target @ turn + 1.0
    pred[2:] += 0.25
    ours = np.asarray(alignment.first_frames_align(array(pred), array(target)))
    np.testing.assert_allclose(ours[:2], target[:2], atol=1e-12)
    np.testing.assert_allclose(
        ours[2:] - target[2:], np.broadcast_to(0.5 * (turn @ np.ones(3)), target[2:].shape), atol=1e-12
    )
    both = alignment.all_frames_align(array(pred[:2]), array(target[:2]))
    np.testing.assert_allclose(np.asarray(both), target[:2], atol=1e-12)


def test_root_align_takes_the_mean_of_the_roots(rng, array):
    points = rng.normal(size=(5, 14, 3))
    ours = np.asarray(alignment.root_align(array(points), [2, 3]))
    np.testing.assert_allclose(ours, points - points[:, [2, 3]].mean(1, keepdims=True), atol=1e-15)
    with pytest.raises(ShapeError, match="indices of 14 joints"):
        alignment.root_align(array(points), [14])


def test_alignment_is_differentiable(rng):
    pred, target = bodies(rng, frames=2, joints=5)
    pred, target = torch.tensor(pred, requires_grad=True), torch.tensor(target)
    assert torch.autograd.gradcheck(lambda p: alignment.similarity_align(p, target), pred, atol=1e-5)


def test_float32_is_computed_in_float64(rng):
    pred, target = (x.astype(np.float32) for x in bodies(rng))
    ours = alignment.similarity_align(pred, target)
    assert ours.dtype == np.float64
    theirs = [svd_rule(p.astype(float), t.astype(float)) for p, t in zip(pred, target, strict=True)]
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_different_shapes_are_named():
    with pytest.raises(ShapeError, match=r"\(4, 14, 3\), \(4, 17, 3\)"):
        alignment.similarity_align(np.zeros((4, 14, 3)), np.zeros((4, 17, 3)))
