"""Arrays of a store as they are read: rows by NumPy indices, from mapped chunk files or through zarr-python.

Both kinds return fresh, writable arrays whose memory starts on a 64-byte boundary: copying from a mapped page into
memory that starts elsewhere is several times slower.
"""

import math
import mmap
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hpsbench.errors import BrokenFile, ShapeError
from hpsbench.store import layout
from hpsbench.types import Array, IntArray

ALIGNMENT = 64


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An uninitialised array whose first byte lies on a 64-byte boundary."""
    size = math.prod(shape) * dtype.itemsize
    buffer = np.empty(size + ALIGNMENT, dtype=np.uint8)
    offset = -buffer.ctypes.data % ALIGNMENT
    return buffer[offset : offset + size].view(dtype).reshape(shape)


class RowArray(ABC):
    """An array on disk, read by rows: `array[3]`, `array[10:20]`, `array[rows]`, `array[mask]`, `array[rows, :, 0]`.

    Attributes:
        shape, dtype: as NumPy's.
        attrs: the array's attributes: `unit`, `frame`, `joint_set`, `joint_names` where they apply.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], attrs: Mapping[str, Any]) -> None:
        self.shape, self.dtype, self.attrs = shape, dtype, attrs

    @abstractmethod
    def read_range(self, start: int, stop: int, out: Array | None = None) -> Array:
        """Rows `start` to `stop - 1`, in a new array or in `out`, which has their shape and type."""

    @abstractmethod
    def take(self, rows: IntArray, out: Array | None = None) -> Array:
        """The rows of a 1-D index array without negative entries, in its order, in a new array or in `out`."""

    def _target(self, count: int, out: Array | None) -> Array:
        """Where `count` rows go.

        Raises:
            ShapeError: `out` is of another shape or type.
        """
        shape = (count, *self.shape[1:])
        if out is None:
            return aligned_empty(shape, self.dtype)
        if out.shape != shape or out.dtype != self.dtype:
            raise ShapeError(f"out: expected {shape} {self.dtype}, got {out.shape} {out.dtype}")
        return out

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) and key else (key, ())
        if first is Ellipsis or first is None or (isinstance(key, tuple) and not key):
            return self.read_range(0, len(self))[key]
        if isinstance(first, slice):
            start, stop, step = first.indices(len(self))
            rows = (
                self.read_range(start, max(start, stop))
                if step == 1
                else self.take(np.arange(start, stop, step))
            )
            return rows[(slice(None), *rest)] if rest else rows
        if isinstance(first, int | np.integer):
            row = self.take(self._checked(np.array([first])))[0]
            return row[rest] if rest else row
        index = np.asarray(first)
        if index.dtype == np.bool_:
            if index.shape != (len(self),):
                raise IndexError(f"mask of shape {index.shape} for {len(self)} rows")
            index = np.flatnonzero(index)
        elif index.size == 0:
            index = index.astype(np.int64)
        if not np.issubdtype(index.dtype, np.integer):
            raise IndexError(f"rows must be integers, a slice or a mask, not {index.dtype}")
        rows = self.take(self._checked(index.ravel())).reshape(*index.shape, *self.shape[1:])
        return rows[(*[slice(None)] * index.ndim, *rest)] if rest else rows

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole = self.read_range(0, len(self))
        return whole if dtype is None else whole.astype(dtype)

    def _checked(self, rows: ArrayLike) -> IntArray:
        index = np.asarray(rows, dtype=np.int64)
        outside = (index < -len(self)) | (index >= len(self))
        if outside.any():
            raise IndexError(f"row {index[outside][0]} of an array of {len(self)} rows")
        return np.where(index < 0, index + len(self), index)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.shape} {self.dtype}>"


class ChunkMaps:
    """Mapped chunk files, the latest ones kept open; shared by the arrays of one store and its threads."""

    def __init__(self, limit: int = 256) -> None:
        self._limit = limit
        self._open: dict[tuple[Path, int], Array] = {}
        self._lock = threading.Lock()

    def get(self, node: Path, index: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """A chunk of the array in the folder `node`, read-only.

        Raises:
            BrokenFile: the file is missing or has another size.
        """
        found = self._open.get((node, index))
        if found is not None:
            return found
        file = layout.chunk_file(node, index, len(shape))
        chunk = self._map(file, math.prod(shape) * dtype.itemsize).view(dtype).reshape(shape)
        with self._lock:
            self._open[node, index] = chunk
            while len(self._open) > self._limit:
                del self._open[next(iter(self._open))]
        return chunk

    @staticmethod
    def _map(path: Path, size: int) -> Array:
        try:
            with path.open("rb") as file:
                found = path.stat().st_size
                if found != size:
                    raise BrokenFile(
                        f"{path}: expected {size} bytes, found {found}; copy or prepare the store again"
                    )
                return np.frombuffer(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ), dtype=np.uint8)
        except FileNotFoundError as error:
            raise BrokenFile(
                f"{path} is missing: the store was damaged or copied in part (a store holds empty chunks too); "
                "copy or prepare it again"
            ) from error


class MappedArray(RowArray):
    """Rows from chunk files that are mapped into memory; only for arrays for which `layout.is_plain` holds."""

    def __init__(self, node: Path, document: Mapping[str, Any], maps: ChunkMaps) -> None:
        dtype = np.dtype(document["data_type"]).newbyteorder("<")
        super().__init__(tuple(document["shape"]), dtype, document.get("attributes", {}))
        self._node, self._maps = node, maps
        self._chunk_shape = tuple(document["chunk_grid"]["configuration"]["chunk_shape"])

    @property
    def chunk_rows(self) -> int:
        """Rows per chunk."""
        return int(self._chunk_shape[0])

    def _chunk(self, index: int) -> Array:
        return self._maps.get(self._node, index, self._chunk_shape, self.dtype)

    def read_range(self, start: int, stop: int, out: Array | None = None) -> Array:
        """Rows `start` to `stop - 1`, in a new array or in `out`, which has their shape and type."""
        out = self._target(stop - start, out)
        size = self._chunk_shape[0]
        at = start
        while at < stop:
            index, inside = divmod(at, size)
            count = min(stop - at, size - inside)
            out[at - start : at - start + count] = self._chunk(index)[inside : inside + count]
            at += count
        return out

    def take(self, rows: IntArray, out: Array | None = None) -> Array:
        """The rows of a 1-D index array without negative entries, in its order, in a new array or in `out`."""
        count = len(rows)
        if count and rows[-1] - rows[0] == count - 1 and (rows[1:] - rows[:-1] == 1).all():
            return self.read_range(int(rows[0]), int(rows[-1]) + 1, out)
        out = self._target(count, out)
        chunks, inside = np.divmod(rows, self.chunk_rows)
        for index in np.unique(chunks).tolist():
            hit = np.flatnonzero(chunks == index)
            if len(hit) == count and out.flags.c_contiguous:
                np.take(self._chunk(index), inside, axis=0, out=out, mode="clip")
            else:
                out[hit] = self._chunk(index)[inside[hit]]
        return out


class ZarrArray(RowArray):
    """Rows through zarr-python: any codec, sharded or remote."""

    def __init__(self, array: Any) -> None:
        super().__init__(tuple(array.shape), np.dtype(array.dtype), dict(array.attrs))
        self._array = array

    def read_range(self, start: int, stop: int, out: Array | None = None) -> Array:
        """Rows `start` to `stop - 1`, in a new array or in `out`, which has their shape and type."""
        out = self._target(stop - start, out)
        if stop > start:
            out[...] = self._array[start:stop]
        return out

    def take(self, rows: IntArray, out: Array | None = None) -> Array:
        """The rows of a 1-D index array without negative entries, in its order, in a new array or in `out`."""
        out = self._target(len(rows), out)
        if len(rows):
            wanted, back = np.unique(rows, return_inverse=True)
            out[...] = self._array.oindex[wanted][back]
        return out
