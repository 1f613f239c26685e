"""MATLAB files up to version 7.2 (`scipy.io.loadmat`): arrays, text and cells; nothing in them is run.

MATLAB 7.3 files are HDF5; `hpsbench.safe_io.hdf5` reads those.
"""

import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpsbench.errors import BrokenFile
from hpsbench.safe_io.bounded import MAX_BYTES, MIB, broken_if_unreadable, file_size

_HDF5 = (b"MATLAB 7.3", b"\x89HDF")


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
    import scipy.io

    file_size(path, max_bytes)
    with path.open("rb") as file:
        if file.read(10).startswith(_HDF5):
            raise BrokenFile(
                f"{path}: a MATLAB 7.3 (HDF5) file, where an older MATLAB file was expected; is it in the right folder?"
            )
    with broken_if_unreadable(path, "MATLAB file"), warnings.catch_warnings():
        warnings.simplefilter("error", scipy.io.matlab.MatReadWarning)
        _check_size(path, keys, max_bytes)
        wanted = None if keys is None else list(keys)
        loaded = scipy.io.loadmat(str(path), variable_names=wanted, appendmat=False)
        found = {name: np.asarray(value) for name, value in loaded.items() if not name.startswith("__")}
        if missing := sorted(set(wanted or []) - set(found)):
            held = sorted(name for name, _, _ in scipy.io.whosmat(str(path), appendmat=False))
            raise BrokenFile(
                f"{path}: has no {', '.join(missing)}; it has {', '.join(held) or 'nothing'}. "
                "Is it cut off, or of another dataset?"
            )
        return found


def _check_size(path: Path, keys: Collection[str] | None, max_bytes: int) -> None:
    """Refuse variables that unpack to more than is allowed, by the file's table of contents."""
    import scipy.io

    held = scipy.io.whosmat(str(path), appendmat=False)
    size = sum(
        8 * int(np.prod(shape, dtype=object)) for name, shape, _ in held if keys is None or name in keys
    )
    if size > max_bytes:
        raise BrokenFile(f"{path}: unpacks to {size / MIB:,.0f} MiB; {max_bytes / MIB:,.0f} are allowed here")


def unwrap(value: Any) -> Any:
    """What lies in nested arrays of one element: a number, a text, or an array of more than one.

    Example:
        >>> unwrap(np.array([[np.array(["squat"])]], dtype=object)), unwrap(np.array([[7]], dtype=np.uint8))
        ('squat', 7)
    """
    while isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    return value
