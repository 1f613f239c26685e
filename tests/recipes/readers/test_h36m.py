"""Human3.6M: the official layout and the views, trap by trap, against the numbers that the raw files were made from."""

import runpy
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsbench.bodies.joints import convert_indices, get_joint_set
from hpsbench.errors import BadData, BrokenFile, MissingRawFiles, UnitError
from hpsbench.geometry.cameras import project, project_h36m
from hpsbench.protocols.catalog import get_protocol, list_protocols
from hpsbench.recipes.catalog import get_recipe
from hpsbench.recipes.sequences import RawSequence, find_sequences, read_sequence
from hpsbench.recipes.views import view_track
from hpsbench.types import Track

RAW: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "raw_h36m.py"))
RECIPE = get_recipe("h36m")
PELVIS = {"h36m32_raw": "Hips", "h36m17_official": "Pelvis"}
HIPS = {"h36m32_raw": {"RightUpLeg", "LeftUpLeg"}, "h36m17_official": {"R_Hip", "L_Hip"}}
MONO = "MyPoseFeatures/D3_Positions_mono"
DIRECTIONS = f"S9/{MONO}/Directions.60457274.cdf"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small dataset in its official layout; read only."""
    folder = tmp_path_factory.mktemp("raw")
    RAW["write"](folder)
    return folder


@pytest.fixture(scope="module")
def tracks(raw: Path) -> dict[str, Track]:
    found = [track for item in find_sequences(RECIPE, raw) for track in read_sequence(RECIPE, item)]
    return {track.sequence: track for track in found}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """One recording, to be damaged."""
    RAW["write_metadata"](tmp_path / "metadata.xml")
    RAW["write_recording"](tmp_path, 9, 2, 2, 3, 12)
    return tmp_path


def read(root: Path, name: str = DIRECTIONS, **options: Any) -> Track:
    raw = RawSequence(root=root, name=name, split="test", options={**RECIPE.options, **options})
    (track,) = read_sequence(RECIPE, raw)
    return track


def kept(track: Track, view: str) -> list[int]:
    """Kept frame numbers."""
    keep = view_track(track, RECIPE.views[view], RECIPE).keep
    return np.asarray(track.frame_id)[keep].tolist()


class TestSequences:
    def test_subjects_make_the_splits_and_all_files_are_passed_over(self, raw: Path) -> None:
        found = find_sequences(RECIPE, raw)
        assert {(item.split, item.name.split("/")[0]) for item in found} == {
            ("train", "S1"),
            ("test", "S9"),
            ("test", "S11"),
        }
        assert len(found) == 10
        assert not any("_ALL" in item.name for item in found)

    def test_a_subject_of_the_hidden_test_set_is_refused(self, own: Path) -> None:
        RAW["write_recording"](own, 10, 2, 2, 3, 5)
        with pytest.raises(BadData, match="belongs to a split 'hidden'"):
            find_sequences(RECIPE, own)

    def test_only_the_first_layout_that_is_there_is_read(self, own: Path) -> None:
        RAW["write_moon"](own)
        RAW["write_fetch"](own, 1, "Directions-1", {0: [1, 2]})
        assert [item.name for item in find_sequences(RECIPE, own)] == [DIRECTIONS]
        shutil.rmtree(own / "S9")
        assert {item.path.suffix for item in find_sequences(RECIPE, own)} == {".json"}
        shutil.rmtree(own / "annotations")
        assert {item.path.suffix for item in find_sequences(RECIPE, own)} == {".h5"}

    def test_archives_unpacked_by_other_tools_are_read_too(self, tmp_path: Path) -> None:
        RAW["write_metadata"](tmp_path / "metadata.xml")
        RAW["write_recording"](tmp_path, 9, 2, 2, 3, 12, extracted=True)
        (item,) = find_sequences(RECIPE, tmp_path)
        (track,) = read_sequence(RECIPE, item)
        assert {"joints3d", "joints3d_univ", "keypoints2d"} <= set(track.fields)
        assert track.image_source == "extracted/S9/Videos/Directions.60457274.mp4#{frame_id}"

    @pytest.mark.parametrize(
        ("solid", "flat"),
        [
            ("MyPoseFeatures/D3_Positions_mono", "MyPoseFeatures/Poses_D2_Positions"),
            ("MyPoseFeatures/D3_Positions_mono", "Poses_D2_Positions"),
            ("MyPoseFeatures/Poses_D3_Positions_mono", "MyPoseFeatures/Poses_D2_Positions"),
            ("Poses_D3_Positions_mono", "MyPoseFeatures/D2_Positions"),
        ],
    )
    def test_folders_of_features_may_have_either_name_and_place(
        self, solid: str, flat: str, own: Path
    ) -> None:
        subject, name = own / "S9", "Directions.60457274.cdf"
        marked = RAW["project"](RAW["to_camera"](RAW["world"](9, 2, 2, 12), 9, 3), 3) + 0.5
        RAW["write_cdf"](subject / "MyPoseFeatures/D2_Positions" / name, marked)
        for old, new in {"D3_Positions_mono": solid, "D2_Positions": flat}.items():
            (subject / new).parent.mkdir(exist_ok=True)
            (subject / "MyPoseFeatures" / old).rename(subject / "moved")
            (subject / "moved").rename(subject / new)
        (item,) = find_sequences(RECIPE, own)
        (track,) = read_sequence(RECIPE, item)
        np.testing.assert_allclose(track.fields["keypoints2d"][..., :2], marked, atol=1e-3)
        assert any(
            item.name.startswith(marker.partition("*.cdf")[0].replace("S*", "S9"))
            for marker in RECIPE.markers
        )


class TestOfficial:
    def test_every_row_is_a_frame_with_its_camera_subject_and_action(self, tracks: dict[str, Track]) -> None:
        track = tracks["S9_Directions.60457274"]
        np.testing.assert_array_equal(track.frame_id, np.arange(1, 25))
        assert (track.fps, track.camera, track.subject, track.action) == (
            50.0,
            "60457274",
            "S9",
            "Directions",
        )
        assert (track.width, track.height, track.split, track.gender) == (1000, 1002, "test", None)
        assert tracks["S9_Directions.55011271"].height == 1000
        assert dict(track.clip_info) == {
            "layout": "official",
            "action_id": 2,
            "subaction": 2,
            "recording": "S9 Directions",
            "remarks": None,
            "smpl_source": None,
        }

    def test_joints_are_metres_in_the_camera_and_absolute(self, tracks: dict[str, Track]) -> None:
        for camera, name in enumerate(RAW["CAMERAS"]):
            joints = tracks[f"S9_Directions.{name}"].fields["joints3d"]
            want = RAW["to_camera"](RAW["world"](9, 2, 2, 24), 9, camera) / 1000
            np.testing.assert_allclose(joints, want, atol=1e-6)
            assert np.linalg.norm(joints[:, 0], axis=1).min() > 3  # the pelvis is not at the origin
        universal = tracks["S9_Directions.60457274"].fields["joints3d_univ"]
        np.testing.assert_allclose(universal, want * 0.9, atol=1e-6)

    def test_2d_joints_have_the_distortion_in_them(self, tracks: dict[str, Track]) -> None:
        fields = tracks["S9_Directions.60457274"].fields
        points = fields["keypoints2d"]
        assert (points[..., 2] == 1).all()
        pixels = project_h36m(fields["joints3d"], fields["intrinsics"], fields["distortion"])
        np.testing.assert_allclose(points[..., :2], pixels, atol=1e-3)
        assert np.abs(project(fields["joints3d"], fields["intrinsics"]) - pixels).max() > 0.5

    def test_2d_joints_that_are_not_there_are_projected(self, own: Path) -> None:
        want = read(own).fields["keypoints2d"]
        shutil.rmtree(own / "S9/MyPoseFeatures/D2_Positions")
        np.testing.assert_allclose(read(own).fields["keypoints2d"], want, atol=1e-3)

    def test_extrinsics_hold_the_translation_not_the_centre(self, tracks: dict[str, Track]) -> None:
        for camera, name in enumerate(RAW["CAMERAS"]):
            fields = tracks[f"S9_Directions.{name}"].fields
            rotation, center = RAW["extrinsics"](9, camera)
            assert fields["extrinsics"].shape == (24, 4, 4)
            np.testing.assert_allclose(fields["extrinsics"][5, :3, :3], rotation, atol=1e-12)
            np.testing.assert_allclose(fields["extrinsics"][5, :3, 3], -rotation @ center / 1000, atol=1e-12)
        moved = tracks["S1_Photo.60457274"].fields["extrinsics"][0]
        assert not np.allclose(moved, fields["extrinsics"][0])  # cameras stand elsewhere for another subject

    def test_native_joints_have_the_right_leg_first(self, tracks: dict[str, Track]) -> None:
        joints = tracks["S9_Directions.60457274"].fields["joints3d"]
        own_set = get_joint_set(RECIPE.fields["joints3d"].joint_set_of(32) or "")
        assert own_set.id == "h36m32_raw"
        assert convert_indices(own_set, "h36m17_official") == RAW["SEVENTEEN"]
        hip, right, left = own_set.indices(("RightUpLeg", "RightArm", "LeftArm"))
        near, far = (np.linalg.norm(joints[:, hip] - joints[:, arm], axis=1) for arm in (right, left))
        assert (near < far).all()

    def test_names_are_mapped_through_the_metadata(self, tracks: dict[str, Track]) -> None:
        found = {
            name: (t.action, t.clip_info["action_id"], t.clip_info["subaction"]) for name, t in tracks.items()
        }
        assert found["S1_Directions_1.54138969"] == ("Directions", 2, 1)
        assert found["S1_Photo.60457274"] == ("TakingPhoto", 12, 2)
        assert found["S11_Phoning_2.60457274"] == ("Phoning", 6, 2)
        assert tracks["S11_Phoning_2.60457274"].clip_info["recording"] == "S11 Phoning 2"

    def test_a_video_that_ends_early_leaves_rows_without_image(self, tracks: dict[str, Track]) -> None:
        track = tracks["S9_Directions.60457274"]
        assert track.image_source == "S9/Videos/Directions.60457274.mp4#{frame_id}"
        assert np.flatnonzero(~track.fields["has_image"]).tolist() == [22, 23]
        assert (
            tracks["S9_Directions.54138969"].fields["has_image"].all()
        )  # no images at all: nothing is known

    def test_extracted_images_come_before_the_video_and_are_matched_by_number(self, own: Path) -> None:
        RAW["write_video"](own / "S9/Videos/Directions.60457274.mp4", 12)
        folder = own / "S9/images/S9_Directions.60457274"
        RAW["write_images"](folder, "S9_Directions.60457274_{:06d}.jpg", [1, 6, 11])
        track = read(own)
        assert np.asarray(track.frame_id)[track.fields["has_image"]].tolist() == [1, 6, 11]
        assert (own / str(track.image_source).format(frame_id=6)).is_file()
        assert kept(track, "p1") == [1, 6, 11]
        assert kept(track, "tcmr") == [1, 11]

    def test_images_may_be_numbered_in_five_digits(self, own: Path) -> None:
        folder = own / "S9/images/S9_Directions.60457274"
        RAW["write_images"](folder, "S9_Directions.60457274_{:05d}.jpg", [1, 6])
        track = read(own)
        assert np.asarray(track.frame_id)[track.fields["has_image"]].tolist() == [1, 6]
        assert (own / str(track.image_source).format(frame_id=6)).is_file()

    def test_the_corrupt_video_keeps_its_rows_without_images(
        self, raw: Path, tracks: dict[str, Track]
    ) -> None:
        track = tracks["S11_Directions.54138969"]
        assert track.image_source is None
        assert not track.fields["has_image"].any()
        assert "corrupt-video" in track.clip_info["remarks"]
        assert (kept(track, "p1"), len(kept(track, "all"))) == ([], 25)
        assert tracks["S11_Directions.60457274"].fields["has_image"].all()

    def test_drifted_recordings_are_remarked(self, tracks: dict[str, Track]) -> None:
        remarked = {name for name, t in tracks.items() if "drifted-3d" in (t.clip_info["remarks"] or "")}
        assert remarked == {"S9_Greeting.60457274"}
        rule = RECIPE.views["p1"].model_copy(update={"without": ["drifted-3d"]})
        assert view_track(tracks["S9_Greeting.60457274"], rule, RECIPE).dropped == {"drifted-3d": 20}

    def test_as_many_rows_are_read_as_3d_and_2d_have(self, own: Path) -> None:
        joints = RAW["to_camera"](RAW["world"](9, 2, 2, 9), 9, 3)
        RAW["write_cdf"](
            own / "S9/MyPoseFeatures/D2_Positions/Directions.60457274.cdf", RAW["project"](joints, 3)
        )
        RAW["write_cdf"](
            own / "S9/MyPoseFeatures/D3_Positions_mono_universal/Directions.60457274.cdf", joints[:7]
        )
        track = read(own)
        assert len(track) == 9
        assert np.isnan(track.fields["joints3d_univ"]).all(axis=(1, 2)).tolist() == [False] * 7 + [True] * 2


class TestMasks:
    def test_boxes_reach_one_beyond_the_last_pixel_in_every_fifth_row(self, tracks: dict[str, Track]) -> None:
        boxes = tracks["S9_Directions.60457274"].fields["bbox_xyxy"]
        for row in (0, 5, 15, 20):
            assert boxes[row].tolist() == [400 + row, 300, 600 + row, 900]
        assert np.isfinite(boxes).all(axis=1).sum() == 4  # nobody in the mask of row 10

    def test_every_mask_is_read_if_the_recipe_says_so(self, raw: Path) -> None:
        boxes = read(raw, mask_step=1).fields["bbox_xyxy"]
        want = [
            [a, b, c + 1, d + 1] if box else [np.nan] * 4
            for box in RAW["mask_boxes"](24)
            for a, b, c, d in [box or (0, 0, 0, 0)]
        ]
        np.testing.assert_array_equal(boxes, want)

    def test_spin_takes_them_at_nine_tenths_and_keypoints_instead(self, tracks: dict[str, Track]) -> None:
        masked, bare = (
            view_track(tracks[f"S9_Directions.{camera}"], RECIPE.views["spin"], RECIPE)
            for camera in ("60457274", "54138969")
        )
        np.testing.assert_allclose(masked.bbox_cxcywh[5], [505, 600, 540, 540])
        assert masked.dropped == {"thinned": 19, "no-box": 1}
        points = tracks["S9_Directions.54138969"].fields["keypoints2d"][:, RAW["SEVENTEEN"], :2]
        np.testing.assert_allclose(bare.bbox_cxcywh[:, 2], np.ptp(points, axis=1).max(axis=1))
        assert bare.keep.sum() == 5

    @pytest.mark.parametrize(
        ("boxes", "rows"), [([(1, 2, 3, 4)] * 3, 1), ([(1, 2, 3, 4)] * 40, 3), ([None] * 12, 0)]
    )
    def test_fewer_more_or_empty_masks(self, boxes: list[Any], rows: int, own: Path) -> None:
        RAW["write_masks"](own / "S9/MySegmentsMat/ground_truth_bb/Directions.60457274.mat", boxes)
        track = read(own)
        assert np.isfinite(track.fields["bbox_xyxy"]).all(axis=1).sum() == rows
        assert len(kept(track, "spin")) == (rows or 3)  # without a single box the keypoints' stand in


class TestViews:
    def test_rates_are_counted_by_frame_number_from_one(self, tracks: dict[str, Track]) -> None:
        track = tracks["S1_Directions_1.54138969"]
        assert kept(track, "p1") == kept(track, "spin") == [1, 6, 11, 16, 21, 26, 31]
        for view in ("tcmr", "mpsnet", "vibe", "hmmr"):
            assert kept(track, view) == list(range(1, 32, 2))  # an odd number of frames: 16 of 31
        assert kept(track, "all") == list(range(1, 32))

    def test_p2_is_the_front_camera(self, tracks: dict[str, Track]) -> None:
        used = {t.camera for t in tracks.values() if kept(t, "p2")}
        assert used == {"60457274"}
        assert kept(tracks["S9_Directions.60457274"], "p2") == [1, 6, 11, 16, 21]

    def test_hmmr_leaves_two_recordings_out(self, tracks: dict[str, Track]) -> None:
        without = {name for name, t in tracks.items() if not kept(t, "hmmr")}
        assert without == {"S11_Directions.54138969", "S11_Directions.60457274", "S11_Phoning_2.60457274"}

    def test_boxes_are_smoothed_at_fifty_frames_a_second_before_thinning(self, raw: Path) -> None:
        """A still person whose keypoints jump in odd frames alone: at 50 fps the boxes see it, at 25 fps not."""
        track = read(raw, "S9/MyPoseFeatures/D3_Positions_mono/Directions.54138969.cdf")
        points = track.fields["keypoints2d"]
        points[:] = points[0]
        points[1::2, 16, 0] += 400  # raw joint 16 is none of the 17
        still = {
            view: view_track(track, RECIPE.views[view], RECIPE).bbox_cxcywh[::2] for view in ("tcmr", "hmmr")
        }
        for boxes in still.values():
            np.testing.assert_allclose(boxes, np.broadcast_to(boxes[0], boxes.shape))
        points[1::2, 27, 0] += 400  # the right wrist
        jumping = {
            view: view_track(track, RECIPE.views[view], RECIPE).bbox_cxcywh[::2] for view in ("tcmr", "hmmr")
        }
        np.testing.assert_allclose(jumping["hmmr"], still["hmmr"])
        assert (np.abs(jumping["tcmr"] - still["tcmr"])[:, 2] > 1).any()

    @pytest.mark.parametrize("view", ["tcmr", "vibe", "hmmr"])
    def test_boxes_are_smoothed_over_the_images_that_there_are(
        self, view: str, tracks: dict[str, Track]
    ) -> None:
        """The released code goes over the images: annotations after the last one do not reach into its boxes."""
        track = tracks["S9_Directions.60457274"]
        cut = replace(
            track,
            frame_id=track.frame_id[:22],
            fields={name: values[:22] for name, values in track.fields.items()},
        )
        whole, part = (view_track(each, RECIPE.views[view], RECIPE) for each in (track, cut))
        assert whole.dropped["image-missing"] == 1
        np.testing.assert_array_equal(whole.bbox_cxcywh[:22], part.bbox_cxcywh)
        assert np.isnan(whole.bbox_cxcywh[22:]).all()

    def test_a_sub_sampled_folder_changes_no_box(self, own: Path) -> None:
        want = view_track(read(own), RECIPE.views["tcmr"], RECIPE).bbox_cxcywh
        RAW["write_images"](
            own / "S9/images/S9_Directions.60457274", "S9_Directions.60457274_{:06d}.jpg", [1, 7, 12]
        )
        track = read(own)
        assert kept(track, "tcmr") == [1, 7]
        np.testing.assert_array_equal(view_track(track, RECIPE.views["tcmr"], RECIPE).bbox_cxcywh, want)

    def test_box_factors_and_crops_are_those_of_the_code(self, raw: Path) -> None:
        track = read(raw, "S9/MyPoseFeatures/D3_Positions_mono/Directions.54138969.cdf")
        points = track.fields["keypoints2d"]
        points[:] = points[0]
        body, limbs = (
            points[0, RAW["SEVENTEEN"], :2],
            points[0, [3, 2, 1, 6, 7, 8, 27, 26, 25, 17, 18, 19, 13, 15], :2],
        )
        diagonal, short = (float(np.linalg.norm(np.ptp(p, axis=0))) for p in (body, limbs))
        longer = float(np.ptp(body, axis=0).max())
        want = {
            "tcmr": (0.9 * diagonal, 1.0), "mpsnet": (0.9 * diagonal, 1.0), "vibe": (1.1 * diagonal, 1.2),
            "hmmr": (short, 224 / 150), "p1": (longer, 1.2), "spin": (longer, 1.0), "all": (1.1 * diagonal, 1.2),
        }  # fmt: skip
        for view, (side, crop) in want.items():
            boxes = view_track(track, RECIPE.views[view], RECIPE).bbox_cxcywh
            np.testing.assert_allclose(boxes[10, 2:], side, rtol=1e-6, err_msg=view)
            assert RECIPE.views[view].crop_scale == pytest.approx(crop)


class TestDamage:
    @pytest.mark.parametrize(
        ("values", "error", "message"),
        [
            (np.zeros((5, 17, 3)), BrokenFile, r"Pose has shape \(5, 51\), expected \(1, frames, 96\)"),
            (
                np.full((5, 32, 3), np.nan),
                BrokenFile,
                "Pose of D3_Positions_mono is not finite in 5 of 5 rows",
            ),
            (RAW["to_camera"](RAW["world"](9, 2, 2, 5), 9, 3) / 1000, UnitError, "span 0.00172 m"),
        ],
    )
    def test_wrong_values_are_named(
        self, values: Any, error: type[Exception], message: str, own: Path
    ) -> None:
        RAW["write_cdf"](own / DIRECTIONS, values)
        with pytest.raises(error, match=message) as caught:
            read(own)
        assert DIRECTIONS in str(caught.value)

    def test_a_file_without_the_variable_or_cut_off_is_broken(self, own: Path) -> None:
        data = (own / DIRECTIONS).read_bytes()
        for content in (data[: len(data) // 2], b"not a CDF", b""):
            (own / DIRECTIONS).write_bytes(content)
            with pytest.raises(BrokenFile, match=r"Directions\.60457274\.cdf"):
                read(own)
        RAW["write_cdf"](own / DIRECTIONS, np.zeros((5, 32, 3)), name="Poses")
        with pytest.raises(BrokenFile, match="not a readable CDF file"):
            read(own)

    def test_2d_and_3d_files_in_each_others_place_are_noticed(self, own: Path) -> None:
        shutil.copy(own / "S9/MyPoseFeatures/D2_Positions/Directions.60457274.cdf", own / DIRECTIONS)
        with pytest.raises(BrokenFile, match="is it in the right folder"):
            read(own)

    def test_an_unreadable_video_is_named(self, own: Path) -> None:
        path = own / "S9/Videos/Directions.60457274.mp4"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"not a video" * 100)
        with pytest.raises(BrokenFile, match=r"Directions\.60457274\.mp4: not a readable video"):
            read(own)

    def test_the_damaged_video_that_is_known_is_not_opened(self, own: Path) -> None:
        RAW["write_recording"](own, 11, 2, 2, 0, 8)
        path = own / "S11/Videos/Directions.54138969.mp4"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"not a video" * 100)
        assert len(read(own, f"S11/{MONO}/Directions.54138969.cdf")) == 8

    def test_damaged_masks_are_named(self, own: Path) -> None:
        path = own / "S9/MySegmentsMat/ground_truth_bs/Directions.60457274.mat"
        RAW["write_masks"](path, [(1, 2, 3, 4)] * 12)
        path.write_bytes(path.read_bytes()[:3000])
        with pytest.raises(BrokenFile, match=r"Directions\.60457274\.mat"):
            read(own)

    def test_a_recording_or_camera_that_the_metadata_lacks_is_named(self, own: Path) -> None:
        folder = own / "S9" / MONO
        for name, message in {
            "Dancing.60457274.cdf": "S9 has no recording 'Dancing'; it has Directions, Directions 1",
            "Directions.12345678.cdf": "has no camera 12345678 of S9",
            "Directions.cdf": r"expected S<subject>/.../<action>\.<camera>\.cdf",
        }.items():
            shutil.copy(own / DIRECTIONS, folder / name)
            with pytest.raises(BrokenFile, match=message):
                read(own, f"S9/{MONO}/{name}")

    def test_missing_metadata_is_said_with_where_to_get_it(self, own: Path) -> None:
        (own / "metadata.xml").unlink()
        with pytest.raises(
            MissingRawFiles, match=r"metadata\.xml is missing; it comes with the dataset's code"
        ):
            read(own)

    def test_a_file_of_no_layout_is_refused(self, own: Path) -> None:
        with pytest.raises(BrokenFile, match="no layout of Human"):
            read(own, "S9/notes.txt")
        with pytest.raises(BrokenFile, match="names no subject"):
            read(own, "x.cdf")


class TestFacts:
    def test_the_published_lengths_add_up(self) -> None:
        (lengths,) = RECIPE.lengths
        sums = {
            s: sum(n for name, n in lengths.rows.items() if name.startswith(f"{s} ")) for s in ("S9", "S11")
        }
        assert sums == {"S9": 79_417, "S11": 56_419}
        assert len(lengths.rows) == 59
        every = {n: 4 * sum(-(-rows // n) for rows in lengths.rows.values()) for n in (1, 2, 5)}
        assert every == {1: 543_344, 2: 271_732, 5: 108_772}

    def test_published_names_are_those_of_the_files(self) -> None:
        names = {tuple(name.split(" ", 1)) for name in RECIPE.lengths[0].rows}
        actions = {name.split(" ")[0] for _, name in names}
        assert actions <= set(RECIPE.options["actions"])
        assert ("S11", "Directions") not in names

    @pytest.mark.parametrize("protocol", list_protocols())
    def test_protocols_name_views_and_cameras_that_there_are(self, protocol: str) -> None:
        rules = [rule for rule in get_protocol(protocol).rules.values() if rule.dataset == "h36m"]
        for rule in rules:
            assert rule.view in RECIPE.views
            assert set(rule.splits) <= set(RECIPE.splits)
            assert set(dict(rule.where).get("camera", ())) <= set(RECIPE.options["cameras"])
            for joint_set in RECIPE.fields["joints3d"].joint_sets:
                given = get_joint_set(joint_set)
                rows = rule.target.rows(given)
                assert len(rows) == 14
                assert min(rows) >= 0
                if rule.target.root.of == "source":
                    assert rule.target.root.source_rows(given) == (given.names.index(PELVIS[joint_set]),)
                else:
                    hips = {given.names[rows[row]] for row in rule.target.root.rows}
                    assert hips == HIPS[joint_set]
