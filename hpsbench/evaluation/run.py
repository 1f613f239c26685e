"""Running a system over a store under a protocol, and scoring what it says.

`evaluate` is `predict` and then scoring, without keeping what is not needed: tracks are predicted one after the other,
meshes are compared in blocks and forgotten.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench.bodies.smpl import Bodies
from hpsbench.evaluation.collect import Shared
from hpsbench.evaluation.feeds import Given
from hpsbench.evaluation.needs import needed_bodies, needed_files
from hpsbench.evaluation.predicted import kind_of
from hpsbench.evaluation.provenance import provenance
from hpsbench.evaluation.rows import choose_rule
from hpsbench.evaluation.scoring import OnTrack, Restriction, collect_predictions
from hpsbench.evaluation.session import Session, finish
from hpsbench.models._system import System
from hpsbench.predictions.files import save_predictions
from hpsbench.predictions.predictions import Predictions
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
    root: str | Path | None = None,
    dataset: str | None = None,
    features: str | None = None,
    flow: str | None = None,
    predictions: Predictions | System | None = None,
    device: str | None = None,
    limit: int | None = None,
    on_track: OnTrack | None = None,
) -> Predictions:
    """Bodies of every frame that a protocol lets a system see, of tracks with a scored frame.

    Args:
        system: what predicts.
        store: what it reads.
        protocol: says which frames, which view, which windows.
        root: data root, for raw images and other systems' checkpoints; None: the folder above the store's `stores/`.
        dataset: dataset or setting of the protocol; None: the store's.
        features: name of a feature set; None: of the protocol's view, by the extractor that the system was trained on.
            A system that reads images gets those of a corrupted set corrupted as well.
        flow: name of a set of flow features, for a system that reads them; None: the one of the view.
        predictions: of another system, or that system, for a system that reads them; None: the one that it names.
        device: where the network runs (`auto`, `cpu`, `cuda:0`); None: where it is.
        limit: only the first so many tracks.
        on_track: told of progress: (frames done, frames in all, track).

    Returns:
        Predictions with the keys `track` and `frame_id`. Vertices are left out where pose and shape are there.

    Raises:
        ProtocolMismatch, MissingFeatures, FeatureMismatch, UsageError: system, store and protocol do not fit.
        MissingPrediction: the system left out frames that the protocol scores.
    """
    given = Given(features=features, flow=flow, predictions=predictions, root=root)
    session = Session(system, store, protocol, dataset=dataset, given=given, device=device, limit=limit)
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
    flow: str | None = None,
    predictions: Predictions | System | None = None,
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
        flow: name of a set of flow features, for a system that reads them.
        predictions: of another system, or that system, for a system that reads them.
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
    given = Given(features=features, flow=flow, predictions=predictions, root=root)
    session = Session(system, store, protocol, dataset=dataset, given=given, device=device, limit=limit)
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
    restriction: Restriction | None = None,
    shared: Shared | None = None,
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
        restriction: the only frames that may be scored; the result is marked partial if that takes some away.
        shared: joints and mesh errors of these predictions that were made before, under other protocols.
        on_track: told of progress: (frames done, frames in all, track).
        about: more for the provenance, as `command`.

    Raises:
        MissingPrediction: scored frames without a prediction; says how many.
        ProtocolMismatch: predictions that the protocol cannot score; says why.
        MissingBodyModel: as for `evaluate`.
    """
    resolved = get_protocol(protocol) if isinstance(protocol, str) else protocol
    rule = choose_rule(resolved, store, dataset)
    collector = collect_predictions(
        rule,
        predictions,
        store,
        root=root,
        bodies=bodies,
        device=device,
        limit=limit,
        restriction=restriction,
        shared=shared,
        on_track=on_track,
    )
    attrs = predictions.attrs
    sha256 = attrs.get("checkpoint_sha256")
    posed = kind_of(predictions.arrays) != "joints"
    read = store.features[attrs["features"]] if attrs.get("features") in store.features else None
    facts = provenance(
        resolved,
        rule,
        store,
        bodies=collector.bodies,
        files=needed_files(rule, collector.rows.gender, posed=posed),
        read=read,
        checkpoint_sha256=sha256,
        about=about,
    )
    return finish(
        resolved,
        collector,
        extra=len(predictions) - int(collector.plan.scored.sum()),
        features=read,
        system=attrs.get("system"),
        windowing=str(attrs.get("windowing", "none")),
        condition=attrs.get("condition"),
        flags=tuple(sorted({*attrs.get("flags", ()), *collector.flags})),
        seeds=tuple(attrs.get("seeds", ())),
        provenance={
            **facts,
            "features": attrs.get("features"),
            "system_options": attrs.get("system_options"),
        },
    )
