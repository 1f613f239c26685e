"""Which rows of a store a protocol looks at, and its masks over them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpsbench.bodies.joints import JointSet, convert_indices, get_joint_set, list_joint_sets
from hpsbench.errors import BadData, ProtocolMismatch
from hpsbench.evaluation.frames import FramePlan, plan_frames
from hpsbench.protocols.protocol import Protocol, Rule, visible_count
from hpsbench.store.reader import ClipStore, TrackRows
from hpsbench.types import Array, BoolArray, IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRows:
    """The rows of a store that a view keeps, track by track, with the protocol's masks.

    Attributes:
        rows: (N,) rows of the store.
        track, sequence, gender: (N,) names; gender is "" where the store does not say.
        frame_id: (N,) frame numbers.
        fps: frames per second of the rows that the view keeps, where all tracks agree, or None.
        seen_masks, scored_masks: reason -> (N,) rows that pass.
        rows_in: rows of the chosen splits before the view.
        left_out: reason -> rows that the view left out.
        lost_tracks: names of tracks of which the view keeps no row.
        partial: whether only a part of the data was looked at.
    """

    rows: IntArray
    track: Array
    sequence: Array
    gender: Array
    frame_id: IntArray
    fps: float | None
    seen_masks: Mapping[str, BoolArray]
    scored_masks: Mapping[str, BoolArray]
    rows_in: int
    left_out: Mapping[str, int]
    lost_tracks: tuple[str, ...]
    partial: bool

    def plan(self, rule: Rule) -> FramePlan:
        """What happens to each row under the rule."""
        return plan_frames(
            rule,
            self.track,
            seen=_all_of(self.seen_masks, len(self.rows)),
            scored=_all_of(self.scored_masks, len(self.rows)),
            frame_id=self.frame_id,
        )


def choose_rule(protocol: Protocol, store: ClipStore, dataset: str | None = None) -> Rule:
    """The protocol's rule for a store.

    Args:
        protocol: the protocol.
        store: whose dataset it must cover.
        dataset: the dataset or a setting of it; None: the store's, or its only setting.

    Raises:
        ProtocolMismatch: the protocol does not cover it, or the setting is of another dataset.
    """
    if dataset is None:
        settings = [name for name, rule in protocol.rules.items() if rule.dataset == store.dataset]
        dataset = settings[0] if len(settings) == 1 else store.dataset
    rule = protocol.rule(dataset)
    if rule.dataset != store.dataset:
        raise ProtocolMismatch(
            f"{protocol.id} on {dataset} scores the dataset {rule.dataset!r}; {store.location} holds {store.dataset!r}"
        )
    return rule


def select_rows(store: ClipStore, rule: Rule, *, limit: int | None = None) -> StoreRows:
    """Rows of the rule's splits that its view keeps, and its masks.

    Args:
        store: the clip store.
        rule: of the protocol on its dataset.
        limit: only the first so many tracks.

    Raises:
        UnknownName: the store lacks the view.
        ProtocolMismatch: the store lacks a split, no clip is what `where` asks for, a mask needs a field that the
            store lacks, or the frame rate is another one.
    """
    lacking = [split for split in rule.splits if split not in set(store.clips["split"])]
    if lacking:
        raise ProtocolMismatch(
            f"the protocol scores the splits {', '.join(rule.splits)}; {store.location} has no {' and no '.join(lacking)}. "
            "Prepare the whole dataset"
        )
    tracks = [_chosen(track, rule) for split in rule.splits for track in store.tracks(split)]
    tracks = [track for track in tracks if len(track.rows)]
    if not tracks:
        asked = ", ".join(f"{column} {' or '.join(values)}" for column, values in rule.where.items())
        raise ProtocolMismatch(
            f"{store.location}: no clip of {' + '.join(rule.splits)} with {asked or 'any frame'}"
        )
    shown = tracks if limit is None else tracks[:limit]
    every = np.concatenate([track.rows for track in shown])
    view = store.views[rule.view]
    kept = np.asarray(view.keep[every])
    rows = every[kept]
    columns = {name: _spread(shown, name)[kept] for name in ("track", "sequence", "gender")}
    partial = limit is not None or store.attrs.get("limit") is not None
    fps = _view_fps(store, rule, _common_fps(shown))
    if rule.fps is not None and fps is not None and rule.fps != fps:
        raise ProtocolMismatch(
            f"{store.location} has {fps:g} frames per second, the protocol scores {rule.fps:g}"
        )
    found = StoreRows(
        rows=rows,
        frame_id=np.asarray(store.frames["frame_id"][rows], np.int64),
        fps=fps,
        seen_masks=_masks(store, rule, rule.seen, rows),
        scored_masks=_masks(store, rule, rule.scored, rows) | _with_body(store, rule, rows),
        rows_in=len(every),
        left_out=_left_out(store, rule, int((~kept).sum()), whole=limit is None and not rule.where),
        lost_tracks=tuple(sorted({track.track for track in shown} - set(columns["track"].tolist()))),
        partial=partial,
        **columns,
    )
    if rule.expect and not store.synthetic and not partial:
        _check_counts(rule, found)
    return found


def field_joint_set(store: ClipStore, field: str) -> JointSet:
    """The joint set of a field of the store, by its attribute or by its joint names.

    Raises:
        BadData: the field's joints are of no known set.
    """
    named = store.frames[field].attrs.get("joint_set")
    if named is not None:
        return get_joint_set(str(named))
    names = tuple(store.joint_names(field))
    for key in list_joint_sets():
        if get_joint_set(key).names == names:
            return get_joint_set(key)
    raise BadData(f"{store.location}: the joints of {field!r} are of no known set: {', '.join(names)}")


def _chosen(track: TrackRows, rule: Rule) -> TrackRows:
    """The clips of a track that `where` asks for."""
    clips = track.clips
    for column, values in rule.where.items():
        if column not in clips:
            raise ProtocolMismatch(f"the clip table has no column {column!r}, which the protocol selects by")
        clips = clips[clips[column].astype(str).isin(values)]
    if len(clips) == len(track.clips):
        return track
    spans = zip(clips["start"].tolist(), clips["length"].tolist(), strict=True)
    rows = [np.arange(start, start + length) for start, length in spans]
    return track._replace(rows=np.concatenate(rows) if rows else track.rows[:0], clips=clips)


def _spread(tracks: list[TrackRows], column: str) -> Array:
    """A clip column as one name per row."""
    first = [track.clips[column].iloc[0] for track in tracks]
    values = [value if isinstance(value, str) else "" for value in first]
    return np.repeat(np.asarray(values, dtype=str), [len(track.rows) for track in tracks])


def _common_fps(tracks: list[TrackRows]) -> float | None:
    rates = {float(track.clips["fps"].iloc[0]) for track in tracks}
    rate = rates.pop() if len(rates) == 1 else np.nan
    return None if np.isnan(rate) else rate


def _view_fps(store: ClipStore, rule: Rule, fps: float | None) -> float | None:
    """The rate at which a view keeps frames of tracks of one rate; None if it differs from split to split."""
    thin = store.views[rule.view].attrs.get("thin")
    if fps is None or not thin:
        return fps
    thinned = {split for split in rule.splits if not thin["splits"] or split in thin["splits"]}
    if thinned and thinned != set(rule.splits):
        return None
    return fps / int(thin["every"]) if thinned else fps


def _left_out(store: ClipStore, rule: Rule, dropped: int, *, whole: bool) -> dict[str, int]:
    """Rows that the view left out, by the view's own reasons where they can be told apart."""
    counts: Mapping[str, Mapping[str, int]] = store.views[rule.view].attrs.get("counts", {})
    reasons: dict[str, int] = {}
    for split in rule.splits:
        for reason, count in counts.get(split, {}).items():
            if reason not in ("rows", "kept", "tracks"):
                reasons[f"view {rule.view}: {reason}"] = reasons.get(f"view {rule.view}: {reason}", 0) + int(
                    count
                )
    if whole and sum(reasons.values()) == dropped:
        return reasons
    return {f"view {rule.view}": dropped} if dropped else {}


def _masks(store: ClipStore, rule: Rule, names: tuple[str, ...], rows: IntArray) -> dict[str, BoolArray]:
    masks = {}
    for name in names:
        if name not in ("all", "seen"):
            masks[f"not {name}"] = _mask(store, rule, name, rows)
    return masks


def _with_body(store: ClipStore, rule: Rule, rows: IntArray) -> dict[str, BoolArray]:
    """Frames without SMPL parameters cannot be scored by a protocol whose target is a body."""
    if rule.target.body is None or "has_smpl" not in store.frames:
        return {}
    return {"no SMPL parameters": np.asarray(store.frames["has_smpl"][rows], bool)}


def _mask(store: ClipStore, rule: Rule, name: str, rows: IntArray) -> BoolArray:
    """One mask of the TOML over rows of the store."""
    least = visible_count(name)
    field = "valid" if name == "valid" else "keypoints2d"
    if field not in store.frames:
        raise ProtocolMismatch(
            f"the mask {name!r} needs the field {field!r}, which {store.location} does not have"
        )
    values: Any = np.asarray(store.frames[field][rows])
    if name == "valid":
        return np.asarray(values, bool)
    if least is None:
        return np.asarray((values != 0).any(axis=(1, 2)))
    given = field_joint_set(store, field)
    rows_of_set = (
        list(range(len(given))) if rule.visible_set is None else convert_indices(given, rule.visible_set)
    )
    chosen = [row for row in rows_of_set[: rule.visible_first] if row >= 0]
    return np.asarray((values[:, chosen, 2] > rule.visible_confidence).sum(axis=1) > least, bool)


def _all_of(masks: Mapping[str, BoolArray], rows: int) -> BoolArray:
    whole = np.ones(rows, bool)
    for mask in masks.values():
        whole &= mask
    return whole


def _check_counts(rule: Rule, found: StoreRows) -> None:
    """Refuse real data that do not have the counts which the protocol was made for."""
    counts = {"tracks": len(np.unique(found.track)), "frames": int(found.plan(rule).scored.sum())}
    for what, wanted in rule.expect.items():
        if counts[what] != wanted:
            raise ProtocolMismatch(
                f"{rule.name}: the protocol scores exactly {wanted} {what}, the store has {counts[what]}; "
                "prepare all its splits from the complete release"
            )
