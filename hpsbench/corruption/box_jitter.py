"""A detector that is not steady: centre and size of the box are drawn anew for each hit frame."""

import numpy as np

from hpsbench.corruption._boxes import box_plan
from hpsbench.corruption._corruption import BOX_COLUMNS, Corruption, Scene, strengths
from hpsbench.types import IntArray

# Severity 1..5: standard deviation of the centre (each way) over the side, and of the logarithm of the side.
SPREAD = (0.04, 0.08, 0.12, 0.18, 0.25)


def shake_boxes(
    scene: Scene, hit: IntArray, strength: tuple[float, ...], rng: np.random.Generator
) -> IntArray:
    """(h, 3) moved and scaled boxes."""
    own = scene.boxes[hit]
    draws = rng.normal(0, strength[0], (len(hit), 3))
    return box_plan(own[:, :2] + draws[:, :2] * own[:, 2:3], own[:, 2] * np.exp(draws[:, 2]), own)


CORRUPTION = Corruption(
    name="box-jitter", kind="box", levels=strengths(*SPREAD), columns=BOX_COLUMNS, draw=shake_boxes
)
