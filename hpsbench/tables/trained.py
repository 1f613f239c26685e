"""How long the trainings behind a cell went on: against what their recipes declare, and whether their curves had settled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpsbench.tables.convergence import Convergence, convergence

WITH_3DPW = "trained-with-3dpw"
"""Flag of a cell whose printed number is of a model without 3DPW in training."""
WITHOUT_3DPW = "trained-without-3dpw"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """One training.

    Attributes:
        step: id of the step that it was.
        recipe: its name.
        seed: of it.
        steps: optimiser steps that were made.
        declared: steps that the recipe declares for such a store.
        shorter: in what it falls short of its recipe, in words; empty where in nothing.
        metric: of the validation that picks its best epoch.
        convergence: of its validation curve.
        sources: datasets that it learned from.
        features: set that it read of the dataset that is tested.
        left_out: sources that were not prepared.
        without_data: losses that found nothing to be taken of.
    """

    step: str
    recipe: str
    seed: int
    steps: int
    declared: int
    shorter: tuple[str, ...]
    metric: str
    convergence: Convergence
    sources: tuple[str, ...] = ()
    features: str = ""
    left_out: tuple[str, ...] = ()
    without_data: tuple[str, ...] = ()

    @property
    def undertrained(self) -> bool:
        """Whether it is shorter than its recipe declares."""
        return bool(self.shorter)

    @property
    def label(self) -> str:
        """Recipe, corruption and seed, which tell the trainings of a table apart."""
        hurt = self.features.partition("+")[2]
        return f"{self.recipe}{f' on {hurt}' if hurt else ''} seed {self.seed}"

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "step": self.step,
            "recipe": self.recipe,
            "seed": self.seed,
            "steps": self.steps,
            "declared": self.declared,
            "undertrained": self.undertrained,
            "shorter": list(self.shorter),
            "validation_metric": self.metric,
            **self.convergence.to_json(),
            "features": self.features,
            "trained_on": list(self.sources),
            "left_out": list(self.left_out),
            "losses_without_data": list(self.without_data),
        }


def trained_of(done: Mapping[str, Any]) -> Trained:
    """What the record of a `train` step says."""
    key, steps, declared = done["key"], int(done["steps"]), int(done["declared"])
    shorter = list(done.get("shorter", ()))
    if steps < declared and not any(text.endswith(" steps") for text in shorter):
        shorter.insert(0, f"{steps} of {declared} steps")
    return Trained(
        step=str(done["id"]),
        recipe=str(key["recipe"]["name"]),
        seed=int(key["seed"]),
        steps=steps,
        declared=declared,
        shorter=tuple(shorter),
        metric=str(key["recipe"]["validation"]["metric"]),
        convergence=convergence(done.get("validation", ())),
        sources=tuple(sorted({str(source["dataset"]) for source in key.get("sources", ())})),
        features=str(key.get("features", "")),
        left_out=tuple(done.get("left_out", ())),
        without_data=tuple(done.get("without_data", ())),
    )


def all_converged(trained: Sequence[Trained]) -> bool | None:
    """Whether all curves had settled; None where one cannot be told, or nothing was trained."""
    answers = [one.convergence.converged for one in trained]
    if False in answers:
        return False
    return None if not answers or None in answers else True


def largest_change(trained: Sequence[Trained]) -> float | None:
    """The change of a validation curve in its last fifth that is furthest from 0, per cent; None where none is known."""
    changes = [one.convergence.change for one in trained if one.convergence.change is not None]
    return max(changes, key=abs, default=None)


def training_flags(printed_with_3dpw: str, trained: Sequence[Trained]) -> tuple[str, ...]:
    """In what the data behind a cell differ from its recipe's, or from those of the printed number.

    Args:
        printed_with_3dpw: whether the printed number is of a model trained with 3DPW: `yes`, `no`, `unknown` or `na`.
        trained: the trainings behind the cell.
    """
    found = [f"trained-without-{dataset}" for dataset in sorted({d for one in trained for d in one.left_out})]
    with_it = any("3dpw" in one.sources for one in trained)
    if trained and with_it and printed_with_3dpw == "no":
        found.append(WITH_3DPW)
    if trained and not with_it and printed_with_3dpw == "yes" and "trained-without-3dpw" not in found:
        found.append(WITHOUT_3DPW)
    return tuple(found)
