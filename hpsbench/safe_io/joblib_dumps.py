"""joblib dumps (the `*_db.pt` files of the field), read without joblib and without running anything.

A dump of joblib 0.10 or newer is a pickle in which every array is replaced by a small description, followed in the
stream by the array's raw bytes (padded to an alignment from joblib 1.2 on); the whole may be compressed. Format:
the public documentation and files of joblib.
"""

import bz2
import gzip
import io
import lzma
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from hpsbench.errors import BrokenFile, HpsbenchError
from hpsbench.safe_io.bounded import MAX_BYTES, MIB, Bounded, broken_if_unreadable, file_size
from hpsbench.safe_io.pickles import check_plain
from hpsbench.safe_io.stand_ins import ALLOWED
from hpsbench.safe_io.trust import is_trusted
from hpsbench.safe_io.unpickler import Allowed, AllowListUnpickler, Pending

_WRAPPER = ("joblib.numpy_pickle", "NumpyArrayWrapper")
_OLD_WRAPPERS = {
    (f"joblib.numpy_pickle{end}", f"{z}NDArrayWrapper") for end in ("", "_compat") for z in ("", "Z")
}


class _ZlibStream(io.RawIOBase):
    """A zlib file, unpacked as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._unpacker = zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill some of `buffer`; 0 at the end."""
        while not self._unpacker.eof:
            packed = self._unpacker.unconsumed_tail or self._file.read(MIB)
            if not packed:
                raise EOFError("the zlib stream ends too early")
            data = self._unpacker.decompress(packed, len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)
        return 0


_UNPACKERS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZ": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
    b"\x5d\x00": lzma.LZMAFile,
    b"\x78": lambda file: io.BufferedReader(_ZlibStream(file), MIB),
}


@dataclass(frozen=True, slots=True)
class StoredArray:
    """An array that was found in a dump and is read when it is indexed.

    `stored[rows]` with an integer or a slice reads those rows alone: mapped from an uncompressed file, unpacked up to
    there from a compressed one. `numpy.asarray(stored)` reads it whole.
    """

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Literal["C", "F"]
    compressed: bool

    @property
    def nbytes(self) -> int:
        """Size of the whole array in memory."""
        return self.dtype.itemsize * math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | slice) -> NDArray[Any]:
        if not isinstance(rows, slice):
            return cast("NDArray[Any]", self[slice(rows, rows + 1 or None)][0])
        if not self.compressed:
            return np.array(self._mapped()[rows])
        if self.order == "F" or not self.shape:
            return np.asarray(self)[rows]
        start, stop, step = rows.indices(len(self))
        first, last = (start, stop) if step > 0 else (stop + 1, start + 1)
        first, last = min(first, last), max(first, last)
        row_bytes = self.dtype.itemsize * math.prod(self.shape[1:])
        part = self._read(self.offset + first * row_bytes, (last - first, *self.shape[1:]))
        return part[range(start - first, stop - first, step)] if step != 1 else part

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError(f"{self.path}: an array on disk cannot be had without a copy")
        return np.asarray(self._read(self.offset, self.shape), dtype=dtype)

    def _mapped(self) -> NDArray[Any]:
        if not self.nbytes:
            return np.empty(self.shape, self.dtype)
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape, self.order)

    def _read(self, offset: int, shape: tuple[int, ...]) -> NDArray[Any]:
        with broken_if_unreadable(self.path, "joblib dump"), self.path.open("rb") as raw:
            file, _ = _unpacked(raw, self.path)
            bounded = Bounded(file, offset + self.dtype.itemsize * math.prod(shape))
            bounded.skip(offset)
            return _take(bounded, shape, self.dtype, self.order)


def load_joblib(path: Path, *, lazy: bool = False, max_bytes: int = 32 * MAX_BYTES) -> Any:
    """What a joblib dump holds, as plain values; nothing in it is run.

    Args:
        path: the file, plain or compressed with zlib, gzip, bz2, lzma or xz.
        lazy: give `StoredArray` for each array of numbers or text, which are read in slices when indexed.
        max_bytes: larger files, or compressed ones that unpack to more, are refused.

    Raises:
        UnsafeFile: the file asks for something else; the message names it.
        BrokenFile: truncated, damaged, too large, of lz4, of joblib before 0.10, or not a dump.
        MissingData: no such file.
    """
    size = file_size(path, max_bytes)
    if is_trusted(path):
        return _load_trusted(path)
    with broken_if_unreadable(path, "joblib dump"), path.open("rb") as raw:
        file, compressed = _unpacked(raw, path)
        bounded = Bounded(file, max_bytes if compressed else size)
        machine = _JoblibUnpickler(bounded, path, compressed=compressed, lazy=lazy, max_bytes=max_bytes)
        value = machine.load()
        if compressed:
            bounded.peek()  # the end of the packed stream, with its checksum
        check_plain(value, path, (StoredArray,))
        return value


def _unpacked(raw: IO[bytes], path: Path) -> tuple[IO[bytes], bool]:
    """The stream behind the compression, and whether there is any."""
    start = raw.read(6)
    raw.seek(0)
    if start.startswith(b"\x04\x22\x4d\x18"):
        raise BrokenFile(
            f"{path}: compressed with lz4, which is not read; dump it again with compress='zlib'"
        )
    if start.startswith(b"ZF"):
        raise BrokenFile(f"{path}: compressed by joblib before 0.10; load and dump it with a newer joblib")
    for magic, unpacker in _UNPACKERS.items():
        if start.startswith(magic):
            return unpacker(raw), True
    return raw, False


def _take(
    file: Bounded, shape: tuple[int, ...], dtype: np.dtype[Any], order: Literal["C", "F"]
) -> NDArray[Any]:
    """Read one array's bytes."""
    flat = np.empty(math.prod(shape), dtype)
    if flat.nbytes:
        file.readinto(flat.view(np.uint8).data)
    return flat.reshape(shape, order=order)


def _load_trusted(path: Path) -> Any:
    try:
        import joblib
    except ImportError:
        raise HpsbenchError(f"{path}: to load a trusted joblib dump, first run: pip install joblib") from None
    return joblib.load(path)


class _PendingWrapper(Pending):
    """joblib's description of an array; the array's bytes follow it in the stream."""

    def finish(self, state: Any, machine: AllowListUnpickler) -> Any:
        """`state`: subclass, shape, order, dtype, and the alignment from joblib 1.2 on."""
        return cast("_JoblibUnpickler", machine).array(state)


class _JoblibUnpickler(AllowListUnpickler):
    """The pickle machine, which also reads the arrays between the opcodes."""

    def __init__(self, file: Bounded, path: Path, *, compressed: bool, lazy: bool, max_bytes: int) -> None:
        table = {**ALLOWED, _WRAPPER: Allowed(".".join(_WRAPPER), blank=_PendingWrapper)}
        super().__init__(file, path, table, max_bytes=max_bytes)
        self.compressed = compressed
        self.lazy = lazy

    def find_class(self, module: str, name: str) -> Any:
        """The table's entry; the wrappers of old dumps, whose arrays lie in other files, get their own message."""
        if (module, name) in _OLD_WRAPPERS:
            raise BrokenFile(
                f"{self.path}: written by joblib before 0.10; load and dump it with a newer joblib"
            )
        return super().find_class(module, name)

    def array(self, state: dict[str, Any]) -> Any:
        """Read, or note the place of, the array that starts here."""
        if getattr(state["subclass"], "name", "").rpartition(".")[2] not in ("ndarray", "memmap"):
            raise TypeError(f"an array of the class {getattr(state['subclass'], 'name', 'unknown')}")
        dtype, order = state["dtype"], state["order"]
        if not isinstance(dtype, np.dtype) or order not in ("C", "F"):
            raise TypeError(f"an array of dtype {dtype!s} and order {order!r}")
        shape = tuple(int(size) for size in state["shape"])
        if any(size < 0 for size in shape):
            raise ValueError(f"an array of shape {shape}")
        if dtype.hasobject:
            left = AllowListUnpickler(self.file, self.path, ALLOWED, max_bytes=self.bytes_left)
            return left.load()
        if state.get("numpy_array_alignment_bytes") is not None:
            self.file.skip(self.file.read(1)[0])
        stored = StoredArray(self.path, self.file.tell(), shape, dtype, order, self.compressed)
        if not self.lazy:
            self._counted(stored)
            return _take(self.file, shape, dtype, order)
        self.file.skip(stored.nbytes)
        return stored


def unpack_joblib(path: Path, target: Path, *, max_bytes: int = 32 * MAX_BYTES) -> None:
    """Write a compressed dump again without its compression, so that its arrays can be read in slices at once.

    Raises:
        BrokenFile: damaged, or it unpacks to more than `max_bytes`.
        MissingData: no such file.
    """
    file_size(path, max_bytes)
    written = 0
    with broken_if_unreadable(path, "joblib dump"), path.open("rb") as raw, target.open("wb") as copy:
        file, _ = _unpacked(raw, path)
        while block := file.read(MIB):
            written += len(block)
            if written > max_bytes:
                raise BrokenFile(f"{path}: unpacks to more than {max_bytes / MIB:,.0f} MiB")
            copy.write(block)
