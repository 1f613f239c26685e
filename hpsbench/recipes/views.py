"""Which rows a view keeps and with which box: one reading of the rules that recipes declare."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from hpsbench.bodies.joints import convert_indices, get_joint_set
from hpsbench.errors import BadData
from hpsbench.recipes.boxes import (
    Spans,
    TrackBoxes,
    given_boxes,
    held,
    keypoint_extents,
    keypoint_spans,
    seen_keypoints,
    smooth,
    square_boxes,
)
from hpsbench.recipes.groups import TrackGroup
from hpsbench.recipes.schema import Recipe
from hpsbench.recipes.view_rules import (
    FixedBox,
    GivenBox,
    Inside,
    NoBox,
    SmoothBox,
    Thin,
    TightBox,
    ViewRule,
    Visible,
)
from hpsbench.types import BoolArray, FloatArray, IntArray, Track

OTHER_CAMERA = "other-camera"
INVALID = "invalid"
NO_BOX = "no-box"
UNDETECTED_EDGE = "undetected-edge"
OUTSIDE_IMAGE = "joint-outside-image"
TOO_FEW_VISIBLE = "too-few-visible"
THINNED = "thinned"
TOO_SHORT = "too-short"


class ViewCount(NamedTuple):
    """What a view keeps of some tracks of a split: rows, rows kept, rows left out by reason, tracks with a kept row."""

    split: str
    rows: int
    kept: int
    dropped: Mapping[str, int]
    tracks: int


class TrackView(NamedTuple):
    """One view of one track, or of a group of tracks.

    Attributes:
        keep: (T,) which frames the view keeps.
        bbox_cxcywh: (T, 4) pixels; NaN where there is no box. Frames that are left out may have one.
        counted: the frames; each that is left out has one reason, the first that holds in the order of `view_track`.
    """

    keep: BoolArray
    bbox_cxcywh: FloatArray
    counted: ViewCount

    @property
    def dropped(self) -> Mapping[str, int]:
        """Reason -> frames left out for it."""
        return self.counted.dropped


class _Kept:
    """The frames of a group that are left, and how many went for which reason."""

    def __init__(self, group: TrackGroup) -> None:
        self._group = group
        self.keep: BoolArray = np.ones(len(group), dtype=bool)
        self.dropped: dict[str, int] = {}

    def drop(self, which: BoolArray | None, reason: str) -> None:
        """Leave rows out; None: all of them."""
        gone = self.keep if which is None else self.keep & which
        count = int(np.count_nonzero(gone))
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count
            self.keep = np.zeros_like(self.keep) if which is None else self.keep & ~which

    def by_track(self) -> IntArray:
        """(tracks,) frames that are left of each track."""
        if len(self._group.tracks) == 1:
            return np.array([np.count_nonzero(self.keep)])
        return np.add.reduceat(self.keep, self._group.starts[:-1], dtype=np.int64)

    def view(self, boxes: FloatArray) -> TrackView:
        """What has come out."""
        left = self.by_track()
        count = ViewCount(
            self._group.tracks[0].split,
            len(self.keep),
            int(left.sum()),
            self.dropped,
            int(np.count_nonzero(left)),
        )
        return TrackView(self.keep, boxes, count)


def view_group(group: TrackGroup, recipe: Recipe) -> dict[str, TrackView]:
    """Every view of a recipe on a group of tracks; what several views agree on is computed once.

    Raises:
        BadData: as for `view_track`.
    """
    memo: dict[str, Any] = {}
    found: dict[str, TrackView] = {}
    for rule in recipe.views.values():
        if rule.selection not in found:
            found[rule.selection] = _view(group, rule, recipe, memo)
    return {name: found[rule.selection] for name, rule in recipe.views.items()}


def view_all(track: Track, recipe: Recipe) -> dict[str, TrackView]:
    """Every view of a recipe on a track.

    Raises:
        BadData: as for `view_track`.
    """
    return view_group(TrackGroup.of([track]), recipe)


def view_track(track: Track, rule: ViewRule, recipe: Recipe) -> TrackView:
    """Apply a view's rule to a track.

    Reasons, in this order: `other-camera`; the remark for which a track is left out; `thinned`, where frames are thinned
    by their numbers; what the recipe calls frames whose `valid` flag or another flag is not set (`camera-invalid` in
    3DPW); `no-box` (no keypoints to make a box from in the whole track, or in this frame; a
    smoothed track of five frames or fewer); `undetected-edge` (before the first or after the last detection);
    `joint-outside-image`; `too-few-visible`; `thinned` (a view of a lower rate, counted among the frames that are left);
    `too-short` (fewer frames of the track are left than the rule asks for).

    A view that is thinned through the whole dataset keeps all accepted frames here: which of them are left is known when
    all tracks are there (`pipeline/thinning.py`).

    Raises:
        BadData: the rule needs a field, or the image's size, and the track does not have it.
    """
    return _view(TrackGroup.of([track]), rule, recipe, {})


def _view(group: TrackGroup, rule: ViewRule, recipe: Recipe, memo: dict[str, Any]) -> TrackView:
    """`memo` keeps boxes between the rules of one group, whose arrays they then share."""
    kept = _Kept(group)
    first = group.tracks[0]
    if rule.cameras and first.camera is not None and first.camera not in rule.cameras:
        kept.drop(None, OTHER_CAMERA)
    for remark in _remarks(first):
        if remark in rule.without:
            kept.drop(None, remark)
    thin = rule.thin if rule.thin is not None and _applies(rule.thin, first) else None
    off_rate = _off_rate(group, thin)
    kept.drop(off_rate, THINNED)
    for flag in [*(["valid"] if rule.valid else []), *rule.flags]:
        facts = recipe.fields.get(flag)
        reason = (facts and facts.false_means) or (INVALID if flag == "valid" else f"not-{flag}")
        kept.drop(~_field(group, flag, recipe).astype(bool), reason)
    dead = kept.by_track() == 0
    if dead.all():
        return kept.view(np.full((len(group), 4), np.nan))
    key = rule.box_selection if thin is not None else f"{rule.box_selection} at full rate"
    if key not in memo:
        memo[key] = _boxes(group, rule, recipe, off_rate, memo)
    boxes, inside, boxless = memo[key]
    if rule.box.rule != "none" and rule.boxless == "drop" and not _holds(rule):
        kept.drop(boxless & inside, NO_BOX)
        kept.drop(~inside, UNDETECTED_EDGE)
    if rule.inside is not None:
        key = rule.inside_selection
        if key not in memo:
            memo[key] = ~_inside_image(group, rule.inside, recipe, memo)
        kept.drop(memo[key], OUTSIDE_IMAGE)
    if rule.visible is not None:
        key = f"visible {rule.visible}"
        if key not in memo:
            memo[key] = _few_visible(group, rule.visible, recipe, memo)
        kept.drop(memo[key], TOO_FEW_VISIBLE)
    if thin is not None and thin.counted == "kept":
        kept.drop(_ordinal(kept.keep, group) % thin.every != 0, THINNED)
    if rule.min_frames > 1:
        short = kept.by_track() < rule.min_frames
        kept.drop(_rows_of(short, group), TOO_SHORT)
    if dead.any():
        boxes = np.where(_rows_of(dead, group)[:, None], np.nan, boxes)
    return kept.view(boxes)


def _rows_of(flags: BoolArray, group: TrackGroup) -> BoolArray:
    """(N,) from one flag per track."""
    return np.repeat(flags, np.diff(group.starts))


def _ordinal(keep: BoolArray, group: TrackGroup) -> IntArray:
    """(N,) how many kept rows of the same track lie before a kept row."""
    found = np.cumsum(keep) - 1
    first = found[group.starts[:-1]] + 1 - keep[group.starts[:-1]]
    ordinal: IntArray = found - np.repeat(first, np.diff(group.starts))
    return ordinal


def _few_visible(group: TrackGroup, rule: Visible, recipe: Recipe, memo: dict[str, Any]) -> BoolArray:
    points = _keypoints(group, rule.joints, None, recipe, memo)
    seen = seen_keypoints(points, rule.seen, rule.threshold)
    few: BoolArray = np.count_nonzero(seen, axis=1) <= rule.more_than
    return few


def _holds(rule: ViewRule) -> bool:
    return isinstance(rule.box, SmoothBox) and rule.box.ends == "hold"


def _remarks(track: Track) -> list[str]:
    return str(track.clip_info.get("remarks") or "").split(",")


def _applies(thin: Thin, track: Track) -> bool:
    return not thin.splits or track.split in thin.splits


def _off_rate(group: TrackGroup, thin: Thin | None) -> BoolArray:
    """(N,) frames that thinning by numbers leaves out."""
    if thin is None or thin.counted != "numbers":
        return np.zeros(len(group), dtype=bool)
    off: BoolArray = (group.frame_id - thin.first) % thin.every != 0
    return off


class _Boxes(NamedTuple):
    """(N, 4) boxes; (N,) which frames lie between the first and the last detection; (N,) which have no box."""

    boxes: FloatArray
    inside: BoolArray
    boxless: BoolArray


def _boxes(
    group: TrackGroup, rule: ViewRule, recipe: Recipe, off_rate: BoolArray, memo: dict[str, Any]
) -> _Boxes:
    """Boxes of all frames; where ends are not trimmed, all lie between the detections."""
    box = rule.box
    inside = np.ones(len(group), dtype=bool)
    if isinstance(box, SmoothBox):
        boxes, inside = _smoothed(group, rule, recipe, off_rate, memo)
    elif isinstance(box, NoBox):
        boxes = np.full((len(group), 4), np.nan)
    elif isinstance(box, FixedBox):
        boxes = np.tile(np.asarray(box.cxcywh), (len(group), 1))
    elif isinstance(box, GivenBox):
        boxes = _given(group, box, recipe, memo)
    else:
        boxes = _tight(group, box, recipe, memo)
    boxless: BoolArray = np.any(np.isnan(boxes), axis=1)
    return _Boxes(boxes, inside, boxless)


def _tight(group: TrackGroup, box: TightBox, recipe: Recipe, memo: dict[str, Any]) -> FloatArray:
    key = f"extents {box.joints} {box.joint_set} {box.seen} {box.threshold}"
    if key not in memo:
        points = _keypoints(group, box.joints, box.joint_set, recipe, memo)
        memo[key] = keypoint_extents(
            points, box.threshold, box.seen, lambda: _spans(group, box.joints, box.joint_set, recipe, memo)
        )
    return square_boxes(memo[key], box.factor)


def _given(group: TrackGroup, box: GivenBox, recipe: Recipe, memo: dict[str, Any]) -> FloatArray:
    """The dataset's boxes, or for tracks without a single one those of the other rule."""
    if box.otherwise is None:
        return given_boxes(_field(group, "bbox_xyxy", recipe), factor=box.factor)
    if "bbox_xyxy" not in group.fields:
        return _tight(group, box.otherwise, recipe, memo)
    given = group.fields["bbox_xyxy"]
    unknown = np.logical_and.reduceat(np.isnan(given).all(axis=1), group.starts[:-1])
    boxes = given_boxes(given, factor=box.factor)
    if unknown.any():
        rows = _rows_of(unknown, group)
        boxes[rows] = _tight(group, box.otherwise, recipe, memo)[rows]
    return boxes


def _smoothed(
    group: TrackGroup, rule: ViewRule, recipe: Recipe, off_rate: BoolArray, memo: dict[str, Any]
) -> tuple[FloatArray, BoolArray]:
    """Track by track. Rules that differ in their factor, or in what they do at the ends, share their smoothing."""
    box = rule.box
    assert isinstance(box, SmoothBox)
    used = _flagged_span(group, rule.flags, recipe)
    if box.over == "thinned":
        used &= ~off_rate
    key = f"{box.smoothing} {None if used.all() else (rule.thin, rule.flags)}"
    if key not in memo:
        points = _keypoints(group, [], box.joint_set, recipe, memo)
        extents = keypoint_extents(
            points, box.threshold, spans=lambda: _spans(group, [], box.joint_set, recipe, memo)
        )
        extents = extents if used.all() else extents.of(used)
        ends = np.concatenate([[0], np.cumsum(used)])[group.starts]
        memo[key] = [
            smooth(extents.of(slice(begin, end)), box.median, box.sigma)
            for begin, end in pairwise(ends.tolist())
        ]
    found = [smoothed.boxes(box.factor) for smoothed in memo[key]]
    boxes = np.full((len(group), 4), np.nan)
    inside = np.ones(len(group), dtype=bool)
    boxes[used] = np.concatenate([held(b) if box.ends == "hold" else b.bbox_cxcywh for b in found])
    if box.ends == "trim":
        inside[used] = np.concatenate([_between(b) for b in found])
    return boxes, inside


def _flagged_span(group: TrackGroup, flags: Sequence[str], recipe: Recipe) -> BoolArray:
    """(N,) frames from the first to the last of each track that have these flags; all of them where none is named."""
    span = np.ones(len(group), dtype=bool)
    if not flags:
        return span
    flagged = np.logical_and.reduce([_field(group, flag, recipe).astype(bool) for flag in flags])
    if flagged.all():
        return span
    for begin, end in pairwise(group.starts.tolist()):
        rows = np.flatnonzero(flagged[begin:end])
        first, last = (begin + rows[0], begin + rows[-1] + 1) if len(rows) else (end, end)
        span[begin:first] = span[last:end] = False
    return span


def _between(found: TrackBoxes) -> BoolArray:
    """(T,) which frames lie between the first and the last detection; all of a track without any box."""
    if np.isnan(found.bbox_cxcywh).all():
        return np.ones(len(found.bbox_cxcywh), dtype=bool)
    rows = np.arange(len(found.bbox_cxcywh))
    between: BoolArray = (rows >= found.start) & (rows < found.stop)
    return between


def _inside_image(group: TrackGroup, rule: Inside, recipe: Recipe, memo: dict[str, Any]) -> BoolArray:
    size = group.tracks[0].width, group.tracks[0].height
    if None in size:
        raise BadData(
            f"{recipe.key}: a view drops joints outside the image, but the image size of track {group.name} is unknown"
        )
    low, high = _spans(group, rule.joints, None, recipe, memo)
    inside: BoolArray = np.ones(len(group), dtype=bool)
    for axis, length in enumerate(size):
        inside &= (low[axis] >= 0) & (high[axis] < length)
    return inside


def _field(group: TrackGroup, name: str, recipe: Recipe) -> FloatArray:
    if name not in group.fields:
        raise BadData(
            f"{recipe.key}: a view needs the field {name!r}, which track {group.name} does not have"
        )
    return group.fields[name]


def _keypoints(
    group: TrackGroup, joints: Sequence[str], joint_set: str | None, recipe: Recipe, memo: dict[str, Any]
) -> FloatArray:
    """(N, K, 3) the keypoints of these names, or those that a joint set has too; of all where none is named.

    A selection lies in memory keypoint by keypoint, as what is made of it goes over the frames of one after another.
    """
    points = _field(group, "keypoints2d", recipe)
    if not joints and joint_set is None:
        return points
    key = f"keypoints {joints} {joint_set}"
    if key not in memo:
        own = recipe.keypoint_set(points.shape[1])
        if own is None:
            raise BadData(
                f"{recipe.path}: a view names keypoints, but fields.keypoints2d has no joint_set of {points.shape[1]}"
            )
        rows = _shared_rows(own, joint_set) if joint_set is not None else get_joint_set(own).indices(joints)
        chosen = np.empty((len(rows), points.shape[2], len(points)), dtype=points.dtype)
        for target, row in zip(chosen, rows, strict=True):
            target[:] = points[:, row].T
        memo[key] = chosen.transpose(2, 0, 1)
    selection: FloatArray = memo[key]
    return selection


@cache
def _shared_rows(own: str, joint_set: str) -> Sequence[int]:
    """The joints of a set that another has too."""
    return tuple(row for row in convert_indices(own, joint_set) if row >= 0)


def _spans(
    group: TrackGroup, joints: Sequence[str], joint_set: str | None, recipe: Recipe, memo: dict[str, Any]
) -> Spans:
    """Of the keypoints of a selection."""
    key = f"spans {joints} {joint_set}"
    if key not in memo:
        memo[key] = keypoint_spans(_keypoints(group, joints, joint_set, recipe, memo))
    spans: Spans = memo[key]
    return spans


def sum_counts(counts: Iterable[ViewCount]) -> dict[str, dict[str, int]]:
    """Counts per split: rows, kept, tracks (with a kept row), and the rows left out by reason; reasons sorted."""
    total: dict[str, Counter[str]] = {}
    for count in counts:
        split = total.setdefault(count.split, Counter(rows=0, kept=0, tracks=0))
        split.update(rows=count.rows, kept=count.kept, tracks=count.tracks)
        split.update(count.dropped)
    first = ("rows", "kept", "tracks")
    return {
        split: {
            **{key: found[key] for key in first},
            **{key: found[key] for key in sorted(set(found) - set(first))},
        }
        for split, found in sorted(total.items())
    }
