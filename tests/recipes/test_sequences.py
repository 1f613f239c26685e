"""Which files and parts of files are sequences, where the path alone does not say it."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpsbench.errors import BadData, UsageError
from hpsbench.recipes.catalog import get_recipe
from hpsbench.recipes.manifest import raw_manifest
from hpsbench.recipes.schema import Files, Recipe, Split
from hpsbench.recipes.sequences import files_beside, find_sequences

READER = """
from hpsbench.errors import BrokenFile

def read_sequence(raw):
    return iter(())

def split_of(raw):
    text = raw.path.read_text()
    if text == "damaged":
        raise BrokenFile(raw.name)
    return text.strip()

def items_of(raw):
    if raw.path.read_text() == "damaged":
        raise BrokenFile(raw.name)
    return ["first half", "second half"]
"""


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A raw folder with five files, and an importable reader for them."""
    (tmp_path / "told_reader.py").write_text(READER)
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "raw"
    (folder / "old").mkdir(parents=True)
    for name, text in {"1": "train", "2": "test", "3": "damaged", "10": "test", "old/1": "train"}.items():
        (folder / f"{name}.txt").write_text(text)
    yield folder
    sys.modules.pop("told_reader", None)


def recipe_with(**splits: dict[str, Any]) -> Recipe:
    made = {name: Split.model_validate(facts) for name, facts in splits.items()}
    return get_recipe("3dpw").model_copy(update={"splits": made, "reader": "told_reader:read_sequence"})


def listed(recipe: Recipe, raw: Path, limit: int | None = None) -> list[tuple[str, str, str]]:
    return [(found.split, found.name, found.item) for found in find_sequences(recipe, raw, limit)]


def test_the_reader_tells_the_split_and_damaged_files_stay_where_they_are_reported(raw: Path) -> None:
    facts = {"glob": "*.txt", "told_by": "reader"}
    recipe = recipe_with(train=facts, test=facts)
    want = [("train", "1.txt", ""), ("train", "3.txt", ""), ("test", "10.txt", ""), ("test", "2.txt", "")]
    assert listed(recipe, raw) == want
    assert listed(recipe, raw, limit=1) == [want[0], want[2]]


def test_a_split_that_the_recipe_does_not_have_is_an_error(raw: Path) -> None:
    with pytest.raises(BadData, match=r"10\.txt: belongs to a split 'test'; the recipe has train"):
        listed(recipe_with(train={"glob": "*.txt", "told_by": "reader"}), raw)


def test_a_file_may_be_read_in_parts_and_is_hashed_once(raw: Path, tmp_path: Path) -> None:
    recipe = recipe_with(train={"glob": ["1.txt", "3.txt"], "items": "reader"})
    want = [("train", "1.txt", "first half"), ("train", "1.txt", "second half"), ("train", "3.txt", "")]
    assert listed(recipe, raw) == want
    assert listed(recipe, raw, limit=1) == want[:1]
    manifest = raw_manifest(find_sequences(recipe, raw), tmp_path / "cache.json")
    assert [file.name for file in manifest.files] == ["1.txt", "3.txt"]


def test_hashed_files_beside_the_sequences_belong_to_the_manifest(raw: Path, tmp_path: Path) -> None:
    files = {
        "lens": Files(glob=["old/*.txt", "1*.txt", "none*"], hashed=True),
        "images": Files(glob="3.txt"),
    }
    recipe = recipe_with(train={"glob": "2.txt"}).model_copy(update={"files": files})
    beside = files_beside(recipe, raw)
    assert [(item.name, item.split) for item in beside] == [("1.txt", ""), ("10.txt", ""), ("old/1.txt", "")]
    sequences = find_sequences(recipe, raw)
    before = raw_manifest([*sequences, *beside], tmp_path / "cache.json")
    assert [file.name for file in before.files] == ["2.txt", "1.txt", "10.txt", "old/1.txt"]
    (raw / "old" / "1.txt").write_text("another lens")
    assert raw_manifest([*sequences, *beside], tmp_path / "cache.json").sha256 != before.sha256


def test_the_first_layout_that_is_there_is_taken(raw: Path) -> None:
    globs = ["new/*.txt", "old/*.txt", "2.txt"]
    assert listed(recipe_with(train={"glob": globs, "take": "first"}), raw) == [("train", "old/1.txt", "")]
    assert len(listed(recipe_with(train={"glob": globs}), raw)) == 2


def test_a_reader_without_the_function_is_named(raw: Path) -> None:
    recipe = recipe_with(train={"glob": "*.txt", "told_by": "reader"})
    with pytest.raises(UsageError, match="split_of"):
        listed(recipe.model_copy(update={"reader": "hpsbench.recipes.readers.amass:read_sequence"}), raw)
