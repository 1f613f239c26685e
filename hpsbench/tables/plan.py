"""From a table's fills to the steps that fill its cells: which there are, which are done, how long the rest takes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hpsbench import __version__
from hpsbench.corruption._catalog import get_corruption
from hpsbench.corruption._plan import Condition
from hpsbench.errors import (
    HpsbenchError,
    IncompleteStore,
    MissingCheckpoint,
    MissingData,
    MissingStore,
    UsageError,
)
from hpsbench.features.backbones import file_sha256
from hpsbench.features.flow import TWIN
from hpsbench.models._catalog import EMBEDDED, find_checkpoint
from hpsbench.protocols.catalog import get_protocol
from hpsbench.protocols.protocol import Protocol, Rule
from hpsbench.store.reader import open_store
from hpsbench.tables.absent import AbsentStore, absent_store, stores_under
from hpsbench.tables.cells import (
    RESULT_NAMES,
    Cell,
    control_cells,
    fill_of,
    from_condition,
    matches,
    need_some,
    table_cells,
)
from hpsbench.tables.inputs import (
    Inputs,
    Read,
    Stock,
    about_store,
    rows_of_splits,
    set_is_made,
    target_is_made,
)
from hpsbench.tables.planned import CellPlan, TablePlan
from hpsbench.tables.recipes import decisive, left_out, named_sources, shorter, steps_of, toml
from hpsbench.tables.schema import Fill, Match, Table
from hpsbench.tables.steps import Record, Step
from hpsbench.training.config import (
    Source,
    TrainingRecipe,
    get_training_recipe,
    list_training_recipes,
    parse_set,
)
from hpsbench.training.job import reads_flow

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


def plan_table(table: Table, root: Path, options: Options, *, assume: bool = False) -> TablePlan:
    """The steps that fill a table on the stores under a root; touches nothing.

    Args:
        table: the facts.
        root: data root.
        options: how it is reproduced.
        assume: go on as if stores that are missing were there, to show what will be needed; else cells that need one say so.

    Raises:
        UsageError: the table's file does not say what fills one of its cells, `only` chooses none, or no recipe of the
            table takes `sets`.
    """
    planner = _Planner(table, root, options, assume)
    cells = table_cells(table)
    wanted = [(cell, fill_of(table, cell)) for cell in cells] + control_cells(table, cells)
    if options.only is not None:
        need_some(table.id, [cell for cell, _ in wanted], options.only)
    planned = tuple(planner.cell(cell, fill) for cell, fill in wanted)
    planner.check_sets()
    return TablePlan(
        table=table,
        synthetic=planner.synthetic,
        cells=planned,
        steps=planner.steps,
        record=planner.record,
        is_done=planner.is_done,
        missing=tuple(planner.absent[dataset] for dataset in sorted(planner.absent)),
    )


def told(problem: HpsbenchError, root: Path) -> str:
    """What went wrong, as a page that others read may say it: the data root is `R`."""
    return str(problem).replace(f"{root}/", "R/") if root.is_absolute() else str(problem)


class _Planner:
    """Collects steps; each is made once however many cells need it."""

    def __init__(self, table: Table, root: Path, options: Options, assume: bool) -> None:
        self.table, self.root, self.options = table, root, options
        self.record = Record(root)
        self.steps: dict[str, Step] = {}
        self.synthetic: bool | None = None
        self.assume, self.nothing = assume, not stores_under(root)
        self.absent: dict[str, AbsentStore] = {}
        self.store = cache(self._open)
        self.recipe = cache(self._recipe)
        self.protocol = cache(lambda name: get_protocol(name, options.recipes))
        self.training = cache(self._training)
        self.streams: dict[tuple[str, bool], bool] = {}
        self.evaluations: dict[tuple[Any, ...], str] = {}
        self.inputs = Inputs(root, self.store, self._add, options.recipes)
        self.problems: list[HpsbenchError] = []

    def check_sets(self) -> None:
        """Refuse overrides that no training recipe of the table takes.

        Raises:
            UsageError: that of the first recipe.
        """
        if self.options.sets and not self.steps:
            for problem in self.problems:
                if isinstance(problem, UsageError):
                    raise problem

    def cell(self, cell: Cell, fill: Fill) -> CellPlan:
        """How a cell is filled."""
        why = fill.why_not
        if self.options.only is not None and not matches(cell, self.options.only):
            why = LEFT_OUT
        if why is not None or not (fill.train or fill.system):
            return CellPlan(cell=cell, fill=fill, why_not=why)
        begun = dict(self.steps)
        try:
            evaluations = tuple(self._once(cell, fill, seed) for seed in self._seeds(fill))
        except HpsbenchError as problem:
            self.steps = begun
            self.problems.append(problem)
            return CellPlan(cell=cell, fill=fill, why_not=told(problem, self.root))
        return CellPlan(cell=cell, fill=fill, evaluations=evaluations)

    def is_done(self, step: Step) -> bool:
        """Whether a step's outcome is there."""
        if step.kind in ("raw", "prepare") or step.key.get("dataset") in self.absent:
            return False
        if step.kind in ("extract", "corrupt"):
            return set_is_made(open_store(self._path(step.key["dataset"])), step)
        if step.kind == "targets":
            return target_is_made(self.root, step)
        if step.kind == "flow-encoder":
            return (self.root / TWIN).is_file()
        return self.record.read(step) is not None

    def _seeds(self, fill: Fill) -> Sequence[int]:
        return range(self.options.seeds) if fill.train else (0,)

    def _once(self, cell: Cell, fill: Fill, seed: int) -> str:
        """The evaluation that fills a cell; cells that differ in the metric alone have one."""
        protocol = self.protocol(fill.protocol or self.table.protocol)
        rule = self._rule(protocol, fill.dataset or cell.dataset, cell.metric)
        key = (id(fill), protocol.id, rule.name, json.dumps(dict(cell.condition), sort_keys=True), seed)
        if key not in self.evaluations:
            self.evaluations[key] = self._evaluation(cell, fill, seed, protocol, rule)
        return self.evaluations[key]

    def _evaluation(self, cell: Cell, fill: Fill, seed: int, protocol: Protocol, rule: Rule) -> str:
        store = self.store(rule.dataset)
        hurt = self._hurt(cell, fill)
        read = self.inputs.features(store, rule.view, fill.extractor, hurt)
        needs = read.needs
        key: dict[str, Any] = {
            "setting": rule.name,
            "protocol": protocol.id,
            "protocol_sha256": protocol.sha256,
            **read.identity,
            "smooth": fill.smooth,
            **about_store(store),
        }
        if fill.train:
            name, sets = self._recipe_key(cell, fill, protocol, rule)
            recipe = self.recipe(name, sets)
            trained = self.training(
                name, sets, fill.extractor, None if fill.trained_on == "clean" else hurt, seed
            )
            if self._reads_flow(recipe):
                flow = self.inputs.flow(store, rule.view, hurt)
                key["flow"], needs = flow.identity, (*needs, *flow.needs)
            options = {name: from_condition(value, cell) for name, value in fill.options.items()}
            key |= {"checkpoint": trained, "system": recipe.system, "options": options}
            needs, label = (*needs, trained), f"{fill.train}, seed {seed}"
            if hurt is not None and fill.trained_on == "clean":
                label += ", trained on clean features,"
        else:
            key |= {"system": fill.system, "options": {}, **self._checkpoint(str(fill.system))}
            label = str(fill.system)
        smooth = f", median of {fill.smooth} frames" if fill.smooth else ""
        return self._add(
            Step(
                kind="evaluate",
                key=key,
                label=f"evaluate {label}{smooth} on {read.name} under {protocol.id} ({rule.name})",
                units=rows_of_splits(store, tuple(rule.splits)),
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

    def _hurt(self, cell: Cell, fill: Fill) -> Condition | None:
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

    def _training(
        self, name: str, sets: tuple[str, ...], extractor: str | None, hurt: Condition | None, seed: int
    ) -> str:
        """The step that trains a recipe, after those that make what it reads: features, and what it starts from."""
        recipe = self.recipe(name, sets)
        store = self.store(recipe.data.dataset)
        tested = self.inputs.features(store, recipe.data.view, extractor, hurt)
        sources, needs = self._sources(recipe, extractor, hurt)
        without = left_out(recipe, sources)
        if hurt is not None and recipe.sources:
            sets = (*sets, named_sources(recipe, sources))
            recipe = self.recipe(name, sets)
        motions, first = self._motions(recipe)
        declared = self._recipe(name, (), tiny=False)
        start, begun = recipe.init.get("checkpoint"), None
        if start in list_training_recipes(self.options.recipes):
            changed = [text for text in sets if text.startswith(("data.view=", "validation.protocol="))]
            begun = self.training(str(start), (*changed, *self.options.sets), extractor, hurt, seed)
            needs = (*needs, begun)
        return self._add(
            Step(
                kind="train",
                key={
                    "recipe": decisive(recipe, sources),
                    "system": recipe.system,
                    **tested.identity,
                    "sources": sources,
                    "motions": motions,
                    "start": begun or start,
                    "seed": seed,
                    "hpsbench": __version__,
                    **about_store(store),
                },
                label=f"train {name} on {tested.name}, seed {seed}",
                units=steps_of(recipe),
                needs=tuple(dict.fromkeys((*tested.needs, *first, *needs))),
                what={
                    "name": name,
                    "sets": sets,
                    "declared": steps_of(declared),
                    "shorter": shorter(recipe, declared),
                    "left_out": without,
                },
            )
        )

    def _sources(
        self, recipe: TrainingRecipe, extractor: str | None, hurt: Condition | None
    ) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
        """What identifies each source of a training that is there, and the steps that make what they hold.

        Only the dataset that is tested is corrupted in training too; what is added to it stays clean.
        """
        found: list[dict[str, Any]] = []
        needs: tuple[str, ...] = ()
        for source in recipe.all_sources():
            own = hurt if source.dataset == recipe.data.dataset else None
            if self._is_optional(source.dataset, recipe):
                continue
            try:
                store = self.store(source.dataset)
                read = self.inputs.features(store, str(source.view), extractor, own)
            except MissingData:
                if not (recipe.data.only_prepared or self.options.only_prepared):
                    raise
                continue
            beside, first = self._beside(store, source, recipe, read, own)
            needs = (*needs, *read.needs, *first)
            found.append({**read.identity, **beside, **about_store(store)})
        if not found:
            raise MissingStore(
                f"training recipe {recipe.name!r}: none of its sources is prepared: "
                + ", ".join(sorted({source.dataset for source in recipe.all_sources()}))
            )
        return found, needs

    def _is_optional(self, dataset: str, recipe: TrainingRecipe) -> bool:
        """Whether a source is left out since it is not prepared: a plan shows it only where nothing at all is prepared."""
        if self.options.only_prepared or (recipe.data.only_prepared and not self.nothing):
            return dataset != recipe.data.dataset and not self._path(dataset).is_dir()
        return False

    def _beside(
        self, store: Stock, source: Source, recipe: TrainingRecipe, read: Read, hurt: Condition | None
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """What a source holds beside its features, as the recipe's system and losses ask for it: (identity, steps)."""
        view, weights = str(source.view), recipe.weights()
        found: dict[str, Any] = {}
        needs: tuple[str, ...] = ()
        if self._reads_flow(recipe):
            flow = self.inputs.flow(store, view, hurt)
            found["flow"], needs = flow.identity, flow.needs
        if hurt is None and any(name.startswith("occlusion_") for name in weights):
            hidden = self.inputs.hidden_joints(store, view, read, source.one_split())
            found["hidden_joints"], needs = hidden.identity, (*needs, *hidden.needs)
        for kind, term in (("masks", "mask"), ("flow", "flow")):
            if term in weights:
                made = self.inputs.target(
                    store, view, kind, float(source.crop_scale or recipe.data.crop_scale)
                )
                found.setdefault("targets", []).extend(made)
                needs = (*needs, *made)
        return found, needs

    def _reads_flow(self, recipe: TrainingRecipe) -> bool:
        key = (recipe.system, bool(recipe.options.get("flow", True)))
        if key not in self.streams:
            self.streams[key] = reads_flow(recipe)
        return self.streams[key]

    def _motions(self, recipe: TrainingRecipe) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
        """What identifies the captured motions that a recipe's discriminator or motion prior learns from, and their steps."""
        weights = recipe.weights()
        readers = (
            (recipe.adversary, "adversarial"),
            (recipe.prior, "motion_prior"),
            (recipe.motion_vae, None),
        )
        for table, term in readers:
            if table is not None and (term is None or term in weights):
                store = self.store(table.motions.dataset)
                return about_store(store), self.inputs.prepared(store)
        return None, ()

    def _recipe_key(
        self, cell: Cell, fill: Fill, protocol: Protocol, rule: Rule
    ) -> tuple[str, tuple[str, ...]]:
        """Name of a recipe, and what is changed in it: trained and validated on crops like those of its evaluation."""
        name = str(from_condition(fill.train, cell))
        own = {key: from_condition(value, cell) for key, value in fill.set.items()}
        changes = {"data.view": rule.view, "validation.protocol": protocol.name, **own}
        return name, (*(f"{key}={toml(value)}" for key, value in changes.items()), *self.options.sets)

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

    def _open(self, dataset: str) -> Stock:
        try:
            store: Stock = open_store(self._path(dataset))
        except (MissingStore, IncompleteStore) as problem:
            if not self.assume:
                what = (
                    "its preparation was interrupted"
                    if isinstance(problem, IncompleteStore)
                    else "not prepared"
                )
                raise type(problem)(
                    f"{dataset}: {what}; 'hpsbench prepare {dataset}' makes its store"
                ) from None
            self.absent[dataset] = store = absent_store(dataset, self.root, self.options.recipes)
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
