"""Frames out of order: those of a burst are shown in another order, none of them in its own place."""

import numpy as np

from hpsbench.corruption._corruption import ROW_COLUMNS, Corruption, Scene, frequencies
from hpsbench.types import IntArray

# Severity 1..5: (share of frames that are hit, frames that change places with each other).
MIXED = ((0.33, 2), (0.33, 3), (0.33, 4), (0.33, 6), (0.33, 8))


def mix_bursts(
    scene: Scene, hit: IntArray, strength: tuple[float, ...], rng: np.random.Generator
) -> IntArray:
    """(h, 1) the row shown at each hit frame: a cyclic order of its burst (Sattolo's algorithm).

    A burst of one frame has nothing to change places with: the frame before it (after it, at the start) is shown.
    """
    del strength
    shown = hit.copy()
    for burst in np.split(np.arange(len(hit)), np.flatnonzero(np.diff(hit) > 1) + 1):
        if len(burst) == 1:
            frame = int(hit[burst[0]])
            shown[burst] = frame - 1 if frame > 0 else min(1, len(scene) - 1)
        for last in range(len(burst) - 1, 0, -1):
            other = int(rng.integers(0, last))
            shown[burst[[last, other]]] = shown[burst[[other, last]]]
    return scene.rows[shown][:, None]


CORRUPTION = Corruption(
    name="shuffled", kind="rows", levels=frequencies(*MIXED), columns=ROW_COLUMNS, draw=mix_bursts
)
