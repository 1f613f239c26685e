"""The corruption of one track: which frames, what in each; a function of the track's name and a seed alone."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpsbench.corruption._corruption import USUAL_SEVERITY, Corruption, Fill, Level, Scene
from hpsbench.corruption._pattern import Pattern, burst_frames, check_pattern
from hpsbench.errors import UsageError
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
        fill: colour of what is hidden.
        severity: strength of a graded corruption, 1 to 5; None of the others.
    """

    mode: str
    ratio: float
    consecutive: int = 1
    seed: int = 0
    pattern: Pattern = "random"
    fill: Fill = "black"
    severity: int | None = None

    @property
    def name(self) -> str:
        """As it stands in a feature set's name.

        >>> Condition(mode="center", ratio=0.33).name
        'center-0.33x1-s0'
        >>> Condition(mode="noise", ratio=0.33, severity=4).name
        'noise-0.33x1-s0-sev4'
        """
        strength = "" if self.severity is None else f"-sev{self.severity}"
        other = "".join(
            f"-{v}" for v, usual in ((self.pattern, "random"), (self.fill, "black")) if v != usual
        )
        return f"{self.mode}-{self.ratio:g}x{self.consecutive}-s{self.seed}{strength}{other}"

    def as_dict(self) -> dict[str, Any]:
        """For attributes and JSON."""
        slots = ("mode", "ratio", "consecutive", "seed", "pattern", "fill")
        graded = {} if self.severity is None else {"severity": self.severity}
        return {**{slot: getattr(self, slot) for slot in slots}, **graded}


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


def choose_condition(
    corruption: Corruption,
    *,
    ratio: float | None = None,
    consecutive: int | None = None,
    severity: int | None = None,
    seed: int = 0,
    pattern: Pattern = "random",
    fill: Fill = "black",
) -> Condition:
    """The setting that a user means; what is not given comes from the severity's level.

    Raises:
        UsageError: neither ratio nor severity; a severity that there is not, or that another ratio contradicts; a share
            that no pattern has, or that is 0.
    """
    if ratio is None and severity is None:
        raise UsageError(
            f"corruption {corruption.name!r}: give a ratio of hit frames (--ratio 0.33) or a severity from 1 to 5 "
            "(--severity 3)"
        )
    if severity is None:
        severity = USUAL_SEVERITY if corruption.graded else None
        level = Level(0.0, 1)
    else:
        level = corruption.level(severity)
        if not corruption.graded and ratio not in (None, level.ratio):
            raise UsageError(
                f"severity {severity} of {corruption.name!r} is the ratio {level.ratio:g} in bursts of {level.consecutive}, "
                f"which the ratio {ratio:g} contradicts: give --severity, or --ratio with --consecutive"
            )
    ratio = level.ratio if ratio is None else ratio
    if ratio == 0:
        raise UsageError(
            f"corruption {corruption.name!r} with a ratio of 0 corrupts no frame: that is the clean feature set"
        )
    # A burst belongs to the level's ratio: another ratio starts from single frames.
    burst = level.consecutive if ratio == level.ratio else 1
    consecutive = burst if consecutive is None else consecutive
    check_pattern(ratio, consecutive, pattern)
    return Condition(
        mode=corruption.name,
        ratio=ratio,
        consecutive=consecutive,
        seed=seed,
        pattern=pattern,
        fill=fill,
        severity=severity if corruption.graded else None,
    )


def plan_track(corruption: Corruption, condition: Condition, track: str, scene: Scene) -> TrackPlan:
    """Draw the hit frames of one track and what happens to each.

    The frames depend on (track, seed) and not on the corruption, so that all modes of a seed hit the same frames; only a
    frame that a row corruption would leave in its place (the one that is held from the start) is no hit.

    Args:
        corruption: what is done.
        condition: how often, how strongly.
        track: the track's name.
        scene: its frames.
    """
    bursts = burst_frames(
        len(scene),
        ratio=condition.ratio,
        consecutive=condition.consecutive,
        rng=_generator(condition.seed, track, "frames"),
        pattern=condition.pattern,
    )
    rng = _generator(condition.seed, track, corruption.name)
    what = corruption.plan(scene, bursts.frames, condition.severity, rng)
    if corruption.kind != "rows":
        return TrackPlan(frames=bursts.frames, what=what, cut=bursts.cut)
    moved: BoolArray = np.asarray(what[:, 0] != scene.rows[bursts.frames])
    return TrackPlan(frames=bursts.frames[moved], what=what[moved], cut=bursts.cut + int((~moved).sum()))


def _generator(seed: int, track: str, purpose: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}/{track}/{purpose}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))
