"""`corrupt`: one more feature set, in which some frames are those of corrupted images.

Rows that are not hit are copied bit for bit from the clean set; rows that are hit are extracted again, from the image
with its corruption, by the same network in batches of the same size. The manifest of hit frames is in the set's
attributes: `corruption.hits` holds the columns `row` and what was done, for blocks `left`, `top`, `side` in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hpsbench.corruption._block import Corruption, Fill
from hpsbench.corruption._catalog import get_corruption
from hpsbench.corruption._pattern import Pattern, check_pattern
from hpsbench.corruption._plan import Condition, keypoint_boxes, plan_track
from hpsbench.errors import BadData, FeatureMismatch, MissingFeatures
from hpsbench.features.backbones import Extractor
from hpsbench.features.batches import compute_features
from hpsbench.features.frames import Frames
from hpsbench.pipeline.extract import (
    FeatureJob,
    Speed,
    attributes,
    grown_splits,
    job_of,
    load_extractor,
    make_room,
    plan,
    raw_folder,
    rows_of,
)
from hpsbench.pipeline.work import Progress
from hpsbench.store.feature_sets import FeatureSetWriter
from hpsbench.store.reader import ClipStore, FeatureSet, TrackRows, open_store
from hpsbench.types import FloatArray, IntArray

PREVIEW_SIDE = 224


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The hit frames of a set.

    Attributes:
        row: (h,) store rows, increasing.
        what: (h, P) what is done to each.
        cut: frames that did not fit into their tracks.
        tracks: number of tracks.
    """

    row: IntArray
    what: IntArray
    cut: int
    tracks: int

    def as_dict(self, columns: Sequence[str]) -> dict[str, Any]:
        """For attributes and JSON."""
        what = {name: self.what[:, i].tolist() for i, name in enumerate(columns)}
        return {"tracks": self.tracks, "cut": self.cut, "hits": {"row": self.row.tolist(), **what}}


def corrupt(
    store_path: Path,
    root: Path,
    *,
    mode: str,
    ratio: float,
    consecutive: int = 1,
    seed: int = 0,
    splits: Sequence[str] | None = ("test",),
    pattern: Pattern = "random",
    fill: Fill = "black",
    view: str,
    extractor: str = "auto",
    device: str = "auto",
    workers: int = 1,
    raw: Path | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> FeatureJob:
    """Write the feature set `<extractor>-<view>+<mode>-<ratio>x<consecutive>-s<seed>`; resumable.

    Which frames of a track are hit depends on (track, seed, ratio, consecutive, pattern) alone: not on machine,
    workers, splits or mode.

    Args:
        store_path: folder of a complete clip store that has the clean set.
        root: data root.
        mode: a corruption, `center` (= `centre`) or `random`.
        ratio: share of hit frames in each track; 0.33 means one third.
        consecutive: frames of a burst.
        seed: of the draw.
        splits: these, and those that a set of this name already covers; None: all.
        pattern: "random", or "regular" distances.
        fill: colour of a block.
        view: with `extractor` names the clean set.
        extractor: a name; "auto": the one whose clean set of the view is there.
        device: as for `extract`.
        workers: as for `extract`.
        raw: as for `extract`.
        dry_run: only plan.
        progress: called as (hit frames done, hit frames, note with the speed).

    Raises:
        MissingFeatures: there is no clean set to start from.
        FeatureMismatch: the clean set was made with other weights.
        UsageError, UnknownName: a setting that cannot be met, an unknown mode, view or split.
        MissingRawFiles, BrokenFile: an image is missing or is not a JPEG; named.
    """
    corruption = get_corruption(mode)
    check_pattern(ratio, consecutive, pattern)
    condition = Condition(
        mode=corruption.name, ratio=ratio, consecutive=consecutive, seed=seed, pattern=pattern, fill=fill
    )
    store = open_store(store_path)
    clean = clean_set(store, view, extractor)
    network = load_extractor(store, root, str(clean.attrs["extractor"]), device, dry_run=dry_run)
    _check_same_network(clean, network)
    name = f"{clean.name}+{condition.name}"
    splits = grown_splits(store, name, splits)
    rows = rows_of(store, view, splits)
    clean.positions(rows)  # all of them are there
    manifest = make_manifest(store, corruption, condition, view, rows)
    crop_scale = float(clean.attrs["crop_scale"])
    record = {**condition.as_dict(), "clean": clean.name, **manifest.as_dict(corruption.columns)}
    attrs = {**attributes(network, view, crop_scale, splits, None), "corruption": record}
    summary = {
        **condition.as_dict(),
        "hit": len(manifest.row),
        "cut": manifest.cut,
        "tracks": manifest.tracks,
    }
    if dry_run:
        return plan(store, network, view, name, rows, images=len(manifest.row), corruption=summary)
    make_room(store, name, attrs)
    writer = FeatureSetWriter.create(store_path, name, rows=rows, dim=clean.dim, attrs=attrs)
    open_chunks = list(writer.open_chunks())
    todo = sum(int(np.isin(writer.rows_of(chunk), manifest.row).sum()) for chunk in open_chunks)
    frames = Frames(store, raw or raw_folder(store, root), view)
    with job_of(root, store, "corrupt", name, device=network.device, workers=workers) as run:
        report = Speed(progress, todo, len(manifest.row))
        redo = _Redo(frames, network, corruption, fill, manifest, workers, report)
        for chunk in open_chunks:
            own = writer.rows_of(chunk)
            writer.write(chunk, redo.features(own, np.array(clean.of(own))))
        writer.finish()
        job = plan(
            store, network, view, name, rows, images=todo, done=len(manifest.row) - todo, seconds=report.seconds,
            corruption=summary,
        )  # fmt: skip
        run["result"] = job.as_dict()
    return job


@dataclass(frozen=True)
class _Redo:
    """Extracts hit rows again."""

    frames: Frames
    network: Extractor
    corruption: Corruption
    fill: Fill
    manifest: Manifest
    workers: int
    report: Speed

    def features(self, rows: IntArray, clean: FloatArray) -> FloatArray:
        """(n, D): `clean`, with the hit rows replaced.

        Raises:
            BadData: a corruption did not reach a frame's features.
        """
        numbers = np.flatnonzero(np.isin(self.manifest.row, rows))
        if len(numbers) == 0:
            return clean
        hit = self.manifest.row[numbers]

        def load(number: int) -> NDArray[np.uint8]:
            change = partial(self.corruption.apply, what=self.manifest.what[numbers[number]], fill=self.fill)
            cut: NDArray[np.uint8] = self.frames.crop(int(hit[number]), self.network.size, change)
            return cut

        new = compute_features(self.network, load, len(hit), workers=self.workers, on_batch=self.report)
        where = np.searchsorted(rows, hit)
        same = (new == clean[where]).all(axis=1)
        if same.any():
            row = int(hit[np.flatnonzero(same)[0]])
            raise BadData(
                f"{self.frames.path(row)} (row {row}): the corruption did not change the features; "
                "does its block lie outside the image, or is the image black?"
            )
        clean[where] = new
        return clean


def clean_set(store: ClipStore, view: str, extractor: str = "auto") -> FeatureSet:
    """The clean feature set of a view; "auto" takes SPIN's if it is there, else the only other one.

    Raises:
        MissingFeatures: it is not there, or "auto" finds several.
    """
    if extractor != "auto":
        return store.features[f"{extractor}-{view}"]
    found = [
        s for s in store.features.values() if s.attrs.get("view") == view and not s.attrs.get("corruption")
    ]
    whole = {s.attrs["extractor"]: s for s in found if not s.attrs.get("partial")}
    if "spin" in whole:
        return whole["spin"]
    if len(whole) != 1:
        raise MissingFeatures(
            f"{store.location}: {'no clean feature set' if not whole else 'several clean feature sets'} of view "
            f"{view!r} ({', '.join(s.name for s in whole.values()) or 'run hpsbench extract'}); "
            "name the extractor with --extractor"
        )
    return next(iter(whole.values()))


def _check_same_network(clean: FeatureSet, network: Extractor) -> None:
    if clean.attrs.get("weights_sha256") != network.sha256:
        raise FeatureMismatch(
            f"feature set {clean.name!r} was made with weights {clean.attrs.get('weights_sha256')!r}, the extractor "
            f"{network.name!r} here has {network.sha256!r}; extract the clean features again"
        )


def make_manifest(
    store: ClipStore, corruption: Corruption, condition: Condition, view: str, rows: IntArray
) -> Manifest:
    """Draw the hit frames of every track of which `rows` has frames, over the frames that the view keeps.

    The tight box is that of the visible 2D keypoints inside the image; a frame or a dataset without any lends the
    view's own box.
    """
    keep = store.views[view].keep
    wanted = np.isin(np.arange(len(store)), rows)
    row, what, cut = [], [], []
    for track in store.tracks():
        kept = track.rows[keep[track.rows]]
        if wanted[kept].any():
            drawn = plan_track(corruption, condition, track.track, _person_boxes(store, view, track, kept))
            row.append(kept[drawn.frames])
            what.append(drawn.what)
            cut.append(drawn.cut)
    rows_hit, done = np.concatenate(row), np.concatenate(what)
    order = np.argsort(rows_hit)
    return Manifest(row=rows_hit[order], what=done[order], cut=sum(cut), tracks=len(row))


def _person_boxes(store: ClipStore, view: str, track: TrackRows, rows: IntArray) -> FloatArray:
    """(n, 4) x0, y0, x1, y1 of the visible keypoints of a track's rows, inside the image."""
    fields = store.frames
    keypoints = fields["keypoints2d"].take(rows) if "keypoints2d" in fields else np.zeros((len(rows), 0, 3))
    boxes = keypoint_boxes(keypoints, store.views[view].bbox_cxcywh[rows])
    size = track.clips[["width", "height"]].iloc[0].to_numpy(np.float64, na_value=np.inf)
    return np.clip(boxes, 0, np.tile(size - 1, 2))


def preview(
    store_path: Path, root: Path, features: str, out: Path, *, count: int = 8, raw: Path | None = None
) -> Path:
    """Draw a contact sheet of a corrupted set: hit frames spread over it, clean crop above corrupted crop.

    Args:
        store_path: folder of the store.
        root: data root.
        features: name of a corrupted feature set.
        out: picture to write (.png or .jpg).
        count: hit frames to show.
        raw: folder of the raw dataset; None: found under `root`.

    Returns: `out`.

    Raises:
        MissingFeatures: no such set.
        FeatureMismatch: the set is a clean one.
    """
    store = open_store(store_path)
    record = store.features[features].attrs.get("corruption")
    if not record:
        raise FeatureMismatch(f"feature set {features!r} is clean; there is no corruption to show")
    corruption = get_corruption(record["mode"])
    frames = Frames(store, raw or raw_folder(store, root), str(store.features[features].attrs["view"]))
    hits = record["hits"]
    what = np.array([hits[name] for name in corruption.columns]).T
    columns = []
    for number in np.linspace(0, len(hits["row"]) - 1, min(count, len(hits["row"]))).astype(int):
        row, done = hits["row"][number], what[number]
        change = partial(corruption.apply, what=done, fill=record["fill"])
        changed = frames.crop(row, PREVIEW_SIDE, change)
        columns.append(np.concatenate([frames.crop(row, PREVIEW_SIDE), changed]))
    out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(out), np.concatenate(columns, axis=1)[..., ::-1])
    return out
