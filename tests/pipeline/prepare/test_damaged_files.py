"""What each dataset's damaged files are told: every line of `recipes/damaged/<dataset>.toml`, done and compared.

A damaged sequence stops `prepare` with the file's name and what is wrong; with `skip_bad` it is left out and counted. What
is odd but no damage (images without annotations, annotations without images) is a warning or a count of `verify`.
"""

import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hpsbench.errors import HpsbenchError
from hpsbench.pipeline.extract import extract
from hpsbench.pipeline.prepare import prepare
from hpsbench.pipeline.verify import verify
from hpsbench.recipes.catalog import get_recipe, list_recipes
from hpsbench.recipes.damage import Damage, Damages, read_damages
from hpsbench.recipes.sequences import SequenceSkipped, find_sequences, read_sequence
from hpsbench.store.reader import open_store

FOLDER = Path(__file__).parents[2] / "recipes"
RAW = runpy.run_path(str(FOLDER / "raw_files.py"))
MAKERS = runpy.run_path(str(FOLDER / "damages.py"))["TABLE"]
MakeRoot = Callable[[str, str], Path]


def lines_of(dataset: str) -> Damages:
    lines = read_damages(dataset)
    assert lines is not None
    return lines


LINES = [(dataset, damage) for dataset in list_recipes() for damage in lines_of(dataset).damage]


@pytest.fixture(scope="module")
def masters(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The sound raw dataset of a recipe, written once."""
    folder = tmp_path_factory.mktemp("sound")

    def master(dataset: str) -> Path:
        if not (folder / dataset).exists():
            RAW["WRITERS"][dataset](folder / dataset)
            RAW["mark_synthetic"](folder / dataset, dataset)
        return folder / dataset

    return master


@pytest.fixture
def damaged(masters: Callable[[str], Path], tmp_path: Path) -> MakeRoot:
    """A data root with the damaged dataset."""

    def make(dataset: str, kind: str) -> Path:
        root = tmp_path / "root"
        shutil.copytree(masters(dataset), root / "raw" / dataset)
        MAKERS[dataset][kind](root / "raw" / dataset)
        return root

    return make


@pytest.mark.parametrize("dataset", list_recipes())
def test_every_line_is_tried(dataset: str) -> None:
    assert [damage.kind for damage in lines_of(dataset).damage] == list(MAKERS[dataset])


@pytest.mark.parametrize(
    ("dataset", "damage"), LINES, ids=[f"{dataset}: {damage.kind}" for dataset, damage in LINES]
)
def test_damage_is_told_as_the_docs_say(
    dataset: str, damage: Damage, damaged: MakeRoot, patches: type
) -> None:
    del patches  # the extractor of that name
    root = damaged(dataset, damage.kind)
    raw = root / "raw" / dataset
    said = TELL[damage.outcome](dataset, root)
    found = [text for text in said if damage.matches(text, raw)]
    assert len(found) == 1, "\n".join(said)
    if damage.outcome == "stops":
        assert len(set(said)) == 1, "one thing is damaged"


def _read(dataset: str, root: Path) -> list[str]:
    """What reading the sequences says."""
    recipe, said = get_recipe(dataset), []
    for sequence in find_sequences(recipe, root / "raw" / dataset):
        try:
            list(read_sequence(recipe, sequence))
        except SequenceSkipped:
            continue
        except HpsbenchError as error:
            said.append(str(error))
    return sorted(set(said))


def _prepare(dataset: str, root: Path) -> list[str]:
    with pytest.raises(HpsbenchError) as told:
        prepare(dataset, root, skip_bad=True)
    return [str(told.value)]


def _extract(dataset: str, root: Path) -> list[str]:
    store, view = Path(prepare(dataset, root).store), get_recipe(dataset).default_view
    with pytest.raises(HpsbenchError) as told:
        extract(store, root, view=view, extractor="patches", device="cpu")
    return [str(told.value)]


def _verify(dataset: str, root: Path) -> list[str]:
    prepare(dataset, root)
    report = verify(dataset, root)
    assert report.ok
    return [*report.remarks, *(problem.text for problem in report.problems)]


TELL: dict[str, Callable[[str, Path], list[str]]] = {
    "stops": _read,
    "stops-anyhow": _prepare,
    "features": _extract,
    "warning": _verify,
    "counted": _verify,
}


@pytest.mark.parametrize("dataset", list_recipes())
def test_a_damaged_sequence_stops_or_is_left_out_and_counted(dataset: str, damaged: MakeRoot) -> None:
    damage = next(d for d in lines_of(dataset).damage if d.kind == "truncated file")
    root = damaged(dataset, damage.kind)
    with pytest.raises(HpsbenchError) as told:
        prepare(dataset, root)
    assert damage.matches(str(told.value), root / "raw" / dataset)
    total = prepare(dataset, root, dry_run=True)
    assert 0 <= total.resumed < total.sequences
    summary = prepare(dataset, root, skip_bad=True)
    assert summary.skipped["broken"] == 1
    assert len(summary.broken) == 1
    store = open_store(summary.store)
    assert len(store.attrs["broken"]) == 1
    assert store.attrs["command"].endswith("--skip-bad")
    assert "unreadable" in {problem.kind for problem in verify(dataset, root).problems}


@pytest.mark.parametrize("dataset", ["pennaction", "posetrack", "3dpw", "mpi-inf-3dhp"])
def test_an_image_without_annotation_changes_nothing(
    dataset: str, damaged: MakeRoot, masters: Callable[[str], Path], tmp_path: Path
) -> None:
    one = prepare(dataset, damaged(dataset, "image without annotation"))
    (tmp_path / "sound" / "raw").mkdir(parents=True)
    (tmp_path / "sound" / "raw" / dataset).symlink_to(masters(dataset))
    other = prepare(dataset, tmp_path / "sound")
    assert one.splits == other.splits
