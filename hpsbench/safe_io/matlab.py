"""MATLAB files up to version 7.2 (`scipy.io.loadmat`): arrays, text and cells; nothing in them is run.

MATLAB 7.3 files are HDF5; `hpsbench.safe_io.hdf5` reads those.
"""

import io
import mmap
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpsbench.errors import BrokenFile
from hpsbench.safe_io._matlab_contents import Variable, list_variables
from hpsbench.safe_io.bounded import MAX_BYTES, MIB, broken_if_unreadable, file_size

_HDF5 = (b"MATLAB 7.3", b"\x89HDF")
_SMALL = MIB  # bytes of a file that is read whole; a larger one is mapped


def load_matlab(
    path: Path, *, keys: Collection[str] | None = None, max_bytes: int = MAX_BYTES
) -> dict[str, NDArray[Any]]:
    """The variables of a MATLAB file, by name, as `scipy.io.loadmat` gives them.

    Every variable has at least two dimensions (numbers are (1, 1)), text is an array of strings, a cell array is an
    object array. `unwrap` opens the nested 1 x 1 arrays.

    Args:
        path: the file.
        keys: the variables to read; None reads all.
        max_bytes: size of the file, and of the variables that its table of contents lists.

    Raises:
        BrokenFile: truncated, damaged, too large, a MATLAB 7.3 file, or without a variable asked for.
        MissingData: no such file.
    """
    size = file_size(path, max_bytes)
    with path.open("rb") as file:
        if file.read(10).startswith(_HDF5):
            raise BrokenFile(
                f"{path}: a MATLAB 7.3 (HDF5) file, where an older MATLAB file was expected; is it in the right folder?"
            )
        file.seek(0)
        data = file.read() if size <= _SMALL else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    with broken_if_unreadable(path, "MATLAB file"), warnings.catch_warnings():
        import scipy.io

        warnings.simplefilter("error", scipy.io.matlab.MatReadWarning)
        contents = list_variables(data)
        held = _sizes(path) if contents is None else [(variable.name, variable.size) for variable in contents]
        _check_size(path, held, keys, max_bytes)
        if contents is None or not isinstance(data, bytes):
            loaded = scipy.io.loadmat(
                str(path), variable_names=None if keys is None else list(keys), appendmat=False
            )
        else:
            source: Any = io.BytesIO(_only(data, contents, keys))  # whose type scipy's stubs do not know
            loaded = scipy.io.loadmat(source)
        found = {name: np.asarray(value) for name, value in loaded.items() if not name.startswith("__")}
        if missing := sorted(set(keys or []) - set(found)):
            raise BrokenFile(
                f"{path}: has no {', '.join(missing)}; it has {', '.join(sorted(name for name, _ in held)) or 'nothing'}. "
                "Is it cut off, or of another dataset?"
            )
        return found


def _sizes(path: Path) -> list[tuple[str, int]]:
    """Names and unpacked bytes of the variables, as scipy lists them."""
    import scipy.io

    held = scipy.io.whosmat(str(path), appendmat=False)
    return [(name, 8 * int(np.prod(shape, dtype=object))) for name, shape, _ in held]


def _check_size(
    path: Path, held: Sequence[tuple[str, int]], keys: Collection[str] | None, max_bytes: int
) -> None:
    """Refuse variables that unpack to more than is allowed, by the file's table of contents."""
    size = sum(size for name, size in held if keys is None or name in keys)
    if size > max_bytes:
        raise BrokenFile(f"{path}: unpacks to {size / MIB:,.0f} MiB; {max_bytes / MIB:,.0f} are allowed here")


def _only(data: bytes, contents: Sequence[Variable], keys: Collection[str] | None) -> bytes:
    """A file of some variables: nothing is spent on the others."""
    if keys is None:
        return data
    wanted = [data[variable.begin : variable.end] for variable in contents if variable.name in keys]
    return b"".join([data[: contents[0].begin] if contents else data, *wanted])


def unwrap(value: Any) -> Any:
    """What lies in nested arrays of one element: a number, a text, or an array of more than one.

    Example:
        >>> unwrap(np.array([[np.array(["squat"])]], dtype=object)), unwrap(np.array([[7]], dtype=np.uint8))
        ('squat', 7)
    """
    while isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    return value
