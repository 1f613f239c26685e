"""What a network is called with: the inputs of a clip that its system reads, row by row, checked."""

from typing import Any, Protocol

import numpy as np
import torch

from hpsbench.bodies.joints import get_joint_set
from hpsbench.errors import FeatureMismatch
from hpsbench.features.images import normalise
from hpsbench.types import Array, ClipInput, FloatArray, Inputs, IntArray

READ_IN_ORDER = ("features", "flow", "images", "keypoints2d")
"""The order in which a network is called with what its system reads."""
IMAGES_PER_BATCH = 64
"""Crops that run through a network at once: as many of 224 pixels are 39 MB."""


class Stream(Protocol):
    """One input over the frames of a clip."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: IntArray, /) -> Array:
        """Rows of any shape -> an array of this shape, with one row's values behind it."""
        ...


class ImageRows:
    """Crops as a network wants them, cut when they are asked for."""

    def __init__(self, clip: ClipInput, size: int) -> None:
        self._clip, self._size = clip, size

    def __len__(self) -> int:
        return self._clip.length

    def __getitem__(self, rows: IntArray, /) -> FloatArray:
        """Rows (...) -> (..., 3, S, S) float32, normalised; a row that occurs twice is cut once."""
        if self._clip.images is None:
            raise FeatureMismatch(f"track {self._clip.track}: the clip has no images")
        unique, inverse = np.unique(rows, return_inverse=True)
        crops = np.asarray(self._clip.images(unique))
        wanted = (len(unique), self._size, self._size, 3)
        if crops.shape != wanted or crops.dtype != np.uint8:
            raise FeatureMismatch(
                f"track {self._clip.track}: expected crops {wanted} of uint8, got {crops.shape} of {crops.dtype}"
            )
        ready: FloatArray = normalise(torch.from_numpy(crops)).numpy()
        return ready[inverse.reshape(rows.shape)]


def streams_of(name: str, inputs: Inputs, clip: ClipInput) -> tuple[Stream, ...]:
    """What a network is called with: of these those that it reads, in this order.

    Features (T, F); flow features (T, F); images (T, 3, S, S), normalised; 2D keypoints (T, J, 3) with the box's sides
    at -1 and 1.

    Args:
        name: of the system, for messages.
        inputs: what it reads. With a crop scale keypoints are relative to the box enlarged by it, as images are.
        clip: the frames.

    Raises:
        FeatureMismatch: the clip lacks an input, has one of another width, or the system reads none of these.
    """
    found: list[Stream] = []
    for key in READ_IN_ORDER:
        if getattr(inputs, key) is not None:
            _given(name, clip, key, getattr(clip, key))
            found.append(_stream(name, inputs, clip, key))
    if not found:
        raise FeatureMismatch(
            f"system {name!r} reads none of {', '.join(READ_IN_ORDER)}; give it a 'predict'"
        )
    return tuple(found)


def frames_per_batch(inputs: Inputs, most: int) -> int:
    """Frames that run through a network at once."""
    return most if inputs.images is None else min(most, IMAGES_PER_BATCH)


def _stream(name: str, inputs: Inputs, clip: ClipInput, key: str) -> Stream:
    if key == "images":
        return ImageRows(clip, inputs.images or 0)
    if key == "keypoints2d":
        return _keypoints(name, clip, inputs)
    return _rows(name, clip, key, getattr(clip, key), getattr(inputs, key))


def _given(name: str, clip: ClipInput, what: str, value: Any) -> Any:
    if value is None:
        raise FeatureMismatch(f"track {clip.track}: system {name!r} reads {what}, and the clip has none")
    return value


def _rows(name: str, clip: ClipInput, what: str, rows: FloatArray | None, width: int | None) -> FloatArray:
    found = np.asarray(rows)
    if found.ndim != 2 or found.shape[1] != width or len(found) != clip.length:
        raise FeatureMismatch(
            f"track {clip.track}: system {name!r} reads {what} ({clip.length}, {width}), "
            f"got {found.shape}; were they extracted with the extractor that the system was trained on?"
        )
    return found


def _keypoints(name: str, clip: ClipInput, inputs: Inputs) -> FloatArray:
    """(T, J, 3) float32: x and y relative to the box, and the confidence."""
    given = np.asarray(clip.keypoints2d, np.float32)
    boxes = _given(name, clip, "keypoints2d in the box", clip.bbox_cxcywh)
    joints = len(get_joint_set(str(inputs.keypoints2d)))
    if given.shape != (clip.length, joints, 3):
        raise FeatureMismatch(
            f"track {clip.track}: system {name!r} reads keypoints2d ({clip.length}, {joints}, 3), got {given.shape}"
        )
    box = np.asarray(boxes, np.float32)[:, None]
    half = (inputs.crop_scale or 1.0) * box[..., 2:3] / 2
    return np.concatenate([(given[..., :2] - box[..., :2]) / half, given[..., 2:]], axis=-1)
