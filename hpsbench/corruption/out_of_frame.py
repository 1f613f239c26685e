"""A person who is partly out of the picture: from one side on the frame is black, as a crop is beyond the image's border.

The box stays where it is, as that of a tracker that knows where the person must be. The side is drawn for each frame.
"""

import numpy as np

from hpsbench.corruption._corruption import FILLS, Corruption, Fill, Image, Scene, strengths
from hpsbench.types import IntArray

# Severity 1..5: share of the person's tight box that is cut off.
CUT = (0.1, 0.2, 0.35, 0.5, 0.65)
FAR = 1 << 20
"""Pixels; no image reaches so far, so that side of the window is open."""


def draw_windows(
    scene: Scene, hit: IntArray, strength: tuple[float, ...], rng: np.random.Generator
) -> IntArray:
    """(h, 4) left, top, right, bottom of what is still seen, in pixels of the frame."""
    (cut,) = strength
    sides = rng.integers(0, 4, len(hit))
    plan = np.tile(np.array([0, 0, FAR, FAR], np.int64), (len(hit), 1))
    for number, (frame, side) in enumerate(zip(hit.tolist(), sides.tolist(), strict=True)):
        low, high = scene.tight[frame, side % 2], scene.tight[frame, side % 2 + 2]
        edge = low + cut * (high - low) if side < 2 else high - cut * (high - low)
        plan[number, side] = max(round(float(edge)), 1) if side < 2 else max(round(float(edge)), 0)
    return plan


def paint_outside(image: Image, what: IntArray, fill: Fill) -> Image:
    """The image inside the window, the fill outside."""
    left, top, right, bottom = (int(v) for v in what)
    painted = np.empty_like(image)
    painted[:] = FILLS[fill]
    painted[top:bottom, left:right] = image[top:bottom, left:right]
    return painted


CORRUPTION = Corruption(
    name="out-of-frame",
    kind="image",
    levels=strengths(*CUT),
    columns=("left", "top", "right", "bottom"),
    draw=draw_windows,
    paint=paint_outside,
)
