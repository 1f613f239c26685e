"""Human3.6M as h36m-fetch processes it, first and later versions."""

import runpy
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpsbench.errors import BrokenFile, UnitError
from hpsbench.geometry.cameras import project
from hpsbench.recipes.catalog import get_recipe
from hpsbench.recipes.sequences import find_sequences, read_sequence
from hpsbench.recipes.views import view_track
from hpsbench.store.clips import cut_clips
from hpsbench.types import Track

RAW: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "raw_h36m.py"))
RECIPE = get_recipe("h36m")
UNEVEN = [1, 2, 5, 6, 16, 21]


def read(root: Path) -> list[Track]:
    return [track for item in find_sequences(RECIPE, root) for track in read_sequence(RECIPE, item)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made: Path = RAW["write_fetch"](tmp_path, 1, "Directions-1", {0: UNEVEN, 3: [1, 6, 11, 16]})
    return made


@pytest.fixture
def tracks(path: Path, tmp_path: Path) -> dict[str, Track]:
    return {track.sequence: track for track in read(tmp_path)}


class TestFetch:
    def test_every_camera_is_a_track_of_the_frames_that_were_kept(self, tracks: dict[str, Track]) -> None:
        assert sorted(tracks) == ["S1_Directions-1.54138969", "S1_Directions-1.60457274"]
        track = tracks["S1_Directions-1.54138969"]
        assert track.frame_id.tolist() == UNEVEN
        assert (track.split, track.subject, track.action, track.camera) == (
            "train",
            "S1",
            "Directions",
            "54138969",
        )
        assert (track.clip_info["layout"], track.clip_info["subaction"]) == ("h36m-fetch", 1)
        assert track.image_source == "processed/S1/Directions-1/imageSequence/54138969/img_{frame_id:06d}.jpg"

    def test_uneven_frames_have_no_rate_and_break_clips(self, tracks: dict[str, Track]) -> None:
        uneven, even = tracks["S1_Directions-1.54138969"], tracks["S1_Directions-1.60457274"]
        assert (uneven.fps, even.fps) == (None, 10.0)
        assert [(c["first_frame"], c["length"], c["gap_before"]) for c in cut_clips(uneven)] == [
            (1, 2, 0), (5, 2, 2), (16, 1, 9), (21, 1, 4),
        ]  # fmt: skip
        assert [(c["step"], c["length"]) for c in cut_clips(even)] == [(5, 4)]

    def test_values_are_metres_in_the_camera(self, tracks: dict[str, Track]) -> None:
        fields = tracks["S1_Directions-1.54138969"].fields
        want = RAW["to_camera"](RAW["world"](1, 2, 1, 21)[np.array(UNEVEN) - 1], 1, 0) / 1000
        np.testing.assert_allclose(fields["joints3d"], want, atol=1e-9)
        np.testing.assert_allclose(fields["joints3d_univ"], want * 0.9, atol=1e-9)
        np.testing.assert_allclose(fields["keypoints2d"][..., :2], RAW["project"](want, 0), atol=1e-9)

    def test_intrinsics_are_fx_cx_fy_cy(self, tracks: dict[str, Track]) -> None:
        for number, name in ((0, "54138969"), (3, "60457274")):
            fields = tracks[f"S1_Directions-1.{name}"].fields
            fx, fy, cx, cy = RAW["intrinsics"](number)[:4]
            np.testing.assert_allclose(fields["intrinsics"][0], [[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
            np.testing.assert_allclose(
                fields["intrinsics_univ"][0], [[fx + 1, 0, cx], [0, fy + 1, cy], [0, 0, 1]]
            )
            near = project(fields["joints3d"], fields["intrinsics"]) - fields["keypoints2d"][..., :2]
            assert np.abs(near).max() < 10  # but for the distortion

    def test_views_keep_what_falls_on_their_grid(self, tracks: dict[str, Track]) -> None:
        track = tracks["S1_Directions-1.54138969"]
        keep = view_track(track, RECIPE.views["p1"], RECIPE).keep
        assert track.frame_id[keep].tolist() == [1, 6, 16, 21]

    def test_extrinsics_and_names_come_with_the_metadata(self, path: Path, tmp_path: Path) -> None:
        assert "extrinsics" not in read(tmp_path)[0].fields
        RAW["write_metadata"](tmp_path / "metadata.xml")
        track = read(tmp_path)[0]
        rotation, center = RAW["extrinsics"](1, 0)
        np.testing.assert_allclose(track.fields["extrinsics"][0, :3, 3], -rotation @ center / 1000, atol=1e-9)
        assert track.clip_info["recording"] == "S1 Directions 1"

    def test_images_are_found_by_number(self, path: Path, tmp_path: Path) -> None:
        RAW["write_images"](path.parent / "imageSequence" / "54138969", "img_{:06d}.jpg", [1, 5, 16])
        assert read(tmp_path)[0].fields["has_image"].tolist() == [True, False, True, False, True, False]

    def test_first_versions_have_no_subaction_and_no_true_scale(self, tmp_path: Path) -> None:
        RAW["write_fetch"](tmp_path, 9, "TakingPhoto", {0: [1, 6, 11]}, first_version=True)
        (track,) = read(tmp_path)
        assert (track.action, track.clip_info["action_id"], track.clip_info["subaction"]) == (
            "TakingPhoto",
            12,
            None,
        )
        assert "joints3d" not in track.fields
        assert track.fields["joints3d_univ"].shape == (3, 32, 3)
        assert (track.sequence, track.fps) == ("S9_TakingPhoto.54138969", 10.0)

    def test_a_folder_given_as_root_itself_is_read_too(self, path: Path, tmp_path: Path) -> None:
        assert [t.sequence for t in read(tmp_path / "processed")] == [t.sequence for t in read(tmp_path)]

    def test_unsorted_frames_are_sorted(self, path: Path, tmp_path: Path) -> None:
        want = read(tmp_path)[0]
        with h5py.File(path, "a") as file:
            order = np.random.default_rng(0).permutation(len(file["frame"]))
            for key in ("pose/2d", "pose/3d", "pose/3d-univ", "frame", "camera"):
                file[key][...] = file[key][()][order]
        found = read(tmp_path)[0]
        np.testing.assert_array_equal(found.frame_id, want.frame_id)
        np.testing.assert_array_equal(found.fields["joints3d"], want.fields["joints3d"])


class TestDamage:
    @pytest.mark.parametrize(
        ("key", "value", "error", "message"),
        [
            ("frame", None, BrokenFile, "has no array frame"),
            ("pose/2d", None, BrokenFile, "has no array pose/2d"),
            ("pose/3d-univ", None, BrokenFile, "has no array pose/3d-univ"),
            ("intrinsics/54138969", None, BrokenFile, "has no array intrinsics/54138969"),
            ("intrinsics/54138969", [1.0, 2, 3], BrokenFile, "intrinsics/54138969 should be four numbers"),
            (
                "pose/2d",
                np.zeros((10, 2, 32)),
                BrokenFile,
                r"pose/2d has shape \(10, 2, 32\), expected \(10, 32, 2\)",
            ),
            ("pose/3d", np.full((10, 32, 3), np.inf), BrokenFile, "pose/3d is not finite in 10 of 10 rows"),
            ("pose/3d", np.ones((10, 32, 3)), UnitError, "pose/3d gives bodies that span 0 m"),
            ("camera", np.zeros(9), BrokenFile, r"camera has shape \(9,\)"),
            ("camera", np.full(10, 7), BrokenFile, "has no array intrinsics/7"),
            ("frame", np.zeros(10), BrokenFile, "frame of camera 54138969 should be different numbers"),
            (
                "frame",
                np.arange(1, 11) + 0.5,
                BrokenFile,
                r"frame should be whole numbers; it begins with \[1\.5",
            ),
            ("camera", np.full(10, np.nan), BrokenFile, "camera should be whole numbers"),
            ("camera", np.array([b"left"] * 10), BrokenFile, "camera should be whole numbers"),
            (
                "frame",
                np.zeros(0),
                BrokenFile,
                r"frame has shape \(0,\), expected \(frames\)",
            ),
        ],
    )
    def test_wrong_arrays_are_named(
        self, key: str, value: Any, error: type[Exception], message: str, path: Path, tmp_path: Path
    ) -> None:
        with h5py.File(path, "a") as file:
            del file[key]
            if value is not None:
                file[key] = value
        with pytest.raises(error, match=message) as caught:
            read(tmp_path)
        assert "annot.h5" in str(caught.value)

    def test_a_truncated_file_is_broken(self, path: Path, tmp_path: Path) -> None:
        path.write_bytes(path.read_bytes()[:2000])
        with pytest.raises(BrokenFile, match=r"annot\.h5"):
            read(tmp_path)

    @pytest.mark.parametrize("folder", ["Dancing-1", "Directions-one", "2-1"])
    def test_a_folder_of_another_name_is_refused(self, folder: str, path: Path, tmp_path: Path) -> None:
        path.parent.rename(path.parent.with_name(folder))
        with pytest.raises(BrokenFile, match="its folder should be called <action>-<subaction>"):
            read(tmp_path)

    def test_an_unknown_camera_is_named(self, path: Path, tmp_path: Path) -> None:
        with h5py.File(path, "a") as file:
            file["camera"][...] = 7
            file["intrinsics/7"] = file["intrinsics/54138969"][()]
        with pytest.raises(BrokenFile, match="camera '7' is none of 54138969"):
            read(tmp_path)
