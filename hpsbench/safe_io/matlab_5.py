"""The plain kinds of MATLAB 5 variables, read without a copy: numbers, one line of text, and cells of these.

scipy reads MATLAB files of every kind, but opens each file several times over and copies each array once. What is read
here is what it gives; anything else, damaged files among it, is left to it: `read_plain` then says nothing.

Source of the layout: "MAT-File Format" of The MathWorks, chapter 1 (level 5 MAT-files).
"""

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEADER = 128
_LITTLE_5 = b"\x00\x01IM"  # version and byte order at the header's end
_TAG = struct.Struct("<II")
_FLAGS = struct.Struct("<IIII")
_MATRIX, _PACKED, _INT8, _INT32, _UINT32, _UTF8 = 14, 15, 1, 5, 6, 16
_CELL, _CHAR, _NUMBERS = 1, 4, range(6, 16)  # classes of arrays
_TYPES = {
    number: np.dtype(name)
    for number, name in {
        1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8",
    }.items()
}  # fmt: skip
_DEEPEST = 4  # cells in cells


class _OtherKindError(Exception):
    """A variable that is not plain, or not sound."""


def read_plain(
    data: NDArray[np.uint8], keys: Collection[str] | None, max_bytes: int
) -> dict[str, NDArray[Any]] | None:
    """The variables of a MATLAB 5 file, if all that are asked for are there and plain; else None.

    Args:
        data: the file's content; the arrays are views of it.
        keys: the variables to read; None reads all.
        max_bytes: that one variable may unpack to.
    """
    try:
        return _variables(data.data, keys, max_bytes)
    except (_OtherKindError, struct.error, zlib.error, ValueError):
        return None


def _variables(data: memoryview, keys: Collection[str] | None, max_bytes: int) -> dict[str, NDArray[Any]]:
    if bytes(data[_HEADER - 4 : _HEADER]) != _LITTLE_5:
        raise _OtherKindError
    found: dict[str, NDArray[Any]] = {}
    place = _HEADER
    while place < len(data) and (keys is None or len(found) < len(keys)):
        kind, length = _TAG.unpack_from(data, place)
        content = _part(data, place + 8, length)
        place += 8 + length
        if kind == _PACKED:
            content = _unpacked(content, max_bytes)
        elif kind != _MATRIX:
            raise _OtherKindError
        name, matrix = _named(content)
        if not name.isidentifier() or name.startswith("__") or name in found:
            raise _OtherKindError
        if keys is None or name in keys:
            found[name] = matrix.read()
    if keys is not None and len(found) < len(keys):
        raise _OtherKindError
    return found


def _unpacked(content: memoryview, max_bytes: int) -> memoryview:
    """The one matrix in a compressed element, without its tag."""
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(content, max_bytes)
    if not unpacker.eof or unpacker.unused_data:
        raise _OtherKindError
    kind, length = _TAG.unpack_from(data)
    if kind != _MATRIX or length != len(data) - 8:
        raise _OtherKindError
    return memoryview(bytearray(data))[8:]


class _Matrix:
    """A matrix whose head was read: its class, shape, and where its values lie."""

    def __init__(self, data: memoryview, kind: int, shape: tuple[int, ...], place: int, depth: int) -> None:
        self._data, self._kind, self._shape, self._place, self._depth = data, kind, shape, place, depth

    def read(self) -> NDArray[Any]:
        """Its values, in the type in which the file has them."""
        if self._kind == _CELL:
            return self._cells()
        kind, content, end = _element(self._data, self._place)
        if end != len(self._data):
            raise _OtherKindError
        if self._kind == _CHAR:
            return self._text(kind, content)
        if kind not in _TYPES or len(content) != math.prod(self._shape) * _TYPES[kind].itemsize:
            raise _OtherKindError
        return np.frombuffer(content, _TYPES[kind]).reshape(self._shape, order="F")

    def _text(self, kind: int, content: memoryview) -> NDArray[Any]:
        text = bytes(content).decode("ascii" if kind == _UTF8 else "utf-16-le", "replace")
        if (
            kind not in (_UTF8, 4)
            or not (text.isascii() and text.isprintable() and text)
            or self._shape != (1, len(text))
        ):
            raise _OtherKindError
        return np.array([text])

    def _cells(self) -> NDArray[Any]:
        if self._depth == _DEEPEST:
            raise _OtherKindError
        if math.prod(self._shape) * _TAG.size > len(self._data):
            raise _OtherKindError
        cells = np.empty(math.prod(self._shape), dtype=object)
        count = 0
        for content in _matrices(self._data, self._place):
            if count == len(cells):
                raise _OtherKindError
            _, matrix = _named(content, self._depth + 1)
            cells[count] = matrix.read()
            count += 1
        if count < len(cells):
            raise _OtherKindError
        return cells.reshape(self._shape, order="F")


def _matrices(data: memoryview, place: int) -> Iterator[memoryview]:
    """The contents of the matrices that follow each other to the end."""
    while place < len(data):
        kind, length = _TAG.unpack_from(data, place)
        if kind != _MATRIX or length == 0:
            raise _OtherKindError
        yield _part(data, place + 8, length)
        place += 8 + length


def _named(data: memoryview, depth: int = 0) -> tuple[str, _Matrix]:
    """Name and head of the matrix that fills `data`."""
    tag, length, flags, _ = _FLAGS.unpack_from(data)
    if (tag, length) != (_UINT32, 8):
        raise _OtherKindError
    kind, lengths, place = _element(data, 16)
    if kind != _INT32 or len(lengths) % 4 or len(lengths) < 8:
        raise _OtherKindError
    shape = struct.unpack(f"<{len(lengths) // 4}i", lengths)
    kind, name, place = _element(data, place)
    plain = flags in (_CELL, _CHAR, *_NUMBERS)  # no flag set: not complex, global or logical
    if kind != _INT8 or not plain or min(shape) < 0:
        raise _OtherKindError
    return bytes(name).decode("latin1"), _Matrix(data, flags, shape, place, depth)


def _element(data: memoryview, place: int) -> tuple[int, memoryview, int]:
    """Type and content of an element, and where the next one begins."""
    kind, length = _TAG.unpack_from(data, place)
    if kind >> 16:  # a short one: length and type in four bytes, the content in the other four
        if kind >> 16 > 4:
            raise _OtherKindError
        return kind & 0xFFFF, data[place + 4 : place + 4 + (kind >> 16)], place + 8
    return kind, _part(data, place + 8, length), place + 8 + length + -length % 8


def _part(data: memoryview, place: int, length: int) -> memoryview:
    if place + length > len(data):
        raise _OtherKindError
    return data[place : place + length]
