"""Reading a store: mapped and through zarr-python, whole and by rows, and the errors at the door."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr

from hpsbench.errors import (
    BadData,
    BrokenFile,
    IncompleteStore,
    MissingFeatures,
    MissingStore,
    NotAClipStore,
    ShapeError,
    StoreVersionError,
    UnknownName,
)
from hpsbench.store import layout
from hpsbench.store.arrays import MappedArray, ZarrArray
from hpsbench.store.feature_sets import FeatureSetWriter
from hpsbench.store.reader import open_store
from hpsbench.types import Track

INDICES = [
    3,
    -1,
    slice(None),
    slice(5, 5),
    slice(60, 3, -7),
    slice(2, 71),
    np.array([5, 4, 71, 5, 0]),
    np.arange(30, 46),
    np.array([], dtype=np.int64),
    np.array([[1, 2], [70, 3]]),
    np.arange(72) % 3 == 0,
    [-1, 0],
    (slice(0, 20), slice(0, 3)),
    (np.array([7, 9]), 1),
    (4, 2),
    Ellipsis,
]


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch, make_store: Callable[..., Path], three_tracks: list[Track]) -> Path:
    """A store of 72 rows whose arrays have several chunks."""
    monkeypatch.setattr(layout, "CHUNK_BYTES", 4096)
    return make_store(three_tracks)


def compressed_copy(path: Path, to: Path) -> Path:
    """The same store written by zarr-python: zstd, other chunks, `full_pose` sharded."""
    source, target = zarr.open_group(path, mode="r"), zarr.open_group(to, mode="w")
    target.attrs.update(dict(source.attrs))
    for name, node in sorted(source.members(max_depth=None)):
        if isinstance(node, zarr.Group):
            target.require_group(name).attrs.update(dict(node.attrs))
            continue
        sharded = name == "frames/full_pose"
        copy = target.create_array(
            name,
            shape=node.shape,
            dtype=node.dtype,
            chunks=(8, *node.shape[1:]),
            shards=(32, *node.shape[1:]) if sharded else None,
            attributes=dict(node.attrs),
        )
        copy[...] = node[...]
    return to


@pytest.mark.parametrize("kind", ["mapped", "zarr-python", "compressed copy"])
def test_rows_are_numpy_rows(kind: str, path: Path, three_tracks: list[Track], tmp_path: Path) -> None:
    where = compressed_copy(path, tmp_path / "copy.zarr") if kind == "compressed copy" else path
    array = open_store(where, mapped=kind != "zarr-python").frames["full_pose"]
    assert isinstance(array, MappedArray if kind == "mapped" else ZarrArray)
    want = np.concatenate([t.fields["full_pose"] for t in three_tracks]).astype(np.float32)
    for index in INDICES:
        got = array[index]
        np.testing.assert_array_equal(got, want[index], err_msg=str(index))
        assert got.dtype == np.float32


@pytest.mark.parametrize("mapped", [True, False])
def test_the_whole_store_reads_the_same_either_way(
    mapped: bool, path: Path, three_tracks: list[Track]
) -> None:
    store = open_store(path, mapped=mapped)
    assert len(store) == 72
    assert (store.dataset, store.synthetic) == ("3dpw", True)
    assert set(store.frames) == {"frame_id", "full_pose", "betas", "joints3d", "keypoints2d", "valid"}
    np.testing.assert_array_equal(
        store.frames["valid"], np.concatenate([t.fields["valid"] for t in three_tracks])
    )
    view = store.views["tcmr"]
    assert view.attrs["crop_scale"] == 1.3
    np.testing.assert_array_equal(view.keep, np.isfinite(view.bbox_cxcywh).all(axis=1))
    assert store.clips["length"].sum() == 72
    assert store.joint_names("joints3d")[:2] == ["j0", "j1"]


def test_arrays_are_fresh_writable_and_aligned(path: Path) -> None:
    array = open_store(path).frames["joints3d"]
    for index in (slice(0, 16), np.array([1, 50, 3]), slice(None)):
        rows = array[index]
        assert rows.ctypes.data % 64 == 0
        before = rows.copy()
        rows[...] = -1
        np.testing.assert_array_equal(array[index], before)


@pytest.mark.parametrize("mapped", [True, False])
def test_rows_go_into_a_given_array(mapped: bool, path: Path) -> None:
    array = open_store(path, mapped=mapped).frames["full_pose"]
    batch = np.full((3, 5, 72), -1, np.float32)
    assert array.read_range(10, 15, out=batch[0]).base is batch
    array.take(np.array([70, 2, 2, 5, 9]), out=batch[1])
    np.testing.assert_array_equal(batch[0], array[10:15])
    np.testing.assert_array_equal(batch[1], array[[70, 2, 2, 5, 9]])
    assert (batch[2] == -1).all()
    with pytest.raises(ShapeError, match=r"expected \(4, 72\)"):
        array.read_range(0, 4, out=batch[2])
    with pytest.raises(ShapeError, match="float64"):
        array.take(np.arange(5), out=np.empty((5, 72)))


def test_few_chunk_files_stay_open(path: Path) -> None:
    array = open_store(path).frames["full_pose"]
    assert isinstance(array, MappedArray)
    array._maps._limit = 2
    whole = array[:]
    np.testing.assert_array_equal(array[::-1], whole[::-1])
    assert len(array._maps._open) == 2


@pytest.mark.parametrize("index", [72, -73, np.array([0, 99]), np.ones(5, bool), np.array([0.5])])
def test_a_bad_index_is_an_error(index: object, path: Path) -> None:
    with pytest.raises(IndexError):
        open_store(path).frames["betas"][index]


def test_tracks_follow_their_frames_over_gaps(path: Path) -> None:
    store = open_store(path)
    tracks = list(store.tracks())
    assert [(t.track, t.split, len(t.rows), len(t.clips)) for t in tracks] == [
        ("a_00_0", "train", 40, 1),
        ("b_00_0", "test", 7, 2),
        ("b_00_1", "test", 25, 1),
    ]
    assert store.frames["frame_id"][tracks[1].rows].tolist() == [0, 1, 2, 6, 7, 8, 9]
    assert [t.track for t in store.tracks("test")] == ["b_00_0", "b_00_1"]
    with pytest.raises(UnknownName, match=r"Did you mean 'test'"):
        list(store.tracks("tset"))


def test_a_url_is_read_through_zarr_python(path: Path, three_tracks: list[Track]) -> None:
    store = open_store(path.as_uri())
    want = np.concatenate([t.fields["betas"] for t in three_tracks]).astype(np.float32)
    assert isinstance(store.frames["betas"], ZarrArray)
    np.testing.assert_array_equal(store.frames["betas"][[3, 71, 5]], want[[3, 71, 5]])
    assert [track.track for track in store.tracks("test")] == ["b_00_0", "b_00_1"]
    assert (list(store.views), list(store.features)) == (["tcmr"], [])
    assert pickle.loads(pickle.dumps(store)).location == path.as_uri()
    with pytest.raises(MissingStore, match="no clip store at file:"):
        open_store((path.parent / "none.zarr").as_uri())


def test_a_store_can_be_sent_to_another_process(path: Path) -> None:
    store = pickle.loads(pickle.dumps(open_store(path)))
    assert len(store.clips) == 4


@pytest.mark.parametrize("change", [{"format": None}, {"format": "other"}])
def test_another_zarr_group_is_not_a_clip_store(change: dict[str, object], path: Path) -> None:
    edit_root(path, change)
    with pytest.raises(NotAClipStore, match="format"):
        open_store(path)


@pytest.mark.parametrize("version", [2, "1", None])
def test_another_version_is_refused_with_both_numbers(version: object, path: Path) -> None:
    edit_root(path, {"version": version})
    with pytest.raises(StoreVersionError, match=r"version .*reads version 1"):
        open_store(path)


def test_an_incomplete_store_says_so(path: Path) -> None:
    edit_root(path, {"complete": False})
    with pytest.raises(IncompleteStore, match="resume"):
        open_store(path)
    (path / "zarr.json").unlink()
    with pytest.raises(IncompleteStore, match="resume"):
        open_store(path)


def test_places_without_a_store(tmp_path: Path) -> None:
    with pytest.raises(MissingStore, match="prepare"):
        open_store(tmp_path / "none.zarr")
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(NotAClipStore):
        open_store(tmp_path)
    with pytest.raises(NotAClipStore):
        open_store(tmp_path / "file.txt")


def test_broken_metadata_names_the_file(path: Path) -> None:
    (path / "zarr.json").write_text("{")
    with pytest.raises(BrokenFile, match=r"zarr\.json: not valid JSON"):
        open_store(path)


def test_a_truncated_or_lost_chunk_is_an_error_not_zeros(path: Path) -> None:
    chunk = path / "frames" / "full_pose" / "c" / "2" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-4])
    with pytest.raises(BrokenFile, match=r"c/2/0: expected \d+ bytes, found"):
        open_store(path).frames["full_pose"][:]
    shutil.rmtree(chunk.parent)
    with pytest.raises(BrokenFile, match="is missing"):
        open_store(path).frames["full_pose"][:]


def test_names_that_are_not_there_are_suggested(path: Path) -> None:
    store = open_store(path)
    with pytest.raises(UnknownName, match=r"Did you mean 'betas'"):
        store.frames["beta"]
    with pytest.raises(UnknownName, match="tcmr"):
        store.views["tmcr"]
    with pytest.raises(BadData, match="no joint names"):
        store.joint_names("betas")


def test_feature_sets_are_read_only_once_complete(path: Path, rng: np.random.Generator) -> None:
    store = open_store(path)
    rows = np.flatnonzero(store.views["tcmr"].keep)
    attrs = {"extractor": "x", "weights_sha256": "0", "view": "tcmr", "crop_scale": 1.3, "corruption": None}
    writer = FeatureSetWriter.create(path, "x-tcmr", rows=rows, dim=8, attrs=attrs)
    assert list(store.features) == []
    assert store.incomplete_features == ["x-tcmr"]
    with pytest.raises(MissingFeatures, match="incomplete"):
        store.features["x-tcmr"]
    with pytest.raises(MissingFeatures, match="has no feature set 'y'"):
        store.features["y"]
    data = rng.normal(size=(len(rows), 8)).astype(np.float32)
    writer.write(0, data)
    writer.finish()
    for mapped in (True, False):
        features = open_store(path, mapped=mapped).features["x-tcmr"]
        np.testing.assert_array_equal(features.data[:], data)
        np.testing.assert_array_equal(features.row, rows)
        np.testing.assert_array_equal(features.of(rows[[4, 1, 1]]), data[[4, 1, 1]])
        assert (len(features), features.dim, features.attrs["view"]) == (len(rows), 8, "tcmr")
        outside = np.setdiff1d(np.arange(72), rows)
        with pytest.raises(MissingFeatures, match=rf"{len(outside)} of {len(outside)} rows"):
            features.of(outside)


def edit_root(path: Path, change: dict[str, object]) -> None:
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"] |= change
    (path / "zarr.json").write_text(json.dumps(document))
