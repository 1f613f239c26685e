"""TFRecord files against a writer of their own, known checksums, and damage at every place."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpsbench.errors import BrokenFile, MissingData
from hpsbench.safe_io.tfrecord import Example, masked_crc32c, read_examples, read_record, read_records

VECTOR = bytes.fromhex("090000000000000037f97139313233343536373839e5b08ac7")


def crc32c(data: bytes) -> int:
    """Castagnoli's checksum bit by bit, from its definition."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def mask(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def record(payload: bytes) -> bytes:
    length = struct.pack("<Q", len(payload))
    return b"".join(
        [length, struct.pack("<I", mask(crc32c(length))), payload, struct.pack("<I", mask(crc32c(payload)))]
    )


def varint(number: int) -> bytes:
    number %= 2**64
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def message(field: int, data: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(data)) + data


def feature(values: Any, packed: bool = True) -> bytes:
    if isinstance(values[0], bytes):
        return message(1, b"".join(message(1, value) for value in values))
    if isinstance(values[0], float):
        each, field, wire = [struct.pack("<f", value) for value in values], 2, 5
    else:
        each, field, wire = [varint(value) for value in values], 3, 0
    if packed:
        return message(field, message(1, b"".join(each)))
    return message(field, b"".join(varint(1 << 3 | wire) + value for value in each))


def example(packed: bool = True, **features: Any) -> bytes:
    entries = [
        message(1, message(1, key.encode()) + message(2, feature(values, packed) if values else b""))
        for key, values in features.items()
    ]
    return message(1, b"".join(entries))


CONTENT: dict[str, Any] = {
    "N": [3],
    "images": [b"\xff\xd8one", b"", b"two" * 100],
    "xys": [0.5, -1.25, 1e9, float("inf")],
    "corners": [-1, 0, 127, 128, 300, -(2**63), 2**63 - 1],
    "none": [],
}


def check(found: Example) -> None:
    assert set(found) == set(CONTENT)
    assert len(found) == len(CONTENT)
    values = dict(found)
    assert values["images"] == CONTENT["images"]
    assert values["none"] == []
    for name, kind in {"xys": np.float32, "corners": np.int64, "N": np.int64}.items():
        assert isinstance(values[name], np.ndarray)
        assert values[name].dtype == kind
        np.testing.assert_array_equal(values[name], np.array(CONTENT[name], kind))


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert masked_crc32c(b"123456789") == 0xC78AB0E5
    for data in (b"", b"\0" * 32, bytes(range(256)) * 3):
        assert masked_crc32c(data) == mask(crc32c(data))


def test_a_record_known_byte_for_byte(tmp_path: Path) -> None:
    assert record(b"123456789") == VECTOR
    (tmp_path / "a").write_bytes(VECTOR * 2)
    assert list(read_records(tmp_path / "a")) == [b"123456789"] * 2


@pytest.mark.parametrize("packed", [True, False])
def test_examples_keep_their_values(packed: bool, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(record(example(packed, **CONTENT)) * 2)
    for found in read_examples(tmp_path / "a"):
        check(found)


def test_damage_in_a_feature_that_nobody_asks_for_does_not_matter() -> None:
    entry = message(1, b"bad") + message(2, message(3, message(1, b"\x80")))
    found = Example(example(**CONTENT) + message(1, message(1, entry)))
    assert "bad" in found
    assert "other" not in found
    assert found["N"] == [3]
    with pytest.raises(BrokenFile, match=r"example is not a tf\.train\.Example \(a number is cut off"):
        found["bad"]
    with pytest.raises(KeyError):
        found["other"]


def test_packed_and_single_values_may_be_mixed_and_unknown_fields_are_passed_over() -> None:
    values = message(1, varint(5) + varint(300)) + varint(1 << 3) + varint(-7) + message(1, varint(1))
    unknown = varint(9 << 3) + varint(77) + varint(10 << 3 | 1) + bytes(8) + varint(11 << 3 | 5) + bytes(4)
    entry = message(1, b"k") + unknown + message(2, message(3, unknown + values))
    found = Example(unknown + message(1, unknown + message(1, entry)) + message(7, b"more"))
    np.testing.assert_array_equal(found["k"], [5, 300, -7, 1])


@given(numbers=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=40), packed=st.booleans())
@settings(max_examples=60, deadline=None)
def test_all_whole_numbers_survive(numbers: list[int], packed: bool) -> None:
    np.testing.assert_array_equal(Example(example(packed, k=numbers))["k"], numbers)


def test_records_are_found_by_number(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"".join(record(bytes([i]) * (i + 1)) for i in range(5)))
    assert [read_record(tmp_path / "a", i) for i in (3, 0, 4)] == [b"\3" * 4, b"\0", b"\4" * 5]
    with pytest.raises(BrokenFile, match="holds 5 records; record 5 was asked for"):
        read_record(tmp_path / "a", 5)


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    data, path = record(b"first") + record(b"second"), tmp_path / "a"
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
        number = int(place >= len(record(b"first")))
        with pytest.raises(BrokenFile, match=rf"a: record {number} at byte"):
            list(read_records(path))
        with pytest.raises(BrokenFile, match=rf"record {number} at byte"):
            read_record(path, number)


def test_every_truncation_is_found(tmp_path: Path) -> None:
    data, path = record(b"first") + record(b"second"), tmp_path / "a"
    for length in set(range(len(data))) - {len(record(b"first"))}:
        path.write_bytes(data[:length])
        with pytest.raises(BrokenFile, match="/a"):
            list(read_records(path))


def test_a_length_beyond_the_file_takes_no_memory(tmp_path: Path) -> None:
    head = struct.pack("<Q", 2**50)
    (tmp_path / "a").write_bytes(head + struct.pack("<I", mask(crc32c(head))) + bytes(50))
    with pytest.raises(BrokenFile, match="the file ends before"):
        list(read_records(tmp_path / "a"))


def test_other_files_are_refused_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x1f\x8b\x08" + bytes(40))
    with pytest.raises(BrokenFile, match="this is a gzip file"):
        list(read_records(tmp_path / "a"))
    with pytest.raises(MissingData):
        list(read_records(tmp_path / "b"))


@pytest.mark.parametrize("seed", range(30))
def test_damaged_messages_are_refused_or_read_and_never_crash(seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray(example(**CONTENT))
    for place in rng.integers(0, len(data), 3):
        data[place] = int(rng.integers(256))
    try:
        found = dict(Example(bytes(data[: rng.integers(len(data) // 2, len(data) + 1)])))
    except BrokenFile:
        return
    assert isinstance(found, dict)


def test_groups_and_endless_numbers_are_refused() -> None:
    for data in (
        b"\x0b",
        b"\x80" * 12,
        message(1, message(1, message(2, message(3, message(1, b"\x80" * 11))))),
    ):
        with pytest.raises(BrokenFile, match=r"record 7 is not a tf\.train\.Example"):
            dict(Example(data, where="record 7"))
