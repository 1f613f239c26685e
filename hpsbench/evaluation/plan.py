"""What an evaluation would do, without doing it."""

from pathlib import Path
from typing import Any

from hpsbench.evaluation.feeds import Given
from hpsbench.evaluation.session import Session
from hpsbench.models._system import System
from hpsbench.predictions.predictions import Predictions
from hpsbench.protocols.protocol import Protocol
from hpsbench.store.reader import ClipStore


def plan_evaluation(
    system: System,
    protocol: Protocol | str,
    store: ClipStore,
    *,
    dataset: str | None = None,
    features: str | None = None,
    flow: str | None = None,
    predictions: Predictions | System | None = None,
    root: str | Path | None = None,
    limit: int | None = None,
) -> dict[str, Any]:
    """Which frames would be predicted and scored, from which features; reads the store's tables and masks only.

    Raises:
        ProtocolMismatch, MissingFeatures, FeatureMismatch: as for `evaluate`.
    """
    given = Given(features=features, flow=flow, predictions=predictions, root=root)
    session = Session(system, store, protocol, dataset=dataset, given=given, device=None, limit=limit)
    plan = session.plan
    return {
        "system": system.name,
        "protocol": session.protocol.id,
        "store": store.location,
        "view": session.rule.view,
        "features": None if session.chosen is None else session.chosen.features.name,
        **session.feeds.provenance(),
        "frames_seen": sum(len(segment) for segment in plan.segments),
        "frames_scored": int(plan.scored.sum()),
        "metrics": [metric.name for metric in session.rule.metrics],
    }
