"""Adding feature sets: whole chunks, resuming, refusing what does not match."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from hpsbench.errors import BadData, IncompleteStore, ResumeMismatch, ShapeError, UsageError
from hpsbench.store import layout
from hpsbench.store.feature_sets import FeatureSetWriter
from hpsbench.store.reader import open_store
from hpsbench.store.writer import begin_store
from hpsbench.types import Track

ATTRS = {"extractor": "x", "weights_sha256": "0", "view": "tcmr", "crop_scale": 1.3, "corruption": None}


@pytest.fixture
def path(make_store: Callable[..., Path], make_track: Callable[..., Track]) -> Path:
    return make_store([make_track(f"s_{i:02d}", frames=700) for i in range(4)])


def fill(writer: FeatureSetWriter, chunks: Any = None) -> None:
    for chunk in list(writer.open_chunks()) if chunks is None else chunks:
        rows = writer.rows_of(chunk)
        writer.write(chunk, (rows[:, None] + np.arange(writer.dim) / 100).astype(np.float32))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_chunks_are_whole_and_resuming_gives_the_same_bytes(path: Path) -> None:
    rows = np.arange(1, 2800, 1)[np.arange(2799) % 9 != 0]
    straight = FeatureSetWriter.create(path, "a", rows=rows, dim=3, attrs=ATTRS)
    assert straight.chunks == 3
    fill(straight)
    straight.finish()
    halted = FeatureSetWriter.create(path, "b", rows=rows, dim=3, attrs=ATTRS)
    fill(halted, [2, 0])
    with pytest.raises(BadData, match="1 of 3 chunks are missing"):
        halted.finish()
    resumed = FeatureSetWriter.create(path, "b", rows=rows, dim=3, attrs=ATTRS)
    assert list(resumed.open_chunks()) == [1]
    fill(resumed)
    resumed.finish()
    assert tree(path / "features" / "a") == tree(path / "features" / "b")
    assert not layout.scratch_folder(path).exists() or not list(layout.scratch_folder(path).iterdir())
    array = zarr.open_array(path / "features" / "a" / "data", mode="r")
    assert array.chunks == (1024, 3)
    np.testing.assert_array_equal(array[:, 0], rows)
    np.testing.assert_array_equal(open_store(path).features["b"].of(rows)[:, 0], rows)


def test_a_set_killed_before_its_group_was_written_starts_over(path: Path) -> None:
    writer = FeatureSetWriter.create(path, "a", rows=np.arange(10), dim=3, attrs=ATTRS)
    fill(writer)
    (path / "features" / "a" / "zarr.json").unlink()
    assert open_store(path).incomplete_features == []
    again = FeatureSetWriter.create(path, "a", rows=np.arange(20), dim=3, attrs=ATTRS)
    assert list(again.open_chunks()) == [0]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"rows": np.arange(11)}, "rows"),
        ({"rows": np.arange(1, 11)}, "rows"),
        ({"dim": 4}, "width"),
        ({"attrs": {**ATTRS, "crop_scale": 1.2}}, "attributes"),
    ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_resuming_with_something_else_is_refused(
    finished: bool, change: dict[str, Any], what: str, path: Path
) -> None:
    wanted: dict[str, Any] = {"rows": np.arange(10), "dim": 3, "attrs": ATTRS}
    writer = FeatureSetWriter.create(path, "a", **wanted)
    fill(writer)
    if finished:
        writer.finish()
    with pytest.raises(ResumeMismatch, match=f"other {what}"):
        FeatureSetWriter.create(path, "a", **{**wanted, **change})
    assert FeatureSetWriter.create(path, "a", **wanted).complete == finished


def test_a_finished_set_is_not_written_again(path: Path) -> None:
    writer = FeatureSetWriter.create(path, "a", rows=np.arange(10), dim=3, attrs=ATTRS)
    fill(writer)
    writer.finish()
    before = tree(path)
    writer.finish()
    with pytest.raises(BadData, match="complete"):
        fill(writer, [0])
    assert tree(path) == before


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (np.zeros((9, 3), np.float32), ShapeError),
        (np.zeros((10, 4), np.float32), ShapeError),
        (np.full((10, 3), np.nan, np.float32), BadData),
    ],
)
def test_a_bad_chunk_is_refused(data: Any, error: type[Exception], path: Path) -> None:
    writer = FeatureSetWriter.create(path, "a", rows=np.arange(10), dim=3, attrs=ATTRS)
    with pytest.raises(error, match="feature set 'a'"):
        writer.write(0, data)
    assert list(writer.open_chunks()) == [0]


@pytest.mark.parametrize("rows", [[3, 2], [0, 0], [-1, 2], [2799, 2800]])
def test_rows_must_increase_and_lie_in_the_store(rows: list[int], path: Path) -> None:
    with pytest.raises(ShapeError, match=r"0\.\.2799"):
        FeatureSetWriter.create(path, "a", rows=np.array(rows), dim=3, attrs=ATTRS)


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a b"])
def test_a_name_must_be_a_folder_name(name: str, path: Path) -> None:
    with pytest.raises(UsageError, match="feature set name"):
        FeatureSetWriter.create(path, name, rows=np.arange(3), dim=3, attrs=ATTRS)


def test_what_made_the_features_must_be_said(path: Path) -> None:
    with pytest.raises(UsageError, match="corruption"):
        FeatureSetWriter.create(path, "a", rows=np.arange(3), dim=3, attrs={"extractor": "x"})


def test_an_incomplete_store_takes_no_features(tmp_path: Path) -> None:
    begin_store(tmp_path / "x.zarr")
    with pytest.raises(IncompleteStore):
        FeatureSetWriter.create(tmp_path / "x.zarr", "a", rows=np.arange(3), dim=3, attrs=ATTRS)


def test_an_empty_set_is_allowed(path: Path) -> None:
    writer = FeatureSetWriter.create(path, "none", rows=np.arange(0), dim=3, attrs=ATTRS)
    writer.finish()
    features = open_store(path).features["none"]
    assert features.data[:].shape == (0, 3)
    assert features.of(np.arange(0)).shape == (0, 3)
