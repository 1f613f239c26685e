"""The MPI-INF-3DHP reader and views, trap by trap, against the numbers that the raw files were made from."""

import re
import runpy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsbench.bodies.joints import get_joint_set
from hpsbench.errors import BrokenFile, MissingRawFiles, UnitError, UsageError
from hpsbench.recipes.catalog import get_recipe
from hpsbench.recipes.imports.facts import processed_facts
from hpsbench.recipes.readers._calibration import read_calibration
from hpsbench.recipes.sequences import RawSequence, find_sequences, read_sequence
from hpsbench.recipes.views import view_track
from hpsbench.store.clips import cut_clips
from hpsbench.types import Track

RAW: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "raw_mpi_inf_3dhp.py"))
RECIPE = get_recipe("mpi-inf-3dhp")
SEQ1 = "S1/Seq1/annot.mat"
TS1 = "mpi_inf_3dhp_test_set/TS1/annot_data.mat"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small dataset; read only."""
    folder = tmp_path_factory.mktemp("raw")
    RAW["write"](folder)
    return folder


@pytest.fixture(scope="module")
def tracks(raw: Path) -> dict[str, Track]:
    found = [track for item in find_sequences(RECIPE, raw) for track in read_sequence(RECIPE, item)]
    return {track.sequence: track for track in found}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """One training and one test sequence without images, to be damaged."""
    RAW["write_train_sequence"](tmp_path, "S1", "Seq1", 24, {})
    RAW["write_test_sequence"](tmp_path, "TS1")
    return tmp_path


def read(root: Path, name: str, **options: Any) -> list[Track]:
    split = "train" if "annot.mat" in name else "test"
    raw = RawSequence(root=root, name=name, split=split, options={**RECIPE.options, **options})
    return list(read_sequence(RECIPE, raw))


def kept(track: Track, view: str) -> list[int]:
    """Kept frame numbers."""
    keep = view_track(track, RECIPE.views[view], RECIPE).keep
    return np.asarray(track.frame_id)[keep].tolist()


def test_every_camera_of_a_sequence_is_a_track(tracks: dict[str, Track]) -> None:
    names = {f"S1_{seq}_video_{camera}" for seq in ("Seq1", "Seq2") for camera in range(14)}
    assert set(tracks) == names | {"TS1", "TS5", "TS6"}
    assert {(t.split, t.subject) for t in tracks.values() if t.sequence in names} == {("train", "S1")}
    assert {t.split for name, t in tracks.items() if name.startswith("TS")} == {"test"}
    assert tracks["S1_Seq2_video_13"].camera == "13"


def test_rates_differ_between_sequences(tracks: dict[str, Track]) -> None:
    assert [tracks[n].fps for n in ("S1_Seq1_video_0", "S1_Seq2_video_0", "TS1")] == [25.0, 50.0, 25.0]


@pytest.mark.parametrize("camera", [0, 1, 9])
def test_joints_are_metres_in_the_camera_and_project_onto_the_keypoints(
    camera: int, tracks: dict[str, Track]
) -> None:
    fields = tracks[f"S1_Seq1_video_{camera}"].fields
    want = RAW["poses"](24, camera) / 1000
    np.testing.assert_allclose(fields["joints3d"], want, atol=1e-6)
    np.testing.assert_allclose(fields["joints3d_univ"], want * 0.9, atol=1e-6)
    image = np.einsum("tij,tkj->tki", fields["intrinsics"], fields["joints3d"])
    pixels = image[..., :2] / image[..., 2:]
    rows = [row for row in range(24) if camera or row not in RAW["EDGES"]]
    np.testing.assert_allclose(pixels[rows], fields["keypoints2d"][rows, :, :2], atol=1e-2)
    assert (fields["keypoints2d"][..., 2] == 1).all()


def test_the_camera_stands_where_the_calibration_says(tracks: dict[str, Track]) -> None:
    fields = tracks["S1_Seq1_video_4"].fields
    want = RAW["extrinsics"](4)
    np.testing.assert_allclose(fields["extrinsics"][0][:3, :3], want[:3, :3])
    np.testing.assert_allclose(fields["extrinsics"][0][:3, 3], want[:3, 3] / 1000)
    np.testing.assert_allclose(fields["intrinsics"][0], RAW["intrinsics"](4))


def test_frames_count_from_one_like_the_images(raw: Path, tracks: dict[str, Track]) -> None:
    for camera, name in {
        0: "imageFrames/video_0/frame_000001.jpg",
        1: "video_1/frame_000001.jpg",
        2: "video_2/000001.jpg",
        4: "imageSequence/video_4.avi#1",
        3: "imageSequence/video_3.avi#1",
    }.items():
        track = tracks[f"S1_Seq1_video_{camera}"]
        np.testing.assert_array_equal(track.frame_id, np.arange(1, 25))
        assert track.image_source is not None
        assert track.image_source.format(frame_id=1) == f"S1/Seq1/{name}"
        assert "#" in name or (raw / "S1/Seq1" / name).is_file()


def test_extracted_frames_come_before_the_video(raw: Path, tracks: dict[str, Track]) -> None:
    assert (raw / "S1/Seq1/imageSequence/video_0.avi").is_file()
    assert "#" not in str(tracks["S1_Seq1_video_0"].image_source)


def test_rows_without_image_stay_rows_but_leave_the_views(tracks: dict[str, Track]) -> None:
    for camera, missing in {0: 2, 4: 0, 5: 4, 6: 0}.items():
        track = tracks[f"S1_Seq1_video_{camera}"]
        assert len(track) == 24
        assert int((~track.fields["has_image"]).sum()) == missing
        assert view_track(track, RECIPE.views["vibe"], RECIPE).dropped.get("image-missing", 0) == missing


def test_rows_beyond_the_official_number_are_not_read(raw: Path) -> None:
    for name in (SEQ1, TS1):
        track = read(raw, name, frames={"S1_Seq1": 10, "TS1": 10})[0]
        assert len(track) == 10
        assert all(len(values) == 10 for values in track.fields.values())


def test_official_numbers_are_the_published_ones() -> None:
    frames = RECIPE.options["frames"]
    assert sum(n for name, n in frames.items() if name.startswith("S")) == 131_592
    assert sum(n for name, n in frames.items() if name.startswith("T")) == 24_888
    counts = {(e.what, e.split): e.value for e in RECIPE.expected}
    assert counts["rows", "train"] == 14 * 131_592
    assert counts["rows", "test"] == 24_888


@pytest.mark.parametrize(
    ("processed", "path"),
    [
        ("subj3_seq2_vid7_seg12", "S3/Seq2/annot.mat"),
        ("subj3_seg0", "mpi_inf_3dhp_test_set/TS3/annot_data.mat"),
    ],
)
def test_processed_files_name_subjects_and_cameras_as_this_recipe_does(processed: str, path: str) -> None:
    facts = processed_facts("mpi-inf-3dhp")
    found = re.fullmatch(facts.track, processed)
    assert found is not None
    assert found["sequence"] == processed
    assert facts.values["subject"][found["subject"]] == path.split("/")[-3 if "Seq" in path else -2]
    assert found["camera"] == ("7" if "Seq" in path else None)
    assert set(facts.values["subject"].values()) == {
        name.partition("_")[0] for name in RECIPE.options["frames"]
    }


class TestTestSet:
    def test_seventeen_joints_lie_in_their_places_and_the_others_are_missing(
        self, tracks: dict[str, Track]
    ) -> None:
        fields = tracks["TS1"].fields
        want = RAW["poses"](20, 0) / 1000
        known, missing = RAW["SEVENTEEN"], sorted(set(range(28)) - set(RAW["SEVENTEEN"]))
        np.testing.assert_allclose(fields["joints3d"][:, known], want[:, known], atol=1e-6)
        np.testing.assert_allclose(fields["joints3d_univ"][:, known], want[:, known] * 0.9, atol=1e-6)
        assert np.isnan(fields["joints3d"][:, missing]).all()
        assert np.isnan(fields["joints3d_univ"][:, missing]).all()
        assert (fields["keypoints2d"][:, missing] == 0).all()
        assert (fields["keypoints2d"][:, known, 2] == 1).all()
        joints = get_joint_set(RECIPE.fields["joints3d_univ"].joint_set or "")
        assert joints.names[known[14]] == "pelvis"

    def test_all_frames_are_rows_and_some_are_valid(self, tracks: dict[str, Track]) -> None:
        valid = tracks["TS1"].fields["valid"]
        assert valid.dtype == bool
        assert np.flatnonzero(valid).tolist() == [2, 6, 10, 14, 18]
        assert not tracks["TS6"].fields["valid"].any()
        assert tracks["S1_Seq1_video_0"].fields["valid"].all()

    def test_sizes_come_from_the_images_or_else_from_the_recipe(
        self, own: Path, tracks: dict[str, Track]
    ) -> None:
        assert [(tracks[n].width, tracks[n].height) for n in ("TS1", "TS5")] == [(2048, 2048), (1920, 1080)]
        assert [(t.width, t.height) for t in read(own, TS1)] == [(2048, 2048)]
        assert [(t.width, t.height) for t in read(own, TS1, sizes={})] == [(None, None)]

    def test_what_it_lacks_is_absent(self, tracks: dict[str, Track]) -> None:
        assert {"intrinsics", "extrinsics"}.isdisjoint(tracks["TS1"].fields)
        assert "activity" not in tracks["S1_Seq1_video_0"].fields
        np.testing.assert_array_equal(tracks["TS5"].fields["activity"], np.arange(16) % 7 + 1)

    def test_a_folder_within_a_folder_is_read_too(self, raw: Path, tmp_path: Path) -> None:
        inner = tmp_path / "mpi_inf_3dhp_test_set" / "mpi_inf_3dhp_test_set"
        shutil.copytree(raw / "mpi_inf_3dhp_test_set", inner)
        found = find_sequences(RECIPE, tmp_path)
        assert [item.path.parent.name for item in found] == ["TS1", "TS5", "TS6"]
        track = next(read_sequence(RECIPE, found[0]))
        assert (tmp_path / str(track.image_source).format(frame_id=1)).is_file()


class TestViews:
    def test_a_joint_that_leaves_the_image_cuts_the_segment(self, tracks: dict[str, Track]) -> None:
        frames = kept(tracks["S1_Seq1_video_0"], "tcmr")
        # Row 5: x = -1; row 9: x = 2048. Row 10 touches the border from inside; row 12: a hand, which nobody looks at.
        assert frames == [*range(1, 6), *range(7, 10), *range(11, 23)]
        track = Track(sequence="x", person=0, split="train", frame_id=np.array(frames), fields={})
        assert [clip["length"] for clip in cut_clips(track)] == [5, 3, 12]

    def test_the_border_is_that_of_the_image(self, tracks: dict[str, Track]) -> None:
        for name in ("TS1", "TS5"):
            assert 4 not in kept(tracks[name], "vibe")
            assert view_track(tracks[name], RECIPE.views["vibe"], RECIPE).dropped == {
                "joint-outside-image": 1
            }

    def test_invalid_test_frames_are_kept_by_all_but_spin(self, tracks: dict[str, Track]) -> None:
        for view in ("vibe", "tcmr", "mpsnet"):
            assert len(kept(tracks["TS1"], view)) == 19
        assert kept(tracks["TS1"], "spin") == [3, 7, 11, 15, 19]
        assert kept(tracks["TS6"], "spin") == []
        assert kept(tracks["TS6"], "tcmr") == [1, 2, 3, *range(5, 17)]

    @pytest.mark.parametrize("view", ["vibe", "tcmr", "mpsnet", "spin"])
    def test_only_the_eight_regular_cameras_are_used(self, view: str, tracks: dict[str, Track]) -> None:
        used = {t.camera for t in tracks.values() if t.camera is not None and t.fps == 50 and kept(t, view)}
        assert used == {"0", "1", "2", "4", "5", "6", "7", "8"}

    def test_spin_thins_the_training_frames_that_it_accepts(self, tracks: dict[str, Track]) -> None:
        """Which of them it takes depends on the tracks before: see tests/pipeline/prepare/test_thinning.py."""
        thin = RECIPE.views["spin"].thin
        assert thin is not None
        assert (thin.every, thin.splits, thin.counted) == (10, ["train"], "dataset")
        for name in ("S1_Seq1_video_0", "S1_Seq1_video_1"):
            assert kept(tracks[name], "spin") == kept(tracks[name], "tcmr")

    def test_boxes_and_crops_differ_as_in_the_code_they_come_from(self, tracks: dict[str, Track]) -> None:
        track = tracks["S1_Seq1_video_1"]
        points = track.fields["keypoints2d"][:, RAW["SEVENTEEN"], :2]
        low, high = points.min(axis=1), points.max(axis=1)
        sides = {"vibe": (1.1, 1.3), "tcmr": (1.1, 1.2), "mpsnet": (1.1, 1.2), "tcmr-scale10": (1.1, 1.0)}
        for view, (factor, crop) in (sides | {"spin": (1.0, 1.2)}).items():
            boxes = view_track(track, RECIPE.views[view], RECIPE).bbox_cxcywh
            np.testing.assert_allclose(boxes[:, :2], (low + high) / 2)
            np.testing.assert_allclose(boxes[:, 2], factor * (high - low).max(axis=1))
            np.testing.assert_array_equal(boxes[:, 2], boxes[:, 3])
            assert RECIPE.views[view].crop_scale == crop

    def test_the_view_all_keeps_everything(self, tracks: dict[str, Track]) -> None:
        assert all(len(kept(track, "all")) == len(track) for track in tracks.values())


class TestCalibration:
    def test_line_endings_and_trailing_spaces_do_not_matter(self, tmp_path: Path) -> None:
        text = RAW["calibration"]()
        for number, variant in enumerate([text, text.replace("\n", "\r\n"), text.replace(" \n", "\n")]):
            path = tmp_path / f"{number}.calibration"
            path.write_bytes(variant.encode())
            cameras = read_calibration(path)
            assert sorted(cameras) == list(range(14))
            assert {(c.width, c.height) for c in cameras.values()} == {(2048, 2048)}
            np.testing.assert_allclose(cameras[7].extrinsics[:3, 3] * 1000, RAW["extrinsics"](7)[:3, 3])

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("size        2048 2048", "size        2048", "size of camera 0 should be 2 numbers, found 1"),
            ("size        2048 2048", "size        0 2048", "size of camera 0 is 0 x 2048 pixels"),
            ("intrinsic   1500.0", "intrinsic   15oo", "intrinsic of camera 0 is not a list of numbers"),
            ("  extrinsic", "  extrinsics", "extrinsic of camera 0 should be 16 numbers, found 0"),
            ("name          0", "name          left", "a camera is called 'left'"),
        ],
    )
    def test_a_damaged_file_names_camera_and_line(
        self, old: str, new: str, message: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "camera.calibration"
        path.write_text(RAW["calibration"]().replace(old, new, 1))
        with pytest.raises(BrokenFile, match=message):
            read_calibration(path)

    def test_a_missing_or_empty_file_is_said(self, own: Path) -> None:
        path = own / "S1/Seq1/camera.calibration"
        path.write_bytes(b"\xff\xfe\x00")
        with pytest.raises(BrokenFile, match="not a text file"):
            read(own, SEQ1)
        path.write_text("Skeletool Camera Calibration File V1.0\n")
        with pytest.raises(BrokenFile, match="holds no camera"):
            read(own, SEQ1)
        path.unlink()
        with pytest.raises(MissingRawFiles, match=r"camera\.calibration is missing"):
            read(own, SEQ1)


def cells(change: Any) -> np.ndarray:
    """A cell array of annot2 whose cell 3 is changed."""
    values = np.empty((14, 1), object)
    for camera in range(14):
        values[camera, 0] = RAW["train_arrays"](24, camera, {})["annot2"].reshape(24, 56)
    values[3, 0] = change(values[3, 0])
    return values


class TestDamagedFiles:
    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"annot3": None}, BrokenFile, "has no annot3"),
            ({"annot2": np.zeros((24, 56))}, BrokenFile, "expected cell arrays"),
            (
                {"annot2": cells(lambda v: v.T)},
                BrokenFile,
                r"annot2\[3\] has shape \(56, 24\), expected \(56, 56\)",
            ),
            ({"annot2": cells(lambda v: v[:, :34])}, BrokenFile, r"annot2\[3\] has shape \(24, 34\)"),
            ({"annot2": cells(lambda v: v[:0])}, BrokenFile, r"annot2\[3\] has shape \(0, 56\)"),
            (
                {"annot2": cells(lambda v: np.where(np.arange(24)[:, None] == 7, np.nan, v))},
                BrokenFile,
                r"annot2\[3\] is not finite in 1 of 24 rows, first in row 7",
            ),
        ],
    )
    def test_a_wrong_training_file_names_the_key(
        self, changes: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
    ) -> None:
        RAW["write_train_sequence"](tmp_path, "S1", "Seq1", 24, {}, **changes)
        with pytest.raises(error, match=message) as caught:
            read(tmp_path, SEQ1)
        assert SEQ1 in str(caught.value)

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"valid_frame": None}, BrokenFile, "has no array valid_frame"),
            ({"valid_frame": np.where(np.arange(20) == 3, np.nan, 1)[:, None]}, BrokenFile, "valid_frame should be 0 or 1, found nan in row 3"),
            ({"valid_frame": np.arange(20)[:, None]}, BrokenFile, "valid_frame should be 0 or 1, found 2 in row 2"),
            ({"annot2": np.zeros((2, 17, 1, 20))}, BrokenFile, r"annot2 has shape \(2, 17, 1, 20\), expected \(20, 1, 17, 2\)"),
            ({"annot3": np.zeros((19, 1, 17, 3))}, BrokenFile, r"annot3 has shape \(19, 1, 17, 3\)"),
            ({"univ_annot3": np.full((20, 1, 17, 3), np.inf)}, BrokenFile, "univ_annot3 is not finite"),
            ({"annot3": np.zeros((20, 1, 17, 3))}, UnitError, "read as millimetres, annot3 gives bodies that span 0 m"),
        ],
    )  # fmt: skip
    def test_a_wrong_test_file_names_the_key(
        self, changes: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
    ) -> None:
        RAW["write_test_sequence"](tmp_path, "TS1", **changes)
        with pytest.raises(error, match=message) as caught:
            read(tmp_path, TS1)
        assert TS1 in str(caught.value)

    def test_metres_in_place_of_millimetres_are_found(self, tmp_path: Path) -> None:
        values = np.empty((14, 1), object)
        for camera in range(14):
            values[camera, 0] = RAW["poses"](24, camera).reshape(24, 84) / 1000
        RAW["write_train_sequence"](tmp_path, "S1", "Seq1", 24, {}, annot3=values)
        with pytest.raises(UnitError, match=r"annot3\[0\] gives bodies that span 0\.00"):
            read(tmp_path, SEQ1)

    @pytest.mark.parametrize("name", [SEQ1, TS1])
    def test_a_truncated_file_is_broken(self, name: str, own: Path) -> None:
        path = own / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(BrokenFile, match=r"truncated or damaged|cut off"):
            read(own, name)

    def test_a_test_file_in_place_of_a_training_file_is_recognised(self, own: Path) -> None:
        shutil.copy(own / TS1, own / SEQ1)
        with pytest.raises(BrokenFile, match=r"MATLAB 7\.3"):
            read(own, SEQ1)

    def test_an_unreadable_video_is_named(self, own: Path) -> None:
        video = own / "S1/Seq1/imageSequence/video_6.avi"
        video.parent.mkdir()
        video.write_bytes(b"no video" * 99)
        with pytest.raises(BrokenFile, match=r"video_6\.avi: not a readable video"):
            read(own, SEQ1)

    def test_a_test_image_that_is_no_jpeg_is_named(self, own: Path) -> None:
        image = own / "mpi_inf_3dhp_test_set/TS1/imageSequence/img_000001.jpg"
        image.parent.mkdir()
        image.write_bytes(b"GIF89a")
        with pytest.raises(BrokenFile, match=r"img_000001\.jpg is not a JPEG"):
            read(own, TS1)

    def test_other_files_among_the_images_do_not_disturb(self, own: Path) -> None:
        folder = own / "S1/Seq1/imageFrames/video_0"
        folder.mkdir(parents=True)
        for name in ("frame_1.jpg", "frame_000002.jpg.part", "Thumbs.db", "frame_000002.jpg"):
            (folder / name).write_bytes(b"")
        assert np.flatnonzero(read(own, SEQ1)[0].fields["has_image"]).tolist() == [1]

    def test_a_camera_without_cells_is_no_track_and_one_without_calibration_an_error(self, own: Path) -> None:
        empty = {}
        for key, width in {"annot2": 56, "annot3": 84, "univ_annot3": 84}.items():
            values = np.empty((15, 1), object)
            for camera in range(15):
                wide = RAW["train_arrays"](24, camera, {})[key].reshape(24, width)
                values[camera, 0] = np.zeros((0, 0)) if camera == 13 else wide
            empty[key] = values
        RAW["write_train_sequence"](own, "S1", "Seq1", 24, {}, **empty)
        with pytest.raises(BrokenFile, match="has no camera 14"):
            read(own, SEQ1)
        for key, values in empty.items():
            empty[key] = values[:14]
        RAW["write_train_sequence"](own, "S1", "Seq1", 24, {}, **empty)
        assert [t.camera for t in read(own, SEQ1)] == [str(camera) for camera in range(13)]

    def test_options_must_be_in_the_recipe(self, own: Path) -> None:
        raw = RawSequence(root=own, name=SEQ1, split="train")
        with pytest.raises(UsageError, match=r"lacks options\.frames \(dict\)"):
            list(read_sequence(RECIPE, raw))
