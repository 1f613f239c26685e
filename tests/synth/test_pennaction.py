"""The synthetic Penn Action: real layout, and a store whose values are those of the motion."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io
import simplejpeg

from hpsbench.pipeline.verify import verify
from hpsbench.store.reader import ClipStore
from hpsbench.synth import pennaction
from hpsbench.synth.pennaction import POINTS, ClipTruth, clip_plans, clip_truth, write_clip

KEY = "pennaction"


@pytest.fixture(scope="module")
def truth() -> dict[str, ClipTruth]:
    return {clip.key: clip for clip in clip_truth("tiny")}


def test_the_files_are_those_of_the_download(root: Path) -> None:
    raw = root / "raw" / KEY
    for clip in clip_plans("tiny"):
        labels = scipy.io.loadmat(raw / "labels" / f"{clip.name}.mat")
        shapes: dict[str, tuple[int, ...]] = {
            "x": (clip.frames, 13),
            "visibility": (clip.frames, 13),
            "bbox": (clip.boxes, 4),
        }
        shapes |= {"action": (1,), "pose": (1,), "train": (1, 1), "nframes": (1, 1), "dimensions": (1, 3)}
        assert {key: labels[key].shape for key in shapes} == shapes
        assert labels["visibility"].dtype == np.uint8
        assert labels["train"][0, 0] == (1 if clip.split == "train" else -1)
        images = sorted((raw / "frames" / clip.name).iterdir())
        assert [path.name for path in images] == [f"{n:06d}.jpg" for n in range(1, clip.images + 1)]
        height, width, *_ = simplejpeg.decode_jpeg_header(images[0].read_bytes())
        assert labels["dimensions"].ravel().tolist() == [height, width, clip.frames]


def test_the_store_holds_the_truth(store: ClipStore, truth: dict[str, ClipTruth]) -> None:
    seen = set()
    for item in store.tracks():
        known, rows = truth[item.track], item.rows
        seen.add(item.track)
        assert item.split == known.split
        np.testing.assert_array_equal(store.frames["frame_id"][rows], np.arange(1, len(rows) + 1))
        np.testing.assert_allclose(store.frames["keypoints2d"][rows], known.keypoints2d, atol=1e-4)
        np.testing.assert_allclose(store.frames["bbox_xyxy"][rows], known.bbox_xyxy, atol=1e-4)
        np.testing.assert_array_equal(store.frames["has_image"][rows], known.has_image)
        assert set(store.clips.set_index("track").loc[[item.track], "action"]) == {known.action}
    assert seen == set(truth)


def test_joints_stand_in_the_order_of_the_readme(store: ClipStore) -> None:
    names = list(store.joint_names("keypoints2d"))
    for name, point in zip(names, POINTS, strict=True):
        if name != "headtop":
            assert (name[0], name[1:]) == (point[0], point.partition("_")[2])


def test_the_defects_are_where_they_should_be(truth: dict[str, ClipTruth]) -> None:
    points = truth["0001_0"].keypoints2d
    visible = points[..., 2].sum(axis=1)
    assert (visible[pennaction.NO_JOINT], visible[pennaction.ONE_JOINT]) == (0, 1)
    assert (points[pennaction.ZERO_JOINT] == (0, 0, 1)).all(axis=1).sum() == 1
    assert not points[pennaction.NOTHING].any()
    assert points[pennaction.NO_JOINT, :, :2].any()


def test_views_keep_what_the_plan_leaves(store: ClipStore, truth: dict[str, ClipTruth]) -> None:
    for item in store.tracks():
        known = truth[item.track]
        given = (known.keypoints2d[..., :2] != 0).all(axis=2).sum(axis=1)
        visible = known.keypoints2d[..., 2].sum(axis=1)
        for view, count in {"tcmr": given, "vibe": visible}.items():
            kept = store.views[view].keep[item.rows]
            np.testing.assert_array_equal(kept, known.has_image & (count > 1), err_msg=f"{item.track} {view}")


def test_verify_has_no_errors(root: Path) -> None:
    report = verify(KEY, root)
    assert report.ok, report.problems
    assert {problem.kind for problem in report.problems} <= {"image-missing", "non-finite"}


def test_a_lost_clip_comes_back_the_same(root: Path, tmp_path: Path) -> None:
    clip = clip_plans("tiny")[2]
    write_clip(tmp_path, clip, size="tiny", seed=0)
    paths = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(paths) == clip.images + 1
    for path in paths:
        assert path.read_bytes() == (root / "raw" / KEY / path.relative_to(tmp_path)).read_bytes(), path
    one, other = (pennaction.make_clip(clip, "tiny", seed).motions[0] for seed in (0, 1))
    assert np.abs(one.full_pose - other.full_pose).max() > 0.01


@pytest.mark.parametrize(("size", "counts"), [("tiny", (2, 2)), ("small", (12, 8)), ("full", (24, 24))])
def test_sizes_are_as_promised(size: str, counts: tuple[int, int]) -> None:
    plans = clip_plans(size)
    assert tuple(sum(clip.split == split for clip in plans) for split in ("train", "test")) == counts
    low, high = {"tiny": (24, 40), "small": (120, 120), "full": (300, 900)}[size]
    assert all(low <= clip.frames <= high for clip in plans)
    assert pennaction.plan(size) == [(clip.split, clip.frames) for clip in plans]
