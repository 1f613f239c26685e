"""One source of predictions scored under many rules: joints and mesh errors are made once and shared."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hpsbench.bodies.smpl import Bodies
from hpsbench.errors import HpsbenchError, MissingPrediction, ProtocolMismatch
from hpsbench.evaluation.collect import Collector, Shared
from hpsbench.evaluation.row_cache import RowCache
from hpsbench.evaluation.rows import choose_rule
from hpsbench.evaluation.run import predict, score_predictions
from hpsbench.evaluation.scoring import Restriction, collect_predictions, rows_with_prediction
from hpsbench.evaluation.session import scored_of
from hpsbench.evaluation.summary import plain_means
from hpsbench.models._system import System
from hpsbench.predictions.predictions import Predictions
from hpsbench.protocols.protocol import Protocol, Rule
from hpsbench.results.result import Result
from hpsbench.store.reader import ClipStore
from hpsbench.types import BoolArray

Frames = Literal["all", "predicted", "common"]

_NO_PREDICTION = "no prediction"
_NOT_COMMON = "not scored under every protocol"


@dataclass(frozen=True, slots=True)
class Setting:
    """One protocol on one dataset or setting."""

    name: str
    protocol: Protocol
    rule: Rule


def list_settings(
    protocols: Sequence[Protocol], store: ClipStore, dataset: str | None
) -> tuple[dict[str, Setting], dict[str, str]]:
    """Every setting of the protocols on the store's dataset, and why others have none."""
    settings: dict[str, Setting] = {}
    refused: dict[str, str] = {}
    for protocol in protocols:
        own = [rule for rule in protocol.rules.values() if rule.dataset == store.dataset]
        if dataset is not None:
            own = [rule for rule in own if rule.name == dataset]
        if not own:
            try:
                choose_rule(protocol, store, dataset)
            except ProtocolMismatch as problem:
                refused[protocol.name] = str(problem)
            continue
        for rule in own:
            name = protocol.name if len(own) == 1 else f"{protocol.name}/{rule.name}"
            settings[name] = Setting(name, protocol, rule)
    return settings, refused


@dataclass(slots=True)
class _Made:
    """Predictions, and what is shared by all rules that they are scored under."""

    predictions: Predictions
    there: BoolArray
    shared: Shared


@dataclass(slots=True)
class Scorer:
    """Scores one source under many rules; joints and mesh errors are made once."""

    store: ClipStore
    source: Predictions | System
    root: str | Path | None
    bodies: Bodies | None
    device: str | None
    features: str | None
    limit: int | None
    about: dict[str, Any]
    flow: str | None = None
    predictions: Predictions | System | None = None
    common: Restriction | None = None
    _made: dict[str, _Made] = field(default_factory=dict)
    _targets: RowCache = field(init=False)

    def __post_init__(self) -> None:
        self._targets = RowCache(len(self.store))

    def restrict_to(self, rows: BoolArray) -> None:
        """Score these rows of the store alone from now on."""
        self.common = Restriction(rows=rows, reason=_NOT_COMMON, flag="common-frames")

    def fitting(
        self,
        settings: Mapping[str, Setting],
        refused: dict[str, str],
        frames: Frames,
        report: Callable[[str], None],
    ) -> tuple[list[str], BoolArray]:
        """Names of the settings that can be scored, and the rows that all of them score; reasons go to `refused`."""
        fits, common = [], np.ones(len(self.store), bool)
        for name, setting in settings.items():
            report(name)
            try:
                made = self.made(setting.protocol, setting.rule)
                restriction = None if frames == "all" else self._predicted(made)
                collector = self._collect(setting.rule, made, restriction)
                if restriction is not None and not collector.plan.scored.any():
                    raise MissingPrediction("none of the frames that it scores has a prediction")
            except HpsbenchError as problem:
                refused[name] = str(problem)
                continue
            scored = np.zeros(len(self.store), bool)
            scored[collector.rows.rows[collector.plan.scored]] = True
            common &= scored
            fits.append(name)
        return fits, common

    def result(self, setting: Setting, frames: Frames) -> Result:
        """The result of a setting that fits."""
        made = self.made(setting.protocol, setting.rule)
        own = None if frames == "all" else self.common or self._predicted(made)
        return score_predictions(
            setting.protocol,
            made.predictions,
            self.store,
            root=self.root,
            bodies=self.bodies,
            dataset=setting.rule.name,
            device=self.device,
            limit=self.limit,
            restriction=own,
            shared=made.shared,
            about=self.about if frames == "all" else {**self.about, "frames": frames},
        )

    def means(self, protocol: Protocol, rule: Rule) -> tuple[dict[str, tuple[float, int]], int, int]:
        """Value and n of the rule's metrics, scored frames, and frames that lack a prediction."""
        made = self.made(protocol, rule)
        restriction = self.common or self._predicted(made)
        scored = scored_of(protocol, self._collect(rule, made, restriction))
        left_out = int(scored.accounting["masked_by_reason"].get(_NO_PREDICTION, 0))
        return plain_means(scored), int(scored.accounting["scored"]), left_out

    def _collect(self, rule: Rule, made: _Made, restriction: Restriction | None) -> Collector:
        collector = collect_predictions(
            rule,
            made.predictions,
            self.store,
            root=self.root,
            bodies=self.bodies,
            device=self.device,
            limit=self.limit,
            restriction=restriction,
            shared=made.shared,
        )
        # Bodies are read once, and by the first rule that needs any.
        self.bodies = self.bodies or collector.bodies
        return collector

    def _predicted(self, made: _Made) -> Restriction:
        return Restriction(rows=made.there, reason=_NO_PREDICTION, flag="predicted-frames")

    def made(self, protocol: Protocol, rule: Rule) -> _Made:
        """The predictions for a rule: the given ones, or those of the system for its frames and windows."""
        key = "" if isinstance(self.source, Predictions) else _frames_key(rule)
        if key not in self._made:
            if isinstance(self.source, Predictions):
                predictions = _in_memory(self.source)
            else:
                predictions = predict(
                    self.source,
                    self.store,
                    replace(protocol, rules={rule.name: rule}),
                    dataset=rule.name,
                    root=self.root,
                    features=self.features,
                    flow=self.flow,
                    predictions=self.predictions,
                    device=self.device,
                    limit=self.limit,
                )
            there = rows_with_prediction(predictions, self.store)
            self._made[key] = _Made(predictions, there, Shared(self._targets, RowCache(len(self.store))))
        return self._made[key]


def _frames_key(rule: Rule) -> str:
    """All that a system's predictions depend on."""
    names = (
        "splits",
        "where",
        "view",
        "seen",
        "scored",
        "visible_set",
        "visible_first",
        "visible_confidence",
    )
    return repr([getattr(rule, name) for name in (*names, "windows", "gaps", "join_tracks", "tracks", "fps")])


def _in_memory(predictions: Predictions) -> Predictions:
    """The same with arrays that are read once; vertices, which may not fit, stay where they are."""
    arrays = {
        name: array if name == "vertices" else np.asarray(array[...])
        for name, array in predictions.arrays.items()
    }
    return replace(predictions, arrays=arrays)
