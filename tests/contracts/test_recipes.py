"""What every recipe and its reader promise; a new recipe is tested by being there."""

import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hpsbench.bodies.joints import get_joint_set
from hpsbench.recipes.access import find_raw
from hpsbench.recipes.catalog import get_recipe, list_recipes
from hpsbench.recipes.sequences import SequenceSkipped, find_sequences, get_reader, read_sequence
from hpsbench.recipes.views import view_track
from hpsbench.store.layout import FIELDS
from hpsbench.store.writer import MemoryTrack
from hpsbench.types import Track

RAW = runpy.run_path(str(Path(__file__).parents[1] / "recipes" / "raw_files.py"))


@pytest.fixture
def make_raw(tmp_path: Path) -> Callable[[str], Path]:
    def make(key: str) -> Path:
        raw = tmp_path / "raw" / key
        RAW["WRITERS"][key](raw)
        RAW["mark_synthetic"](raw, key)
        return raw

    return make


@pytest.fixture(params=list_recipes())
def key(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tracks(key: str, make_raw: Callable[[str], Path]) -> list[Track]:
    recipe, found = get_recipe(key), []
    for raw in find_sequences(recipe, make_raw(key)):
        try:
            found += list(read_sequence(recipe, raw))
        except SequenceSkipped:
            continue
    return found


def test_the_recipe_is_complete(key: str) -> None:
    recipe = get_recipe(key)
    assert callable(get_reader(recipe))
    assert recipe.bibtex.strip().startswith("@")
    assert recipe.homepage.startswith("https://")
    assert recipe.licence_url.startswith("https://")
    for facts in recipe.fields.values():
        for joint_set in facts.joint_sets:
            assert len(get_joint_set(joint_set)) > 0
    for view in recipe.views.values():
        if view.visible is not None:
            sets = recipe.fields["keypoints2d"].joint_sets
            assert sets
            for joint_set in sets:
                get_joint_set(joint_set).indices(view.visible.joints)


def test_raw_data_is_found_by_its_markers(key: str, make_raw: Callable[[str], Path], tmp_path: Path) -> None:
    raw = make_raw(key)
    assert find_raw(get_recipe(key), tmp_path).path == raw


def test_tracks_keep_the_recipes_word(key: str, tracks: list[Track]) -> None:
    recipe = get_recipe(key)
    assert tracks
    assert {track.split for track in tracks} == set(recipe.splits)
    assert len({track.key for track in tracks}) == len(tracks)
    for track in tracks:
        if recipe.source.fps is not None:
            assert track.fps == recipe.source.fps
        assert track.fps is None or track.fps > 0
        missing = {n for n, f in recipe.fields.items() if not f.optional and n != "frame_id"} - set(
            track.fields
        )
        assert not missing
        assert set(track.fields) <= set(recipe.fields)
        MemoryTrack.of(track)


def test_values_are_plausible_where_the_dataset_vouches_for_them(key: str, tracks: list[Track]) -> None:
    recipe = get_recipe(key)
    for track in tracks:
        valid = np.asarray(track.fields.get("valid", np.ones(len(track), bool)))
        for name, values in track.fields.items():
            facts = recipe.fields[name]
            rows = np.asarray(values, dtype=float)
            numbers = rows.reshape(len(rows), -1)[valid]
            if facts.optional:  # joints that the track never has, and frames without any
                numbers = numbers[:, ~np.isnan(numbers).all(axis=0)]
                numbers = numbers[~np.isnan(numbers).all(axis=1)]
            assert np.isfinite(numbers).all(), name
            if facts.joint_sets:
                assert facts.joint_set_of(values.shape[1]) is not None
            if facts.unit == "m" and name in FIELDS:
                assert np.nanmax(np.abs(numbers), initial=0) < 1000, "metres, not millimetres"


def test_every_view_accounts_for_every_row(key: str, tracks: list[Track]) -> None:
    recipe = get_recipe(key)
    for name, rule in recipe.views.items():
        for track in tracks:
            view = view_track(track, rule, recipe)
            assert view.keep.shape == (len(track),)
            assert view.bbox_cxcywh.shape == (len(track), 4)
            assert view.keep.sum() + sum(view.dropped.values()) == len(track), name
