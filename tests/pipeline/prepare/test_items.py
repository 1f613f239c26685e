"""A raw file that is read in several items: same store however it is cut and by however many workers."""

import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpsbench.pipeline.prepare import prepare
from hpsbench.recipes.catalog import get_recipe
from hpsbench.store.reader import open_store

RAW: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "recipes" / "raw_instavariety.py"))


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    """A recipe folder in which InstaVariety's collection is cut into items of at most one track."""
    text = get_recipe("instavariety").path.read_text()
    assert "rows_per_item = 50000" in text
    (tmp_path / "recipes/datasets").mkdir(parents=True)
    path = tmp_path / "recipes/datasets/instavariety.toml"
    path.write_text(text.replace("rows_per_item = 50000", "rows_per_item = 1"))
    return tmp_path / "recipes"


def test_one_worker_and_two_write_the_same_store(
    recipes: Path, tmp_path: Path, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    stores = []
    RAW["write_collection"](tmp_path / "raw")
    for workers in (1, 2):
        root = tmp_path / f"root{workers}"
        shutil.copytree(tmp_path / "raw", root / "raw" / "instavariety")
        summary = prepare("instavariety", root, workers=workers, accept_licence=True, recipes=recipes)
        assert summary.sequences == 3
        assert summary.raw_bytes == (root / "raw/instavariety/insta_train_db.h5").stat().st_size
        assert [(s["tracks"], s["frames"]) for s in summary.splits] == [(3, 62), (0, 0)]
        stores.append(root / "stores" / "instavariety.zarr")
    clips = open_store(stores[0]).clips
    assert clips["length"].tolist() == [10, 40, 12]
    assert tree(stores[0]) == tree(stores[1])
