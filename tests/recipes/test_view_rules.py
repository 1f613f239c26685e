"""Each rule that a view can declare, on tracks of a few frames with answers counted by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsbench.errors import BadData, UsageError
from hpsbench.recipes.boxes import given_boxes, tight_boxes
from hpsbench.recipes.catalog import get_recipe
from hpsbench.recipes.schema import read_recipe
from hpsbench.recipes.view_rules import ViewRule
from hpsbench.recipes.views import view_track
from hpsbench.types import Track

JOINTS = ["nose", "rwrist"]  # rows 0 and 4 of 3DPW's keypoints


def make_track(places: list[tuple[float, float]], **changes: Any) -> Track:
    """A person whose nose is at (50, 50) and whose wrist is at one place per frame; everything else is unseen."""
    points = np.zeros((len(places), 18, 3))
    points[:, 0] = [50, 50, 1]
    points[:, 4, :2] = places
    points[:, 4, 2] = 1
    fields = {"keypoints2d": points, "valid": np.ones(len(places), bool)} | changes.pop("fields", {})
    facts: dict[str, Any] = {"width": 200, "height": 100, "split": "train"} | changes
    return Track(sequence="a", person=0, frame_id=np.arange(len(places)), fields=fields, **facts)


def apply(track: Track, **rule: Any) -> tuple[list[int], dict[str, int]]:
    """Kept frames and reasons."""
    wanted = {"source": "test", "box": {"rule": "tight"}, "crop_scale": 1.0} | rule
    found = view_track(track, ViewRule.model_validate(wanted), get_recipe("3dpw"))
    return np.flatnonzero(found.keep).tolist(), dict(found.dropped)


def boxes(track: Track, **box: Any) -> Any:
    rule = ViewRule.model_validate({"source": "test", "box": box, "crop_scale": 1.0, "boxless": "keep"})
    return view_track(track, rule, get_recipe("3dpw")).bbox_cxcywh


def test_a_joint_on_the_first_pixel_is_inside_and_at_the_width_outside() -> None:
    track = make_track([(0, 0), (-1, 0), (199.9, 99.9), (200, 10), (10, 100), (60, 60)])
    assert apply(track, inside={"joints": JOINTS}) == ([0, 2, 5], {"joint-outside-image": 3})
    assert apply(track, inside={"joints": ["nose"]}) == ([0, 1, 2, 3, 4, 5], {})


def test_the_image_size_must_be_known_for_that() -> None:
    with pytest.raises(BadData, match="image size of track a_0 is unknown"):
        apply(make_track([(1, 1)], width=None), inside={"joints": JOINTS})


@pytest.mark.parametrize(("camera", "kept"), [("4", 2), ("5", 0), (None, 2)])
def test_other_cameras_are_left_out_as_a_whole(camera: str | None, kept: int) -> None:
    found, dropped = apply(make_track([(1, 1), (2, 2)], camera=camera), cameras=["0", "4"])
    assert len(found) == kept
    assert dropped == ({} if kept else {"other-camera": 2})


def test_flags_are_counted_under_their_own_names() -> None:
    flags = {"has_image": np.array([True, False, True]), "valid": np.array([True, True, False])}
    track = make_track([(1, 1)] * 3, fields=flags)
    assert apply(track, flags=["has_image"], valid=True) == ([0], {"not-has_image": 1, "camera-invalid": 1})


def test_every_second_of_the_frames_that_are_left_is_kept() -> None:
    track = make_track([(1, 1), (-5, 1), (2, 2), (3, 3), (4, 4), (6, 6)])
    inside = {"joints": JOINTS}
    assert apply(track, inside=inside, thin={"every": 2}) == (
        [0, 3, 5],
        {"joint-outside-image": 1, "thinned": 2},
    )
    assert apply(track, inside=inside, thin={"every": 2, "splits": ["test"]})[0] == [0, 2, 3, 4, 5]


def test_short_tracks_are_counted_after_all_other_rules() -> None:
    track = make_track([(1, 1), (-5, 1), (2, 2)])
    rule: dict[str, Any] = {"inside": {"joints": JOINTS}}
    assert apply(track, min_frames=2, **rule)[0] == [0, 2]
    assert apply(track, min_frames=3, **rule) == ([], {"joint-outside-image": 1, "too-short": 2})


def test_keypoints_count_by_confidence_or_by_place() -> None:
    track = make_track([(0, 0), (0, 9), (9, 0), (9, 9)])
    track.fields["keypoints2d"][3, 4, 2] = 0

    def kept(**seen: str) -> list[int]:
        return apply(track, boxless="keep", visible={"joints": ["rwrist"], "more_than": 0, **seen})[0]

    assert kept() == [0, 1, 2]
    assert kept(seen="x-or-y") == [1, 2, 3]
    assert kept(seen="x-and-y") == [3]


def test_a_tight_box_may_look_at_some_joints_only() -> None:
    track = make_track([(90, 60)])
    track.fields["keypoints2d"][0, 17] = [500, 500, 1]
    np.testing.assert_allclose(boxes(track, rule="tight", joints=JOINTS, factor=1.1), [[70, 55, 44, 44]])
    np.testing.assert_allclose(boxes(track, rule="tight"), [[275, 275, 450, 450]])


def test_tight_boxes_by_place_ignore_the_confidence() -> None:
    points = np.array([[[10, 20, 0], [30, 50, 0], [0, 90, 1]]], dtype=float)
    np.testing.assert_allclose(tight_boxes(points, seen="x-and-y", factor=1.0), [[20, 35, 30, 30]])
    np.testing.assert_allclose(tight_boxes(points, seen="x-or-y", factor=1.0), [[15, 55, 70, 70]])
    assert np.isnan(tight_boxes(points, factor=1.0)).all()


def test_given_boxes_become_squares_about_their_centre() -> None:
    corners = np.array([[10, 20, 50, 120], [10, 20, 10, 120], [5, 9, 9, 9], [np.nan] * 4, [9, 9, 5, 5]])
    found = given_boxes(corners, factor=0.8)
    np.testing.assert_allclose(found[0], [30, 70, 80, 80])
    assert np.isnan(found[1:]).all()


def test_a_track_without_given_box_in_a_frame_loses_it_or_keeps_it() -> None:
    track = make_track([(1, 1)] * 2, fields={"bbox_xyxy": np.array([[0, 0, 9, 9], [np.nan] * 4])})
    rule: dict[str, Any] = {"box": {"rule": "given"}}
    assert apply(track, **rule) == ([0], {"no-box": 1})
    assert apply(track, boxless="keep", **rule) == ([0, 1], {})


def test_a_fixed_box_is_the_same_everywhere() -> None:
    box = [112.0, 112.0, 224.0, 224.0]
    np.testing.assert_array_equal(boxes(make_track([(1, 1)] * 3), rule="fixed", cxcywh=box), [box] * 3)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('flags = ["valit"]', "Did you mean 'valid'"),
        ('thin = { every = 10, splits = ["trian"] }', "Did you mean 'train'"),
        ("thin = { every = 0 }", r"views\.spin\.thin\.every"),
    ],
)
def test_a_wrong_rule_names_the_key(line: str, message: str, tmp_path: Path) -> None:
    text = get_recipe("3dpw").path.read_text()
    path = tmp_path / "3dpw.toml"
    path.write_text(text.replace("[views.spin]", f"[views.spin]\n{line}"))
    with pytest.raises(UsageError, match=message):
        read_recipe(path)
