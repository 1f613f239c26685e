"""Person boxes from 2D keypoints: tight ones frame by frame, and the smoothed ones of VIBE, TCMR and HMMR.

All boxes are squares, (centre x, centre y, side, side) in pixels. A frame without a box has NaN, never zeros.

Source of the smoothed boxes: `smooth_bbox.py`, the same in VIBE, TCMR and human_dynamics. One slip of that code is
mended: it puts zero rows in front of a track that begins without a detection, which shifts all its later boxes.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from hpsbench.recipes.view_rules import Seen
from hpsbench.types import BoolArray, FloatArray

REFERENCE_HEIGHT = 150.0  # pixels: "scale" below is this over the diagonal of the keypoints' box
SMALLEST = 0.5  # pixels: keypoints that span less have no box


class Extents(NamedTuple):
    """Smallest boxes of the keypoints, frame by frame: centre and size (T, 2), undefined where not `found` (T,)."""

    center: FloatArray
    size: FloatArray
    found: BoolArray

    def of(self, rows: BoolArray | slice) -> "Extents":
        """Those of some frames."""
        return Extents(self.center[rows], self.size[rows], self.found[rows])


class TrackBoxes(NamedTuple):
    """Boxes of a track.

    Attributes:
        bbox_cxcywh: (T, 4) float64; NaN where there is no box.
        start, stop: rows `start` to `stop - 1` lie between the first and last frame with keypoints; 0, 0 if none has.
    """

    bbox_cxcywh: FloatArray
    start: int
    stop: int


def seen_keypoints(keypoints2d: FloatArray, seen: Seen, threshold: float = 0.0) -> BoolArray:
    """Which keypoints count.

    Args:
        keypoints2d: (T, K, 3) x, y in pixels and confidence.
        seen: by `confidence`, or by their place: `x-or-y`, `x-and-y` other than zero.
        threshold: of the confidence, strict.

    Returns:
        (T, K).
    """
    if seen == "confidence":
        above: BoolArray = np.asarray(keypoints2d[..., 2]) > np.float64(threshold)
        return above
    x, y = (np.asarray(keypoints2d[..., axis]) != 0 for axis in range(2))
    found: BoolArray = x | y if seen == "x-or-y" else x & y
    return found


class Spans(NamedTuple):
    """Smallest and largest x and y of keypoints, frame by frame: (2, T) each, in the type of the keypoints."""

    low: FloatArray
    high: FloatArray


def keypoint_spans(keypoints2d: FloatArray) -> Spans:
    """Of all keypoints, whether they count or not; fastest where a frame's neighbour in memory is the next frame.

    Args:
        keypoints2d: (T, K, 2 or more) x, y in pixels.
    """
    dtype = np.result_type(keypoints2d.dtype, np.float32)
    low, high = (np.empty((2, len(keypoints2d)), dtype=dtype) for _ in range(2))
    for axis in range(2):  # keypoint by keypoint: several times faster than over a short last axis
        along = np.ascontiguousarray(keypoints2d[..., axis].T, dtype=dtype)
        np.min(along, axis=0, initial=np.inf, out=low[axis])
        np.max(along, axis=0, initial=-np.inf, out=high[axis])
    return Spans(low, high)


def keypoint_extents(
    keypoints2d: FloatArray,
    threshold: float,
    seen: Seen = "confidence",
    spans: Callable[[], Spans] | None = None,
) -> Extents:
    """Smallest boxes about the keypoints that count.

    Args:
        keypoints2d: (T, K, 3) x, y in pixels and confidence.
        threshold: of the confidence, strict.
        seen: which keypoints count (`seen_keypoints`).
        spans: gives those of these keypoints, where they are shared; asked for if every keypoint counts.
    """
    counts = seen_keypoints(keypoints2d, seen, threshold)
    if counts.all():
        low, high = spans() if spans is not None else keypoint_spans(keypoints2d)
    else:
        counted = np.ascontiguousarray(counts.T)
        along = [np.ascontiguousarray(keypoints2d[..., axis].T) for axis in range(2)]
        low, high = (
            np.stack([choose(np.where(counted, line, beyond), axis=0, initial=beyond) for line in along])
            for choose, beyond in ((np.min, np.inf), (np.max, -np.inf))
        )
    found: BoolArray = np.any(counts, axis=1)
    first, last = (np.asarray(corner, dtype=np.float64).T for corner in (low, high))
    with np.errstate(invalid="ignore"):
        return Extents((first + last) / 2, last - first, found)


def tight_boxes(
    keypoints2d: FloatArray, *, seen: Seen = "confidence", threshold: float = 0.0, factor: float
) -> FloatArray:
    """Squares about the keypoints of each frame; side = factor x the longer side of their smallest box.

    Args:
        keypoints2d: (T, K, 3) x, y in pixels and confidence.
        seen: which keypoints count (`seen_keypoints`).
        threshold: keypoints with a higher confidence count.
        factor: of the side.

    Returns:
        (T, 4); NaN where no two keypoints lie apart.
    """
    return square_boxes(keypoint_extents(keypoints2d, threshold, seen), factor)


def square_boxes(extents: Extents, factor: float) -> FloatArray:
    """`tight_boxes` of keypoints whose extents are known."""
    side = extents.size.max(axis=1) * factor
    boxes = np.column_stack([extents.center, side, side])
    boxes[~(extents.found & (side > 0))] = np.nan
    return boxes


def given_boxes(bbox_xyxy: FloatArray, *, factor: float) -> FloatArray:
    """Squares about the dataset's own boxes; side = factor x their longer side.

    Args:
        bbox_xyxy: (T, 4) corners in pixels.
        factor: of the side.

    Returns:
        (T, 4); NaN where the given box is unknown or has no width or height.
    """
    corners = np.asarray(bbox_xyxy, dtype=np.float64).reshape(-1, 2, 2)
    size = corners[:, 1] - corners[:, 0]
    side = size.max(axis=1) * factor
    boxes = np.column_stack([corners.mean(axis=1), side, side])
    with np.errstate(invalid="ignore"):
        boxes[~(size > 0).all(axis=1)] = np.nan
    return boxes


def smoothed_boxes(
    keypoints2d: FloatArray, *, threshold: float, median: int, sigma: float, factor: float
) -> TrackBoxes:
    """Squares smoothed along a track; side = factor x the smoothed diagonal of the keypoints' box.

    Centre x, centre y and scale (150 / diagonal) are interpolated linearly over gaps, then go through a median filter
    with zeros beyond the ends and a Gaussian filter with mirrored ends. Zeros beyond the ends make the values near an
    end the lower quantiles of their neighbours, and a track of five frames or fewer zero throughout: it has no box.

    Args:
        keypoints2d: (T, K, 3) x, y in pixels and confidence.
        threshold: keypoints with a higher confidence count.
        median: width of the median filter, in frames.
        sigma: of the Gaussian filter, in frames.
        factor: of the side.

    Returns:
        Boxes from the first to the last frame that has keypoints, NaN outside.
    """
    return smooth(keypoint_extents(keypoints2d, threshold), median, sigma).boxes(factor)


class Smoothed(NamedTuple):
    """Smoothed centres and scales of a track, from which boxes of any factor are made.

    Attributes:
        length: frames of the track.
        start, stop: as in `TrackBoxes`.
        series: (3, stop - start) centre x, centre y, scale.
    """

    length: int
    start: int
    stop: int
    series: FloatArray

    def boxes(self, factor: float) -> TrackBoxes:
        """Squares; side = factor x the smoothed diagonal."""
        boxes = np.full((self.length, 4), np.nan)
        if self.stop:
            with np.errstate(divide="ignore"):
                side = REFERENCE_HEIGHT / self.series[2] * factor
            inner = boxes[self.start : self.stop]
            inner[:, 0], inner[:, 1], inner[:, 2], inner[:, 3] = *self.series[:2], side, side
            inner[~(self.series[2] > 0)] = np.nan
        return TrackBoxes(boxes, self.start, self.stop)


def smooth(extents: Extents, median: int, sigma: float) -> Smoothed:
    """The part of `smoothed_boxes` that does not depend on the factor, for one track."""
    from scipy.ndimage import gaussian_filter1d, median_filter

    center, size, found = extents
    diagonal = np.hypot(size[:, 0], size[:, 1])
    rows = np.flatnonzero(found & (diagonal >= SMALLEST))
    if len(rows) == 0:
        return Smoothed(len(found), 0, 0, np.empty((3, 0)))
    start, stop = int(rows[0]), int(rows[-1]) + 1
    # One filter goes over the three series, one after another, with the zeros beyond their ends between them.
    series = np.zeros((3, stop - start + median // 2))
    for line, known in zip(series, (*center[rows].T, REFERENCE_HEIGHT / diagonal[rows]), strict=True):
        line[: stop - start] = (
            known if len(rows) == stop - start else np.interp(np.arange(start, stop), rows, known)
        )
    series = median_filter(series.ravel(), size=median, mode="constant", cval=0.0).reshape(series.shape)
    return Smoothed(len(found), start, stop, gaussian_filter1d(series[:, : stop - start], sigma))


def held(boxes: TrackBoxes) -> FloatArray:
    """(T, 4) boxes in which the frames before the first and after the last box repeat the nearest one."""
    filled = boxes.bbox_cxcywh.copy()
    if boxes.stop:
        filled[: boxes.start] = filled[boxes.start]
        filled[boxes.stop :] = filled[boxes.stop - 1]
    return filled
