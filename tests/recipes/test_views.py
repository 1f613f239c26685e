"""Views: what they keep, with which box, and that the reasons add up."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsbench.errors import BadData
from hpsbench.recipes.catalog import get_recipe
from hpsbench.recipes.sequences import find_sequences, read_sequence
from hpsbench.recipes.view_rules import NoBox, ViewRule, Visible
from hpsbench.recipes.views import sum_counts, view_track
from hpsbench.types import Track


@pytest.fixture
def tracks(make_raw: Callable[..., Path]) -> dict[str, Track]:
    recipe = get_recipe("3dpw")
    found = find_sequences(recipe, make_raw("3dpw"))
    return {track.key: track for raw in found for track in read_sequence(recipe, raw)}


@pytest.mark.parametrize("view", ["vibe", "tcmr", "mpsnet", "spin", "hmmr", "all"])
def test_each_view_keeps_the_known_rows(
    view: str, tracks: dict[str, Track], raw_files: dict[str, Any]
) -> None:
    recipe = get_recipe("3dpw")
    counts = []
    for track in tracks.values():
        found = view_track(track, recipe.views[view], recipe)
        kept = int(found.keep.sum())
        assert found.counted == (track.split, len(track), kept, found.dropped, int(kept > 0))
        counts.append(found.counted)
        assert found.keep.sum() + sum(found.dropped.values()) == len(track)
        if view != "all":
            assert np.isfinite(found.bbox_cxcywh[found.keep]).all()
    assert sum_counts(counts)["test"] == raw_files["COUNTS"][view]


def test_the_seventh_joint_decides(tracks: dict[str, Track]) -> None:
    recipe = get_recipe("3dpw")
    keep = view_track(tracks["downtown_two_00_0"], recipe.views["tcmr"], recipe).keep
    assert keep[[9, 10, 11]].tolist() == [True, False, True]
    assert np.flatnonzero(~keep).tolist() == [0, 1, 10, 20, 21, 39]


def test_views_that_share_rows_differ_in_crop_scale() -> None:
    views = get_recipe("3dpw").views
    assert (views["vibe"].crop_scale, views["tcmr"].crop_scale, views["mpsnet"].crop_scale) == (1.2, 1.3, 1.3)
    assert views["spin"].crop_scale == 1.2


def test_all_keeps_rows_whose_box_is_unknown(tracks: dict[str, Track]) -> None:
    recipe = get_recipe("3dpw")
    never = view_track(tracks["office_never_00_0"], recipe.views["all"], recipe)
    assert never.keep.all()
    assert np.isnan(never.bbox_cxcywh).all()
    two = view_track(tracks["downtown_two_00_0"], recipe.views["all"], recipe)
    assert np.isfinite(two.bbox_cxcywh).all()


def test_a_view_without_boxes_has_none(tracks: dict[str, Track]) -> None:
    rule = ViewRule(source="test", box=NoBox(rule="none"))
    found = view_track(tracks["courtyard_a_00_0"], rule, get_recipe("3dpw"))
    assert found.keep.all()
    assert np.isnan(found.bbox_cxcywh).all()


def test_a_missing_field_is_named(tracks: dict[str, Track]) -> None:
    recipe = get_recipe("amass")
    rule = ViewRule(
        source="test", box=NoBox(rule="none"), visible=Visible(joints=["nose"], threshold=0.3, more_than=0)
    )
    track = tracks["courtyard_a_00_0"]
    bare = Track(sequence="x", person=0, split="test", frame_id=track.frame_id, fields={})
    with pytest.raises(BadData, match=r"keypoints2d"):
        view_track(bare, rule, recipe)
