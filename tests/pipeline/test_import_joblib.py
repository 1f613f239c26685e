"""Db files as VIBE and TCMR leave them, written by `joblib.dump` itself: every value arrives, in the file's order.

Keys, types, absolute paths and defects of each dataset are those of the released converters: frames missing by the
more-than-6 rule, names in the order of a folder's listing, joints that are filled or minus the pelvis, no `frame_id`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pytest

from hpsbench.pipeline.import_ import import_file
from hpsbench.store.checks import verify_store
from hpsbench.store.reader import ClipStore, open_store

HOME = "/is/cluster/somebody/vibe/data"
Db = dict[str, np.ndarray]


def points(rng: np.random.Generator, frames: int, joints: int) -> np.ndarray:
    """(N, J, 3) pixels with confidences 0 or 1."""
    return np.concatenate(
        [rng.uniform(0, 900, (frames, joints, 2)), (rng.random((frames, joints, 1)) > 0.2) * 1.0], axis=2
    )


def boxes(rng: np.random.Generator, frames: int) -> np.ndarray:
    side = rng.uniform(100, 400, (frames, 1))
    return np.concatenate([rng.uniform(100, 900, (frames, 2)), side, side], axis=1)


def features(rng: np.random.Generator, frames: int) -> np.ndarray:
    return rng.normal(size=(frames, 2048)).astype(np.float32)


def threedpw(rng: np.random.Generator) -> Db:
    """Sequences as a folder lists them; frames 3 and 4 of the first person are missing by the more-than-6 rule."""
    frames = {
        "downtown_bus_00_0": [0, 1, 2, 5, 6],
        "downtown_bus_00_1": [2, 3],
        "downtown_arguing_00_0": [0, 1, 2],
    }
    names = [name for name, own in frames.items() for _ in own]
    numbers = [number for own in frames.values() for number in own]
    n = len(names)
    return {
        "vid_name": np.array(names),
        "frame_id": np.array(numbers),
        "joints3D": rng.normal(scale=0.3, size=(n, 14, 3)).astype(np.float32),
        "joints2D": points(rng, n, 14),
        "shape": rng.normal(size=(n, 10)),
        "pose": rng.normal(size=(n, 72)),
        "bbox": boxes(rng, n),
        "img_name": np.array([f"{HOME}/3dpw/imageFiles/{name[:-2]}/image_{i:05d}.jpg" for name, i in zip(names, numbers, strict=True)]),
        "features": features(rng, n),
        "valid": (rng.random(n) > 0.3).astype(np.int64),
    }  # fmt: skip


def mpi_train(rng: np.random.Generator) -> Db:
    """Frame numbers are stems of files; missing joints are minus the pelvis; a dropped frame starts a segment."""
    frames = {"subj1_seq2_vid0_seg0": [1, 2, 3], "subj1_seq2_vid0_seg1": [5, 6]}
    names = [name for name, own in frames.items() for _ in own]
    stems = [f"frame_{number:06d}" for own in frames.values() for number in own]
    n = len(names)
    joints = np.zeros((n, 49, 3))
    joints[:, 25:43] = rng.normal(scale=0.4, size=(n, 18, 3)) + 1
    return {
        "vid_name": np.array(names),
        "frame_id": np.array(stems),
        "joints3D": joints - joints[:, 39:40],
        "joints2D": points(rng, n, 49),
        "bbox": boxes(rng, n),
        "img_name": np.array([f"{HOME}/mpi_inf_3dhp/S1/Seq2/video_0/{stem}.jpg" for stem in stems]),
        "features": features(rng, n),
    }


def h36m(rng: np.random.Generator) -> Db:
    """25 of 50 frames a second, counted from 0; a machine's path in the name; pose and shape are zeros."""
    folder = f"{HOME}/h36m/images/s_09_act_02_subact_01_ca_04"
    n = 4
    joints = np.zeros((n, 49, 3))
    joints[:, 25:] = rng.normal(scale=0.4, size=(n, 24, 3)) + 1
    return {
        "vid_name": np.array([f"{folder}_S9"] * n),
        "frame_id": np.arange(0, 2 * n, 2),
        "joints3D": joints - joints[:, 39:40],
        "joints2D": points(rng, n, 49),
        "shape": np.zeros((n, 10)),
        "pose": np.zeros((n, 72)),
        "bbox": boxes(rng, n),
        "img_name": np.array([f"{folder}/{Path(folder).name}_{2 * i + 1:06d}.jpg" for i in range(n)]),
        "features": features(rng, n),
    }


def penn(rng: np.random.Generator) -> Db:
    names = ["0001"] * 3 + ["0002"] * 2
    numbers = [1, 2, 3, 1, 2]
    return {
        "vid_name": np.array([f"{HOME}/penn_action/labels/{name}.mat" for name in names]),
        "img_name": np.array([f"{HOME}/penn_action/frames/{name}/{i:06d}.jpg" for name, i in zip(names, numbers, strict=True)]),
        "bbox": boxes(rng, 5),
        "joints2D": points(rng, 5, 14),
        "features": features(rng, 5),
    }  # fmt: skip


def posetrack(rng: np.random.Generator) -> Db:
    """The second person is labelled in every fourth frame, and the file does not say so."""
    names = ["000001_bonn_train.json_0"] * 4 + ["000001_bonn_train.json_1"] * 3
    numbers = [10, 11, 12, 13, 0, 4, 8]
    return {
        "vid_name": np.array([f"{HOME}/posetrack/posetrack_data/annotations/train/{name}" for name in names]),
        "img_name": np.array([f"{HOME}/posetrack/images/train/000001_bonn_train/{i:06d}.jpg" for i in numbers]),
        "bbox": boxes(rng, 7),
        "joints2D": points(rng, 7, 49),
        "features": features(rng, 7),
    }  # fmt: skip


class Case(NamedTuple):
    """A file and what its store should say."""

    dataset: str
    make: Callable[[np.random.Generator], Db]
    split: str
    tracks: list[str]
    clips: list[int]
    frame_id: list[int]
    gaps_known: bool
    joints: str = "joints3d"


CASES = {
    "3dpw_test_db.pt": Case(
        "3dpw", threedpw, "test",
        ["downtown_bus_00_0", "downtown_bus_00_0", "downtown_bus_00_1", "downtown_arguing_00_0"],
        [3, 2, 2, 3], [0, 1, 2, 5, 6, 2, 3, 0, 1, 2], True,
    ),
    "mpii3d_train_scale12_db.pt": Case(
        "mpi-inf-3dhp", mpi_train, "train", ["subj1_seq2_vid0_seg0_0", "subj1_seq2_vid0_seg1_0"],
        [3, 2], [1, 2, 3, 5, 6], True,
    ),
    "h36m_test_25fps_tight_db.pt": Case(
        "h36m", h36m, "test", ["s_09_act_02_subact_01_ca_04_S9"], [4], [1, 3, 5, 7], True
    ),
    "pennaction_train_db.pt": Case("pennaction", penn, "train", ["0001_0", "0002_0"], [3, 2], [1, 2, 3, 1, 2], False),
    "posetrack_train_db.pt": Case(
        "posetrack", posetrack, "train", ["000001_bonn_train_0", "000001_bonn_train_1"],
        [4, 3], [10, 11, 12, 13, 0, 4, 8], False,
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=[0, 3, ("gzip", 3), ("xz", 1)], ids=["plain", "zlib", "gzip", "xz"])
def compress(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=CASES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def db(name: str) -> Db:
    return CASES[name].make(np.random.default_rng(11))


@pytest.fixture
def store(name: str, db: Db, compress: Any, tmp_path: Path) -> ClipStore:
    joblib.dump(db, tmp_path / name, compress=compress)
    (tmp_path / "root").mkdir()
    summary = import_file(tmp_path / name, CASES[name].dataset, tmp_path / "root", synthetic=True)
    return open_store(summary.store)


def test_every_value_arrives_in_the_files_order(store: ClipStore, name: str, db: Db) -> None:
    case = CASES[name]
    assert store.attrs["imported"]["kind"] == "vibe-db"
    assert store.clips["track"].tolist() == case.tracks
    assert store.clips["length"].tolist() == case.clips
    assert set(store.clips["split"]) == {case.split}
    rows = np.arange(len(db["vid_name"]))
    np.testing.assert_array_equal(store.frames["keypoints2d"][:], db["joints2D"].astype(np.float32))
    (kept,) = store.features
    np.testing.assert_array_equal(store.features[kept].of(rows), db["features"])
    np.testing.assert_array_equal(
        store.views[str(store.features[kept].attrs["view"])].bbox_cxcywh, db["bbox"].astype(np.float32)
    )
    if case.dataset == "3dpw":
        np.testing.assert_array_equal(store.frames["full_pose"][:], db["pose"].astype(np.float32))
        np.testing.assert_array_equal(store.frames["betas"][:], db["shape"].astype(np.float32))
        np.testing.assert_array_equal(store.frames["valid"][:], db["valid"] != 0)
    else:
        assert not {"full_pose", "betas", "valid"} & set(store.frames)


def test_joints_are_the_files_or_missing(store: ClipStore, name: str, db: Db) -> None:
    if "joints3D" not in db:
        assert "joints3d" not in store.frames
        return
    joints = store.frames[CASES[name].joints][:]
    missing = np.isnan(joints).all(axis=2)
    filled = (
        (db["joints3D"] == db["joints3D"][:, :1]).all(axis=2) if name[0] != "3" else np.zeros_like(missing)
    )
    np.testing.assert_array_equal(missing, filled)
    np.testing.assert_array_equal(joints[~missing], db["joints3D"].astype(np.float32)[~missing])
    assert missing.any() == (name[0] != "3")


def test_frame_numbers_are_the_files_or_said_to_be_unknown(store: ClipStore, name: str) -> None:
    case = CASES[name]
    assert set(store.clips["gaps_known"]) == {case.gaps_known}
    assert store.attrs["imported"]["gaps"].startswith("unknown") != case.gaps_known
    if case.gaps_known:
        assert store.frames["frame_id"][:].tolist() == case.frame_id


def test_the_store_is_sound_and_knows_no_machine(store: ClipStore) -> None:
    assert [problem for problem in verify_store(store.location) if problem.severity == "error"] == []
    for file in store.path.rglob("*"):
        assert not file.is_file() or b"/is/cluster" not in file.read_bytes(), file
