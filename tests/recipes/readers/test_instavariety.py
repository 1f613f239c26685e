"""The InstaVariety reader and views: shards, VIBE's collection of them, and every trap of both."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from hpsbench.bodies.joints import get_joint_set
from hpsbench.errors import BrokenFile, UnitError
from hpsbench.recipes.catalog import get_recipe
from hpsbench.recipes.sequences import RawSequence, find_sequences, read_sequence
from hpsbench.recipes.views import view_track
from hpsbench.safe_io.tfrecord import Example, read_record
from hpsbench.types import Track

RAW: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "raw_instavariety.py"))
RECIPE = get_recipe("instavariety")
STEM = "insta_variety_{:02d}_copy00_hmr_noS5.ckpt-642561-{}"
ALL = [(99, 0), (99, 1), (100, 0)]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small dataset as shards; read only."""
    folder = tmp_path_factory.mktemp("raw")
    RAW["write"](folder)
    return folder


def read_all(root: Path, **options: Any) -> dict[str, Track]:
    recipe = RECIPE.model_copy(update={"options": {**RECIPE.options, **options}})
    found = [track for item in find_sequences(recipe, root) for track in read_sequence(recipe, item)]
    assert len({track.key for track in found}) == len(found)
    return {track.sequence: track for track in found}


@pytest.fixture(scope="module")
def tracks(raw: Path) -> dict[str, Track]:
    return read_all(raw)


@pytest.fixture
def edited(tmp_path: Path) -> Callable[..., Track]:
    """Reads a shard whose second record was changed; features that are None are left out."""

    def read_edited(**changes: Any) -> Track:
        held = RAW["train_features"](99, 1) | {
            key.replace("__", "/"): value for key, value in changes.items()
        }
        held = {key: value for key, value in held.items() if value is not None}
        RAW["write_shard"](tmp_path / "x.tfrecord", [RAW["train_features"](100, 0), held])
        item = RawSequence(root=tmp_path, name="x.tfrecord", split="train", options=RECIPE.options)
        return list(read_sequence(RECIPE, item))[1]

    return read_edited


class TestShards:
    def test_every_record_is_a_track_named_after_shard_and_place(self, tracks: dict[str, Track]) -> None:
        assert list(tracks) == [
            STEM.format(100, 0),
            STEM.format(99, 0),
            STEM.format(99, 1),
            "instagram_dance-0",
        ]
        assert [track.split for track in tracks.values()] == ["train"] * 3 + ["test"]
        assert all(track.fps is None for track in tracks.values())

    @pytest.mark.parametrize(("shard", "number"), ALL)
    def test_normalised_keypoints_become_pixels_of_the_crop(
        self, shard: int, number: int, tracks: dict[str, Track]
    ) -> None:
        track, points = tracks[STEM.format(shard, number)], RAW["normalised"](shard, number)
        np.testing.assert_allclose(track.fields["keypoints2d"], RAW["pixels"](points), atol=1e-5)
        invisible = track.fields["keypoints2d"][points[..., 2] == 0]
        np.testing.assert_array_equal(invisible, [[112, 112, 0]] * len(invisible))
        np.testing.assert_array_equal(track.frame_id, np.arange(RAW["TRACKS"][shard][number]))
        assert (track.width, track.height) == (224, 224)

    def test_without_features_coordinates_are_pixels_already(self, tracks: dict[str, Track]) -> None:
        track = tracks["instagram_dance-0"]
        np.testing.assert_allclose(track.fields["keypoints2d"], RAW["test_points"](), atol=1e-5)
        assert (track.width, track.height) == (None, None)

    def test_lists_are_joined_in_the_order_body_face_toes(self, edited: Callable[..., Track]) -> None:
        face = np.zeros((12, 3, 5), np.float32)
        face[:, :, 0] = [0.5, -0.5, 1]
        points = edited(image__face_pts=face).fields["keypoints2d"]
        joints = get_joint_set("insta25_hmmr")
        assert joints.names[14] == "Nose"
        np.testing.assert_allclose(points[4, 14], [168, 56, 1])
        np.testing.assert_array_equal(points[:, 15:19, 2], 0)
        want = RAW["normalised"](99, 1)[:, 23]
        assert joints.names[23] == "L Ankle"
        np.testing.assert_allclose(points[:, 23], RAW["pixels"](want[:, None])[:, 0], atol=1e-5)

    def test_missing_toes_are_invisible(self, tracks: dict[str, Track]) -> None:
        points = tracks[STEM.format(100, 0)].fields["keypoints2d"]
        assert points.shape == (10, 25, 3)
        assert (points[:, 19:, 2] == 0).all()

    def test_an_empty_list_of_toes_is_none(self, edited: Callable[..., Track]) -> None:
        without = edited(image__toe_pts=None).fields["keypoints2d"]
        for empty in (np.zeros(0, np.float32), []):
            points = edited(image__toe_pts=empty).fields["keypoints2d"]
            np.testing.assert_array_equal(points, without)

    def test_toes_are_read_under_the_name_in_the_documentation_too(
        self, edited: Callable[..., Track]
    ) -> None:
        toes = RAW["train_features"](99, 1)["image/toe_pts"]
        points = edited(image__toe_pts=None, image__toes_pts=toes).fields["keypoints2d"]
        np.testing.assert_array_equal(points, edited().fields["keypoints2d"])

    def test_more_file_names_than_frames_do_not_lengthen_a_track(self, tracks: dict[str, Track]) -> None:
        assert len(RAW["train_features"](99, 0)["image/filenames"]) == 43
        assert len(tracks[STEM.format(99, 0)]) == 40

    def test_an_image_is_found_by_record_and_frame(self, raw: Path, tracks: dict[str, Track]) -> None:
        source = str(tracks[STEM.format(99, 1)].image_source).format(frame_id=7)
        name, _, place = source.partition("#")
        assert (place, name.endswith(RAW["SHARD"].format(99))) == ("1/7", True)
        encoded = Example(read_record(raw / name, 1))["image/encoded"]
        picture = cv2.imdecode(np.frombuffer(encoded[7], np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.shape == (224, 224, 3)
        assert int(picture[5, 5, 0]) == 7

    def test_without_images_there_is_no_source(self, edited: Callable[..., Track]) -> None:
        assert edited(image__encoded=None).image_source is None

    def test_the_folder_without_its_outer_one_is_found(self, tmp_path: Path) -> None:
        RAW["write"](tmp_path, "")
        assert len(find_sequences(RECIPE, tmp_path)) == 3


class TestCollection:
    def test_it_gives_the_tracks_of_the_shards(self, tmp_path: Path, tracks: dict[str, Track]) -> None:
        RAW["write_collection"](tmp_path)
        found = read_all(tmp_path)
        assert set(found) == set(tracks) - {"instagram_dance-0"}
        for name, track in found.items():
            np.testing.assert_allclose(
                track.fields["keypoints2d"], tracks[name].fields["keypoints2d"], atol=1e-4
            )
            np.testing.assert_array_equal(track.frame_id, tracks[name].frame_id)
            assert track.image_source is None
            assert track.clip_info == tracks[name].clip_info

    def test_shards_come_first(self, tmp_path: Path) -> None:
        RAW["write"](tmp_path)
        RAW["write_collection"](tmp_path)
        assert {item.path.suffix for item in find_sequences(RECIPE, tmp_path)} == {".tfrecord"}

    @pytest.mark.parametrize(
        ("rows", "items"), [(1, ["0:10", "10:50", "50:62"]), (11, ["0:50", "50:62"]), (62, ["0:62"])]
    )
    def test_it_is_cut_between_tracks(self, rows: int, items: list[str], tmp_path: Path) -> None:
        RAW["write_collection"](tmp_path)
        recipe = RECIPE.model_copy(update={"options": {**RECIPE.options, "rows_per_item": rows}})
        assert [item.item for item in find_sequences(recipe, tmp_path)] == items
        assert [len(t) for t in read_all(tmp_path, rows_per_item=rows).values()] == [10, 40, 12]

    def test_reading_it_whole_gives_the_same(self, tmp_path: Path) -> None:
        RAW["write_collection"](tmp_path)
        whole = RawSequence(root=tmp_path, name="insta_train_db.h5", split="train", options=RECIPE.options)
        assert [len(track) for track in read_sequence(RECIPE, whole)] == [10, 40, 12]

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"joints2D": None}, "has no array joints2D"),
            ({"joints2D": np.zeros((62, 49, 3))}, r"joints2D has shape \(62, 49, 3\)"),
            ({"frame_id": np.arange(61)}, r"frame_id has shape \(61,\)"),
            ({"frame_id": np.zeros(62, int)}, "frame_id does not increase within track"),
            ({"vid_name": np.array([b"a-0"] * 20 + [b"b-0"] * 22 + [b"a-0"] * 20)}, "'a-0' comes back in row 42"),
            ({"vid_name": np.array([b"\xff-0"] * 62), "frame_id": np.arange(62)}, "is not UTF-8"),
            ({"joints2D": np.full((62, 25, 3), np.nan)}, "joints2D .from row 0. is not finite in 62"),
            ({"joints2D": np.full((62, 25, 3), b"x")}, "joints2D should be numbers, found text"),
            ({"frame_id": np.full(62, b"frame_1")}, "frame_id should be numbers, found text"),
            ({"frame_id": np.arange(62) + 0.5}, r"frame_id \(from row 0\) should be whole numbers"),
            ({"frame_id": np.full(62, np.nan)}, r"frame_id \(from row 0\) should be whole numbers"),
        ],
    )  # fmt: skip
    def test_a_wrong_file_says_what_is_wrong(
        self, changes: dict[str, Any], message: str, tmp_path: Path
    ) -> None:
        RAW["write_collection"](tmp_path, **changes)
        with pytest.raises(BrokenFile, match=message) as caught:
            read_all(tmp_path)
        assert "insta_train_db.h5" in str(caught.value)

    def test_normalised_joints_are_found(self, tmp_path: Path) -> None:
        RAW["write_collection"](tmp_path, joints2D=np.full((62, 25, 3), 0.5, np.float32))
        with pytest.raises(UnitError, match=r"coordinates up to 0\.50, where pixels were expected"):
            read_all(tmp_path)


class TestViews:
    @pytest.mark.parametrize("view", ["vibe", "tcmr", "mpsnet", "all"])
    def test_every_frame_is_the_whole_crop(self, view: str, tracks: dict[str, Track]) -> None:
        for track in tracks.values():
            found = view_track(track, RECIPE.views[view], RECIPE)
            assert found.keep.all()
            np.testing.assert_array_equal(found.bbox_cxcywh, [[112, 112, 224, 224]] * len(track))
        assert RECIPE.views[view].crop_scale == 1.0

    def test_mmhuman3d_puts_boxes_about_visible_joints(self, tracks: dict[str, Track]) -> None:
        track = tracks[STEM.format(99, 0)]
        found = view_track(track, RECIPE.views["mmhuman3d"], RECIPE)
        assert np.flatnonzero(~found.keep).tolist() == [0]
        points = track.fields["keypoints2d"][5]
        seen = points[points[:, 2] == 1, :2]
        assert found.bbox_cxcywh[5, 2] == pytest.approx(np.ptp(seen, axis=0).max())


class TestDamagedShards:
    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"meta__N": None}, BrokenFile, "has no meta/N"),
            ({"meta__N": np.array([0])}, BrokenFile, "meta/N is 0; expected a number of frames"),
            ({"meta__N": np.array([13])}, BrokenFile, "image/xys has 336 numbers, expected 364"),
            ({"meta__N": np.array([2**30])}, BrokenFile, "image/xys has 336 numbers, expected"),
            ({"meta__N": np.array([np.nan])}, BrokenFile, "meta/N is nan; expected a number of frames"),
            ({"meta__N": np.array([12.5])}, BrokenFile, "meta/N is 12.5; expected a number of frames"),
            ({"image__heightwidths": np.zeros((12, 2), int)}, BrokenFile, "sizes in pixels, found 0"),
            ({"image__xys": [b"x"]}, BrokenFile, "image/xys has 1 byte strings"),
            ({"image__face_pts": np.zeros(10)}, BrokenFile, "image/face_pts has 10 numbers, expected 180"),
            ({"image__xys": np.full((12, 2, 14), np.nan)}, BrokenFile, "record 1 is not finite"),
            ({"image__xys": np.full((12, 2, 14), 99.0)}, UnitError, "coordinates up to 99"),
            ({"image__phis": None}, UnitError, "where pixels were expected"),
        ],
    )
    def test_a_wrong_record_is_named(
        self, changes: dict[str, Any], error: type[Exception], message: str, edited: Callable[..., Track]
    ) -> None:
        with pytest.raises(error, match=message) as caught:
            edited(**changes)
        assert "x.tfrecord: record 1" in str(caught.value)

    def test_a_wrong_checksum_is_found(self, tmp_path: Path) -> None:
        RAW["write"](tmp_path)
        path = tmp_path / "insta_variety/train" / RAW["SHARD"].format(99)
        data = bytearray(path.read_bytes())
        data[-100] ^= 1
        path.write_bytes(bytes(data))
        with pytest.raises(BrokenFile, match=r"record 1 at byte [\d,]+: its checksum does not fit"):
            read_all(tmp_path)
