"""Which rows a view keeps and with which box: one reading of the rules that recipes declare."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from hpsbench.bodies.joints import JointSet, get_joint_set
from hpsbench.errors import BadData
from hpsbench.recipes.boxes import held, smoothed_boxes, tight_boxes
from hpsbench.recipes.schema import NoBox, Recipe, SmoothBox, TightBox, ViewRule
from hpsbench.types import BoolArray, FloatArray, Track

NO_BOX = "no-box"
UNDETECTED_EDGE = "undetected-edge"
TOO_FEW_VISIBLE = "too-few-visible"
INVALID = "invalid"


class TrackView(NamedTuple):
    """One view of one track.

    Attributes:
        keep: (T,) which frames the view keeps.
        bbox_cxcywh: (T, 4) pixels; NaN where there is no box. Frames that are left out may have one.
        dropped: reason -> frames left out for it; each frame has one reason, the first that holds in the order
            invalid, no-box, undetected-edge, too-few-visible.
    """

    keep: BoolArray
    bbox_cxcywh: FloatArray
    dropped: Mapping[str, int]


def view_track(track: Track, rule: ViewRule, recipe: Recipe) -> TrackView:
    """Apply a view's rule to a track.

    Reasons: `no-box` (no keypoints to make a box from in the whole track, or in this frame; a smoothed track of five
    frames or fewer), `undetected-edge` (before the first or after the last detection), `too-few-visible`, and what the
    recipe calls frames whose `valid` flag is not set (`camera-invalid` in 3DPW).

    Raises:
        BadData: the rule needs a field that the track does not have.
    """
    keep = np.ones(len(track), dtype=bool)
    dropped: Counter[str] = Counter()

    def drop(which: BoolArray, reason: str) -> None:
        dropped[reason] += int((keep & which).sum())
        keep[which] = False

    if rule.valid:
        facts = recipe.fields.get("valid")
        drop(~_field(track, "valid", recipe).astype(bool), (facts and facts.false_means) or INVALID)
    boxes, inside = _boxes(track, rule, recipe)
    if rule.box.rule != "none" and not _holds(rule):
        drop(np.isnan(boxes).any(axis=1) & inside, NO_BOX)
        drop(~inside, UNDETECTED_EDGE)
    if rule.visible is not None:
        points = _field(track, "keypoints2d", recipe)[:, _keypoints(recipe).indices(rule.visible.joints)]
        count = (points[..., 2] > rule.visible.threshold).sum(axis=1)
        drop(count <= rule.visible.more_than, TOO_FEW_VISIBLE)
    return TrackView(keep, boxes, {reason: count for reason, count in dropped.items() if count})


def _holds(rule: ViewRule) -> bool:
    return isinstance(rule.box, SmoothBox) and rule.box.ends == "hold"


def _boxes(track: Track, rule: ViewRule, recipe: Recipe) -> tuple[FloatArray, BoolArray]:
    """Boxes, and which frames lie between the first and the last detection (all, where ends are not trimmed)."""
    everywhere = np.ones(len(track), dtype=bool)
    box = rule.box
    if isinstance(box, NoBox):
        return np.full((len(track), 4), np.nan), everywhere
    points = _field(track, "keypoints2d", recipe)
    if isinstance(box, TightBox):
        return tight_boxes(points, threshold=box.threshold, factor=box.factor), everywhere
    found = smoothed_boxes(
        points, threshold=box.threshold, median=box.median, sigma=box.sigma, factor=box.factor
    )
    if box.ends == "hold":
        return held(found), everywhere
    if np.isnan(found.bbox_cxcywh).all():
        return found.bbox_cxcywh, everywhere
    rows = np.arange(len(track))
    return found.bbox_cxcywh, (rows >= found.start) & (rows < found.stop)


def _field(track: Track, name: str, recipe: Recipe) -> FloatArray:
    if name not in track.fields:
        raise BadData(f"{recipe.key}: a view needs the field {name!r}, which track {track.key} does not have")
    return np.asarray(track.fields[name])


def _keypoints(recipe: Recipe) -> JointSet:
    if recipe.keypoint_set is None:
        raise BadData(f"{recipe.path}: a view names keypoints, but fields.keypoints2d has no joint_set")
    return get_joint_set(recipe.keypoint_set)


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
