"""The store that an import writes: from the rows of an opened processed file to fields, clips, one view and features."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench.bodies.joints import get_joint_set
from hpsbench.errors import BadData
from hpsbench.pipeline.imported_marks import FeatureMarks
from hpsbench.pipeline.work import Progress
from hpsbench.recipes.imports.facts import ProcessedFacts
from hpsbench.recipes.imports.files import Processed
from hpsbench.recipes.imports.rows import (
    NO_SMPL,
    Boxes,
    RowReader,
    feature_blocks,
    joint_set_of,
    joints_field_of,
    place_boxes,
    read_boxes,
)
from hpsbench.recipes.imports.tracks import FileTrack, Tracks, find_tracks
from hpsbench.recipes.schema import Recipe
from hpsbench.recipes.view_rules import FixedBox
from hpsbench.store.clips import ClipRow, cut_clips
from hpsbench.store.feature_sets import FeatureSetWriter
from hpsbench.store.layout import ArraySpec, field_spec
from hpsbench.store.writer import write_store
from hpsbench.types import Array, IntArray, Track

ORIGIN = "import"
_VIBE_KINDS = ("vibe-db", "vibe-h5")


@dataclass(frozen=True)
class ImportJob:
    """A processed file, opened, and what is known of it.

    Attributes:
        root: data root.
        recipe, facts: of the dataset, and about its processed files.
        file: opened.
        split, view: of all its frames.
        view_stated: whether the user or the file said which view it is.
        crop_scale: of the crops behind its features; None where unknown.
        marks: what is known of its features.
        synthetic: whether the data is.
        name: of the store.
    """

    root: Path
    recipe: Recipe
    facts: ProcessedFacts
    file: Processed
    split: str
    view: str
    view_stated: bool
    crop_scale: float | None
    marks: FeatureMarks
    synthetic: bool
    name: str

    @property
    def store(self) -> Path:
        """Folder of the clip store."""
        return self.root / "stores" / f"{self.name}.zarr"

    @property
    def feature_set(self) -> str | None:
        """Name of the feature set, or None."""
        if "features" not in self.file.columns:
            return None
        return f"{self.marks.extractor}-{self.view}" + (
            f"+{self.marks.condition}" if self.marks.condition else ""
        )

    @cached_property
    def found(self) -> Tracks:
        """The file's tracks."""
        return find_tracks(self.file, self.facts)

    @cached_property
    def boxes(self) -> Boxes | None:
        """Where the file's boxes lie."""
        return place_boxes(self.file, [span[0] for track in self.found.tracks for span in track.spans])

    @property
    def fixed_box(self) -> FixedBox | None:
        """That of the view, if it is one for images that are crops already and the file has no boxes of its own."""
        box = self.recipe.views[self.view].box
        return box if isinstance(box, FixedBox) and "bbox" not in self.file.columns else None

    @cached_property
    def reader(self) -> RowReader:
        """Of its rows."""
        return RowReader(self.file, self.facts, joints_field_of(self.file, self.facts, self.split))


def write_import(job: ImportJob, sha256: str, report: Progress) -> Counter[str]:
    """Write the store without its features; returns what was marked as missing.

    Raises:
        UnitError, BadData: the file is not what it should be; says where.
    """
    missing = _survey(job, report)
    sources = sources_of(job, missing)
    write_store(
        job.store,
        sources,
        attributes=_attributes(job, sha256, missing, sources),
        nodes=_nodes(job),
        optional=["frames/full_pose", "frames/betas"],
    )
    return missing


def sources_of(job: ImportJob, missing: Counter[str] | None) -> list["ImportSource"]:
    """The file's tracks as they go into the store; `missing`: None before it is known."""
    has_smpl = "full_pose" in job.file.columns and (missing is None or missing[NO_SMPL] < job.file.rows)
    return [ImportSource(job, track, has_smpl) for track in job.found.tracks]


def _survey(job: ImportJob, report: Progress) -> Counter[str]:
    """Read all rows once, to know what is missing before anything is written."""
    missing: Counter[str] = Counter()
    done = 0
    for track in job.found.tracks:
        missing += job.reader.read(track.spans)[1]
        done += len(track.rows)
        report(done, job.file.rows, "reading")
    return missing


@dataclass(frozen=True)
class ImportSource:
    """A track of the file on its way into the store; a `TrackSource` of the store's writer."""

    job: ImportJob
    track: FileTrack
    has_smpl: bool

    @cached_property
    def clips(self) -> Sequence[ClipRow]:
        """The track's rows of the clip table."""
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
            for clip in cut_clips(track, self.job.found.step)
        ]

    @cached_property
    def specs(self) -> Mapping[str, ArraySpec]:
        """Its arrays."""
        return {path: _spec(path, rows) for path, rows in self._read(self.track.spans[:1], 1).items()}

    def arrays(self) -> Mapping[str, Array]:
        """Their rows, read from the file."""
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


def identity(job: ImportJob, sha256: str) -> dict[str, Any]:
    """What a store of an import is made from, as its attributes say."""
    return {"sha256": sha256, "split": job.split, "view": job.view, "crop_scale": job.crop_scale}


def _attributes(
    job: ImportJob, sha256: str, missing: Counter[str], sources: Sequence[ImportSource]
) -> dict[str, Any]:
    recipe = job.recipe
    return {
        "dataset": recipe.key,
        "title": f"{recipe.title}, imported",
        "origin": ORIGIN,
        "imported": {
            "file": job.file.path.name,
            "size": job.file.path.stat().st_size,
            "kind": job.file.kind,
            **identity(job, sha256),
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


def _nodes(job: ImportJob) -> dict[str, dict[str, Any]]:
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
            "unit": "m", "frame": "camera", "missing": "nan", "note": job.facts.joints_note if job.file.kind in _VIBE_KINDS else "as in the file"
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


def _in_store(record: Mapping[str, Any] | str | None, rows: IntArray) -> Mapping[str, Any] | str | None:
    """A corruption whose hit frames are counted as the store's rows, not as the file's (`rows`: those of the store's)."""
    if not isinstance(record, Mapping) or "hits" not in record:
        return record
    place = np.empty(len(rows), dtype=np.int64)
    place[rows] = np.arange(len(rows))
    found = place[np.asarray(record["hits"]["row"], dtype=np.int64)]
    order = np.argsort(found, kind="stable").tolist()
    hits = {name: [values[i] for i in order] for name, values in record["hits"].items()}
    return {**record, "hits": {**hits, "row": found[order].tolist()}}


def write_features(job: ImportJob, sha256: str, report: Progress) -> None:
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
            "extractor": job.marks.extractor,
            "weights_sha256": job.marks.weights_sha256,
            "view": job.view,
            "crop_scale": job.crop_scale,
            "corruption": _in_store(job.marks.corruption, rows),
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
