"""The synthetic PoseTrack: real layout, and a store whose values are those of the motion."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsbench.pipeline.prepare import prepare
from hpsbench.pipeline.verify import verify
from hpsbench.store.reader import ClipStore, open_store
from hpsbench.synth import posetrack
from hpsbench.synth.posetrack import JOINTS, TrackTruth, track_truth, video_plans, write_video
from hpsbench.synth.world import mark

KEY = "posetrack"


@pytest.fixture(scope="module")
def truth() -> dict[str, TrackTruth]:
    return {track.key: track for track in track_truth("tiny")}


def load(root: Path, split: str, name: str) -> dict[str, Any]:
    path = root / "raw" / KEY / "posetrack_data" / "annotations" / split / f"{name}.json"
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def expected_kept(track: TrackTruth) -> np.ndarray:
    width, height = (track.bbox_xyxy[:, 2:] - track.bbox_xyxy[:, :2]).T
    keep = track.is_labeled & (width > 0) & (height > 0) & track.keypoints2d[..., :2].any(axis=(1, 2))
    return np.asarray(keep & (keep.sum() >= 8))


def test_the_files_are_those_of_the_release(root: Path) -> None:
    raw = root / "raw" / KEY
    for video in video_plans("tiny"):
        document = load(root, video.split, video.name)
        assert set(document) == {"images", "annotations", "categories"}
        assert [image["id"] for image in document["images"]] == [
            int(f"1{video.name[:6]}{frame:04d}") for frame in range(video.frames)
        ]
        for image in document["images"]:
            assert (raw / image["file_name"]).is_file()
            assert image["frame_id"] == image["id"]
        names = document["categories"][0]["keypoints"]
        assert sorted(names) == sorted(JOINTS)
        assert (tuple(names) == JOINTS) == (video.index != 1)
        for annotation in document["annotations"]:
            points = np.array(annotation["keypoints"]).reshape(17, 3)
            assert annotation["id"] == annotation["image_id"] * 100 + annotation["track_id"]
            assert not points[[names.index("left_ear"), names.index("right_ear")]].any()
            assert {type(value) for value in annotation["bbox"]} <= {int, float}
    mixed = {type(value) for value in document["annotations"][0]["keypoints"]}
    assert mixed == {int, float}
    assert "annotations" not in load(root, "test", "000001_mpiinew_test")


def test_the_store_holds_the_truth(store: ClipStore, truth: dict[str, TrackTruth]) -> None:
    assert tuple(store.joint_names("keypoints2d")) == JOINTS
    seen = set()
    for item in store.tracks():
        known, rows = truth[item.track], item.rows
        seen.add(item.track)
        assert item.split == known.split
        np.testing.assert_array_equal(store.frames["frame_id"][rows], known.frame_id)
        np.testing.assert_allclose(store.frames["keypoints2d"][rows], known.keypoints2d, atol=1e-4)
        np.testing.assert_allclose(store.frames["bbox_xyxy"][rows], known.bbox_xyxy, atol=1e-2)
        np.testing.assert_array_equal(store.frames["is_labeled"][rows], known.is_labeled)
    assert seen == set(truth)


def test_the_defects_are_where_they_should_be(truth: dict[str, TrackTruth]) -> None:
    first = truth["000001_bonn_train_0"]
    assert first.bbox_xyxy[posetrack.NO_WIDTH, 2] == first.bbox_xyxy[posetrack.NO_WIDTH, 0]
    assert not first.keypoints2d[posetrack.NO_JOINTS].any()
    assert first.keypoints2d[posetrack.NEGATIVE].min() < 0
    assert (~first.is_labeled).sum() == 1
    assert [len(truth[f"00000{n}_bonn_train_1"].frame_id) for n in (1, 2)] == [8, 7]
    steps = [set(np.diff(track.frame_id)) for track in truth.values() if track.split == "val"]
    assert any({1, 4} <= found for found in steps)


def test_views_keep_what_the_plan_leaves(store: ClipStore, truth: dict[str, TrackTruth]) -> None:
    kept = {}
    for item in store.tracks():
        keep = store.views["tcmr"].keep[item.rows]
        np.testing.assert_array_equal(keep, expected_kept(truth[item.track]), err_msg=item.track)
        kept[item.track] = int(keep.sum())
    assert (kept["000001_bonn_train_1"], kept["000002_bonn_train_1"]) == (8, 0)


def test_verify_has_no_errors(root: Path) -> None:
    report = verify(KEY, root)
    assert report.ok, report.problems


def test_a_lost_video_comes_back_the_same(root: Path, tmp_path: Path) -> None:
    video = video_plans("tiny")[1]
    write_video(tmp_path, video, size="tiny", seed=0)
    paths = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(paths) == video.frames + 1
    for path in paths:
        assert path.read_bytes() == (root / "raw" / KEY / path.relative_to(tmp_path)).read_bytes(), path
    one, other = (posetrack.make_video(video, "tiny", seed).motions[0] for seed in (0, 1))
    assert np.abs(one.full_pose - other.full_pose).max() > 0.01


@pytest.mark.parametrize(("size", "counts"), [("tiny", (2, 2)), ("small", (12, 4)), ("full", (24, 12))])
def test_sizes_are_as_promised(size: str, counts: tuple[int, int]) -> None:
    plans = video_plans(size)
    assert tuple(sum(video.split == split for video in plans) for split in ("train", "val")) == counts
    low, high = {"tiny": (24, 40), "small": (120, 120), "full": (300, 900)}[size]
    assert all(low <= video.frames <= high for video in plans)
    assert len({video.name for video in plans}) == len({video.number for video in plans}) == len(plans)


def test_the_release_of_21_gives_the_same_store(store: ClipStore, tmp_path: Path) -> None:
    raw = tmp_path / "raw" / KEY
    mark(raw, KEY, "tiny", 0, layout="21")
    for video in video_plans("tiny")[:1]:
        write_video(raw, video, size="tiny", seed=0, layout="21")
    document = json.loads((raw / "posetrack_data" / "train" / "000001_bonn_train.json").read_text())
    assert {"image_id", "has_labeled_person"} <= set(document["images"][0])
    assert "person_id" in document["annotations"][0]
    prepare(KEY, tmp_path)
    of_21 = open_store(tmp_path / "stores" / f"{KEY}.zarr")
    rows = {item.track: item.rows for item in store.tracks()}
    assert {item.track for item in of_21.tracks()} == {"000001_bonn_train_0", "000001_bonn_train_1"}
    for item in of_21.tracks():
        for name in ("frame_id", "keypoints2d", "bbox_xyxy", "is_labeled"):
            np.testing.assert_array_equal(of_21.frames[name][item.rows], store.frames[name][rows[item.track]])


def test_the_files_of_2017_give_the_truth_without_boxes(tmp_path: Path) -> None:
    raw = tmp_path / "raw" / KEY
    mark(raw, KEY, "tiny", 0, layout="2017")
    for video in video_plans("tiny")[::3]:  # one of each split
        write_video(raw, video, size="tiny", seed=0, layout="2017")
    path = raw / "posetrack_data/annotations/train/000001_mpii_relpath_5sec_trainsub.json"
    [first, *_] = json.loads(path.read_text())["annolist"]
    assert first["image"] == [{"name": "images/bonn_5sec/000001_mpii/00000001.jpg"}]
    assert (raw / first["image"][0]["name"]).is_file()
    prepare(KEY, tmp_path)
    report = verify(KEY, tmp_path)
    assert report.ok, report.problems
    assert "image-missing" not in {problem.kind for problem in report.problems}
    of_17 = open_store(tmp_path / "stores" / f"{KEY}.zarr")
    truth = {track.key: track for track in track_truth("tiny", layout="2017")}
    found = {item.track: item.rows for item in of_17.tracks()}
    assert set(found) == {
        f"{name}_{person}"
        for name in ("000001_mpii_relpath_5sec_trainsub", "010003_mpii_relpath_5sec_valsub")
        for person in (0, 1)
    }
    for track, rows in found.items():
        known = truth[track]
        np.testing.assert_array_equal(of_17.frames["frame_id"][rows], known.frame_id)
        np.testing.assert_allclose(of_17.frames["keypoints2d"][rows], known.keypoints2d, atol=1e-4)
        np.testing.assert_allclose(of_17.frames["bbox_xyxy"][rows], known.bbox_xyxy, atol=2e-2)
        np.testing.assert_array_equal(of_17.frames["is_labeled"][rows], known.is_labeled)
    first_of_all = truth["000001_mpii_relpath_5sec_trainsub_0"]
    assert np.isnan(first_of_all.bbox_xyxy[posetrack.NO_JOINTS]).all()
    assert first_of_all.frame_id[0] == track_truth("tiny")[0].frame_id[0] + 1
