"""The corruption of one track: which frames, what in each; a function of the track's name and a seed alone."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpsbench.corruption._block import Corruption, Fill
from hpsbench.corruption._pattern import Pattern, burst_frames
from hpsbench.types import BoolArray, FloatArray, IntArray

VISIBLE = 0.3
"""Confidence above which a 2D keypoint counts as visible, as in the field's 3DPW tools."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One corruption setting, as it names a feature set.

    Attributes:
        mode: the corruption's name.
        ratio: share of hit frames per track; 0.33 means one third.
        consecutive: frames of a burst.
        seed: of the draw.
        pattern: "random" or "regular".
        fill: colour of a block.
    """

    mode: str
    ratio: float
    consecutive: int = 1
    seed: int = 0
    pattern: Pattern = "random"
    fill: Fill = "black"

    @property
    def name(self) -> str:
        """As it stands in a feature set's name.

        >>> Condition(mode="center", ratio=0.33).name
        'center-0.33x1-s0'
        """
        other = "".join(
            f"-{v}" for v, usual in ((self.pattern, "random"), (self.fill, "black")) if v != usual
        )
        return f"{self.mode}-{self.ratio:g}x{self.consecutive}-s{self.seed}{other}"

    def as_dict(self) -> dict[str, Any]:
        """For attributes and JSON."""
        return {
            slot: getattr(self, slot) for slot in ("mode", "ratio", "consecutive", "seed", "pattern", "fill")
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackPlan:
    """What happens to one track.

    Attributes:
        frames: (h,) positions of hit frames in the track.
        what: (h, P) the corruption's own plan of each, for blocks left, top, side in pixels.
        cut: frames that did not fit.
    """

    frames: IntArray
    what: IntArray
    cut: int


def keypoint_boxes(keypoints2d: FloatArray, bbox_cxcywh: FloatArray) -> FloatArray:
    """Tight boxes round the visible keypoints of each frame.

    Args:
        keypoints2d: (T, J, 3) x, y in pixels and confidence.
        bbox_cxcywh: (T, 4) boxes that stand in where a frame has no visible keypoint.

    Returns: (T, 4) x0, y0, x1, y1.
    """
    seen: BoolArray = np.asarray(keypoints2d)[..., 2] > VISIBLE
    points = keypoints2d[..., :2].astype(np.float64)
    low = np.where(seen[..., None], points, np.inf).min(axis=1, initial=np.inf)
    high = np.where(seen[..., None], points, -np.inf).max(axis=1, initial=-np.inf)
    half = bbox_cxcywh[:, 2:].astype(np.float64) / 2
    centre = bbox_cxcywh[:, :2].astype(np.float64)
    boxes = np.concatenate([low, high], axis=1)
    any_seen: BoolArray = np.asarray(seen.any(axis=1))
    return np.where(any_seen[:, None], boxes, np.concatenate([centre - half, centre + half], axis=1))


def plan_track(corruption: Corruption, condition: Condition, track: str, boxes: FloatArray) -> TrackPlan:
    """Draw the hit frames of one track and what happens to each.

    The frames depend on (track, seed) and not on the corruption, so that all modes of a seed hit the same frames.

    Args:
        corruption: what is done.
        condition: how often.
        track: the track's name.
        boxes: (T, 4) tight box x0, y0, x1, y1 of every frame of the track.
    """
    bursts = burst_frames(
        len(boxes),
        ratio=condition.ratio,
        consecutive=condition.consecutive,
        rng=_generator(condition.seed, track, "frames"),
        pattern=condition.pattern,
    )
    what = corruption.plan(boxes[bursts.frames], _generator(condition.seed, track, corruption.name))
    return TrackPlan(frames=bursts.frames, what=what, cut=bursts.cut)


def _generator(seed: int, track: str, purpose: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}/{track}/{purpose}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))
