"""Each rule that a view can declare, on tracks of a few frames with answers counted by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from hpsbench.errors import BadData, UsageError
from hpsbench.recipes.boxes import given_boxes, tight_boxes
from hpsbench.recipes.catalog import get_recipe
from hpsbench.recipes.schema import read_recipe
from hpsbench.recipes.view_rules import ViewRule
from hpsbench.recipes.views import view_all, view_track
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


def test_thinning_through_the_dataset_is_left_to_those_who_see_it_whole() -> None:
    track = make_track([(1, 1), (-5, 1), (2, 2)])
    rule: dict[str, Any] = {"inside": {"joints": JOINTS}, "thin": {"every": 2, "counted": "dataset"}}
    assert apply(track, **rule) == ([0, 2], {"joint-outside-image": 1})
    with pytest.raises(ValidationError, match="min_frames counts frames of a track"):
        apply(track, min_frames=2, **rule)


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


def test_frames_are_thinned_by_their_own_numbers_before_other_rules() -> None:
    track = make_track([(1, 1), (-5, 1), (2, 2), (3, 3), (4, 4), (-1, 6)])
    track.frame_id[:] = [1, 2, 3, 7, 8, 9]  # a gap: 4, 5, 6 are missing
    rule: dict[str, Any] = {"inside": {"joints": JOINTS}}
    thin = {"every": 2, "counted": "numbers", "first": 1}
    assert apply(track, thin=thin, **rule) == ([0, 2, 3], {"thinned": 2, "joint-outside-image": 1})
    assert apply(track, thin={**thin, "first": 0}, **rule)[0] == [4]
    assert apply(track, thin={**thin, "splits": ["test"]}, **rule)[0] == [0, 2, 3, 4]


def test_tracks_with_a_remark_are_left_out_under_its_name() -> None:
    track = make_track([(1, 1)] * 3, clip_info={"remarks": "drifted-3d,no-video"})
    assert apply(track, without=["no-video"]) == ([], {"no-video": 3})
    assert apply(track, without=["no-audio", "no"])[0] == [0, 1, 2]
    assert apply(make_track([(1, 1)]), without=["no-video"])[0] == [0]


def test_boxes_are_smoothed_at_the_full_rate_or_at_that_of_the_view() -> None:
    track = make_track([(60 + 4 * i * (i % 2), 60) for i in range(40)])
    thin = {"every": 2, "counted": "numbers", "first": 0}
    box = {"rule": "smoothed", "threshold": 0.3, "sigma": 2.0, "factor": 1.0}

    def made(over: str) -> Any:
        rule = {"source": "test", "box": {**box, "over": over}, "crop_scale": 1.0, "thin": thin}
        return view_track(track, ViewRule.model_validate(rule), get_recipe("3dpw"))

    whole, apart = made("all"), made("thinned")
    assert whole.keep.sum() == apart.keep.sum() == 20
    assert np.isnan(apart.bbox_cxcywh[1::2]).all()
    # The even frames alone have the same wrist, so smoothing changes nothing; the odd frames move it far away.
    inner = slice(12, 28, 2)
    np.testing.assert_allclose(apart.bbox_cxcywh[inner, 2], np.hypot(10, 10), rtol=1e-6)
    assert (whole.bbox_cxcywh[inner, 2] > 20).all()


def test_boxes_over_thinned_frames_need_thinning_by_numbers() -> None:
    box = {"rule": "smoothed", "threshold": 0.3, "sigma": 2.0, "factor": 1.0, "over": "thinned"}
    for thin in (None, {"every": 2}):
        with pytest.raises(ValueError, match=r"needs thin\.counted"):
            ViewRule.model_validate({"source": "test", "box": box, "crop_scale": 1.0, "thin": thin})


def test_a_box_may_look_at_the_joints_of_another_set_only() -> None:
    track = make_track([(90, 60)])
    track.fields["keypoints2d"][0, 17] = [500, 500, 1]  # an ear, which coco17 has and lsp14 has not
    track.fields["keypoints2d"][0, 2] = [70, 80, 1]  # a shoulder
    np.testing.assert_allclose(boxes(track, rule="tight", joint_set="lsp14"), [[80, 70, 20, 20]])
    with pytest.raises(ValueError, match="not both"):
        boxes(track, rule="tight", joint_set="lsp14", joints=JOINTS)


def test_without_any_given_box_the_other_rule_makes_them() -> None:
    rule = {"rule": "given", "factor": 2.0, "otherwise": {"rule": "tight", "joints": JOINTS}}
    unknown = np.full((2, 4), np.nan)
    for fields in ({}, {"bbox_xyxy": unknown}):
        np.testing.assert_allclose(
            boxes(make_track([(90, 60)] * 2, fields=fields), **rule)[1], [70, 55, 40, 40]
        )
    partly = boxes(
        make_track([(90, 60)] * 2, fields={"bbox_xyxy": np.array([[0, 0, 8, 8], unknown[0]])}), **rule
    )
    np.testing.assert_allclose(partly[0], [4, 4, 16, 16])
    assert np.isnan(partly[1]).all()


def test_all_views_at_once_are_what_each_is_alone() -> None:
    track = make_track([(1, 1), (-5, 1), (2, 2), (3, 3), (4, 4), (6, 6), (7, 7)])
    recipe = get_recipe("3dpw")
    inside = {"inside": {"joints": JOINTS}}
    rules: dict[str, Any] = {
        "one": inside,
        "two": inside | {"thin": {"every": 2}},
        "three": {"box": {"rule": "tight", "factor": 1.5}, "inside": {"joints": ["nose"]}},
    }
    views = {
        name: ViewRule.model_validate({"source": "test", "box": {"rule": "tight"}, "crop_scale": 1.0} | rule)
        for name, rule in rules.items()
    }
    found = view_all(track, recipe.model_copy(update={"views": {**recipe.views, **views}}))
    assert set(found) == set(recipe.views) | set(views)
    for name, rule in {**recipe.views, **views}.items():
        alone = view_track(track, rule, recipe)
        np.testing.assert_array_equal(found[name].keep, alone.keep)
        np.testing.assert_array_equal(found[name].bbox_cxcywh, alone.bbox_cxcywh)
        assert found[name].dropped == alone.dropped


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


def test_a_field_may_be_in_one_of_several_joint_sets(tmp_path: Path) -> None:
    text = get_recipe("3dpw").path.read_text()
    path = tmp_path / "3dpw.toml"
    path.write_text(text.replace('joint_set = "3dpw18"', 'joint_set = ["3dpw18", "lsp14"]'))
    recipe = read_recipe(path)
    assert [recipe.keypoint_set(n) for n in (18, 14, 17)] == ["3dpw18", "lsp14", None]
    assert get_recipe("3dpw").keypoint_set(18) == "3dpw18"
    path.write_text(text.replace('joint_set = "3dpw18"', 'joint_set = ["common14", "lsp14"]'))
    with pytest.raises(UsageError, match=r"\[14, 14\] joints, which tells none apart"):
        read_recipe(path)
