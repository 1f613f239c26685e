"""Black rectangles over a few 2D keypoints, as SPS-Net hides parts of its training images.

Source: SPS-Net, section 4.1 ("Self-supervised occlusion handling"): 3 to 5 keypoints, for each a width and a height offset
of 25 to 50 px; that is severity 3. The paper trains with it and has no table of a corrupted test set, so nothing measured
under it stands beside a printed number. Readings: the rectangle reaches from x - w to x + w and from y - h to y + h, in
pixels of the 224 px crop; only visible keypoints are drawn, all of them where they are too few; each frame is drawn anew.
"""

import numpy as np

from hpsbench.corruption._corruption import FILLS, Corruption, Fill, Image, Scene, strengths
from hpsbench.types import IntArray

# Severity 1..5: fewest and most keypoints; all offsets are the paper's.
KEYPOINTS = ((1.0, 2.0), (2.0, 3.0), (3.0, 5.0), (5.0, 7.0), (7.0, 9.0))
OFFSETS = (25, 50)
CROP_SIDE = 224
MOST = 9
SIDES = ("left", "top", "right", "bottom")


def draw_rectangles(
    scene: Scene, hit: IntArray, strength: tuple[float, ...], rng: np.random.Generator
) -> IntArray:
    """(h, 36) corners of up to 9 rectangles a frame, in pixels of the frame; unused ones are empty."""
    fewest, most = (int(v) for v in strength)
    plan = np.zeros((len(hit), MOST, 4), np.int64)
    for number, frame in enumerate(hit.tolist()):
        count = int(rng.integers(fewest, most + 1))
        offsets = rng.integers(OFFSETS[0], OFFSETS[1] + 1, (MOST, 2))
        points = scene.keypoints[frame]
        points = points[np.isfinite(points).all(axis=-1)]
        if len(points) == 0:
            points = (scene.tight[frame, :2] + scene.tight[frame, 2:])[None] / 2
        chosen = points[rng.permutation(len(points))[:count]]
        reach = offsets[: len(chosen)] * (scene.crop_scale * scene.boxes[frame, 2] / CROP_SIDE)
        corners = np.concatenate([chosen - reach, chosen + reach + 1], axis=1)
        plan[number, : len(chosen)] = np.floor(corners + 0.5)
    return plan.reshape(len(hit), -1)


def paint_rectangles(image: Image, what: IntArray, fill: Fill) -> Image:
    """A copy of the image with the rectangles filled, clipped at the border."""
    painted = image.copy()
    for left, top, right, bottom in np.maximum(what.reshape(-1, 4), 0).tolist():
        painted[top:bottom, left:right] = FILLS[fill]
    return painted


CORRUPTION = Corruption(
    name="spsnet-occ",
    kind="image",
    levels=strengths(*KEYPOINTS),
    columns=tuple(f"{side}_{number}" for number in range(1, MOST + 1) for side in SIDES),
    draw=draw_rectangles,
    paint=paint_rectangles,
)
