"""Training recipes as tables use them: how long they go on, and overrides as texts."""

from collections.abc import Mapping, Sequence
from typing import Any

from hpsbench.training.config import TrainingRecipe


def steps_of(recipe: TrainingRecipe) -> int:
    """Optimiser steps of a recipe."""
    schedule = recipe.schedule
    steps = schedule.epochs * schedule.iterations_per_epoch
    return min(steps, recipe.max_steps or steps)


def decisive(recipe: TrainingRecipe, found: Sequence[Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """What of a recipe decides a training's outcome, as JSON values.

    Not its texts, nor overrides, which are applied by now, nor sources that are left out. `found`: those that are there; None: all.
    """
    values = recipe.model_dump(mode="json", exclude={"title", "source", "readings", "synthetic", "tiny"})
    if found is not None:
        there = {source["dataset"] for source in found}
        values["sources"] = [source for source in values["sources"] if source["dataset"] in there]
    return values


def shorter(recipe: TrainingRecipe, declared: TrainingRecipe) -> list[str]:
    """In what a recipe falls short of the schedule that it declares, in words; empty where in nothing.

    A learning rate that drops early is no shorter training: only steps count, of the system and of the networks that are trained
    before it, and the windows of a step.
    """
    found = []
    if steps_of(recipe) < steps_of(declared):
        found.append(f"{steps_of(recipe)} of {steps_of(declared)} steps")
    if recipe.schedule.batch < declared.schedule.batch:
        found.append(f"{recipe.schedule.batch} of {declared.schedule.batch} windows a step")
    for name in ("prior", "motion_vae"):
        own, wanted = getattr(recipe, name), getattr(declared, name)
        if own is not None and wanted is not None and own.steps < wanted.steps:
            found.append(f"{own.steps} of {wanted.steps} steps of the {name.replace('_', ' ')}")
    return found


def named_sources(recipe: TrainingRecipe, found: Sequence[Mapping[str, Any]]) -> str:
    """The override that names the feature set of every source that is there."""
    names = {source["dataset"]: source["features"] for source in found}
    listed = [
        {**source.model_dump(exclude_none=True), "features": names[source.dataset]}
        for source in recipe.all_sources()
        if source.dataset in names
    ]
    return f"sources={toml(listed)}"


def left_out(recipe: TrainingRecipe, found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Datasets of a recipe that are not prepared."""
    there = {source["dataset"] for source in found}
    return sorted({source.dataset for source in recipe.all_sources()} - there)


def toml(value: Any) -> str:
    """A value as `--set` reads it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f'"{key}" = {toml(item)}' for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml, value)) + "]"
    return repr(value)
