"""Penn Action: `labels/<clip>.mat` (MATLAB v5) and `frames/<clip>/<frame>.jpg`; one person per clip, 2D only.

Source of the layout: the dataset's README and the public readers of VIBE, human_dynamics and mmhuman3d.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hpsbench.bodies.joints import get_joint_set
from hpsbench.errors import BrokenFile
from hpsbench.recipes.readers._checks import check_finite, check_numbers, check_pixels, check_shape, option
from hpsbench.recipes.readers._images import find_images
from hpsbench.recipes.sequences import RawSequence
from hpsbench.safe_io import load_matlab
from hpsbench.safe_io.matlab import unwrap
from hpsbench.types import Array, FloatArray, Track

_JOINTS = "pennaction13"
_KEYS = ("x", "y", "visibility", "dimensions", "action", "train")


def split_of(raw: RawSequence) -> str:
    """`train` or `test`: the sign of the file's `train` (1 or -1, hence never its truth).

    Raises:
        BrokenFile: the file is damaged or has no such number.
    """
    return _split(load_matlab(raw.path, keys=["train"]), raw)


def read_sequence(raw: RawSequence) -> Iterator[Track]:
    """Yield the one track of a clip: every frame.

    - `frame_id`: number of the image, which counts from 1.
    - `keypoints2d`: x, y as in the file (whose coordinates are said to count from 1, unverified) and the visibility
      flag as confidence; in the order of the dataset's README, left before right.
    - `bbox_xyxy`: the file's boxes. Their number differs from that of the frames in a few clips: missing ones are NaN,
      superfluous ones are left out.
    - `has_image`: whether the image of this frame was there; true throughout where a clip has no images at all.

    Raises:
        BrokenFile: the file is damaged, lacks a key, does not tell its split, or its arrays disagree in length.
        UnitError: coordinates are no pixels.
    """
    arrays = load_matlab(raw.path)
    for key in _KEYS:
        if key not in arrays:
            raise BrokenFile(f"{raw.path}: has no {key}; it has {', '.join(sorted(arrays)) or 'nothing'}")
    _split(arrays, raw)  # a file that does not tell it was put into some split to be reported here
    keypoints2d = _keypoints(arrays, raw)
    frames = len(keypoints2d)
    frame_id = np.arange(1, frames + 1)
    layouts = [layout.replace("{clip}", raw.stem) for layout in option(raw, "images", list)]
    images = find_images(raw.root, layouts)
    height, width = _size(arrays["dimensions"], raw)
    yield Track(
        sequence=raw.stem,
        person=0,
        split=raw.split,
        frame_id=frame_id,
        fields={
            "keypoints2d": keypoints2d,
            "bbox_xyxy": _boxes(arrays.get("bbox"), frames, raw),
            "has_image": images.present(frame_id),
        },
        fps=raw.fps,
        image_source=images.source,
        width=width,
        height=height,
        action=str(unwrap(arrays["action"])),
        clip_info={"viewpoint": str(unwrap(arrays["pose"])) if "pose" in arrays else None},
    )


def _keypoints(arrays: Mapping[str, Array], raw: RawSequence) -> FloatArray:
    """(F, 13, 3) x, y and visibility flag."""
    joints = len(get_joint_set(_JOINTS))
    frames = arrays["x"].shape[0] if arrays["x"].ndim else 0
    points = np.empty((frames, joints, 3))
    for axis, key in enumerate(("x", "y", "visibility")):
        check_numbers(arrays[key], key, raw)
        check_shape(arrays[key], (frames or None, joints), key, raw)
        points[..., axis] = arrays[key]
        check_finite(points[..., axis], key, raw)
    if "nframes" in arrays and (said := _number(arrays, "nframes", raw)) != frames:
        raise BrokenFile(
            f"{raw.path}: nframes is {said:g}, but x has {frames} rows; the file is cut or was changed, get it again"
        )
    flags = points[..., 2]
    if not ((flags == 0) | (flags == 1)).all():
        odd = flags[(flags != 0) & (flags != 1)]
        raise BrokenFile(
            f"{raw.path}: visibility should be 0 or 1, found {odd[0]:g}; the file is damaged or was changed"
        )
    check_pixels(points, "x and y", raw)
    return points


def _boxes(given: Array | None, frames: int, raw: RawSequence) -> FloatArray:
    boxes = np.full((frames, 4), np.nan)
    if given is None or given.size == 0:
        return boxes
    check_numbers(given, "bbox", raw)
    check_shape(given, (None, 4), "bbox", raw)
    check_finite(np.asarray(given, dtype=np.float64), "bbox", raw)
    rows = min(frames, len(given))
    boxes[:rows] = given[:rows]
    return boxes


def _size(dimensions: Array, raw: RawSequence) -> tuple[int, int]:
    """Height and width."""
    check_numbers(dimensions, "dimensions", raw)
    values = np.asarray(dimensions, dtype=np.float64).ravel()
    if len(values) < 2 or not (values[:2] >= 1).all():
        raise BrokenFile(f"{raw.path}: dimensions should be height, width, frames; found {values.tolist()}")
    return int(values[0]), int(values[1])


def _split(arrays: Mapping[str, Array], raw: RawSequence) -> str:
    return "train" if _number(arrays, "train", raw) > 0 else "test"


def _number(arrays: Mapping[str, Array], key: str, raw: RawSequence) -> float:
    value: Any = unwrap(arrays[key])
    if not isinstance(value, int | float):
        raise BrokenFile(f"{raw.path}: {key} should be a number, found {value!r}")
    return float(value)
