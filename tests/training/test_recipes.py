"""Every recipe trains: three steps with narrow layers here, twenty at full width where there is time."""

import json
import math
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from hpsbench.bodies.smpl import load_bodies
from hpsbench.models._catalog import load_system
from hpsbench.recipes.catalog import get_recipe
from hpsbench.training.config import FITS, TrainingRecipe, get_training_recipe, list_training_recipes
from hpsbench.training.loop import train

NAMES = [name for name in list_training_recipes() if name not in FITS]
# These read what the frame-based system makes of its own features.
ON_EMBEDDED = ("lstm-kalman", "spin-head", "spin-head-mix", "vibe-generator")


def sets(name: str) -> tuple[str, ...]:
    """The crops that the test's stores have features of, and the sources that they have."""
    recipe = get_training_recipe(name)
    length = int(recipe.tiny.get("windows.length", recipe.windows.length))
    changed = ['data.view="tcmr"', 'validation.protocol="tcmr"', f"windows.stride={max(length // 2, 1)}"]
    if recipe.sources:
        groups = '{dataset="pennaction", group="2d"}, {dataset="mpi-inf-3dhp"}, {dataset="3dpw"}'
        changed.append(f"sources=[{groups}]")
    return tuple(changed)


@pytest.fixture(autouse=True)
def bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Body models are read once, not once a recipe."""
    monkeypatch.setattr("hpsbench.training.loop.load_bodies", _bodies)


@cache
def _bodies_of(folder: Path, synthetic: bool) -> Any:
    return load_bodies(folder.parent.parent, synthetic)


def _bodies(root: Path, synthetic: bool) -> Any:
    return _bodies_of((root / "body_models" / "synthetic").resolve(), synthetic)


def test_there_is_a_recipe_for_every_published_setting() -> None:
    assert len(NAMES) >= 30


def test_keypoints_of_images_that_are_crops_fill_them() -> None:
    """InstaVariety's keypoints are 2 x / 224 - 1; those of the other sets lie in 1.2 times the box."""
    views = cache(lambda dataset: get_recipe(dataset).views)
    for name in NAMES:
        recipe = get_training_recipe(name)
        for sources in (recipe.sources, recipe.synthetic.get("sources", ())):
            read = recipe.model_validate({**recipe.model_dump(), "sources": sources}).all_sources()
            for source in read:
                box = views(source.dataset)[str(source.view)].box
                wanted = 1.0 if box.rule == "fixed" else 1.2
                assert source.crop_scale == wanted, (name, source.dataset)


SPARSE = {"instavariety": 16, "mpi-inf-3dhp": 16, "h36m": 16}
OVERLAPPING = {**SPARSE, "pennaction": 4, "posetrack": 4, "3dpw": 4}
STRIDES = {
    "vibe": OVERLAPPING,
    "vibe-wo-3dpw": OVERLAPPING,
    "vibe-released": OVERLAPPING,
    "dtsvibe": OVERLAPPING,
    "dtsvibe-no-flow": OVERLAPPING,
    "catfa": OVERLAPPING,
    "tcmr": dict.fromkeys(OVERLAPPING, 1),
    "tcmr-wo-3dpw": dict.fromkeys(OVERLAPPING, 16),
    "mpsnet": dict.fromkeys(OVERLAPPING, 16),
}


@pytest.mark.parametrize("name", STRIDES)
def test_windows_start_as_often_as_the_released_loaders_have_it(name: str) -> None:
    """VIBE's classes overlap Penn Action, PoseTrack and 3DPW by three quarters; TCMR's by all but a frame, or not at all."""
    found = {source.dataset: source.stride for source in get_training_recipe(name).all_sources()}
    assert found == {dataset: STRIDES[name][dataset] for dataset in found}


def test_tcmr_without_3dpw_trains_as_long_as_its_configuration_says() -> None:
    assert get_training_recipe("tcmr").schedule.epochs == 30
    assert get_training_recipe("tcmr-wo-3dpw").schedule.epochs == 45


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_trains_three_steps(
    name: str, wide_world: Path, tmp_path: Path, fresh_root: Any
) -> None:
    root = fresh_root(wide_world, tmp_path / "root")
    features = "embedded-tcmr" if name in ON_EMBEDDED else "narrow-tcmr"
    run = train(name, root, features=features, device="cpu", tiny=True, limit=1, sets=sets(name))
    recipe = get_training_recipe(name)
    line = run.history[-1]
    assert run.steps == 3
    assert set(recipe.weights()) <= set(line["loss"])
    assert all(map(math.isfinite, line["loss"].values()))
    assert all(line["took_part"].values()), "every term of the recipe has data here"
    card = load_system(run.checkpoint).card  # type: ignore[attr-defined]
    assert card["training_recipe"]["name"] == name
    assert card["terms_without_data"] == []
    named = {
        "spsnet": {"masks", "hidden_joints", "silhouette"},
        "dtsvibe": {"flow"},
        "vibe-mposer": {"MPoser"},
        "meva": {"MEVA's motion decoder"},
    }
    assert set(card["stand_ins"]) == named.get(name, set(card["stand_ins"]))
    json.dumps(dict(card), default=str)


@pytest.mark.full
@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_trains_twenty_steps_at_full_width(
    name: str, full_world: Path, tmp_path: Path, fresh_root: Any
) -> None:
    """Published networks, two windows a step; windows are shortened where the synthetic tracks are shorter than they are."""
    recipe = get_training_recipe(name)
    features = "embedded-tcmr" if recipe.system == "lstm_kalman" else "narrow-tcmr"
    root = fresh_root(full_world, tmp_path / "root")
    try:
        run = train(
            name, root, features=features, device="cpu", limit=1, sets=(*sets(name), *published(recipe))
        )
        losses, card = run.history[-1]["loss"], load_system(run.checkpoint).card  # type: ignore[attr-defined]
    finally:
        shutil.rmtree(root / "runs", ignore_errors=True)  # up to 2 GB
    assert run.steps == 20
    assert all(map(math.isfinite, losses.values()))
    assert card["terms_without_data"] == []
    assert recipe.system == "lstm_kalman" or card["options"]["feature_width"] == 2048
    for key, value in recipe.options.items():
        assert card["options"][key] == value or key == "length", key
    if recipe.adversary is not None:
        assert card["training_recipe"]["adversary"]["options"] == recipe.adversary.options


def published(recipe: TrainingRecipe) -> list[str]:
    """What a recipe says for real data, where its overrides for synthetic data narrow a network; a short schedule."""
    changed = [
        "schedule.batch=2",
        "schedule.epochs=1",
        "schedule.iterations_per_epoch=20",
        'init.regressor="random"',
    ]
    for key in recipe.synthetic:
        table, *rest = key.split(".")
        if "options" in (table, *rest[:1]):
            value: Any = recipe.model_dump(mode="json")
            for part in key.split("."):
                assert part in value, f"{recipe.name}: {key} is narrowed and its published value not said"
                value = value[part]
            changed.append(f"{key}={json.dumps(value)}")
    changed += [f"{key}={recipe.tiny[key]}" for key in recipe.tiny if key.endswith("length")]
    changed += [f"{key}=20" for key in recipe.synthetic if key.endswith(".steps")]
    if recipe.system == "catfa":  # five bodies a frame
        changed.append("windows.length=8")
    return changed
