"""Pages about datasets: made from the recipes, and the committed ones are up to date."""

from pathlib import Path

import pytest

from hpsbench.recipes.catalog import get_recipe, list_recipes
from hpsbench.recipes.damage import read_damages
from hpsbench.recipes.document import DAMAGED, INDEX, dataset_page, pages, write_pages

DOCS = Path(__file__).parents[2] / "docs" / "datasets"


def test_committed_pages_are_up_to_date() -> None:
    made = pages()
    assert {path.name for path in DOCS.iterdir()} == set(made)
    for name, text in made.items():
        assert (DOCS / name).read_text(encoding="utf-8") == text, (
            f"{name}: make it anew with python -m hpsbench.recipes.document docs/datasets"
        )


@pytest.mark.parametrize("key", list_recipes())
def test_a_page_says_everything_that_the_recipe_knows(key: str) -> None:
    recipe, page = get_recipe(key), dataset_page(get_recipe(key))
    for step in recipe.access:
        assert step.replace("{root}", "R") in page
    for name in (*recipe.splits, *recipe.fields, *recipe.views):
        assert name in page
    for expected in recipe.expected:
        assert f"{expected.value:,}" in page
    for defect in recipe.defects:
        assert defect.text in page
    assert recipe.licence in page
    assert recipe.bibtex.strip() in page


@pytest.mark.parametrize("key", list_recipes())
def test_the_page_about_damage_has_every_message(key: str) -> None:
    damages, page = read_damages(key), pages()[DAMAGED]
    assert damages is not None
    assert f"\n## {key}\n" in page
    for line in damages.damage:
        assert line.says.replace("RAW", f"R/raw/{key}").replace("|", "\\|") in page


def test_a_recipe_from_outside_gets_a_page(tmp_path: Path) -> None:
    text = get_recipe("3dpw").path.read_text().replace('key = "3dpw"', 'key = "mine"')
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "mine.toml").write_text(text)
    write_pages(tmp_path / "docs", tmp_path)
    assert "hpsbench prepare mine" in (tmp_path / "docs" / "mine.md").read_text()
    assert "(mine.md)" in (tmp_path / "docs" / INDEX).read_text()
