"""`export`: a view of a clip store, written as a file that circulates; for people with code that reads those.

`vibe-db`: the joblib dumps of VIBE, TCMR and MPS-Net (`*_db.pt`; of InstaVariety HDF5, `insta_train_db.h5`), one row per
kept frame, written in blocks of rows.
"""

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import hpsbench
from hpsbench.bodies.joints import convert_indices, get_joint_set
from hpsbench.errors import HpsbenchError, MissingData, UnknownName, UsageError
from hpsbench.pipeline.export_joints import regressed_joints
from hpsbench.pipeline.imported_marks import ORIGIN_FORMAT, origin_file
from hpsbench.pipeline.work import Progress, silent, whole_file
from hpsbench.recipes.imports.facts import ProcessedFacts, processed_facts
from hpsbench.safe_io.hdf5_writing import write_hdf5
from hpsbench.safe_io.joblib_writing import Rows, write_joblib
from hpsbench.store.reader import ClipStore, open_store
from hpsbench.types import Array, IntArray

FORMATS = ("vibe-db",)
ALL, NO_FEATURES = "all", "none"
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSummary:
    """What `export` wrote, or with `dry_run` would write.

    Attributes:
        store: folder of the clip store.
        file: written.
        format: `vibe-db`.
        split, view: of the store; `all` for a file of every split.
        features: name of the feature set, or None.
        synthetic: whether the data is; the note beside the file says so too.
        rows, tracks: how many.
        keys: of the file -> shape.
        size: bytes of the arrays.
        notes: what the file lacks, and why.
        dry_run: nothing was written.
        seconds: it took.
    """

    store: str
    file: str
    format: str
    split: str
    view: str
    features: str | None
    synthetic: bool
    rows: int
    tracks: int
    keys: Mapping[str, Sequence[int]]
    size: int
    notes: Sequence[str]
    dry_run: bool
    seconds: float

    def to_json_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def export_store(
    store: ClipStore | str | Path,
    *,
    format: str = "vibe-db",
    split: str | None = None,
    view: str | None = None,
    features: str | None = None,
    out: str | Path | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ExportSummary:
    """Write the frames that a view keeps of one split, in the keys and the order of VIBE's and TCMR's files.

    A note beside the file (`<file>.origin.json`) says which store it is from and whether it is synthetic.

    Args:
        store: a clip store, prepared or imported.
        format: `vibe-db`.
        split: of the store; may be left out where it has one, and where the layout keeps all in one file (AMASS, Penn
            Action): then, or with `all`, every split is written.
        view: whose frames and boxes; None: the store's default view.
        features: a feature set; None: the clean one of SPIN's network on this view if it is there; `none`: without.
        out: file to write; None: `exports/<name that VIBE gives it>` under the store's data root.
        dry_run: say what would be written, and write nothing.
        progress: called as (rows done, rows of all keys, key).

    Raises:
        UnknownName: no such format, split or view, or no layout is known for the dataset.
        UsageError: a split must be named, or the file cannot be written there.
        MissingFeatures: the store has no such feature set, or it lacks frames of the view.
        MissingData: the view keeps no frame, or the store none of the joints.
    """
    started = time.monotonic()
    opened = store if isinstance(store, ClipStore) else open_store(store)
    if format not in FORMATS:
        raise UnknownName("export format", format, FORMATS)
    facts = processed_facts(opened.dataset)
    job = _Job(
        opened, facts, _chosen(opened, facts, split), view or str(opened.attrs["default_view"]), features
    )
    target = Path(out) if out is not None else _default_file(opened, facts, job.split)
    arrays, notes = job.arrays(progress or silent)
    summary = ExportSummary(
        store=opened.location, file=str(target), format=format, split=job.split, view=job.view,
        features=job.feature_set, synthetic=opened.synthetic, rows=len(job.rows), tracks=job.tracks,
        keys={key: rows.shape for key, rows in arrays.items()},
        size=sum(int(np.prod(rows.shape)) * rows.dtype.itemsize for rows in arrays.values()),
        notes=notes, dry_run=dry_run, seconds=0.0,
    )  # fmt: skip
    if dry_run:
        return summary
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        (write_hdf5 if facts.container == "hdf5" else write_joblib)(target, arrays)
        with whole_file(origin_file(target)) as file:
            file.write(json.dumps(_origin(opened, job), indent=1).encode() + b"\n")
    except OSError as problem:
        if isinstance(problem, HpsbenchError):
            raise
        raise UsageError(
            f"{target}: cannot be written ({problem.strerror or problem}); name another place with --out"
        ) from problem
    return ExportSummary(**{**asdict(summary), "seconds": round(time.monotonic() - started, 3)})


def _chosen(store: ClipStore, facts: ProcessedFacts, split: str | None) -> str:
    """The split to write, or `all`."""
    splits = list(dict.fromkeys(store.clips["split"]))
    if split == ALL and facts.whole is None:
        raise UsageError(
            f"{store.location}: files of {store.dataset} hold one split each; name one of {', '.join(splits)} with --split"
        )
    if split is None and len(splits) > 1:
        if facts.whole is not None:
            return ALL
        raise UsageError(f"{store.location} has the splits {', '.join(splits)}; name one with --split")
    return split or splits[0]


def _default_file(store: ClipStore, facts: ProcessedFacts, split: str) -> Path:
    folder = store.path.parent.parent / "exports"
    if split == ALL and facts.whole is not None:
        return folder / facts.whole.file
    word = next((word for word, name in facts.splits.items() if name == split), split)
    return folder / facts.file.format(split=word)


def _origin(store: ClipStore, job: "_Job") -> dict[str, Any]:
    return {
        "format": ORIGIN_FORMAT,
        "version": 1,
        "dataset": store.dataset,
        "store": store.path.name,
        "synthetic": store.synthetic,
        "split": job.split,
        "limit": store.attrs.get("limit"),
        "view": job.view,
        "features": job.feature_set,
        **({} if job.feature_set is None else {"extracted": _extracted(store, job.feature_set, job.rows)}),
        "recipe_sha256": store.attrs.get("recipe_sha256"),
        "hpsbench": hpsbench.__version__,
    }


def _extracted(store: ClipStore, features: str, rows: IntArray) -> dict[str, Any]:
    """What made the features; the hit frames of a corruption are counted as rows of the file."""
    attrs = store.features[features].attrs
    record = attrs.get("corruption")
    if isinstance(record, Mapping) and "hits" in record:
        place = {row: number for number, row in enumerate(rows.tolist())}
        found = [i for i, row in enumerate(record["hits"]["row"]) if row in place]
        hits = {name: [values[i] for i in found] for name, values in record["hits"].items()}
        record = {**record, "hits": {**hits, "row": [place[row] for row in hits["row"]]}}
    return {
        "extractor": attrs["extractor"], "weights_sha256": attrs["weights_sha256"], "corruption": record
    }  # fmt: skip


@dataclass(frozen=True)
class _Job:
    """What is exported."""

    store: ClipStore
    facts: ProcessedFacts
    split: str
    view: str
    wanted_features: str | None

    @cached_property
    def _kept(self) -> list[tuple[dict[str, Any], IntArray]]:
        """Clips, or segments of them, and the rows that the view keeps."""
        keep = self.store.views[self.view].keep
        found: list[tuple[dict[str, Any], IntArray]] = []
        for track in self.store.tracks(None if self.split == ALL else self.split):
            clips = []
            for clip in track.clips.to_dict("records"):
                rows = np.arange(clip["start"], clip["start"] + clip["length"])
                clips.append(({str(key): value for key, value in clip.items()}, rows[keep[rows]]))
            found += _segments(clips)
        return found

    @cached_property
    def rows(self) -> IntArray:
        """Rows of the store, in the order of the file."""
        if not self._kept:
            raise MissingData(
                f"{self.store.location}: view {self.view!r} keeps no frame of split {self.split!r}; choose another view"
            )
        return np.concatenate([rows for _, rows in self._kept])

    @property
    def tracks(self) -> int:
        return len({clip["track"] for clip, _ in self._kept})

    @cached_property
    def feature_set(self) -> str | None:
        if self.wanted_features == NO_FEATURES:
            return None
        name = self.wanted_features or f"spin-{self.view}"
        if self.wanted_features is None and name not in self.store.features:
            return None
        self.store.features[name].positions(self.rows)
        return name

    def arrays(self, report: Progress) -> tuple[dict[str, Rows], list[str]]:
        """The file's arrays in its order, and what it lacks."""
        arrays: dict[str, Rows] = {"vid_name": self._texts(lambda clip, _: self._name(clip))}
        notes: list[str] = []
        if self.store.attrs.get("limit") is not None:
            notes.append(
                f"partial: the store has at most {self.store.attrs['limit']} sequences of each split"
            )
        if self.facts.number == "number":
            arrays["frame_id"] = self._field("frame_id", np.dtype(np.int64), lambda v: v - self.facts.offset)
        images = all(isinstance(clip["image_source"], str) for clip, _ in self._kept)
        if self.facts.number == "stem":
            if images:
                arrays["frame_id"] = self._texts(_stem)
            else:
                notes.append("no frame_id: it is made of the names of images, which the store does not have")
        lacks = self.facts.lacks.get(self.split) or self.facts.lacks.get("any", [])
        if images:
            arrays["img_name"] = self._texts(_image)
        elif "img_name" not in lacks:
            notes.append("no img_name: the store does not say where the images are")
        for key, add in (("joints2D", self._keypoints), ("joints3D", self._joints), ("pose", self._smpl)):
            found, lacking = add()
            arrays |= found
            if lacking:
                notes.append(lacking if found else f"no {key}: {lacking}")
        boxes = self.store.views[self.view].bbox_cxcywh
        if np.isfinite(boxes[self.rows]).any():
            arrays["bbox"] = self._rows(np.dtype(np.float32), (4,), lambda rows: boxes[rows])
        if self.feature_set is not None:
            features = self.store.features[self.feature_set]
            arrays["features"] = self._rows(np.dtype(np.float32), (features.dim,), features.of)
        elif "features" not in lacks:
            notes.append(self._no_features())
        if self.facts.valid is not None and "valid" in self.store.frames:
            column = self.facts.valid == "valid_i"
            shape: tuple[int, ...] = (1,) if column else ()
            valid = self.store.frames["valid"]
            arrays[self.facts.valid] = self._rows(
                np.dtype(bool), shape, lambda rows: valid[rows].reshape(-1, *shape)
            )
        for key in lacks:
            arrays.pop(key, None)
        return _reported(arrays, report), notes

    def _no_features(self) -> str:
        held = ", ".join(self.store.features)
        if self.wanted_features == NO_FEATURES:
            return "no features, as asked for"
        if held:
            return f"no features: the store has no spin-{self.view}; it has {held}, --features names one"
        return "no features: the store has none; 'hpsbench extract' makes them"

    def _name(self, clip: Mapping[str, Any]) -> str:
        """`vid_name`: an import's own, else what the layout calls the track."""
        name = clip.get("vid_name")
        if isinstance(name, str):
            return name
        for pattern, template in self.facts.names:
            found = re.fullmatch(pattern, clip["track"])
            if found is not None:
                return found.expand(template).replace("{segment}", str(clip["segment"]))
        return str(clip["track"])

    def _texts(self, text: Callable[[Mapping[str, Any], int], str]) -> Rows:
        """One text per row; their width is found in a first pass."""

        def blocks() -> Iterator[Array]:
            for clip, rows in self._kept:
                for start in range(0, len(rows), _ROWS_AT_ONCE):
                    part = rows[start : start + _ROWS_AT_ONCE]
                    frames = clip["first_frame"] + (part - clip["start"]) * clip["step"]
                    yield np.array([text(clip, frame) for frame in frames.tolist()])

        width = max(block.dtype.itemsize for block in blocks() if len(block)) // 4
        return Rows(np.dtype(f"<U{width}"), (len(self.rows),), _Again(blocks))

    def _rows(
        self, dtype: np.dtype[Any], row_shape: tuple[int, ...], read: Callable[[IntArray], Array]
    ) -> Rows:
        def blocks() -> Iterator[Array]:
            for start in range(0, len(self.rows), _ROWS_AT_ONCE):
                yield read(self.rows[start : start + _ROWS_AT_ONCE])

        return Rows(dtype, (len(self.rows), *row_shape), _Again(blocks))

    def _field(self, name: str, dtype: np.dtype[Any], change: Callable[[Array], Array]) -> Rows:
        array = self.store.frames[name]
        return self._rows(dtype, tuple(array.shape[1:]), lambda rows: change(array[rows]))

    def _keypoints(self) -> tuple[dict[str, Rows], str]:
        if not self.facts.keypoints:
            return {}, ""
        return self._in_joint_set("joints2D", "keypoints2d", self.facts.keypoints)

    def _joints(self) -> tuple[dict[str, Rows], str]:
        if self.split not in self.facts.joints:
            return {}, ""
        name = self.facts.joints_field.get(self.split, "joints3d")
        allowed = [self.facts.joints[self.split], *self.facts.joints.values()]
        return self._in_joint_set("joints3D", name, allowed, root=self.facts.root)

    def _in_joint_set(
        self, key: str, name: str, allowed: Sequence[str], root: str | None = None
    ) -> tuple[dict[str, Rows], str]:
        """A field in its own joint set where the layout has it, else in the layout's first, about a root.

        Joints that the dataset lacks are zeros before the root is subtracted from all, as in the files of VIBE and TCMR.
        """
        if name not in self.store.frames:
            return {}, f"the store has no {name}"
        native = self.store.frames[name].attrs.get("joint_set")
        if native is None:
            return {}, f"the joints of {name} have no names"
        if native in allowed:
            return {key: self._field(name, np.dtype(np.float32), np.nan_to_num)}, ""
        indices = np.array(convert_indices(native, allowed[0]))
        if key == "joints3D" and root is None and self.facts.smpl != "none" and (indices < 0).any():
            return self._regressed(key, allowed[0])
        origin = None if root is None else get_joint_set(allowed[0]).index(root)

        def convert(values: Array) -> Array:
            taken: Array = np.nan_to_num(np.take(values, np.maximum(indices, 0), axis=1))
            taken[:, indices < 0] = 0
            if key == "joints2D":
                self._as_flags(taken, values, native, indices < 0)
            if origin is not None:
                taken -= taken[:, origin, None].copy()
            return taken

        array = self.store.frames[name]
        shape = (len(indices), *array.shape[2:])
        return {key: self._rows(np.dtype(np.float32), shape, lambda rows: convert(array[rows]))}, ""

    def _as_flags(self, taken: Array, values: Array, native: str, missing: Array) -> None:
        """Confidences as the layout has them, and the place of keypoints that the dataset lacks; in place."""
        if self.facts.seen_above is not None:
            taken[..., 2] = taken[..., 2] > self.facts.seen_above
        if self.facts.filler is not None:
            row = get_joint_set(native).index(self.facts.filler)
            taken[:, missing, :2] = values[:, row, None, :2]

    def _regressed(self, key: str, joint_set: str) -> tuple[dict[str, Rows], str]:
        """Joints that only the body can give, where the body models are in the store's data root."""
        make, lacking = regressed_joints(self.store, self.store.path.parent.parent, joint_set)
        if make is None:
            return {}, lacking
        return {key: self._rows(np.dtype(np.float32), (len(get_joint_set(joint_set)), 3), make)}, ""

    def _smpl(self) -> tuple[dict[str, Rows], str]:
        if self.facts.smpl == "none":
            return {}, ""
        if not {"full_pose", "betas"} <= set(self.store.frames):
            if self.facts.smpl == "theta":
                return {}, "the store has no SMPL parameters"
            zeros = {
                key: self._rows(np.dtype(np.float32), (width,), _zeros(width))
                for key, width in (("pose", 72), ("shape", 10))
            }
            return zeros, (
                "pose and shape are zeros, as in the files called nosmpl: the store has no SMPL parameters, so train without "
                "their losses"
            )
        if self.facts.smpl == "theta":
            pose, betas = self.store.frames["full_pose"], self.store.frames["betas"]
            return {
                "theta": self._rows(
                    np.dtype(np.float32),
                    (82,),
                    lambda rows: np.nan_to_num(np.concatenate([pose[rows], betas[rows]], axis=1)),
                )
            }, ""
        return {
            "pose": self._field("full_pose", np.dtype(np.float32), np.nan_to_num),
            "shape": self._field("betas", np.dtype(np.float32), np.nan_to_num),
        }, ""


def _zeros(width: int) -> Callable[[IntArray], Array]:
    return lambda rows: np.zeros((len(rows), width), np.float32)


def _segments(
    clips: Iterable[tuple[dict[str, Any], IntArray]],
) -> Iterator[tuple[dict[str, Any], IntArray]]:
    """A track's clips, cut where the view leaves frames out; `segment` counts the parts of the track, from 0."""
    clips = list(clips)
    numbers = [clip["first_frame"] + (rows - clip["start"]) * clip["step"] for clip, rows in clips]
    jumps = np.diff(np.concatenate(numbers))
    step = int(jumps.min()) if len(jumps) else 1
    segment, last = -1, None
    for (clip, rows), frames in zip(clips, numbers, strict=True):
        for part in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(frames) != step) + 1):
            if not len(part):
                continue
            segment += last is None or frames[part[0]] - last != step
            last = frames[part[-1]]
            yield {**clip, "segment": segment}, rows[part]


def _image(clip: Mapping[str, Any], frame: int) -> str:
    return str(clip["image_source"]).format(frame_id=frame)


def _stem(clip: Mapping[str, Any], frame: int) -> str:
    """Name of a frame's image; a frame in a video is called as SPIN extracts it."""
    image = _image(clip, frame)
    return f"frame_{frame:06d}" if "#" in image else Path(image).stem


@dataclass(frozen=True)
class _Again:
    """Blocks that can be gone through more than once."""

    blocks: Callable[[], Iterator[Array]]

    def __iter__(self) -> Iterator[Array]:
        return self.blocks()


def _reported(arrays: Mapping[str, Rows], report: Progress) -> dict[str, Rows]:
    """The same arrays, whose blocks are reported as they are written."""
    total = sum(rows.shape[0] for rows in arrays.values())
    done = 0

    def count(key: str, rows: Rows) -> Iterator[Array]:
        nonlocal done
        for block in rows.blocks:
            yield block
            done += len(block)
            report(done, total, key)

    return {key: Rows(rows.dtype, rows.shape, count(key, rows)) for key, rows in arrays.items()}
