"""The Penn Action reader and views, trap by trap."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from hpsbench.bodies.joints import convert_indices
from hpsbench.errors import BrokenFile, UnitError, UsageError
from hpsbench.recipes.catalog import get_recipe
from hpsbench.recipes.readers.pennaction import split_of
from hpsbench.recipes.sequences import RawSequence, find_sequences, read_sequence
from hpsbench.recipes.views import view_track
from hpsbench.types import Track

RAW: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "raw_pennaction.py"))
RECIPE = get_recipe("pennaction")


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


def sequence(root: Path, name: str = "0001") -> RawSequence:
    return RawSequence(root=root, name=f"labels/{name}.mat", split="train", options=RECIPE.options)


def read(root: Path, name: str = "0001") -> Track:
    (track,) = read_sequence(RECIPE, sequence(root, name))
    return track


def dropped(track: Track, view: str) -> tuple[list[int], dict[str, int]]:
    """Rows that are left out, and why."""
    found = view_track(track, RECIPE.views[view], RECIPE)
    return np.flatnonzero(~found.keep).tolist(), dict(found.dropped)


def test_the_file_tells_its_split(tracks: dict[str, Track], raw: Path) -> None:
    assert {name: track.split for name, track in tracks.items()} == {
        "0001": "train",
        "0002": "test",
        "0003": "train",
    }
    assert split_of(sequence(raw, "0002")) == "test"


def test_every_frame_is_a_row_and_counts_from_one(tracks: dict[str, Track], raw: Path) -> None:
    for name, clip in RAW["CLIPS"].items():
        track = tracks[name]
        np.testing.assert_array_equal(track.frame_id, np.arange(1, clip.frames + 1))
        assert (track.height, track.width) == (clip.height, clip.width)
        assert (track.action, track.clip_info["viewpoint"]) == (clip.action, clip.viewpoint)
        assert (raw / str(track.image_source).format(frame_id=1)).is_file()
        assert track.fps is None


def test_the_thirteen_joints_are_kept_as_they_are(tracks: dict[str, Track]) -> None:
    for name in RAW["CLIPS"]:
        want, points = RAW["arrays"](name), tracks[name].fields["keypoints2d"]
        assert points.shape[1:] == (13, 3)
        for column, key in enumerate(("x", "y", "visibility")):
            np.testing.assert_array_equal(points[..., column], want[key])


def test_they_are_converted_once_and_by_name() -> None:
    assert RECIPE.fields["keypoints2d"].joint_set == "pennaction13"
    want = [12, 10, 8, 7, 9, 11, 6, 4, 2, 1, 3, 5, -1, 0]
    assert list(convert_indices("pennaction13", "common14")) == want


def test_boxes_may_be_fewer_or_more_than_frames(tracks: dict[str, Track]) -> None:
    few, many = tracks["0001"].fields["bbox_xyxy"], tracks["0002"].fields["bbox_xyxy"]
    np.testing.assert_array_equal(few[21], [23, 24, 71, 66])
    assert np.isnan(few[22:]).all()
    assert many.shape == (20, 4)
    assert np.isfinite(many).all()


def test_a_clip_without_boxes_has_none(tmp_path: Path) -> None:
    for number, boxes in enumerate((None, np.zeros((0, 0)))):
        RAW["write_clip"](tmp_path / str(number), "0001", images=False, bbox=boxes)
        assert np.isnan(read(tmp_path / str(number)).fields["bbox_xyxy"]).all()


class TestViews:
    def test_vibe_leaves_out_frames_without_two_visible_joints(self, tracks: dict[str, Track]) -> None:
        # Row 7: everything is flagged visible and lies at zero, so there is no box either.
        assert dropped(tracks["0001"], "vibe") == ([3, 5, 7], {"no-box": 3})

    def test_tcmr_looks_at_coordinates_only(self, tracks: dict[str, Track]) -> None:
        assert dropped(tracks["0001"], "tcmr") == ([7], {"no-box": 1})
        assert dropped(tracks["0001"], "mpsnet") == ([7], {"no-box": 1})

    def test_a_zero_coordinate_counts_in_vibe_and_not_in_tcmr(self, tracks: dict[str, Track]) -> None:
        track, points = tracks["0001"], RAW["arrays"]("0001")
        visible = points["visibility"][9] != 0
        placed = (points["x"][9] != 0) & (points["y"][9] != 0)
        for view, rows, crop in (("vibe", visible, 1.3), ("tcmr", placed, 1.2), ("mpsnet", placed, 1.2)):
            x, y = points["x"][9][rows], points["y"][9][rows]
            side = max(np.ptp(x), np.ptp(y))
            want = [(x.min() + x.max()) / 2, (y.min() + y.max()) / 2, side, side]
            found = view_track(track, RECIPE.views[view], RECIPE).bbox_cxcywh[9]
            np.testing.assert_allclose(found, want)
            assert RECIPE.views[view].crop_scale == crop

    def test_a_missing_image_is_counted(self, tracks: dict[str, Track]) -> None:
        assert dropped(tracks["0003"], "vibe") == ([20], {"image-missing": 1})

    def test_a_clip_without_any_image_keeps_its_rows(self, tmp_path: Path) -> None:
        RAW["write_clip"](tmp_path, "0003", images=False)
        assert dropped(read(tmp_path, "0003"), "vibe") == ([], {})

    def test_the_view_all_keeps_everything(self, tracks: dict[str, Track]) -> None:
        assert all(dropped(track, "all") == ([], {}) for track in tracks.values())


class TestDamagedFiles:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"x": None}, "has no x"),
            ({"dimensions": None}, "has no dimensions"),
            ({"y": np.zeros((13, 24))}, r"y has shape \(13, 24\), expected \(24, 13\)"),
            ({"visibility": np.ones((23, 13))}, r"visibility has shape \(23, 13\)"),
            ({"x": np.zeros((0, 13))}, r"x has shape \(0, 13\), expected \(frames, 13\)"),
            ({"x": np.full((24, 13), np.nan)}, "x is not finite in 24 of 24 rows"),
            ({"bbox": np.zeros((24, 5))}, r"bbox has shape \(24, 5\), expected \(frames, 4\)"),
            ({"bbox": np.full((24, 4), np.inf)}, "bbox is not finite"),
            ({"dimensions": np.array([[0, 64, 24]])}, "dimensions should be height, width, frames"),
            ({"dimensions": "48 64 24"}, "dimensions should be numbers, found text"),
            ({"dimensions": {"height": 48}}, "dimensions should be numbers, found an array of"),
            ({"x": np.full((24, 13), "1", object)}, "x should be numbers, found an array of object"),
            ({"y": np.full((24, 13), 1j)}, "y should be numbers, found complex numbers"),
            ({"x": scipy.sparse.csc_array(np.eye(24, 13))}, "x should be numbers, found an array of object"),
            ({"bbox": np.full((24, 4), "1", object)}, "bbox should be numbers"),
            ({"visibility": np.full((24, 13), 3)}, "visibility should be 0 or 1, found 3"),
            ({"visibility": np.full((24, 13), -1.0)}, "visibility should be 0 or 1, found -1"),
            ({"nframes": 25}, "nframes is 25, but x has 24 rows"),
            ({"train": None}, "has no train"),
            ({"train": "yes"}, "train should be a number, found 'yes'"),
        ],
    )
    def test_a_wrong_file_names_the_key(self, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
        RAW["write_clip"](tmp_path, "0001", images=False, **changes)
        with pytest.raises(BrokenFile, match=message) as caught:
            read(tmp_path)
        assert "0001.mat" in str(caught.value)

    def test_pixels_may_be_few_at_the_start_but_not_throughout(self, tmp_path: Path) -> None:
        corner = np.full((24, 13), 1.5)
        corner[20] = 30.0  # frames in a corner of the image are no shares of its width
        RAW["write_clip"](tmp_path, "0001", images=False, x=corner, y=corner)
        assert len(read(tmp_path)) == 24
        shares = np.full((24, 13), 0.5)
        RAW["write_clip"](tmp_path, "0001", images=False, x=shares, y=shares)
        with pytest.raises(UnitError, match=r"x and y reach 0\.5 at most"):
            read(tmp_path)

    def test_a_damaged_file_is_listed_so_that_reading_reports_it(self, tmp_path: Path) -> None:
        RAW["write"](tmp_path)
        path = tmp_path / "labels" / "0002.mat"
        path.write_bytes(path.read_bytes()[:300])
        found = find_sequences(RECIPE, tmp_path)
        assert [(item.stem, item.split) for item in found] == [
            ("0001", "train"),
            ("0002", "train"),
            ("0003", "train"),
        ]
        with pytest.raises(BrokenFile, match=r"0002\.mat"):
            list(read_sequence(RECIPE, found[1]))

    @pytest.mark.parametrize(
        ("changes", "message"), [({"train": "yes"}, "should be a number"), ({"train": None}, "has no train")]
    )
    def test_a_split_that_cannot_be_told_is_said(
        self, changes: dict[str, Any], message: str, tmp_path: Path
    ) -> None:
        RAW["write_clip"](tmp_path, "0001", images=False, **changes)
        with pytest.raises(BrokenFile, match=message):
            split_of(sequence(tmp_path))

    def test_options_must_be_in_the_recipe(self, raw: Path) -> None:
        bare = RawSequence(root=raw, name="labels/0001.mat", split="train")
        with pytest.raises(UsageError, match=r"options\.images \(list\)"):
            list(read_sequence(RECIPE, bare))
