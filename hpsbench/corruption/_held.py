"""Frames that do not arrive: the last one that did is shown again."""

import numpy as np

from hpsbench.corruption._corruption import Scene
from hpsbench.types import IntArray


def hold_last_seen(
    scene: Scene, hit: IntArray, strength: tuple[float, ...], rng: np.random.Generator
) -> IntArray:
    """(h, 1) the row of the last frame before each hit one that arrived; at the track's start, of the first that does.

    Where no frame of the track arrives, its first one is shown throughout.
    """
    del strength, rng
    arrived = np.setdiff1d(np.arange(len(scene)), hit)
    if len(arrived) == 0:
        return np.full((len(hit), 1), scene.rows[0], np.int64)
    before = np.searchsorted(arrived, hit) - 1
    shown: IntArray = scene.rows[arrived[np.maximum(before, 0)]][:, None]
    return shown
