"""Human3.6M in Moon's layout, trap by trap."""

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsbench.bodies.joints import get_joint_set
from hpsbench.errors import BrokenFile, MissingRawFiles, UnitError
from hpsbench.geometry.cameras import camera_to_world
from hpsbench.recipes.catalog import get_recipe
from hpsbench.recipes.sequences import RawSequence, SequenceSkipped, find_sequences, read_sequence
from hpsbench.recipes.views import view_track
from hpsbench.types import Track

RAW: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "raw_h36m.py"))
RECIPE = get_recipe("h36m")
S9 = "annotations/Human36M_subject9_joint_3d.json"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    RAW["write_moon"](folder)
    return folder


@pytest.fixture(scope="module")
def tracks(raw: Path) -> dict[str, Track]:
    found = [track for item in find_sequences(RECIPE, raw) for track in read_sequence(RECIPE, item)]
    return {track.sequence: track for track in found}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """One trial, to be damaged."""
    RAW["write_moon_subject"](tmp_path, 9, {(2, 1): {"frames": 12, "cameras": [1, 4]}})
    return tmp_path


def read(root: Path, item: str = "act_02_subact_01") -> list[Track]:
    raw = RawSequence(root=root, name=S9, split="test", item=item, options=RECIPE.options)
    return list(read_sequence(RECIPE, raw))


def change(root: Path, kind: str, edit: Any) -> None:
    path = root / "annotations" / f"Human36M_subject9_{kind}.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


class TestMoon:
    def test_a_file_is_read_trial_by_trial_in_the_order_of_numbers(self, raw: Path) -> None:
        found = [(item.split, item.name[-23:-14], item.item) for item in find_sequences(RECIPE, raw)]
        assert found == [
            ("train", "_subject1", "act_02_subact_01"),
            ("test", "_subject9", "act_02_subact_01"),
            ("test", "_subject9", "act_05_subact_02"),
            ("test", "_subject9", "act_10_subact_01"),
        ]

    def test_only_cameras_with_images_are_tracks(self, tracks: dict[str, Track]) -> None:
        assert sorted(tracks) == [
            *(f"s_01_act_02_subact_01_ca_0{c}" for c in (1, 2, 3, 4)),
            "s_09_act_02_subact_01_ca_01",
            "s_09_act_02_subact_01_ca_04",
            "s_09_act_05_subact_02_ca_04",
            "s_09_act_10_subact_01_ca_04",
        ]
        track = tracks["s_09_act_02_subact_01_ca_04"]
        assert (track.camera, track.subject, track.action, track.fps) == (
            "60457274",
            "S9",
            "Directions",
            50.0,
        )
        assert (track.width, track.height) == (1000, 1002)
        assert dict(track.clip_info)["layout"] == "moon"

    def test_joints_are_seventeen_in_the_camera_right_leg_first(self, tracks: dict[str, Track]) -> None:
        fields = tracks["s_09_act_02_subact_01_ca_04"].fields
        truth = RAW["world"](9, 2, 1, 30)[:, RAW["SEVENTEEN"]]
        np.testing.assert_allclose(fields["joints3d"], RAW["to_camera"](truth, 9, 3) / 1000, atol=1e-9)
        assert RECIPE.fields["joints3d"].joint_set_of(17) == "h36m17_official"
        assert get_joint_set("h36m17_official").names[1] == "R_Hip"

    def test_t_is_a_translation(self, tracks: dict[str, Track]) -> None:
        fields = tracks["s_09_act_02_subact_01_ca_01"].fields
        rotation, center = RAW["extrinsics"](9, 0)
        np.testing.assert_allclose(fields["extrinsics"][3, :3, 3], -rotation @ center / 1000, atol=1e-12)
        back = camera_to_world(fields["joints3d"], fields["extrinsics"])
        np.testing.assert_allclose(back, RAW["world"](9, 2, 1, 30)[:, RAW["SEVENTEEN"]] / 1000, atol=1e-9)

    def test_keypoints_are_projected_without_distortion(self, tracks: dict[str, Track]) -> None:
        fields = tracks["s_09_act_02_subact_01_ca_04"].fields
        want = RAW["project"](fields["joints3d"], 3, distorted=False)
        np.testing.assert_allclose(fields["keypoints2d"][..., :2], want, atol=1e-6)
        assert (fields["keypoints2d"][..., 2] == 1).all()
        assert "distortion" not in fields

    def test_images_count_from_one_and_rows_from_zero(self, raw: Path, tracks: dict[str, Track]) -> None:
        track = tracks["s_09_act_02_subact_01_ca_04"]
        np.testing.assert_array_equal(track.frame_id, np.arange(1, 31))
        first = raw / str(track.image_source).format(frame_id=int(track.frame_id[0]))
        assert first.name.endswith("_000001.jpg")
        assert first.is_file()

    def test_a_folder_with_fewer_images_leaves_rows_without(self, tracks: dict[str, Track]) -> None:
        assert np.flatnonzero(~tracks["s_09_act_02_subact_01_ca_04"].fields["has_image"]).tolist() == [28, 29]

    def test_images_of_a_subsampled_folder_are_matched_by_number(self, tracks: dict[str, Track]) -> None:
        track = tracks["s_01_act_02_subact_01_ca_01"]
        assert np.flatnonzero(track.fields["has_image"]).tolist() == list(range(0, 25, 2))
        view = view_track(track, RECIPE.views["tcmr"], RECIPE)
        assert np.flatnonzero(view.keep).tolist() == list(range(0, 25, 2))
        assert view_track(track, RECIPE.views["p1"], RECIPE).dropped == {"thinned": 20, "image-missing": 2}

    def test_frames_have_both_joints_and_an_image(self, tracks: dict[str, Track]) -> None:
        track = tracks["s_09_act_05_subact_02_ca_04"]
        assert len(track) == 20  # of 26 images
        assert track.clip_info["remarks"] == "drifted-3d"

    def test_the_list_of_images_decides_which_frames_a_camera_has(self, own: Path) -> None:
        change(own, "data", lambda d: d["images"].__delitem__(slice(3, 5)))
        first, second = read(own)
        assert first.frame_id.tolist() == [1, 2, 3, *range(6, 13)]
        assert second.frame_id.tolist() == list(range(1, 13))

    def test_a_trial_of_which_no_image_is_listed_is_left_out_and_counted(self, own: Path) -> None:
        change(own, "joint_3d", lambda d: d["2"].__setitem__("2", d["2"]["1"]))
        with pytest.raises(
            SequenceSkipped, match=r"no-image-listed: .*_data\.json lists no image of action 2"
        ):
            read(own, "act_02_subact_02")
        assert len(read(own)) == 2

    def test_an_action_that_there_is_not_is_named(self, own: Path) -> None:
        change(own, "joint_3d", lambda d: d.__setitem__("17", d["2"]))
        with pytest.raises(BrokenFile, match=r"Human3\.6M has no action 17"):
            read(own, "act_17_subact_01")

    def test_without_it_every_camera_has_every_frame(self, own: Path) -> None:
        (own / "annotations/Human36M_subject9_data.json").unlink()
        assert [(t.camera, len(t)) for t in read(own)] == [(camera, 12) for camera in RAW["CAMERAS"]]

    def test_metadata_gives_the_official_name_if_it_is_there(self, own: Path) -> None:
        assert read(own)[0].clip_info["recording"] is None
        RAW["write_metadata"](own / "metadata.xml")
        assert read(own)[0].clip_info["recording"] == "S9 Directions 1"


class TestDamage:
    @pytest.mark.parametrize(
        ("kind", "edit", "error", "message"),
        [
            (
                "joint_3d",
                lambda d: d["2"]["1"].__setitem__("3", [[0, 0, 0]]),
                BrokenFile,
                "2/1 is not frame number -> 17 x 3",
            ),
            ("joint_3d", lambda d: d["2"]["1"].__setitem__("x", 0), BrokenFile, "2/1 is not frame number"),
            ("joint_3d", lambda d: d["2"]["1"].clear(), BrokenFile, r"2/1 has shape \(0,\)"),
            (
                "joint_3d",
                lambda d: d["2"]["1"]["3"].__setitem__(2, [0, 0, float("nan")]),
                BrokenFile,
                "2/1 is not finite in 1 of 12 rows, first in row 3",
            ),
            (
                "joint_3d",
                lambda d: d["2"].__setitem__(
                    "1", {k: (np.array(v) / 1000).tolist() for k, v in d["2"]["1"].items()}
                ),
                UnitError,
                "it is in another unit",
            ),
            (
                "joint_3d",
                lambda d: d["2"].__setitem__(
                    "1",
                    {
                        k: np.array(v)[[0, 4, 5, 6, 1, 2, 3, *range(7, 17)]].tolist()
                        for k, v in d["2"]["1"].items()
                    },
                ),
                BrokenFile,
                "the left leg comes first",
            ),
            (
                "camera",
                lambda d: d["4"].pop("t"),
                BrokenFile,
                r"camera 4 should have R, t, f and c \(KeyError",
            ),
            ("camera", lambda d: d["4"].__setitem__("R", [1]), BrokenFile, "camera 4 should have R"),
            (
                "camera",
                lambda d: d["4"].__setitem__("t", [float("nan")] * 3),
                BrokenFile,
                "camera 4: R, t, f or c is not finite",
            ),
            ("camera", lambda d: d.clear(), BrokenFile, "has no camera 1 to 4"),
            (
                "joint_3d",
                lambda d: d["2"]["1"].__setitem__("-1", d["2"]["1"]["0"]),
                BrokenFile,
                "2/1 has a frame -1; frames count from 0",
            ),
            ("data", lambda d: d["images"][3].pop("cam_idx"), BrokenFile, "not readable as a list of images"),
            ("data", lambda d: d["images"].clear(), BrokenFile, "lists no images"),
            (
                "data",
                lambda d: d["images"][3].__setitem__("frame_idx", 7),
                BrokenFile,
                "frame_idx 7 of action 2, subaction 1, camera 1 belongs to image 4",
            ),
        ],
    )
    def test_wrong_content_names_file_and_place(
        self, kind: str, edit: Any, error: type[Exception], message: str, own: Path
    ) -> None:
        change(own, kind, edit)
        with pytest.raises(error, match=message) as caught:
            read(own)
        assert f"Human36M_subject9_{kind}.json" in str(caught.value)

    @pytest.mark.parametrize("kind", ["joint_3d", "camera", "data"])
    def test_a_truncated_file_is_broken(self, kind: str, own: Path) -> None:
        path = own / "annotations" / f"Human36M_subject9_{kind}.json"
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(BrokenFile, match=f"Human36M_subject9_{kind}.json"):
            read(own)
        if kind == "joint_3d":
            (item,) = find_sequences(RECIPE, own)  # listed as it is; reading it reports it
            assert item.item == ""
            with pytest.raises(BrokenFile, match="not a JSON object, or cut off"):
                list(read_sequence(RECIPE, item))

    def test_missing_cameras_are_said(self, own: Path) -> None:
        (own / "annotations/Human36M_subject9_camera.json").unlink()
        with pytest.raises(
            MissingRawFiles, match=r"Human36M_subject9_camera\.json is missing; it comes with"
        ):
            read(own)

    def test_keys_that_are_no_numbers_are_named(self, own: Path) -> None:
        change(own, "joint_3d", lambda d: d.__setitem__("Directions", d.pop("2")))
        (item,) = find_sequences(RECIPE, own)
        assert item.item == ""
