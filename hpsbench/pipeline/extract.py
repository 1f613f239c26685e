"""`extract`: the CNN features of one view of a store, written as one feature set; resumable chunk by chunk."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpsbench.errors import (
    FeatureMismatch,
    MissingCheckpoint,
    ResumeMismatch,
    UnknownName,
    UsageError,
)
from hpsbench.features.backbones import (
    SPIN_CHECKPOINT,
    Extractor,
    choose_device,
    choose_extractor,
    describe,
    get_extractor,
)
from hpsbench.features.batches import compute_features
from hpsbench.features.frames import Frames
from hpsbench.features.images import DECODER
from hpsbench.pipeline.runs import record_run
from hpsbench.pipeline.work import Progress, lock
from hpsbench.recipes.access import find_raw
from hpsbench.recipes.catalog import get_recipe
from hpsbench.store import layout
from hpsbench.store.feature_sets import FeatureSetWriter
from hpsbench.store.reader import ClipStore, open_store
from hpsbench.types import BoolArray, IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureJob:
    """What `extract` or `corrupt` will do, or did.

    Attributes:
        store: folder of the store.
        features: name of the feature set.
        extractor: its name.
        view: whose rows and boxes.
        frames: rows of the set.
        images: crops that go through the network.
        gigabytes: size of the set on disk.
        done: frames that were there before.
        seconds: it took; None for a plan.
        corruption: its settings and counts, None for clean features.
    """

    store: str
    features: str
    extractor: str
    view: str
    frames: int
    images: int
    gigabytes: float
    done: int
    seconds: float | None = None
    corruption: Mapping[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {slot: getattr(self, slot) for slot in self.__slots__}


def extract(
    store_path: Path,
    root: Path,
    *,
    view: str,
    extractor: str = "auto",
    splits: Sequence[str] | None = None,
    device: str = "auto",
    workers: int = 1,
    limit: int | None = None,
    raw: Path | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> FeatureJob:
    """Compute the features of every kept row of a view and write them as the feature set `<extractor>-<view>`.

    A chunk of 1,024 rows is one work item; a chunk that is on disk is not made again, and the bytes don't depend on
    interruptions or `workers`.

    Args:
        store_path: folder of a complete clip store.
        root: data root, where checkpoints and raw data lie.
        view: whose rows, boxes and crop scale.
        extractor: a name, or "auto" (see `choose_extractor`).
        splits: these, and those that a set of this name already covers; None: all.
        device: auto, cpu or cuda[:N].
        workers: threads for decoding, and for the network on a CPU.
        limit: only the first so many rows, into a set of its own name that says so; for trying.
        raw: folder of the raw dataset; None: found under `root`.
        dry_run: only plan.
        progress: called as (frames done, frames, note with the speed).

    Raises:
        MissingCheckpoint: no extractor can be used; says what to fetch.
        MissingRawFiles, BrokenFile: an image is missing or is not a JPEG; named.
        FeatureMismatch: the synthetic encoder was asked for on real data.
        ResumeMismatch: a set of this name was made in another way.
        UnknownName: no such view or split.
        HpsbenchError: another process works on the same set.
    """
    store = open_store(store_path)
    network = load_extractor(store, root, extractor, device, dry_run=dry_run)
    name = f"{network.name}-{view}" + (f"-first{limit}" if limit else "")
    splits = grown_splits(store, name, splits)
    rows = rows_of(store, view, splits)[:limit]
    frames = Frames(store, raw or raw_folder(store, root), view)
    attrs = {**attributes(network, view, frames.crop_scale, splits, limit), "corruption": None}
    if dry_run:
        todo = len(rows)
        if can_resume(store, name, attrs):
            writer = FeatureSetWriter.create(store_path, name, rows=rows, dim=network.dim, attrs=attrs)
            todo = rows_to_do(writer, rows)
        return plan(store, network, view, name, rows, images=todo, done=len(rows) - todo)
    with job_of(root, store, "extract", name, device=network.device, workers=workers) as record:
        make_room(store, name, attrs)  # nothing is removed that another process is writing
        writer = FeatureSetWriter.create(store_path, name, rows=rows, dim=network.dim, attrs=attrs)
        todo = rows_to_do(writer, rows)
        report = Speed(progress, todo, len(rows))
        for chunk in list(writer.open_chunks()):
            own = writer.rows_of(chunk)
            load = _loader(frames, own, network)
            writer.write(chunk, compute_features(network, load, len(own), workers=workers, on_batch=report))
        writer.finish()
        done = len(rows) - todo
        job = plan(store, network, view, name, rows, images=todo, done=done, seconds=report.seconds)
        record["result"] = job.as_dict()
    return job


def rows_to_do(writer: FeatureSetWriter, among: IntArray) -> int:
    """How many of these rows lie in chunks that are not on disk."""
    return sum(int(np.isin(writer.rows_of(chunk), among).sum()) for chunk in writer.open_chunks())


@contextmanager
def job_of(root: Path, store: ClipStore, verb: str, name: str, **arguments: Any) -> Iterator[dict[str, Any]]:
    """Record the run, and keep other processes from the same feature set."""
    arguments = {"store": store.location, "features": name, **arguments}
    with lock(root, f"{store.path.stem}-{name}"), record_run(root, verb, arguments) as record:
        yield record


def grown_splits(store: ClipStore, name: str, wanted: Sequence[str] | None) -> list[str]:
    """The splits that a feature set will cover: the wanted ones and those that it covers already; sorted.

    Raises:
        UnknownName: the store has no such split.
    """
    known = set(store.clips["split"])
    for split in wanted or ():
        if split not in known:
            raise UnknownName(f"split of {store.location}", split, known)
    had = (_set_attributes(store, name) or {}).get("splits") or []
    return sorted({*(wanted or known), *had})


def can_resume(store: ClipStore, name: str, attrs: Mapping[str, Any]) -> bool:
    """Whether a set of this name is there that covers the same splits."""
    found = _set_attributes(store, name)
    return found is not None and found.get("splits") == attrs["splits"]


def make_room(store: ClipStore, name: str, attrs: Mapping[str, Any]) -> None:
    """Remove a set that is the same but for covering fewer splits; it is made again with all of them.

    Raises:
        ResumeMismatch: a set of this name was made by another network, or from other crops.
    """
    found = _set_attributes(store, name)
    if found is None or can_resume(store, name, attrs):
        return
    for key in ("extractor", "weights_sha256", "view", "crop_scale", "size", "batch", "decoder", "flow"):
        if found.get(key) != attrs.get(key):
            raise ResumeMismatch(
                f"feature set {name!r} of {store.location} was made with {key} = {found.get(key)!r}, now it is "
                f"{attrs.get(key)!r}; remove {store.path / 'features' / name} to make it again"
            )
    shutil.rmtree(store.path / "features" / name)


def _set_attributes(store: ClipStore, name: str) -> Mapping[str, Any] | None:
    document = layout.read_document(store.path / "features" / name)
    return None if document is None else document.get("attributes", {})


def _loader(frames: Frames, rows: IntArray, network: Extractor) -> Callable[[int], NDArray[np.uint8]]:
    """Crops of rows, or crops with those before them, where the network reads pairs."""
    cutter = frames.pair if getattr(network, "pairs", False) else frames.crop

    def load(number: int) -> NDArray[np.uint8]:
        cut: NDArray[np.uint8] = cutter(int(rows[number]), network.size)
        return cut

    return load


class Speed:
    """Turns finished batches into progress calls with frames per second and the time left."""

    def __init__(self, progress: Progress | None, todo: int, total: int) -> None:
        self._progress, self._todo, self._total = progress, todo, total
        self._done, self._begun = 0, time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._begun

    def __call__(self, frames: int) -> None:
        """`frames` more are done."""
        self._done += frames
        if self._progress:
            speed = self._done / max(self.seconds, 1e-9)
            left = (self._todo - self._done) / max(speed, 1e-9)
            note = f"{speed:.0f} frames/s, {left:.0f} s left"
            self._progress(self._total - self._todo + self._done, self._total, note)


def load_extractor(
    store: ClipStore, root: Path, name: str, device: str, *, dry_run: bool = False
) -> Extractor:
    """The extractor for a store, by name or "auto".

    Raises:
        MissingCheckpoint: "auto" finds none, or the named one lacks its weights.
        FeatureMismatch: a synthetic encoder on real data.
    """
    if name == "auto":
        chosen = choose_extractor(root, synthetic=store.synthetic)
        if chosen is None:
            raise MissingCheckpoint(
                f"{store.location} is real data and SPIN's image encoder is not there: get model_checkpoint.pt with "
                f"SPIN's fetch_data.sh (github.com/nkolot/SPIN) and put it at {root / SPIN_CHECKPOINT}"
            )
        name = chosen
    network = get_extractor(name, root, "cpu" if dry_run else choose_device(device))
    if network.synthetic and not store.synthetic:
        raise FeatureMismatch(
            f"extractor {name!r} was trained on synthetic images and {store.location} is real data; "
            "use 'spin', or synthetic data"
        )
    return network


def raw_folder(store: ClipStore, root: Path) -> Path:
    """Folder of the raw dataset that a store was made from.

    Raises:
        MissingRawFiles: it is not there; the message says where it was looked for.
    """
    return find_raw(get_recipe(store.dataset), root).path


def rows_of(store: ClipStore, view: str, splits: Sequence[str]) -> IntArray:
    """(M,) rows that a view keeps in some splits, increasing.

    Raises:
        UnknownName: no such view or split.
        UsageError: the view keeps none of them.
    """
    chosen: BoolArray = np.zeros(len(store), bool)
    for split in splits:
        for track in store.tracks(split):
            chosen[track.rows] = True
    rows: IntArray = np.flatnonzero(chosen & store.views[view].keep)
    if len(rows) == 0:
        raise UsageError(f"{store.location}: view {view!r} keeps no row of {', '.join(splits)}")
    return rows


def attributes(
    network: Extractor, view: str, crop_scale: float, splits: Sequence[str], limit: int | None
) -> dict[str, Any]:
    """What a feature set says of itself, the corruption apart; nothing that depends on how it was run."""
    return {
        **describe(network),
        "view": view,
        "crop_scale": crop_scale,
        "decoder": DECODER,
        "splits": list(splits),
        "partial": limit is not None,
    }


def plan(
    store: ClipStore,
    network: Extractor,
    view: str,
    name: str,
    rows: IntArray,
    *,
    images: int,
    done: int = 0,
    seconds: float | None = None,
    corruption: Mapping[str, Any] | None = None,
) -> FeatureJob:
    """The summary of a job."""
    return FeatureJob(
        store=store.location,
        features=name,
        extractor=network.name,
        view=view,
        frames=len(rows),
        images=images,
        gigabytes=round(len(rows) * network.dim * 4 / 1e9, 3),
        done=done,
        seconds=None if seconds is None else round(seconds, 2),
        corruption=corruption,
    )
