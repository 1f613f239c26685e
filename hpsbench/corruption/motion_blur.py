"""A straight smear, as by a shaking camera: its length is a share of the person's height, its direction is drawn."""

from math import ceil

import cv2
import numpy as np

from hpsbench.corruption._corruption import Corruption, Fill, Image, Scene, heights, strengths
from hpsbench.types import FloatArray, IntArray

# Severity 1..5: length of the smear over the height of the person's tight box.
LENGTH = (0.03, 0.06, 0.1, 0.15, 0.22)
SHORTEST = 3
"""Pixels; a shorter smear would be none."""


def draw_smears(
    scene: Scene, hit: IntArray, strength: tuple[float, ...], rng: np.random.Generator
) -> IntArray:
    """(h, 2) length in pixels and angle in degrees."""
    length = np.maximum(np.floor(strength[0] * heights(scene, hit) + 0.5), SHORTEST)
    return np.stack([length.astype(np.int64), rng.integers(0, 180, len(hit))], axis=1)


def smear_kernel(length: int, angle: int) -> FloatArray:
    """(k, k) float32 weights of a line through the middle, which sum to 1."""
    half = ceil(length / 2)
    along = np.linspace(-(length - 1) / 2, (length - 1) / 2, 4 * length)
    x, y = half + along * np.cos(np.deg2rad(angle)), half + along * np.sin(np.deg2rad(angle))
    kernel = np.zeros((2 * half + 2, 2 * half + 2))
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    for right, down in ((0, 0), (0, 1), (1, 0), (1, 1)):
        share = (x - left if right else 1 - (x - left)) * (y - top if down else 1 - (y - top))
        np.add.at(kernel, (top + down, left + right), share)
    whole: FloatArray = (kernel[:-1, :-1] / kernel[:-1, :-1].sum()).astype(np.float32)
    return whole


def smear(image: Image, what: IntArray, fill: Fill) -> Image:
    """The image blurred along a line."""
    del fill
    kernel = smear_kernel(int(what[0]), int(what[1]))
    blurred: Image = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE).astype(np.uint8)
    return blurred


CORRUPTION = Corruption(
    name="motion-blur",
    kind="image",
    levels=strengths(*LENGTH),
    columns=("length", "angle"),
    draw=draw_smears,
    paint=smear,
)
