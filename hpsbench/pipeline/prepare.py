"""`prepare`: a raw dataset becomes a clip store; annotations only. Resumable sequence by sequence.

Each raw sequence is one work item: it is read, every view is applied, and the result, a part, is kept in a journal. When all
are there, the parts are streamed into the store in the recipe's order and the store is marked complete. Neither the
order in which items finished, nor the number of workers, nor an interruption shows in the bytes.
"""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hpsbench.errors import AccessStepMissing, MissingRawFiles, ResumeMismatch
from hpsbench.pipeline.assemble import PrepareJob, assemble, identity
from hpsbench.pipeline.parts import SequenceTask, read_parts, write_part
from hpsbench.pipeline.runs import record_run
from hpsbench.pipeline.work import (
    WORK,
    Outcome,
    Progress,
    WorkFolder,
    find_entries,
    lock,
    open_work,
    run_items,
    silent,
)
from hpsbench.recipes.access import find_raw, licence_accepted, licence_text, require_licence
from hpsbench.recipes.catalog import get_recipe, list_recipes
from hpsbench.recipes.manifest import Manifest, raw_manifest
from hpsbench.recipes.sequences import files_beside, find_sequences, get_reader
from hpsbench.store import layout
from hpsbench.store.reader import read_attributes
from hpsbench.store.writer import begin_store

Ask = Callable[[str], bool | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareSummary:
    """What `prepare` did, or with `dry_run` would do.

    Attributes:
        dataset: key of the recipe.
        store: folder of the clip store.
        raw: folder of the raw data.
        synthetic: whether the raw data is.
        dry_run: nothing was touched.
        complete: the store is whole and readable.
        sequences: found raw sequences.
        resumed: sequences that an earlier run had read already; all of them if the store was complete before.
        raw_bytes: size of the annotation files. The store's annotations take less than that.
        splits: per split: sequences, and once the store is complete tracks, clips, frames.
        views: view -> split -> rows, kept, tracks, and rows left out by reason.
        skipped: reason -> sequences that the dataset's rule leaves out, and `broken`.
        broken: messages of damaged sequences that `skip_bad` left out.
        notes: what a user should know: expected counts that were not met, partial stores, an open licence.
        seconds: it took.
    """

    dataset: str
    store: str
    raw: str
    synthetic: bool
    dry_run: bool
    complete: bool
    sequences: int
    resumed: int
    raw_bytes: int
    splits: Sequence[Mapping[str, Any]]
    views: Mapping[str, Mapping[str, Mapping[str, int]]] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
    broken: Sequence[str] = ()
    notes: Sequence[str] = ()
    seconds: float = 0.0

    def to_json_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def prepared_here(root: Path, recipes: Path | None = None) -> list[str]:
    """Keys of the datasets whose raw files the root holds.

    Raises:
        MissingData: there is no such root.
    """
    held = []
    for key in list_recipes(recipes):
        try:
            find_raw(get_recipe(key, recipes), root)
        except MissingRawFiles:
            continue
        held.append(key)
    return held


def prepare(
    dataset: str,
    root: str | Path,
    *,
    workers: int = 1,
    limit: int | None = None,
    accept_licence: bool | Ask = False,
    dry_run: bool = False,
    skip_bad: bool = False,
    progress: Progress | None = None,
    recipes: Path | None = None,
) -> PrepareSummary:
    """Convert a raw dataset into the clip store `<root>/stores/<dataset>.zarr`.

    A run that was stopped, killed even, is resumed by the same call. A store that is complete and fits recipe and raw
    files is left as it is.

    Args:
        dataset: key of a recipe.
        root: data root.
        workers: processes that read sequences.
        limit: only the first so many sequences of each split, for trying; the store says so.
        accept_licence: whether the user accepts the dataset's licence; or a function that is shown the licence and
            answers True, False, or None where nobody can be asked. Synthetic data needs none.
        dry_run: say what would be done, and touch nothing.
        skip_bad: leave damaged sequences out and count them, instead of stopping at the first.
        progress: called as (sequences done, sequences, name).
        recipes: another folder with `datasets/*.toml`.

    Raises:
        UnknownName: no such dataset.
        MissingData, MissingRawFiles: no such root, no raw files; says how to get them.
        AccessStepMissing: the licence was not accepted.
        BrokenFile, UnsafeFile: a raw file is damaged; says which. What was read until then is kept.
        ResumeMismatch: a store of this name was made or begun from another recipe, raw files, code or limit.
    """
    root, started, report = Path(root), time.monotonic(), progress or silent
    recipe = get_recipe(dataset, recipes)
    raw = find_raw(recipe, root)
    sequences = find_sequences(recipe, raw.path, limit)
    get_reader(recipe)
    job = PrepareJob(root, recipe, raw, sequences, limit)
    if dry_run:
        return _plan(job)
    _pass_licence(job, accept_licence)
    arguments = {"dataset": dataset, "root": root, "workers": workers, "limit": limit, "skip_bad": skip_bad}
    with record_run(root, f"prepare-{dataset}", arguments) as record:
        manifest = raw_manifest(
            [*sequences, *files_beside(recipe, raw.path)], root / ".hpsbench" / "cache" / f"raw-{dataset}.json", threads=workers,
            progress=lambda done, total: report(0, total, f"checksum {done} of {total}"),
        )  # fmt: skip
        if _is_complete(job, manifest):
            resumed, broken = len(sequences), []
            with lock(root, job.name):
                shutil.rmtree(root / WORK / job.name, ignore_errors=True)
        else:
            with open_work(root, job.name, identity(job, manifest)) as work:
                resumed = work.resumed
                broken = _convert(job, manifest, work, workers, skip_bad, report)
        summary = _summarise(job, resumed, broken, time.monotonic() - started)
        record["summary"] = summary.to_json_dict()
    return summary


def _pass_licence(job: PrepareJob, accept: bool | Ask) -> None:
    if callable(accept):
        needed = not (job.raw.is_synthetic or licence_accepted(job.recipe, job.root))
        answer = accept(f"{licence_text(job.recipe)}\nDo you accept these terms?") if needed else False
        if answer is False and needed:
            raise AccessStepMissing(f"{job.recipe.key}: the licence was declined; nothing was done")
        accept = bool(answer)
    require_licence(job.recipe, job.root, job.raw, accept=accept)


def _is_complete(job: PrepareJob, manifest: Manifest) -> bool:
    """Whether the store is complete and made from the same; a complete store made from something else is an error."""
    found = read_attributes(job.store)
    if found is None or found.get("format") != layout.FORMAT or not found.get("complete"):
        return False
    wanted = {
        "recipe": ("recipe_sha256", job.recipe.sha256),
        "raw files": ("raw_manifest_sha256", manifest.sha256),
        "limit": ("limit", job.limit),
        "synthetic mark": ("synthetic", job.raw.is_synthetic),
    }
    other = [what for what, (key, value) in wanted.items() if found.get(key) != value]
    if other:
        raise ResumeMismatch(
            f"{job.store} is complete, but was made with another {', another '.join(other)}. "
            "Move or remove it to prepare it again; its feature sets go with it."
        )
    return True


def _convert(
    job: PrepareJob, manifest: Manifest, work: WorkFolder, workers: int, skip_bad: bool, report: Progress
) -> list[str]:
    """Read what is not read yet, then write the store; returns the messages of damaged sequences."""
    begin_store(job.store)
    tasks = [
        (index, SequenceTask(job.recipe, raw, work.journals, index))
        for index, raw in enumerate(job.sequences)
        if not work.is_done(index)
    ]
    report(work.resumed, len(job.sequences), "")
    broken: list[Outcome] = []
    with closing(run_items(write_part, tasks, workers, preload=["scipy.ndimage"])) as outcomes:
        for done, outcome in enumerate(outcomes, start=work.resumed + 1):
            if not skip_bad:
                outcome.raise_error()
            if outcome.error is not None:
                broken.append(outcome)
            report(done, len(job.sequences), job.sequences[outcome.number].name)
    broken.sort(key=lambda outcome: outcome.number)
    lost = {outcome.number for outcome in broken}
    parts = read_parts(work.entries(), [index for index in range(len(job.sequences)) if index not in lost])
    assemble(job, manifest, parts, [job.sequences[number].name for number in sorted(lost)])
    work.remove()
    return [outcome.error[1] for outcome in broken if outcome.error]


def _sizes(job: PrepareJob) -> int:
    return sum(path.stat().st_size for path in {raw.path for raw in job.sequences})


def _plan(job: PrepareJob) -> PrepareSummary:
    found = Counter(raw.split for raw in job.sequences)
    splits = [
        {"split": split, "sequences": found[split], "tracks": None, "clips": None, "frames": None}
        for split in job.recipe.splits
    ]
    done = find_entries(job.root / WORK / job.name)
    notes = _notes(job)
    if not (job.raw.is_synthetic or licence_accepted(job.recipe, job.root)):
        notes.append(f"the licence has to be accepted first: {job.recipe.licence_url}")
    return PrepareSummary(
        dataset=job.recipe.key, store=str(job.store), raw=str(job.raw.path), synthetic=job.raw.is_synthetic,
        dry_run=True, complete=bool((read_attributes(job.store) or {}).get("complete")),
        sequences=len(job.sequences), resumed=len(done.keys() & range(len(job.sequences))),
        raw_bytes=_sizes(job), splits=splits, notes=notes,
    )  # fmt: skip


def _summarise(job: PrepareJob, resumed: int, broken: Sequence[str], seconds: float) -> PrepareSummary:
    attributes = read_attributes(job.store) or {}
    views = {
        name: (read_attributes(job.store / "views" / name) or {}).get("counts", {})
        for name in job.recipe.views
    }
    notes = _notes(job)
    if attributes.get("broken"):
        notes.append(f"left out as damaged: {', '.join(attributes['broken'])}")
    return PrepareSummary(
        dataset=job.recipe.key, store=str(job.store), raw=str(job.raw.path), synthetic=job.raw.is_synthetic,
        dry_run=False, complete=bool(attributes.get("complete")), sequences=len(job.sequences), resumed=resumed,
        raw_bytes=_sizes(job), splits=[{"split": name, **counts} for name, counts in attributes["splits"].items()],
        views=views, skipped=attributes["skipped"], broken=broken, notes=notes, seconds=round(seconds, 3),
    )  # fmt: skip


def _notes(job: PrepareJob) -> list[str]:
    """Splits that are not as large as the recipe expects, and whether the store is partial."""
    if job.limit is not None:
        return [f"partial: at most {job.limit} sequences of each split"]
    if job.raw.is_synthetic:
        return []
    found = Counter(raw.split for raw in job.sequences)
    return [
        f"{split}: {found[split]} of {facts.sequences} sequences are there"
        for split, facts in job.recipe.splits.items()
        if facts.sequences is not None and facts.sequences != found[split]
    ]
