"""The catalogue and the schema: what is listed, what a wrong recipe says."""

import subprocess
import sys
from pathlib import Path

import pytest

from hpsbench.data_dir import data_dir
from hpsbench.errors import BrokenFile, MissingData, UnknownName, UsageError
from hpsbench.recipes.catalog import describe_recipes, get_recipe, list_recipes
from hpsbench.recipes.schema import read_recipe
from hpsbench.recipes.sequences import get_reader, list_readers


def test_shipped_recipes_are_listed_and_described() -> None:
    assert {"3dpw", "amass"} <= set(list_recipes())
    assert all(not key.startswith("_") for key in list_recipes())
    described = {entry["key"]: entry for entry in describe_recipes()}
    assert described["3dpw"]["splits"] == ["train", "val", "test"]


def test_an_unknown_dataset_is_suggested() -> None:
    with pytest.raises(UnknownName, match="Did you mean '3dpw'"):
        get_recipe("3dwp")


def test_listing_and_parsing_import_nothing_heavy() -> None:
    code = (
        "import sys\nfrom hpsbench.recipes.catalog import *\n"
        "describe_recipes()\n[get_recipe(k) for k in list_recipes()]\n"
        "print(sorted(set(sys.modules) & {'torch', 'zarr', 'pandas', 'pyarrow', 'scipy'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def write(folder: Path, change: dict[str, str], name: str = "3dpw") -> Path:
    text = (data_dir("recipes") / "datasets" / "3dpw.toml").read_text()
    for old, new in change.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / "datasets" / f"{name}.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_an_extra_folder_adds_and_replaces(tmp_path: Path) -> None:
    write(tmp_path, {'key = "3dpw"': 'key = "mine"'}, "mine")
    write(tmp_path, {"crop_scale = 1.3": "crop_scale = 1.5"})
    assert "mine" in list_recipes(tmp_path)
    assert "mine" not in list_recipes()
    assert get_recipe("mine", tmp_path).key == "mine"
    assert get_recipe("3dpw", tmp_path).views["tcmr"].crop_scale == 1.5
    with pytest.raises(MissingData, match="no recipe folder"):
        list_recipes(tmp_path / "none")


def test_sha256_is_of_the_content_not_of_its_layout(tmp_path: Path) -> None:
    shipped = get_recipe("3dpw").sha256
    assert read_recipe(write(tmp_path, {"# 3DPW: 3D": "# Another comment"})).sha256 == shipped
    assert read_recipe(write(tmp_path, {"sigma = 8.0": "sigma = 7.0"})).sha256 != shipped


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop_scale = 1.3": "cropscale = 1.3"}, r"views\.tcmr\.cropscale: no such key"),
        ({'default_view = "tcmr"': 'default_view = "tmcr"'}, "Did you mean 'tcmr'"),
        ({'rule = "tight"': 'rule = "tigth"'}, r"views\.spin\.box"),
        ({'key = "3dpw"': 'key = "3dpw2"'}, "must be the same"),
        ({"valid = true": "valid = 1"}, r"views\.spin\.valid"),
        ({'view = "spin"\n': ""}, "'view' belongs to 'kept'"),
        ({'split = "val"\nvalue': 'split = "vla"\nvalue'}, "Did you mean 'val'"),
        ({"crop_scale = 1.4933333333333334": ""}, "crop_scale belongs to"),
        ({'title = "3D Poses in the Wild (3DPW)"': ""}, "title"),
    ],
)
def test_a_wrong_recipe_names_file_and_key(change: dict[str, str], message: str, tmp_path: Path) -> None:
    path = write(tmp_path, change)
    with pytest.raises(UsageError, match=message) as caught:
        read_recipe(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_toml_is_broken(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("key = ")
    with pytest.raises(BrokenFile, match=r"x\.toml: not a TOML file"):
        read_recipe(tmp_path / "x.toml")


def test_readers_are_found_by_name_and_by_path() -> None:
    assert {"threedpw", "amass"} <= set(list_readers())
    recipe = get_recipe("3dpw")
    assert get_reader(recipe).__module__ == "hpsbench.recipes.readers.threedpw"
    elsewhere = recipe.model_copy(update={"reader": "hpsbench.recipes.readers.amass:read_sequence"})
    assert get_reader(elsewhere).__module__ == "hpsbench.recipes.readers.amass"
    with pytest.raises(UnknownName, match="Did you mean 'threedpw'"):
        get_reader(recipe.model_copy(update={"reader": "threepdw"}))
    with pytest.raises(UsageError, match="cannot be loaded"):
        get_reader(recipe.model_copy(update={"reader": "no_such_package.module:read"}))
