"""Boxes against a slow description of the reference, frame by frame."""

import warnings

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.signal import medfilt

from hpsbench.recipes.boxes import held, keypoint_extents, smoothed_boxes, tight_boxes


def keypoints(rng: np.random.Generator, frames: int, undetected: float = 0.0) -> np.ndarray:
    """A person who drifts over the picture, 18 joints, some of them and some frames not seen."""
    center = np.cumsum(rng.normal(scale=4, size=(frames, 2)), axis=0) + 300
    points = np.empty((frames, 18, 3))
    points[..., :2] = center[:, None] + rng.normal(scale=40, size=(frames, 18, 2))
    points[..., 2] = rng.uniform(0.05, 1, size=(frames, 18))
    points[rng.random(frames) < undetected] = 0
    return points


def reference(
    points: np.ndarray, threshold: float, sigma: float, factor: float
) -> tuple[int, int, np.ndarray]:
    """The published procedure in loops: boxes of the rows start..stop - 1."""
    series: dict[int, list[float]] = {}
    for i, frame in enumerate(points):
        seen = frame[frame[:, 2] > threshold, :2]
        if len(seen) and np.linalg.norm(seen.max(0) - seen.min(0)) >= 0.5:
            middle = (seen.max(0) + seen.min(0)) / 2
            series[i] = [*middle, 150.0 / np.linalg.norm(seen.max(0) - seen.min(0))]
    start, stop = min(series), max(series) + 1
    rows = []
    for i in range(start, stop):
        before, after = max(k for k in series if k <= i), min(k for k in series if k >= i)
        part = 0.0 if before == after else (i - before) / (after - before)
        rows.append((1 - part) * np.array(series[before]) + part * np.array(series[after]))
    table = np.array(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # SciPy notes that the kernel is longer than the track
        table = np.stack([gaussian_filter1d(medfilt(column, 11), sigma) for column in table.T], axis=1)
    with np.errstate(divide="ignore"):
        side = 150.0 / table[:, 2] * factor
    return start, stop, np.column_stack([table[:, :2], side, side])


@pytest.mark.parametrize("frames", [6, 7, 10, 11, 12, 33, 100])
@pytest.mark.parametrize(("threshold", "sigma", "factor"), [(0.3, 8.0, 1.1), (0.1, 3.0, 1.0)])
def test_smoothed_boxes_equal_the_published_procedure(
    frames: int, threshold: float, sigma: float, factor: float, rng: np.random.Generator
) -> None:
    for undetected in (0.0, 0.3):
        points = keypoints(rng, frames, undetected)
        points[[1, -2], :, 2] = 0.9
        found = smoothed_boxes(points, threshold=threshold, median=11, sigma=sigma, factor=factor)
        start, stop, boxes = reference(points, threshold, sigma, factor)
        assert (found.start, found.stop) == (start, stop)
        if stop - start <= 5:
            continue
        np.testing.assert_allclose(found.bbox_cxcywh[start:stop], boxes, rtol=1e-12)
        assert np.isnan(found.bbox_cxcywh[:start]).all()
        assert np.isnan(found.bbox_cxcywh[stop:]).all()


def test_a_leading_gap_does_not_shift_the_boxes(rng: np.random.Generator) -> None:
    points = keypoints(rng, 30)
    points[..., 2] = 0.9
    late = np.concatenate([np.zeros((4, 18, 3)), points])
    options = {"threshold": 0.3, "median": 11, "sigma": 8.0, "factor": 1.1}
    alone, shifted = smoothed_boxes(points, **options), smoothed_boxes(late, **options)
    np.testing.assert_array_equal(shifted.bbox_cxcywh[4:], alone.bbox_cxcywh)


def test_zeros_beyond_the_ends_give_lower_quantiles() -> None:
    """The reference's own example: the median of a ramp 1..12."""
    points = np.zeros((12, 2, 3))
    points[:, :, 0] = np.arange(1, 13)[:, None]
    points[:, 1, 1] = 100
    points[:, :, 2] = 1
    centers = smoothed_boxes(points, threshold=0.3, median=11, sigma=1e-9, factor=1.0).bbox_cxcywh[:, 0]
    np.testing.assert_allclose(centers, [1, 2, 3, 4, 5, 6, 7, 7, 7, 7, 7, 7])


@pytest.mark.parametrize(("frames", "has_boxes"), [(1, False), (5, False), (6, True)])
def test_five_frames_have_no_smoothed_box(frames: int, has_boxes: bool, rng: np.random.Generator) -> None:
    points = keypoints(rng, frames)
    points[..., 2] = 0.9
    found = smoothed_boxes(points, threshold=0.3, median=11, sigma=8.0, factor=1.1)
    assert np.isfinite(found.bbox_cxcywh).all() == has_boxes
    assert np.isnan(found.bbox_cxcywh).all() != has_boxes


def test_side_is_the_diagonal_times_the_factor_where_nothing_moves() -> None:
    points = np.tile(np.array([[100.0, 50, 1], [130, 90, 1], [115, 60, 0.2]]), (40, 1, 1))
    found = smoothed_boxes(points, threshold=0.3, median=11, sigma=8.0, factor=1.1).bbox_cxcywh
    np.testing.assert_allclose(found, np.tile([115, 70, 55, 55], (40, 1)))


def test_held_boxes_repeat_the_nearest(rng: np.random.Generator) -> None:
    points = keypoints(rng, 20)
    points[..., 2] = 0.9
    points[[0, 1, 19]] = 0
    found = smoothed_boxes(points, threshold=0.3, median=11, sigma=8.0, factor=1.1)
    boxes = held(found)
    np.testing.assert_array_equal(boxes[[0, 1, 19]], found.bbox_cxcywh[[2, 2, 18]])
    never = smoothed_boxes(points * 0, threshold=0.3, median=11, sigma=8.0, factor=1.1)
    assert (never.start, never.stop) == (0, 0)
    assert np.isnan(held(never)).all()


def test_tight_boxes_are_square_about_the_visible_points() -> None:
    points = np.array([[[10, 20, 0.9], [30, 80, 0.01], [500, 500, 0]]] * 2, dtype=float)
    points[1, :2, 2] = 0
    boxes = tight_boxes(points, threshold=0.0, factor=1.0)
    np.testing.assert_array_equal(boxes[0], [20, 50, 60, 60])
    assert np.isnan(boxes[1]).all()
    assert keypoint_extents(points, 0.5).found.tolist() == [True, False]
    assert np.isnan(tight_boxes(points, threshold=0.5, factor=1.0)).all()
