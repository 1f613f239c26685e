"""What is known of a frame besides its errors: action, image, visible keypoints, speed, distance to a corrupted frame.

These become columns of the table of frames, so that a result can be broken down without its store.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from hpsbench.evaluation.frames import FramePlan
from hpsbench.evaluation.rows import StoreRows
from hpsbench.geometry.units import M_TO_MM
from hpsbench.store.reader import ClipStore, FeatureSet
from hpsbench.types import Array, FloatArray, IntArray

# Columns of the table of frames.
ACTION: Final = "action"
IMAGE: Final = "image"
VISIBLE: Final = "visible_keypoints"
SPEED: Final = "speed"
CORRUPTED: Final = "corrupted_distance"
COLUMNS: Final = (ACTION, IMAGE, VISIBLE, SPEED, CORRUPTED)

# A detected keypoint counts as visible above this confidence (VIBE: lib/data_utils/threedpw_utils.py).
VISIBLE_CONFIDENCE: Final = 0.3


def store_context(store: ClipStore, rows: StoreRows, features: FeatureSet | None = None) -> dict[str, Array]:
    """What the store knows of some rows, as columns; what it lacks is absent.

    Args:
        store: the clip store.
        rows: of it.
        features: the feature set behind the predictions; if it is a corrupted one, distances are taken to its
            corrupted frames.

    Returns:
        Of `action` and `image` (path under the raw dataset's folder; text, "" where a row has none),
        `visible_keypoints` (number of 2D keypoints with a confidence above 0.3), `corrupted_distance` (frames to the
        nearest corrupted frame of the track; 0: it is one itself; NaN: its track has none) those that there are.
    """
    found: dict[str, Array] = {}
    clip = np.searchsorted(store.clips["start"].to_numpy(), rows.rows, side="right") - 1
    if store.clips["action"].notna().any():
        found[ACTION] = _texts(store.clips["action"].tolist())[clip]
    images = _images(store.clips["image_source"].tolist(), clip, rows.frame_id)
    if images is not None:
        found[IMAGE] = images
    if "keypoints2d" in store.frames:
        confidence = np.asarray(store.frames["keypoints2d"][rows.rows])[..., 2]
        found[VISIBLE] = (confidence > VISIBLE_CONFIDENCE).sum(axis=1).astype(np.int16)
    corruption: Mapping[str, Any] = (features.attrs.get("corruption") or {}) if features is not None else {}
    if "hits" in corruption:
        hit = np.asarray(corruption["hits"]["row"], np.int64)
        found[CORRUPTED] = _distances(store, rows, hit)
    return found


def target_speed(
    plan: FramePlan, joints: FloatArray, root: FloatArray | None, frame_id: IntArray
) -> FloatArray:
    """How fast the true joints move about their root, mm per frame.

    Args:
        plan: says which rows are neighbours in time.
        joints: (N, J, 3) of the target, metres.
        root: (N, 3) what is taken off, or None.
        frame_id: (N,) frame numbers; a step over a gap is no step.

    Returns:
        (N,) float32: the mean of the steps to the frame before and to the frame after, as far as there are such
        frames; NaN for a frame that has neither.
    """
    speed = np.full(len(plan), np.nan, np.float32)
    for chain in plan.chains:
        if len(chain) < 2:
            continue
        points = np.asarray(joints[chain], np.float64)
        if root is not None:
            points -= np.asarray(root[chain], np.float64)[:, None, :]
        jumps = np.diff(frame_id[chain])
        usual = np.abs(jumps) == np.abs(jumps)[jumps != 0].min(initial=np.iinfo(np.int64).max)
        steps = np.linalg.norm(np.diff(points, axis=0), axis=-1).mean(axis=-1) * M_TO_MM
        usual &= np.isfinite(steps) & (np.diff(plan.group[chain]) == 0)
        total, count = np.zeros(len(chain)), np.zeros(len(chain))
        for part in (slice(None, -1), slice(1, None)):
            total[part] += np.where(usual, steps, 0.0)
            count[part] += usual
        kept = count > 0
        speed[chain[kept]] = total[kept] / count[kept]
    return speed


def _texts(values: list[Any]) -> Array:
    return np.array([value if isinstance(value, str) else "" for value in values], dtype=object)


def _images(sources: list[Any], clip: IntArray, frame_id: IntArray) -> Array | None:
    """Image of each row, or None where the dataset has no images at all."""
    if not any(isinstance(source, str) and source for source in sources):
        return None
    patterns = _texts(sources)
    return np.array(
        [
            patterns[number].format(frame_id=frame) if patterns[number] else ""
            for number, frame in zip(clip.tolist(), frame_id.tolist(), strict=True)
        ],
        dtype=object,
    )


def _distances(store: ClipStore, rows: StoreRows, hit: IntArray) -> FloatArray:
    """(N,) float32 frames to the nearest hit row of the same track."""
    clips, found = store.clips, np.full(len(rows.rows), np.nan, np.float32)
    clip = np.searchsorted(clips["start"].to_numpy(), hit, side="right") - 1
    tracks = clips["track"].to_numpy(dtype=str)
    hit_track, hit_frame = tracks[clip], np.asarray(store.frames["frame_id"][hit], np.int64)
    steps = dict(zip(tracks.tolist(), clips["step"].tolist(), strict=True))
    for track in np.unique(hit_track):
        own = np.flatnonzero(rows.track == track)
        if len(own) == 0:
            continue
        frames, hits = rows.frame_id[own], np.sort(hit_frame[hit_track == track])
        after = np.searchsorted(hits, frames)
        nearest = [np.abs(frames - hits[np.clip(place, 0, len(hits) - 1)]) for place in (after - 1, after)]
        found[own] = np.minimum(*nearest) / max(int(steps[str(track)]), 1)
    return found
