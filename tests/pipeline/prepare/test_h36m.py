"""Human3.6M from raw files to the store and its verification, layout by layout."""

import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsbench.errors import ResumeMismatch
from hpsbench.evaluation.rows import select_rows
from hpsbench.evaluation.targets import Targets
from hpsbench.pipeline.prepare import prepare
from hpsbench.pipeline.verify import verify
from hpsbench.protocols.catalog import get_protocol
from hpsbench.store.reader import open_store

RAW: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "recipes" / "raw_h36m.py"))


def write_fetch(raw: Path) -> None:
    RAW["write_fetch"](raw, 1, "Directions-1", {0: list(range(1, 30)), 3: [1, 6, 11, 12]})
    RAW["write_fetch"](raw, 9, "Waiting-1", {camera: [1, 6, 11] for camera in range(4)})


WRITERS = {"official": RAW["write_official"], "moon": RAW["write_moon"], "h36m-fetch": write_fetch}


@pytest.fixture(params=sorted(WRITERS))
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root(layout: str, tmp_path: Path, raw_files: dict[str, Any]) -> Path:
    raw = tmp_path / "root" / "raw" / "h36m"
    raw.mkdir(parents=True)
    WRITERS[layout](raw)
    raw_files["mark_synthetic"](raw, "h36m")
    return tmp_path / "root"


def test_every_layout_becomes_a_sound_store(layout: str, root: Path) -> None:
    summary = prepare("h36m", root)
    assert summary.complete
    assert not summary.skipped
    report = verify("h36m", root)
    errors = [problem for problem in report.problems if problem.severity == "error"]
    assert errors == []
    assert {problem.kind for problem in report.problems} <= {"image-missing", "image-size"}
    store = open_store(root / "stores" / "h36m.zarr")
    assert set(store.clips["layout"]) == {layout}
    joints = "h36m17_official" if layout == "moon" else "h36m32_raw"
    for field in ("joints3d", "keypoints2d"):
        assert store.frames[field].attrs["joint_set"] == joints
        assert store.joint_names(field)[1] == ("R_Hip" if layout == "moon" else "RightUpLeg")
    assert set(store.clips["split"]) == {"train", "test"}
    assert store.frames["has_smpl"][:].any() == (layout == "moon")
    if layout == "moon":
        has = np.asarray(store.frames["has_smpl"][:])
        assert np.isfinite(store.frames["full_pose"][:]).all(axis=1).tolist() == has.tolist()
        assert set(store.clips["smpl_source"].dropna()) == {"smplify-x", "neuralannot"}


def test_workers_do_not_show_in_the_bytes(
    layout: str, root: Path, tmp_path: Path, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    prepare("h36m", root)
    other = tmp_path / "other"
    other.mkdir()
    shutil.copytree(root / "raw", other / "raw")
    prepare("h36m", other, workers=4)
    assert tree(root / "stores") == tree(other / "stores")


def test_missing_frames_in_real_data_are_counted_by_recording(tmp_path: Path) -> None:
    raw = tmp_path / "raw" / "h36m"
    RAW["write_metadata"](raw / "metadata.xml")
    RAW["write_recording"](raw, 9, 2, 2, 3, 24)
    RAW["write_recording"](raw, 1, 2, 2, 3, 24)
    prepare("h36m", tmp_path, accept_licence=True)
    report = verify("h36m", tmp_path)
    (lengths,) = [problem for problem in report.problems if problem.where == "recording"]
    assert lengths.severity == "error"
    assert "S9 Directions has 24 instead of 2699 (S9_Directions.60457274_0)" in lengths.text
    assert {(count["view"], count["found"]) for count in report.counts} == {(None, 24), ("p1", 5), ("p2", 5)}


def test_another_calibration_is_another_dataset(tmp_path: Path, raw_files: dict[str, Any]) -> None:
    raw = tmp_path / "raw" / "h36m"
    RAW["write_metadata"](raw / "metadata.xml")
    RAW["write_recording"](raw, 9, 2, 2, 3, 12)
    RAW["write_recording"](raw, 1, 2, 2, 3, 12)
    raw_files["mark_synthetic"](raw, "h36m")
    prepare("h36m", tmp_path)
    text = (raw / "metadata.xml").read_text()
    (raw / "metadata.xml").write_text(text.replace("1145.0 1143.0", "1245.0 1143.0"))
    origin, missing = sorted(verify("h36m", tmp_path).problems, key=lambda problem: problem.severity)
    assert (origin.kind, "raw files" in origin.text) == ("origin", True)
    assert missing.text.startswith("2 videos are missing, the first is S1/Videos/")
    with pytest.raises(ResumeMismatch, match="raw files"):
        prepare("h36m", tmp_path)


def test_protocols_score_the_rows_rate_and_joints_that_they_name(
    tmp_path: Path, raw_files: dict[str, Any]
) -> None:
    """From official files of 32 joints to 14 scored ones, in the order and about the root of each protocol."""
    raw = tmp_path / "raw" / "h36m"
    RAW["write_official"](raw)
    raw_files["mark_synthetic"](raw, "h36m")
    prepare("h36m", tmp_path)
    store = open_store(tmp_path / "stores" / "h36m.zarr")
    limbs = [3, 2, 1, 6, 7, 8, 27, 26, 25, 17, 18, 19, 13, 15]
    for name, setting, fps, roots in (
        ("tcmr", "h36m", 25.0, [1, 6]),
        ("mpsnet", "h36m-front", 25.0, [1, 6]),
        ("vibe", "h36m", 25.0, [1, 6]),
        ("spin", "h36m-p1", 10.0, [0]),
        ("hmmr", "h36m", 25.0, [1, 6]),
    ):
        rule = get_protocol(name).rule(setting)
        chosen = select_rows(store, rule)
        assert chosen.fps == fps
        if name == "mpsnet":
            assert {store.clips["camera"][store.clips["track"] == t].iloc[0] for t in chosen.track} == {
                "60457274"
            }
        mine = np.flatnonzero(chosen.track == "S9_Directions.60457274_0")
        frames = chosen.frame_id[mine]
        if name != "spin":
            assert frames.tolist() == list(range(1, 23, 2))
        joints, root = Targets(store, rule, chosen, None).joints(mine)
        truth = RAW["to_camera"](RAW["world"](9, 2, 2, 24), 9, 3)[frames - 1] / 1000
        np.testing.assert_allclose(joints, truth[:, limbs], atol=1e-5)
        assert root is not None
        np.testing.assert_allclose(root, truth[:, roots].mean(axis=1), atol=1e-5)
