"""NumPy's `.npy` and `.npz` files, their object arrays included, through the allow-list."""

import io
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from hpsbench.errors import BrokenFile
from hpsbench.safe_io.bounded import MAX_BYTES, MIB, Bounded, broken_if_unreadable, file_size
from hpsbench.safe_io.pickles import check_plain
from hpsbench.safe_io.stand_ins import ALLOWED
from hpsbench.safe_io.unpickler import AllowListUnpickler


def load_npz(
    path: Path, *, keys: Collection[str] | None = None, max_bytes: int = 2 * MAX_BYTES
) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz` file, by name; nothing in it is run.

    Object arrays, in which some body models keep dictionaries, go through the same allow-list as pickles.

    Args:
        path: the file.
        keys: the arrays to read; None reads all. Arrays not asked for cost nothing.
        max_bytes: of all arrays read together, unpacked.

    Raises:
        UnsafeFile: an object array asks for something that could run code; the message names it.
        BrokenFile: truncated, damaged, too large, not an archive, or without an array asked for.
        MissingData: no such file.
    """
    file_size(path, max_bytes)
    with broken_if_unreadable(path, "npz archive"), zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        wanted = list(members) if keys is None else list(keys)
        if missing := sorted(set(wanted) - set(members)):
            raise BrokenFile(f"{path}: has no {', '.join(missing)}; it has {', '.join(sorted(members))}")
        total = sum(members[key].file_size for key in wanted)
        if total > max_bytes:
            raise BrokenFile(
                f"{path}: unpacks to {total / MIB:,.0f} MiB; {max_bytes / MIB:,.0f} are allowed here"
            )
        arrays = {}
        for key in wanted:
            with archive.open(members[key]) as file:
                arrays[key] = _read_array(file, members[key].file_size, path)
        return arrays


def load_npy(path: Path, *, max_bytes: int = MAX_BYTES) -> NDArray[Any]:
    """The array of an `.npy` file; nothing in it is run.

    Raises:
        UnsafeFile, BrokenFile, MissingData: as for `load_npz`.
    """
    size = file_size(path, max_bytes)
    with broken_if_unreadable(path, "npy file"), path.open("rb") as file:
        return _read_array(file, size, path)


def _read_array(file: IO[bytes], size: int, path: Path) -> NDArray[Any]:
    """One `.npy` of `size` bytes; its header is checked against that before memory is taken."""
    bounded = Bounded(file, size)
    magic = bounded.read(npy.MAGIC_LEN)
    version = npy.read_magic(io.BytesIO(magic))
    width = 2 if version == (1, 0) else 4
    length = bounded.read(width)
    header = bounded.read(int.from_bytes(length, "little"))
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read_header(io.BytesIO(length + header))
    if dtype.hasobject:
        value = AllowListUnpickler(bounded, path, ALLOWED).load()
        check_plain(value, path)
        if not isinstance(value, np.ndarray) or value.shape != shape:
            raise ValueError(f"an object array of shape {shape} that holds {type(value).__name__}")
        return value
    left = size - bounded.tell()
    count = int(np.prod(shape, dtype=object))
    if dtype.itemsize * count > left or (count and not dtype.itemsize):
        raise ValueError(f"an array of shape {shape} and dtype {dtype} in {left:,} bytes")
    array = np.empty(count, dtype)
    if count:
        bounded.readinto(array.view(np.uint8).data)
    return array.reshape(shape, order="F" if fortran else "C")
