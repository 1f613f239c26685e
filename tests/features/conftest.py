import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hpsbench.features.backbones import ResNet50

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def hmr_shapes() -> dict[str, list[int]]:
    """Names and shapes of SPIN's released checkpoint."""
    path = SHARED / "reference" / "state_dicts" / "hmr.json"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    shapes: dict[str, list[int]] = json.loads(path.read_text())
    return shapes


@pytest.fixture
def spin_root(tmp_path: Path) -> Path:
    """A data root with a checkpoint in SPIN's layout: random weights, regressor entries beside the backbone's."""
    torch.manual_seed(0)
    state = dict(ResNet50().state_dict())
    state |= {
        "fc1.weight": torch.zeros(4, 4),
        "init_pose": torch.zeros(1, 144),
        "decpose.bias": torch.zeros(144),
    }
    folder = tmp_path / "checkpoints" / "spin"
    folder.mkdir(parents=True)
    torch.save({"model": state}, folder / "model_checkpoint.pt")
    return tmp_path
