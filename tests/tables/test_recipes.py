"""Training recipes as tables use them."""

from typing import Any

import pytest

from hpsbench.tables.recipes import decisive
from hpsbench.training.config import get_training_recipe


@pytest.mark.parametrize(
    "changes", [{"title": "another"}, {"readings": ()}, {"source": "?"}, {"synthetic": {}, "tiny": {}}]
)
def test_a_training_is_not_run_again_for_another_text(changes: dict[str, Any]) -> None:
    recipe = get_training_recipe("vibe")
    changed = recipe.model_copy(update=changes)
    assert changed != recipe
    assert decisive(changed) == decisive(recipe)


@pytest.mark.parametrize(
    "override",
    ["schedule.epochs=7", "losses.pose=1", "optimiser.lr=1", "options.n_layers=3", "windows.stride=2", "max_steps=1"],
)  # fmt: skip
def test_a_training_is_run_again_for_another_setting(override: str) -> None:
    recipe = get_training_recipe("vibe")
    assert decisive(get_training_recipe("vibe", sets=(override,))) != decisive(recipe)


def test_a_source_that_is_left_out_decides_nothing() -> None:
    recipe = get_training_recipe("vibe")
    others = tuple(
        source.model_copy(update={"stride": 5}) if source.dataset == "pennaction" else source
        for source in recipe.sources
    )
    changed = recipe.model_copy(update={"sources": others})
    without = [{"dataset": source.dataset} for source in recipe.sources if source.dataset != "pennaction"]
    assert decisive(changed, without) == decisive(recipe, without)
    assert decisive(changed) != decisive(recipe)
    assert decisive(changed, [*without, {"dataset": "pennaction"}]) != decisive(
        recipe, [*without, {"dataset": "pennaction"}]
    )
