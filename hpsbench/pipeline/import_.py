"""`import`: a processed file that circulates becomes a clip store of its own, in slices of rows.

The store says that it is an import (`origin`, `imported`) and lies beside the prepared one, never in its place. Memory
use grows with the number of frames by a few numbers each, not with features or joints.
"""

import hashlib
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hpsbench.errors import AccessStepMissing, MissingData, ResumeMismatch, UnknownName, UsageError
from hpsbench.pipeline.imported_marks import feature_marks, file_marks, origin_file, read_origin
from hpsbench.pipeline.imported_store import (
    ORIGIN,
    ImportJob,
    identity,
    sources_of,
    write_features,
    write_import,
)
from hpsbench.pipeline.runs import record_run
from hpsbench.pipeline.work import WORK, Progress, lock, silent
from hpsbench.recipes.access import RawRoot, licence_accepted, licence_text, require_licence
from hpsbench.recipes.catalog import get_recipe, list_recipes
from hpsbench.recipes.imports.facts import ProcessedFacts, processed_facts
from hpsbench.recipes.imports.files import Processed, open_processed
from hpsbench.recipes.schema import Recipe
from hpsbench.store.reader import read_attributes

ALL = "all"
_CROP_KINDS = ("spin-npz", "humandata")  # whose boxes are the crops: what views enlarge boxes by is in them
Ask = Callable[[str], bool | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSummary:
    """What `import_file` did, or with `dry_run` would do.

    Attributes:
        dataset: key.
        store: folder of the clip store.
        file: the processed file.
        kind: `vibe-db`, `vibe-h5`, `spin-npz` or `humandata`.
        sha256: of the file; None in a dry run.
        synthetic: whether its data is.
        split: of all its frames.
        view: under which boxes and features are kept.
        dry_run: nothing was touched.
        rows, tracks, clips: how many.
        gaps_known: whether the file numbers its frames.
        fields: of the store.
        features: name of the feature set, or None.
        missing: what was found to be no measurement and marked as missing -> how many.
        left_out: keys of the file that have no place in a store.
        notes: what a user should know.
        seconds: it took.
    """

    dataset: str
    store: str
    file: str
    kind: str
    sha256: str | None
    synthetic: bool
    split: str
    view: str
    dry_run: bool
    rows: int
    tracks: int
    clips: int
    gaps_known: bool
    fields: Sequence[str]
    features: str | None
    missing: Mapping[str, int] = field(default_factory=dict)
    left_out: Sequence[str] = ()
    notes: Sequence[str] = ()
    seconds: float = 0.0

    def to_json_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def import_file(
    file: str | Path,
    dataset: str,
    root: str | Path,
    *,
    split: str | None = None,
    view: str | None = None,
    name: str | None = None,
    synthetic: bool = False,
    accept_licence: bool | Ask = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ImportSummary:
    """Turn a processed file into the clip store `<root>/stores/<dataset>-import-<file name>.zarr`.

    Read are joblib dumps of VIBE, TCMR and MPS-Net (`*_db.pt`), VIBE's `insta_train_db.h5`, SPIN's `.npz` and
    mmhuman3d's HumanData. What a file cannot tell (gender, camera) is absent in the store. A complete store of the same
    file is left as it is; features that were interrupted are resumed.

    Args:
        file: the processed file.
        dataset: key of the dataset that it was made from.
        root: data root.
        split: of the file's frames; None: what the note of an export beside it tells, or its name (`mpii3d_val_db.pt` is the
            test set).
        view: whose boxes and crops these are, a view of the recipe; None: its default view, and no crop scale is noted.
            Boxes of SPIN's and mmhuman3d's files are the crops themselves, whatever the view: their crop scale is 1.
        name: of the store, instead of the one above.
        synthetic: the file was made from synthetic data. A file written by `hpsbench export` says so itself.
        accept_licence: as for `prepare`.
        dry_run: say what would be done, and touch nothing (a compressed file is unpacked to be read).
        progress: called as (rows done, rows, what).

    Raises:
        UnknownName, UsageError: no such dataset or view; a split or name that must be given, or is not allowed.
        MissingData: no such file or root.
        AccessStepMissing: the licence was not accepted.
        UnsafeFile, BrokenFile, ShapeError, UnitError, BadData: the file is not what it should be; says where.
        ResumeMismatch: a store of this name was made from another file.
    """
    file, root, started = Path(file), Path(root), time.monotonic()
    report = progress or silent
    recipe, facts = get_recipe(dataset), processed_facts(dataset)
    if not root.is_dir():
        raise MissingData(f"no data root at {root}; create the folder, or name another with --root")
    if not file.is_file():
        raise MissingData(f"{file}: no such file; give the path of a processed file (*_db.pt, *.h5, *.npz)")
    store_name = _store_name(dataset, file, name)
    origin = read_origin(file)
    if origin.get("dataset", dataset) != dataset:
        raise UsageError(
            f"{file}: was exported from a store of {origin['dataset']}, as {origin_file(file).name} says; import it with "
            f"--dataset {origin['dataset']}"
        )
    synthetic = synthetic or bool(origin.get("synthetic"))
    chosen = _split_of(file, split or origin.get("split"), recipe, facts)
    wanted = view or origin.get("view") or recipe.default_view
    stated = wanted in recipe.views and (view is not None or "view" in origin)
    if wanted not in recipe.views:
        raise UnknownName(f"view of {dataset}", wanted, recipe.views)
    marks = feature_marks(file, origin)

    def opened_job(opened: Processed) -> ImportJob:
        crop_scale = recipe.views[wanted].crop_scale if stated else file_marks(file).crop_scale
        job = ImportJob(
            root, recipe, facts, opened, chosen, wanted, stated, crop_scale, marks, synthetic, store_name
        )  # fmt: skip
        return replace(job, crop_scale=1.0) if opened.kind in _CROP_KINDS or job.fixed_box else job

    _remove_dead_scratch(root, store_name)
    if dry_run:
        with open_processed(file, root / WORK / f"{store_name}.dry-run-{os.getpid()}") as opened:
            return _summary(opened_job(opened), None, Counter(), time.monotonic() - started, dry_run=True)
    arguments = {"file": file, "dataset": dataset, "root": root, "split": chosen, "view": wanted}
    with lock(root, store_name), open_processed(file, root / WORK / store_name) as opened:
        _pass_licence(recipe, root, RawRoot(file.parent, {} if synthetic else None), accept_licence)
        with record_run(root, f"import-{dataset}", arguments) as record:
            summary = _run(opened_job(opened), report, started)
            record["summary"] = summary.to_json_dict()
    return summary


def _remove_dead_scratch(root: Path, store_name: str) -> None:
    """Dry runs unpack into folders of their process alone; what one that was killed left goes."""
    for folder in (root / WORK).glob(f"{store_name}.dry-run-*"):
        try:
            os.kill(int(folder.name.rpartition("-")[2]), 0)
        except (ProcessLookupError, ValueError):
            shutil.rmtree(folder, ignore_errors=True)
        except PermissionError:  # a process of someone else
            continue


def _split_of(file: Path, split: str | None, recipe: Recipe, facts: ProcessedFacts) -> str:
    """The split of a file's frames: as the user or an export says, else as its name does."""
    if split == ALL and facts.whole is not None:
        return facts.whole.split
    if split is not None and split not in recipe.splits:
        raise UnknownName(f"split of {recipe.key}", split, recipe.splits)
    chosen = split or facts.split_of(file)
    if chosen is None or chosen not in recipe.splits:
        raise UsageError(
            f"{file}: which split of {recipe.key} it holds is not clear from its name; add --split "
            f"{'|'.join(recipe.splits)}"
        )
    return chosen


def _store_name(dataset: str, file: Path, name: str | None) -> str:
    if name is None:
        return f"{dataset}-import-{re.sub('[^A-Za-z0-9._-]+', '_', file.stem)}"
    if name in list_recipes():
        raise UsageError(f"--name {name}: this is the name of the store of the raw dataset; choose another")
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise UsageError(f"--name {name!r}: use letters, digits, '-', '.', '_'")
    return name


def _pass_licence(recipe: Recipe, root: Path, raw: RawRoot, accept: bool | Ask) -> None:
    if callable(accept):
        needed = not (raw.is_synthetic or licence_accepted(recipe, root))
        answer = accept(f"{licence_text(recipe)}\nDo you accept these terms?") if needed else False
        if answer is False and needed:
            raise AccessStepMissing(f"{recipe.key}: the licence was declined; nothing was done")
        accept = bool(answer)
    require_licence(recipe, root, raw, accept=accept)


def _run(job: ImportJob, report: Progress, started: float) -> ImportSummary:
    report(0, job.file.rows, "checksum")
    with job.file.path.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    attributes = read_attributes(job.store) or {}
    if attributes.get("complete"):
        said = {**attributes.get("imported", {}), "synthetic mark": attributes.get("synthetic")}
        wanted = {**identity(job, sha256), "synthetic mark": job.synthetic}
        other = [key for key, value in wanted.items() if said.get(key) != value]
        if attributes.get("origin") != ORIGIN or other:
            raise ResumeMismatch(
                f"{job.store} is complete, but was made with another {' and another '.join(other) or 'source'}; move it "
                "away, or choose another --name"
            )
        missing = Counter(attributes["imported"]["missing"])
    else:
        missing = write_import(job, sha256, report)
    write_features(job, sha256, report)
    return _summary(job, sha256, missing, time.monotonic() - started, dry_run=False)


def _summary(
    job: ImportJob, sha256: str | None, missing: Counter[str], seconds: float, *, dry_run: bool
) -> ImportSummary:
    sources = sources_of(job, None if dry_run else missing)
    fields = sorted(path.split("/")[1] for path in sources[0].specs if path.startswith("frames/"))
    return ImportSummary(
        dataset=job.recipe.key, store=str(job.store), file=str(job.file.path), kind=job.file.kind, sha256=sha256,
        synthetic=job.synthetic, split=job.split, view=job.view, dry_run=dry_run, rows=job.file.rows,
        tracks=len(sources), clips=sum(len(source.clips) for source in sources),
        gaps_known=job.found.gaps_known, fields=fields, features=job.feature_set,
        missing={what: count for what, count in missing.items() if count}, left_out=job.file.left_out,
        notes=_notes(job, fields), seconds=round(seconds, 3),
    )  # fmt: skip


def _notes(job: ImportJob, fields: Sequence[str]) -> list[str]:
    notes = []
    if not job.view_stated and ("features" in job.file.columns or "bbox" in job.file.columns):
        notes.append(
            f"the file does not say whose boxes and crops it has; they are kept as view {job.view!r}, "
            + (f"crop scale {job.crop_scale}" if job.crop_scale else "crop scale unknown")
            + "; --view names another"
        )
    if job.feature_set is not None and job.marks.condition is not None:
        notes.append(f"the features are of corrupted images: {job.marks.condition}")
    if not job.found.gaps_known:
        notes.append("the file has no frame numbers: frames may be missing inside of clips")
    if job.found.rejoined or job.found.restarted:
        notes.append(
            f"names come back after other tracks: {job.found.rejoined} runs of rows go on with their track, "
            f"{job.found.restarted} begin again and are tracks of their own (~2, ~3, ...)"
        )
    if job.boxes is not None and job.boxes.note:
        notes.append(job.boxes.note)
    if "full_pose" in job.file.columns and "full_pose" not in fields:
        notes.append("pose and shape are zeros throughout: the file has no SMPL parameters")
    return notes
