"""A filled square that hides part of a person: its size, and how it is painted."""

from collections.abc import Callable
from math import floor
from typing import TypeAlias

import numpy as np

from hpsbench.corruption._corruption import FILLS, Corruption, Fill, Image, Scene, frequencies
from hpsbench.types import FloatArray, IntArray

SIDE_OF_HEIGHT = 0.5
"""Side of the square over the height of the person; the paper's "half of the body height"."""

# Severity 1..5: (ratio of hit frames, consecutive frames of a burst); cells of the paper's Table V.
LEVELS: tuple[tuple[float, int], ...] = ((0.1, 1), (0.2, 1), (0.33, 1), (0.33, 2), (0.33, 3))

Place: TypeAlias = Callable[[FloatArray, np.random.Generator], FloatArray]


def block_corruption(name: str, place: Place) -> Corruption:
    """A corruption that paints one square a frame.

    Args:
        name: as on the command line.
        place: (n, 4) tight boxes x0, y0, x1, y1 -> (n, 2) centres of the squares.
    """

    def draw(scene: Scene, hit: IntArray, strength: tuple[float, ...], rng: np.random.Generator) -> IntArray:
        del strength
        return squares(scene.tight[hit], place, rng)

    return Corruption(
        name=name,
        kind="image",
        levels=frequencies(*LEVELS),
        columns=("left", "top", "side"),
        draw=draw,
        paint=paint_square,
    )


def squares(boxes: FloatArray, place: Place, rng: np.random.Generator) -> IntArray:
    """Tight boxes (n, 4) -> (n, 3) int64: left, top, side of each square; it may stick out of the image."""
    sides = block_sides(boxes)
    centres = place(boxes, rng)
    corners = np.floor(centres - sides[:, None] / 2 + 0.5).astype(np.int64)
    return np.concatenate([corners, sides[:, None]], axis=1)


def block_sides(boxes: FloatArray) -> IntArray:
    """(n, 4) boxes (x0, y0, x1, y1) -> (n,) sides in pixels, half the height rounded, at least 1."""
    heights = boxes[:, 3] - boxes[:, 1]
    return np.array([max(1, floor(SIDE_OF_HEIGHT * h + 0.5)) for h in heights], np.int64)


def paint_square(image: Image, square: IntArray, fill: Fill = "black") -> Image:
    """A copy of `image` with one filled square, clipped at the border.

    Args:
        image: (H, W, 3) uint8 RGB, the whole frame before cropping.
        square: left, top, side in pixels.
        fill: "black" (0 before normalisation) or "mean".
    """
    left, top, side = (int(v) for v in square)
    painted = image.copy()
    painted[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = FILLS[fill]
    return painted
