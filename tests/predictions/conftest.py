from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hpsbench.predictions.predictions import Predictions


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.fixture
def make_predictions(rng: np.random.Generator) -> Callable[..., Predictions]:
    """Joints of two tracks of three frames; keyword arguments replace arrays, keys and attributes."""

    def make(**changes: Any) -> Predictions:
        values: dict[str, Any] = {
            "track": ["a_0", "a_0", "a_0", "b_0", "b_0", "b_0"],
            "frame_id": [4, 5, 6, 0, 1, 2],
            "arrays": {"joints3d": rng.normal(size=(6, 14, 3)).astype(np.float32)},
            "attrs": {"joint_set": "lsp14", "system": "mine", "nested": {"a": [1, 2]}},
        }
        return Predictions(**{**values, **changes})

    return make
