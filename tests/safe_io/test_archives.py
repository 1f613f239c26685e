"""NumPy archives load without pickle; object arrays go through the allow-list."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib import format as npy
from scipy import sparse

from hpsbench.errors import BrokenFile, UnsafeFile
from hpsbench.safe_io.archives import load_npy, load_npz


@pytest.fixture
def arrays() -> dict[str, Any]:
    return {
        "poses": np.arange(6.0).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "gender": np.array("male"),
        "labels": np.array([b"a", b"bc"]),
        "empty": np.zeros((0, 4), np.float32),
    }


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_survive(tmp_path: Path, arrays: dict[str, Any], save: Any) -> None:
    path = tmp_path / "a.npz"
    save(path, **arrays)
    loaded = load_npz(path)
    assert list(loaded) == list(arrays)
    for key, expected in arrays.items():
        np.testing.assert_array_equal(loaded[key], expected)
        assert (loaded[key].dtype, loaded[key].shape) == (expected.dtype, expected.shape)
    assert list(load_npz(path, keys=["gender"])) == ["gender"]


def test_object_arrays_of_body_models_are_read(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    np.savez(path, part2num=np.array({"head": 15}, dtype=object), J=sparse.csc_matrix(np.eye(2)))
    loaded = load_npz(path)
    assert loaded["part2num"][()] == {"head": 15}
    np.testing.assert_array_equal(loaded["J"][()].toarray(), np.eye(2))


@pytest.mark.parametrize("place", ["npz", "npy"])
def test_a_command_is_refused_by_name(tmp_path: Path, command: Any, place: str) -> None:
    path = tmp_path / f"evil.{place}"
    array = np.array([command, None], dtype=object)
    if place == "npz":
        np.savez(path, a=np.arange(2), b=array)
    else:
        np.save(path, array)
    with pytest.raises(UnsafeFile, match=r"evil\.np[zy]: asks for posix\.system"):
        load_npz(path) if place == "npz" else load_npy(path)


def test_npy_files_load(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(load_npy(path), np.arange(6).reshape(2, 3))


def header(shape: tuple[int, ...], dtype: str = "<f8") -> bytes:
    file = io.BytesIO()
    npy.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        header((10**12,)) + bytes(16),
        header((3,)) + bytes(16),
        header((10**9,), "|S0"),
        b"\x93NUMPY\x01\x00\xff\xff{}",
        b"\x93NUMPX\x01\x00",
        b"nothing",
    ],
)
def test_lying_headers_are_broken(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bad.npy"
    path.write_bytes(data)
    with pytest.raises(BrokenFile, match=r"bad\.npy"):
        load_npy(path)
    with zipfile.ZipFile(tmp_path / "bad.npz", "w") as archive:
        archive.writestr("a.npy", data)
    with pytest.raises(BrokenFile, match=r"bad\.npz"):
        load_npz(tmp_path / "bad.npz")


def test_damaged_and_bomb_archives_are_broken(tmp_path: Path, arrays: dict[str, Any]) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BrokenFile, match="truncated or damaged"):
        load_npz(path)
    path.write_bytes(whole.replace(np.arange(6.0).tobytes(), np.ones(6).tobytes()))
    with pytest.raises(BrokenFile, match="CRC"):
        load_npz(path)
    np.savez_compressed(path, a=np.zeros(1 << 18))
    with pytest.raises(BrokenFile, match="unpacks to 2 MiB; 1 are allowed"):
        load_npz(path, max_bytes=1 << 20)


def test_a_missing_array_is_named_with_those_that_are_there(tmp_path: Path, arrays: dict[str, Any]) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(BrokenFile, match="has no trans; it has empty, fortran, gender, labels, poses"):
        load_npz(tmp_path / "a.npz", keys=["trans"])


def test_arrays_are_chosen_among_those_that_are_there(tmp_path: Path, arrays: dict[str, Any]) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    found = load_npz(tmp_path / "a.npz", keys=lambda held: [name for name in held if name != "poses"])
    assert set(found) == set(arrays) - {"poses"}


@pytest.mark.parametrize("what", ["place", "name"])
def test_a_member_that_is_not_where_the_archive_says_is_broken(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, aa=np.arange(8))
    whole = path.read_bytes()
    damaged = {"place": b"XX" + whole[2:], "name": whole.replace(b"aa.npy", b"bb.npy", 1)}
    path.write_bytes(damaged[what])
    with pytest.raises(BrokenFile, match="where it should be"):
        load_npz(path)
