"""Systems at other window lengths than they were trained on, all scored on the same frames.

Every length covers whole tracks: windows of systems that predict all their frames follow each other, the last one is moved
back to end with the track, and a frame that two predict is read from the one in which it lies more centrally; of systems
that predict the middle frame there is one window per frame, and the frames before and after are predicted from windows of
themselves repeated. Tracks shorter than a window are padded with their last frame. Beside this stands how many frames the
field's usual windows (no overlap, tail dropped, short tracks skipped) would have scored.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from hpsbench.ablations.cells import Cell, measure_cell, same_frames
from hpsbench.ablations.evaluations import Bench, Model
from hpsbench.errors import UsageError
from hpsbench.evaluation.plan import plan_evaluation
from hpsbench.evaluation.rows import choose_rule, select_rows
from hpsbench.evaluation.statistics import RESAMPLES
from hpsbench.models._system import System
from hpsbench.protocols.protocol import Protocol
from hpsbench.results.result import Result
from hpsbench.types import WindowRule

LENGTHS = (8, 16, 32, 48, 64, 128)

OnStep = Callable[[int, int, str], None]
"""Progress: (steps done, steps in all, what comes next)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthCell:
    """One number of the sweep: a `Cell` and what it is of.

    Attributes:
        model: its label.
        train_length: frames of the windows it was trained on, or None where its checkpoint does not say.
        test_length: frames of the windows it was tested on.
        metric, unit: as in the results.
        cell: the number; its change is from the same model at its train length, where that was measured.
    """

    model: str
    train_length: int | None
    test_length: int
    metric: str
    unit: str
    cell: Cell


@dataclass(slots=True, kw_only=True)
class LengthSweep:
    """What was measured.

    Attributes:
        protocol, dataset, synthetic, partial: of all results.
        lengths: of the test windows.
        frames: that every length scores.
        frames_without_tails: length -> frames that windows without overlap and without tails would score.
        cells: the numbers.
        why_not: (model, length) -> why it was not measured.
        runs: (model, length) -> folder of the result.
    """

    protocol: str
    dataset: str
    synthetic: bool
    partial: bool
    lengths: tuple[int, ...]
    frames: int
    frames_without_tails: Mapping[int, int]
    cells: list[LengthCell] = field(default_factory=list)
    why_not: dict[tuple[str, int], str] = field(default_factory=dict)
    runs: dict[tuple[str, int], str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        cells = [{**asdict(cell), **asdict(cell.cell)} for cell in self.cells]
        for cell in cells:
            del cell["cell"]
        names = ("protocol", "dataset", "synthetic", "partial", "lengths", "frames")
        return {
            "sweep": "seqlen",
            **{name: getattr(self, name) for name in names},
            "frames_without_tails": {str(k): n for k, n in self.frames_without_tails.items()},
            "cells": cells,
            "why_not": [
                {"model": model, "test_length": length, "why_not": why}
                for (model, length), why in self.why_not.items()
            ],
            "runs": [
                {"model": model, "test_length": length, "folder": folder}
                for (model, length), folder in self.runs.items()
            ],
        }


def length_rule(system: System, length: int) -> WindowRule | None:
    """The window rule under which a system covers whole tracks with windows of a length; None if it takes none such.

    A system that sees one frame at a time gets its one frame whatever the length: it is the level line of the plot.
    """
    if system.context is not None and system.context.length == 1:
        return system.context
    central = WindowRule(length=length, stride=length, edges="shift-last", overlap="central", short="pad")
    sliding = WindowRule(length=length, stride=1, predict="middle", edges="repeat-frame", short="pad")
    accepts = getattr(system, "accepts", None)
    for rule in (central, sliding):
        if accepts is not None and accepts(rule):
            return rule
    own = system.context
    if own is not None and own.length == length and accepts is None:
        return central
    return None


def trained_length(system: System) -> int | None:
    """Frames of the windows that a system was trained on: what its checkpoint's card says, else those it was made for."""
    card = getattr(system, "card", None) or {}
    recipe = card.get("training_recipe") or {}
    length = (recipe.get("windows") or {}).get("length")
    if length is None and system.context is not None:
        length = system.context.length
    return length if isinstance(length, int) else None


def plan_length_sweep(
    bench: Bench, models: Sequence[Model], lengths: Sequence[int], features: str | None = None
) -> dict[str, Any]:
    """What a sweep would do, touching nothing.

    Raises:
        UsageError: as for `sweep_lengths`.
    """
    _check(models, lengths)
    pairs, why_not = [], []
    for model in models:
        chosen = _features(bench, model, features)
        for length in lengths:
            rule = length_rule(model.system, length)
            if rule is None:
                why_not.append(f"{model.label} at {length}: {_why(model, length)}")
            else:
                pairs.append((model, chosen, bench.with_protocol(_protocol(bench, rule))))
    return {
        "protocol": bench.protocol.id,
        "store": bench.store.location,
        "models": {m.label: m.train_length for m in models},
        "lengths": list(lengths),
        "evaluations": len(pairs),
        "evaluations_there": sum(own.known(model, chosen) for model, chosen, own in pairs),
        "why_not": why_not,
    }


def sweep_lengths(
    bench: Bench,
    models: Sequence[Model],
    lengths: Sequence[int] = LENGTHS,
    *,
    features: str | None = None,
    resamples: int = RESAMPLES,
    on_step: OnStep | None = None,
) -> LengthSweep:
    """Measure models at several window lengths on the same frames; what is there already is read, so it resumes.

    Args:
        bench: store, protocol, root.
        models: with different labels, each with its train length.
        lengths: of the test windows.
        features: feature set; None: the one of the protocol's view.
        resamples: of the bootstrap.
        on_step: told of progress.

    Raises:
        UsageError: no models, equal labels, lengths below 1, or no model that takes any of the lengths.
        MissingFeatures, FeatureMismatch: as for `evaluate`.
        BadData: results that are of other frames.
    """
    _check(models, lengths)
    found: dict[tuple[str, int], Result] = {}
    why_not: dict[tuple[str, int], str] = {}
    runs: dict[tuple[str, int], str] = {}
    total = len(models) * len(lengths)
    chosen = {model.label: _features(bench, model, features) for model in models}
    for number, (model, length) in enumerate((m, n) for m in models for n in lengths):
        rule = length_rule(model.system, length)
        if rule is None:
            why_not[model.label, length] = _why(model, length)
            continue
        if on_step is not None:
            on_step(number, total, f"{model.label}, {length} frames")
        own = bench.with_protocol(_protocol(bench, rule))
        result, folder = own.result(model, chosen[model.label], flags=(f"windows-{length}",))
        found[model.label, length], runs[model.label, length] = result, str(folder)
    if not found:
        raise UsageError("no model takes any of these lengths: " + "; ".join(why_not.values()))
    tables = same_frames(list(found.values()))
    first = next(iter(found.values()))
    sweep = LengthSweep(
        protocol=first.protocol,
        dataset=first.dataset,
        synthetic=bench.store.synthetic,
        partial=first.partial,
        lengths=tuple(lengths),
        frames=int(tables[0]["scored"].sum()),
        frames_without_tails={length: _without_tails(bench, length) for length in lengths},
        why_not=why_not,
        runs=runs,
    )
    sweep.cells += _cells(models, found, resamples)
    if on_step is not None:
        on_step(total, total, "")
    return sweep


def _cells(
    models: Sequence[Model], results: Mapping[tuple[str, int], Result], resamples: int
) -> list[LengthCell]:
    train = {model.label: model.train_length for model in models}
    found = []
    for (label, length), result in results.items():
        trained = train[label]
        own = results.get((label, trained)) if trained is not None and trained != length else None
        for metric, measured in result.summary.items():
            found.append(
                LengthCell(
                    model=label,
                    train_length=trained,
                    test_length=length,
                    metric=metric,
                    unit=measured.unit,
                    cell=measure_cell([result], metric, reference=own, resamples=resamples),
                )
            )
    return found


def _check(models: Sequence[Model], lengths: Sequence[int]) -> None:
    labels = [model.label for model in models]
    if not models or len(set(labels)) != len(labels):
        raise UsageError(f"a sweep needs models of different names, got {', '.join(labels) or 'none'}")
    if not lengths or min(lengths) < 1 or len(set(lengths)) != len(lengths):
        raise UsageError(f"lengths are different numbers of frames from 1 on, got {list(lengths)}")


def _features(bench: Bench, model: Model, features: str | None) -> str | None:
    """The feature set that a model is evaluated on: what is kept of an evaluation holds for these features alone."""
    about = plan_evaluation(
        model.system,
        bench.protocol,
        bench.store,
        dataset=bench.dataset,
        features=features,
        root=bench.root,
        limit=bench.limit,
    )
    return None if about["features"] is None else str(about["features"])


def _why(model: Model, length: int) -> str:
    own = model.system.context.length if model.system.context is not None else "track"
    return f"{model.label} takes no windows of {length} frames; its own are of {own}"


def _protocol(bench: Bench, windows: WindowRule) -> Protocol:
    """The protocol with other windows; its hash tells them apart."""
    rule = choose_rule(bench.protocol, bench.store, bench.dataset)
    return replace(bench.protocol, rules={rule.name: replace(rule, windows=windows)})


def _without_tails(bench: Bench, length: int) -> int:
    """Scored frames under windows that follow each other, with tails dropped and short tracks skipped."""
    rule = choose_rule(bench.protocol, bench.store, bench.dataset)
    chunks = replace(rule, windows=WindowRule(length=length, stride=length))
    return int(select_rows(bench.store, chunks, limit=bench.limit).plan(chunks).scored.sum())
