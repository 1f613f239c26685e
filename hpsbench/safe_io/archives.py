"""NumPy's `.npy` and `.npz` files, their object arrays included, through the allow-list."""

import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeAlias, cast

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from hpsbench.errors import BrokenFile
from hpsbench.safe_io.bounded import MAX_BYTES, MIB, Bounded, broken_if_unreadable, file_size
from hpsbench.safe_io.pickles import check_plain
from hpsbench.safe_io.stand_ins import ALLOWED
from hpsbench.safe_io.unpickler import AllowListUnpickler

Keys: TypeAlias = Collection[str] | Callable[[Collection[str]], Collection[str]]

_LOCAL_HEAD = struct.Struct(
    "<4s2xH18xHH"
)  # of a member: magic, flags, lengths of its name and of what follows it
_UTF8 = 0x800
# The header that NumPy itself writes for numbers and text; its own reader, for all others, takes Python's parser to it.
_HEADER = re.compile(
    rb"\{'descr': '([<>|=][biufcSU]\d{1,9})', 'fortran_order': (True|False), "
    rb"'shape': \((\d{1,18},|\d{1,18}(?:, \d{1,18})+|)\), \} *\n"
)


def load_npz(
    path: Path, *, keys: Keys | None = None, max_bytes: int = 2 * MAX_BYTES
) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz` file, by name; nothing in it is run.

    Object arrays, in which some body models keep dictionaries, go through the same allow-list as pickles.

    Args:
        path: the file.
        keys: the arrays to read, or a function that chooses them from the names that are there; None reads all. Arrays
            not asked for cost nothing.
        max_bytes: of all arrays read together, unpacked.

    Raises:
        UnsafeFile: an object array asks for something that could run code; the message names it.
        BrokenFile: truncated, damaged, too large, not an archive, or without an array asked for.
        MissingData: no such file.
    """
    file_size(path, max_bytes)
    with (
        broken_if_unreadable(path, "npz archive"),
        path.open("rb") as content,
        zipfile.ZipFile(content) as archive,
    ):
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        wanted = list(members if keys is None else keys(members) if callable(keys) else keys)
        if missing := sorted(set(wanted) - set(members)):
            raise BrokenFile(f"{path}: has no {', '.join(missing)}; it has {', '.join(sorted(members))}")
        total = sum(members[key].file_size for key in wanted)
        if total > max_bytes:
            raise BrokenFile(
                f"{path}: unpacks to {total / MIB:,.0f} MiB; {max_bytes / MIB:,.0f} are allowed here"
            )
        arrays = {}
        for key in wanted:
            info = members[key]
            if info.compress_type == zipfile.ZIP_STORED and info.file_size == info.compress_size:
                arrays[key] = _read_array(cast("IO[bytes]", _Stored(content, info)), info.file_size, path)
                continue
            with archive.open(info) as file:
                arrays[key] = _read_array(file, info.file_size, path)
        return arrays


class _Stored:
    """A member that is kept as it is: its bytes go from the file to where they are wanted, and are checked on the way.

    The standard library copies them twice more.

    Raises:
        BadZipFile: the member does not begin where the archive says, or its checksum does not fit.
    """

    def __init__(self, file: BinaryIO, info: zipfile.ZipInfo) -> None:
        self._file, self._info = file, info
        self._left, self._crc = info.file_size, 0
        file.seek(info.header_offset)
        head = file.read(_LOCAL_HEAD.size)
        magic, flags, name, extra = _LOCAL_HEAD.unpack(head.ljust(_LOCAL_HEAD.size, b"\0"))
        text = file.read(name).decode("utf-8" if flags & _UTF8 else "cp437")
        if magic != b"PK\3\4" or flags & 1 or text != info.orig_filename:
            raise zipfile.BadZipFile(f"the archive has no readable {info.filename} where it should be")
        file.seek(extra, io.SEEK_CUR)

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer`, as far as there are bytes."""
        part = buffer[: self._left]
        got = self._file.readinto(part)  # type: ignore[attr-defined]
        self._left -= got
        self._crc = zlib.crc32(part[:got], self._crc)
        if self._left == 0 and self._crc != self._info.CRC:
            raise zipfile.BadZipFile(f"the CRC-32 of {self._info.filename} does not fit")
        return int(got)

    def read(self, count: int) -> bytes:
        """So many bytes, as far as there are."""
        found = bytearray(min(count, self._left))
        return bytes(found[: self.readinto(memoryview(found))])

    def readline(self, count: int) -> bytes:
        """One line with its end, or so many bytes."""
        line = b""
        while len(line) < count and not line.endswith(b"\n") and (byte := self.read(1)):
            line += byte
        return line


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
    shape, fortran, dtype = _header(version, length, header)
    if dtype.hasobject:
        value = AllowListUnpickler(bounded, path, ALLOWED).load()
        check_plain(value, path)
        if not isinstance(value, np.ndarray) or value.shape != shape:
            raise ValueError(f"an object array of shape {shape} that holds {type(value).__name__}")
        return value
    left = size - bounded.tell()
    count = math.prod(shape)
    if dtype.itemsize * count > left or (count and not dtype.itemsize):
        raise ValueError(f"an array of shape {shape} and dtype {dtype} in {left:,} bytes")
    array = np.empty(count, dtype)
    if count:
        bounded.readinto(array.view(np.uint8).data)
    return array.reshape(shape, order="F" if fortran else "C")


def _header(
    version: tuple[int, int], length: bytes, header: bytes
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and type of an array."""
    if known := _HEADER.fullmatch(header):
        code, fortran, sizes = (part.decode() for part in known.groups())
        return tuple(int(size) for size in sizes.split(",") if size), fortran == "True", np.dtype(code)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, is_fortran, dtype = read(io.BytesIO(length + header))
    return shape, is_fortran, dtype
