"""Real files go all the way: raw, store, verification."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from hpsbench.pipeline.prepare import prepare
from hpsbench.pipeline.verify import verify
from hpsbench.store.reader import open_store


@pytest.mark.samples
def test_real_posetrack_files_go_through_unchanged(samples: Path, tmp_path: Path) -> None:
    shutil.copytree(samples / "posetrack18", tmp_path / "raw" / "posetrack")
    store = open_store(prepare("posetrack", tmp_path, accept_licence=True).store)
    assert not store.synthetic
    tracks = {item.track: item.rows for item in store.tracks("val")}
    found = 0
    for path in (tmp_path / "raw" / "posetrack").rglob("*_mpii_test.json"):
        for entry in json.loads(path.read_text()).get("annotations", []):
            rows = tracks[f"{path.stem}_{entry['track_id']}"]
            points = np.array(entry["keypoints"]).reshape(17, 3).astype(np.float32)
            assert (store.frames["keypoints2d"][rows] == points).all(axis=(1, 2)).any()
            found += 1
    assert found == len(store)
    report = verify("posetrack", tmp_path)
    assert {problem.kind for problem in report.problems if problem.severity == "error"} == set()


@pytest.mark.samples
def test_a_real_motion_goes_through_unchanged(samples: Path, tmp_path: Path) -> None:
    folder = tmp_path / "raw" / "amass" / "ACCAD" / "Female1General"
    folder.mkdir(parents=True)
    shutil.copy(samples / "amass_sample.npz", folder / "A1_poses.npz")
    store = open_store(prepare("amass", tmp_path, accept_licence=True).store)
    with np.load(samples / "amass_sample.npz") as held:
        np.testing.assert_array_equal(store.frames["transl"][:], held["trans"][::4].astype(np.float32))
    assert verify("amass", tmp_path).ok
