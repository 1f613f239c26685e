"""A filled square that hides part of a person: its size, and how it is painted."""

from collections.abc import Callable
from dataclasses import dataclass
from math import floor
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hpsbench.errors import ShapeError
from hpsbench.types import FloatArray, IntArray

SIDE_OF_HEIGHT = 0.5
"""Side of the square over the height of the person; the paper's "half of the body height"."""

# Severity 1..5: (ratio of hit frames, consecutive frames of a burst); cells of the paper's Table V.
LEVELS: tuple[tuple[float, int], ...] = ((0.1, 1), (0.2, 1), (0.33, 1), (0.33, 2), (0.33, 3))

Fill: TypeAlias = Literal["black", "mean"]
Place: TypeAlias = Callable[[FloatArray, np.random.Generator], FloatArray]

FILLS: dict[Fill, tuple[int, int, int]] = {
    "black": (0, 0, 0),
    "mean": (124, 116, 104),  # the mean colour that the networks' normalisation takes off
}


class Corruption(Protocol):
    """What a module of this folder offers as `CORRUPTION`; entry points `hpsbench.corruptions` too.

    Attributes:
        name: as on the command line.
        levels: severity 1..5 as (ratio, consecutive).
        columns: names of the P numbers that a plan has for each frame.
    """

    @property
    def name(self) -> str:
        """As on the command line."""
        ...

    @property
    def levels(self) -> tuple[tuple[float, int], ...]:
        """Severity 1..5 as (ratio, consecutive)."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the P numbers of a plan."""
        ...

    def plan(self, boxes: FloatArray, rng: np.random.Generator) -> IntArray:
        """(n, 4) tight boxes (x0, y0, x1, y1) of a track's hit frames, pixels -> (n, P) what to do to each."""
        ...

    def apply(self, image: NDArray[np.uint8], what: IntArray, fill: Fill = "black") -> NDArray[np.uint8]:
        """A corrupted copy of one image, (H, W, 3) uint8 RGB; `what` is one row of the plan."""
        ...


@dataclass(frozen=True)
class BlockCorruption:
    """A `Corruption` that paints one square a frame; `place` says where its centre lies."""

    name: str
    place: Place
    levels: tuple[tuple[float, int], ...] = LEVELS
    columns: tuple[str, ...] = ("left", "top", "side")

    def plan(self, boxes: FloatArray, rng: np.random.Generator) -> IntArray:
        """Squares of the hit frames of one track.

        Args:
            boxes: (n, 4) tight boxes (x0, y0, x1, y1) of the visible 2D keypoints, pixels, in frame order.
            rng: the track's generator.

        Returns: (n, 3) int64: left, top and side of each square in pixels; it may stick out of the image.

        Raises:
            ShapeError: boxes of another shape, or with a corner before the other.
        """
        boxes = np.asarray(boxes, np.float64)
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise ShapeError(f"boxes: expected (n, 4) = (x0, y0, x1, y1), got {boxes.shape}")
        if not (boxes[:, 2:] >= boxes[:, :2]).all():
            raise ShapeError("boxes: expected x1 >= x0 and y1 >= y0 in every row; are these (cx, cy, w, h)?")
        sides = block_sides(boxes)
        centres = self.place(boxes, rng)
        corners = np.floor(centres - sides[:, None] / 2 + 0.5).astype(np.int64)
        return np.concatenate([corners, sides[:, None]], axis=1)

    def apply(self, image: NDArray[np.uint8], what: IntArray, fill: Fill = "black") -> NDArray[np.uint8]:
        """Paint one square; see `paint_square`."""
        return paint_square(image, what, fill)


def block_sides(boxes: FloatArray) -> IntArray:
    """(n, 4) boxes (x0, y0, x1, y1) -> (n,) sides in pixels, half the height rounded, at least 1."""
    heights = boxes[:, 3] - boxes[:, 1]
    return np.array([max(1, floor(SIDE_OF_HEIGHT * h + 0.5)) for h in heights], np.int64)


def paint_square(image: NDArray[np.uint8], square: IntArray, fill: Fill = "black") -> NDArray[np.uint8]:
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
