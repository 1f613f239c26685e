"""Bodies and arrays of both kinds."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

Pair = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(411)


@pytest.fixture(params=["numpy", "torch"])
def array(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """Makes an array of one of the two libraries of a NumPy array."""
    return np.asarray if request.param == "numpy" else torch.as_tensor


@pytest.fixture
def make_pair(rng: np.random.Generator) -> Callable[..., Pair]:
    """Body-like (pred, target), (T, J, 3) metres: pred is turned, moved, scaled and noisy."""

    def make(frames: int = 30, joints: int = 14, noise: float = 0.05, scale: float = 1.2) -> Pair:
        target = rng.normal(size=(frames, joints, 3)) * [0.25, 0.5, 0.15] + rng.normal(size=(frames, 1, 3))
        turned = target @ Rotation.random(frames, rng=rng).as_matrix()
        return scale * turned + noise * rng.normal(size=target.shape) + [0.1, 0.2, 3.0], target

    return make
