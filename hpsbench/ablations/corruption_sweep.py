"""Systems under corruptions: every mode at every severity, with errors on corrupted, neighbouring and clean frames apart."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hpsbench.ablations.cells import GROUPS, Cell, measure_cell, same_frames
from hpsbench.ablations.corruption_error import CorruptionError, corruption_error
from hpsbench.ablations.evaluations import Bench, Model
from hpsbench.corruption._catalog import get_corruption, list_corruptions
from hpsbench.corruption._plan import Condition, choose_condition
from hpsbench.corruption._record import FIRST_VERSION
from hpsbench.errors import UsageError
from hpsbench.evaluation.compare import better_direction
from hpsbench.evaluation.plan import plan_evaluation
from hpsbench.evaluation.provenance import renderer
from hpsbench.evaluation.rows import choose_rule
from hpsbench.evaluation.statistics import RESAMPLES
from hpsbench.pipeline.corrupt import corrupt
from hpsbench.results.result import Result

SEVERITIES = (1, 2, 3, 4, 5)
ALL = "all"

OnStep = Callable[[int, int, str], None]
"""Progress: (steps done, steps in all, what comes next)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Which corruptions.

    Attributes:
        modes: names of corruptions, or "all".
        severities: of 1 to 5.
        seeds: of the corruption; the numbers are over all of them.
        ratio, consecutive: instead of the levels', for graded corruptions.
        workers: threads for images.
    """

    modes: tuple[str, ...] = ("center", "random")
    severities: tuple[int, ...] = SEVERITIES
    seeds: tuple[int, ...] = (0,)
    ratio: float | None = None
    consecutive: int | None = None
    workers: int = 1

    def conditions(self) -> dict[tuple[str, int], list[Condition]]:
        """(mode, severity) -> one condition per seed.

        Raises:
            UnknownName, UsageError: no such corruption or severity, the same one twice, or a ratio that none takes.
        """
        names = list_corruptions() if ALL in self.modes else self.modes
        chosen = [get_corruption(name) for name in names]
        if (self.ratio, self.consecutive) != (None, None) and not any(c.graded for c in chosen):
            raise UsageError(
                f"ratio and consecutive are for graded corruptions; the severities of {', '.join(c.name for c in chosen)} are "
                "ratios and bursts themselves: choose severities"
            )
        found: dict[tuple[str, int], list[Condition]] = {}
        for corruption in chosen:
            own = {"ratio": self.ratio, "consecutive": self.consecutive} if corruption.graded else {}
            for severity in sorted(set(self.severities)):
                key = (corruption.name, severity)
                if key in found:
                    raise UsageError(f"corruption {corruption.name!r} is named twice")
                found[key] = [
                    choose_condition(corruption, severity=severity, seed=seed, **own)  # type: ignore[arg-type]
                    for seed in dict.fromkeys(self.seeds)
                ]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepCell:
    """One number of the sweep: a `Cell` and what it is of.

    Attributes:
        model: its label.
        mode, severity: of the corruption; "clean" and 0.
        condition: names of the conditions, one per seed.
        metric, unit: as in the results.
        frames: which, one of `cells.GROUPS`.
        cell: the number; its change is from the same model on clean input.
    """

    model: str
    mode: str
    severity: int
    condition: tuple[str, ...]
    metric: str
    unit: str
    frames: str
    cell: Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepError:
    """Mean corruption error of a model for one metric.

    Attributes:
        mode: one corruption, or "mean" over all.
        absolute, relative: against the baseline (`corruption_error`).
    """

    model: str
    mode: str
    metric: str
    absolute: CorruptionError
    relative: CorruptionError


@dataclass(slots=True, kw_only=True)
class CorruptionSweep:
    """What was measured.

    Attributes:
        protocol, dataset, synthetic, partial: of all results.
        baseline: label of the model that errors are relative to.
        models: their labels.
        cells, errors: the numbers.
        runs: folders of the results behind them: (model, mode, severity) -> one per seed.
        versions: of the corruptions, by mode.
        renderer: what drew the images of synthetic data; None for real ones.
    """

    protocol: str
    dataset: str
    synthetic: bool
    partial: bool
    baseline: str
    models: tuple[str, ...]
    versions: Mapping[str, int] = field(default_factory=dict)
    renderer: Mapping[str, Any] | None = None
    cells: list[SweepCell] = field(default_factory=list)
    errors: list[SweepError] = field(default_factory=list)
    runs: dict[tuple[str, str, int], tuple[str, ...]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        cells = [{**asdict(cell), **asdict(cell.cell)} for cell in self.cells]
        for cell in cells:
            del cell["cell"]
        runs = [
            {"model": model, "mode": mode, "severity": severity, "folders": list(folders)}
            for (model, mode, severity), folders in self.runs.items()
        ]
        about = {
            name: getattr(self, name) for name in ("protocol", "dataset", "synthetic", "partial", "baseline")
        }
        return {
            "sweep": "corruption",
            "corruption_versions": dict(self.versions),
            "renderer": None if self.renderer is None else dict(self.renderer),
            **about,
            "models": list(self.models),
            "cells": cells,
            "errors": [asdict(error) for error in self.errors],
            "runs": runs,
        }


def plan_corruption_sweep(bench: Bench, models: Sequence[Model], settings: Settings) -> dict[str, Any]:
    """What a sweep would do, touching nothing: conditions, feature sets that are there and missing, evaluations.

    Raises:
        UnknownName, UsageError, MissingFeatures, FeatureMismatch: as for `sweep_corruption`.
    """
    conditions = [c for group in settings.conditions().values() for c in group]
    clean = _clean_sets(bench, models)
    wanted = {(name, c) for names in clean.values() for name in names for c in conditions}
    there = {f"{name}+{c.name}" for name, c in wanted if _made(bench, name, c)}
    pairs = [
        (m, s)
        for m in models
        for s in (clean[m.label][0], *(f"{clean[m.label][0]}+{c.name}" for c in conditions))
    ]
    known = [(m, s) for m, s in pairs if _covers(bench, s) and bench.known(m, s)]
    return {
        "protocol": bench.protocol.id,
        "store": bench.store.location,
        "models": [m.label for m in models],
        "conditions": sorted({c.name for c in conditions}),
        "feature_sets_there": sorted(there),
        "feature_sets_to_make": sorted({f"{name}+{c.name}" for name, c in wanted} - there),
        "evaluations": len(pairs),
        "evaluations_there": len(known),
    }


def sweep_corruption(
    bench: Bench,
    models: Sequence[Model],
    settings: Settings,
    *,
    baseline: str | None = None,
    resamples: int = RESAMPLES,
    on_step: OnStep | None = None,
) -> CorruptionSweep:
    """Measure models on clean input and under every condition; what is there already is read, so it resumes.

    Feature sets are made once per extractor and shared by all models.

    Args:
        bench: store, protocol, root.
        models: with different labels.
        settings: which corruptions.
        baseline: label of the model that corruption errors are relative to; None: the first.
        resamples: of the bootstrap.
        on_step: told of progress.

    Raises:
        UsageError: no models, equal labels, a baseline that is none of them, or a model that reads no features.
        UnknownName: no such corruption.
        MissingFeatures, FeatureMismatch, MissingRawFiles: as for `corrupt` and `evaluate`.
        BadData: results that are of other frames.
    """
    labels = [model.label for model in models]
    if not models or len(set(labels)) != len(labels):
        raise UsageError(f"a sweep needs models of different names, got {', '.join(labels) or 'none'}")
    chosen = labels[0] if baseline is None else baseline
    if chosen not in labels:
        raise UsageError(f"baseline {chosen!r} is none of the models ({', '.join(labels)})")
    conditions, clean = settings.conditions(), _clean_sets(bench, models)
    results = _measure(bench, models, settings, conditions, clean, on_step)
    same_frames([result for group in results.values() for result, _ in group])
    first = results[labels[0], "clean", 0][0][0]
    sweep = CorruptionSweep(
        protocol=first.protocol,
        dataset=first.dataset,
        synthetic=bench.store.synthetic,
        partial=first.partial,
        baseline=chosen,
        models=tuple(labels),
        versions={mode: get_corruption(mode).version for mode, _ in conditions},
        renderer=renderer(bench.store),
        runs={key: tuple(str(folder) for _, folder in group) for key, group in results.items()},
    )
    plain = {key: [result for result, _ in group] for key, group in results.items()}
    named = {key: tuple(c.name for c in group) for key, group in conditions.items()}
    sweep.cells += _cells(plain, named, resamples)
    sweep.errors += _errors(plain, labels, chosen, sorted({mode for mode, _ in conditions}), resamples)
    return sweep


Measured = dict[tuple[str, str, int], list[tuple[Result, Path]]]
Plain = Mapping[tuple[str, str, int], list[Result]]


def _clean_sets(bench: Bench, models: Sequence[Model]) -> dict[str, tuple[str, ...]]:
    """Label -> the clean feature sets that the model reads: of images, then of optical flow where it reads that too."""
    found: dict[str, tuple[str, ...]] = {}
    for model in models:
        about = plan_evaluation(
            model.system,
            bench.protocol,
            bench.store,
            dataset=bench.dataset,
            root=bench.root,
            limit=bench.limit,
        )
        if about["features"] is None:
            raise UsageError(
                f"{model.label}: it reads no features, so corruptions of features do not reach it; leave it out of the sweep"
            )
        flow = about.get("inputs", {}).get("flow")
        found[model.label] = (str(about["features"]), *([] if flow is None else [str(flow["features"])]))
    return found


def _covers(bench: Bench, name: str) -> bool:
    """Whether a feature set is there for the protocol's splits."""
    rule = choose_rule(bench.protocol, bench.store, bench.dataset)
    return set(rule.splits) <= set(bench.attributes(name).get("splits") or [])


def _made(bench: Bench, clean: str, condition: Condition) -> bool:
    """Whether the corrupted set is there, by the corruption's present version and from the weights of the clean set."""
    name = f"{clean}+{condition.name}"
    if not _covers(bench, name):
        return False
    attrs, now = bench.attributes(name), get_corruption(condition.mode).version
    record = attrs.get("corruption")
    version = record.get("version", FIRST_VERSION) if isinstance(record, Mapping) else now
    same_weights = attrs.get("weights_sha256") == bench.attributes(clean).get("weights_sha256")
    return same_weights and version == now


def _measure(
    bench: Bench,
    models: Sequence[Model],
    settings: Settings,
    conditions: Mapping[tuple[str, int], list[Condition]],
    clean: Mapping[str, tuple[str, ...]],
    on_step: OnStep | None,
) -> Measured:
    sets = sorted({name for names in clean.values() for name in names})
    total = sum(map(len, conditions.values())) * (len(sets) + len(models)) + len(models)
    done = 0

    def tell(what: str) -> None:
        nonlocal done
        if on_step is not None:
            on_step(done, total, what)
        done += 1

    results: Measured = {}
    for model in models:
        tell(f"{model.label}, clean")
        results[model.label, "clean", 0] = [bench.result(model, clean[model.label][0])]
    for (mode, severity), group in conditions.items():
        for condition in group:
            for name in sets:
                tell(f"features {condition.name}")
                _make(bench, name, condition, settings.workers)
        for model in models:
            own = []
            for condition in group:
                tell(f"{model.label}, {condition.name}")
                own.append(bench.result(model, f"{clean[model.label][0]}+{condition.name}"))
            results[model.label, mode, severity] = own
    if on_step is not None:
        on_step(total, total, "")
    return results


def _make(bench: Bench, clean: str, condition: Condition, workers: int) -> None:
    if _made(bench, clean, condition):
        return
    attrs = bench.attributes(clean)
    corrupt(
        bench.store.path,
        bench.root,
        mode=condition.mode,
        ratio=condition.ratio,
        consecutive=condition.consecutive,
        severity=condition.severity,
        seed=condition.seed,
        splits=choose_rule(bench.protocol, bench.store, bench.dataset).splits,
        view=str(attrs["view"]),
        extractor=str(attrs["extractor"]),
        device=bench.device or "auto",
        workers=workers,
    )


def _cells(
    results: Plain, conditions: Mapping[tuple[str, int], tuple[str, ...]], resamples: int
) -> list[SweepCell]:
    found = []
    for (label, mode, severity), group in results.items():
        reference = results[label, "clean", 0][0]
        for metric, measured in reference.summary.items():
            for frames in GROUPS if severity else GROUPS[:1]:
                cell = measure_cell(
                    group, metric, frames, reference if severity else None, resamples=resamples
                )
                found.append(
                    SweepCell(
                        model=label,
                        mode=mode,
                        severity=severity,
                        condition=conditions.get((mode, severity), ()),
                        metric=metric,
                        unit=measured.unit,
                        frames=frames,
                        cell=cell,
                    )
                )
    return found


def _errors(
    results: Plain, labels: Sequence[str], baseline: str, modes: Sequence[str], resamples: int
) -> list[SweepError]:
    found = []
    metrics = [
        m for m in results[baseline, "clean", 0][0].summary if better_direction(m) == "lower"
    ]  # ratios of errors; the size of a motion is none, and percentages that should be high are none
    for label in labels:
        for metric in metrics:
            if metric not in results[label, "clean", 0][0].summary:
                continue
            for mode in [*modes, "mean"]:
                wanted = modes if mode == "mean" else [mode]
                own, other = (_of(results, who, wanted) for who in (label, baseline))
                clean = results[label, "clean", 0][0], results[baseline, "clean", 0][0]
                absolute = corruption_error(own, other, metric, resamples=resamples)
                relative = corruption_error(own, other, metric, clean=clean, resamples=resamples)
                found.append(
                    SweepError(model=label, mode=mode, metric=metric, absolute=absolute, relative=relative)
                )
    return found


def _of(results: Plain, label: str, modes: Sequence[str]) -> dict[str, list[Result]]:
    """Mode -> all results of a model under it, severities in order."""
    return {
        mode: [
            result
            for (who, what, severity), group in sorted(results.items(), key=lambda item: item[0])
            if who == label and what == mode and severity
            for result in group
        ]
        for mode in modes
    }
