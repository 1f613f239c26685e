"""Running a system over a store under a protocol, and scoring what it says.

`evaluate` is `predict` and then scoring, without keeping what is not needed: tracks are predicted one after the other,
meshes are compared in blocks and forgotten.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench.bodies.smpl import Bodies
from hpsbench.evaluation.collect import Collector
from hpsbench.evaluation.needs import needed_bodies
from hpsbench.evaluation.predicted import kind_of
from hpsbench.evaluation.provenance import provenance
from hpsbench.evaluation.rows import choose_rule, select_rows
from hpsbench.evaluation.session import OnTrack, Session, finish
from hpsbench.models._system import System
from hpsbench.predictions.files import save_predictions
from hpsbench.predictions.predictions import Predictions, require_all
from hpsbench.protocols.catalog import get_protocol
from hpsbench.protocols.protocol import Protocol
from hpsbench.results.result import Result
from hpsbench.store.reader import ClipStore

PREDICTIONS = "predictions.zarr"


def predict(
    system: System,
    store: ClipStore,
    protocol: Protocol | str,
    *,
    dataset: str | None = None,
    features: str | None = None,
    device: str | None = None,
    limit: int | None = None,
    on_track: OnTrack | None = None,
) -> Predictions:
    """Bodies of every frame that a protocol lets a system see, of tracks with a scored frame.

    Args:
        system: what predicts.
        store: what it reads.
        protocol: says which frames, which view, which windows.
        dataset: dataset or setting of the protocol; None: the store's.
        features: name of a feature set; None: of the protocol's view, by the extractor that the system was trained on.
        device: where the network runs (`auto`, `cpu`, `cuda:0`); None: where it is.
        limit: only the first so many tracks.
        on_track: told of progress: (frames done, frames in all, track).

    Returns:
        Predictions with the keys `track` and `frame_id`. Vertices are left out where pose and shape are there.

    Raises:
        ProtocolMismatch, MissingFeatures, FeatureMismatch, UsageError: system, store and protocol do not fit.
        MissingPrediction: the system left out frames that the protocol scores.
    """
    session = Session(system, store, protocol, dataset=dataset, features=features, device=device, limit=limit)
    predicted = np.zeros(len(session.plan), bool)
    for places, _, _ in session.run(on_track, keep=True):
        predicted[places] = True
    session.check_complete(predicted)
    return session.gathered()


def evaluate(
    system: System,
    protocol: Protocol | str,
    store: ClipStore,
    *,
    root: str | Path | None = None,
    bodies: Bodies | None = None,
    dataset: str | None = None,
    features: str | None = None,
    device: str | None = None,
    limit: int | None = None,
    save: str | Path | None = None,
    on_track: OnTrack | None = None,
    about: Mapping[str, Any] | None = None,
) -> Result:
    """Predict, then score.

    Args:
        system: what is evaluated.
        protocol: a protocol or its name.
        store: a prepared clip store.
        root: data root, for the body models; None: the folder above the store's `stores/`.
        bodies: body models, instead of `root`.
        dataset: dataset or setting of the protocol; None: the store's.
        features: name of a feature set; naming one of another extractor flags the result.
        device: where the network and the bodies run (`auto`, `cpu`, `cuda:0`); None: where they are.
        limit: only the first so many tracks; the result is marked partial.
        save: folder for results.json, the tables, and predictions.zarr.
        on_track: told of progress: (frames done, frames in all, track).
        about: more for the provenance, as `command`.

    Raises:
        MissingBodyModel: real data without the licensed body, or synthetic data without the synthetic one.
        ProtocolMismatch, MissingFeatures, FeatureMismatch, UsageError: system, store and protocol do not fit.
        MissingPrediction: the system left out frames that the protocol scores.
    """
    session = Session(system, store, protocol, dataset=dataset, features=features, device=device, limit=limit)
    needed = needed_bodies(store, session.rule, root=root, bodies=bodies, device=device)
    collector = session.collector(needed)
    for places, arrays, joint_set in session.run(on_track, keep=save is not None):
        collector.add(places, arrays, joint_set=joint_set)
    result = session.result(collector, about)
    if save is not None:
        result.save(save)
        save_predictions(session.gathered(), Path(save) / PREDICTIONS, replace=True)
    return result


def score_predictions(
    protocol: Protocol | str,
    predictions: Predictions,
    store: ClipStore,
    *,
    root: str | Path | None = None,
    bodies: Bodies | None = None,
    dataset: str | None = None,
    device: str | None = None,
    limit: int | None = None,
    on_track: OnTrack | None = None,
    about: Mapping[str, Any] | None = None,
) -> Result:
    """Score given predictions against a store.

    Args:
        protocol: a protocol or its name.
        predictions: keyed by track and frame, or by row of this store; extra ones are counted.
        store: a prepared clip store.
        root: data root, for the body models; None: the folder above the store's `stores/`.
        bodies: body models, instead of `root`.
        dataset: dataset or setting of the protocol; None: the store's.
        device: where the bodies run.
        limit: only the first so many tracks; the result is marked partial.
        on_track: told of progress: (frames done, frames in all, track).
        about: more for the provenance, as `command`.

    Raises:
        MissingPrediction: scored frames without a prediction; says how many.
        ProtocolMismatch: predictions that the protocol cannot score; says why.
        MissingBodyModel: as for `evaluate`.
    """
    resolved = get_protocol(protocol) if isinstance(protocol, str) else protocol
    rule = choose_rule(resolved, store, dataset)
    rows = select_rows(store, rule, limit=limit)
    plan = rows.plan(rule)
    places = predictions.locate(rows.track, rows.frame_id, rows.rows)
    require_all(places, plan.scored, rows.track, rows.frame_id)
    posed = kind_of(predictions.arrays) != "joints"
    needed = needed_bodies(store, rule, root=root, bodies=bodies, device=device, posed=posed)
    collector = Collector(store, rule, rows, plan, needed)
    attrs = predictions.attrs
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
    sha256 = attrs.get("checkpoint_sha256")
    facts = provenance(resolved, rule, store, bodies=needed, checkpoint_sha256=sha256, about=about)
    return finish(
        resolved,
        collector,
        extra=len(predictions) - int(plan.scored.sum()),
        features=store.features[attrs["features"]] if attrs.get("features") in store.features else None,
        system=attrs.get("system"),
        windowing=str(attrs.get("windowing", "none")),
        condition=attrs.get("condition"),
        flags=tuple(sorted({*attrs.get("flags", ()), *collector.flags})),
        seeds=tuple(attrs.get("seeds", ())),
        provenance={**facts, "features": attrs.get("features")},
    )
