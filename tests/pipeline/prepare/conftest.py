"""Raw datasets for the tests of the verbs on data."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RAW = runpy.run_path(str(Path(__file__).parents[2] / "recipes" / "raw_files.py"))


@pytest.fixture(scope="session")
def raw_files() -> dict[str, Any]:
    """Names of `tests/recipes/raw_files.py`."""
    return RAW


@pytest.fixture(scope="session")
def raw_masters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two raw datasets that tests only read, by recipe key; the verbs don't know one dataset from another."""
    folder = tmp_path_factory.mktemp("raw")
    keys = ("3dpw", "amass")
    for key in keys:
        RAW["WRITERS"][key](folder / key)
        RAW["mark_synthetic"](folder / key, key)
    return {key: folder / key for key in keys}


@pytest.fixture
def make_root(tmp_path: Path, raw_masters: dict[str, Path]) -> Callable[..., Path]:
    """A data root with links to the raw datasets; `own=True` copies them, so that they may be changed."""

    def make(name: str = "root", own: bool = False) -> Path:
        import shutil

        root = tmp_path / name
        (root / "raw").mkdir(parents=True)
        for key, raw in raw_masters.items():
            if own:
                shutil.copytree(raw, root / "raw" / key)
            else:
                (root / "raw" / key).symlink_to(raw, target_is_directory=True)
        return root

    return make


@pytest.fixture
def tree() -> Callable[[Path], dict[str, bytes]]:
    """All files of a folder, by relative path."""

    def read(folder: Path) -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    return read
