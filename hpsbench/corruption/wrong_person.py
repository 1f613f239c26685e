"""A tracker that mixes people up: the box is that of the nearest other person in the frame.

Where nobody else is in the frame the box goes to the background: beside the person, on the side with more room.
"""

import numpy as np

from hpsbench.corruption._boxes import box_plan
from hpsbench.corruption._corruption import BOX_COLUMNS, Corruption, Scene, frequencies
from hpsbench.types import BoolArray, IntArray

# Severity 1..5: (share of frames with the wrong box, frames for which it stays so).
MIXED_UP = ((0.1, 1), (0.1, 3), (0.2, 5), (0.33, 8), (0.33, 12))


def take_other_box(
    scene: Scene, hit: IntArray, strength: tuple[float, ...], rng: np.random.Generator
) -> IntArray:
    """(h, 3) the other person's box; nothing is drawn."""
    del strength, rng
    own, other = scene.boxes[hit], scene.others[hit]
    width = scene.size[0] if np.isfinite(scene.size[0]) else 2 * own[:, 0] + 1
    beside = own.copy()
    beside[:, 0] += np.where(own[:, 0] < np.asarray(width) / 2, 1, -1) * own[:, 2]
    there: BoolArray = np.asarray(np.isfinite(other).all(axis=1))
    chosen = np.where(there[:, None], other, beside)
    return box_plan(chosen[:, :2], chosen[:, 2], own)


CORRUPTION = Corruption(
    name="wrong-person",
    kind="box",
    levels=frequencies(*MIXED_UP),
    columns=BOX_COLUMNS,
    draw=take_other_box,
)
