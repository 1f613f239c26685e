"""A stand-in for the 2D joint detector behind 3DPW's `poses2d`: noise, confidences, misses, and joints hidden.

Joints are those of OpenPose's COCO model in its order (set `3dpw18`); a frame in which fewer than six are found is
all zero, as in the dataset.
"""

import numpy as np

from hpsbench.synth.defects import DETECTION_KINDS, Run, frames_with
from hpsbench.synth.gaits import smooth_noise
from hpsbench.synth.visibility import COCO18
from hpsbench.types import BoolArray, FloatArray, IntArray

LIMBS = slice(2, 14)
"""The 12 joints that the more-than-six rule counts."""
THRESHOLD = 0.3
"""Above it, the field's code counts a joint as visible."""
# How far (cosine) a face point may be turned away before it is missed, and the direction it looks in on the head.
_LOOKS = {
    "nose": (0.0, 1.0), "right_eye": (-0.35, 0.94), "left_eye": (0.35, 0.94), "right_ear": (-1.0, 0.0),
    "left_ear": (1.0, 0.0),
}  # fmt: skip
_LEAST_FOUND = 6


def face_is_turned_away(points: FloatArray) -> BoolArray:
    """(T, 18) face points on the side of the head that the camera does not see.

    Args:
        points: (T, 18, 3) in camera coordinates.
    """
    names = {name: row for row, name in enumerate(COCO18)}
    to_left = points[:, names["left_ear"]] - points[:, names["right_ear"]]
    middle = points[:, [names["left_ear"], names["right_ear"]]].mean(axis=1)
    forward = points[:, names["nose"]] - middle
    to_camera = -middle
    to_left, forward, to_camera = (
        v / np.linalg.norm(v, axis=1, keepdims=True) for v in (to_left, forward, to_camera)
    )
    away = np.zeros(points.shape[:2], dtype=bool)
    for name, (side, front) in _LOOKS.items():
        looks = side * to_left + front * forward
        away[:, names[name]] = (looks * to_camera).sum(axis=1) < -0.1
    return away


def detect(
    points: FloatArray,
    intrinsics: FloatArray,
    size: tuple[int, int],
    rng: np.random.Generator,
    *,
    hidden: BoolArray | None = None,
    runs: tuple[Run, ...] = (),
) -> FloatArray:
    """(T, 3, 18) simulated detections: x, y, confidence along axis 1, zeros where a joint was not found.

    Args:
        points: (T, 18, 3) metres, camera coordinates.
        intrinsics: (3, 3) pixels.
        size: width and height of the image.
        rng: of noise, confidences and misses.
        hidden: (T, 18) joints behind something; they are missed or found with little confidence.
        runs: defects to place; every other frame has at least eight limb joints above `THRESHOLD` unless more are
            hidden or outside the image.
    """
    frames = len(points)
    pixels = (points @ intrinsics.T)[..., :2] / points[..., 2:]
    spread = np.linalg.norm(np.ptp(pixels, axis=1), axis=1)[:, None, None]
    jitter = 0.006 * rng.standard_normal(pixels.shape) + 0.006 * smooth_noise(pixels.shape, 4.0, rng)
    found = pixels + jitter * spread
    confidence = 0.72 + 0.08 * rng.standard_normal((frames, 1)) + 0.10 * smooth_noise((frames, 18), 3.0, rng)
    confidence = np.clip(confidence, 0.34, 0.98)
    hidden = np.zeros((frames, 18), dtype=bool) if hidden is None else hidden
    weak = rng.uniform(0.0, 0.5, (frames, 18))
    confidence = np.where(hidden, np.where(weak < 0.12, 0.0, weak), confidence)
    width, height = size
    outside = (
        (found < 0).any(axis=-1)
        | (found[..., 0] >= width)
        | (found[..., 1] >= height)
        | (points[..., 2] <= 0.1)
    )
    confidence[face_is_turned_away(points) | outside] = 0.0
    confidence = _with_runs(confidence, runs, ~outside, rng)
    confidence[(confidence > 0).sum(axis=1) < _LEAST_FOUND] = 0.0
    found[confidence == 0] = 0.0
    return np.concatenate([found, confidence[..., None]], axis=-1).transpose(0, 2, 1)


def visible_limbs(poses2d: FloatArray) -> IntArray:
    """(T,) how many of the 12 limb joints are above the threshold."""
    return np.asarray((poses2d[:, 2, LIMBS] > THRESHOLD).sum(axis=1))


def _with_runs(
    confidence: FloatArray, runs: tuple[Run, ...], inside: BoolArray, rng: np.random.Generator
) -> FloatArray:
    """Put the planned defects in, and keep all other frames clear of the rule's edge."""
    confidence = confidence.copy()
    defective = frames_with(runs, DETECTION_KINDS, len(confidence))
    for frame in np.flatnonzero(~defective).tolist():
        _raise_to(confidence[frame], 8, confidence[frame] > 0, rng)
    for run in runs:
        for frame in range(run.first, run.stop):
            if run.kind == "undetected":
                confidence[frame] = 0.0
            elif run.kind in ("few", "six", "seven"):
                wanted = {"few": 5, "six": 6, "seven": 7}[run.kind]
                _raise_to(confidence[frame], wanted, inside[frame], rng)
                _lower_to(confidence[frame], wanted, rng)
                confidence[frame, 0:2] = rng.uniform(
                    0.4, 0.9, 2
                )  # nose and neck, which the rule does not count
    return confidence


def _raise_to(row: FloatArray, wanted: int, allowed: BoolArray, rng: np.random.Generator) -> None:
    """Lift allowed limb joints over the threshold until `wanted` are."""
    limbs = row[LIMBS]
    low = np.flatnonzero((limbs <= THRESHOLD) & allowed[LIMBS])
    low = low[: max(0, wanted - int((limbs > THRESHOLD).sum()))]
    limbs[low] = rng.uniform(THRESHOLD + 0.02, THRESHOLD + 0.1, len(low))


def _lower_to(row: FloatArray, wanted: int, rng: np.random.Generator) -> None:
    """Push limb joints under the threshold, one of two to zero, until `wanted` are over it."""
    limbs = row[LIMBS]
    high = rng.permutation(np.flatnonzero(limbs > THRESHOLD))
    high = high[wanted:]
    limbs[high] = np.where(rng.random(len(high)) < 0.5, 0.0, rng.uniform(0.05, THRESHOLD, len(high)))
