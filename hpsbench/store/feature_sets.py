"""Adding feature sets to a complete clip store, chunk by chunk, resumable, by one process or many.

    writer = FeatureSetWriter.create(path, "spin-tcmr", rows=kept_rows, dim=2048, attrs={...})
    for chunk in writer.open_chunks():                    # chunks that are not on disk yet
        writer.write(chunk, compute(writer.rows_of(chunk)))   # (n, 2048) float32, n <= 1024
    writer.finish()                                        # now readers see it

`create` on a set that was begun before resumes it, if rows and attributes are the same. A chunk file is written beside
the store and renamed into it, so it is there whole or not at all: its presence is the record that it is done. The
writer can be sent to worker processes; any of them may write any chunk, each chunk by one.
"""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench.errors import BadData, IncompleteStore, ResumeMismatch, ShapeError, UsageError
from hpsbench.store import layout
from hpsbench.store.layout import ArraySpec
from hpsbench.store.reader import open_store
from hpsbench.types import Array, FloatArray, IntArray

REQUIRED_ATTRIBUTES = ("extractor", "weights_sha256", "view", "crop_scale", "corruption")


@dataclass(frozen=True, slots=True)
class FeatureSetWriter:
    """Writes the chunks of one feature set; made by `create`.

    Attributes:
        store: folder of the clip store.
        name: `<extractor>-<view>[+<corruption>]`.
        rows: (M,) rows of the store, increasing.
        dim: D, width of the features.
    """

    store: Path
    name: str
    rows: IntArray
    dim: int

    @classmethod
    def create(
        cls, store: str | Path, name: str, *, rows: IntArray, dim: int, attrs: Mapping[str, Any]
    ) -> "FeatureSetWriter":
        """Begin a feature set, or resume one that was begun with the same rows and attributes.

        Args:
            store: folder of a complete clip store.
            name: of the set, also its folder's name.
            rows: (M,) increasing rows of the store that the features belong to.
            dim: width of the features.
            attrs: what made the features; JSON values. `extractor`, `weights_sha256`, `view`, `crop_scale` and
                `corruption` (None for clean) must be among them. Nothing in it may depend on the machine's paths,
                time or number of workers.

        Raises:
            IncompleteStore, NotAClipStore, StoreVersionError: the store cannot take features.
            UsageError: the name is not a folder name, or an attribute is missing.
            ShapeError: rows that do not increase or lie outside the store.
            ResumeMismatch: a set of this name exists with other rows or attributes.
        """
        _check_name(name)
        lacking = [key for key in REQUIRED_ATTRIBUTES if key not in attrs]
        if lacking:
            raise UsageError(f"feature set {name!r}: attributes {', '.join(lacking)} are missing")
        opened = open_store(store)
        index = np.asarray(rows, dtype=np.int64)
        if (
            index.ndim != 1
            or (np.diff(index) <= 0).any()
            or (len(index) and (index[0] < 0 or index[-1] >= len(opened)))
        ):
            raise ShapeError(f"feature set {name!r}: rows must increase and lie in 0..{len(opened) - 1}")
        writer = cls(Path(store), name, index, dim)
        writer._begin(attrs)
        return writer

    @property
    def folder(self) -> Path:
        """The set's group."""
        return self.store / "features" / self.name

    @property
    def complete(self) -> bool:
        """Whether the set is finished and readable."""
        document = layout.read_document(self.folder) or {}
        return bool(document.get("attributes", {}).get("complete"))

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return -(-len(self.rows) // layout.FEATURE_CHUNK_ROWS)

    def rows_of(self, chunk: int) -> IntArray:
        """The store rows of a chunk: 1,024 of them, fewer in the last."""
        size = layout.FEATURE_CHUNK_ROWS
        return self.rows[chunk * size : (chunk + 1) * size]

    def open_chunks(self) -> Iterator[int]:
        """Chunks that are not on disk yet, in order."""
        return (chunk for chunk in range(self.chunks) if not self._file(chunk).exists())

    def write(self, chunk: int, data: FloatArray) -> None:
        """Write one whole chunk, all or nothing.

        Args:
            chunk: its number.
            data: (n, D) features of `rows_of(chunk)`, in that order.

        Raises:
            ShapeError: not one row of width D for each row of the chunk.
            BadData: a feature is not finite, or the set is already complete.
        """
        wanted = (len(self.rows_of(chunk)), self.dim)
        if data.shape != wanted:
            raise ShapeError(f"feature set {self.name!r}, chunk {chunk}: expected {wanted}, got {data.shape}")
        broken = ~np.isfinite(data).all(axis=1)
        if broken.any():
            row = int(self.rows_of(chunk)[np.flatnonzero(broken)[0]])
            raise BadData(
                f"feature set {self.name!r}: {int(broken.sum())} rows are not finite, the first is row {row}"
            )
        if self.complete:
            raise BadData(
                f"feature set {self.name!r} of {self.store} is complete; remove its folder to write it again"
            )
        padded = np.zeros((layout.FEATURE_CHUNK_ROWS, self.dim), dtype="<f4")
        padded[: len(data)] = data
        layout.write_file(self._file(chunk), padded.data.cast("B"), self._scratch)

    def finish(self) -> None:
        """Mark the set complete: from now on readers see it. Does nothing if it already is.

        Raises:
            BadData: chunks are missing.
        """
        if self.complete:
            return
        missing = list(self.open_chunks())
        if missing:
            raise BadData(f"feature set {self.name!r}: {len(missing)} of {self.chunks} chunks are missing")
        document = layout.read_document(self.folder)
        if document is None:
            raise IncompleteStore(f"{self.folder} has lost its metadata; remove the folder and run again")
        document["attributes"]["complete"] = True
        layout.write_file(self.folder / layout.NODE, layout.encode(document), self._scratch)
        shutil.rmtree(self._scratch, ignore_errors=True)

    @property
    def _scratch(self) -> Path:
        return layout.scratch_folder(self.store) / self.name

    @property
    def _spec(self) -> ArraySpec:
        return ArraySpec("float32", (self.dim,))

    def _file(self, chunk: int) -> Path:
        return layout.chunk_file(self.folder / "data", chunk, 2)

    def _begin(self, attrs: Mapping[str, Any]) -> None:
        """Write the metadata and the row index; the group's own document is the last, so it vouches for them."""
        group = layout.group_document(
            {"format": "hpsbench-features", "version": 1, "complete": False, **attrs}
        )
        found = layout.read_document(self.folder)
        if found is not None:
            self._check_same(layout.read_document(self.folder / "row"), found, group)
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        data = layout.array_document(self._spec, len(self.rows), layout.FEATURE_CHUNK_ROWS)
        layout.write_file(self.folder / "data" / layout.NODE, layout.encode(data), self._scratch)
        self._write_rows()
        layout.write_file(self.folder / layout.NODE, layout.encode(group), self._scratch)

    def _write_rows(self) -> None:
        spec, node = ArraySpec("int64", ()), self.folder / "row"
        size = spec.chunk_rows(len(self.rows))
        layout.write_file(
            node / layout.NODE,
            layout.encode(layout.array_document(spec, len(self.rows), size)),
            self._scratch,
        )
        for chunk, start in enumerate(range(0, len(self.rows), size)):
            padded = np.zeros(size, dtype="<i8")
            part = self.rows[start : start + size]
            padded[: len(part)] = part
            layout.write_file(layout.chunk_file(node, chunk, 1), padded.data.cast("B"), self._scratch)

    def _check_same(
        self, rows: Mapping[str, Any] | None, found: Mapping[str, Any], wanted: Mapping[str, Any]
    ) -> None:
        old, new = (layout.encode({**d["attributes"], "complete": None}) for d in (found, wanted))
        same_rows = rows is not None and rows.get("shape") == [len(self.rows)]
        same_rows = same_rows and np.array_equal(self._stored_rows(), self.rows)
        width = (layout.read_document(self.folder / "data") or {}).get("shape", [0, 0])[1]
        if old == new and same_rows and width == self.dim:
            return
        what = "attributes" if old != new else "rows" if not same_rows else "width"
        raise ResumeMismatch(
            f"feature set {self.name!r} of {self.store} was made with other {what}; "
            f"remove {self.folder} to make it again, or choose another name"
        )

    def _stored_rows(self) -> Array:
        from hpsbench.store.nodes import LocalNodes

        return np.asarray(LocalNodes(self.store, mapped=True).array(f"features/{self.name}/row"))


def _check_name(name: str) -> None:
    allowed = all(c.isalnum() or c in "+-._" for c in name)
    if not name or not allowed or name.startswith("."):
        raise UsageError(f"feature set name {name!r}: use letters, digits, '+', '-', '.', '_'")
