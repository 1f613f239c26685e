"""`import`: a processed file that circulates becomes a clip store of its own, in slices of rows.

The store says that it is an import (`origin`, `imported`) and lies beside the prepared one, never in its place. Memory
use grows with the number of frames by a few numbers each, not with features or joints.
"""

import hashlib
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench.bodies.joints import get_joint_set
from hpsbench.errors import AccessStepMissing, BadData, MissingData, ResumeMismatch, UnknownName, UsageError
from hpsbench.pipeline.imported_marks import file_marks, read_origin
from hpsbench.pipeline.runs import record_run
from hpsbench.pipeline.work import WORK, Progress, lock, silent
from hpsbench.recipes.access import RawRoot, licence_accepted, licence_text, require_licence
from hpsbench.recipes.catalog import get_recipe, list_recipes
from hpsbench.recipes.imports.facts import ProcessedFacts, processed_facts
from hpsbench.recipes.imports.files import Processed, open_processed
from hpsbench.recipes.imports.rows import (
    NO_SMPL,
    Boxes,
    RowReader,
    feature_blocks,
    joint_set_of,
    place_boxes,
    read_boxes,
)
from hpsbench.recipes.imports.tracks import FileTrack, Tracks, find_tracks
from hpsbench.recipes.schema import Recipe
from hpsbench.recipes.view_rules import FixedBox
from hpsbench.store.clips import ClipRow, cut_clips
from hpsbench.store.feature_sets import FeatureSetWriter
from hpsbench.store.layout import ArraySpec, field_spec
from hpsbench.store.reader import read_attributes
from hpsbench.store.writer import write_store
from hpsbench.types import Array, Track

ORIGIN = "import"
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


@dataclass(frozen=True)
class _Job:
    """A processed file, opened, and what is known of it."""

    root: Path
    recipe: Recipe
    facts: ProcessedFacts
    file: Processed
    split: str
    view: str
    view_stated: bool
    crop_scale: float | None
    corruption: str | None
    synthetic: bool
    name: str

    @property
    def store(self) -> Path:
        return self.root / "stores" / f"{self.name}.zarr"

    @property
    def feature_set(self) -> str | None:
        if "features" not in self.file.columns:
            return None
        return f"spin-{self.view}" + (f"+{self.corruption}" if self.corruption else "")

    @cached_property
    def found(self) -> Tracks:
        return find_tracks(self.file, self.facts)

    @cached_property
    def boxes(self) -> Boxes | None:
        return place_boxes(self.file, [span[0] for track in self.found.tracks for span in track.spans])

    @property
    def fixed_box(self) -> FixedBox | None:
        """That of the view, if it is one for images that are crops already and the file has no boxes of its own."""
        box = self.recipe.views[self.view].box
        return box if isinstance(box, FixedBox) and "bbox" not in self.file.columns else None

    @cached_property
    def reader(self) -> RowReader:
        return RowReader(self.file, self.facts, self.facts.joints_field.get(self.split, "joints3d"))


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
        split: of the file's frames; None: what its name tells (`mpii3d_val_db.pt` is the test set).
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
    synthetic = synthetic or bool(origin.get("synthetic"))
    chosen = split or facts.split_of(file)
    if chosen not in recipe.splits:
        raise UsageError(
            f"{file}: which split of {dataset} it holds is not clear from its name; add --split "
            f"{'|'.join(recipe.splits)}"
        )
    wanted = view or origin.get("view") or recipe.default_view
    stated = wanted in recipe.views and (view is not None or "view" in origin)
    if wanted not in recipe.views:
        raise UnknownName(f"view of {dataset}", wanted, recipe.views)
    marks = file_marks(file)
    with open_processed(file, root / WORK / store_name) as opened:
        crop_scale = recipe.views[wanted].crop_scale if stated else marks.crop_scale
        job = _Job(
            root, recipe, facts, opened, chosen, wanted, stated, crop_scale, marks.corruption, synthetic, store_name
        )  # fmt: skip
        if opened.kind in _CROP_KINDS or job.fixed_box:
            job = replace(job, crop_scale=1.0)
        if dry_run:
            return _summary(job, None, Counter(), time.monotonic() - started, dry_run=True)
        _pass_licence(job, accept_licence)
        arguments = {"file": file, "dataset": dataset, "root": root, "split": chosen, "view": wanted}
        with record_run(root, f"import-{dataset}", arguments) as record, lock(root, store_name):
            summary = _run(job, report, started)
            record["summary"] = summary.to_json_dict()
        return summary


def _store_name(dataset: str, file: Path, name: str | None) -> str:
    if name is None:
        return f"{dataset}-import-{re.sub('[^A-Za-z0-9._-]+', '_', file.stem)}"
    if name in list_recipes():
        raise UsageError(f"--name {name}: this is the name of the store of the raw dataset; choose another")
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise UsageError(f"--name {name!r}: use letters, digits, '-', '.', '_'")
    return name


def _pass_licence(job: _Job, accept: bool | Ask) -> None:
    raw = RawRoot(job.file.path.parent, {} if job.synthetic else None)
    if callable(accept):
        needed = not (raw.is_synthetic or licence_accepted(job.recipe, job.root))
        answer = accept(f"{licence_text(job.recipe)}\nDo you accept these terms?") if needed else False
        if answer is False and needed:
            raise AccessStepMissing(f"{job.recipe.key}: the licence was declined; nothing was done")
        accept = bool(answer)
    require_licence(job.recipe, job.root, raw, accept=accept)


def _run(job: _Job, report: Progress, started: float) -> ImportSummary:
    report(0, job.file.rows, "checksum")
    with job.file.path.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    attributes = read_attributes(job.store) or {}
    if attributes.get("complete"):
        identity = _identity(job, sha256)
        other = [key for key, value in identity.items() if attributes.get("imported", {}).get(key) != value]
        if attributes.get("origin") != ORIGIN or other:
            raise ResumeMismatch(
                f"{job.store} is complete, but was made from another {' and another '.join(other) or 'source'}; move it "
                "away, or choose another --name"
            )
        missing = Counter(attributes["imported"]["missing"])
    else:
        missing = _survey(job, report)
        sources = [_Source(job, track, _has_smpl(job, missing)) for track in job.found.tracks]
        write_store(
            job.store,
            sources,
            attributes=_attributes(job, sha256, missing, sources),
            nodes=_nodes(job),
            optional=["frames/full_pose", "frames/betas"],
        )
    _write_features(job, sha256, report)
    return _summary(job, sha256, missing, time.monotonic() - started, dry_run=False)


def _survey(job: _Job, report: Progress) -> Counter[str]:
    """Read all rows once, to know what is missing before anything is written."""
    missing: Counter[str] = Counter()
    done = 0
    for track in job.found.tracks:
        missing += job.reader.read(track.spans)[1]
        done += len(track.rows)
        report(done, job.file.rows, "reading")
    return missing


def _has_smpl(job: _Job, missing: Counter[str]) -> bool:
    return "full_pose" in job.file.columns and missing[NO_SMPL] < job.file.rows


@dataclass(frozen=True)
class _Source:
    """A track of the file on its way into the store; a `TrackSource` of the store's writer."""

    job: _Job
    track: FileTrack
    has_smpl: bool

    @cached_property
    def clips(self) -> Sequence[ClipRow]:
        info = dict(self.track.info)
        track = Track(
            sequence=info.pop("sequence"),
            person=info.pop("person"),
            split=self.job.split,
            frame_id=self.track.frame_id,
            fields={},
            image_source=self.track.image_source,
            gender=self.track.gender,
            clip_info={"vid_name": self.track.name, "gaps_known": self.job.found.gaps_known},
            **info,  # type: ignore[arg-type]  # subject, action, camera
        )
        rate = self.job.facts.fps or self.job.recipe.source.fps
        return [
            {**clip, "fps": rate / clip["step"] if rate and self.job.found.gaps_known else None}
            for clip in cut_clips(track)
        ]

    @cached_property
    def specs(self) -> Mapping[str, ArraySpec]:
        return {path: _spec(path, rows) for path, rows in self._read(self.track.spans[:1], 1).items()}

    def arrays(self) -> Mapping[str, Array]:
        return self._read(self.track.spans, None)

    def _read(self, spans: Sequence[tuple[int, int]], limit: int | None) -> dict[str, Array]:
        spans = [(start, stop if limit is None else start + limit) for start, stop in spans]
        fields, _ = self.job.reader.read(spans)
        if not self.has_smpl:
            for name in ("full_pose", "betas", "has_smpl"):
                fields.pop(name, None)
        rows = sum(stop - start for start, stop in spans)
        arrays = {f"frames/{name}": values for name, values in fields.items()}
        arrays["frames/frame_id"] = self.track.frame_id[:rows]
        view = f"views/{self.job.view}"
        arrays[f"{view}/keep"] = np.ones(rows, dtype=bool)
        fixed = self.job.fixed_box
        arrays[f"{view}/bbox_cxcywh"] = read_boxes(
            self.job.file, self.job.boxes, spans, fixed.cxcywh if fixed else None
        )
        return arrays


def _spec(path: str, rows: Array) -> ArraySpec:
    if path.startswith("frames/"):
        return field_spec(path.split("/")[1], rows)
    return ArraySpec("bool", ()) if path.endswith("/keep") else ArraySpec("float32", (4,))


def _identity(job: _Job, sha256: str) -> dict[str, Any]:
    return {"sha256": sha256, "split": job.split, "view": job.view, "crop_scale": job.crop_scale}


def _attributes(job: _Job, sha256: str, missing: Counter[str], sources: Sequence[_Source]) -> dict[str, Any]:
    recipe = job.recipe
    return {
        "dataset": recipe.key,
        "title": f"{recipe.title}, imported",
        "origin": ORIGIN,
        "imported": {
            "file": job.file.path.name,
            "size": job.file.path.stat().st_size,
            "kind": job.file.kind,
            **_identity(job, sha256),
            "view_stated": job.view_stated,
            "keys": {key: [dtype, *shape] for key, (dtype, shape) in job.file.layout.items()},
            "left_out": job.file.left_out,
            "missing": dict(missing),
            "gaps": "known from the file's frame numbers" if job.found.gaps_known else "unknown: no frame numbers",
            "rejoined_runs": job.found.rejoined,
            "restarted_runs": job.found.restarted,
            "boxes": job.boxes.note if job.boxes else "none in the file",
        },
        "synthetic": job.synthetic,
        "recipe_sha256": None,
        "raw_manifest_sha256": None,
        "coordinates": recipe.source.coordinates,
        "length_unit": recipe.source.length_unit,
        "licence": recipe.licence,
        "licence_url": recipe.licence_url,
        "default_view": job.view,
        "limit": None,
        "splits": {
            job.split: {
                "sequences": len({track.info["sequence"] for track in job.found.tracks}),
                "tracks": len(sources),
                "clips": sum(len(source.clips) for source in sources),
                "frames": job.file.rows,
            }
        },
        "skipped": {},
        "broken": [],
    }  # fmt: skip


def _nodes(job: _Job) -> dict[str, dict[str, Any]]:
    numbers = "number of the frame" if job.found.gaps_known else "place in the file: it has no frame numbers"
    nodes: dict[str, dict[str, Any]] = {
        "frames/frame_id": {
            "note": f"{numbers}; images of the file are named by it where image_source is there"
        },
        "frames/full_pose": {"unit": "rad", "frame": job.recipe.source.coordinates, "missing": "nan"},
        "frames/betas": {"missing": "nan"},
        "frames/valid": {"note": "as in the file"},
        "frames/has_smpl": {"note": "false where pose and shape are all zero"},
    }
    for column, facts in {
        "keypoints2d": {"unit": "px", "frame": "image", "note": "missing where the confidence is 0"},
        job.reader.joints_field: {
            "unit": "m", "frame": "camera", "missing": "nan", "note": job.facts.joints_note
        },
    }.items():  # fmt: skip
        joint_set = joint_set_of(
            job.file, "keypoints2d" if column == "keypoints2d" else "joints3d", job.facts
        )
        names = (
            {"joint_set": joint_set, "joint_names": list(get_joint_set(joint_set).names)} if joint_set else {}
        )
        nodes[f"frames/{column}"] = {**facts, **names}
    counts = {"rows": job.file.rows, "kept": job.file.rows, "tracks": len(job.found.tracks)}
    nodes[f"views/{job.view}"] = {
        "source": f"imported from {job.file.path.name}",
        "crop_scale": job.crop_scale,
        "box": job.fixed_box.model_dump() if job.fixed_box else {"rule": "imported"},
        "boxless": "keep",
        "counts": {job.split: counts},
        "note": "all frames that the file holds, with its boxes; NaN where it has none that can be trusted",
    }
    return nodes


def _write_features(job: _Job, sha256: str, report: Progress) -> None:
    """The file's features as a feature set, chunk by chunk; goes on where it was interrupted."""
    if job.feature_set is None:
        return
    rows = np.concatenate([track.rows for track in job.found.tracks])
    shape = job.file.columns["features"].row_shape
    if len(shape) != 1:
        raise BadData(f"{job.file.path}: features has rows of shape {shape}, expected (D,)")
    writer = FeatureSetWriter.create(
        job.store,
        job.feature_set,
        rows=np.arange(len(rows)),
        dim=shape[0],
        attrs={
            "extractor": "spin",
            "weights_sha256": None,
            "view": job.view,
            "crop_scale": job.crop_scale,
            "corruption": job.corruption,
            "origin": ORIGIN,
            "imported": {"file": job.file.path.name, "sha256": sha256},
            "synthetic": job.synthetic,
        },
    )
    for chunk in writer.open_chunks():
        wanted = rows[writer.rows_of(chunk)]
        writer.write(chunk, np.concatenate(list(feature_blocks(job.file, wanted))))
        report(int(writer.rows_of(chunk)[-1]) + 1, len(rows), "features")
    writer.finish()


def _summary(
    job: _Job, sha256: str | None, missing: Counter[str], seconds: float, *, dry_run: bool
) -> ImportSummary:
    sources = [_Source(job, track, "full_pose" in job.file.columns) for track in job.found.tracks]
    if not dry_run:
        sources = [_Source(job, source.track, _has_smpl(job, missing)) for source in sources]
    fields = sorted(path.split("/")[1] for path in sources[0].specs if path.startswith("frames/"))
    return ImportSummary(
        dataset=job.recipe.key, store=str(job.store), file=str(job.file.path), kind=job.file.kind, sha256=sha256,
        synthetic=job.synthetic, split=job.split, view=job.view, dry_run=dry_run, rows=job.file.rows,
        tracks=len(sources), clips=sum(len(source.clips) for source in sources),
        gaps_known=job.found.gaps_known, fields=fields, features=job.feature_set,
        missing={what: count for what, count in missing.items() if count}, left_out=job.file.left_out,
        notes=_notes(job, fields), seconds=round(seconds, 3),
    )  # fmt: skip


def _notes(job: _Job, fields: Sequence[str]) -> list[str]:
    notes = []
    if not job.view_stated and ("features" in job.file.columns or "bbox" in job.file.columns):
        notes.append(
            f"the file does not say whose boxes and crops it has; they are kept as view {job.view!r}, "
            + (f"crop scale {job.crop_scale}" if job.crop_scale else "crop scale unknown")
            + "; --view names another"
        )
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
