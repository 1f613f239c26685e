"""Which rows a view keeps and with which box: one reading of the rules that recipes declare."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hpsbench.bodies.joints import convert_indices, get_joint_set
from hpsbench.errors import BadData
from hpsbench.recipes.boxes import given_boxes, held, seen_keypoints, smoothed_boxes, tight_boxes
from hpsbench.recipes.schema import Recipe
from hpsbench.recipes.view_rules import (
    FixedBox,
    GivenBox,
    Inside,
    NoBox,
    SmoothBox,
    Thin,
    ViewRule,
)
from hpsbench.types import BoolArray, FloatArray, Track

OTHER_CAMERA = "other-camera"
INVALID = "invalid"
NO_BOX = "no-box"
UNDETECTED_EDGE = "undetected-edge"
OUTSIDE_IMAGE = "joint-outside-image"
TOO_FEW_VISIBLE = "too-few-visible"
THINNED = "thinned"
TOO_SHORT = "too-short"


class TrackView(NamedTuple):
    """One view of one track.

    Attributes:
        keep: (T,) which frames the view keeps.
        bbox_cxcywh: (T, 4) pixels; NaN where there is no box. Frames that are left out may have one.
        dropped: reason -> frames left out for it; each frame has one reason, the first that holds in the order of
            `view_track`.
    """

    keep: BoolArray
    bbox_cxcywh: FloatArray
    dropped: Mapping[str, int]


class _Kept:
    """The frames of a track that are left, and how many went for which reason."""

    def __init__(self, length: int) -> None:
        self.keep: BoolArray = np.ones(length, dtype=bool)
        self.dropped: Counter[str] = Counter()

    def drop(self, which: BoolArray, reason: str) -> None:
        self.dropped[reason] += int((self.keep & which).sum())
        self.keep[which] = False


def view_all(track: Track, recipe: Recipe) -> dict[str, TrackView]:
    """Every view of a recipe on a track; what several views agree on is computed once.

    Raises:
        BadData: as for `view_track`.
    """
    memo: dict[str, Any] = {}
    found: dict[str, TrackView] = {}
    for rule in recipe.views.values():
        if rule.selection not in found:
            found[rule.selection] = view_track(track, rule, recipe, memo)
    return {name: found[rule.selection] for name, rule in recipe.views.items()}


def view_track(track: Track, rule: ViewRule, recipe: Recipe, memo: dict[str, Any] | None = None) -> TrackView:
    """Apply a view's rule to a track. `memo` keeps boxes between the rules of one track, whose arrays they then share.

    Reasons, in this order: `other-camera`; the remark for which a track is left out; `thinned`, where frames are thinned
    by their numbers; what the recipe calls frames whose `valid` flag or another flag is not set (`camera-invalid` in
    3DPW); `no-box` (no keypoints to make a box from in the whole track, or in this frame; a
    smoothed track of five frames or fewer); `undetected-edge` (before the first or after the last detection);
    `joint-outside-image`; `too-few-visible`; `thinned` (a view of a lower rate, counted among the frames that are left);
    `too-short` (fewer frames of the track are left than the rule asks for).

    Raises:
        BadData: the rule needs a field, or the image's size, and the track does not have it.
    """
    kept = _Kept(len(track))
    everything = np.ones(len(track), dtype=bool)
    if rule.cameras and track.camera is not None and track.camera not in rule.cameras:
        kept.drop(everything, OTHER_CAMERA)
    for remark in _remarks(track):
        if remark in rule.without:
            kept.drop(everything, remark)
    thin = rule.thin if rule.thin is not None and _applies(rule.thin, track) else None
    off_rate = _off_rate(track, thin)
    kept.drop(off_rate, THINNED)
    for flag in [*(["valid"] if rule.valid else []), *rule.flags]:
        facts = recipe.fields.get(flag)
        reason = (facts and facts.false_means) or (INVALID if flag == "valid" else f"not-{flag}")
        kept.drop(~_field(track, flag, recipe).astype(bool), reason)
    if not kept.keep.any():
        return TrackView(kept.keep, np.full((len(track), 4), np.nan), _counted(kept))
    memo = {} if memo is None else memo
    key = rule.box_selection if thin is not None else f"{rule.box_selection} at full rate"
    if key not in memo:
        memo[key] = _boxes(track, rule, recipe, off_rate)
    boxes, inside = memo[key]
    if rule.box.rule != "none" and rule.boxless == "drop" and not _holds(rule):
        kept.drop(np.isnan(boxes).any(axis=1) & inside, NO_BOX)
        kept.drop(~inside, UNDETECTED_EDGE)
    if rule.inside is not None:
        key = rule.inside_selection
        if key not in memo:
            memo[key] = ~_inside_image(track, rule.inside, recipe)
        kept.drop(memo[key], OUTSIDE_IMAGE)
    if rule.visible is not None:
        seen = seen_keypoints(
            _keypoints(track, rule.visible.joints, recipe), rule.visible.seen, rule.visible.threshold
        )
        kept.drop(seen.sum(axis=1) <= rule.visible.more_than, TOO_FEW_VISIBLE)
    if thin is not None and thin.counted == "kept":
        ordinal = np.cumsum(kept.keep) - 1
        kept.drop(ordinal % thin.every != 0, THINNED)
    if kept.keep.sum() < rule.min_frames:
        kept.drop(everything, TOO_SHORT)
    return TrackView(kept.keep, boxes, _counted(kept))


def _counted(kept: _Kept) -> dict[str, int]:
    return {reason: count for reason, count in kept.dropped.items() if count}


def _holds(rule: ViewRule) -> bool:
    return isinstance(rule.box, SmoothBox) and rule.box.ends == "hold"


def _remarks(track: Track) -> list[str]:
    return str(track.clip_info.get("remarks") or "").split(",")


def _applies(thin: Thin, track: Track) -> bool:
    return not thin.splits or track.split in thin.splits


def _off_rate(track: Track, thin: Thin | None) -> BoolArray:
    """(T,) frames that thinning by numbers leaves out."""
    if thin is None or thin.counted != "numbers":
        return np.zeros(len(track), dtype=bool)
    off: BoolArray = (np.asarray(track.frame_id) - thin.first) % thin.every != 0
    return off


def _boxes(track: Track, rule: ViewRule, recipe: Recipe, off_rate: BoolArray) -> tuple[FloatArray, BoolArray]:
    """Boxes, and which frames lie between the first and the last detection (all, where ends are not trimmed)."""
    everywhere = np.ones(len(track), dtype=bool)
    box = rule.box
    if isinstance(box, NoBox):
        return np.full((len(track), 4), np.nan), everywhere
    if isinstance(box, FixedBox):
        return np.tile(np.asarray(box.cxcywh), (len(track), 1)), everywhere
    if isinstance(box, SmoothBox):
        return _smoothed(track, box, recipe, off_rate)
    if isinstance(box, GivenBox):
        given = track.fields.get("bbox_xyxy")
        if box.otherwise is None or (given is not None and not np.isnan(given).all()):
            return given_boxes(_field(track, "bbox_xyxy", recipe), factor=box.factor), everywhere
        box = box.otherwise
    points = _keypoints(track, box.joints, recipe, box.joint_set)
    return tight_boxes(points, seen=box.seen, threshold=box.threshold, factor=box.factor), everywhere


def _smoothed(
    track: Track, box: SmoothBox, recipe: Recipe, off_rate: BoolArray
) -> tuple[FloatArray, BoolArray]:
    used = ~off_rate if box.over == "thinned" else np.ones(len(track), dtype=bool)
    found = smoothed_boxes(
        _keypoints(track, [], recipe, box.joint_set)[used],
        threshold=box.threshold, median=box.median, sigma=box.sigma, factor=box.factor,
    )  # fmt: skip
    boxes = np.full((len(track), 4), np.nan)
    boxes[used] = held(found) if box.ends == "hold" else found.bbox_cxcywh
    inside = np.ones(len(track), dtype=bool)
    if box.ends == "trim" and not np.isnan(boxes).all():
        rows = np.arange(int(used.sum()))
        inside[used] = (rows >= found.start) & (rows < found.stop)
    return boxes, inside


def _inside_image(track: Track, rule: Inside, recipe: Recipe) -> BoolArray:
    if track.width is None or track.height is None:
        raise BadData(
            f"{recipe.key}: a view drops joints outside the image, but the image size of track {track.key} is unknown"
        )
    points = _keypoints(track, rule.joints, recipe)
    inside: BoolArray = np.ones(len(track), dtype=bool)
    for axis, size in enumerate((track.width, track.height)):
        along = np.ascontiguousarray(points[..., axis].T)
        inside &= (along.min(axis=0) >= 0) & (along.max(axis=0) < size)
    return inside


def _field(track: Track, name: str, recipe: Recipe) -> FloatArray:
    if name not in track.fields:
        raise BadData(f"{recipe.key}: a view needs the field {name!r}, which track {track.key} does not have")
    return np.asarray(track.fields[name])


def _keypoints(
    track: Track, joints: Sequence[str], recipe: Recipe, joint_set: str | None = None
) -> FloatArray:
    """(T, K, 3) the track's keypoints of these names, or those that a joint set has too; of all where none is named."""
    points = _field(track, "keypoints2d", recipe)
    if not joints and joint_set is None:
        return points
    own = recipe.keypoint_set(points.shape[1])
    if own is None:
        raise BadData(
            f"{recipe.path}: a view names keypoints, but fields.keypoints2d has no joint_set of {points.shape[1]}"
        )
    if joint_set is not None:
        rows = [row for row in convert_indices(own, joint_set) if row >= 0]
    else:
        rows = get_joint_set(own).indices(joints)
    return np.take(points, rows, axis=1)


class ViewCount(NamedTuple):
    """What a view keeps of one track."""

    split: str
    rows: int
    kept: int
    dropped: Mapping[str, int]


def sum_counts(counts: Iterable[ViewCount]) -> dict[str, dict[str, int]]:
    """Counts per split: rows, kept, tracks (with a kept row), and the rows left out by reason; reasons sorted."""
    total: dict[str, Counter[str]] = {}
    for count in counts:
        split = total.setdefault(count.split, Counter(rows=0, kept=0, tracks=0))
        split.update(rows=count.rows, kept=count.kept, tracks=int(count.kept > 0))
        split.update(count.dropped)
    first = ("rows", "kept", "tracks")
    return {
        split: {
            **{key: found[key] for key in first},
            **{key: found[key] for key in sorted(set(found) - set(first))},
        }
        for split, found in sorted(total.items())
    }
