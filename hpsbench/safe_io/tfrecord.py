"""TFRecord files of `tf.train.Example` messages, without TensorFlow or protobuf.

A record is its length (8 bytes, little-endian), the masked CRC-32C of these 8 bytes, the payload, and the masked CRC-32C
of the payload. A payload is a map from names to lists of byte strings, floats or whole numbers, in the protobuf wire
format: `Example.features = 1`, `Features.feature = 1` (entries `key = 1`, `value = 2`), `Feature.bytes_list = 1`,
`float_list = 2`, `int64_list = 3`, and in each list `value = 1`, packed or not.
"""

import struct
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from hpsbench.errors import BrokenFile
from hpsbench.safe_io.bounded import MIB, file_size

Buffer: TypeAlias = bytes  # or a memoryview, which slices and compares as bytes do, without a copy
Feature: TypeAlias = list[bytes] | NDArray[np.float32] | NDArray[np.int64]

_NO_BYTES = np.empty(0, np.uint8)
_HEAD, _TAIL = struct.Struct("<QI"), struct.Struct("<I")
_MASK = 0xA282EAD8
_LARGEST_RECORD = 1024 * MIB
_BYTES, _FLOATS, _INTS = 1, 2, 3  # fields of a Feature
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5  # wire types


def masked_crc32c(data: bytes | NDArray[np.uint8]) -> int:
    """The checksum of TFRecord files: CRC-32C, turned right by 15 bits, plus a constant.

    Example:
        >>> hex(masked_crc32c(b"123456789"))
        '0xc78ab0e5'
    """
    import google_crc32c

    crc = int(google_crc32c.value(data))
    return (((crc >> 15) | (crc << 17)) + _MASK) & 0xFFFFFFFF


def read_records(path: Path) -> Iterator[bytes]:
    """The payloads of a TFRecord file, one in memory at a time; both checksums of each are checked.

    Raises:
        BrokenFile: no TFRecord file, truncated, or a checksum that does not fit; names the record and its place.
        MissingData: no such file.
    """
    return (payload.tobytes() for payload in _mapped_records(path))


def _mapped_records(path: Path) -> Iterator[NDArray[np.uint8]]:
    """The same as views of the mapped file: what nobody looks at is read once for its checksum, and never copied."""
    size = file_size(path, sys.maxsize)
    if size == 0:
        return
    data = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)
    number = place = 0
    while place < size:
        begin = place + _HEAD.size
        length = _length(data[place:begin].tobytes(), path, number, place, size)
        payload, tail = data[begin : begin + length], data[begin + length : begin + length + _TAIL.size]
        if (
            len(payload) < length
            or len(tail) < _TAIL.size
            or _TAIL.unpack(tail.tobytes())[0] != masked_crc32c(payload)
        ):
            raise _broken(path, number, place, "its checksum does not fit its content")
        yield payload
        place = begin + length + _TAIL.size
        number += 1


def read_record(path: Path, number: int) -> bytes:
    """The payload of one record, counted from 0; the records before it are passed over by their lengths.

    Raises:
        BrokenFile, MissingData: as for `read_records`; or there are not so many records.
    """
    size = file_size(path, sys.maxsize)
    with path.open("rb") as file:
        place = 0
        for passed in range(number + 1):
            if place >= size:
                raise BrokenFile(f"{path}: holds {passed} records; record {number} was asked for")
            length = _length(file.read(_HEAD.size), path, passed, place, size)
            if passed < number:
                place += _HEAD.size + length + _TAIL.size
                file.seek(place)
        payload, tail = file.read(length), file.read(_TAIL.size)
    if _TAIL.unpack(tail)[0] != masked_crc32c(payload):
        raise _broken(path, number, place, "its checksum does not fit its content")
    return payload


def read_examples(path: Path) -> Iterator["Example"]:
    """The examples of a TFRecord file.

    Raises:
        BrokenFile, MissingData: as for `read_records`; or a payload is no example.
    """
    for number, payload in enumerate(_mapped_records(path)):
        yield Example(cast("Buffer", payload.data), where=f"{path}: record {number}")


class Example(Mapping[str, Feature]):
    """A `tf.train.Example`: names and features, decoded each time they are asked for.

    A feature is a float32 or int64 array, a list of byte strings, or `[]` if it is empty. Arrays of floats are views of
    the payload: read-only, and possibly not aligned. Byte strings are views, too, where the payload is one (as those of
    `read_examples` are). Features that nobody asks for cost next to nothing.

    Args:
        payload: the message.
        where: what messages call it.

    Raises:
        BrokenFile: the message is damaged; damage within a feature is found when it is asked for.
    """

    def __init__(self, payload: Buffer, *, where: str = "example") -> None:
        self._payload, self.where = payload, where
        with self._broken_if_damaged():
            self._places = dict(_entries(payload))

    def __getitem__(self, key: str) -> Feature:
        with self._broken_if_damaged():
            return _feature(self._payload, *self._places[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    @contextmanager
    def _broken_if_damaged(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, IndexError) as error:
            raise BrokenFile(
                f"{self.where} is not a tf.train.Example ({error}); download the file again"
            ) from error


def _entries(data: Buffer) -> Iterator[tuple[str, tuple[int, int]]]:
    """The features of an example: name, and where the Feature message lies."""
    for _, begin, end in _messages(data, 0, len(data), 1):
        for _, entry, entry_end in _messages(data, begin, end, 1):
            key, value = "", (entry_end, entry_end)
            for field, start, stop in _messages(data, entry, entry_end, 1, 2):
                if field == 1:
                    key = str(data[start:stop], encoding="utf-8")
                else:
                    value = (start, stop)
            yield key, value


def _feature(data: Buffer, begin: int, end: int) -> Feature:
    feature: Feature = []
    for kind, start, stop in _messages(data, begin, end, _BYTES, _FLOATS, _INTS):
        if kind == _BYTES:
            feature = _strings(data, start, stop)
        elif kind == _FLOATS:
            values = _values(data, start, stop, _FIXED32)
            feature = values.view("<f4").astype(np.float32, copy=False)
        else:
            feature = _varints(_values(data, start, stop, _VARINT))
    return feature


def _strings(data: Buffer, begin: int, end: int) -> list[bytes]:
    """The byte strings of a list; a loop of its own, since a record may hold thousands."""
    strings: list[bytes] = []
    place = begin
    while place < end and data[place] == (1 << 3 | _LENGTH):
        length = data[place + 1]
        place += 2
        if length >= 0x80:
            length, place = _varint(data, place - 1)
        if place + length > end:
            raise ValueError(f"a byte string at byte {place} reaches past the end of its list")
        strings.append(data[place : place + length])
        place += length
    if place < end:
        strings += [data[a:b] for _, a, b in _messages(data, place, end, 1)]
    return strings


def _values(data: Buffer, begin: int, end: int, wire: int) -> NDArray[np.uint8]:
    """The bytes of all values of a list of numbers: of its packed runs and of its single values."""
    places = [
        (a, b) for field, kind, a, b in _fields(data, begin, end) if field == 1 and kind in (_LENGTH, wire)
    ]
    if len(places) == 1:
        (start, stop), *_ = places
        return np.frombuffer(data, np.uint8, stop - start, start) if stop > start else _NO_BYTES
    return np.frombuffer(b"".join(data[a:b] for a, b in places), np.uint8)


def _varints(data: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Whole numbers of 7 bits a byte, low ones first; the highest bit of a byte says that more follow."""
    ends = data < 0x80
    if ends.all():
        return data.astype(np.int64)
    last = np.flatnonzero(ends)
    if len(last) == 0 or last[-1] != len(data) - 1:
        raise ValueError("a number is cut off")
    first = np.empty_like(last)
    first[0], first[1:] = 0, last[:-1] + 1
    lengths = last - first + 1
    if lengths.max() > 10:
        raise ValueError("a number has more than 64 bits")
    place = np.arange(len(data)) - np.repeat(first, lengths)
    bits = (data & 0x7F).astype(np.uint64) << (7 * place).astype(np.uint64)
    return np.bitwise_or.reduceat(bits, first).view(np.int64)


def _messages(data: Buffer, begin: int, end: int, *wanted: int) -> Iterator[tuple[int, int, int]]:
    """Fields of some numbers that hold bytes: number, begin, end."""
    for field, wire, start, stop in _fields(data, begin, end):
        if wire == _LENGTH and field in wanted:
            yield field, start, stop


def _fields(data: Buffer, begin: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """All fields of a message: number, wire type, begin and end of the value."""
    place = begin
    while place < end:
        tag, place = _varint(data, place)
        wire = tag & 7
        if wire == _LENGTH:
            length, place = _varint(data, place)
            stop = place + length
        elif wire == _FIXED32:
            stop = place + 4
        elif wire == _VARINT:
            _, stop = _varint(data, place)
        elif wire == _FIXED64:
            stop = place + 8
        else:
            raise ValueError(f"wire type {wire} at byte {place}")
        if stop > end:
            raise ValueError(f"a field at byte {place} reaches past the end of its message")
        yield tag >> 3, wire, place, stop
        place = stop


def _varint(data: Buffer, place: int) -> tuple[int, int]:
    """A whole number, and the place behind it."""
    byte = data[place]
    if byte < 0x80:
        return byte, place + 1
    number, shift = byte & 0x7F, 7
    while shift < 70:
        place += 1
        byte = data[place]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place + 1
        shift += 7
    raise ValueError(f"a number at byte {place} has more than 64 bits")


def _length(head: bytes, path: Path, number: int, place: int, size: int) -> int:
    """Length of the payload that a record's head announces."""
    if len(head) < _HEAD.size:
        raise _broken(path, number, place, "the file ends within its length")
    length, crc = _HEAD.unpack(head)
    if crc != masked_crc32c(head[:8]):
        hint = "; this is a gzip file, unpack it" if number == 0 and head.startswith(b"\x1f\x8b") else ""
        raise _broken(path, number, place, f"the checksum of its length does not fit{hint}")
    if length > _LARGEST_RECORD or place + _HEAD.size + length + _TAIL.size > size:
        raise _broken(path, number, place, f"it should have {length:,} bytes, but the file ends before")
    return int(length)


def _broken(path: Path, number: int, place: int, what: str) -> BrokenFile:
    return BrokenFile(
        f"{path}: record {number} at byte {place:,}: {what}. The file is no TFRecord file, truncated or damaged; "
        "download it again"
    )
