"""`corrupt`: one more feature set, in which some frames are corrupted.

Rows that are not hit are copied bit for bit from the clean set; rows that are hit are extracted again, from the image with
its corruption or with another box, by the same network in batches of the same size. Where a frame is shown in another's
place, its features are copied. The manifest of hit frames is in the set's attributes: `corruption.hits` holds the columns
`row` and what was done (for blocks `left`, `top`, `side` in pixels); together with the images it is all there is to know.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hpsbench.corruption._catalog import get_corruption
from hpsbench.corruption._corruption import Corruption, Fill
from hpsbench.corruption._pattern import Pattern
from hpsbench.corruption._plan import Condition, choose_condition, plan_track
from hpsbench.corruption._record import FIRST_VERSION
from hpsbench.errors import FeatureMismatch, MissingFeatures, ResumeMismatch, UnknownName, UsageError
from hpsbench.features.backbones import Extractor
from hpsbench.features.corrupted import corrupted_crop
from hpsbench.features.flow import KIND
from hpsbench.features.frames import Frames
from hpsbench.pipeline.extract import (
    FeatureJob,
    Speed,
    attributes,
    can_resume,
    grown_splits,
    job_of,
    load_extractor,
    make_room,
    plan,
    raw_folder,
    rows_of,
    rows_to_do,
)
from hpsbench.pipeline.redo import Redo, changed_rows
from hpsbench.pipeline.scenes import Scenes
from hpsbench.pipeline.work import Progress
from hpsbench.store.feature_sets import FeatureSetWriter
from hpsbench.store.layout import read_document
from hpsbench.store.reader import ClipStore, FeatureSet, open_store
from hpsbench.types import IntArray

if TYPE_CHECKING:
    import pandas as pd

PREVIEW_SIDE = 224
CAPTION = 18
"""Pixels of the strip above a picture of the contact sheet."""
ALL = "all"
"""As a split: all that the store has."""
ROWS_AT_ONCE = 4096


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

    def counts(self) -> dict[str, int]:
        """Hit frames, frames that did not fit, tracks."""
        return {"hit": len(self.row), "cut": self.cut, "tracks": self.tracks}

    def as_dict(self, columns: Sequence[str]) -> dict[str, Any]:
        """For attributes and JSON."""
        what = {name: self.what[:, i].tolist() for i, name in enumerate(columns)}
        return {"tracks": self.tracks, "cut": self.cut, "hits": {"row": self.row.tolist(), **what}}


def corrupt(
    store_path: Path,
    root: Path,
    *,
    mode: str,
    ratio: float | None = None,
    consecutive: int | None = None,
    severity: int | None = None,
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
    workers, splits or mode. Of a graded corruption the set's name ends with `-sev<severity>`.

    Args:
        store_path: folder of a complete clip store that has the clean set.
        root: data root.
        mode: a corruption, `center` (= `centre`), `random`, ...: `corruption._catalog.list_corruptions()`.
        ratio: share of hit frames in each track; 0.33 means one third, 1 every frame; None: the severity's.
        consecutive: frames of a burst; None: the severity's, where the ratio is, else 1.
        severity: 1 to 5: the strength of a graded corruption (None: 3), ratio and burst of the others.
        seed: of the draw.
        splits: these, and those that a set of this name already covers; None, or "all" among them: all.
        pattern: "random", or "regular" distances.
        fill: colour of what is hidden.
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
        ResumeMismatch: a set of this name was made by another version of the corruption, or another network.
        UsageError, UnknownName: a setting that cannot be met, an unknown mode, view or split.
        MissingRawFiles, BrokenFile: an image is missing or is not a JPEG; named.
        HpsbenchError: another process works on the same set.
    """
    corruption = get_corruption(mode)
    condition = choose_condition(
        corruption,
        ratio=ratio,
        consecutive=consecutive,
        severity=severity,
        seed=seed,
        pattern=pattern,
        fill=fill,
    )
    store = open_store(store_path)
    clean = clean_set(store, view, extractor)
    network = load_extractor(store, root, str(clean.attrs["extractor"]), device, dry_run=dry_run)
    _check_same_network(clean, network)
    name = f"{clean.name}+{condition.name}"
    splits = grown_splits(store, name, None if splits is None or ALL in splits else splits)
    rows = rows_of(store, view, splits)
    clean.positions(rows)  # all of them are there
    manifest = make_manifest(store, corruption, condition, view, rows)
    crop_scale = float(clean.attrs["crop_scale"])
    record = {
        **_settings(store, name, corruption, condition),
        "clean": clean.name,
        **manifest.as_dict(corruption.columns),
    }
    attrs = {**attributes(network, view, crop_scale, splits, None), "corruption": record}
    summary = {**condition.as_dict(), **manifest.counts()}
    from_images = corruption.kind != "rows" or clean.attrs.get("kind") == KIND
    if len(manifest.row) == 0:
        raise UsageError(
            f"corruption {condition.name!r} hits no frame of {', '.join(splits)} in {store.location}: the tracks are too short "
            "for such bursts or such a share; choose a larger --ratio or a smaller --consecutive"
        )
    frames = Frames(store, raw or raw_folder(store, root), view) if from_images else None
    hit, what = manifest.row, manifest.what
    changed = changed_rows(network, frames, rows, hit)
    if dry_run:
        writer = FeatureSetWriter(store_path, name, rows, clean.dim)
        todo = rows_to_do(writer, changed) if can_resume(store, name, attrs) else len(changed)
        images, done = todo if from_images else 0, len(changed) - todo
        return plan(store, network, view, name, rows, images=images, done=done, corruption=summary)
    with job_of(root, store, "corrupt", name, device=network.device, workers=workers) as run:
        make_room(store, name, attrs)  # nothing is removed that another process is writing
        writer = FeatureSetWriter.create(store_path, name, rows=rows, dim=clean.dim, attrs=attrs)
        todo = rows_to_do(writer, changed)
        report = Speed(progress, todo, len(changed))
        redo = Redo(frames, network, clean, corruption, fill, hit, what, changed, workers, report)
        for chunk in list(writer.open_chunks()):
            own = writer.rows_of(chunk)
            writer.write(chunk, redo.features(own, np.array(clean.of(own))))
        writer.finish()
        unchanged = unchanged_rows(open_store(store_path), name)
        job = plan(
            store, network, view, name, rows, images=todo if from_images else 0, done=len(changed) - todo,
            seconds=report.seconds, corruption={**summary, "unchanged": len(unchanged)},
        )  # fmt: skip
        run["result"] = job.as_dict()
    return job


def _settings(store: ClipStore, name: str, corruption: Corruption, condition: Condition) -> dict[str, Any]:
    """The condition and the corruption's version; a set that was begun before records said a version goes on without one.

    Raises:
        ResumeMismatch: the set that is there was made by another version of the corruption.
    """
    document = read_document(store.path / "features" / name)
    record = None if document is None else document.get("attributes", {}).get("corruption")
    if not isinstance(record, dict):
        return {"version": corruption.version, **condition.as_dict()}
    made = record.get("version", FIRST_VERSION)
    if made != corruption.version:
        raise ResumeMismatch(
            f"feature set {name!r} of {store.location} was made by version {made} of the corruption {corruption.name!r}, "
            f"which is now at version {corruption.version}; remove {store.path / 'features' / name} to make it again"
        )
    return {**({"version": made} if "version" in record else {}), **condition.as_dict()}


def clean_set(store: ClipStore, view: str, extractor: str = "auto") -> FeatureSet:
    """The clean feature set of a view; "auto" takes SPIN's if it is there, else the only other one.

    Raises:
        MissingFeatures: it is not there, or "auto" finds several.
        UnknownName: the store has no such view.
    """
    if extractor != "auto":
        return store.features[f"{extractor}-{view}"]
    found = [
        s
        for s in store.features.values()
        if s.attrs.get("view") == view and not s.attrs.get("corruption") and s.attrs.get("kind") != KIND
    ]
    whole = {s.attrs["extractor"]: s for s in found if not s.attrs.get("partial")}
    if "spin" in whole:
        return whole["spin"]
    if view not in store.views:
        raise UnknownName(f"view of {store.location}", view, store.views)
    if not whole:
        raise MissingFeatures(
            f"{store.location}: no clean feature set of view {view!r}; "
            f"run 'hpsbench extract {store.dataset} --view {view}'"
        )
    if len(whole) > 1:
        raise MissingFeatures(
            f"{store.location}: several clean feature sets of view {view!r} ({', '.join(s.name for s in whole.values())}); "
            f"choose one with --features {' or --features '.join(sorted(whole))}"
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
    """Draw the hit frames of every track of which `rows` has frames, over the frames that the view keeps."""
    scenes = Scenes(store, view, others=corruption.kind == "box")
    wanted = np.isin(np.arange(len(store)), rows)
    row: list[IntArray] = [np.zeros(0, np.int64)]
    what: list[IntArray] = [np.zeros((0, len(corruption.columns)), np.int64)]
    cut: list[int] = []
    for track in store.tracks():
        kept = track.rows[scenes.keep[track.rows]]
        if wanted[kept].any():
            drawn = plan_track(corruption, condition, track.track, scenes.scene(track, kept))
            row.append(kept[drawn.frames])
            what.append(drawn.what)
            cut.append(drawn.cut)
    rows_hit, done = np.concatenate(row), np.concatenate(what)
    order = np.argsort(rows_hit)
    return Manifest(row=rows_hit[order], what=done[order], cut=sum(cut), tracks=len(cut))


def unchanged_rows(store: ClipStore, features: str) -> IntArray:
    """Hit rows of a corrupted set whose features are the clean ones: what was hidden lies outside the crop, or was dark.

    Args:
        store: an open store.
        features: name of a corrupted feature set.

    Returns: (k,) store rows, increasing.

    Raises:
        MissingFeatures: no such set, or its clean one is gone.
        FeatureMismatch: the set is a clean one.
    """
    record = _record(store, features)
    corrupted, clean = store.features[features], store.features[str(record["clean"])]
    hit = np.asarray(record["hits"]["row"], np.int64)
    found = [np.zeros(0, np.int64)]
    for start in range(0, len(hit), ROWS_AT_ONCE):
        rows = hit[start : start + ROWS_AT_ONCE]
        found.append(rows[(corrupted.of(rows) == clean.of(rows)).all(axis=1)])
    return np.concatenate(found)


def manifest_table(store: ClipStore, features: str) -> "pd.DataFrame":
    """The manifest of a corrupted set as a table: `row`, `track`, `frame_id`, and what was done in the corruption's columns.

    Raises:
        MissingFeatures: no such set.
        FeatureMismatch: the set is a clean one.
    """
    import pandas as pd

    record = _record(store, features)
    rows = np.asarray(record["hits"]["row"], np.int64)
    clips = store.clips
    clip = np.searchsorted(clips["start"].to_numpy(), rows, side="right") - 1
    known = {
        "row": rows,
        "track": clips["track"].to_numpy(dtype=str)[clip],
        "frame_id": np.asarray(store.frames["frame_id"][rows]),
    }
    return pd.DataFrame({**known, **{name: record["hits"][name] for name in record["hits"] if name != "row"}})


def _record(store: ClipStore, features: str) -> dict[str, Any]:
    record = store.features[features].attrs.get("corruption")
    if not record:
        raise FeatureMismatch(f"feature set {features!r} is clean; there is no corruption to show")
    return dict(record)


def preview(
    store_path: Path, root: Path, features: str, out: Path, *, count: int = 8, raw: Path | None = None
) -> Path:
    """Draw a contact sheet of a corrupted set: hit frames spread over it, clean crop above corrupted crop.

    Args:
        store_path: folder of the store.
        root: data root.
        features: name of a corrupted feature set.
        out: picture to write (.png or .jpg).
        count: hit frames to show; of row corruptions neighbouring ones, since they show only next to each other.
        raw: folder of the raw dataset; None: found under `root`.

    Returns: `out`.

    Raises:
        MissingFeatures: no such set.
        FeatureMismatch: the set is a clean one.
        UsageError: a picture of another kind, or nothing can be written there.
    """
    check_picture(out)
    store = open_store(store_path)
    record = _record(store, features)
    corruption = get_corruption(str(record["mode"]))
    frames = Frames(store, raw or raw_folder(store, root), str(store.features[features].attrs["view"]))
    table = manifest_table(store, features)
    shown = np.linspace(0, len(table) - 1, min(count, len(table))).astype(int)
    if corruption.kind == "rows":
        shown = np.arange(min(count, len(table)))
    columns = []
    for hit in table.iloc[shown].to_dict("records"):
        what = np.array([hit[name] for name in corruption.columns])
        row = int(hit["row"])
        changed = corrupted_crop(frames, corruption, row, what, PREVIEW_SIDE, record["fill"])
        said = f"{hit['track']} #{hit['frame_id']}"
        if corruption.kind == "rows":
            said += f" <- #{np.asarray(store.frames['frame_id'][what])[0]}"
        columns.append(np.concatenate([_caption(said), frames.crop(row, PREVIEW_SIDE), changed]))
    _, picture = cv2.imencode(out.suffix.lower(), np.concatenate(columns, axis=1)[..., ::-1])
    _write(out, picture.tobytes(), "--preview")
    return out


def write_manifest(store_path: Path, features: str, out: Path) -> Path:
    """Write the manifest of a corrupted set as a CSV file, see `manifest_table`.

    Returns: `out`.

    Raises:
        MissingFeatures: no such set.
        FeatureMismatch: the set is a clean one.
        UsageError: nothing can be written there.
    """
    text = manifest_table(open_store(store_path), features).to_csv(index=False)
    _write(out, text.encode(), "--manifest")
    return out


def _write(out: Path, content: bytes, option: str) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(content)
    except OSError as problem:
        raise UsageError(
            f"{out}: cannot be written ({problem.strerror}); the feature set is complete, so give {option} another place and "
            "run the same command again"
        ) from problem


def check_picture(out: Path) -> None:
    """Refuse a contact sheet of another kind than .png or .jpg.

    Raises:
        UsageError: it is one.
    """
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UsageError(f"{out}: a contact sheet is a .png or a .jpg")


def _caption(text: str) -> NDArray[np.uint8]:
    """A dark strip with a line of text, as wide as a picture of the contact sheet; a long line keeps its end."""
    strip = np.full((CAPTION, PREVIEW_SIDE, 3), 32, np.uint8)
    said = text if len(text) <= 34 else f"...{text[-31:]}"
    cv2.putText(strip, said, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (235, 235, 235), 1, cv2.LINE_AA)
    return strip
