"""Arrays of both kinds."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260)


@pytest.fixture(params=["numpy", "torch"])
def array(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """Makes an array of one of the two libraries of a NumPy array."""
    return np.asarray if request.param == "numpy" else torch.as_tensor
