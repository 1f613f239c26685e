"""How long the trainings behind a cell went on: against what their recipes declare, and whether their curves had settled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpsbench.tables.convergence import Convergence, convergence


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
    left_out: tuple[str, ...] = ()
    without_data: tuple[str, ...] = ()

    @property
    def undertrained(self) -> bool:
        """Whether it is shorter than its recipe declares."""
        return bool(self.shorter)

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
