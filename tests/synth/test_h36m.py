"""The synthetic Human3.6M: real layouts, and stores whose values are those of the motion."""

import functools
from collections.abc import Callable
from pathlib import Path

import cdflib
import numpy as np
import pytest

from hpsbench.features.frames import Frames
from hpsbench.pipeline.prepare import prepare
from hpsbench.pipeline.verify import verify
from hpsbench.store.reader import ClipStore, open_store
from hpsbench.synth import h36m
from hpsbench.synth.h36m import LAYOUTS, TrackTruth, track_truth, trial_plans
from hpsbench.synth.h36m_content import make_trial, picture
from hpsbench.synth.h36m_official import mask_boxes, write_official
from hpsbench.synth.world import synthesize_raw

KEY = "h36m"
STORED = {"official": "official", "moon": "moon", "fetch": "h36m-fetch"}


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def root_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Data root of a layout, made once. Asked for by name, since tests with one layout and tests with all of them share it
    in any order."""

    @functools.cache
    def make(layout: str) -> Path:
        folder = tmp_path_factory.mktemp(layout)
        synthesize_raw(KEY, folder, layout=layout)
        prepare(KEY, folder)
        return folder

    return make


@pytest.fixture
def root(layout: str, root_of: Callable[[str], Path]) -> Path:
    return root_of(layout)


@pytest.fixture
def store(root: Path) -> ClipStore:
    return open_store(root / "stores" / f"{KEY}.zarr")


@pytest.fixture
def truth(layout: str) -> dict[str, TrackTruth]:
    return {track.key: track for track in track_truth("tiny", layout=layout)}


def test_the_store_holds_the_truth(layout: str, store: ClipStore, truth: dict[str, TrackTruth]) -> None:
    seen = set()
    assert set(store.clips["layout"]) == {STORED[layout]}
    for item in store.tracks():
        known, rows = truth[item.track], item.rows
        seen.add(item.track)
        assert item.split == known.split
        np.testing.assert_array_equal(store.frames["frame_id"][rows], known.frame_id)
        np.testing.assert_allclose(store.frames["joints3d"][rows], known.joints3d, atol=1e-5)
        np.testing.assert_allclose(store.frames["keypoints2d"][rows][..., :2], known.keypoints2d, atol=1e-2)
        np.testing.assert_array_equal(store.frames["has_image"][rows], known.has_image)
        np.testing.assert_array_equal(store.frames["has_smpl"][rows], known.has_smpl)
        if layout != "moon":
            np.testing.assert_allclose(store.frames["joints3d_univ"][rows], known.joints3d_univ, atol=1e-5)
    assert seen == set(truth)


def test_fits_are_those_of_the_motion(layout: str, store: ClipStore, truth: dict[str, TrackTruth]) -> None:
    if layout == "fetch":
        assert not any(track.has_smpl.any() for track in truth.values())
        assert "full_pose" not in store.frames
        return
    fitted = 0
    for item in store.tracks():
        known, has = truth[item.track], truth[item.track].has_smpl
        found = store.frames["full_pose"][item.rows]
        assert np.isnan(found[~has]).all()
        fitted += int(has.sum())
        np.testing.assert_allclose(_rotmat(found[has]), _rotmat(known.full_pose[has]), atol=1e-5)
        betas = store.frames["betas"][item.rows][has]
        np.testing.assert_allclose(betas, np.broadcast_to(known.betas, betas.shape), atol=1e-6)
    sources = set(store.clips["smpl_source"].dropna())
    assert fitted > 0
    assert sources == {"official": {"mosh"}, "moon": {"smplify-x", "neuralannot"}}[layout]


def _rotmat(poses: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(poses.reshape(-1, 3)).as_matrix()


def test_verify_has_no_errors(layout: str, root: Path) -> None:
    report = verify(KEY, root)
    assert report.ok, report.problems
    assert {p.kind for p in report.problems} == (set() if layout == "fetch" else {"image-missing"})


@pytest.mark.parametrize("layout", ["official"])
def test_official_files_are_those_of_the_site(root: Path, store: ClipStore) -> None:
    raw = root / "raw" / KEY
    with cdflib.CDF(raw / "S9/MyPoseFeatures/D2_Positions/Directions.60457274.cdf") as file:
        assert file.varget("Pose").shape == (1, 36, 64)
    assert (raw / "S9/Videos/Directions.60457274.mp4").is_file()
    assert not list((raw / "S11").rglob("*54138969*.jpg"))
    assert (raw / "S1/MyPoseFeatures/D3_Positions_mono/_ALL.54138969.cdf").is_file()
    plan = next(trial for trial in trial_plans("tiny") if trial.subject == 9)
    known = mask_boxes(plan, h36m.FRONT, "tiny", 0)
    assert known is not None
    rows = next(item.rows for item in store.tracks() if item.track == "S9_Directions.60457274_0")
    boxes = store.frames["bbox_xyxy"][rows]
    read = np.arange(len(rows)) % 5 == 0
    np.testing.assert_array_equal(boxes[read], known[read])
    assert np.isnan(boxes[~read]).all()
    assert np.isnan(known[10]).all()


@pytest.mark.parametrize("layout", ["official"])
def test_a_lost_trial_comes_back_the_same(root: Path, tmp_path: Path) -> None:
    trial = trial_plans("tiny")[2]
    write_official(tmp_path, trial, size="tiny", seed=0)
    paths = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in paths} == {".cdf", ".jpg", ".mat", ".mp4"}
    for path in paths:
        assert path.read_bytes() == (root / "raw" / KEY / path.relative_to(tmp_path)).read_bytes(), path


@pytest.mark.parametrize(("size", "counts"), [("tiny", (2, 2)), ("small", (12, 8)), ("full", (24, 24))])
def test_sizes_are_as_promised(size: str, counts: tuple[int, int]) -> None:
    plans = trial_plans(size)
    assert tuple(sum(trial.split == split for trial in plans) for split in ("train", "test")) == counts
    low, high = {"tiny": (24, 40), "small": (120, 120), "full": (300, 900)}[size]
    assert all(low <= trial.frames <= high for trial in plans)
    assert len({(trial.subject, trial.action, trial.subaction) for trial in plans}) == len(plans)
    assert len({trial.name for trial in plans}) == len(plans)


@pytest.mark.parametrize("layout", ["official"])
def test_images_come_out_of_the_video_by_their_number(root: Path, store: ClipStore) -> None:
    plan = next(trial for trial in trial_plans("tiny") if trial.subject == 9)
    made = make_trial(plan, "tiny", 0)
    rows = next(item.rows for item in store.tracks() if item.track == "S9_Directions.60457274_0")
    frames = Frames(store, root / "raw" / KEY, "tcmr")
    other = picture(made, h36m.FRONT, 0).astype(float)
    for row in (0, 9, 20, 4):
        drawn = picture(made, h36m.FRONT, row).astype(float)
        found = frames.image(int(rows[row])).astype(float)
        assert np.abs(found - drawn).mean() < 3
        person = (np.abs(drawn - other) > 40).any(axis=2) if row else np.zeros(drawn.shape[:2], bool)
        if person.any():  # where the person has moved, it is this frame's picture and not the first one's
            assert np.abs(found - drawn)[person].mean() < np.abs(found - other)[person].mean()
