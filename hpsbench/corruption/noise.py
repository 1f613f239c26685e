"""Noise of a sensor: added to every pixel and channel by itself, nearly normal."""

import numpy as np

from hpsbench.corruption._corruption import (
    Corruption,
    Fill,
    Image,
    Scene,
    noise_seeds,
    strengths,
    unit_noise,
)
from hpsbench.types import IntArray

# Severity 1..5: standard deviation in grey levels of 255 (imagecorruptions: 0.08 to 0.38 of the range).
SIGMA = (20.0, 31.0, 46.0, 66.0, 97.0)


def draw_noise(
    scene: Scene, hit: IntArray, strength: tuple[float, ...], rng: np.random.Generator
) -> IntArray:
    """(h, 2) seed, and standard deviation in grey levels."""
    del scene
    return np.stack([noise_seeds(len(hit), rng), np.full(len(hit), round(strength[0]), np.int64)], axis=1)


def add_noise(image: Image, what: IntArray, fill: Fill) -> Image:
    """The image with noise, clipped to 0..255."""
    del fill
    noisy = image + unit_noise(image.shape, int(what[0])) * np.float32(what[1])
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


CORRUPTION = Corruption(
    name="noise",
    kind="image",
    levels=strengths(*SIGMA),
    columns=("seed", "sigma"),
    draw=draw_noise,
    paint=add_noise,
)
