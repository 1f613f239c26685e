"""Given predictions against a store under one rule: which frames, which bodies, what is gathered."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench.bodies.smpl import Bodies
from hpsbench.evaluation.collect import Collector, Shared
from hpsbench.evaluation.needs import needed_bodies
from hpsbench.evaluation.predicted import check_needs, kind_of
from hpsbench.evaluation.rows import StoreRows, select_rows
from hpsbench.predictions.predictions import Predictions, require_all
from hpsbench.protocols.protocol import Rule
from hpsbench.store.reader import ClipStore
from hpsbench.types import BoolArray

OnTrack = Callable[[int, int, str], None]
"""Progress: (frames done, frames in all, name of the track)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restriction:
    """The only frames that may be scored, besides what a protocol says.

    Attributes:
        rows: (len(store),) bool.
        reason: why the others are not, for the account.
        flag: of results from which it took frames.
    """

    rows: BoolArray
    reason: str
    flag: str

    def applied(self, rows: StoreRows, rule: Rule) -> tuple[StoreRows, bool]:
        """The rows with this mask, marked as partial if it takes frames; and whether it does."""
        mask = self.rows[rows.rows]
        if not (rows.plan(rule).scored & ~mask).any():
            return rows, False
        return replace(rows, scored_masks={**rows.scored_masks, self.reason: mask}, partial=True), True


def collect_predictions(
    rule: Rule,
    predictions: Predictions,
    store: ClipStore,
    *,
    root: str | Path | None = None,
    bodies: Bodies | None = None,
    device: str | None = None,
    limit: int | None = None,
    restriction: Restriction | None = None,
    shared: Shared | None = None,
    on_track: OnTrack | None = None,
) -> Collector:
    """Prediction and target of every frame that a rule predicts.

    Args:
        rule: of a protocol on the store's dataset.
        predictions: keyed by track and frame, or by row of this store.
        store: a prepared clip store.
        root: data root, for the body models.
        bodies: body models, instead of `root`.
        device: where the bodies run.
        limit: only the first so many tracks.
        restriction: the only frames that may be scored.
        shared: joints and mesh errors of these predictions that were made before, under other rules.
        on_track: told of progress.

    Raises:
        MissingPrediction, ProtocolMismatch, MissingBodyModel: as for `score_predictions`.
    """
    attrs: Any = predictions.attrs
    check_needs(rule, predictions.arrays, str(attrs["frame"]))
    rows, restricted = select_rows(store, rule, limit=limit), False
    if restriction is not None:
        rows, restricted = restriction.applied(rows, rule)
    plan = rows.plan(rule)
    places = predictions.locate(rows.track, rows.frame_id, rows.rows)
    require_all(places, plan.scored, rows.track, rows.frame_id)
    posed = kind_of(predictions.arrays) != "joints"
    needed = needed_bodies(store, rule, root=root, bodies=bodies, device=device, posed=posed)
    collector = Collector(store, rule, rows, plan, needed, shared)
    done, total = 0, int(plan.predicted.sum())
    for segment in plan.segments:
        own = segment[(places[segment] >= 0) & plan.predicted[segment]]
        if len(own) == 0:
            continue
        arrays = {name: predictions.take(name, places[own]) for name in predictions.arrays}
        collector.add(own, arrays, joint_set=attrs.get("joint_set"), frame=str(attrs["frame"]))
        done += len(own)
        if on_track is not None:
            on_track(done, total, str(rows.track[own[0]]))
    if restricted and restriction is not None:
        collector.flags.add(restriction.flag)
    return collector


def rows_with_prediction(predictions: Predictions, store: ClipStore) -> BoolArray:
    """(len(store),) which rows of a store have a prediction."""
    clips = store.clips
    clip = np.searchsorted(clips["start"].to_numpy(), np.arange(len(store)), side="right") - 1
    track = clips["track"].to_numpy(dtype=str)[clip]
    frame_id = np.asarray(store.frames["frame_id"][:], np.int64)
    return np.asarray(predictions.locate(track, frame_id, np.arange(len(store))) >= 0)
