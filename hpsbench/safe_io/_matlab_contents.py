"""The table of contents of a MATLAB 5 file: which variables it holds, where they lie and how large they are.

`scipy.io.whosmat` tells the same at the price of reading a small file whole. Source of the layout: MathWorks, "MAT-File
Format", chapter 1 (a header of 128 bytes, then elements; each a type and a length in bytes, and its data).
"""

import mmap
import struct
import zlib
from typing import NamedTuple

_HEADER = 128
_LITTLE_ENDIAN = b"\x00\x01IM"  # version 0x0100 and the mark of the byte order
_MATRIX, _COMPRESSED = 14, 15  # types of elements
_OPAQUE = 17  # class of an array that is no array, but an object of MATLAB's
_HEAD = 512  # bytes that hold flags, dimensions and name, packed or not
_TAG = struct.Struct("<II")


class Variable(NamedTuple):
    """A variable: its element lies at bytes `begin` to `end` - 1 of the file; `size` is that of its numbers as doubles."""

    name: str
    begin: int
    end: int
    size: int


def list_variables(data: bytes | mmap.mmap) -> list[Variable] | None:
    """The variables of a file; None if it is of another kind than most (of another byte order, older, with objects).

    Raises:
        ValueError, struct.error, zlib.error, UnicodeDecodeError: the file is damaged.
    """
    if data[_HEADER - len(_LITTLE_ENDIAN) : _HEADER] != _LITTLE_ENDIAN:
        return None
    found = []
    place = _HEADER
    while place < len(data):
        kind, length = _TAG.unpack(data[place : place + _TAG.size])
        begin, end = place + _TAG.size, place + _TAG.size + length
        if end > len(data):
            raise ValueError(f"the variable at byte {place:,} reaches past the end of the file")
        head = data[begin : min(end, begin + _HEAD)]
        if kind == _COMPRESSED:
            unpacked = zlib.decompressobj().decompress(head, _HEAD)
            kind, head = _TAG.unpack_from(unpacked)[0], unpacked[_TAG.size :]
        if kind != _MATRIX:
            raise ValueError(f"the element at byte {place:,} is no variable")
        variable = _described(head, place, end)
        if variable is None:
            return None
        found.append(variable)
        place = end
    return found


def _described(head: bytes, begin: int, end: int) -> Variable | None:
    """A variable from its flags, dimensions and name; None for an object."""
    if head[8] == _OPAQUE:
        return None
    (length,) = struct.unpack_from("<I", head, 20)
    size = 8
    for side in struct.unpack_from(f"<{length // 4}i", head, 24):
        if side < 0:
            raise ValueError(f"the variable at byte {begin:,} has a dimension of {side}")
        size *= side
    place = 24 + -(-length // 8) * 8
    (tag,) = struct.unpack_from("<I", head, place)
    # Up to four bytes lie within their tag.
    count, start = (tag >> 16, place + 4) if tag >> 16 else (_TAG.unpack_from(head, place)[1], place + 8)
    if start + count > len(head):
        raise ValueError(f"the name of the variable at byte {begin:,} is cut off")
    return Variable(head[start : start + count].decode("latin1"), begin, end, size)
