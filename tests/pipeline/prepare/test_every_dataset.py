"""What holds for every dataset and layout: raw files, store, verification; workers and kills don't show in the bytes."""

import runpy
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsbench.errors import IncompleteStore, MissingStore
from hpsbench.pipeline.prepare import prepare
from hpsbench.pipeline.verify import verify
from hpsbench.recipes.catalog import get_recipe, list_recipes
from hpsbench.store.reader import open_store

Tree = Callable[[Path], dict[str, bytes]]
WRITERS_FOLDER = Path(__file__).parents[2] / "recipes"
H36M = runpy.run_path(str(WRITERS_FOLDER / "raw_h36m.py"))
INSTAVARIETY = runpy.run_path(str(WRITERS_FOLDER / "raw_instavariety.py"))


def write_fetch(raw: Path) -> None:
    H36M["write_fetch"](raw, 1, "Directions-1", {0: list(range(1, 30)), 3: [1, 6, 11, 12]})
    H36M["write_fetch"](raw, 9, "Waiting-1", {camera: [1, 6, 11] for camera in range(4)})


# Layouts beside the one that every dataset's own writer writes.
OTHER_LAYOUTS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "h36m, Moon's files": ("h36m", H36M["write_moon"]),
    "h36m, h36m-fetch's files": ("h36m", write_fetch),
    "instavariety, VIBE's collection": ("instavariety", INSTAVARIETY["write_collection"]),
}


@pytest.fixture(scope="module", params=[*list_recipes(), *OTHER_LAYOUTS])
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def key(case: str) -> str:
    return OTHER_LAYOUTS[case][0] if case in OTHER_LAYOUTS else case


@pytest.fixture(scope="module")
def master(case: str, key: str, raw_files: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The raw dataset, which tests only read."""
    raw = tmp_path_factory.mktemp("raw") / key
    raw.mkdir()
    (OTHER_LAYOUTS[case][1] if case in OTHER_LAYOUTS else raw_files["WRITERS"][key])(raw)
    raw_files["mark_synthetic"](raw, key)
    return raw


@pytest.fixture
def make_root_of(master: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A data root with a link to the raw dataset."""

    def make(name: str) -> Path:
        (tmp_path / name / "raw").mkdir(parents=True)
        (tmp_path / name / "raw" / master.name).symlink_to(master, target_is_directory=True)
        return tmp_path / name

    return make


@pytest.fixture(scope="module")
def whole(key: str, master: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root whose store one undisturbed process made."""
    root = tmp_path_factory.mktemp("whole")
    (root / "raw").mkdir()
    (root / "raw" / key).symlink_to(master, target_is_directory=True)
    prepare(key, root, skip_bad=False)
    return root


def test_raw_files_become_a_sound_store(key: str, whole: Path) -> None:
    report = verify(key, whole)
    assert report.ok, report.problems
    assert report.synthetic
    store = open_store(whole / "stores" / f"{key}.zarr")
    assert len(store) == int(store.clips["length"].sum()) > 0
    recipe = get_recipe(key)
    if "keypoints2d" in recipe.fields:
        view = store.views[recipe.default_view]
        assert view.keep.any()
        assert np.isfinite(view.bbox_cxcywh[view.keep]).all()


def test_four_workers_make_the_same_bytes(
    key: str, whole: Path, make_root_of: Callable[[str], Path], tree: Tree
) -> None:
    root = make_root_of("four")
    prepare(key, root, workers=4)
    assert tree(root / "stores") == tree(whole / "stores")


class Stopped(BaseException):
    """Stands for SIGKILL at one exact operation."""


@pytest.mark.full
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_run_that_ends_at_some_rename_resumes_to_the_same_bytes(
    share: float, key: str, whole: Path, make_root_of: Callable[[str], Path], tree: Tree,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    original, calls = Path.replace, [0, -1]

    def counted(self: Path, *args: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == calls[1]:
            raise Stopped
        return original(self, *args, **options)

    monkeypatch.setattr(Path, "replace", counted)
    prepare(key, make_root_of("counted"))
    calls[:] = [0, max(2, round(share * calls[0]))]
    root = make_root_of("stopped")
    with pytest.raises(Stopped):
        prepare(key, root)
    calls[1] = -1
    with pytest.raises((IncompleteStore, MissingStore)):
        open_store(root / "stores" / f"{key}.zarr")
    prepare(key, root)
    assert tree(root / "stores") == tree(whole / "stores")


# Runs prepare, and kills itself at some rename: parts and store are renamed into place.
SUICIDE = """
import os, signal, sys
from pathlib import Path
from hpsbench.pipeline.prepare import prepare

key, root, workers, left = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
original = Path.replace

def replace(self, *args, **options):
    global left
    left -= 1
    if left == 0:
        os.killpg(0, signal.SIGKILL)
    return original(self, *args, **options)

if __name__ == "__main__":
    Path.replace = replace
    prepare(key, root, workers=workers)
"""


@pytest.mark.parametrize(("workers", "rename"), [(1, 4), (4, 3)])
def test_a_killed_run_resumes_to_the_same_bytes(
    workers: int, rename: int, key: str, whole: Path, make_root_of: Callable[[str], Path], tree: Tree
) -> None:
    root = make_root_of("killed")
    script = root / "suicide.py"
    script.write_text(SUICIDE)
    command = [sys.executable, str(script), key, str(root), str(workers), str(rename)]
    done = subprocess.run(command, start_new_session=True, check=False)
    assert done.returncode == -signal.SIGKILL
    with pytest.raises((IncompleteStore, MissingStore)):
        open_store(root / "stores" / f"{key}.zarr")
    prepare(key, root)
    assert tree(root / "stores") == tree(whole / "stores")
