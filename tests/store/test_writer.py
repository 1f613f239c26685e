"""The store on disk: what is written, that it is the same each time, and that Zarr readers accept it."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr

from hpsbench.errors import BadData, IncompleteStore, ShapeError
from hpsbench.store import layout
from hpsbench.store.reader import open_store
from hpsbench.store.writer import MemoryTrack, begin_store, write_store
from hpsbench.types import Track


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_zarr_python_lists_and_reads_every_node_without_a_warning(
    make_store: Callable[..., Path], three_tracks: list[Track]
) -> None:
    path = make_store(three_tracks)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        group = zarr.open_group(path, mode="r")
        members = dict(group.members(max_depth=None))
    assert group.attrs["format"] == "hpsbench-clip-store"
    assert group.attrs["version"] == 1
    assert {"clips", "frames/betas", "views/tcmr/keep", "views/tcmr/bbox_cxcywh", "features"} <= set(members)
    for name in ("full_pose", "joints3d", "keypoints2d", "betas"):
        array = members[f"frames/{name}"]
        want = np.concatenate([t.fields[name] for t in three_tracks]).astype(np.float32)
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array[:], want)
    assert members["frames/valid"].dtype == bool
    assert members["frames/frame_id"].dtype == np.int64


def test_no_foreign_file_and_no_consolidated_metadata(
    make_store: Callable[..., Path], three_tracks: list[Track]
) -> None:
    path = make_store(three_tracks)
    for file in path.rglob("*"):
        if file.is_file():
            assert file.name == "zarr.json" or "c" in file.relative_to(path).parts[:-1]
    assert "consolidated_metadata" not in json.loads((path / "zarr.json").read_text())
    assert list(path.parent.iterdir()) == [path]


def test_clip_table_opens_in_pandas_as_it_lies(
    make_store: Callable[..., Path], three_tracks: list[Track]
) -> None:
    path = make_store(three_tracks)
    clips = pd.read_parquet(path / "clips" / "c" / "0")
    assert clips["track"].tolist() == ["a_00_0", "b_00_0", "b_00_0", "b_00_1"]
    assert clips["start"].tolist() == [0, 40, 43, 47]
    assert clips["length"].tolist() == [40, 3, 4, 25]
    assert clips["first_frame"].tolist() == [0, 0, 6, 0]
    assert clips["gap_before"].tolist() == [0, 0, 3, 0]
    assert clips["clip_id"].is_unique
    assert clips["width"].isna().tolist() == [False, False, False, True]
    frame_id = zarr.open_array(path / "frames" / "frame_id", mode="r")[:]
    for clip in clips.itertuples():
        want = clip.first_frame + clip.step * np.arange(clip.length)
        np.testing.assert_array_equal(frame_id[clip.start : clip.start + clip.length], want)


def test_same_tracks_give_the_same_bytes_and_other_tracks_others(
    three_tracks: list[Track], tmp_path: Path
) -> None:
    sources = [MemoryTrack.of(track) for track in three_tracks]
    for name, tracks in (("one", sources), ("two", sources), ("other", sources[::-1])):
        write_store(tmp_path / name, tracks, attributes={"dataset": "x", "synthetic": True})
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert tree(tmp_path / "one") != tree(tmp_path / "other")


def test_rows_run_over_chunk_borders(
    monkeypatch: pytest.MonkeyPatch, make_store: Callable[..., Path], three_tracks: list[Track]
) -> None:
    monkeypatch.setattr(layout, "CHUNK_BYTES", 2048)
    path = make_store(three_tracks)
    want = np.concatenate([t.fields["full_pose"] for t in three_tracks]).astype(np.float32)
    array = zarr.open_array(path / "frames" / "full_pose", mode="r")
    assert array.chunks == (4, 72)
    np.testing.assert_array_equal(array[:], want)
    assert (path / "frames" / "full_pose" / "c" / "17" / "0").stat().st_size == 4 * 72 * 4


@pytest.mark.parametrize("survivor", ["begun", "half"])
def test_a_store_without_its_last_rename_is_incomplete_and_can_be_written_again(
    survivor: str, three_tracks: list[Track], tmp_path: Path
) -> None:
    sources = [MemoryTrack.of(track) for track in three_tracks]
    attributes = {"dataset": "3dpw", "synthetic": True}
    write_store(tmp_path / "whole.zarr", sources, attributes=attributes)
    path = tmp_path / "stores" / "3dpw.zarr"
    begin_store(path)
    if survivor == "half":
        (path / "frames" / "betas" / "c" / "0").mkdir(parents=True)
        (path / "frames" / "betas" / "c" / "0" / "0").write_bytes(b"half")
        (path / "frames" / "unknown").mkdir()
        layout.scratch_folder(path).mkdir(exist_ok=True)
        (layout.scratch_folder(path) / "left-over").write_bytes(b"")
    with pytest.raises(IncompleteStore, match="resume"):
        open_store(path)
    begin_store(path)
    write_store(path, sources, attributes=attributes)
    assert tree(path) == tree(tmp_path / "whole.zarr")
    assert not layout.scratch_folder(path).exists()


def test_a_complete_store_is_never_written_over(
    make_store: Callable[..., Path], three_tracks: list[Track]
) -> None:
    path = make_store(three_tracks)
    before = tree(path)
    with pytest.raises(BadData, match="already complete"):
        write_store(path, [], attributes={"dataset": "3dpw", "synthetic": True})
    assert tree(path) == before


def test_something_else_in_the_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BadData, match="not a clip store"):
        begin_store(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_optional_field_is_nan_where_a_track_lacks_it(
    make_track: Callable[..., Track], tmp_path: Path, rng: np.random.Generator
) -> None:
    plain, extra = make_track("a", frames=3), make_track("b", frames=4)
    extra = make_track("b", frames=4, fields={**extra.fields, "jaw_pose": rng.normal(size=(4, 3))})
    sources = [MemoryTrack.of(plain), MemoryTrack.of(extra)]
    attributes = {"dataset": "x", "synthetic": True}
    with pytest.raises(BadData, match=r"track a_0 lacks frames/jaw_pose"):
        write_store(tmp_path / "x", sources, attributes=attributes)
    write_store(tmp_path / "x", sources, attributes=attributes, optional=["frames/jaw_pose"])
    jaw = open_store(tmp_path / "x").frames["jaw_pose"][:]
    assert np.isnan(jaw[:3]).all()
    np.testing.assert_array_equal(jaw[3:], extra.fields["jaw_pose"].astype(np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": [0, 2, 2]}, "must increase"),
        ({"fields": {"betas": np.zeros((12, 16))}}, r"rows of shape \(10\), got \(16,\)"),
        ({"fields": {"betas": np.zeros((11, 10))}}, "11 rows for 12 frames"),
        ({"fields": {"note": np.array(["x"] * 12)}}, "cannot store"),
    ],
)
def test_a_bad_track_is_refused(
    change: dict[str, Any], message: str, make_track: Callable[..., Track]
) -> None:
    with pytest.raises((BadData, ShapeError), match=message):
        MemoryTrack.of(make_track(**change))


def test_two_tracks_of_one_name_are_refused(make_track: Callable[..., Track], tmp_path: Path) -> None:
    with pytest.raises(BadData, match="'a_0' occurs twice"):
        write_store(
            tmp_path / "x",
            [MemoryTrack.of(make_track("a")), MemoryTrack.of(make_track("a"))],
            attributes={"dataset": "x", "synthetic": True},
        )
