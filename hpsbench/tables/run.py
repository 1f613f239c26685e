"""Reproduce a table: run the steps that are missing, fill the cells, judge the claims.

A step that cannot be run, for want of data or because it fails, keeps its cells empty with the reason; everything else is
run. What was done is kept, so that the same call goes on where it was interrupted, and another table finds it.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpsbench.errors import HpsbenchError
from hpsbench.evaluation.run import evaluate
from hpsbench.features.backbones import choose_device
from hpsbench.models._catalog import load_system
from hpsbench.models._system import System
from hpsbench.models.median_filter import wrap
from hpsbench.pipeline.corrupt import corrupt
from hpsbench.pipeline.extract import extract
from hpsbench.pipeline.targets import write_targets
from hpsbench.results.result import RESULTS, load_result
from hpsbench.store.reader import open_store
from hpsbench.tables.catalog import get_table
from hpsbench.tables.claims import Verdict, judge
from hpsbench.tables.fill import Filled, fill_from_costs, fill_from_results, fill_from_time, fill_from_window
from hpsbench.tables.plan import Options, plan_table, told
from hpsbench.tables.planned import CellPlan, TablePlan
from hpsbench.tables.schema import Table
from hpsbench.tables.steps import Step
from hpsbench.tables.trained import Trained, trained_of, training_flags
from hpsbench.training.flow_encoder import get_flow_recipe, train_flow_encoder
from hpsbench.training.loop import train

UNDERTRAINED = "undertrained"
"""Flag of results whose system was trained for less than its recipe declares."""
Watch = Callable[[Step, int, int], Any]
"""Called as (step, number, of how many) when a step begins; gives a context whose value is the step's progress."""


@dataclass(frozen=True, kw_only=True)
class Reproduced:
    """A table beside its paper.

    Attributes:
        table: the facts.
        synthetic: whether the data were; None where nothing was measured on a store.
        cells: the paper's, in the order of its file.
        controls: rows that only hpsbench has.
        claims: what the paper says of its table, judged.
        command: that made it.
        failed: what went wrong in steps that were begun, each once; their cells say so.
    """

    table: Table
    synthetic: bool | None
    cells: tuple[Filled, ...]
    controls: tuple[Filled, ...]
    claims: tuple[Verdict, ...]
    command: str = ""
    failed: tuple[str, ...] = ()

    def trainings(self) -> tuple[Trained, ...]:
        """Every training behind a cell once, in the order of the cells."""
        cells = (*self.cells, *self.controls)
        return tuple({one.step: one for filled in cells for one in filled.trained}.values())

    def to_json(self) -> dict[str, Any]:
        """The document of `reproduce --json`."""
        return {
            "table": self.table.id,
            "synthetic": self.synthetic,
            "cells": [filled.to_json(synthetic=self.synthetic) for filled in self.cells],
            "claims": [verdict.to_json() for verdict in self.claims],
            "controls": [filled.to_json(synthetic=self.synthetic) for filled in self.controls],
            "trainings": [one.to_json() for one in self.trainings()],
            "title": self.table.title,
            "number": self.table.number,
            "command": self.command,
            "failed": list(self.failed),
        }


def reproduce(
    table: str | Table,
    root: str | Path,
    *,
    options: Options | None = None,
    watch: Watch | None = None,
) -> Reproduced:
    """Run what a table still needs, and fill it.

    Args:
        table: its id, `catfa:table5`.
        root: data root, with the prepared stores.
        options: seeds, overrides, device.
        watch: shows a person what is going on.

    Raises:
        UnknownName: no such table.
        UsageError: the table's file does not say what fills one of its cells, or the device is not there.
    """
    options, root = options or Options(), Path(root)
    choose_device(options.device)
    facts = get_table(table, options.recipes) if isinstance(table, str) else table
    plan = plan_table(facts, root, options)
    failed = run_steps(plan, root, options, watch)
    filled = [_fill(cell, plan, failed, options) for cell in plan.cells]
    return Reproduced(
        table=facts,
        synthetic=plan.synthetic,
        cells=tuple(f for f in filled if not f.cell.control),
        controls=tuple(f for f in filled if f.cell.control),
        claims=tuple(judge(claim, filled) for claim in facts.claims),
        command=options.command,
        failed=tuple(dict.fromkeys(failed.values())),
    )


def run_steps(plan: TablePlan, root: Path, options: Options, watch: Watch | None = None) -> dict[str, str]:
    """Run the steps of a plan that are not done. Returns: id of a step that could not be done -> why."""
    failed: dict[str, str] = {}
    todo = [step for step in plan.steps.values() if not plan.is_done(step)]
    for number, step in enumerate(todo, 1):
        blocked = next((failed[need] for need in step.needs if need in failed), None)
        if blocked is not None:
            failed[step.id] = blocked
            continue
        begun = time.perf_counter()
        try:
            if watch is None:
                facts = _RUN[step.kind](step, plan, root, options, None)
            else:
                with watch(step, number, len(todo)) as progress:
                    facts = _RUN[step.kind](step, plan, root, options, progress)
        except HpsbenchError as problem:
            failed[step.id] = f"{step.label}: {told(problem, root)}"
            continue
        plan.record.write(step, time.perf_counter() - begun, **facts)
    return failed


def _extract(step: Step, plan: TablePlan, root: Path, options: Options, progress: Any) -> dict[str, Any]:
    key = step.key
    path = root / "stores" / f"{key['dataset']}.zarr"
    extract(
        path,
        root,
        view=key["view"],
        extractor=key["extractor"],
        device=options.device,
        workers=options.workers,
        progress=progress,
    )
    return {}


def _corrupt(step: Step, plan: TablePlan, root: Path, options: Options, progress: Any) -> dict[str, Any]:
    key, hurt = step.key, step.key["corruption"]
    corrupt(
        root / "stores" / f"{key['dataset']}.zarr",
        root,
        mode=hurt["mode"],
        ratio=hurt["ratio"],
        consecutive=hurt["consecutive"],
        severity=hurt.get("severity"),
        seed=hurt["seed"],
        splits=key.get("splits"),
        view=key["view"],
        extractor=key["extractor"],
        device=options.device,
        workers=options.workers,
        progress=progress,
    )
    return {}


def _flow_encoder(step: Step, plan: TablePlan, root: Path, options: Options, progress: Any) -> dict[str, Any]:
    card = train_flow_encoder(
        get_flow_recipe(extra=options.recipes), root, threads=options.workers, progress=progress
    )
    return {key: card[key] for key in ("held_out_px", "no_motion_px", "sha256")}


def _targets(step: Step, plan: TablePlan, root: Path, options: Options, progress: Any) -> dict[str, Any]:
    key = step.key
    store = root / "stores" / f"{key['dataset']}.zarr"
    card = write_targets(
        store, root, view=key["view"], kind=key["target"], crop_scale=key["crop_scale"], progress=progress
    )
    return {"source": card.get("source"), "without": card["without"]}


def _train(step: Step, plan: TablePlan, root: Path, options: Options, progress: Any) -> dict[str, Any]:
    run = train(
        step.what["name"],
        root,
        sets=step.what["sets"],
        features=step.key["features"],
        seed=step.key["seed"],
        device=options.device,
        tiny=options.tiny,
        recipes=options.recipes,
        only_prepared=options.only_prepared,
        progress=progress,
    )
    metric = step.key["recipe"]["validation"]["metric"]
    return {
        "left": str(run.checkpoint.relative_to(root)),
        "steps": run.steps,
        **{key: step.what[key] for key in ("declared", "shorter", "left_out")},
        "validation": [line["validation_mm"][metric] for line in run.history],
        "without_data": sorted(name for name, took in run.history[-1]["took_part"].items() if not took),
    }


def _evaluate(step: Step, plan: TablePlan, root: Path, options: Options, progress: Any) -> dict[str, Any]:
    key = step.key
    model, trained = str(key["checkpoint"]), plan.steps.get(str(key["checkpoint"]))
    behind = trainings_behind(plan, step)
    if trained is not None:
        model = str(root / (plan.record.read(trained) or {})["left"])
    system: System = load_system(
        model, root=root, device=choose_device(options.device), options=key["options"] or None
    )
    if key["smooth"]:
        system = wrap(system, int(key["smooth"]))
    result = evaluate(
        system,
        str(key["protocol"]),
        open_store(root / "stores" / f"{key['dataset']}.zarr"),
        root=root,
        dataset=key["setting"],
        features=key["features"],
        on_track=progress,
        about={"step": step.id, "command": options.command, **_about_training(trained, behind)},
    )
    if step.what["seed"] is not None:
        result = replace(result, seeds=(step.what["seed"],))
    if any(one.undertrained for one in behind):
        result = replace(result, flags=tuple(sorted({*result.flags, UNDERTRAINED})))
    folder = result.save(plan.record.folder_of(step))
    return {"left": str((folder / RESULTS).relative_to(root))}


def _about_training(step: Step | None, behind: Sequence[Trained]) -> dict[str, Any]:
    """For the provenance of a result: which recipe was trained on which datasets, and for how long."""
    if step is None:
        return {}
    return {
        "trained": step.what["name"],
        "trained_on": [s["dataset"] for s in step.key["sources"]],
        "trainings": [one.to_json() for one in behind],
    }


def trainings_behind(plan: TablePlan, step: Step) -> tuple[Trained, ...]:
    """The trainings that were done for a step, the last one first: that of its system, and those that it began from."""
    found: dict[str, Trained] = {}
    for need in reversed(step.needs):
        before = plan.steps[need]
        done = plan.record.read(before) if before.kind == "train" else None
        if done is not None:
            found[need] = trained_of(done)
            found |= {one.step: one for one in trainings_behind(plan, before)}
    return tuple(found.values())


_RUN: Mapping[str, Callable[[Step, TablePlan, Path, Options, Any], dict[str, Any]]] = {
    "extract": _extract,
    "corrupt": _corrupt,
    "flow-encoder": _flow_encoder,
    "targets": _targets,
    "train": _train,
    "evaluate": _evaluate,
}


def _fill(planned: CellPlan, plan: TablePlan, failed: Mapping[str, str], options: Options) -> Filled:
    cell, fill = planned.cell, planned.fill
    why = planned.why_not or next((failed[i] for i in planned.evaluations if i in failed), None)
    if why is not None:
        return Filled(cell=cell, why_not=why)
    try:
        if fill.costs_of:
            return fill_from_costs(cell, fill.costs_of)
        if fill.window_of:
            return fill_from_window(cell, fill.window_of)
        if fill.time_of:
            return fill_from_time(cell, fill.time_of, options.device)
    except HpsbenchError as problem:
        return Filled(cell=cell, why_not=told(problem, plan.record.root))
    steps = [plan.steps[i] for i in planned.evaluations]
    results = [load_result(plan.record.folder_of(step)) for step in steps]
    trained = tuple({one.step: one for step in steps for one in trainings_behind(plan, step)}.values())
    filled = fill_from_results(cell, results, trained=trained)
    return replace(filled, flags=(*filled.flags, *training_flags(cell.trained_with_3dpw, trained)))


def save(found: Reproduced, folder: Path, forms: Mapping[str, Callable[[Reproduced], str]]) -> Sequence[Path]:
    """Write a table in every form, `table.<ending>`, and `table.json`. Returns: the files."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {ending: render(found) for ending, render in forms.items()}
    texts["json"] = json.dumps(found.to_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    paths = []
    for ending, text in texts.items():
        path = folder / f"table.{ending}"
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths
