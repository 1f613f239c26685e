"""The PoseTrack reader and views, trap by trap, and the two real files of the samples."""

import copy
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsbench.errors import BrokenFile
from hpsbench.recipes.catalog import get_recipe
from hpsbench.recipes.sequences import RawSequence, SequenceSkipped, find_sequences, read_sequence
from hpsbench.recipes.views import view_track
from hpsbench.store.clips import cut_clips
from hpsbench.types import Track

RAW: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "raw_posetrack.py"))
RECIPE = get_recipe("posetrack")
TRAIN = "posetrack_data/annotations/train"
BONN = f"{TRAIN}/000001_bonn_train.json"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small dataset; read only."""
    folder = tmp_path_factory.mktemp("raw")
    RAW["write"](folder)
    return folder


@pytest.fixture(scope="module")
def tracks(raw: Path) -> dict[str, Track]:
    found = [track for item in find_sequences(RECIPE, raw) for track in read_sequence(RECIPE, item)]
    return {track.key: track for track in found}


def read(root: Path, name: str = BONN) -> list[Track]:
    return list(read_sequence(RECIPE, RawSequence(root=root, name=name, split="train")))


@pytest.fixture
def edited(tmp_path: Path) -> Callable[..., list[Track]]:
    """Reads 000001_bonn_train after a change of its document."""

    def read_edited(change: Callable[[dict[str, Any]], Any]) -> list[Track]:
        document = copy.deepcopy(RAW["bonn"]())
        change(document)
        RAW["write_json"](tmp_path / BONN, document)
        return read(tmp_path)

    return read_edited


def person(tracks: dict[str, Track], number: int) -> Track:
    return tracks[f"000001_bonn_train_{number}"]


def kept(track: Track, view: str = "vibe") -> list[int]:
    """Kept frame numbers."""
    return np.asarray(track.frame_id)[view_track(track, RECIPE.views[view], RECIPE).keep].tolist()


def test_everybody_who_is_annotated_is_a_track(tracks: dict[str, Track]) -> None:
    want = {f"000001_bonn_train_{number}" for number in RAW["PEOPLE"]}
    assert set(tracks) == want | {"000002_mpii_train_0", "000003_mpii_test_7"}
    assert tracks["000003_mpii_test_7"].split == "val"
    assert person(tracks, 0).fps is None


def test_every_annotation_is_a_row_under_its_own_number(tracks: dict[str, Track]) -> None:
    for number, frames in RAW["PEOPLE"].items():
        assert person(tracks, number).frame_id.tolist() == frames


def test_keypoints_and_flags_are_the_files(tracks: dict[str, Track]) -> None:
    track = person(tracks, 1)
    want = np.stack([RAW["keypoints"](1, frame) for frame in range(7)])
    np.testing.assert_allclose(track.fields["keypoints2d"], want)
    assert (track.fields["keypoints2d"][:, [3, 4]] == 0).all()
    assert track.fields["keypoints2d"].min() < 0


def test_keypoints_are_ordered_by_the_names_in_the_file(tracks: dict[str, Track]) -> None:
    want = np.stack([RAW["keypoints"](0, frame) for frame in range(8)])
    np.testing.assert_allclose(tracks["000002_mpii_train_0"].fields["keypoints2d"], want)


def test_gaps_cut_a_track_into_clips(tracks: dict[str, Track]) -> None:
    clips = [
        (c["first_frame"], c["length"], c["step"], c["gap_before"]) for c in cut_clips(person(tracks, 2))
    ]
    assert clips == [(0, 1, 1, 0), (4, 1, 1, 3), (8, 1, 1, 3), (12, 5, 1, 3), (20, 1, 1, 3), (24, 1, 1, 3)]
    every_fourth = cut_clips(tracks["000003_mpii_test_7"])
    assert [(c["length"], c["step"]) for c in every_fourth] == [(10, 4)]


def test_images_are_named_by_the_frame_number(raw: Path, tracks: dict[str, Track]) -> None:
    for track in tracks.values():
        assert track.image_source is not None
        assert all((raw / track.image_source.format(frame_id=frame)).is_file() for frame in track.frame_id)
        assert (track.width, track.height) == (60, 40)


def test_sizes_without_file_or_image_are_unknown(tmp_path: Path) -> None:
    RAW["write_json"](tmp_path / f"{TRAIN}/000002_mpii_train.json", RAW["mpii"]())
    (track,) = read(tmp_path, f"{TRAIN}/000002_mpii_train.json")
    assert (track.width, track.height) == (None, None)


def test_sizes_that_differ_are_unknown(raw: Path, tmp_path: Path) -> None:
    document = RAW["bonn"]()
    document["images"][3]["width"] = 90
    RAW["write_json"](tmp_path / BONN, document)
    (tmp_path / "images").symlink_to(raw / "images")
    assert {(track.width, track.height) for track in read(tmp_path)} == {(None, None)}


def test_boxes_become_corners_and_missing_ones_stay_missing(tracks: dict[str, Track]) -> None:
    x, y, w, h = RAW["box"](RAW["keypoints"](0, 5))
    np.testing.assert_allclose(person(tracks, 0).fields["bbox_xyxy"][5], [x, y, x + w, y + h])
    boxes = person(tracks, 3).fields["bbox_xyxy"]
    assert np.isnan(boxes[9]).all()
    assert boxes[3, 0] == boxes[3, 2]
    assert np.isfinite(np.delete(boxes, 9, axis=0)).all()


def test_a_person_may_have_no_box_at_all(edited: Callable[..., list[Track]]) -> None:
    track = edited(lambda document: [entry.pop("bbox", None) for entry in document["annotations"]])[0]
    assert np.isnan(track.fields["bbox_xyxy"]).all()
    assert kept(track) == []
    assert kept(track, "all") == list(range(8))


class TestViews:
    def test_a_person_needs_eight_usable_frames(self, tracks: dict[str, Track]) -> None:
        assert kept(person(tracks, 0)) == list(range(8))
        assert kept(person(tracks, 1)) == []
        assert kept(person(tracks, 5)) == []
        counts = view_track(person(tracks, 5), RECIPE.views["vibe"], RECIPE).dropped
        assert counts == {"too-few-visible": 1, "too-short": 7}

    def test_frames_without_keypoints_box_or_label_are_left_out_and_counted(
        self, tracks: dict[str, Track]
    ) -> None:
        assert kept(person(tracks, 3)) == [0, 1, 4, 5, 6, 7, 8, 10, 11]
        counts = view_track(person(tracks, 3), RECIPE.views["tcmr"], RECIPE).dropped
        assert counts == {"no-box": 2, "too-few-visible": 1}
        assert kept(person(tracks, 4)) == list(range(22, 30))
        assert view_track(person(tracks, 4), RECIPE.views["vibe"], RECIPE).dropped == {"unlabelled-image": 2}

    def test_the_visibility_flag_is_ignored_in_favour_of_the_place(
        self, edited: Callable[..., list[Track]]
    ) -> None:
        def clear_flags(document: dict[str, Any]) -> None:
            for entry in document["annotations"]:
                entry["keypoints"][2::3] = [0] * 17

        assert kept(edited(clear_flags)[0]) == list(range(8))

    def test_boxes_are_the_given_ones_shrunk(self, tracks: dict[str, Track]) -> None:
        x, y, w, h = RAW["box"](RAW["keypoints"](2, 8))
        for view in ("vibe", "tcmr", "mpsnet"):
            found = view_track(person(tracks, 2), RECIPE.views[view], RECIPE).bbox_cxcywh[2]
            side = 0.8 * max(w, h)
            np.testing.assert_allclose(found, [x + w / 2, y + h / 2, side, side])
            assert RECIPE.views[view].crop_scale == 1.3

    def test_the_view_all_keeps_everything(self, tracks: dict[str, Track]) -> None:
        assert all(kept(track, "all") == track.frame_id.tolist() for track in tracks.values())


class TestLayouts:
    def test_files_without_annotations_are_skipped_with_a_reason(self, raw: Path) -> None:
        with pytest.raises(SequenceSkipped) as caught:
            read(raw, "posetrack_data/annotations/test/000004_mpii_test.json")
        assert caught.value.reason == "no-annotations"

    @pytest.mark.parametrize("folder", ["annotations", "posetrack_data"])
    def test_the_folders_of_mmpose_and_of_posetrack21_are_found(self, folder: str, tmp_path: Path) -> None:
        RAW["write"](tmp_path, folder)
        names = [(item.split, item.stem) for item in find_sequences(RECIPE, tmp_path)]
        assert names == [
            ("train", "000001_bonn_train"),
            ("train", "000002_mpii_train"),
            ("val", "000003_mpii_test"),
        ]

    def test_posetrack21_has_boxes_without_keypoints(self, edited: Callable[..., list[Track]]) -> None:
        def change(document: dict[str, Any]) -> None:
            for entry in document["annotations"]:
                entry["person_id"] = 1024 + entry["track_id"]
                if entry["track_id"] == 0:
                    entry.pop("keypoints")

        track = edited(change)[0]
        assert (track.fields["keypoints2d"] == 0).all()
        assert np.isfinite(track.fields["bbox_xyxy"]).all()
        assert kept(track) == []

    def test_posetrack17_is_read_by_the_same_names(self, tmp_path: Path) -> None:
        name = f"{TRAIN}/000342_mpii_train.json"
        RAW["write_json"](tmp_path / name, RAW["document_2017"]())
        (track,) = read(tmp_path, name)
        assert track.key == "000342_mpii_train_4"
        assert track.frame_id.tolist() == list(range(3, 13))
        want = np.stack([RAW["keypoints"](4, frame) for frame in range(3, 13)])
        want[2] = 0
        np.testing.assert_allclose(track.fields["keypoints2d"], want)
        x, y, w, h = RAW["box"](RAW["keypoints"](4, 7))
        np.testing.assert_allclose(track.fields["bbox_xyxy"][4], [x, y, x + w, y + h])
        assert np.isnan(track.fields["bbox_xyxy"][2]).all()
        assert str(track.image_source).format(frame_id=7) == "images/bonn_5sec/000342_mpii/00000007.jpg"
        assert kept(track) == [3, 4, *range(6, 13)]

    def test_empty_structures_of_posetrack17_are_nobody_and_nothing(self, tmp_path: Path) -> None:
        name, document = f"{TRAIN}/000342_mpii_train.json", RAW["document_2017"]()
        document["annolist"][0]["annorect"] = [{}]
        document["annolist"][1] |= {"annorect": [[]], "is_labeled": ["0"]}
        document["annolist"][6]["annorect"][0]["annopoints"] = [[]]
        RAW["write_json"](tmp_path / name, document)
        (track,) = read(tmp_path, name)
        assert track.frame_id.tolist() == list(range(3, 13))
        assert kept(track) == [3, 4, 6, *range(8, 13)]

    @pytest.mark.parametrize("number", [-1, 15])
    def test_joints_that_posetrack17_does_not_have_are_refused(self, number: int, tmp_path: Path) -> None:
        name, document = f"{TRAIN}/000342_mpii_train.json", RAW["document_2017"]()
        document["annolist"][5]["annorect"][0]["annopoints"][0]["point"][0]["id"] = [number]
        RAW["write_json"](tmp_path / name, document)
        with pytest.raises(BrokenFile, match=f"joint {number}; there are 15"):
            read(tmp_path, name)


class TestDamagedFiles:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda d: d.pop("images"), "not laid out as a PoseTrack file"),
            (lambda d: d.pop("categories"), "not laid out as a PoseTrack file"),
            (lambda d: d["annotations"][0].pop("track_id"), "KeyError: 'track_id'"),
            (
                lambda d: d["annotations"][0].update(image_id=5),
                "belongs to image 5, which the file does not list",
            ),
            (
                lambda d: d["annotations"].append(d["annotations"][0]),
                "person 0 is annotated twice in frame 0",
            ),
            (lambda d: d["images"].append(d["images"][0]), "an image or its id is listed twice"),
            (lambda d: d["annotations"][3]["keypoints"].pop(), "has 50 numbers as keypoints, expected 51"),
            (lambda d: d["annotations"][3]["bbox"].pop(), "has 3 numbers as bbox, expected 4"),
            (
                lambda d: d["annotations"][3]["keypoints"].__setitem__(0, float("nan")),
                "keypoints is not finite",
            ),
            (lambda d: d["annotations"][3]["bbox"].__setitem__(0, float("inf")), "bbox is not finite"),
            (lambda d: d["categories"][0]["keypoints"].__setitem__(0, "noes"), "Did you mean 'nose'"),
            (lambda d: d["categories"][0]["keypoints"].__setitem__(0, "head_top"), "list a keypoint twice"),
            (lambda d: d["images"][2].update(file_name="images/x/000002.jpg"), "numbers in one folder"),
            (
                lambda d: [i.update(file_name=f"../{i['file_name']}") for i in d["images"]],
                "lies outside the dataset",
            ),
            (lambda d: d["images"].clear(), "has annotations, but lists no images"),
            (
                lambda d: d["annotations"][3].update(track_id=1.5),
                "track_id should be a whole number, found 1.5",
            ),
            (lambda d: d["images"][2].update(is_labeled="false"), "is_labeled .* found 'false'"),
            (lambda d: d["images"][2].update(width="60"), "should be whole numbers, found '60' and 40"),
            (lambda d: [i.update(height=0) for i in d["images"]], "should be whole numbers, found 60 and 0"),
            (lambda d: d["annotations"][3]["keypoints"].__setitem__(0, 10**400), "OverflowError"),
        ],
    )
    def test_a_wrong_file_says_what_is_wrong(
        self, change: Any, message: str, edited: Callable[..., list[Track]]
    ) -> None:
        with pytest.raises(BrokenFile, match=message) as caught:
            edited(change)
        assert "000001_bonn_train.json" in str(caught.value)

    @pytest.mark.parametrize("data", [b"", b'{"images": [', b"\xff\xfe", b"[" * 100_000, b"[1, 2]"])
    def test_a_file_that_is_not_json_is_broken(self, data: bytes, tmp_path: Path) -> None:
        path = tmp_path / BONN
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        with pytest.raises(BrokenFile, match=r"000001_bonn_train\.json"):
            read(tmp_path)


@pytest.mark.samples
def test_real_files_go_through_unchanged(samples: Path) -> None:
    root = samples / "posetrack18"
    found = {
        track.key: track for item in find_sequences(RECIPE, root) for track in read_sequence(RECIPE, item)
    }
    assert set(found) == {"003418_mpii_test_0", "009473_mpii_test_0", "009473_mpii_test_1"}
    for key, track in found.items():
        name, number = key.rsplit("_", 1)
        document = json.loads((root / f"annotations/val/{name}.json").read_text())
        entry = document["annotations"][int(number)]
        np.testing.assert_array_equal(track.fields["keypoints2d"].ravel(), entry["keypoints"])
        x, y, w, h = entry["bbox"]
        np.testing.assert_allclose(track.fields["bbox_xyxy"], [[x, y, x + w, y + h]])
        assert (track.split, track.frame_id.tolist(), track.width, track.height) == ("val", [0], 1920, 1080)
        assert (root / str(track.image_source).format(frame_id=0)).is_file()
        known = track.fields["keypoints2d"][0]
        extent = np.ptp(known[known[:, 2] > 0, :2], axis=0)
        np.testing.assert_allclose([w, h], extent * 1.3, rtol=1e-6)
