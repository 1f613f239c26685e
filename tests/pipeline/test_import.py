"""Processed files become stores that hold exactly what the files do, and say what they cannot tell."""

import gzip
import runpy
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpsbench.errors import (
    AccessStepMissing,
    BadData,
    BrokenFile,
    HpsbenchError,
    MissingData,
    ResumeMismatch,
    ShapeError,
    UnitError,
    UnknownName,
    UnsafeFile,
    UsageError,
)
from hpsbench.pipeline.import_ import ImportSummary, import_file
from hpsbench.pipeline.work import lock
from hpsbench.recipes.catalog import get_recipe
from hpsbench.recipes.imports.facts import processed_facts
from hpsbench.store.checks import verify_store
from hpsbench.store.reader import ClipStore, open_store

JOBLIB_WRITER = runpy.run_path(str(Path(__file__).parents[1] / "safe_io" / "conftest.py"))["JoblibWriter"]
MACHINE = "/data/machine_1/3dpw/"
WriteDb = Callable[..., Path]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def write_db(tmp_path: Path) -> WriteDb:
    def write(db: Any, name: str = "3dpw_test_db.pt", pack: Callable[[bytes], bytes] = bytes) -> Path:
        path = tmp_path / name
        with path.open("wb") as file:
            JOBLIB_WRITER(file, 16, 4).dump(db)
        path.write_bytes(pack(path.read_bytes()))
        return path

    return write


def make_db(rng: np.random.Generator, frames: dict[str, list[int]], joints: int = 14) -> dict[str, Any]:
    """The db of 3DPW's layout: names -> frame numbers, in the order of the rows."""
    names = [name for name, numbers in frames.items() for _ in numbers]
    numbers = [number for own in frames.values() for number in own]
    n = len(names)
    images = [
        f"{MACHINE}imageFiles/{name[:-2]}/image_{number:05d}.jpg"
        for name, number in zip(names, numbers, strict=True)
    ]
    return {
        "vid_name": np.array(names),
        "frame_id": np.array(numbers),
        "img_name": np.array(images),
        "joints2D": np.concatenate([rng.uniform(0, 900, (n, joints, 2)), np.ones((n, joints, 1))], axis=2),
        "joints3D": rng.normal(scale=0.3, size=(n, joints, 3)).astype(np.float32),
        "pose": rng.normal(size=(n, 72)).astype(np.float32),
        "shape": rng.normal(size=(n, 10)).astype(np.float32),
        "bbox": np.concatenate([rng.uniform(100, 900, (n, 2)), np.full((n, 2), 200.0)], axis=1),
        "features": rng.normal(size=(n, 2048)).astype(np.float32),
        "valid": rng.random(n) > 0.3,
    }


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.fixture
def db(rng: np.random.Generator) -> dict[str, Any]:
    """Two people of one sequence and one of another; the first misses frames 3 and 4 (the more-than-6 rule)."""
    return make_db(rng, {"a_00_0": [0, 1, 2, 5, 6], "a_00_1": [2, 3, 4], "b_01_0": [10, 11]})


def bring(file: Path, root: Path, dataset: str = "3dpw", **options: Any) -> tuple[ClipStore, ImportSummary]:
    summary = import_file(file, dataset, root, **{"synthetic": True, **options})
    return open_store(summary.store), summary


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "zlib": zlib.compress,
    "gzip": gzip.compress,
}


@pytest.mark.parametrize("packer", PACKERS)
def test_a_db_file_becomes_a_store_of_the_same_values(
    db: dict[str, Any], write_db: WriteDb, root: Path, packer: str
) -> None:
    store, summary = bring(write_db(db, pack=PACKERS[packer]), root)
    assert (summary.rows, summary.tracks, summary.clips, summary.split) == (10, 3, 4, "test")
    for field, key in {
        "frame_id": "frame_id",
        "keypoints2d": "joints2D",
        "joints3d": "joints3D",
        "full_pose": "pose",
        "betas": "shape",
        "valid": "valid",
    }.items():
        np.testing.assert_array_equal(store.frames[field][:], db[key].astype(store.frames[field].dtype))
    assert store.joint_names("joints3d")[:2] == ["rankle", "rknee"]
    view = store.views["tcmr"]
    np.testing.assert_array_equal(view.bbox_cxcywh, db["bbox"].astype(np.float32))
    assert view.keep.all()
    features = store.features["spin-tcmr"]
    np.testing.assert_array_equal(features.of(np.arange(10)), db["features"])
    assert (features.attrs["crop_scale"], features.attrs["weights_sha256"]) == (None, None)
    assert [problem for problem in verify_store(store.location) if problem.severity == "error"] == []
    assert not (root / ".hpsbench" / "work" / "3dpw-import-3dpw_test_db").exists()


def test_clips_break_where_frame_numbers_do(db: dict[str, Any], write_db: WriteDb, root: Path) -> None:
    clips = bring(write_db(db), root)[0].clips
    assert clips["track"].tolist() == ["a_00_0", "a_00_0", "a_00_1", "b_01_0"]
    assert clips["first_frame"].tolist() == [0, 5, 2, 10]
    assert clips["gap_before"].tolist() == [0, 2, 0, 0]
    assert clips["sequence"].tolist() == ["a_00", "a_00", "a_00", "b_01"]
    assert clips["gaps_known"].all()
    assert clips["fps"].tolist() == [30.0] * 4


def test_what_is_left_of_a_track_keeps_the_rate_of_the_file(
    rng: np.random.Generator, write_db: WriteDb, root: Path
) -> None:
    """Two frames that lie four apart are no video of a quarter of the rate, and a single one has no other rate."""
    store, _ = bring(write_db(make_db(rng, {"a_00_0": [0, 1, 2, 3], "a_00_1": [2, 6], "b_01_0": [9]})), root)
    assert store.clips["step"].tolist() == [1] * 4
    assert store.clips["gap_before"].tolist() == [0, 0, 3, 0]
    assert store.clips["fps"].tolist() == [30.0] * 4
    halved = write_db(make_db(rng, {"a_00_0": [0, 2, 4, 6], "a_00_1": [2, 6], "b_01_0": [9]}))
    store, _ = bring(halved, root, name="halved")
    assert store.clips["step"].tolist() == [2] * 4
    assert store.clips["gap_before"].tolist() == [0, 0, 1, 0]
    assert store.clips["fps"].tolist() == [15.0] * 4


def test_what_the_file_does_not_tell_is_absent(db: dict[str, Any], write_db: WriteDb, root: Path) -> None:
    store, _ = bring(write_db(db), root)
    assert store.clips[["gender", "camera", "subject", "width"]].isna().all().all()
    assert not {"intrinsics", "extrinsics", "transl"} & set(store.frames)


def test_machine_paths_are_left_behind(db: dict[str, Any], write_db: WriteDb, root: Path) -> None:
    db["vid_name"] = np.array([f"D:\\machine_1\\db\\{name}" for name in db["vid_name"]])
    store, _ = bring(write_db(db), root)
    assert store.clips["image_source"].tolist()[0] == "imageFiles/a_00/image_{frame_id:05d}.jpg"
    assert store.clips["track"].tolist()[0] == "a_00_0"
    for file in store.path.rglob("*"):
        assert not file.is_file() or b"machine_1" not in file.read_bytes(), file


def test_an_import_says_what_it_is(db: dict[str, Any], write_db: WriteDb, root: Path) -> None:
    store, summary = bring(write_db(db), root)
    assert Path(summary.store).name == "3dpw-import-3dpw_test_db.zarr"
    assert store.attrs["origin"] == "import"
    assert store.attrs["recipe_sha256"] is None
    said = store.attrs["imported"]
    assert (said["file"], said["kind"], said["sha256"]) == ("3dpw_test_db.pt", "vibe-db", summary.sha256)
    with pytest.raises(UsageError, match="name of the store of the raw dataset"):
        bring(write_db(db), root, name="3dpw")


def test_real_data_needs_the_licence(db: dict[str, Any], write_db: WriteDb, root: Path) -> None:
    with pytest.raises(AccessStepMissing):
        bring(write_db(db), root, synthetic=False)
    assert not (root / "stores").exists()
    store, _ = bring(write_db(db), root, synthetic=False, accept_licence=True)
    assert not store.synthetic


def test_joints_that_are_no_measurements_are_missing(
    rng: np.random.Generator, db: dict[str, Any], write_db: WriteDb, root: Path
) -> None:
    db["joints3D"][4] = db["joints3D"][4, 0]
    db["joints3D"][:, 12:] = -rng.normal(size=(10, 1, 3))
    db["joints3D"][4, 12:] = db["joints3D"][4, 0]
    store, summary = bring(write_db(db), root)
    missing = np.isnan(store.frames["joints3d"][:]).all(axis=2)
    expected = np.zeros((10, 14), bool)
    expected[:, 12:], expected[4] = True, True
    np.testing.assert_array_equal(missing, expected)
    assert sorted(summary.missing.values()) == [1, 18]
    assert store.attrs["imported"]["missing"] == {
        **dict.fromkeys(store.attrs["imported"]["missing"], 0),
        **summary.missing,
    }


def test_minus_pelvis_is_found_among_the_pairs_of_spin49(
    rng: np.random.Generator, write_db: WriteDb, root: Path
) -> None:
    db = make_db(rng, {"/x/s_01_act_02_subact_01_ca_04_S1": [0, 2, 4]}, joints=49)
    pelvis = rng.normal(size=(3, 1, 3)).astype(np.float32)
    db["joints3D"][:, :25], db["joints3D"][:, 39:40] = 0, pelvis
    db["joints3D"] -= pelvis
    db["joints3D"][:, 46] = db["joints3D"][:, 45]  # a pair, as bodies of SMPL have
    del db["img_name"], db["valid"]
    db["pose"][:], db["shape"][:] = 0, 0
    store, summary = bring(write_db(db, "h36m_train_25fps_tight_db.pt"), root, "h36m")
    missing = np.isnan(store.frames["joints3d"][:]).all(axis=2)
    assert missing[:, :25].all()
    assert not missing[:, 25:].any()
    assert "full_pose" not in store.frames
    assert any("no SMPL" in line for line in summary.notes)
    assert store.frames["frame_id"][:].tolist() == [1, 3, 5]
    assert store.clips[["subject", "camera", "fps"]].to_numpy().tolist() == [["S1", "60457274", 25.0]]
    assert store.clips["action"].tolist() == ["Directions"]  # columns as in a store of the raw files
    assert store.views["tcmr"].attrs["crop_scale"] == 1.0


@pytest.mark.parametrize("dataset", ["pennaction", "posetrack"])
def test_gaps_are_unknown_without_frame_numbers(
    rng: np.random.Generator, write_db: WriteDb, root: Path, dataset: str
) -> None:
    names = {"pennaction": "/p/labels/0001.mat", "posetrack": "/p/train/000001_bonn_train.json_3"}
    db = make_db(rng, {names[dataset]: [1, 2, 3]}, joints=14 if dataset == "pennaction" else 49)
    folder = "/p/frames/0001/" if dataset == "pennaction" else "/p/images/train/000001_bonn/"
    numbers = [1, 2, 3] if dataset == "pennaction" else [4, 8, 12]
    db["img_name"] = np.array([f"{folder}{number:06d}.jpg" for number in numbers])
    db = {key: db[key] for key in ("vid_name", "img_name", "joints2D", "bbox", "features")}
    store, summary = bring(write_db(db, f"{dataset}_train_db.pt"), root, dataset)
    assert (summary.gaps_known, summary.clips) == (False, 1)
    assert store.attrs["imported"]["gaps"].startswith("unknown")
    clip = store.clips.iloc[0]
    assert not clip["gaps_known"]
    if dataset == "pennaction":
        assert clip[["track", "first_frame", "image_source"]].tolist() == [
            "0001_0", 1, "frames/0001/{frame_id:06d}.jpg"
        ]  # fmt: skip
    else:
        assert clip[["track", "first_frame"]].tolist() == ["000001_bonn_train_3", 0]
        assert store.clips["image_source"].isna().all()


def test_names_of_images_number_the_frames_of_mpi(
    rng: np.random.Generator, write_db: WriteDb, root: Path
) -> None:
    db = make_db(rng, {"subj1_seg0": [1, 2, 4]}, joints=49)
    db["frame_id"] = np.array(["img_000001", "img_000002", "img_000004"])
    folder = "mpi_inf_3dhp_test_set/TS1/imageSequence"
    db["img_name"] = np.array([f"/m/data/{folder}/{stem}.jpg" for stem in db["frame_id"]])
    db["valid_i"] = db.pop("valid")[:, None].astype(np.float64)
    store, summary = bring(write_db(db, "mpii3d_val_scale12_db.pt"), root, "mpi-inf-3dhp")
    assert summary.split == "test"
    assert store.frames["frame_id"][:].tolist() == [1, 2, 4]
    assert store.clips["image_source"][0] == f"{folder}/img_{{frame_id:06d}}.jpg"
    assert "joints3d_univ" in store.frames
    np.testing.assert_array_equal(store.frames["valid"][:], db["valid_i"][:, 0] != 0)


@pytest.mark.parametrize(
    ("folder", "source"),
    [
        ("/m/h36m/images/s_09_act_16_subact_02_ca_01/", "images/s_09_act_16_subact_02_ca_01/"),
        ("/m/elsewhere/s_09_act_16_subact_02_ca_01/", "s_09_act_16_subact_02_ca_01/"),
        ("/m/h36m/S9/images/s_09_act_16_subact_02_ca_01/", "S9/images/s_09_act_16_subact_02_ca_01/"),
    ],
)
def test_images_of_human36m_lie_under_the_raw_folder(
    rng: np.random.Generator, write_db: WriteDb, root: Path, folder: str, source: str
) -> None:
    name = "s_09_act_16_subact_02_ca_01"
    db = make_db(rng, {f"{folder}_9": [0, 2]}, joints=49)
    db["vid_name"] = np.array([f"{folder[:-1]}_9"] * 2)
    db["img_name"] = np.array([f"{folder}{name}_{number:06d}.jpg" for number in (1, 3)])
    del db["valid"]
    clip = bring(write_db(db, "h36m_test_25fps_tight_db.pt"), root, "h36m")[0].clips.iloc[0]
    assert clip["image_source"] == source + name + "_{frame_id:06d}.jpg"
    assert clip[["subject", "action", "camera"]].tolist() == ["S9", "WalkTogether", "54138969"]


def test_names_of_human36m_are_those_of_its_recipe() -> None:
    recipe, values = get_recipe("h36m"), processed_facts("h36m").values
    assert values["camera"] == {f"{n:02}": name for n, name in enumerate(recipe.options["cameras"], start=1)}
    subjects = [subject for split in recipe.options["subjects"].values() for subject in split]
    assert values["subject"] == {f"{subject:02}": f"S{subject}" for subject in subjects}
    names = reversed(
        recipe.options["actions"].items()
    )  # of two names of one action, the first is in the store
    by_number = {f"{number:02}": name for name, number in names}
    aliases = {key: name for key, name in values["action"].items() if not key.isdigit()}
    assert {key: name for key, name in values["action"].items() if key.isdigit()} == by_number
    assert aliases == {
        name: by_number[f"{number:02}"]
        for name, number in recipe.options["actions"].items()
        if by_number[f"{number:02}"] != name
    }


def test_motions_stay_in_the_world(rng: np.random.Generator, write_db: WriteDb, root: Path) -> None:
    names = np.array(["ACCAD_Male1_a_poses"] * 3 + ["CMU_01_01_01_poses"] * 2)
    theta = rng.normal(size=(5, 82))
    store, summary = bring(write_db({"theta": theta, "vid_name": names}, "amass_db.pt"), root, "amass")
    assert (summary.split, summary.gaps_known) == ("train", False)
    assert store.clips["track"].tolist() == ["ACCAD_Male1_a_poses_0", "CMU_01_01_01_poses_0"]
    np.testing.assert_array_equal(store.frames["full_pose"][:], theta[:, :72].astype(np.float32))
    np.testing.assert_array_equal(store.frames["betas"][:], theta[:, 72:].astype(np.float32))
    assert store.frames["full_pose"].attrs["frame"] == "world"


def test_a_name_that_comes_back_goes_on_or_begins_a_track(
    rng: np.random.Generator, write_db: WriteDb, root: Path
) -> None:
    parts = [
        make_db(rng, {name: numbers})
        for name, numbers in (("a_0", [0, 1]), ("b_0", [0, 1, 2]), ("a_0", [4, 5]), ("b_0", [1, 2]))
    ]
    db = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    store, summary = bring(write_db(db), root)
    assert store.clips["track"].tolist() == ["a_0", "a_0", "b_0", "b_0~2"]
    assert store.clips["gap_before"].tolist() == [0, 2, 0, 0]
    order = [0, 1, 5, 6, 2, 3, 4, 7, 8]
    np.testing.assert_array_equal(store.features["spin-tcmr"].of(np.arange(9)), db["features"][order])
    np.testing.assert_array_equal(store.frames["full_pose"][:], db["pose"][order])
    assert any("1 runs of rows go on" in line for line in summary.notes)


def test_equal_names_of_two_folders_stay_apart(db: dict[str, Any], write_db: WriteDb, root: Path) -> None:
    db["vid_name"] = np.array(["/x/one/v_0"] * 5 + ["/x/two/v_0"] * 3 + ["/x/two/w_0"] * 2)
    store, _ = bring(write_db(db), root)
    assert store.clips["track"].drop_duplicates().tolist() == ["one_v_0", "two_v_0", "w_0"]


def test_boxes_that_are_too_many_are_put_in_their_place(
    db: dict[str, Any], write_db: WriteDb, root: Path
) -> None:
    boxes = db["bbox"].copy()
    db["bbox"] = np.insert(boxes, [5, 5, 8], [0, 0, np.inf, np.inf], axis=0)
    store, summary = bring(write_db(db), root)
    np.testing.assert_array_equal(store.views["tcmr"].bbox_cxcywh, boxes.astype(np.float32))
    assert any("3 rows more" in line for line in summary.notes)


def test_boxes_that_cannot_be_placed_are_given_up(db: dict[str, Any], write_db: WriteDb, root: Path) -> None:
    whole = db["bbox"]
    db["bbox"] = np.insert(whole, 5, [0, 0, np.inf, np.inf], axis=0)[:10]
    store, summary = bring(write_db(db), root)
    assert np.isnan(store.views["tcmr"].bbox_cxcywh).all(axis=1).tolist() == [False] * 5 + [True] * 5
    assert any("5 frames have no box" in line for line in summary.notes)
    db["bbox"] = np.concatenate([whole, whole[:1]])
    store, _ = bring(write_db(db), root, name="longer")
    assert np.isnan(store.views["tcmr"].bbox_cxcywh).all()


def test_vibes_hdf5_file_is_read(rng: np.random.Generator, tmp_path: Path, root: Path) -> None:
    path = tmp_path / "insta_train_db.h5"
    features = rng.normal(size=(5, 16)).astype(np.float32)
    points = rng.uniform(0, 224, (5, 25, 3)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file["vid_name"] = np.array([b"/m/insta_01.tfrecord-0"] * 3 + [b"/m/insta_01.tfrecord-1"] * 2)
        file["frame_id"] = np.array([0, 1, 2, 0, 1])
        file["joints2D"], file["features"] = points, features
    store, summary = bring(path, root, "instavariety")
    assert (summary.kind, summary.split) == ("vibe-h5", "train")
    assert store.clips["track"].tolist() == ["insta_01-0_0", "insta_01-1_0"]
    view = store.views["tcmr"]  # its images are crops of 224 pixels, and the file has no boxes
    assert view.bbox_cxcywh.tolist() == [[112, 112, 224, 224]] * 5
    assert (view.attrs["crop_scale"], view.attrs["box"]["rule"]) == (1.0, "fixed")
    np.testing.assert_array_equal(store.frames["keypoints2d"][:], points)
    np.testing.assert_array_equal(store.features["spin-tcmr"].of(np.arange(5)), features)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_spins_archive_is_read(
    rng: np.random.Generator, tmp_path: Path, root: Path, save: Callable[..., None]
) -> None:
    path = tmp_path / "3dpw_test.npz"
    numbers = [0, 1, 2, 0, 1]
    joints = np.concatenate([rng.normal(size=(5, 24, 3)), np.ones((5, 24, 1))], axis=2)
    joints[:, 3, 3] = 0
    centers, scales = rng.uniform(0, 500, (5, 2)), rng.uniform(1, 2, 5)
    save(
        path,
        imgname=np.array([f"imageFiles/a_00/image_{number:05d}.jpg" for number in numbers]),
        center=centers, scale=scales, S=joints, pose=rng.normal(size=(5, 72)), shape=rng.normal(size=(5, 10)),
        gender=np.array(["m", "m", "m", "f", "f"]), part=rng.uniform(0, 300, (5, 24, 3)),
    )  # fmt: skip
    store, _ = bring(path, root, view="spin")
    assert store.clips["track"].tolist() == ["a_00_0", "a_00_1"]
    assert store.clips["gender"].tolist() == ["male", "female"]
    boxes = np.concatenate([centers, np.repeat(scales[:, None] * 200, 2, 1)], axis=1)
    np.testing.assert_allclose(store.views["spin"].bbox_cxcywh, boxes, rtol=1e-6)
    assert store.views["spin"].attrs["crop_scale"] == 1.0  # SPIN's 1.2 is in `scale`
    np.testing.assert_array_equal(np.isnan(store.frames["joints3d"][:]).all(axis=(0, 2)), np.arange(24) == 3)
    assert len(store.features) == 0


def test_human_data_is_read(rng: np.random.Generator, tmp_path: Path, root: Path) -> None:
    path = tmp_path / "pw3d_test.npz"
    orient, body = rng.normal(size=(3, 3)), rng.normal(size=(3, 23, 3))
    smpl = {"global_orient": orient, "body_pose": body, "betas": rng.normal(size=(3, 10)), "transl": orient}
    features = rng.normal(size=(3, 16)).astype(np.float32)
    np.savez_compressed(
        path,
        image_path=np.array([f"imageFiles/a_00/image_{number:05d}.jpg" for number in range(3)]),
        bbox_xywh=np.array([[10.0, 20, 40, 60, 1]] * 3),
        smpl=np.array(smpl, dtype=object),
        keypoints2d=np.zeros((3, 190, 3)),
        features=features,
        __temporal_len__=np.array(3),
        config=np.array("3dpw"),
        cam_param=np.array([{"K": object}] * 3, dtype=object),
        meta=np.array({"gender": np.array(["f"] * 3)}, dtype=object),
    )
    store, summary = bring(path, root)
    expected = np.concatenate([orient, body.reshape(3, 69)], axis=1).astype(np.float32)
    np.testing.assert_array_equal(store.frames["full_pose"][:], expected)
    assert store.views["tcmr"].bbox_cxcywh[0].tolist() == [30, 50, 60, 60]
    assert store.views["tcmr"].attrs["crop_scale"] == 1.0
    assert store.clips["gender"].tolist() == ["female"]
    np.testing.assert_array_equal(store.features["spin-tcmr"].of(np.arange(3)), features)
    assert summary.left_out == ["smpl.transl", "keypoints2d", "cam_param"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("bbox_xywh", np.zeros((4, 5)), r"bbox_xywh has shape \(4, 5\), expected \(3, 5\)"),
        (
            "smpl",
            np.array({"betas": np.zeros((2, 10))}, dtype=object),
            r"smpl\['betas'\] has float64 \(2, 10\)",
        ),
    ],
)
def test_damaged_human_data_is_named(key: str, value: Any, message: str, tmp_path: Path, root: Path) -> None:
    path = tmp_path / "pw3d_test.npz"
    images = np.array([f"imageFiles/a_00/image_{number:05d}.jpg" for number in range(3)])
    np.savez(path, image_path=images, **{key: value})
    with pytest.raises(ShapeError, match=message):
        bring(path, root)


def test_the_next_person_of_a_sequence_is_told_by_the_gender(
    rng: np.random.Generator, tmp_path: Path, root: Path
) -> None:
    """Where the frames of the next person go on counting where the last one's end."""
    path = tmp_path / "3dpw_test.npz"
    np.savez(
        path,
        imgname=np.array([f"imageFiles/a_00/image_{number:05d}.jpg" for number in range(6)]),
        center=rng.uniform(0, 500, (6, 2)), scale=rng.uniform(1, 2, 6), pose=rng.normal(size=(6, 72)),
        shape=rng.normal(size=(6, 10)), gender=np.array(["f"] * 2 + ["m"] * 4),
    )  # fmt: skip
    store, _ = bring(path, root)
    assert store.clips["track"].tolist() == ["a_00_0", "a_00_1"]
    assert store.clips["length"].tolist() == [2, 4]
    assert store.clips["gender"].tolist() == ["female", "male"]


@pytest.mark.parametrize(
    ("dataset", "images", "tracks", "columns"),
    [
        (
            "h36m",
            ["S1_Directions_1.54138969_000001.jpg", "S5_SittingDown.60457274_002061.jpg"],
            ["S1_Directions_1.54138969_0", "S5_SittingDown.60457274_0"],
            {"subject": ["S1", "S5"], "camera": ["54138969", "60457274"], "action": ["Directions", "SittingDown"]},
        ),
        ("h36m", ["images/S9_WalkDog_1.55011271_000006.jpg"] * 1, ["S9_WalkDog_1.55011271_0"], {"action": ["WalkingDog"]}),
        ("mpi-inf-3dhp", ["S4_Seq2_Cam0_001033.jpg", "S8_Seq1_Cam8_002165.jpg"], ["S4_Seq2_Cam0_0", "S8_Seq1_Cam8_0"], {}),
        ("pennaction", ["/d/frames/0001/000001.jpg", "/d/frames/0002/000004.jpg"], ["0001_0", "0002_0"], {}),
        ("posetrack", ["/d/images/val/003418_mpii_test/000000.jpg"], ["003418_mpii_test_0"], {}),
        ("3dpw", ["000007.jpg"], ["images_0"], {}),
    ],
)  # fmt: skip
def test_sequences_are_told_by_the_names_of_images(
    dataset: str,
    images: list[str],
    tracks: list[str],
    columns: dict[str, list[str]],
    tmp_path: Path,
    root: Path,
) -> None:
    """Frame numbers of two sequences that go up are no reason to take them for one."""
    path = tmp_path / "a_train.npz"
    n = len(images)
    np.savez(path, imgname=np.array(images), center=np.full((n, 2), 99.0), scale=np.ones(n))
    store, summary = bring(path, root, dataset, split="train")
    assert store.clips["track"].tolist() == tracks
    assert summary.notes[1:] == []
    for column, values in columns.items():
        assert store.clips[column].tolist() == values


@pytest.mark.parametrize(
    ("dataset", "joints", "field", "joint_set"),
    [
        ("h36m", 17, "joints3d", "h36m17_official"),  # mmpose's
        ("h36m", 24, "joints3d", "spin_gt24"),  # SPIN's
        ("mpi-inf-3dhp", 17, "joints3d", "mpii3d_test17_official"),  # annot3
        ("mpi-inf-3dhp", 24, "joints3d_univ", "spin_gt24"),  # univ_annot3
    ],
)
def test_joints_of_other_collections_have_names(
    dataset: str,
    joints: int,
    field: str,
    joint_set: str,
    rng: np.random.Generator,
    tmp_path: Path,
    root: Path,
) -> None:
    path = tmp_path / "a_test.npz"
    places = np.concatenate([rng.normal(size=(2, joints, 3)), np.ones((2, joints, 1))], axis=2)
    names = np.array(["images/S9_Posing.54138969_000001.jpg", "images/S9_Posing.54138969_000002.jpg"])
    np.savez(
        path, imgname=names, center=np.full((2, 2), 99.0), scale=np.ones(2), S=places, part=rng.uniform(1, 99, (2, joints, 3))
    )  # fmt: skip
    store, _ = bring(path, root, dataset)
    assert {name for name in store.frames if name.startswith("joints")} == {field}
    assert (
        store.frames[field].attrs["joint_set"] == store.frames["keypoints2d"].attrs["joint_set"] == joint_set
    )
    np.testing.assert_allclose(store.frames[field][:], places[..., :3], rtol=1e-6)


def test_features_of_occluded_images_are_no_clean_ones(
    db: dict[str, Any], write_db: WriteDb, root: Path
) -> None:
    store, _ = bring(write_db(db, "3dpw_test_occ_scale12_db.pt"), root)
    features = store.features["spin-tcmr+occ"]
    assert (features.attrs["corruption"], features.attrs["crop_scale"]) == ("occ", 1.2)


def test_importing_again_changes_nothing_and_another_file_is_refused(
    db: dict[str, Any], write_db: WriteDb, root: Path
) -> None:
    store, _ = bring(write_db(db), root)
    before = {file: file.read_bytes() for file in store.path.rglob("*") if file.is_file()}
    bring(write_db(db), root)
    assert before == {file: file.read_bytes() for file in store.path.rglob("*") if file.is_file()}
    db["valid"][0] = not db["valid"][0]
    with pytest.raises(ResumeMismatch, match="sha256"):
        bring(write_db(db), root)


def test_a_store_of_synthetic_data_is_not_taken_for_one_of_real_data(
    db: dict[str, Any], write_db: WriteDb, root: Path
) -> None:
    del db["features"]
    bring(write_db(db), root)
    with pytest.raises(ResumeMismatch, match="another synthetic mark"):
        bring(write_db(db), root, synthetic=False, accept_licence=True)


def test_a_dry_run_leaves_what_an_import_unpacked(db: dict[str, Any], write_db: WriteDb, root: Path) -> None:
    unpacked = root / ".hpsbench" / "work" / "3dpw-import-3dpw_test_db" / "unpacked.pt"
    unpacked.parent.mkdir(parents=True)
    unpacked.write_bytes(b"of another process")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    unpacked.parent.with_name(f"{unpacked.parent.name}.dry-run-{gone.pid}").mkdir()
    import_file(write_db(db, pack=zlib.compress), "3dpw", root, dry_run=True)
    assert unpacked.read_bytes() == b"of another process"
    assert [path.name for path in unpacked.parent.parent.iterdir()] == [unpacked.parent.name]


def test_two_imports_into_one_store_do_not_meet(db: dict[str, Any], write_db: WriteDb, root: Path) -> None:
    name = "3dpw-import-3dpw_test_db"
    unpacked = root / ".hpsbench" / "work" / name / "unpacked.pt"
    unpacked.parent.mkdir(parents=True)
    unpacked.write_bytes(b"of another process")
    with lock(root, name), pytest.raises(HpsbenchError, match="another process"):
        bring(write_db(db, pack=zlib.compress), root)
    assert unpacked.read_bytes() == b"of another process"


def test_a_dry_run_touches_nothing(db: dict[str, Any], write_db: WriteDb, root: Path) -> None:
    summary = import_file(write_db(db), "3dpw", root, dry_run=True)
    assert (summary.rows, summary.clips, summary.features) == (10, 4, "spin-tcmr")
    assert list(root.iterdir()) == []


def break_length(db: dict[str, Any]) -> None:
    db["pose"] = db["pose"][:-1]


def break_names(db: dict[str, Any]) -> None:
    del db["vid_name"]


def break_numbers(db: dict[str, Any]) -> None:
    db["frame_id"] = np.array(["x"] * 10)


def break_unit(db: dict[str, Any]) -> None:
    db["joints3D"] = db["joints3D"] * 1000


def break_features(db: dict[str, Any]) -> None:
    db["features"][3, 5] = np.nan


def break_all(db: dict[str, Any]) -> None:
    for key in db:
        db[key] = db[key][:0]


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (break_length, ShapeError, r"pose has shape \(9, 72\), expected \(10, 72\)"),
        (break_names, BrokenFile, "no array vid_name"),
        (break_numbers, BrokenFile, "row 0: no frame number in 'x'"),
        (break_unit, UnitError, "millimetres"),
        (break_features, BadData, "rows are not finite, the first is row 3"),
        (break_all, BrokenFile, "holds no frames"),
    ],
)
def test_bad_files_get_a_message(
    db: dict[str, Any], write_db: WriteDb, root: Path, change: Callable[..., None], kind: type, message: str
) -> None:
    change(db)
    with pytest.raises(kind, match=message):
        bring(write_db(db), root)


def test_a_file_that_runs_code_is_refused(write_db: WriteDb, root: Path, tmp_path: Path) -> None:
    class Command:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return subprocess.call, (f"touch {tmp_path / 'ran'}",)

    with pytest.raises(UnsafeFile, match="subprocess"):
        bring(write_db({"vid_name": Command()}), root)
    assert not (tmp_path / "ran").exists()


def test_names_that_do_not_exist_are_refused(db: dict[str, Any], write_db: WriteDb, root: Path) -> None:
    with pytest.raises(UnknownName, match="3dpw"):
        bring(write_db(db), root, "3dpww")
    with pytest.raises(UnknownName, match="view of 3dpw"):
        bring(write_db(db), root, view="nobody")
    with pytest.raises(UsageError, match="not clear from its name; add --split"):
        bring(write_db(db, "mine.pt"), root)
    with pytest.raises(UnknownName, match="split of 3dpw 'training'"):
        bring(write_db(db), root, split="training")
    with pytest.raises(MissingData, match=r"none\.pt"):
        bring(root / "none.pt", root)


def write_large(path: Path, tracks: int) -> None:
    """VIBE's HDF5 file of tracks of 200 frames; features that nobody wrote take no room in it."""
    with h5py.File(path, "w") as file:
        file["vid_name"] = np.repeat(np.array([f"t.tfrecord-{i}".encode() for i in range(tracks)]), 200)
        file["frame_id"] = np.tile(np.arange(200), tracks)
        file.create_dataset("joints2D", (200 * tracks, 25, 3), "f4", fillvalue=1.0)
        file.create_dataset("features", (200 * tracks, 2048), "f4")


def test_memory_does_not_grow_with_the_file(tmp_path: Path, root: Path) -> None:
    code = (
        "import resource, sys\n"
        "from hpsbench.pipeline.import_ import import_file\n"
        "for name in ('small', 'large'):\n"
        "    import_file(f'{sys.argv[1]}/{name}.h5', 'instavariety', sys.argv[2], split='train', synthetic=True)\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
    )
    write_large(tmp_path / "small.h5", 6)
    write_large(tmp_path / "large.h5", 50)  # 82 MB of features
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(root)], capture_output=True, text=True, check=True
    )
    small, large = map(int, done.stdout.split())
    assert large - small < 40, f"{small} and {large} MiB"


@pytest.mark.parametrize("compress", [0, 3])
def test_files_of_joblib_itself_are_imported(
    db: dict[str, Any], tmp_path: Path, root: Path, compress: int
) -> None:
    joblib = pytest.importorskip("joblib", reason="the hand-made writer stands in for joblib")
    path = tmp_path / "3dpw_test_db.pt"
    joblib.dump(db, path, compress=compress)
    store, _ = bring(path, root)
    np.testing.assert_array_equal(store.frames["full_pose"][:], db["pose"])
    np.testing.assert_array_equal(store.features["spin-tcmr"].of(np.arange(10)), db["features"])
