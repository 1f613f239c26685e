"""joblib dumps load without joblib, whole or in slices; those that want more are refused by name."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsbench.errors import BrokenFile, UnsafeFile
from hpsbench.safe_io.joblib_dumps import StoredArray, load_joblib

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "zlib": zlib.compress,
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
}


@pytest.fixture
def db() -> dict[str, Any]:
    return {
        "vid_name": np.array(["a_0", "a_0", "b_1", "b_1", "b_1"]),
        "features": np.arange(20, dtype=np.float32).reshape(5, 4),
        "columns": np.asfortranarray(np.arange(10.0).reshape(5, 2)),
        "objects": np.array(["x", None, 3], dtype=object),
        "scalar": np.float64(1.5),
        "empty": np.zeros((0, 3)),
        "nested": {"deeper": [1, np.arange(3)]},
        "zero_dim": np.array(7),
    }


def assert_same(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, list):
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        np.testing.assert_array_equal(np.asarray(found), expected)
        assert np.asarray(found).dtype == np.asarray(expected).dtype


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("alignment", [None, 16])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("lazy", [False, True])
def test_dumps_load_whole(
    db: dict[str, Any],
    write_joblib: Callable[..., Path],
    packer: str,
    alignment: int | None,
    protocol: int,
    lazy: bool,
) -> None:
    path = write_joblib(db, alignment=alignment, protocol=protocol)
    path.write_bytes(PACKERS[packer](path.read_bytes()))
    assert_same(load_joblib(path, lazy=lazy), db)


ROWS = [2, -1, slice(1, 4), slice(None), slice(None, None, -1), slice(4, 0, -2), slice(0, 5, 3), slice(3, 3)]


@pytest.mark.parametrize("packer", ["plain", "zlib", "xz"])
@pytest.mark.parametrize("rows", ROWS, ids=str)
@pytest.mark.parametrize("key", ["vid_name", "features", "columns"])
def test_lazy_arrays_give_the_rows_asked_for(
    db: dict[str, Any], write_joblib: Callable[..., Path], packer: str, rows: int | slice, key: str
) -> None:
    path = write_joblib(db)
    path.write_bytes(PACKERS[packer](path.read_bytes()))
    stored = load_joblib(path, lazy=True)[key]
    assert isinstance(stored, StoredArray)
    assert (len(stored), stored.shape, stored.dtype) == (5, db[key].shape, db[key].dtype)
    np.testing.assert_array_equal(stored[rows], db[key][rows])


def test_rows_past_the_end_raise_an_index_error(
    db: dict[str, Any], write_joblib: Callable[..., Path]
) -> None:
    stored = load_joblib(write_joblib(db), lazy=True)["features"]
    with pytest.raises(IndexError):
        stored[5]
    assert sum(1 for _ in stored) == 5


def test_a_lazy_load_reads_no_array(write_joblib: Callable[..., Path]) -> None:
    path = write_joblib({"a": np.zeros(1 << 20), "b": np.arange(3)})
    with path.open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"\x07" * 8)
    loaded = load_joblib(path, lazy=True)
    assert loaded["a"].offset % 16 == 0
    np.testing.assert_array_equal(loaded["b"][:], [0, 1, 2])
    assert np.count_nonzero(np.asarray(loaded["a"])) in (1, 2)


@pytest.mark.parametrize("place", ["bare", "among arrays", "in an object array"])
@pytest.mark.parametrize("packer", PACKERS)
def test_a_command_is_refused_by_name(
    command: Any, write_joblib: Callable[..., Path], place: str, packer: str
) -> None:
    value = {
        "bare": command,
        "among arrays": {"a": np.arange(3), "b": [command]},
        "in an object array": {"a": np.array([None, command], dtype=object)},
    }[place]
    path = write_joblib(value, name="evil.pt")
    path.write_bytes(PACKERS[packer](path.read_bytes()))
    for lazy in (False, True):
        with pytest.raises(UnsafeFile, match=r"evil\.pt: asks for posix\.system"):
            load_joblib(path, lazy=lazy)


@pytest.mark.parametrize("packer", PACKERS)
def test_a_truncated_dump_is_broken(
    db: dict[str, Any], write_joblib: Callable[..., Path], packer: str, tmp_path: Path
) -> None:
    whole = PACKERS[packer](write_joblib(db).read_bytes())
    cut = tmp_path / "cut.pt"
    for end in range(1, len(whole) - 8, 29):
        cut.write_bytes(whole[:end])
        for lazy in (False, True):
            with pytest.raises(BrokenFile, match=r"cut\.pt"):
                load_joblib(cut, lazy=lazy)


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (b"\x04\x22\x4d\x18", "lz4"),
        (b"ZF0x1", "before 0.10"),
        (b"cjoblib.numpy_pickle\nNDArrayWrapper\n.", "before 0.10"),
        (b"cjoblib.numpy_pickle_compat\nZNDArrayWrapper\n.", "before 0.10"),
    ],
)
def test_unsupported_dumps_say_what_to_do(tmp_path: Path, start: bytes, reason: str) -> None:
    path = tmp_path / "old.pt"
    path.write_bytes(start + bytes(20))
    with pytest.raises(BrokenFile, match=f"{reason}.* dump it"):
        load_joblib(path)


def test_a_packed_bomb_is_refused(write_joblib: Callable[..., Path]) -> None:
    path = write_joblib({"a": np.zeros(1 << 18)})
    path.write_bytes(zlib.compress(path.read_bytes(), 9))
    assert path.stat().st_size < 5000
    for lazy in (False, True):
        with pytest.raises(BrokenFile):
            load_joblib(path, max_bytes=1 << 20, lazy=lazy)


@pytest.mark.parametrize("compress", [0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)])
def test_files_of_joblib_itself_load(db: dict[str, Any], tmp_path: Path, compress: Any) -> None:
    joblib = pytest.importorskip("joblib", reason="the hand-made writer stands in for joblib")
    path = tmp_path / "db.pt"
    joblib.dump(db, path, compress=compress)
    assert_same(load_joblib(path), db)
    assert_same(load_joblib(path, lazy=True), db)


def test_the_hand_made_writer_writes_what_joblib_writes(
    db: dict[str, Any], write_joblib: Callable[..., Path], tmp_path: Path
) -> None:
    joblib = pytest.importorskip("joblib", reason="the hand-made writer stands in for joblib")
    del db["objects"]  # their inner pickle is of protocol 2 or 5, by version
    joblib.dump(db, tmp_path / "theirs.pt")
    assert write_joblib(db).read_bytes() == (tmp_path / "theirs.pt").read_bytes()
