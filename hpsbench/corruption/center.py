"""A black square of half the person's height over the middle of the person.

Source: the confidence-aware paper, "center" corruption (Tables V, X). Reading: the body's centre is the centre of the
tight box of its visible 2D keypoints.
"""

import numpy as np

from hpsbench.corruption._block import block_corruption
from hpsbench.types import FloatArray


def box_centres(boxes: FloatArray, rng: np.random.Generator) -> FloatArray:
    """(n, 4) boxes (x0, y0, x1, y1) -> (n, 2) their centres; nothing is drawn."""
    del rng
    return (boxes[:, :2] + boxes[:, 2:]) / 2


CORRUPTION = block_corruption("center", box_centres)
