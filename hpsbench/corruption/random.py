"""A black square of half the person's height over a random part of the person.

Source: the confidence-aware paper, "random" corruption (Table VI). Reading: the square's centre is drawn uniformly in
the tight box of the visible 2D keypoints, for each frame anew, so the square may stick out of the box.
"""

import numpy as np

from hpsbench.corruption._block import block_corruption
from hpsbench.types import FloatArray


def points_in_boxes(boxes: FloatArray, rng: np.random.Generator) -> FloatArray:
    """(n, 4) boxes (x0, y0, x1, y1) -> (n, 2) one uniform point in each."""
    return boxes[:, :2] + rng.random((len(boxes), 2)) * (boxes[:, 2:] - boxes[:, :2])


CORRUPTION = block_corruption("random", points_in_boxes)
