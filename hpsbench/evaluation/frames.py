"""Which frames are seen, predicted by a window, and scored; which are neighbours in time; where the others went.

Everything here works on row numbers and masks; no joint and no mesh is touched.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np

from hpsbench.errors import ShapeError, UsageError
from hpsbench.protocols.protocol import Rule
from hpsbench.store.windows import predicted_rows, rule_windows
from hpsbench.types import Array, BoolArray, IntArray, WindowRule

UNSEEN: Final = 0
TOO_SHORT: Final = 1
TAIL: Final = 2
UNSCORED: Final = 3
SCORED: Final = 4

_PERSON: Final = re.compile(r"(?<=.)_\d$")


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePlan:
    """What happens to each of N rows.

    Attributes:
        track: (N,) names, as given.
        group: (N,) which track each row counts in, an index into `names`.
        names: of the tracks, in order of first occurrence.
        state: (N,) `UNSEEN`, `TOO_SHORT`, `TAIL`, `UNSCORED` or `SCORED`.
        predicted: (N,) bool, rows that the protocol's windows predict.
        scored: (N,) bool, rows that enter the mean.
        segments: seen rows in time order, one array per stretch that windows are cut from; too short ones too.
        chains: predicted rows that are neighbours in time one after the other: what accelerations run over.
    """

    track: Array
    group: IntArray
    names: tuple[str, ...]
    state: IntArray
    predicted: BoolArray
    scored: BoolArray
    segments: tuple[IntArray, ...]
    chains: tuple[IntArray, ...]

    def __len__(self) -> int:
        return len(self.track)


def plan_frames(
    rule: Rule, track: Array, *, seen: BoolArray, scored: BoolArray, frame_id: IntArray | None = None
) -> FramePlan:
    """Apply a protocol's track, gap and window rules.

    Args:
        rule: of the protocol on a dataset.
        track: (N,) names; rows of a track in time order.
        seen: (N,) rows that windows are cut from.
        scored: (N,) rows that may enter the mean; of these, the seen ones that a window predicts do.
        frame_id: (N,) frame numbers, to find gaps with; rows that skip a multiple of the track's smallest step are a
            gap. Without them, unseen rows are gaps, and so are rows of other tracks in between.

    Raises:
        ShapeError: arrays of other lengths.
        UsageError: a frame of a track occurs twice.
    """
    track = np.asarray(track)
    for name, values in (("seen", seen), ("scored", scored), ("frame_id", frame_id)):
        if values is not None and np.shape(values) != track.shape:
            raise ShapeError(f"{name}: expected ({len(track)},) as track has, got {np.shape(values)}")
    seen, scored = np.asarray(seen, bool), np.asarray(scored, bool)
    state = np.full(len(track), UNSEEN, np.int64)
    group = np.zeros(len(track), np.int64)
    groups = _by_first_occurrence(track) if rule.tracks == "first-occurrence" else _by_name(track, frame_id)
    segments: list[IntArray] = []
    chains: list[IntArray] = []
    for index, (_, rows) in enumerate(groups):
        group[rows] = index
        own = _segments(rule, rows, seen, frame_id)
        segments += own
        for segment in own:
            chains += _cut_segment(rule, segment, state)
    predicted = state == UNSCORED
    state[predicted & scored] = SCORED
    if rule.join_tracks and chains:
        chains = [np.concatenate(chains)]
    return FramePlan(
        track=track,
        group=group,
        names=tuple(name for name, _ in groups),
        state=state,
        predicted=predicted,
        scored=state == SCORED,
        segments=tuple(segments),
        chains=tuple(chains),
    )


def accounting(
    plan: FramePlan,
    *,
    seen_masks: Mapping[str, BoolArray],
    scored_masks: Mapping[str, BoolArray],
    rows_in: int | None = None,
    left_out: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Where every frame went, with its reason; the numbers add up to `in`.

    Args:
        plan: of `plan_frames`.
        seen_masks: reason -> (N,) rows that pass it; a row that fails several is counted under the first.
        scored_masks: the same for the masks of the mean.
        rows_in: frames before the plan's rows were chosen (by a view); None: the plan's.
        left_out: reason -> frames that were left out before.

    Returns:
        `in`, `masked`, `masked_by_reason`, `too_short`, `tail`, `scored`, and `tracks`: `in`, `used`, `skipped`
        (name -> reason).
    """
    reasons = {reason: int(count) for reason, count in (left_out or {}).items() if count}
    for state, masks in ((UNSEEN, seen_masks), (UNSCORED, scored_masks)):
        rest = plan.state == state
        for reason, passed in masks.items():
            failed = rest & ~np.asarray(passed, bool)
            if failed.any():
                reasons[reason] = reasons.get(reason, 0) + int(failed.sum())
            rest &= ~failed
        if rest.any():
            reasons["other"] = reasons.get("other", 0) + int(rest.sum())
    counts = np.bincount(plan.state, minlength=5)
    return {
        "in": len(plan) if rows_in is None else int(rows_in),
        "masked": sum(reasons.values()),
        "masked_by_reason": reasons,
        "too_short": int(counts[TOO_SHORT]),
        "tail": int(counts[TAIL]),
        "scored": int(counts[SCORED]),
        "tracks": _track_accounting(plan),
    }


def _track_accounting(plan: FramePlan) -> dict[str, Any]:
    skipped = {}
    for index, name in enumerate(plan.names):
        states = plan.state[plan.group == index]
        if (states == SCORED).any():
            continue
        seen = int((states != UNSEEN).sum())
        if seen == 0:
            skipped[name] = f"none of its {len(states)} frames may be seen"
        elif (states == TOO_SHORT).sum() == seen:
            skipped[name] = f"its {seen} seen frames are fewer than a window needs"
        else:
            skipped[name] = "none of its predicted frames is scored"
    return {"in": len(plan.names), "used": len(plan.names) - len(skipped), "skipped": skipped}


def _by_name(track: Array, frame_id: IntArray | None) -> list[tuple[str, IntArray]]:
    """Rows of each name, wherever they lie; in frame order where frames are numbered."""
    names, first, inverse = np.unique(track, return_index=True, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    ends = np.cumsum(np.bincount(inverse, minlength=len(names)))
    groups: list[tuple[str, IntArray]] = []
    for index in np.argsort(first, kind="stable"):
        rows = order[ends[index - 1] if index else 0 : ends[index]]
        if frame_id is not None:
            rows = rows[np.argsort(np.asarray(frame_id)[rows], kind="stable")]
            frames = np.asarray(frame_id)[rows]
            twice = np.flatnonzero(np.diff(frames) == 0)
            if len(twice):
                raise UsageError(f"track {str(names[index])!r}: frame {int(frames[twice[0]])} occurs twice")
        groups.append((str(names[index]), rows))
    return groups


def _by_first_occurrence(track: Array) -> list[tuple[str, IntArray]]:
    """From the first row of each name to the first row of the next new name, whatever the rows between are called."""
    names, first = np.unique(track, return_index=True)
    order = np.argsort(first)
    starts = first[order]
    stops = np.append(starts[1:], len(track))
    return [
        (str(names[index]), np.arange(start, stop))
        for index, start, stop in zip(order, starts, stops, strict=True)
    ]


def _segments(rule: Rule, rows: IntArray, seen: BoolArray, frame_id: IntArray | None) -> list[IntArray]:
    """The seen rows of one track, in the stretches that windows are cut from."""
    visible = rows[seen[rows]]
    if len(visible) == 0:
        return []
    if rule.gaps == "bridge":
        return [visible]
    return _split(visible, _places(rows, frame_id)[seen[rows]])


def _cut_segment(rule: Rule, segment: IntArray, state: IntArray) -> list[IntArray]:
    """Set the state of a segment's rows and return its chains of predicted rows."""
    count = len(segment)
    inside: IntArray = np.arange(count) if rule.windows is None else _predicted(count, rule.windows)
    state[segment] = TOO_SHORT if len(inside) == 0 else TAIL
    chosen = segment[inside]
    state[chosen] = UNSCORED
    if len(chosen) == 0:
        return []
    return [chosen] if rule.gaps == "bridge" else _split(chosen, inside)


@lru_cache(maxsize=4096)
def _predicted(n: int, windows: WindowRule) -> IntArray:
    """Rows of n that the windows predict, in time order. Do not write into it."""
    inside = np.sort(predicted_rows(rule_windows(n, windows)))
    inside.flags.writeable = False
    return inside


def _places(rows: IntArray, frame_id: IntArray | None) -> IntArray:
    """Time of each row of a track in units of its step: neighbours differ by 1."""
    if frame_id is None or len(rows) < 2:
        return rows
    frames = np.asarray(frame_id, np.int64)[rows]
    jumps = np.diff(frames)
    step = min(jumps[jumps > 0].tolist(), default=1)
    # A jump that is no multiple of the step is a gap as well.
    return np.concatenate([[0], np.cumsum(np.where(jumps == step, 1, 2))])


def _split(rows: IntArray, places: IntArray) -> list[IntArray]:
    """Runs of rows whose places follow each other."""
    return np.split(rows, np.flatnonzero(np.diff(places) != 1) + 1)


def sequence_of(track: Array) -> Array:
    """The video behind each track, by the naming of the clip table: `<sequence>_<person>` without the person.

    A person is a single digit, as in 3DPW; any other ending (`walk_a`, `walk_00`) belongs to the video's name.
    """
    names, inverse = np.unique(np.asarray(track, dtype=str), return_inverse=True)
    videos = [_PERSON.sub("", name) for name in names.tolist()]
    return np.asarray(videos, dtype=str)[inverse] if len(names) else np.asarray([], dtype=str)
