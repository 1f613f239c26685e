"""The flow twin: what it is trained on, that it learns, and that its file is what extraction finds."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from hpsbench.errors import FeatureMismatch, UsageError
from hpsbench.features.backbones import get_extractor
from hpsbench.features.flow import TWIN
from hpsbench.store.reader import open_store
from hpsbench.training.flow_encoder import Trainee, _fit, _Pairs, _read, get_flow_recipe, train_flow_encoder

FEW = ("data.pairs=16", "data.held_out=8", "schedule.epochs=2", "schedule.batch=8", "optimiser.warm_up=1")


def test_the_recipe_is_checked() -> None:
    recipe = get_flow_recipe(("schedule.epochs=3",))
    assert (recipe.name, recipe.schedule.epochs, recipe.data.method) == ("flow-encoder", 3, "dis")
    with pytest.raises(UsageError, match=r"schedule\.epoch: Extra inputs"):
        get_flow_recipe(("schedule.epoch=3",))
    with pytest.raises(UsageError, match=r"data\.method='raft' is not one of dis"):
        get_flow_recipe(("data.method=raft",))


def test_it_is_trained_where_extraction_looks(tiny_world: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(tiny_world, root)
    card = train_flow_encoder(get_flow_recipe(FEW), root, threads=1)
    assert card["pairs"] == {"train": 16, "held_out": 8}
    assert card["synthetic"]
    assert len(card["history"]) == 2
    assert card["no_motion_px"] > 0
    written = json.loads((root / TWIN).with_suffix(".json").read_text())
    assert written["sha256"] == get_extractor("flow-dis", root).sha256
    again = train_flow_encoder(get_flow_recipe(FEW), root, threads=1)
    assert again["sha256"] == card["sha256"]


def test_pairs_are_of_one_clip_and_their_motion_is_relative(tiny_world: Path) -> None:
    store = open_store(tiny_world / "stores" / "3dpw.zarr")
    pairs = _read(store, tiny_world / "raw" / "3dpw", get_flow_recipe(FEW), "train", 1000)
    starts = store.clips.query("split == 'train'")
    kept = store.views["tcmr"].keep
    expected = sum(
        max(int(kept[start : start + length].sum()) - 1, 0)
        for start, length in zip(starts["start"], starts["length"], strict=True)
    )
    assert len(pairs) == expected
    still = pairs.planes[:, 2].float().mean(dim=(1, 2))
    moved = torch.linalg.vector_norm(pairs.motion, dim=-1).mean(dim=1)
    assert np.corrcoef(still, moved)[0, 1] > 0.3  # where crops move more, so do joints
    assert pairs.planes.abs().max() <= 1


def test_a_motion_that_shows_in_the_flow_is_learned() -> None:
    """All joints of half the pairs go one way, of the others the other way, and so does the flow."""
    torch.manual_seed(0)
    sign = torch.tensor([1.0, -1.0]).repeat(8)
    planes = (0.5 * sign[:, None, None, None] * torch.ones(16, 3, 112, 112)).half()
    motion = 0.1 * sign[:, None, None].repeat(1, 4, 2)
    pairs = _Pairs(planes, motion)
    recipe = get_flow_recipe((*FEW[2:], "schedule.epochs=8", "optimiser.lr=3e-3"))
    state, history = _fit(recipe, pairs, pairs, None)
    still = float(torch.linalg.vector_norm(motion, dim=-1).mean()) * 112
    assert min(line["held_out_px"] for line in history) < 0.7 * still
    assert set(state) == set(Trainee(4).encoder.state_dict())


def test_real_data_gets_no_twin(tiny_world: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(tiny_world / "stores", root / "stores")
    path = root / "stores" / "3dpw.zarr" / "zarr.json"
    path.write_text(path.read_text().replace('"synthetic": true', '"synthetic": false'))
    with pytest.raises(FeatureMismatch, match=r"real data; the flow twin is for synthetic data.*ResNet-50"):
        train_flow_encoder(get_flow_recipe(FEW), root)
