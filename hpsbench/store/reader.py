"""Opening and reading clip stores.

store = open_store("data/stores/3dpw.zarr")
store.clips                          # pandas table
store.frames["betas"][rows]          # (n, 10)
store.views["tcmr"].keep             # (N,) bool
store.features["spin-tcmr"].of(rows) # (n, 2048) for rows of the store
for track in store.tracks("test"): ...
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np

from hpsbench.errors import (
    BadData,
    IncompleteStore,
    MissingFeatures,
    NotAClipStore,
    StoreVersionError,
    UnknownName,
)
from hpsbench.store import layout
from hpsbench.store.arrays import RowArray
from hpsbench.store.nodes import LocalNodes, Nodes, RemoteNodes
from hpsbench.types import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    import pandas as pd

Value = TypeVar("Value")


def open_store(path: str | Path, *, mapped: bool = True) -> "ClipStore":
    """Open a clip store for reading.

    Args:
        path: folder of the store, or a URL that zarr-python can open (`s3://bucket/3dpw.zarr`).
        mapped: map chunk files into memory where their codecs allow it; False reads all through zarr-python.

    Raises:
        MissingStore: there is nothing at `path`.
        NotAClipStore: what lies there is not a clip store.
        StoreVersionError: a store of another format version.
        IncompleteStore: its preparation was interrupted.
    """
    nodes: Nodes = RemoteNodes(str(path)) if "://" in str(path) else LocalNodes(Path(path), mapped)
    attrs = nodes.attributes("")
    if attrs is None:
        raise nodes.missing()
    if attrs.get("format") != layout.FORMAT:
        raise NotAClipStore(
            f"{path} is a Zarr group, but not a clip store: attribute 'format' is {attrs.get('format')!r}, "
            f"expected {layout.FORMAT!r}"
        )
    version = attrs.get("version")
    if not isinstance(version, int) or version not in READERS:
        raise StoreVersionError(
            f"{path} is a clip store of version {version!r}; this hpsbench reads version "
            f"{', '.join(map(str, sorted(READERS)))}. Prepare it again, or use the hpsbench that wrote it "
            f"({attrs.get('code_version', 'version unknown')})."
        )
    if not attrs.get("complete"):
        raise IncompleteStore(
            f"{path} is incomplete: its preparation was interrupted. Run the same command to resume."
        )
    return READERS[version](str(path), nodes, attrs)


def read_attributes(path: Path) -> dict[str, Any] | None:
    """Root attributes of whatever Zarr group lies at `path`, complete or not; None if there is none."""
    document = layout.read_document(path)
    return None if document is None else dict(document.get("attributes", {}))


class TrackRows(NamedTuple):
    """The rows of one track.

    Attributes:
        track: its name.
        split: `train`, `val` or `test`.
        rows: (T,) rows of the store in frame order.
        clips: its rows of the clip table.
    """

    track: str
    split: str
    rows: IntArray
    clips: "pd.DataFrame"


class View:
    """A mask and boxes over the rows of a store, as one code base selects them.

    Attributes:
        attrs: the rule, the crop scale, the counts by reason.
    """

    def __init__(self, nodes: Nodes, path: str) -> None:
        self._nodes, self._path = nodes, path
        self.attrs: Mapping[str, Any] = nodes.attributes(path) or {}

    @cached_property
    def keep(self) -> BoolArray:
        """(N,) which rows the view keeps."""
        return np.asarray(self._nodes.array(f"{self._path}/keep"))

    @cached_property
    def bbox_cxcywh(self) -> FloatArray:
        """(N, 4) box centre, width and height in pixels; NaN where a row has none."""
        return np.asarray(self._nodes.array(f"{self._path}/bbox_cxcywh"))


class FeatureSet:
    """One extractor's features of some rows of a store.

    Attributes:
        name: `<extractor>-<view>[+<corruption>]`.
        data: (M, D) float32, read by position.
        attrs: extractor, weights, view, crop scale, corruption, ...
    """

    def __init__(self, nodes: Nodes, path: str) -> None:
        self.name = path.rsplit("/", 1)[-1]
        self._nodes, self._path = nodes, path
        self.attrs: Mapping[str, Any] = nodes.attributes(path) or {}
        self.data: RowArray = nodes.array(f"{path}/data")

    @cached_property
    def row(self) -> IntArray:
        """(M,) the store row of each feature, increasing."""
        return np.asarray(self._nodes.array(f"{self._path}/row"))

    @property
    def dim(self) -> int:
        """Width of the features."""
        return int(self.data.shape[1])

    def positions(self, rows: IntArray) -> IntArray:
        """Where the features of these store rows lie in `data`.

        Raises:
            MissingFeatures: the set does not cover all of them.
        """
        found = np.searchsorted(self.row, rows)
        inside = np.minimum(found, max(len(self.row) - 1, 0))
        missing = np.ones(len(rows), bool) if len(self.row) == 0 else self.row[inside] != rows
        if missing.any():
            raise MissingFeatures(self._lacking(np.asarray(rows)[missing], len(rows)))
        return inside

    def _lacking(self, rows: IntArray, wanted: int) -> str:
        """What to say of rows that the set does not cover: how many, of which splits, and the command that adds them."""
        from hpsbench.store.clips import clips_from_parquet

        clips = clips_from_parquet(np.asarray(self._nodes.array("clips")).tobytes(), self._path)
        own = np.searchsorted(clips["start"].to_numpy(), rows, side="right") - 1
        splits = list(dict.fromkeys(clips["split"].to_numpy(dtype=str)[own].tolist()))
        covered = list(self.attrs.get("splits") or [])
        what = (
            f"feature set {self.name!r} has no features for {len(rows)} of {wanted} rows (first: row {int(rows[0])}), of "
            f"split {', '.join(splits)}"
        )
        lacking = [split for split in splits if split not in covered]
        if not covered or not lacking:
            return f"{what}; use the view it was made for ({self.attrs.get('view')!r}), or extract these rows"
        command = make_command(self.attrs, str((self._nodes.attributes("") or {}).get("dataset", "3dpw")))
        ways = " ".join(f"--split {split}" for split in lacking)
        return f"{what}; it covers {', '.join(covered)} alone. To add them, run: {command} {ways}"

    def of(self, rows: IntArray, out: FloatArray | None = None) -> FloatArray:
        """(n, D) features of store rows, in the order of `rows`; in a new array or in `out`.

        Raises:
            MissingFeatures: the set does not cover all of them.
        """
        return self.data.take(self.positions(rows), out)

    def __len__(self) -> int:
        return len(self.data)


def make_command(attrs: Mapping[str, Any], dataset: str) -> str:
    """The command line that makes a feature set with these attributes, but for its splits.

    >>> make_command({"extractor": "spin", "view": "tcmr", "corruption": None}, "3dpw")
    'hpsbench extract 3dpw --view tcmr --features spin'
    """
    ends = f"--view {attrs.get('view')} --features {attrs.get('extractor')}"
    corruption: Mapping[str, Any] = attrs.get("corruption") or {}
    if not corruption:
        return f"hpsbench extract {dataset} {ends}"
    usual = {"consecutive": 1, "seed": 0, "pattern": "random", "severity": None, "fill": "black"}
    options = [
        f"--{key} {corruption[key]:g}" if isinstance(corruption[key], float) else f"--{key} {corruption[key]}"
        for key in ("mode", "ratio", *usual)
        if key in corruption and corruption[key] != usual.get(key)
    ]
    return f"hpsbench corrupt {' '.join(options)} --dataset {dataset} {ends}"


class _Lazy(Mapping[str, Value], Generic[Value]):
    """Names at once, values when asked for; an unknown name is an error that suggests."""

    def __init__(
        self, names: list[str], load: Callable[[str], Value], missing: Callable[[str], Exception]
    ) -> None:
        self._names, self._load, self._missing = sorted(names), load, missing
        self._loaded: dict[str, Value] = {}

    def __getitem__(self, name: str) -> Value:
        if name not in self._loaded:
            if name not in self._names:
                raise self._missing(name)
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"<{', '.join(self._names)}>"


class ClipStore:
    """A clip store, opened by `open_store`. Safe to hand to worker processes.

    Attributes:
        location: its folder or URL.
        attrs: root attributes.
    """

    def __init__(self, location: str, nodes: Nodes, attrs: Mapping[str, Any]) -> None:
        self.location, self.attrs, self._nodes = location, attrs, nodes

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.location, self._nodes.mapped)

    @property
    def path(self) -> Path:
        """The folder of a local store."""
        return Path(self.location)

    @property
    def dataset(self) -> str:
        """Key of the dataset, `3dpw`."""
        return str(self.attrs["dataset"])

    @property
    def synthetic(self) -> bool:
        """Whether it was made from synthetic raw data."""
        return bool(self.attrs["synthetic"])

    def __len__(self) -> int:
        return len(self.frames["frame_id"])

    @cached_property
    def clips(self) -> "pd.DataFrame":
        """The clip table."""
        from hpsbench.store.clips import clips_from_parquet

        return clips_from_parquet(np.asarray(self._nodes.array("clips")).tobytes(), self.location)

    @cached_property
    def frames(self) -> Mapping[str, RowArray]:
        """Field name -> (N, ...) array, read by rows."""
        return self._mapping("frames", "field", lambda name: self._nodes.array(f"frames/{name}"))

    @cached_property
    def views(self) -> Mapping[str, View]:
        """View name -> mask and boxes."""
        return self._mapping("views", "view", lambda name: View(self._nodes, f"views/{name}"))

    def _mapping(self, group: str, kind: str, load: Callable[[str], Value]) -> Mapping[str, Value]:
        names = self._nodes.children(group)
        return _Lazy(names, load, lambda name: UnknownName(f"{kind} of {self.location}", name, names))

    @property
    def features(self) -> Mapping[str, FeatureSet]:
        """Name -> feature set; complete ones only. Looked up afresh, since sets are added to a store in use."""
        complete, incomplete = self._feature_names()
        return _Lazy(
            complete, self._feature_set, lambda name: self._missing_features(name, complete, incomplete)
        )

    @property
    def incomplete_features(self) -> list[str]:
        """Names of feature sets whose extraction was interrupted or is running."""
        return self._feature_names()[1]

    def _feature_names(self) -> tuple[list[str], list[str]]:
        names = sorted(self._nodes.children("features"))
        done = {
            name: bool((self._nodes.attributes(f"features/{name}") or {}).get("complete")) for name in names
        }
        return [n for n in names if done[n]], [n for n in names if not done[n]]

    def _feature_set(self, name: str) -> FeatureSet:
        return FeatureSet(self._nodes, f"features/{name}")

    def _missing_features(self, name: str, complete: list[str], incomplete: list[str]) -> Exception:
        if name in incomplete:
            return MissingFeatures(
                f"{self.location}: feature set {name!r} is incomplete; run the command that makes it again to resume"
            )
        return MissingFeatures(
            f"{self.location} has no feature set {name!r} (it has: {', '.join(complete) or 'none'}); "
            "'hpsbench extract' and 'hpsbench corrupt' make feature sets"
        )

    def joint_names(self, field: str) -> list[str]:
        """Names of the joints along the second axis of a field, in order.

        Raises:
            UnknownName: the store has no such field.
            BadData: the field is not made of joints.
        """
        names = self.frames[field].attrs.get("joint_names")
        if names is None:
            raise BadData(f"{self.location}: field {field!r} has no joint names")
        return list(names)

    def tracks(self, split: str | None = None) -> Iterator[TrackRows]:
        """The tracks in the order of their rows; only those of one split if it is given.

        Raises:
            UnknownName: the store has no such split.
        """
        clips = self.clips
        if split is not None and split not in set(clips["split"]):
            raise UnknownName(f"split of {self.location}", split, set(clips["split"]))
        for name, own in clips.groupby("track", sort=False):
            if split is not None and own["split"].iloc[0] != split:
                continue
            spans = zip(own["start"].tolist(), own["length"].tolist(), strict=True)
            rows = np.concatenate([np.arange(start, start + length) for start, length in spans])
            yield TrackRows(str(name), str(own["split"].iloc[0]), rows, own)

    def __repr__(self) -> str:
        return f"<ClipStore {self.location}: {self.dataset}, {len(self)} rows>"


READERS: Mapping[int, Callable[[str, Nodes, Mapping[str, Any]], ClipStore]] = {1: ClipStore}


def _reopen(location: str, mapped: bool) -> ClipStore:
    return open_store(location, mapped=mapped)
