"""An export is a file that joblib and older code read, and importing it gives the store back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpsbench.bodies.joints import get_joint_set
from hpsbench.errors import MissingFeatures, ShapeError, UnknownName, UsageError
from hpsbench.pipeline.export import export_store
from hpsbench.pipeline.import_ import import_file
from hpsbench.safe_io import load_joblib
from hpsbench.safe_io.hdf5_writing import write_hdf5
from hpsbench.safe_io.joblib_writing import Rows, write_joblib
from hpsbench.store.feature_sets import FeatureSetWriter
from hpsbench.store.reader import open_store
from hpsbench.store.writer import MemoryTrack, ViewRows, write_store
from hpsbench.types import Track

FRAMES = 40


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """As prepared from 3DPW: 18 keypoints, joints of SMPL, a view that leaves frames out, features of what is kept."""
    rng = np.random.default_rng(3)
    tracks = []
    for person in (0, 1):
        track = Track(
            sequence="a_00", person=person, split="test", frame_id=np.arange(FRAMES), fps=30.0,
            image_source="imageFiles/a_00/image_{frame_id:05d}.jpg", gender="male",
            fields={
                "keypoints2d": rng.uniform(0, 1, (FRAMES, 18, 3)) * (900, 900, 1), "joints3d": rng.normal(size=(FRAMES, 24, 3)),
                "full_pose": rng.normal(size=(FRAMES, 72)), "betas": rng.normal(size=(FRAMES, 10)),
                "has_smpl": np.ones(FRAMES, bool), "valid": rng.random(FRAMES) > 0.2,
            },
        )  # fmt: skip
        keep = np.ones(FRAMES, bool)
        keep[[0, 7, 8]] = False
        boxes = np.concatenate([rng.uniform(1, 900, (FRAMES, 2)), np.full((FRAMES, 2), 99.0)], axis=1)
        view = ViewRows(keep=keep, bbox_cxcywh=boxes)
        tracks.append(MemoryTrack.of(track, {"tcmr": view, "other": view}))
    path = tmp_path / "root" / "stores" / "3dpw.zarr"
    names = {
        f"frames/{name}": {"joint_set": joint_set, "joint_names": list(get_joint_set(joint_set).names)}
        for name, joint_set in (("keypoints2d", "3dpw18"), ("joints3d", "smpl24"))
    }
    attributes = {"dataset": "3dpw", "synthetic": True, "default_view": "tcmr"}
    write_store(path, tracks, attributes=attributes, nodes=names)
    kept = np.flatnonzero(open_store(path).views["tcmr"].keep)
    said = {
        "extractor": "spin",
        "weights_sha256": None,
        "view": "tcmr",
        "crop_scale": 1.3,
        "corruption": None,
    }
    writer = FeatureSetWriter.create(path, "spin-tcmr", rows=kept, dim=2048, attrs=said)
    writer.write(0, rng.normal(size=(len(kept), 2048)).astype(np.float32))
    writer.finish()
    return path


def test_the_file_has_the_keys_and_values_of_the_layout(store: Path) -> None:
    summary = export_store(store)
    assert Path(summary.file).relative_to(store.parent.parent) == Path("exports/3dpw_test_db.pt")
    held = load_joblib(Path(summary.file))
    assert list(held) == [
        "vid_name", "frame_id", "img_name", "joints2D", "pose", "shape", "bbox", "features", "valid"
    ]  # fmt: skip
    assert any("joints3D: the layout's are regressed" in line for line in summary.notes)
    opened = open_store(store)
    kept = np.flatnonzero(opened.views["tcmr"].keep)
    assert {len(array) for array in held.values()} == {len(kept)} == {74}
    assert held["vid_name"][[0, -1]].tolist() == ["a_00_0", "a_00_1"]
    assert held["frame_id"][:9].tolist() == [1, 2, 3, 4, 5, 6, 9, 10, 11]
    assert held["img_name"][6] == "imageFiles/a_00/image_00009.jpg"
    points = opened.frames["keypoints2d"][kept]
    np.testing.assert_array_equal(held["joints2D"][:, 0, :2], points[:, 10, :2])  # right ankle
    np.testing.assert_array_equal(held["joints2D"][:, 0, 2], points[:, 10, 2] > 0.3)
    assert set(np.unique(held["joints2D"][..., 2])) == {0, 1}
    np.testing.assert_array_equal(
        held["joints2D"][:, 12:, 2], 0
    )  # neck and top of the head: the nose's place
    for filled in (12, 13):
        np.testing.assert_array_equal(held["joints2D"][:, filled, :2], points[:, 0, :2])
    np.testing.assert_array_equal(held["pose"], opened.frames["full_pose"][kept])
    np.testing.assert_array_equal(held["bbox"], opened.views["tcmr"].bbox_cxcywh[kept])
    np.testing.assert_array_equal(held["features"], opened.features["spin-tcmr"].of(kept))
    assert held["valid"].dtype == bool


def test_joints_of_the_dataset_itself_are_written_about_the_root(tmp_path: Path) -> None:
    """Human3.6M in TCMR's way: 17 of 49 joints by name, the pelvis taken from all, also from those that are not there."""
    rng = np.random.default_rng(5)
    joints = rng.normal(size=(24, 17, 3))
    fields = {
        "keypoints2d": rng.uniform(1, 900, (24, 17, 3)),
        "joints3d": joints,
        "has_image": np.ones(24, bool),
    }
    track = Track(
        sequence="S9_Directions.60457274", person=0, split="test", frame_id=np.arange(1, 25), fps=50.0,
        image_source="images/x/x_{frame_id:06d}.jpg", fields=fields,
    )  # fmt: skip
    view = ViewRows(keep=np.arange(24) % 2 == 0, bbox_cxcywh=np.full((24, 4), 99.0))
    path = tmp_path / "stores" / "h36m.zarr"
    named = {"joint_set": "h36m17_official", "joint_names": list(get_joint_set("h36m17_official").names)}
    nodes = {f"frames/{name}": named for name in ("keypoints2d", "joints3d")}
    write_store(
        path, [MemoryTrack.of(track, {"tcmr": view})], nodes=nodes,
        attributes={"dataset": "h36m", "synthetic": True, "default_view": "tcmr"},
    )  # fmt: skip
    summary = export_store(path)
    assert Path(summary.file).name == "h36m_test_25fps_db.pt"
    held = load_joblib(Path(summary.file))
    assert held["frame_id"][:3].tolist() == [0, 2, 4]
    relative = (joints - joints[:, :1])[::2]
    spin49 = get_joint_set("spin49")
    np.testing.assert_allclose(held["joints3D"][:, spin49.index("rankle")], relative[:, 3], atol=1e-5)
    np.testing.assert_array_equal(held["joints3D"][:, spin49.index("hip")], 0)
    np.testing.assert_allclose(
        held["joints3D"][:, 0], -joints[::2, 0], atol=1e-5
    )  # a joint that Human3.6M lacks
    assert not held["pose"].any()
    assert (held["pose"].shape, held["shape"].shape) == ((12, 72), (12, 10))
    assert any("pose and shape are zeros" in note for note in summary.notes)
    back = open_store(import_file(summary.file, "h36m", tmp_path).store)
    told = {name: back.clips[name].tolist() for name in ("track", "subject", "action", "camera")}
    assert told == {
        "track": ["S9_Directions.60457274_0"], "subject": ["S9"], "action": ["Directions"], "camera": ["60457274"]
    }  # fmt: skip
    found = np.asarray(back.frames["joints3d"][:])
    kept = np.isfinite(found).all(axis=(0, 2))
    assert kept.sum() == 17
    assert kept[spin49.index("hip")]


@pytest.fixture
def mpi(tmp_path: Path) -> Callable[..., Path]:
    """As prepared from MPI-INF-3DHP; the view leaves out the first frame and frames 5, 6 and 9 (rows 4, 5, 8)."""

    def write(sequence: str, split: str, image_source: str) -> Path:
        rng = np.random.default_rng(6)
        track = Track(
            sequence=sequence, person=0, split=split, frame_id=np.arange(1, 13), fps=25.0, image_source=image_source,
            fields={
                "keypoints2d": np.concatenate([rng.uniform(1, 900, (12, 28, 2)), np.ones((12, 28, 1))], axis=2),
                "joints3d": rng.normal(size=(12, 28, 3)), "joints3d_univ": rng.normal(size=(12, 28, 3)),
                "valid": np.ones(12, bool),
            },
        )  # fmt: skip
        keep = np.ones(12, bool)
        keep[[0, 4, 5, 8]] = False
        view = ViewRows(keep=keep, bbox_cxcywh=np.full((12, 4), 99.0))
        named = {
            "joint_set": "mpii3d28_official",
            "joint_names": list(get_joint_set("mpii3d28_official").names),
        }
        write_store(
            tmp_path / "stores" / "mpi-inf-3dhp.zarr", [MemoryTrack.of(track, {"tcmr": view})],
            nodes={f"frames/{name}": named for name in ("keypoints2d", "joints3d", "joints3d_univ")},
            attributes={"dataset": "mpi-inf-3dhp", "synthetic": True, "default_view": "tcmr"},
        )  # fmt: skip
        return tmp_path / "stores" / "mpi-inf-3dhp.zarr"

    return write


@pytest.mark.parametrize(
    ("sequence", "split", "name"),
    [("S3_Seq2_video_7", "train", "subj3_seq2_vid7_seg"), ("TS6", "test", "subj6_seg")],
)
def test_segments_end_where_a_view_leaves_frames_out(
    mpi: Callable[..., Path], sequence: str, split: str, name: str
) -> None:
    """Windows of old code run over rows of one name, so that a frame that is left out must end it."""
    store = mpi(sequence, split, "somewhere/img_{frame_id:06d}.jpg")
    held = load_joblib(Path(export_store(store, split=split).file))
    assert held["vid_name"].tolist() == [f"{name}{segment}" for segment in (0, 0, 0, 1, 1, 2, 2, 2)]
    assert held["frame_id"].tolist() == [f"img_{number:06d}" for number in (2, 3, 4, 7, 8, 10, 11, 12)]
    flags = {"train": [], "test": ["valid_i"]}  # only the test set has any
    assert list(held) == ["vid_name", "frame_id", "img_name", "joints2D", "joints3D", "bbox", *flags[split]]


def test_frames_in_videos_have_the_names_of_extracted_ones(mpi: Callable[..., Path], tmp_path: Path) -> None:
    store = mpi("S3_Seq2_video_7", "train", "S3/Seq2/imageSequence/video_7.avi#{frame_id}")
    file = Path(export_store(store).file)
    held = load_joblib(file)
    assert held["frame_id"].tolist() == [f"frame_{number:06d}" for number in (2, 3, 4, 7, 8, 10, 11, 12)]
    clips = open_store(import_file(file, "mpi-inf-3dhp", tmp_path).store).clips
    assert clips["first_frame"].tolist() == [2, 7, 10]
    assert set(clips["image_source"]) == {"S3/Seq2/imageSequence/video_7.avi#{frame_id}"}


@pytest.mark.parametrize(
    ("dataset", "track", "name"),
    [
        ("3dpw", "downtown_bus_00_1", "downtown_bus_00_1"),
        ("amass", "ACCAD_Male1_a_poses_0", "ACCAD_Male1_a_poses"),
        ("pennaction", "0007_0", "labels/0007.mat"),
        ("posetrack", "000001_bonn_train_3", "000001_bonn_train_3"),
    ],
)
def test_tracks_are_called_as_in_the_layout(dataset: str, track: str, name: str, tmp_path: Path) -> None:
    sequence, _, person = track.rpartition("_")
    made = Track(
        sequence=sequence, person=int(person), split="train", frame_id=np.arange(4),
        fields={"has_smpl": np.ones(4, bool)},
    )  # fmt: skip
    view = ViewRows(keep=np.ones(4, bool), bbox_cxcywh=np.full((4, 4), 9.0))
    path = tmp_path / "stores" / f"{dataset}.zarr"
    attributes = {"dataset": dataset, "synthetic": True, "default_view": "tcmr"}
    write_store(path, [MemoryTrack.of(made, {"tcmr": view})], attributes=attributes)
    held = load_joblib(Path(export_store(path).file))
    assert set(held["vid_name"]) == {name}


def test_files_of_instavariety_name_no_images_and_have_no_boxes(tmp_path: Path) -> None:
    track = Track(
        sequence="insta_variety_03-12", person=0, split="train", frame_id=np.arange(4),
        fields={"keypoints2d": np.ones((4, 25, 3))},
        image_source="insta_variety/train/insta_variety_03.tfrecord#12/{frame_id}",
    )  # fmt: skip
    view = ViewRows(keep=np.ones(4, bool), bbox_cxcywh=np.full((4, 4), 112.0))
    path = tmp_path / "stores" / "instavariety.zarr"
    named = {"joint_set": "insta25_hmmr", "joint_names": list(get_joint_set("insta25_hmmr").names)}
    write_store(
        path, [MemoryTrack.of(track, {"tcmr": view})], nodes={"frames/keypoints2d": named},
        attributes={"dataset": "instavariety", "synthetic": True, "default_view": "tcmr"},
    )  # fmt: skip
    summary = export_store(path)
    assert Path(summary.file).name == "insta_train_db.h5"
    with h5py.File(summary.file) as held:
        assert set(held) == {"vid_name", "frame_id", "joints2D"}
        assert held["vid_name"][:].tolist() == [b"insta_variety_03-12"] * 4
        assert held["frame_id"][:].tolist() == [0, 1, 2, 3]
        np.testing.assert_array_equal(held["joints2D"][:], np.ones((4, 25, 3)))
    assert not any("img_name" in line for line in summary.notes)


def test_vibes_hdf5_file_comes_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    path = tmp_path / "insta_train_db.h5"
    with h5py.File(path, "w") as file:
        file["vid_name"] = np.array([b"/m/insta_01.tfrecord-0"] * 3 + [b"/m/insta_01.tfrecord-1"] * 2)
        file["frame_id"] = np.array([0, 1, 2, 0, 1])
        file["joints2D"] = rng.uniform(0, 224, (5, 25, 3)).astype(np.float32)
        file["features"] = rng.normal(size=(5, 16)).astype(np.float32)
    (tmp_path / "root").mkdir()
    assert_round_trip(path, "instavariety", tmp_path / "root")


@pytest.fixture
def motions(tmp_path: Path) -> Path:
    """As prepared from AMASS: a motion in each of two splits."""
    rng = np.random.default_rng(9)
    tracks = [
        Track(
            sequence=f"{subset}_s_walk_poses", person=0, split=split, frame_id=np.arange(0, 8, 2), fps=30.0,
            fields={
                "full_pose": rng.normal(size=(4, 72)), "betas": rng.normal(size=(4, 10)), "transl": rng.normal(size=(4, 3)),
                "has_smpl": np.ones(4, bool),
            },
        )
        for subset, split in (("ACCAD", "train"), ("SFU", "val"))
    ]  # fmt: skip
    view = ViewRows(keep=np.ones(4, bool), bbox_cxcywh=np.full((4, 4), np.nan))
    path = tmp_path / "stores" / "amass.zarr"
    attributes = {"dataset": "amass", "synthetic": True, "default_view": "vibe"}
    write_store(path, [MemoryTrack.of(track, {"vibe": view}) for track in tracks], attributes=attributes)
    return path


def test_amass_is_one_file_of_every_split(motions: Path) -> None:
    summary = export_store(motions)
    assert (summary.split, summary.rows, summary.notes) == ("all", 8, [])
    held = load_joblib(Path(summary.file))
    assert Path(summary.file).name == "amass_db.pt"
    assert list(held) == ["vid_name", "theta"]
    assert held["vid_name"][[0, 4]].tolist() == ["ACCAD_s_walk_poses", "SFU_s_walk_poses"]
    opened = open_store(motions)
    theta = np.concatenate([opened.frames["full_pose"][:], opened.frames["betas"][:]], axis=1)
    np.testing.assert_array_equal(held["theta"], theta)
    back = import_file(summary.file, "amass", motions.parent.parent)
    assert (back.split, back.tracks) == ("train", 2)
    assert Path(export_store(motions, split="val").file).name == "amass_val_db.pt"
    assert export_store(motions, split="all", dry_run=True).rows == 8


def test_a_place_that_cannot_be_written_is_named(store: Path, tmp_path: Path) -> None:
    (tmp_path / "a_file").write_text("")
    for place in (tmp_path / "a_file" / "x.pt", store):
        with pytest.raises(UsageError, match="cannot be written"):
            export_store(store, out=place)
    assert not store.with_name(f"{store.name}.partial").exists()


def test_it_is_said_why_there_are_no_features(store: Path) -> None:
    said = {
        name: export_store(store, view=view, features=name, dry_run=True).notes[-1]
        for name, view in (("none", "tcmr"), (None, "other"))
    }
    assert said["none"] == "no features, as asked for"
    assert said[None] == "no features: the store has no spin-other; it has spin-tcmr, --features names one"


def test_an_export_says_that_it_is_synthetic_and_its_import_knows(store: Path, tmp_path: Path) -> None:
    file = Path(export_store(store).file)
    assert json.loads(file.with_name(f"{file.name}.origin.json").read_text())["synthetic"] is True
    summary = import_file(file, "3dpw", tmp_path / "root")
    assert (summary.synthetic, summary.view) == (True, "tcmr")
    assert open_store(summary.store).synthetic
    with pytest.raises(UsageError, match="--dataset 3dpw"):
        import_file(file, "h36m", tmp_path / "root", split="test")


def content(path: str | Path) -> dict[str, Any]:
    opened = open_store(path)
    arrays: dict[str, Any] = {name: array[:] for name, array in opened.frames.items()}
    for name, view in opened.views.items():
        arrays |= {f"{name}/keep": view.keep, f"{name}/boxes": view.bbox_cxcywh}
    for name, features in opened.features.items():
        arrays |= {name: features.data[:], f"{name}/row": features.row}
    return {**arrays, "clips": opened.clips.to_dict("list")}


def test_an_import_knows_what_made_exported_features(store: Path, tmp_path: Path) -> None:
    """Corrupted features are no clean ones, and those of another network not SPIN's, only because they went through a file."""
    kept = np.flatnonzero(open_store(store).views["tcmr"].keep)
    hits = {"row": [3, 7, 41, 60], "size": [5, 6, 7, 8]}  # the view leaves row 7 out
    record = {"version": 2, "mode": "center", "ratio": 0.5, "seed": 0, "hits": hits}
    said = {
        "extractor": "embedded",
        "weights_sha256": "ab",
        "view": "tcmr",
        "crop_scale": 1.3,
        "corruption": record,
    }
    name = "embedded-tcmr+center-0.5x1-s0"
    writer = FeatureSetWriter.create(store, name, rows=kept, dim=4, attrs=said)
    writer.write(0, np.random.default_rng(4).normal(size=(len(kept), 4)).astype(np.float32))
    writer.finish()
    file = tmp_path / "mine.pt"
    export_store(store, features=name, out=file)
    summary = import_file(file, "3dpw", tmp_path / "root")
    assert (summary.features, summary.split) == (name, "test")
    assert "the features are of corrupted images: center-0.5x1-s0" in summary.notes
    attrs = open_store(summary.store).features[name].attrs
    assert (attrs["extractor"], attrs["weights_sha256"]) == ("embedded", "ab")
    places = [int(np.flatnonzero(kept == row)[0]) for row in (3, 41, 60)]
    assert attrs["corruption"] == {**record, "hits": {"row": places, "size": [5, 7, 8]}}


@pytest.fixture
def pennaction(tmp_path: Path) -> Callable[[], Path]:
    def write() -> Path:
        rng = np.random.default_rng(8)
        rows = {
            "vid_name": np.array(["/p/labels/0001.mat"] * 3 + ["/p/labels/0002.mat"] * 2),
            "img_name": np.array([f"/p/frames/0001/{n:06d}.jpg" for n in (1, 2, 3)] + [
                f"/p/frames/0002/{n:06d}.jpg" for n in (1, 2)
            ]),
            "joints2D": rng.uniform(1, 90, (5, 14, 3)).astype(np.float32),
            "bbox": rng.uniform(1, 90, (5, 4)),
            "features": rng.normal(size=(5, 2048)).astype(np.float32),
        }  # fmt: skip
        path = tmp_path / "pennaction_train_db.pt"
        write_joblib(path, {key: Rows(array.dtype, array.shape, [array]) for key, array in rows.items()})
        return path

    return write


def assert_round_trip(first: Path, dataset: str, root: Path) -> None:
    one = import_file(first, dataset, root, synthetic=True, name="one")
    out = first.with_name("out") / first.name
    exported = export_store(one.store, out=out)
    two = import_file(out, dataset, root, name="two")
    before, after = content(one.store), content(two.store)
    assert list(before) == list(after)
    for name in before:
        np.testing.assert_equal(after[name], before[name], err_msg=name)
    again = export_store(two.store, out=out.with_name("again") / out.name)
    assert Path(again.file).read_bytes() == Path(exported.file).read_bytes()


def test_import_after_export_gives_the_store_back(store: Path, tmp_path: Path) -> None:
    assert_round_trip(Path(export_store(store).file), "3dpw", tmp_path / "root")


def test_files_without_frame_numbers_come_back_too(pennaction: Callable[[], Path], tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    assert_round_trip(pennaction(), "pennaction", tmp_path / "root")


def test_a_dry_run_writes_nothing(store: Path) -> None:
    summary = export_store(store, dry_run=True)
    assert (summary.rows, summary.tracks, summary.keys["features"]) == (74, 2, (74, 2048))
    assert not (store.parent.parent / "exports").exists()


def test_what_is_not_there_is_refused(store: Path) -> None:
    with pytest.raises(UnknownName, match="vibe-db"):
        export_store(store, format="vibe")
    with pytest.raises(UnknownName, match="split"):
        export_store(store, split="train")
    with pytest.raises(UnknownName, match="view"):
        export_store(store, view="vibe")
    with pytest.raises(MissingFeatures):
        export_store(store, features="spin-vibe")
    assert "features" not in export_store(store, features="none", dry_run=True).keys


def test_a_split_must_be_named_where_there_are_two(image_store: Callable[..., Path]) -> None:
    path = image_store(default_view="tcmr")
    for split in (None, "all"):
        with pytest.raises(UsageError, match="--split"):
            export_store(path, split=split)


def test_blocks_must_make_up_the_shape(tmp_path: Path) -> None:
    for blocks in ([np.zeros((2, 3))], [np.zeros((4, 2))]):
        for write in (write_joblib, write_hdf5):
            with pytest.raises(ShapeError, match="announced"):
                write(tmp_path / "a.pt", {"a": Rows(np.dtype("f4"), (4, 3), blocks)})
    assert list(tmp_path.iterdir()) == []


def test_joblib_itself_reads_an_export(store: Path) -> None:
    joblib = pytest.importorskip("joblib", reason="our own loader stands in for joblib")
    file = Path(export_store(store).file)
    theirs, ours = joblib.load(file), load_joblib(file)
    assert list(theirs) == list(ours)
    for key in ours:
        assert theirs[key].dtype == ours[key].dtype
        np.testing.assert_array_equal(theirs[key], ours[key])
