import itertools
from dataclasses import replace

import numpy as np
import pytest

from hpsbench.errors import ShapeError, UsageError
from hpsbench.evaluation.frames import accounting, plan_frames, sequence_of
from hpsbench.protocols.catalog import get_protocol
from hpsbench.protocols.protocol import Rule
from hpsbench.types import WindowRule


@pytest.fixture
def rule() -> Rule:
    """Windows of 4 without overlap; gaps end a segment."""
    return replace(get_protocol("vibe").rule("3dpw"), windows=WindowRule(length=4, stride=4), gaps="break")


def everything(n: int) -> np.ndarray:
    return np.ones(n, bool)


def chains(plan: object) -> list[list[int]]:
    return [chain.tolist() for chain in plan.chains]  # type: ignore[attr-defined]


def test_windows_are_cut_inside_tracks(rule: Rule) -> None:
    track = np.repeat(["a", "b"], [6, 9])
    plan = plan_frames(rule, track, seen=everything(15), scored=everything(15))
    assert np.flatnonzero(plan.scored).tolist() == [0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 13]
    assert chains(plan) == [[0, 1, 2, 3], [6, 7, 8, 9, 10, 11, 12, 13]]


def test_an_unseen_frame_is_a_gap_or_is_bridged(rule: Rule) -> None:
    seen = np.arange(10) != 5
    track = np.repeat("a", 10)
    broken = plan_frames(rule, track, seen=seen, scored=everything(10))
    assert [s.tolist() for s in broken.segments] == [[0, 1, 2, 3, 4], [6, 7, 8, 9]]
    assert chains(broken) == [[0, 1, 2, 3], [6, 7, 8, 9]]
    bridged = plan_frames(replace(rule, gaps="bridge"), track, seen=seen, scored=everything(10))
    assert chains(bridged) == [[0, 1, 2, 3, 4, 6, 7, 8]]


def test_frame_numbers_tell_gaps_that_rows_do_not(rule: Rule) -> None:
    frames = np.array([0, 2, 4, 6, 12, 14, 16, 18, 21])
    plan = plan_frames(rule, np.repeat("a", 9), seen=everything(9), scored=everything(9), frame_id=frames)
    assert [s.tolist() for s in plan.segments] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
    assert plan.state[8] == 1


def test_rows_of_a_track_are_put_in_frame_order(rule: Rule) -> None:
    plan = plan_frames(
        rule,
        np.array(["a", "b", "a", "b", "a", "b", "a", "b"]),
        seen=everything(8),
        scored=everything(8),
        frame_id=np.array([3, 0, 2, 1, 1, 2, 0, 3]),
    )
    assert chains(plan) == [[6, 4, 2, 0], [1, 3, 5, 7]]


def test_a_frame_cannot_occur_twice(rule: Rule) -> None:
    with pytest.raises(UsageError, match="track 'a': frame 1 occurs twice"):
        plan_frames(
            rule, np.repeat("a", 3), seen=everything(3), scored=everything(3), frame_id=np.array([0, 1, 1])
        )


def test_runs_of_a_name_that_others_separate_are_apart_in_time(rule: Rule) -> None:
    track = np.repeat(["a", "b", "a"], 4)
    plan = plan_frames(rule, track, seen=everything(12), scored=everything(12))
    assert plan.names == ("a", "b")
    assert chains(plan) == [[0, 1, 2, 3], [8, 9, 10, 11], [4, 5, 6, 7]]


def test_unscored_frames_stay_neighbours(rule: Rule) -> None:
    scored = np.array([True, False, False, True])
    plan = plan_frames(rule, np.repeat("a", 4), seen=everything(4), scored=scored)
    assert np.flatnonzero(plan.scored).tolist() == [0, 3]
    assert chains(plan) == [[0, 1, 2, 3]]


def test_predicted_frames_that_are_not_neighbours_are_a_gap(rule: Rule) -> None:
    sparse = replace(rule, windows=WindowRule(length=3, stride=3, predict="middle"))
    plan = plan_frames(sparse, np.repeat("a", 9), seen=everything(9), scored=everything(9))
    assert chains(plan) == [[1], [4], [7]]
    bridged = plan_frames(
        replace(sparse, gaps="bridge"), np.repeat("a", 9), seen=everything(9), scored=everything(9)
    )
    assert chains(bridged) == [[1, 4, 7]]


def test_masks_have_one_value_per_row(rule: Rule) -> None:
    with pytest.raises(ShapeError, match=r"seen: expected \(3,\) as track has, got \(2,\)"):
        plan_frames(rule, np.repeat("a", 3), seen=everything(2), scored=everything(3))


def test_every_frame_is_accounted_for_under_every_rule() -> None:
    rng = np.random.default_rng(0)
    names = ("vibe", "tcmr", "meva", "hmmr", "spin", "3dpw-challenge", "wham-camera", "vibe-strict")
    for name, trial in itertools.product(names, range(5)):
        rule = get_protocol(name).rule("3dpw")
        track = np.repeat([f"s{i}_0" for i in range(6)], rng.integers(1, 60, 6))
        seen, scored = rng.random((2, len(track))) < 0.5 + 0.1 * trial
        plan = plan_frames(rule, track, seen=seen, scored=scored)
        counts = accounting(plan, seen_masks={"blind": seen}, scored_masks={"unscored": scored})
        assert counts["in"] == len(track)
        assert counts["in"] == sum(counts[key] for key in ("masked", "too_short", "tail", "scored"))
        assert counts["masked"] == sum(counts["masked_by_reason"].values())
        assert counts["masked_by_reason"].get("blind", 0) == int((~seen).sum())
        assert "other" not in counts["masked_by_reason"]
        assert counts["scored"] == plan.scored.sum() == len(set(np.flatnonzero(plan.predicted & scored)))
        rows = np.concatenate(plan.chains) if plan.chains else np.empty(0, int)
        assert sorted(rows.tolist()) == np.flatnonzero(plan.predicted).tolist()
        assert counts["tracks"]["used"] + len(counts["tracks"]["skipped"]) == counts["tracks"]["in"] == 6


def test_frames_left_out_before_are_part_of_the_account(rule: Rule) -> None:
    seen = np.array([True] * 8 + [False])
    plan = plan_frames(rule, np.repeat("a", 9), seen=seen, scored=everything(9))
    counts = accounting(
        plan, seen_masks={"not valid": seen}, scored_masks={}, rows_in=14, left_out={"view": 5, "none": 0}
    )
    assert counts["masked_by_reason"] == {"view": 5, "not valid": 1}
    assert (counts["in"], counts["masked"], counts["scored"]) == (14, 6, 8)


def test_skipped_tracks_say_why(rule: Rule) -> None:
    track = np.repeat(["blind", "short", "bad", "good"], [4, 3, 4, 4])
    seen = track != "blind"
    plan = plan_frames(rule, track, seen=seen, scored=track != "bad")
    assert accounting(plan, seen_masks={}, scored_masks={})["tracks"]["skipped"] == {
        "blind": "none of its 4 frames may be seen",
        "short": "its 3 seen frames are fewer than a window needs",
        "bad": "none of its predicted frames is scored",
    }


def test_no_rows_at_all_are_no_problem(rule: Rule) -> None:
    plan = plan_frames(rule, np.empty(0, str), seen=everything(0), scored=everything(0))
    assert accounting(plan, seen_masks={}, scored_masks={})["scored"] == 0


def test_the_video_is_the_track_without_the_person() -> None:
    tracks = np.array(["courtyard_00_0", "courtyard_00_1", "plain", "courtyard_00_0"])
    assert sequence_of(tracks).tolist() == ["courtyard_00", "courtyard_00", "plain", "courtyard_00"]
    whole = ["walk_00", "walk_01", "walk_a", "walk_10", "_1"]
    assert sequence_of(np.array(whole)).tolist() == whole
