"""Too little light: less of it reaches the sensor, and what arrives is noisy.

In linear light the image is scaled; shot noise grows with the root of the light, read noise does not depend on it.
"""

from functools import cache

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
from hpsbench.types import Array, IntArray

# Severity 1..5: share of the light that is left, in thousandths.
LIGHT = (400.0, 250.0, 150.0, 80.0, 40.0)
GAMMA = 2.2
FULL_WELL = 600.0
"""Photons of a white pixel in full light."""
READ_NOISE = 0.003
"""Standard deviation over white, in linear light."""
_STEPS = 4096


def draw_light(
    scene: Scene, hit: IntArray, strength: tuple[float, ...], rng: np.random.Generator
) -> IntArray:
    """(h, 2) light left in thousandths, and seed of the noise."""
    del scene
    return np.stack([np.full(len(hit), round(strength[0]), np.int64), noise_seeds(len(hit), rng)], axis=1)


@cache
def _tables(light: int) -> tuple[Array, Array]:
    """Mean and standard deviation in linear light of each grey level, float32."""
    linear = (np.arange(256) / 255) ** GAMMA * (light / 1000)
    spread = np.sqrt(linear / FULL_WELL + READ_NOISE**2)
    return linear.astype(np.float32), spread.astype(np.float32)


@cache
def _display() -> Array:
    """Linear light in `_STEPS` steps -> grey level."""
    levels: Array = np.rint(255 * (np.arange(_STEPS) / (_STEPS - 1)) ** (1 / GAMMA)).astype(np.uint8)
    return levels


def darken(image: Image, what: IntArray, fill: Fill) -> Image:
    """The image in little light."""
    del fill
    mean, spread = _tables(int(what[0]))
    light = mean[image] + spread[image] * unit_noise(image.shape, int(what[1]))
    dark: Image = _display()[np.clip(np.rint(light * (_STEPS - 1)), 0, _STEPS - 1).astype(np.int64)]
    return dark


CORRUPTION = Corruption(
    name="low-light",
    kind="image",
    levels=strengths(*LIGHT),
    columns=("light", "seed"),
    draw=draw_light,
    paint=darken,
)
