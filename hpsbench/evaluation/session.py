"""One system on one store under one protocol: what is read, what is expected, what is written about it."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from hpsbench.bodies.smpl import Bodies
from hpsbench.errors import ShapeError
from hpsbench.evaluation.collect import Collector
from hpsbench.evaluation.feeds import Feeds, Given
from hpsbench.evaluation.frame_context import store_context
from hpsbench.evaluation.frames import FramePlan, accounting
from hpsbench.evaluation.inputs import ChosenFeatures, windowing
from hpsbench.evaluation.provenance import provenance
from hpsbench.evaluation.rows import StoreRows, choose_rule, select_rows
from hpsbench.evaluation.scoring import OnTrack
from hpsbench.evaluation.summary import Scored, build_result
from hpsbench.features.backbones import choose_device
from hpsbench.models._system import System
from hpsbench.predictions.predictions import TAILS, Predictions, require_all
from hpsbench.protocols.catalog import get_protocol
from hpsbench.protocols.protocol import Protocol
from hpsbench.results.result import Result
from hpsbench.store.reader import ClipStore, FeatureSet
from hpsbench.types import Array, ClipInput, IntArray, Prediction


class Session:
    """A system, a store and a protocol that fit, with the frames that follow from them.

    Args:
        system: what predicts.
        store: what it reads.
        protocol: a protocol or its name.
        dataset: dataset or setting of the protocol; None: the store's.
        given: what the user named: feature sets, predictions of another system.
        device: where the network runs; None: where it is.
        limit: only the first so many tracks.

    Raises:
        ProtocolMismatch, MissingFeatures, FeatureMismatch: the three do not fit.
    """

    def __init__(
        self,
        system: System,
        store: ClipStore,
        protocol: Protocol | str,
        *,
        dataset: str | None,
        given: Given,
        device: str | None,
        limit: int | None,
    ) -> None:
        self.system, self.store = system, store
        self.protocol = get_protocol(protocol) if isinstance(protocol, str) else protocol
        self.rule = choose_rule(self.protocol, store, dataset)
        self.feeds = Feeds(system, store, self.rule, given)
        self.chosen: ChosenFeatures | None = self.feeds.chosen
        self.rows: StoreRows = select_rows(store, self.rule, limit=limit)
        self.plan: FramePlan = self.rows.plan(self.rule)
        self._parts: list[tuple[IntArray, Mapping[str, Array]]] = []
        self._joint_set: str | None = None
        if device is not None and hasattr(system, "to"):
            system.to(choose_device(device))

    def run(
        self, on_track: OnTrack | None, *, keep: bool
    ) -> Iterator[tuple[IntArray, dict[str, Array], str | None]]:
        """Predict every stretch of seen frames that has a scored one.

        Args:
            on_track: told of progress.
            keep: whether `gathered` will be asked for.

        Yields:
            Places of the predicted rows in the plan, their arrays, and the joint set of `joints3d`.
        """
        useful = [segment for segment in self.plan.segments if self.plan.scored[segment].any()]
        done, total = 0, sum(map(len, useful))
        for segment in useful:
            clip = self.feeds.clip_input(self.rows, segment)
            prediction = self.system.predict(clip)
            arrays = _checked(self.system, clip, prediction)
            places = segment[prediction.rows]
            if keep:
                self._parts.append((places, arrays))
                self._joint_set = prediction.joint_set
            yield places, arrays, prediction.joint_set
            done += len(segment)
            if on_track is not None:
                on_track(done, total, clip.track)

    def gathered(self) -> Predictions:
        """All predictions that were kept, as one table."""
        parts = self._parts
        places = np.concatenate([places for places, _ in parts]) if parts else np.zeros(0, np.int64)
        names = [name for name in TAILS if parts and name in parts[0][1]]
        about = self._about_system()
        attrs: dict[str, Any] = {
            **about,
            "seeds": list(about["seeds"]),
            "flags": sorted(self._flags()),
            "protocol": self.protocol.id,
            "dataset": self.rule.name,
            "body": self.rule.pred.body,
            "checkpoint_sha256": getattr(self.system, "checkpoint_sha256", None),
            "system_options": self._options(),
            "features": None if self.chosen is None else self.chosen.features.name,
            "joint_set": self._joint_set,
            "synthetic": self.store.synthetic,
        }
        return Predictions(
            track=self.rows.track[places],
            frame_id=self.rows.frame_id[places],
            arrays={name: np.concatenate([arrays[name] for _, arrays in parts]) for name in names},
            attrs={name: value for name, value in attrs.items() if value is not None},
        )

    def collector(self, bodies: Bodies | None) -> Collector:
        """An empty collector for this session."""
        return Collector(self.store, self.rule, self.rows, self.plan, bodies)

    def check_complete(self, predicted: Array) -> None:
        """Refuse a system that left out frames which are scored.

        Raises:
            MissingPrediction: with their number.
        """
        require_all(np.where(predicted, 0, -1), self.plan.scored, self.rows.track, self.rows.frame_id)

    def result(self, collector: Collector, about: Mapping[str, Any] | None) -> Result:
        """The result of what was collected.

        Raises:
            MissingPrediction: frames that are scored were left out.
        """
        self.check_complete(collector.predicted)
        facts = provenance(
            self.protocol,
            self.rule,
            self.store,
            bodies=collector.bodies,
            chosen=self.chosen,
            checkpoint_sha256=getattr(self.system, "checkpoint_sha256", None),
            about=about,
        )
        return finish(
            self.protocol,
            collector,
            extra=collector.extra,
            features=None if self.chosen is None else self.chosen.features,
            flags=tuple(sorted(self._flags() | collector.flags)),
            provenance={**facts, **self.feeds.provenance(), "system_options": self._options()},
            **self._about_system(),
        )

    def _flags(self) -> set[str]:
        """Remarks that the setting itself calls for."""
        flags = set(self.feeds.flags)
        return flags | ({"no-flip-test"} if self.rule.flip_test else set())

    def _options(self) -> dict[str, Any] | None:
        """Options that the system was built with, as `batch_mixing` of MPS-Net; None where it has none to tell."""
        options = getattr(self.system, "options", None)
        return dict(options) if isinstance(options, Mapping) else None

    def _about_system(self) -> dict[str, Any]:
        return {
            "system": self.system.name,
            "windowing": windowing(self.system, self.rule.windows),
            "condition": self.feeds.condition,
            "seeds": self.feeds.seeds,
        }


def finish(
    protocol: Protocol,
    collector: Collector,
    *,
    extra: int,
    features: FeatureSet | None = None,
    **about: Any,
) -> Result:
    """The result of what a collector holds.

    Args:
        protocol: under which it was collected.
        collector: predictions and targets.
        extra: how many predictions were of frames that are not scored.
        features: the feature set behind the predictions, where it is known.
        about: further fields of `Result`.
    """
    store, rows = collector.store, collector.rows
    scored = scored_of(protocol, collector)
    scored = replace(
        scored,
        accounting={**scored.accounting, "extra_predictions": extra},
        context=store_context(store, rows, features),
    )
    return build_result(scored, synthetic=store.synthetic, partial=rows.partial, **about)


def scored_of(protocol: Protocol, collector: Collector) -> Scored:
    """What a collector holds, as the metrics take it."""
    pred, target = collector.sides()
    rows = collector.rows
    counts = accounting(
        collector.plan,
        seen_masks=rows.seen_masks,
        scored_masks=rows.scored_masks,
        rows_in=rows.rows_in,
        left_out=rows.left_out,
    )
    lost = dict.fromkeys(rows.lost_tracks, f"the view {collector.rule.view} keeps none of its frames")
    tracks = counts["tracks"]
    counts["tracks"] = {**tracks, "in": tracks["in"] + len(lost), "skipped": {**tracks["skipped"], **lost}}
    return Scored(
        protocol=protocol,
        rule=collector.rule,
        plan=collector.plan,
        pred=pred,
        target=target,
        vertices=collector.vertices,
        sequence=rows.sequence,
        frame_id=rows.frame_id,
        accounting=counts,
        absent=collector.absent,
    )


def _checked(system: System, clip: ClipInput, prediction: Prediction) -> dict[str, Array]:
    """Fields of a prediction; vertices only where there is no pose.

    Raises:
        ShapeError: rows that are not rows of the clip, or fields of another length.
    """
    where = f"system {system.name!r}, track {clip.track}"
    rows, last = np.asarray(prediction.rows), clip.length - 1
    inside = rows.ndim == 1 and (len(rows) == 0 or (rows[0] >= 0 and rows[-1] <= last))
    if not inside or (np.diff(rows) <= 0).any():
        raise ShapeError(f"{where}: rows must increase and lie in 0..{last}")
    posed = prediction.rotmat is not None and prediction.betas is not None
    fields = {name: getattr(prediction, name) for name in TAILS if hasattr(prediction, name)}
    arrays = {
        name: np.asarray(v)
        for name, v in fields.items()
        if v is not None and not (posed and name == "vertices")
    }
    for name, values in arrays.items():
        if len(values) != len(rows):
            raise ShapeError(f"{where}: {name} has {len(values)} rows for {len(rows)} frames")
    return arrays
