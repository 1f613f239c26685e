"""From a table's fills to the steps that fill its cells: which there are, which are done, how long the rest takes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hpsbench import __version__
from hpsbench.corruption._catalog import get_corruption
from hpsbench.corruption._plan import Condition
from hpsbench.errors import (
    HpsbenchError,
    MissingCheckpoint,
    MissingData,
    MissingFeatures,
    MissingStore,
    UsageError,
)
from hpsbench.features.backbones import choose_extractor, file_sha256
from hpsbench.features.flow import KIND as FLOW
from hpsbench.models._catalog import EMBEDDED, find_checkpoint, read_card
from hpsbench.protocols.catalog import get_protocol
from hpsbench.protocols.protocol import Protocol, Rule
from hpsbench.store.reader import ClipStore, open_store
from hpsbench.tables.cells import (
    RESULT_NAMES,
    Cell,
    control_cells,
    fill_of,
    from_condition,
    matches,
    table_cells,
)
from hpsbench.tables.schema import Fill, Match, Table
from hpsbench.tables.steps import Record, Step
from hpsbench.training.config import (
    TrainingRecipe,
    get_training_recipe,
    list_training_recipes,
    parse_set,
)

FLOW_EXTRACTOR = "flow-dis"
LEFT_OUT = "left out by --only"
CORRUPTION_SEED = 0
"""All seeds of a table see the same hit frames: what differs between them is the training alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a table is reproduced.

    Attributes:
        seeds: trainings of every system.
        tiny: apply the recipes' `[tiny]` overrides: shows that everything runs, and no more.
        sets: `key=value` texts for every training recipe; fewer steps than declared mark a cell.
        only: cells that do not match are left out.
        device: auto, cpu or cuda[:N].
        workers: threads or processes for the steps that can use them.
        recipes: folder with further recipes.
        only_prepared: leave out sources of training recipes that are not prepared; their cells say so.
        command: to be written down with the outcome.
    """

    seeds: int = 1
    tiny: bool = False
    sets: tuple[str, ...] = ()
    only: Match | None = None
    device: str = "auto"
    workers: int = 1
    recipes: Path | None = None
    only_prepared: bool = False
    command: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellPlan:
    """How one cell is filled: by evaluations (one a seed), or not, and why."""

    cell: Cell
    fill: Fill
    evaluations: tuple[str, ...] = ()
    why_not: str | None = None


@dataclass(frozen=True, kw_only=True)
class TablePlan:
    """All of a table.

    Attributes:
        table: the facts.
        synthetic: whether the stores at hand are synthetic; None where there is none.
        cells: the paper's, then the controls.
        steps: by id, in an order in which they can run.
        record: of what was done.
    """

    table: Table
    synthetic: bool | None
    cells: tuple[CellPlan, ...]
    steps: Mapping[str, Step]
    record: Record
    is_done: Callable[[Step], bool]

    def to_json(self) -> dict[str, Any]:
        """For JSON: what would be run."""
        rows = []
        for step in self.steps.values():
            seconds, runs = self.record.estimate(step)
            done = self.is_done(step)
            rows.append(
                {
                    "id": step.id,
                    "kind": step.kind,
                    "label": step.label,
                    "exists": done,
                    "units": step.units,
                    "seconds": 0.0 if done else round(seconds, 1),
                    "estimated_from": runs,
                    "needs": list(step.needs),
                }
            )
        missing: dict[str, int] = {}
        for plan in self.cells:
            if plan.why_not is not None:
                missing[plan.why_not] = missing.get(plan.why_not, 0) + 1
        return {
            "table": self.table.id,
            "synthetic": self.synthetic,
            "plan": rows,
            "exist": len([row for row in rows if row["exists"]]),
            "seconds": round(sum(float(str(row["seconds"])) for row in rows), 1),
            "cells": len(self.cells),
            "cannot": [{"why_not": why, "cells": number} for why, number in missing.items()],
        }


def plan_table(table: Table, root: Path, options: Options) -> TablePlan:
    """The steps that fill a table on the stores under a root; touches nothing.

    Raises:
        UsageError: the table's file does not say what fills one of its cells.
    """
    planner = _Planner(table, root, options)
    cells = table_cells(table)
    wanted = [(cell, fill_of(table, cell)) for cell in cells] + control_cells(table, cells)
    planned = tuple(planner.cell(cell, fill) for cell, fill in wanted)
    return TablePlan(
        table=table,
        synthetic=planner.synthetic,
        cells=planned,
        steps=planner.steps,
        record=planner.record,
        is_done=planner.is_done,
    )


class _Planner:
    """Collects steps; each is made once however many cells need it."""

    def __init__(self, table: Table, root: Path, options: Options) -> None:
        self.table, self.root, self.options = table, root, options
        self.record = Record(root)
        self.steps: dict[str, Step] = {}
        self.synthetic: bool | None = None
        self.store = cache(self._open)
        self.recipe = cache(self._recipe)
        self.declared = cache(self._declared)
        self.feature_names = cache(lambda dataset: frozenset(open_store(self._path(dataset)).features))

    def cell(self, cell: Cell, fill: Fill) -> CellPlan:
        """How a cell is filled."""
        why = fill.why_not
        if why is None and self.options.only is not None and not matches(cell, self.options.only):
            why = LEFT_OUT
        if why is not None or not (fill.train or fill.system):
            return CellPlan(cell=cell, fill=fill, why_not=why)
        begun = dict(self.steps)
        try:
            evaluations = tuple(self._evaluation(cell, fill, seed) for seed in self._seeds(fill))
        except HpsbenchError as problem:
            self.steps = begun
            return CellPlan(cell=cell, fill=fill, why_not=str(problem))
        return CellPlan(cell=cell, fill=fill, evaluations=evaluations)

    def is_done(self, step: Step) -> bool:
        """Whether a step's outcome is there."""
        if step.kind in ("extract", "corrupt"):
            return step.key["features"] in self.feature_names(step.key["dataset"])
        return self.record.read(step) is not None

    def _seeds(self, fill: Fill) -> Sequence[int]:
        return range(self.options.seeds) if fill.train else (0,)

    def _evaluation(self, cell: Cell, fill: Fill, seed: int) -> str:
        protocol = get_protocol(fill.protocol or self.table.protocol, self.options.recipes)
        rule = self._rule(protocol, fill.dataset or cell.dataset, cell.metric)
        store = self.store(rule.dataset)
        hurt = self._condition(cell, fill)
        features, needs = self._features(store, rule.view, fill.extractor, hurt)
        key: dict[str, Any] = {
            "dataset": rule.dataset,
            "setting": rule.name,
            "protocol": protocol.id,
            "protocol_sha256": protocol.sha256,
            "features": features,
            "smooth": fill.smooth,
            **_origin(store),
        }
        if fill.train:
            name, sets = self._recipe_key(cell, fill, protocol, rule)
            recipe = self.recipe(name, sets)
            trained = self._training(
                name, sets, fill.extractor, None if fill.trained_on == "clean" else hurt, seed
            )
            needs = (*needs, *self._flow(store, rule.view, recipe))
            options = {name: from_condition(value, cell) for name, value in fill.options.items()}
            key |= {"checkpoint": trained, "system": recipe.system, "options": options}
            needs, label = (*needs, trained), f"{fill.train}, seed {seed}"
        else:
            key |= {"system": fill.system, "options": {}, **self._checkpoint(str(fill.system))}
            label = str(fill.system)
        smooth = f", median of {fill.smooth} frames" if fill.smooth else ""
        return self._add(
            Step(
                kind="evaluate",
                key=key,
                label=f"evaluate {label}{smooth} on {features} under {protocol.id} ({rule.name})",
                units=_rows(store, rule.splits),
                needs=needs,
                what={"seed": seed if fill.train else None},
            )
        )

    def _rule(self, protocol: Protocol, dataset: str, metric: str) -> Rule:
        rule = protocol.rule(dataset)
        names = [measure.name for measure in rule.metrics]
        if RESULT_NAMES.get(metric) not in names:
            raise UsageError(
                f"{protocol.id} measures no {RESULT_NAMES.get(metric, metric)} on {dataset}, only {', '.join(names)}"
            )
        return rule

    def _condition(self, cell: Cell, fill: Fill) -> Condition | None:
        """The corruption of a cell; None where it is clean."""
        hurt = fill.corruption
        if hurt is None:
            return None
        ratio = float(from_condition(hurt.ratio, cell))
        if ratio == 0:
            return None
        mode = get_corruption(str(from_condition(hurt.mode, cell))).name
        consecutive = int(from_condition(hurt.consecutive, cell))
        return Condition(mode=mode, ratio=ratio, consecutive=consecutive, seed=CORRUPTION_SEED)

    def _features(
        self, store: ClipStore, view: str, named: str | None, hurt: Condition | None
    ) -> tuple[str, tuple[str, ...]]:
        """Name of a feature set, and the steps that make it."""
        if named is not None and f"{named}-{view}" not in store.features:
            raise MissingFeatures(
                f"needs a feature set '{named}-{view}' of the {store.dataset} store, which hpsbench cannot compute: "
                f"import one under that name ('hpsbench import') and the row is measured"
            )
        extractor = named or choose_extractor(self.root, synthetic=store.synthetic)
        if extractor is None:
            raise MissingFeatures(
                f"no image features of {store.dataset}: put SPIN's model_checkpoint.pt under R/checkpoints/spin"
            )
        clean = f"{extractor}-{view}"
        common = {"dataset": store.dataset, "view": view, "extractor": extractor, **_origin(store)}
        needs: tuple[str, ...] = ()
        if clean not in store.features:
            step = Step(
                kind="extract",
                key={**common, "features": clean},
                label=f"extract {clean} of {store.dataset}",
                units=len(store),
            )
            needs = (self._add(step),)
        if hurt is None:
            return clean, needs
        name = f"{clean}+{hurt.name}"
        step = Step(
            kind="corrupt",
            key={**common, "features": name, "corruption": hurt.as_dict()},
            label=f"corrupt {name} of {store.dataset}",
            units=max(1, round(hurt.ratio * len(store))),
            needs=needs,
        )
        return name, (self._add(step),)

    def _training(
        self, name: str, sets: tuple[str, ...], extractor: str | None, hurt: Condition | None, seed: int
    ) -> str:
        """The step that trains a recipe, after those that make what it reads: features, and what it starts from."""
        recipe = self.recipe(name, sets)
        store = self.store(recipe.data.dataset)
        features, needs = self._features(store, recipe.data.view, extractor, hurt)
        sources = []
        for source in recipe.all_sources():
            own = source.dataset == recipe.data.dataset
            try:
                there = self.store(source.dataset)
                # Only the dataset that is tested is corrupted in training too; what is added to it stays clean.
                read, first = self._features(there, str(source.view), extractor, hurt if own else None)
            except MissingData:
                if not (recipe.data.only_prepared or self.options.only_prepared):
                    raise
                continue
            needs = (*needs, *first, *self._flow(there, str(source.view), recipe))
            sources.append({"dataset": source.dataset, "features": read, **_origin(there)})
        left_out = _left_out(recipe, sources)
        if hurt is not None and recipe.sources:
            sets = (*sets, _named_sources(recipe, sources))
            recipe = self.recipe(name, sets)
        if not sources:
            raise MissingStore(f"training recipe {name!r}: none of its sources is prepared under {self.root}")
        motions = self._motions(recipe)
        start = recipe.init.get("checkpoint")
        if start in list_training_recipes(self.options.recipes):
            changed = [text for text in sets if text.startswith(("data.view=", "validation.protocol="))]
            begun = self._training(str(start), (*changed, *self.options.sets), extractor, hurt, seed)
            needs = (*needs, begun)
        return self._add(
            Step(
                kind="train",
                key={
                    "recipe": recipe.model_dump(mode="json"),
                    "system": recipe.system,
                    "features": features,
                    "sources": sources,
                    "motions": motions,
                    "start": needs[-1] if start else None,
                    "seed": seed,
                    "hpsbench": __version__,
                    **_origin(store),
                },
                label=f"train {name} on {features}, seed {seed}",
                units=_steps(recipe),
                needs=tuple(dict.fromkeys(needs)),
                what={
                    "name": name,
                    "sets": sets,
                    "declared": self.declared(name),
                    "left_out": left_out,
                },
            )
        )

    def _flow(self, store: ClipStore, view: str, recipe: TrainingRecipe) -> tuple[str, ...]:
        """The step that makes optical-flow features, for a system that reads them where there are none."""
        reads = "flow" in read_card(recipe.system).get("inputs", {}) and recipe.options.get("flow", True)
        if not reads or any(
            s.attrs.get("kind") == FLOW and s.attrs["view"] == view for s in store.features.values()
        ):
            return ()
        name = f"{FLOW_EXTRACTOR}-{view}"
        key = {"dataset": store.dataset, "view": view, "extractor": FLOW_EXTRACTOR, "features": name}
        step = Step(
            kind="extract",
            key={**key, **_origin(store)},
            label=f"extract {name} of {store.dataset}",
            units=len(store),
        )
        return (self._add(step),)

    def _motions(self, recipe: TrainingRecipe) -> dict[str, Any] | None:
        """What identifies the captured motions that a recipe's discriminator or motion prior learns from."""
        weights = recipe.weights()
        for table, term in ((recipe.adversary, "adversarial"), (recipe.prior, "motion_prior")):
            if table is not None and term in weights:
                return _origin(self.store(table.motions.dataset))
        return None

    def _recipe_key(
        self, cell: Cell, fill: Fill, protocol: Protocol, rule: Rule
    ) -> tuple[str, tuple[str, ...]]:
        """Name of a recipe, and what is changed in it: trained and validated on crops like those of its evaluation."""
        name = str(from_condition(fill.train, cell))
        own = {key: from_condition(value, cell) for key, value in fill.set.items()}
        changes = {"data.view": rule.view, "validation.protocol": protocol.name, **own}
        return name, (*(f"{key}={_toml(value)}" for key, value in changes.items()), *self.options.sets)

    def _declared(self, name: str) -> int:
        """Steps that a recipe declares for such a store, whatever the user changed."""
        return _steps(self._recipe(name, (), tiny=False))

    def _recipe(self, name: str, sets: tuple[str, ...], tiny: bool | None = None) -> TrainingRecipe:
        """A recipe as it will be trained on the store at hand; the order of overrides is that of `train`."""
        typed = dict(map(parse_set, sets))
        recipe = get_training_recipe(name, overrides=typed, extra=self.options.recipes)
        synthetic = self.store(recipe.data.dataset).synthetic
        small = self.options.tiny if tiny is None else tiny
        declared = {**(recipe.synthetic if synthetic else {}), **(recipe.tiny if small else {})}
        return get_training_recipe(name, overrides={**declared, **typed}, extra=self.options.recipes)

    def _checkpoint(self, system: str) -> dict[str, Any]:
        """What identifies the weights of a system that is not trained here."""
        place = EMBEDDED[system] if self.synthetic and system in EMBEDDED else system
        path = find_checkpoint(place, self.root)
        if path is None:
            raise MissingCheckpoint(
                f"no checkpoint of {system!r} under R/checkpoints; 'hpsbench evaluate --model {system}' says what to fetch"
            )
        return {"checkpoint": place, "checkpoint_sha256": file_sha256(path)}

    def _open(self, dataset: str) -> ClipStore:
        store = open_store(self._path(dataset))
        if self.synthetic is not None and store.synthetic != self.synthetic:
            raise UsageError(
                f"the stores under {self.root} are partly synthetic and partly real: use one kind for a table"
            )
        self.synthetic = store.synthetic
        return store

    def _path(self, dataset: str) -> Path:
        return self.root / "stores" / f"{dataset}.zarr"

    def _add(self, step: Step) -> str:
        self.steps.setdefault(step.id, step)
        return step.id


def _named_sources(recipe: TrainingRecipe, found: Sequence[Mapping[str, Any]]) -> str:
    """The override that names the feature set of every source that is there."""
    names = {source["dataset"]: source["features"] for source in found}
    listed = [
        {**source.model_dump(exclude_none=True), "features": names[source.dataset]}
        for source in recipe.all_sources()
        if source.dataset in names
    ]
    return f"sources={_toml(listed)}"


def _left_out(recipe: TrainingRecipe, sources: Sequence[Mapping[str, Any]]) -> list[str]:
    """Datasets of a recipe that are not prepared."""
    there = {source["dataset"] for source in sources}
    return sorted({source.dataset for source in recipe.all_sources()} - there)


def _origin(store: ClipStore) -> dict[str, Any]:
    return {key: store.attrs.get(key) for key in ("raw_manifest_sha256", "recipe_sha256")}


def _rows(store: ClipStore, splits: Sequence[str]) -> int:
    clips = store.clips
    return int(clips.loc[clips["split"].isin(list(splits)), "length"].sum())


def _steps(recipe: TrainingRecipe) -> int:
    """Optimiser steps of a recipe."""
    schedule = recipe.schedule
    steps = schedule.epochs * schedule.iterations_per_epoch
    return min(steps, recipe.max_steps or steps)


def _toml(value: Any) -> str:
    """A value as `--set` reads it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {_toml(item)}' for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return repr(value)
