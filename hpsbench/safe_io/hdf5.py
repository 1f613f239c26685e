"""HDF5 files (MATLAB 7.3 files among them): named arrays, whole or in slices of rows."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpsbench.errors import BrokenFile
from hpsbench.safe_io.bounded import MAX_BYTES, MIB, broken_if_unreadable, file_size


class Hdf5File:
    """An HDF5 file opened for reading. Arrays that lie in other files are refused, whatever the file says.

    Args:
        path: the file.
        keys: arrays that must be there.

    Raises:
        BrokenFile: no HDF5 file, truncated, or without an array asked for.
        MissingData: no such file.
    """

    def __init__(self, path: Path, keys: Sequence[str] = ()) -> None:
        import h5py

        file_size(path, sys.maxsize)
        self.path = path
        with broken_if_unreadable(path, "HDF5 file"):
            self._file = h5py.File(path, "r")
        try:
            missing = [key for key in keys if not self._holds(key)]
            if missing:
                raise BrokenFile(
                    f"{path}: has no array {', '.join(missing)}; it has {', '.join(sorted(self._file)) or 'nothing'}"
                )
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Hdf5File":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._holds(key)

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of an array."""
        return tuple(self._array(key).shape)

    def read(
        self, key: str, start: int = 0, stop: int | None = None, *, max_bytes: int = MAX_BYTES
    ) -> NDArray[Any]:
        """Rows `start` to `stop` - 1 of an array, all of them unless said otherwise.

        Raises:
            BrokenFile: the file is damaged there, or the rows are larger than `max_bytes`.
        """
        array = self._array(key)
        rows = len(range(*slice(start, stop).indices(array.shape[0]))) if array.shape else 1
        size = array.dtype.itemsize * rows * int(np.prod(array.shape[1:], dtype=object))
        if size > max_bytes:
            raise BrokenFile(
                f"{self.path}: {key} has {size / MIB:,.0f} MiB; {max_bytes / MIB:,.0f} are allowed here"
            )
        with broken_if_unreadable(self.path, "HDF5 file"):
            return np.asarray(array[start:stop] if array.shape else array[()])

    def read_cells(
        self, key: str, rows: Iterable[int], *, max_bytes: int = MAX_BYTES
    ) -> Iterator[NDArray[Any]]:
        """The arrays in some cells of a MATLAB cell array of one row or column, one after another.

        MATLAB 7.3 keeps a cell as a reference to an array of its own, the axes of which are reversed.

        Raises:
            BrokenFile: no cell array, a cell without an array, or one that is larger than `max_bytes`.
        """
        import h5py

        cells = self._array(key)
        if h5py.check_ref_dtype(cells.dtype) is not h5py.Reference or cells.size != max(
            cells.shape, default=0
        ):
            raise BrokenFile(
                f"{self.path}: {key} is no cell array of one row or column, but {cells.dtype} {cells.shape}"
            )
        with broken_if_unreadable(self.path, "HDF5 file"):
            references = np.asarray(cells[()]).ravel()
        for row in rows:
            with broken_if_unreadable(self.path, "HDF5 file"):
                array = self._file[references[row]] if references[row] else None
                if not isinstance(array, h5py.Dataset) or array.external or array.is_virtual:
                    raise BrokenFile(f"{self.path}: row {row} of {key} leads to no array in this file")
                if array.nbytes > max_bytes:
                    raise BrokenFile(
                        f"{self.path}: row {row} of {key} has {array.nbytes / MIB:,.0f} MiB; "
                        f"{max_bytes / MIB:,.0f} are allowed here"
                    )
                values = np.asarray(array[()])
            yield values

    def _holds(self, key: str) -> bool:
        import h5py

        with broken_if_unreadable(self.path, "HDF5 file"):
            link = self._file.get(key, getlink=True) if key in self._file else None
            return isinstance(link, h5py.HardLink) and isinstance(self._file.get(key), h5py.Dataset)

    def _array(self, key: str) -> Any:
        if not self._holds(key):
            raise BrokenFile(
                f"{self.path}: has no array {key}; it has {', '.join(sorted(self._file)) or 'nothing'}"
            )
        array = self._file[key]
        if array.external or array.is_virtual:
            raise BrokenFile(f"{self.path}: {key} lies in another file, which is not read")
        return array
