"""The synthetic MPI-INF-3DHP: real layouts, and a store whose values are those of the motion."""

import itertools
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import simplejpeg

from hpsbench.features.frames import Frames
from hpsbench.pipeline.prepare import prepare
from hpsbench.pipeline.verify import verify
from hpsbench.store.reader import ClipStore, open_store
from hpsbench.synth import mpi_inf_3dhp
from hpsbench.synth.mpi_inf_3dhp import sequence_plans, write_sequence
from hpsbench.synth.mpi_inf_3dhp_content import POINTS, TEST_ROWS, TrackTruth, make_sequence, track_truth
from hpsbench.synth.world import mark

KEY = "mpi-inf-3dhp"


@pytest.fixture(scope="module")
def truth() -> dict[str, TrackTruth]:
    return {track.key: track for track in track_truth("tiny")}


def test_the_files_are_those_of_the_download(root: Path) -> None:
    raw = root / "raw" / KEY
    cells = scipy.io.loadmat(raw / "S1/Seq1/annot.mat")
    assert [cells[key].shape for key in ("annot2", "annot3", "univ_annot3")] == [(14, 1)] * 3
    assert (cells["annot2"][13, 0].shape, cells["annot3"][0, 0].shape) == ((26, 56), (26, 84))
    lines = (raw / "S1/Seq1/camera.calibration").read_bytes().split(b"\n")
    assert len(lines) == 1 + 14 * 7 + 1
    assert all(lines[7 * n + 5].endswith(b" ") and lines[7 * n + 6].endswith(b" ") for n in range(14))
    assert b"\r\n" in (raw / "S1/Seq2/camera.calibration").read_bytes()
    test = raw / "mpi_inf_3dhp_test_set/TS1/annot_data.mat"
    assert test.read_bytes()[124:128] == b"\x00\x02IM"
    with pytest.raises(NotImplementedError):
        scipy.io.loadmat(test)
    with h5py.File(test) as file:
        assert file["annot2"].shape == (28, 1, 17, 2)
        assert file["bb_crop"].shape == (28, 34)
    for name, size in {"TS1": (2048, 2048), "TS5": (1080, 1920)}.items():
        image = raw / f"mpi_inf_3dhp_test_set/{name}/imageSequence/img_000001.jpg"
        assert simplejpeg.decode_jpeg_header(image.read_bytes())[:2] == size


def test_the_store_holds_the_truth(store: ClipStore, truth: dict[str, TrackTruth]) -> None:
    names = list(store.joint_names("joints3d"))
    assert len(names) == len(POINTS)
    seen = set()
    for item in store.tracks():
        known, rows = truth[item.track], item.rows
        joints = slice(None) if known.split == "train" else list(TEST_ROWS)
        seen.add(item.track)
        assert item.split == known.split
        np.testing.assert_array_equal(store.frames["frame_id"][rows], np.arange(1, len(known.valid) + 1))
        for field in ("joints3d", "joints3d_univ"):
            found = store.frames[field][rows][:, joints]
            np.testing.assert_allclose(found, getattr(known, field), atol=1e-5)
        points = store.frames["keypoints2d"][rows]
        np.testing.assert_allclose(points[:, joints, :2], known.keypoints2d, atol=1e-3)
        assert (points[..., 2].sum(axis=1) == known.keypoints2d.shape[1]).all()
        np.testing.assert_array_equal(store.frames["valid"][rows], known.valid)
        np.testing.assert_array_equal(store.frames["has_image"][rows], known.has_image)
    assert seen == set(truth)


def test_joints_are_where_their_names_say(truth: dict[str, TrackTruth], store: ClipStore) -> None:
    names = list(store.joint_names("joints3d"))
    track = truth["S1_Seq1_video_0_0"]
    y = {name: track.joints3d[:, row, 1] for row, name in enumerate(names)}
    order = ("head_top", "head", "neck", "pelvis", "left_knee", "left_ankle")
    for above, below in itertools.pairwise(order):
        assert (y[above] < y[below] + 0.05).all(), (above, below)
    test = truth["TS1_0"]
    assert test.joints3d.shape[1] == 17
    across = test.joints3d[:, 5] - test.joints3d[:, 2]
    hips = test.joints3d[:, 11] - test.joints3d[:, 8]
    assert ((across * hips).sum(axis=1) > 0).all()
    seen = np.linalg.norm(track.joints3d_univ[:, 19] - track.joints3d_univ[:, 20], axis=1)
    assert 0.2 < seen.mean() < 0.6


def test_a_subject_has_one_body_in_both_sequences(truth: dict[str, TrackTruth]) -> None:
    shoulder, elbow = 9, 10
    arms = {
        key: float(np.linalg.norm(track.joints3d[:, elbow] - track.joints3d[:, shoulder], axis=1).mean())
        for key, track in truth.items()
        if track.split == "train"
    }
    assert {key[:7] for key in arms} == {"S1_Seq1", "S1_Seq2"}
    np.testing.assert_allclose(list(arms.values()), arms["S1_Seq1_video_0_0"], rtol=1e-6)


def test_views_keep_what_the_plan_leaves(store: ClipStore, truth: dict[str, TrackTruth]) -> None:
    cameras = {str(camera) for camera in mpi_inf_3dhp.USED_CAMERAS}
    keep = store.views["tcmr"].keep[:]
    left = 0
    for item in store.tracks():
        known = truth[item.track]
        used = known.camera is None or known.camera in cameras
        expected = known.inside & known.has_image & used
        np.testing.assert_array_equal(keep[item.rows], expected)
        left += int(expected.sum())
    assert left == keep.sum() > 0
    outside = {key: np.flatnonzero(~truth[key].inside).tolist() for key in ("TS1_0", "TS5_0")}
    assert outside == {"TS1_0": [5, 9], "TS5_0": [3]}
    assert not truth["TS6_0"].valid.any()


def test_verify_has_no_errors(root: Path) -> None:
    report = verify(KEY, root)
    assert report.ok, report.problems
    assert report.synthetic
    assert {problem.kind for problem in report.problems} <= {"image-missing"}


def test_people_are_drawn_where_the_keypoints_are(root: Path, truth: dict[str, TrackTruth]) -> None:
    plan = sequence_plans("tiny")[0]
    data = (root / "raw" / KEY / plan.image_folder(0) / plan.image_name(4)).read_bytes()
    picture = simplejpeg.decode_jpeg(data).astype(int)
    x, y = np.round(truth["S1_Seq1_video_0_0"].keypoints2d[4, 4]).astype(int)
    clothes = make_sequence(plan, "tiny", 0).person.clothes
    shown = picture[y, x] / np.linalg.norm(picture[y, x])
    colours = [np.array(colour) / np.linalg.norm(colour) for colour in (clothes.bottom, clothes.top)]
    assert max(shown @ colour for colour in colours) > 0.97


def test_a_lost_file_comes_back_the_same(root: Path, tmp_path: Path) -> None:
    plan = next(plan for plan in sequence_plans("tiny") if plan.name == "TS6")
    first = root / "raw" / KEY
    write_sequence(tmp_path, plan, size="tiny", seed=0)
    for path in (tmp_path / plan.folder).rglob("*.*"):
        assert path.read_bytes() == (first / path.relative_to(tmp_path)).read_bytes(), path
    one, other = (make_sequence(sequence_plans("tiny")[0], "tiny", seed).annotations for seed in (0, 1))
    assert np.abs(one["annot2"][0, 0] - other["annot2"][0, 0]).max() > 1


@pytest.mark.parametrize(("size", "counts"), [("tiny", (2, 3)), ("small", (12, 6)), ("full", (16, 6))])
def test_sizes_are_as_promised(size: str, counts: tuple[int, int]) -> None:
    plans = sequence_plans(size)
    assert tuple(sum(plan.split == split for plan in plans) for split in ("train", "test")) == counts
    low, high = {"tiny": (24, 40), "small": (120, 120), "full": (300, 900)}[size]
    assert all(low <= plan.frames <= high for plan in plans)
    assert len({plan.folder for plan in plans}) == len(plans)


@pytest.mark.full
def test_videos_hold_the_same_pictures(root: Path, store: ClipStore, tmp_path: Path) -> None:
    raw = tmp_path / "raw" / KEY
    mark(raw, KEY, "tiny", 0, layout="video")
    write_sequence(raw, sequence_plans("tiny")[1], size="tiny", seed=0, layout="video")
    assert not list(raw.rglob("*.jpg"))
    prepare(KEY, tmp_path)
    report = verify(KEY, tmp_path)
    assert report.ok, report.problems
    videos = open_store(tmp_path / "stores" / f"{KEY}.zarr")
    rows = {item.track: item.rows for item in store.tracks("train")}
    for item in videos.tracks():
        for name in ("frame_id", "joints3d", "keypoints2d", "has_image"):
            np.testing.assert_array_equal(
                videos.frames[name][item.rows], store.frames[name][rows[item.track]]
            )
    first = next(item.rows for item in videos.tracks() if item.track.endswith("video_0_0"))
    ours, theirs = Frames(videos, raw, "tcmr"), Frames(store, root / "raw" / KEY, "tcmr")
    for row in (0, 5, 20):
        extracted = theirs.image(int(rows["S1_Seq2_video_0_0"][row])).astype(float)
        assert np.abs(ours.image(int(first[row])).astype(float) - extracted).mean() < 4
