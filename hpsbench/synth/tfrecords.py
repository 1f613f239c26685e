"""TFRecord files of `tf.train.Example` messages, as bytes: the same content gives the same bytes.

Source of the format: TensorFlow's documentation of TFRecord and the protobuf encoding. Nothing here is shared with what
reads such files.
"""

import struct
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Values = Sequence[bytes] | NDArray[np.float32] | NDArray[np.int64]
_MASK_DELTA = 0xA282EAD8
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3
_LENGTH_DELIMITED = 2


def shard(examples: Sequence[Mapping[str, Values]]) -> bytes:
    """A TFRecord file with one record per example, its lists of numbers packed."""
    return b"".join(record(example(features)) for features in examples)


def record(payload: bytes) -> bytes:
    """A payload between its length and its checksum, each with a masked CRC-32C."""
    length = struct.pack("<Q", len(payload))
    return length + _checksum(length) + payload + _checksum(payload)


def example(features: Mapping[str, Values], *, single: Sequence[str] = ()) -> bytes:
    """A `tf.train.Example`.

    Args:
        features: byte strings, float32 or int64 arrays, by name; written in the order of the mapping.
        single: names of int64 features that are written number by number, as old writers do, not packed.
    """
    entries = [
        _field(1, _field(1, name.encode()) + _field(2, _feature(values, packed=name not in single)))
        for name, values in features.items()
    ]
    return _field(1, b"".join(entries))


def _feature(values: Values, *, packed: bool) -> bytes:
    if not isinstance(values, np.ndarray):
        return _field(_BYTES_LIST, b"".join(_field(1, text) for text in values))
    if values.dtype.kind == "f":
        return _field(_FLOAT_LIST, _field(1, values.ravel().astype("<f4").tobytes()))
    numbers = [_base128(int(number) % (1 << 64)) for number in values.ravel().tolist()]
    if packed:
        return _field(_INT64_LIST, _field(1, b"".join(numbers)))
    return _field(_INT64_LIST, b"".join(_base128(1 << 3) + number for number in numbers))


def _field(number: int, data: bytes) -> bytes:
    return _base128(number << 3 | _LENGTH_DELIMITED) + _base128(len(data)) + data


def _base128(number: int) -> bytes:
    """Seven bits a byte, the low ones first; the top bit says that more follow."""
    groups = []
    while True:
        number, low = divmod(number, 128)
        groups.append(low + 128 if number else low)
        if not number:
            return bytes(groups)


def _checksum(data: bytes) -> bytes:
    import google_crc32c

    crc = int(google_crc32c.value(data))
    turned = (crc >> 15) + (crc % (1 << 15) << 17)
    return struct.pack("<I", (turned + _MASK_DELTA) % (1 << 32))
