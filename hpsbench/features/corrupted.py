"""The crop of a corrupted frame: from the frame's image, box and row, and what a plan says is done to it."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from hpsbench.corruption._corruption import Corruption, Fill, moved_box
from hpsbench.features.frames import Frames
from hpsbench.types import IntArray


def corrupted_crop(
    frames: Frames, corruption: Corruption, row: int, what: IntArray, size: int, fill: Fill = "black"
) -> NDArray[np.uint8]:
    """The crop that a system is given of a hit frame.

    An image corruption is applied to the whole frame before it is cropped; a box corruption cuts another box out of it;
    a row corruption gives image and box of another frame.

    Args:
        frames: where images and boxes are.
        corruption: what is done.
        row: the store row that is hit.
        what: its row of the plan.
        size: side of the crop in pixels.
        fill: colour of what is hidden.

    Returns: (size, size, 3) uint8 RGB.
    """
    if corruption.kind == "rows":
        cut = frames.crop(int(what[0]), size)
    elif corruption.kind == "box":
        cut = frames.crop(row, size, box=moved_box(what))
    else:
        cut = frames.crop(row, size, partial(corruption.apply, what=what, fill=fill))
    crop: NDArray[np.uint8] = cut
    return crop
