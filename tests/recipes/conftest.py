"""Raw datasets for the tests of recipes and readers."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RAW = runpy.run_path(str(Path(__file__).with_name("raw_files.py")))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def raw_files() -> dict[str, Any]:
    """Names of `raw_files.py`."""
    return RAW


@pytest.fixture
def make_raw(tmp_path: Path) -> Callable[..., Path]:
    """Writes the small raw dataset of a recipe under `<tmp>/raw/<key>` and returns that folder."""

    def make(key: str, synthetic: bool = True) -> Path:
        raw = tmp_path / "raw" / key
        RAW["WRITERS"][key](raw)
        if synthetic:
            RAW["mark_synthetic"](raw, key)
        return raw

    return make
