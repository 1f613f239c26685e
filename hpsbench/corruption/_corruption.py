"""What a corruption is: what it is told of a track, what it draws, what it does to an image, a box or a row."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hpsbench.errors import ShapeError, UsageError
from hpsbench.types import FloatArray, IntArray

VERSION = 1
"""Of corruptions that say no version of their own; a feature set without one is of version 1."""

Fill: TypeAlias = Literal["black", "mean"]
FILLS: dict[Fill, tuple[int, int, int]] = {
    "black": (0, 0, 0),
    "mean": (124, 116, 104),  # the mean colour that the networks' normalisation takes off
}
Kind: TypeAlias = Literal["image", "box", "rows"]
Image: TypeAlias = NDArray[np.uint8]

USUAL = (0.33, 1)
"""Ratio and consecutive frames of a graded corruption where none are given: the paper's main cell."""
USUAL_SEVERITY = 3

BOX_COLUMNS = ("box_x", "box_y", "box_side")
"""Columns of every box corruption: centre and side of the new box, in hundredths of a pixel."""
ROW_COLUMNS = ("source",)
"""Column of every row corruption: the store row that is shown instead."""


class Level(NamedTuple):
    """One severity.

    Attributes:
        ratio: share of hit frames in each track.
        consecutive: frames of a burst.
        strength: the corruption's own numbers; empty where severity is only how often.
    """

    ratio: float
    consecutive: int
    strength: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """What a corruption may know of a track of T frames: those that the view keeps, in time order.

    Attributes:
        rows: (T,) rows of the store.
        tight: (T, 4) x0, y0, x1, y1 round the visible 2D keypoints, as far as that lies inside the image, pixels.
        boxes: (T, 4) the view's boxes cx, cy, w, h, pixels, w = h.
        crop_scale: enlargement of a box before it is cut out.
        keypoints: (T, J, 2) the 2D keypoints, pixels; NaN for one that is not visible or lies outside the image.
        size: width and height of the image, pixels; infinite where the dataset does not say.
        others: (T, 4) the view's box of the nearest other person in the same frame; NaN where there is none.
    """

    rows: IntArray
    tight: FloatArray
    boxes: FloatArray
    crop_scale: float = 1.0
    keypoints: FloatArray
    size: tuple[float, float] = (np.inf, np.inf)
    others: FloatArray

    def __len__(self) -> int:
        return len(self.rows)


Draw: TypeAlias = Callable[[Scene, IntArray, tuple[float, ...], np.random.Generator], IntArray]
"""(scene, (h,) hit frames, strength, generator of the track) -> (h, P) what is done to each."""
Paint: TypeAlias = Callable[[Image, IntArray, Fill], Image]
"""(image (H, W, 3) uint8 RGB, one row of the plan, fill) -> a corrupted copy."""


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """What a module of this folder offers as `CORRUPTION`; entry points `hpsbench.corruptions` too.

    Attributes:
        name: as on the command line.
        kind: what is changed: the whole `image` before it is cropped, the `box` that is cut out of it, or which frame
            (`rows` of the store) is shown at all. Targets, masks and the other inputs stay.
        levels: severity 1 to 5.
        columns: names of the P whole numbers that say what is done to a frame; with the image they are all there is.
        draw: makes the plan.
        paint: of an image corruption; None of the others.
        version: raised with every change that makes another corruption of the same setting; in every feature set and result.
    """

    name: str
    kind: Kind
    levels: tuple[Level, ...]
    columns: tuple[str, ...]
    draw: Draw
    paint: Paint | None = None
    version: int = VERSION

    @property
    def graded(self) -> bool:
        """Whether a severity is a strength; if not, it says only how many frames are hit in what bursts."""
        return bool(self.levels[0].strength)

    def level(self, severity: int) -> Level:
        """One of the five levels.

        Raises:
            UsageError: no such severity.
        """
        if not 1 <= severity <= len(self.levels):
            raise UsageError(
                f"corruption {self.name!r} has the severities 1 to {len(self.levels)}, got {severity}"
            )
        return self.levels[severity - 1]

    def plan(self, scene: Scene, hit: IntArray, severity: int | None, rng: np.random.Generator) -> IntArray:
        """What is done to each hit frame of one track.

        Args:
            scene: the track.
            hit: (h,) positions of the hit frames, increasing.
            severity: of a graded corruption; else it makes no difference.
            rng: the track's generator.

        Returns: (h, P) int64.

        Raises:
            ShapeError: boxes with a corner before the other, or a corruption that drew another number of columns.
        """
        if not (scene.tight[:, 2:] >= scene.tight[:, :2]).all():
            raise ShapeError("boxes: expected x1 >= x0 and y1 >= y0 in every row; are these (cx, cy, w, h)?")
        if len(hit) == 0:
            return np.zeros((0, len(self.columns)), np.int64)
        strength = self.level(severity or USUAL_SEVERITY).strength
        plan = np.asarray(self.draw(scene, hit, strength, rng), np.int64)
        if plan.shape != (len(hit), len(self.columns)):
            raise ShapeError(
                f"corruption {self.name!r} drew a plan of shape {plan.shape} for {len(hit)} frames and "
                f"{len(self.columns)} columns"
            )
        return plan

    def apply(self, image: Image, what: IntArray, fill: Fill = "black") -> Image:
        """A corrupted copy of one image.

        Args:
            image: (H, W, 3) uint8 RGB, the whole frame before cropping.
            what: one row of the plan.
            fill: colour of what is hidden.

        Raises:
            UsageError: this corruption changes no images.
        """
        if self.paint is None:
            raise UsageError(f"corruption {self.name!r} changes the {self.kind} of a frame, not its image")
        return self.paint(image, what, fill)


def frequencies(*levels: tuple[float, int]) -> tuple[Level, ...]:
    """Levels that say only how many frames are hit: (ratio, consecutive) of severity 1 to 5."""
    return tuple(Level(ratio, consecutive) for ratio, consecutive in levels)


def strengths(*levels: tuple[float, ...] | float) -> tuple[Level, ...]:
    """Levels of a graded corruption: its numbers at severity 1 to 5, on a third of the frames."""
    return tuple(Level(*USUAL, level if isinstance(level, tuple) else (level,)) for level in levels)


def moved_box(what: IntArray) -> FloatArray:
    """The box of one row of a box corruption's plan: (4,) cx, cy, w, h in pixels."""
    x, y, side = (float(v) / 100 for v in what)
    return np.array([x, y, side, side])


def heights(scene: Scene, hit: IntArray) -> FloatArray:
    """(h,) heights of the tight boxes of the hit frames, pixels, at least 1."""
    tall: FloatArray = np.maximum(scene.tight[hit, 3] - scene.tight[hit, 1], 1.0)
    return tall


def unit_noise(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """Noise of mean 0 and variance 1, nearly normal: the sum of four uniform bytes, so the same bits on every machine."""
    rng = np.random.default_rng(seed)
    total = np.zeros(shape, np.int16)
    for _ in range(4):
        total += rng.integers(0, 256, shape, dtype=np.uint8)
    noise: NDArray[np.float32] = (total - np.float32(510)) / np.float32(np.sqrt((256**2 - 1) / 3))
    return noise


def noise_seeds(count: int, rng: np.random.Generator) -> IntArray:
    """(n,) seeds for `unit_noise`."""
    return rng.integers(0, 2**31, count, dtype=np.int64)
