"""Boxes of a plan: in hundredths of a pixel, and never the box that was there."""

import numpy as np

from hpsbench.types import FloatArray, IntArray


def box_plan(centres: FloatArray, sides: FloatArray, own: FloatArray) -> IntArray:
    """(n, 3) `BOX_COLUMNS` of new boxes.

    Args:
        centres: (n, 2) pixels.
        sides: (n,) pixels.
        own: (n, 4) the boxes cx, cy, w, h that were there; one that would stay goes a hundredth of its side to the right.
    """
    plan: IntArray = np.rint(100 * np.column_stack([centres, np.maximum(sides, 1.0)])).astype(np.int64)
    same = (plan == np.rint(100 * own[:, :3])).all(axis=1)
    plan[same, 0] += np.maximum(np.rint(own[same, 2]).astype(np.int64), 1)
    return plan
