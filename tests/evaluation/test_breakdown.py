"""Means by group, by hand, on small results of bare arrays and of a store."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import hpsbench as hb
from hpsbench.bodies.joints import get_joint_set
from hpsbench.errors import UnknownName, UsageError
from hpsbench.evaluation.breakdown import Breakdown, breakdown, list_breakdowns, worst_frames
from hpsbench.evaluation.run import evaluate
from hpsbench.results.result import Result, load_result
from hpsbench.store.reader import ClipStore
from hpsbench.types import Inputs, Track

TRACK = np.repeat(["a_0", "b_0"], [20, 16])


@pytest.fixture
def result() -> Result:
    """Two people whose right wrist is off by 14 t mm at frame t; frame 3 of the first may not be scored."""
    target = np.repeat(np.random.default_rng(0).normal(0, 0.3, (1, 14, 3)), 36, axis=0)
    time = np.concatenate([np.arange(20), np.arange(16)])
    pred = target.copy()
    pred[:, 6, 0] += 0.014 * time
    scored = np.arange(36) != 3
    sides = {"joints3d": pred}, {"joints3d": target}
    return hb.score("wham-camera", *sides, track=TRACK, scored=scored, frame_id=time)


def with_columns(result: Result, **columns: Any) -> Result:
    return dataclasses.replace(result, frames=result.frames.assign(**columns))


def root_taken_off(joints: np.ndarray) -> np.ndarray:
    return joints - joints[:, [2, 3]].mean(axis=1, keepdims=True)


def means(found: Breakdown, metric: str) -> dict[str, tuple[float | None, int]]:
    return {group.name: (group.means[metric], group.n[metric]) for group in found.groups}


def test_by_sequence(result: Result) -> None:
    found = breakdown(result, "sequence")
    assert means(found, "mpjpe") == {
        "a": (pytest.approx((190 - 3) / 19), 19),
        "b": (pytest.approx(7.5), 16),
    }
    assert [group.frames for group in found.groups] == [19, 16]
    assert found.units["accel_err"] == "mm/frame^2"
    whole = sum(mean * n for mean, n in means(found, "mpjpe").values()) / 35
    assert whole == pytest.approx(result.summary["mpjpe"])


def test_by_joint_the_mean_over_joints_is_the_metric(result: Result) -> None:
    found = breakdown(result, "joint")
    names = get_joint_set("lsp14").names
    assert [group.name for group in found.groups] == list(names)
    wrist = means(found, "mpjpe")[names[6]]
    assert wrist == (pytest.approx(14 * result.summary["mpjpe"].value, rel=1e-6), 35)
    for metric in ("mpjpe", "pa_mpjpe"):
        mean = np.mean([value for value, _ in means(found, metric).values()])
        assert mean == pytest.approx(result.summary[metric].value, rel=1e-6)
    assert set(found.units) == {"mpjpe", "pa_mpjpe"}, "accelerations and meshes have no joints"


def test_errors_of_joints_are_small_columns_of_scored_frames(result: Result) -> None:
    columns = [name for name in result.frames if "." in name]
    assert len(columns) == 28
    assert all(result.frames[name].dtype == np.float32 for name in columns)
    assert len(result.frames) == 35
    other = hb.score(
        "hmmr",
        *({"joints3d": np.random.default_rng(s).normal(0, 0.3, (36, 14, 3))} for s in (1, 2)),
        track=TRACK,
        scored=np.arange(36) != 3,
    )
    unscored = other.frames[~other.frames["scored"]]
    assert unscored["frame_id"].tolist() == [3], "it has a predicted acceleration and no error"
    assert unscored[[name for name in columns if name in unscored]].isna().all(axis=None)


def test_by_speed_puts_a_quarter_of_the_frames_in_each_group() -> None:
    """The true right ankle moves by 14 t mm to frame t: the mean joint is as fast as t mm per frame."""
    target = np.repeat(np.random.default_rng(0).normal(0, 0.3, (1, 14, 3)), 33, axis=0)
    target[:, 0, 0] += 0.014 * np.cumsum(np.arange(33))
    result = hb.score("wham-camera", {"joints3d": target}, {"joints3d": target}, track=["a_0"] * 33)
    speed = result.frames["speed"].to_numpy()
    np.testing.assert_allclose(speed[[0, 1, 2, 32]], [1, 1.5, 2.5, 32], rtol=1e-5)
    found = breakdown(result, "speed")
    assert [group.frames for group in found.groups] == [8, 8, 8, 9]
    assert found.groups[0].name.startswith("1.0 to")


def test_a_step_over_a_gap_or_to_another_person_is_no_speed() -> None:
    target = np.cumsum(np.random.default_rng(0).normal(0, 0.01, (36, 14, 3)), axis=0)
    frames = np.concatenate([np.arange(10), np.arange(50, 60), np.arange(56, 72)])
    sides = {"joints3d": target}, {"joints3d": target}
    bridged = hb.score("tcmr", *sides, track=TRACK, frame_id=frames).frames["speed"].to_numpy()
    broken = hb.score("wham-camera", *sides, track=TRACK, frame_id=frames).frames["speed"].to_numpy()
    joined = hb.score("vibe-strict", *sides, track=TRACK, frame_id=frames).frames["speed"].to_numpy()
    np.testing.assert_array_equal(bridged, broken)
    # Frame 55 of the first person is followed by frame 56 of the second: it keeps the step before it alone.
    step = np.linalg.norm(np.diff(root_taken_off(target[14:16]), axis=0), axis=-1).mean() * 1000
    assert joined[15] == pytest.approx(step, rel=0.01), "the target is in half precision"
    np.testing.assert_allclose(np.delete(joined, 15), np.concatenate([broken[:15], broken[20:]]), rtol=0.01)


def test_a_single_frame_has_no_speed() -> None:
    target = np.random.default_rng(0).normal(0, 0.3, (2, 14, 3))
    result = hb.score("wham-camera", {"joints3d": target}, {"joints3d": target}, track=["a_0", "b_0"])
    assert result.frames["speed"].isna().all()
    assert breakdown(result, "speed").why_none == "no frame has a neighbour in time"


def test_by_what_a_store_knows(result: Result) -> None:
    count = len(result.frames)
    known = with_columns(
        result,
        action=np.where(np.arange(count) < 4, "Walking", "").astype(object),
        visible_keypoints=np.where(np.arange(count) < 4, 3, 12),
        corrupted_distance=np.resize([0.0, 1, 2, 3, np.nan], count),
    )
    # Frames 0, 1, 2 and 4 of the first track are the first four.
    assert means(breakdown(known, "action"), "mpjpe")["Walking"] == (pytest.approx(7 / 4), 4)
    assert list(means(breakdown(known, "action"), "mpjpe")) == ["Walking", "not named"]
    assert list(means(breakdown(known, "visibility"), "mpjpe")) == ["3", "12"]
    near = breakdown(known, "corruption")
    assert [(g.name, g.frames) for g in near.groups] == [("0", 7), ("1", 7), ("2", 7), ("further", 14)]


def test_values_of_several_weigh_as_many(result: Result) -> None:
    count = len(result.frames)
    weights = np.where(np.arange(count) == 0, 3, 1)
    values = np.where(np.arange(count) == 0, 10.0, 0.0)
    known = with_columns(result, mpjpe=values, mpjpe_n=weights)
    assert means(breakdown(known, "sequence"), "mpjpe")["a"] == (pytest.approx(30 / 21), 21)


def test_what_cannot_be_broken_down_says_why(result: Result) -> None:
    reasons = {by: breakdown(result, by).why_none for by in list_breakdowns()}
    assert {by for by, why in reasons.items() if why} == {"action", "visibility", "corruption"}
    old = dataclasses.replace(
        result, frames=result.frames[["track", "sequence", "frame_id", "scored", "mpjpe"]]
    )
    assert (
        breakdown(old, "joint", metrics=["mpjpe"]).why_none == "the result keeps no errors of single joints"
    )
    assert breakdown(old, "speed", metrics=["mpjpe"]).why_none
    with pytest.raises(UnknownName, match="Did you mean 'joint'"):
        breakdown(result, "joints")
    with pytest.raises(UnknownName, match="metric of this result"):
        breakdown(result, "joint", metrics=["pve_raw"])


def test_the_worst_frames_come_first(result: Result) -> None:
    frames = worst_frames(result, count=3)
    assert [(f.track, f.frame_id) for f in frames] == [("a_0", 19), ("a_0", 18), ("a_0", 17)]
    assert frames[0].value == pytest.approx(19)
    assert frames[0].image is None
    assert frames[0].context == {"speed": 0.0}
    assert len(worst_frames(result)) == 10
    imaged = with_columns(result, image=[f"i/{n}.jpg" for n in result.frames["frame_id"]])
    assert worst_frames(imaged, "pa_mpjpe", count=1)[0].image == "i/19.jpg"
    with pytest.raises(UsageError, match="size of a motion"):
        worst_frames(
            hb.score(
                "tcmr", *[{"joints3d": np.random.default_rng(0).normal(size=(36, 14, 3))}] * 2, track=TRACK
            ),
            "accel_pred",
        )
    with pytest.raises(UnknownName, match="metric of this result"):
        worst_frames(result, "mpjpee")


def test_of_a_share_the_lowest_are_the_worst() -> None:
    rng = np.random.default_rng(0)
    pred, target = rng.normal(0, 0.1, (2, 100, 14, 3))
    result = hb.score("meva", {"joints3d": pred}, {"joints3d": target}, track=["a_0"] * 100)
    worst = worst_frames(result, "pa_pck150", count=2)
    assert worst[0].value == result.frames["pa_pck150"].min()


def test_a_store_adds_what_it_knows_to_the_table(
    truth: Any,
    make_store: Callable[..., ClipStore],
    add_features: Callable[..., ClipStore],
    world: Path,
    tmp_path: Path,
) -> None:
    """Track a_00_0 is hit at frame 3, a_00_1 at frames 0 and 24, b_00_0 (too short to be scored) nowhere."""
    store = add_features(make_store(), "spin-tcmr")
    starts = dict(zip(store.clips["track"], store.clips["start"], strict=True))
    rows = [int(starts["a_00_0"]) + 3, int(starts["a_00_1"]), int(starts["a_00_1"]) + 24]
    corruption = {"mode": "center", "seed": 0, "hits": {"row": sorted(rows)}}
    add_features(store, "spin-tcmr+center", corruption=corruption)
    truth.inputs = Inputs(features=8, extractor="spin")
    result = evaluate(truth, "tcmr", store, root=world, features="spin-tcmr+center", save=tmp_path / "run")
    frames = result.frames.set_index(["track", "frame_id"])
    distances = [
        frames.loc[key, "corrupted_distance"] for key in [("a_00_0", 3), ("a_00_0", 9), ("a_00_1", 20)]
    ]
    assert distances == [0, 6, 4]
    assert frames.loc[("a_00_0", 0), "visible_keypoints"] == 5
    assert frames.loc[("a_00_0", 5), "visible_keypoints"] == 18
    assert "action" not in frames
    assert "image" not in frames, "this store has no images"
    near = breakdown(result, "corruption")
    assert {g.name: g.frames for g in near.groups} == {"0": 3, "1": 4, "2": 4, "further": 52}
    pd.testing.assert_frame_equal(load_result(tmp_path / "run").frames, result.frames)
    clean = evaluate(truth, "tcmr", store, root=world)
    assert "corrupted_distance" not in clean.frames


def test_images_and_actions_come_from_the_clip_table(
    truth: Any, make_store: Callable[..., ClipStore], raw_tracks: list[Track], world: Path
) -> None:
    tracks = [
        dataclasses.replace(
            track, image_source=f"images/{track.sequence}/{{frame_id:05d}}.jpg", action="Walking"
        )
        for track in raw_tracks
    ]
    result = evaluate(truth, "tcmr", make_store(tracks), root=world)
    first = result.frames.iloc[0]
    assert (first["image"], first["action"]) == ("images/a_00/00000.jpg", "Walking")
    assert worst_frames(result)[0].image is not None
