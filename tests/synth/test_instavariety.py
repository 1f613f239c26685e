"""The synthetic InstaVariety: real layouts, and a store whose values are those of the motion."""

import hashlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpsbench.features.frames import Frames
from hpsbench.pipeline.prepare import prepare
from hpsbench.pipeline.verify import verify
from hpsbench.safe_io.tfrecord import read_examples
from hpsbench.store.reader import ClipStore, open_store
from hpsbench.synth import instavariety
from hpsbench.synth.instavariety import TrackTruth, shard_plans, track_plans, track_truth, write_shard
from hpsbench.synth.tfrecords import example, record
from hpsbench.synth.world import synthesize_raw

KEY = "instavariety"


@pytest.fixture(scope="module")
def truth() -> dict[str, TrackTruth]:
    return {track.key: track for track in track_truth("tiny")}


def shard_path(root: Path, split: str, name: str) -> Path:
    return root / "raw" / KEY / "insta_variety" / split / f"{name}.tfrecord"


def test_a_record_has_the_published_bytes() -> None:
    known = "090000000000000037f97139" + b"123456789".hex() + "e5b08ac7"
    assert record(b"123456789").hex() == known


def test_an_example_has_protobufs_bytes() -> None:
    assert example({"n": np.array([1, -1])}).hex() == (
        "0a16" + "0a14" + "0a016e" + "120f" + "1a0d" + "0a0b" + "01" + "ff" * 9 + "01"
    )
    assert example({"n": np.array([300])}, single=("n",)).hex() == "0a0c0a0a0a016e12051a0308ac02"


def test_the_files_are_those_of_the_authors(root: Path) -> None:
    names = {path.name for path in (root / "raw" / KEY / "insta_variety" / "train").iterdir()}
    assert names == {f"insta_variety_{n}_copy00_hmr_noS5.ckpt-642561.tfrecord" for n in (99, 100)}
    for plan in shard_plans("tiny"):
        examples = list(read_examples(shard_path(root, plan.split, plan.name)))
        assert [int(held["meta/N"][0]) for held in examples] == [track.frames for track in plan.tracks]
        for held, track in zip(examples, plan.tracks, strict=True):
            assert len(held["image/encoded"]) == track.frames
            assert len(held["image/filenames"]) > track.frames
            assert len(held["image/xys"]) == 28 * track.frames
            assert ("image/phis" in held, "meta/time_pts" in held) == (
                track.split == "train",
                track.split == "test",
            )
            assert ("image/toe_pts" in held) == track.toes
            assert np.asarray(held["image/crop_pts"]).min() < 0
    assert [track.toes for track in track_plans("tiny")] == [True, True, False, True, True]


def test_the_store_holds_the_truth(store: ClipStore, truth: dict[str, TrackTruth]) -> None:
    seen = set()
    for item in store.tracks():
        known = truth[item.track]
        seen.add(item.track)
        assert item.split == known.split
        np.testing.assert_array_equal(store.frames["frame_id"][item.rows], np.arange(len(known.keypoints2d)))
        points = store.frames["keypoints2d"][item.rows]
        np.testing.assert_allclose(points, known.keypoints2d, atol=1e-3)
        np.testing.assert_array_equal(points[..., 2], known.keypoints2d[..., 2])
        width = store.clips.loc[store.clips.track == item.track, "width"].iloc[0]
        assert known.size is None or width == known.size[0]
    assert seen == set(truth)


def test_people_are_seen_in_their_crops(truth: dict[str, TrackTruth]) -> None:
    for track in truth.values():
        seen = track.keypoints2d[track.keypoints2d[..., 2] > 0]
        inside = ((seen[:, :2] >= 0) & (seen[:, :2] < 224)).all(axis=1)
        assert inside.mean() > 0.95
        assert not track.keypoints2d[:, 13, 2].any()


def test_the_collection_holds_the_same_training_tracks(
    store: ClipStore, truth: dict[str, TrackTruth], tmp_path: Path
) -> None:
    written = synthesize_raw(KEY, tmp_path, layout="collection")
    with h5py.File(tmp_path / "raw" / KEY / "insta_train_db.h5") as file:
        shapes = {key: (values.shape[1:], values.dtype.kind) for key, values in file.items()}
        first, rows_there = file["vid_name"][0], len(file["frame_id"])
    assert written["splits"] == {"train": {"sequences": 3, "frames": rows_there}}
    assert shapes == {
        "features": ((2048,), "f"), "frame_id": ((), "i"), "joints2D": ((25, 3), "f"), "vid_name": ((), "S"),
    }  # fmt: skip
    assert first.startswith(b"/")
    assert b"_100_" in first
    prepare(KEY, tmp_path)
    assert verify(KEY, tmp_path).ok
    collected = open_store(tmp_path / "stores" / f"{KEY}.zarr")
    rows = {item.track: item.rows for item in store.tracks("train")}
    assert {item.track for item in collected.tracks()} == set(rows)
    for item in collected.tracks():
        np.testing.assert_allclose(
            collected.frames["keypoints2d"][item.rows], truth[item.track].keypoints2d, atol=1e-3
        )


def test_images_come_out_of_the_shards_by_record_and_frame(root: Path, store: ClipStore) -> None:
    frames = Frames(store, root / "raw" / KEY, "tcmr")
    for item in store.tracks("test"):
        last = frames.image(int(item.rows[-1]))
        assert last.shape == (instavariety.SMALL_CROP, 224, 3)
        first = frames.image(int(item.rows[0]))
        assert first.shape == (224, 224, 3)
        assert first.std() > 5


def test_verify_has_no_errors(root: Path) -> None:
    report = verify(KEY, root)
    assert report.ok, report.problems


def test_a_lost_shard_comes_back_the_same(root: Path, tmp_path: Path) -> None:
    plan = shard_plans("tiny")[-1]
    write_shard(tmp_path, plan, size="tiny", seed=0)
    [path] = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert path.read_bytes() == shard_path(root, plan.split, plan.name).read_bytes()
    write_shard(tmp_path, plan, size="tiny", seed=1)
    assert (
        hashlib.sha256(path.read_bytes()).digest()
        != hashlib.sha256(shard_path(root, plan.split, plan.name).read_bytes()).digest()
    )


@pytest.mark.parametrize(("size", "counts"), [("tiny", (3, 2)), ("small", (12, 8)), ("full", (24, 24))])
def test_sizes_are_as_promised(size: str, counts: tuple[int, int]) -> None:
    plans = track_plans(size)
    assert tuple(sum(track.split == split for track in plans) for split in ("train", "test")) == counts
    low, high = {"tiny": (24, 40), "small": (120, 120), "full": (300, 900)}[size]
    assert all(low <= track.frames <= high for track in plans)
    assert len({track.key for track in plans}) == len(plans)
    assert instavariety.plan(size) == [(track.split, track.frames) for track in plans]
