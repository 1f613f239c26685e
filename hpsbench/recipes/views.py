"""Which rows a view keeps and with which box: one reading of the rules that recipes declare."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hpsbench.bodies.joints import get_joint_set
from hpsbench.errors import BadData
from hpsbench.recipes.boxes import given_boxes, held, seen_keypoints, smoothed_boxes, tight_boxes
from hpsbench.recipes.schema import Recipe
from hpsbench.recipes.view_rules import FixedBox, GivenBox, Inside, NoBox, SmoothBox, TightBox, ViewRule
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


def view_track(track: Track, rule: ViewRule, recipe: Recipe) -> TrackView:
    """Apply a view's rule to a track.

    Reasons, in this order: `other-camera`; what the recipe calls frames whose `valid` flag or another flag is not set
    (`camera-invalid` in 3DPW); `no-box` (no keypoints to make a box from in the whole track, or in this frame; a
    smoothed track of five frames or fewer); `undetected-edge` (before the first or after the last detection);
    `joint-outside-image`; `too-few-visible`; `thinned` (a view of a lower rate); `too-short` (fewer frames of the track
    are left than the rule asks for).

    Raises:
        BadData: the rule needs a field, or the image's size, and the track does not have it.
    """
    kept = _Kept(len(track))
    everything = np.ones(len(track), dtype=bool)
    if rule.cameras and track.camera is not None and track.camera not in rule.cameras:
        kept.drop(everything, OTHER_CAMERA)
    for flag in [*(["valid"] if rule.valid else []), *rule.flags]:
        facts = recipe.fields.get(flag)
        reason = (facts and facts.false_means) or (INVALID if flag == "valid" else f"not-{flag}")
        kept.drop(~_field(track, flag, recipe).astype(bool), reason)
    boxes, inside = _boxes(track, rule, recipe)
    if rule.box.rule != "none" and rule.boxless == "drop" and not _holds(rule):
        kept.drop(np.isnan(boxes).any(axis=1) & inside, NO_BOX)
        kept.drop(~inside, UNDETECTED_EDGE)
    if rule.inside is not None:
        kept.drop(~_inside_image(track, rule.inside, recipe), OUTSIDE_IMAGE)
    if rule.visible is not None:
        seen = seen_keypoints(
            _keypoints(track, rule.visible.joints, recipe), rule.visible.seen, rule.visible.threshold
        )
        kept.drop(seen.sum(axis=1) <= rule.visible.more_than, TOO_FEW_VISIBLE)
    if rule.thin is not None and (not rule.thin.splits or track.split in rule.thin.splits):
        ordinal = np.cumsum(kept.keep) - 1
        kept.drop(ordinal % rule.thin.every != 0, THINNED)
    if kept.keep.sum() < rule.min_frames:
        kept.drop(everything, TOO_SHORT)
    return TrackView(kept.keep, boxes, {reason: count for reason, count in kept.dropped.items() if count})


def _holds(rule: ViewRule) -> bool:
    return isinstance(rule.box, SmoothBox) and rule.box.ends == "hold"


def _boxes(track: Track, rule: ViewRule, recipe: Recipe) -> tuple[FloatArray, BoolArray]:
    """Boxes, and which frames lie between the first and the last detection (all, where ends are not trimmed)."""
    everywhere = np.ones(len(track), dtype=bool)
    box = rule.box
    if isinstance(box, NoBox):
        return np.full((len(track), 4), np.nan), everywhere
    if isinstance(box, FixedBox):
        return np.tile(np.asarray(box.cxcywh), (len(track), 1)), everywhere
    if isinstance(box, GivenBox):
        return given_boxes(_field(track, "bbox_xyxy", recipe), factor=box.factor), everywhere
    points = _keypoints(track, box.joints if isinstance(box, TightBox) else [], recipe)
    if isinstance(box, TightBox):
        return tight_boxes(points, seen=box.seen, threshold=box.threshold, factor=box.factor), everywhere
    found = smoothed_boxes(
        points, threshold=box.threshold, median=box.median, sigma=box.sigma, factor=box.factor
    )
    if box.ends == "hold":
        return held(found), everywhere
    if np.isnan(found.bbox_cxcywh).all():
        return found.bbox_cxcywh, everywhere
    rows = np.arange(len(track))
    return found.bbox_cxcywh, (rows >= found.start) & (rows < found.stop)


def _inside_image(track: Track, rule: Inside, recipe: Recipe) -> BoolArray:
    if track.width is None or track.height is None:
        raise BadData(
            f"{recipe.key}: a view drops joints outside the image, but the image size of track {track.key} is unknown"
        )
    points = _keypoints(track, rule.joints, recipe)[..., :2]
    inside: BoolArray = np.all((points >= 0) & (points < [track.width, track.height]), axis=(1, 2))
    return inside


def _field(track: Track, name: str, recipe: Recipe) -> FloatArray:
    if name not in track.fields:
        raise BadData(f"{recipe.key}: a view needs the field {name!r}, which track {track.key} does not have")
    return np.asarray(track.fields[name])


def _keypoints(track: Track, joints: Sequence[str], recipe: Recipe) -> FloatArray:
    """(T, K, 3) the track's keypoints of these names; of all where none is named."""
    points = _field(track, "keypoints2d", recipe)
    if not joints:
        return points
    if recipe.keypoint_set is None:
        raise BadData(f"{recipe.path}: a view names keypoints, but fields.keypoints2d has no joint_set")
    return points[:, get_joint_set(recipe.keypoint_set).indices(joints)]


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
