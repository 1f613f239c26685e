"""A lens out of focus: every point becomes a disk whose radius is a share of the person's height."""

import cv2
import numpy as np

from hpsbench.corruption._corruption import Corruption, Fill, Image, Scene, heights, strengths
from hpsbench.types import FloatArray, IntArray

# Severity 1..5: radius of the disk over the height of the person's tight box.
RADIUS = (0.01, 0.02, 0.035, 0.055, 0.08)
SMALLEST = 8
"""Tenths of a pixel; a smaller disk would be none."""


def draw_disks(
    scene: Scene, hit: IntArray, strength: tuple[float, ...], rng: np.random.Generator
) -> IntArray:
    """(h, 1) radius in tenths of a pixel; nothing is drawn."""
    del rng
    radius = np.floor(10 * strength[0] * heights(scene, hit) + 0.5)
    tenths: IntArray = np.maximum(radius, SMALLEST).astype(np.int64)[:, None]
    return tenths


def disk_kernel(radius: float) -> FloatArray:
    """(k, k) float32 weights of a disk with a soft rim, which sum to 1."""
    half = int(np.ceil(radius))
    rows, columns = np.mgrid[-half : half + 1, -half : half + 1]
    inside = np.clip(radius + 0.5 - np.hypot(rows, columns), 0, 1)
    kernel: FloatArray = (inside / inside.sum()).astype(np.float32)
    return kernel


def defocus(image: Image, what: IntArray, fill: Fill) -> Image:
    """The image blurred with a disk."""
    del fill
    kernel = disk_kernel(float(what[0]) / 10)
    blurred: Image = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE).astype(np.uint8)
    return blurred


CORRUPTION = Corruption(
    name="defocus-blur",
    kind="image",
    levels=strengths(*RADIUS),
    columns=("radius_tenths",),
    draw=draw_disks,
    paint=defocus,
)
