"""One set of predictions under every protocol that fits, side by side, and why the numbers differ.

The way from a reference protocol to another one goes cause by cause (`evaluation.rule_changes`): frames, windows, body,
joints, average, ... After each, the same predictions are scored again; what a number moves by is that cause's share.
The shares add up to the difference. They depend on the order of the causes, which is always the same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hpsbench.bodies.smpl import Bodies
from hpsbench.errors import HpsbenchError, ProtocolMismatch, UnknownName, UsageError
from hpsbench.evaluation.many_rules import Frames, Scorer, Setting, list_settings
from hpsbench.evaluation.rule_changes import changes, pair_metrics
from hpsbench.models._system import System
from hpsbench.predictions.predictions import Predictions
from hpsbench.protocols.protocol import Metric, Protocol
from hpsbench.results.result import Result
from hpsbench.store.reader import ClipStore

FRAMES: tuple[Frames, ...] = ("all", "predicted", "common")
OnProtocol = Callable[[int, int, str], None]
"""Progress: (steps done, steps in all, protocol)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One metric after a change.

    Attributes:
        metric: its name under the protocol that is explained.
        unit: of value and change.
        value: of the metric; None where no frame has one.
        change: from the value before; None at the start, or where there is no value.
        n: values behind it.
    """

    metric: str
    unit: str
    value: float | None
    change: float | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One cause.

    Attributes:
        cause: `frames`, `windows`, `body`, ...; several, joined by " + ", where one alone cannot be scored.
        what: what was changed, in words.
        frames: scored frames after it.
        unpredicted: frames that would be scored after it and have no prediction, so that they are left out of it.
        effects: one per metric.
    """

    cause: str
    what: tuple[str, ...]
    frames: int
    unpredicted: int
    effects: tuple[Effect, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a protocol's numbers are not the reference's.

    Attributes:
        protocol: that is explained.
        start: values under the reference.
        steps: one per cause in which the two differ; the last one's values are the protocol's.
        unpaired: metrics of the protocol that the reference has nothing to compare with.
    """

    protocol: str
    start: tuple[Effect, ...]
    steps: tuple[Step, ...]
    unpaired: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """One set of predictions under several protocols.

    Attributes:
        frames: which were scored: `all` that each protocol scores; of these the `predicted` ones; or the `common` ones,
            which every protocol that fits scores.
        results: protocol (`name`, or `name/setting` where it has several) -> result.
        refused: protocol -> why it does not fit.
        reference: that the others are explained against, or None.
        why_unexplained: why there are no explanations.
        explanations: one per other protocol.
    """

    frames: Frames
    results: Mapping[str, Result]
    refused: Mapping[str, str]
    reference: str | None
    why_unexplained: str | None
    explanations: tuple[Explanation, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "frames": self.frames,
            "results": {name: result.to_json() for name, result in self.results.items()},
            "refused": dict(self.refused),
            "reference": self.reference,
            "why_unexplained": self.why_unexplained,
            "explanations": [asdict(one) for one in self.explanations],
        }


def protocol_matrix(
    source: Predictions | System,
    store: ClipStore,
    protocols: Sequence[Protocol],
    *,
    reference: str | None = None,
    frames: Frames = "all",
    dataset: str | None = None,
    root: str | Path | None = None,
    bodies: Bodies | None = None,
    device: str | None = None,
    features: str | None = None,
    flow: str | None = None,
    predictions: Predictions | System | None = None,
    limit: int | None = None,
    about: Mapping[str, Any] | None = None,
    on_protocol: OnProtocol | None = None,
) -> Matrix:
    """Score one set of predictions, or one system, under several protocols and explain the differences.

    Args:
        source: predictions, which stay as they are; or a system, which predicts anew for each choice of frames and
            windows.
        store: a prepared clip store.
        protocols: to score under; those that do not fit are listed with the reason.
        reference: name of the protocol (or `name/setting`) that the others are explained against; None: nothing is
            explained.
        frames: `all`: a protocol that scores a frame without a prediction does not fit. `predicted`: such frames are
            left out and counted, the result is partial and flagged `predicted-frames`. `common`: only frames that
            every protocol scores and that have a prediction, flagged `common-frames`.
        dataset: only this dataset or setting of the protocols; None: all settings of the store's dataset.
        root: data root, for the body models; None: the folder above the store's `stores/`.
        bodies: body models, instead of `root`.
        device: where network and bodies run.
        features: name of the feature set that a system reads; None: chosen for each protocol's view.
        flow: name of the set of flow features that a system reads; None: likewise.
        predictions: of another system, or that system, for a system that reads them.
        limit: only the first so many tracks; the results are marked partial.
        about: more for the provenance of the results, as `command`.
        on_protocol: told of progress.

    Raises:
        ProtocolMismatch: no protocol fits; says why for each.
        UnknownName: `reference` is none of the protocols.
        UsageError: another value of `frames`, or no frame is common to the protocols.
    """
    if frames not in FRAMES:
        raise UnknownName("choice of frames", frames, FRAMES)
    scorer = Scorer(
        store, source, root, bodies, device, features, limit, dict(about or {}), flow, predictions
    )
    settings, refused = list_settings(protocols, store, dataset)
    if reference is not None and reference not in [*settings, *refused]:
        raise UnknownName("reference protocol", reference, [*settings, *refused])
    report = _Progress(on_protocol, 2 * len(settings))
    fits, common = scorer.fitting(settings, refused, frames, report)
    if not fits:
        reasons = "; ".join(f"{name}: {why}" for name, why in refused.items())
        raise ProtocolMismatch(f"no protocol fits {store.location}: {reasons}")
    if frames == "common" and not common.any():
        raise UsageError(f"no frame is scored by all of {', '.join(fits)}, so there is nothing in common")
    if frames == "common":
        scorer.restrict_to(common)
    results = {name: scorer.result(settings[name], frames) for name in fits}
    why = None if reference is not None else "no reference was named"
    if reference is not None and reference not in fits:
        why = f"{reference} does not fit: {refused[reference]}"
    explained = []
    for name in fits:
        report(name)
        if why is None and reference is not None and name != reference:
            pair = (results[reference], results[name])
            explained.append(_explain(scorer, settings[reference], settings[name], pair))
    return Matrix(
        frames=frames,
        results=results,
        refused=refused,
        reference=reference if why is None else None,
        why_unexplained=why,
        explanations=tuple(explained),
    )


@dataclass(slots=True)
class _Progress:
    tell: OnProtocol | None
    total: int
    done: int = 0

    def __call__(self, name: str) -> None:
        self.done += 1
        if self.tell is not None:
            self.tell(self.done, self.total, name)


def _explain(scorer: Scorer, first: Setting, second: Setting, results: tuple[Result, Result]) -> Explanation:
    """Why the second setting's numbers are not the first's."""
    names = [set(result.summary) for result in results]
    pairs = [
        pair
        for pair in pair_metrics(first.rule, second.rule)
        if pair[0].name in names[0] and pair[1].name in names[1]
    ]
    start = tuple(
        Effect(metric=b.name, unit=a.unit, value=float(m), change=None, n=m.n)
        for a, b in pairs
        for m in (results[0].summary[a.name],)
    )
    paired = {b.name for _, b in pairs}
    return Explanation(
        protocol=second.name,
        start=start,
        steps=tuple(_steps(scorer, first, second, pairs, start)) if pairs else (),
        unpaired=tuple(name for name in results[1].summary if name not in paired),
    )


def _steps(
    scorer: Scorer,
    first: Setting,
    second: Setting,
    pairs: list[tuple[Metric, Metric]],
    start: Sequence[Effect],
) -> list[Step]:
    values = [effect.value for effect in start]
    steps: list[Step] = []
    causes: list[str] = []
    what: list[str] = []
    problem: HpsbenchError | None = None
    for change in changes(first.rule, second.rule, pairs):
        causes.append(change.cause)
        what += change.what
        try:
            means, frames, unpredicted = scorer.means(first.protocol, change.rule)
        except HpsbenchError as reason:
            problem = reason  # half way between two rules that fit: go on to the next
            continue
        effects = []
        for i, metric in enumerate(change.rule.metrics):
            value, n = means.get(metric.name, (None, 0))
            before = values[i]
            moved = None if value is None or before is None else value - before
            values[i] = value
            effects.append(Effect(metric=pairs[i][1].name, unit=metric.unit, value=value, change=moved, n=n))
        steps.append(
            Step(
                cause=" + ".join(causes),
                what=tuple(what),
                frames=frames,
                unpredicted=unpredicted,
                effects=tuple(effects),
            )
        )
        causes, what, problem = [], [], None
    if problem is not None:
        raise problem
    return steps
