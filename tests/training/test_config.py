import pytest

from hpsbench.errors import UnknownName, UsageError
from hpsbench.training.config import FITS, get_training_recipe, list_training_recipes, parse_set


@pytest.mark.parametrize("name", [n for n in list_training_recipes() if n not in FITS])
def test_every_recipe_follows_the_schema_with_its_own_overrides(name: str) -> None:
    recipe = get_training_recipe(name)
    assert recipe.name == name
    assert recipe.readings, "say what is a reading"
    for overrides in (recipe.synthetic, recipe.tiny):
        assert get_training_recipe(name, overrides=overrides).system == recipe.system


def test_set_reads_toml_values_and_plain_text() -> None:
    assert parse_set("schedule.epochs=3") == ("schedule.epochs", 3)
    assert parse_set("optimiser.lr=1e-4") == ("optimiser.lr", 1e-4)
    assert parse_set("data.view=vibe") == ("data.view", "vibe")
    recipe = get_training_recipe(
        "vibe-generator", sets=["schedule.epochs=3", "data.view=vibe", "max_steps=7"]
    )
    assert (recipe.schedule.epochs, recipe.data.view, recipe.max_steps) == (3, "vibe", 7)


def test_slips_are_named() -> None:
    with pytest.raises(UsageError, match=r"key=value"):
        parse_set("epochs")
    with pytest.raises(UsageError, match=r"schedule\.epoch: Extra inputs"):
        get_training_recipe("vibe-generator", sets=["schedule.epoch=3"])
    with pytest.raises(UsageError, match=r"init: .*'spin' is not one of extractor, mean, random"):
        get_training_recipe("vibe-generator", sets=["init.regressor=spin"])
    with pytest.raises(UnknownName, match=r"Did you mean 'vibe-generator'"):
        get_training_recipe("vibe-generater")
