"""MATLAB files: what is read, and how damaged ones are refused."""

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from hpsbench.errors import BrokenFile, MissingData
from hpsbench.safe_io import load_matlab
from hpsbench.safe_io.matlab import unwrap

CONTENT: dict[str, Any] = {"action": "squat", "x": np.arange(26.0).reshape(2, 13), "nframes": 2}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with a number, a text, an array, and a cell array."""
    cells = np.empty((3, 1), object)
    for i in range(3):
        cells[i, 0] = np.full((2, 4), float(i))
    scipy.io.savemat(tmp_path / "a.mat", {**CONTENT, "cells": cells})
    return tmp_path / "a.mat"


@pytest.mark.parametrize("compressed", [True, False])
def test_values_keep_their_types(compressed: bool, tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", CONTENT, do_compression=compressed)
    found = load_matlab(tmp_path / "a.mat")
    assert set(found) == set(CONTENT)
    np.testing.assert_array_equal(found["x"], CONTENT["x"])
    assert (unwrap(found["action"]), unwrap(found["nframes"])) == ("squat", 2)
    assert found["nframes"].shape == (1, 1)


def test_only_what_is_asked_for_is_read(path: Path) -> None:
    found = load_matlab(path, keys=["cells"])
    assert list(found) == ["cells"]
    np.testing.assert_array_equal(found["cells"][2, 0], np.full((2, 4), 2.0))
    with pytest.raises(BrokenFile, match=r"a\.mat: has no y; it has action, cells, nframes, x"):
        load_matlab(path, keys=["x", "y"])


def test_large_files_and_those_of_other_kinds_give_the_same(tmp_path: Path) -> None:
    large = {"x": np.random.default_rng(0).normal(size=(400, 400)), "y": 2.0}
    for number, (content, form) in enumerate(((large, "5"), ({"x": np.eye(3), "y": 2.0}, "4"))):
        path = tmp_path / f"{number}.mat"
        scipy.io.savemat(path, content, format=form)
        np.testing.assert_array_equal(load_matlab(path)["x"], content["x"])
        assert list(load_matlab(path, keys=["y"])) == ["y"]
        with pytest.raises(BrokenFile, match="has no z; it has x, y"):
            load_matlab(path, keys=["z"])
        with pytest.raises(BrokenFile, match=r"unpacks to|more than the"):
            load_matlab(path, max_bytes=70)


def test_a_name_without_ending_is_taken_as_it_is(path: Path) -> None:
    path.rename(path.with_suffix(".mat.mat"))
    with pytest.raises(MissingData):
        load_matlab(path)


@pytest.mark.parametrize("keep", [0, 5, 130, 300, -20])
def test_a_truncated_file_is_broken(keep: int, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BrokenFile, match=r"a\.mat"):
        load_matlab(path)


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_file_is_broken_or_still_gives_arrays(seed: int, path: Path) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray(path.read_bytes())
    for place in rng.integers(128, len(data), 6):
        data[place] = int(rng.integers(256))
    path.write_bytes(bytes(data))
    try:
        found = load_matlab(path)
    except BrokenFile:
        return
    assert all(isinstance(value, np.ndarray) for value in found.values())


def test_a_table_of_contents_that_promises_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"x": np.zeros((400, 400)), "y": 1.0}, do_compression=True)
    assert path.stat().st_size < 10_000
    with pytest.raises(BrokenFile, match="unpacks to 1 MiB"):
        load_matlab(path, max_bytes=10_000)
    assert load_matlab(path, keys=["y"], max_bytes=10_000)["y"] == 1


def test_a_newer_matlab_file_says_so(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        file["x"] = np.zeros(3)
    with (tmp_path / "a.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, made here".ljust(124) + b"\x00\x02IM")
    with pytest.raises(BrokenFile, match=r"7\.3 \(HDF5\) file"):
        load_matlab(tmp_path / "a.mat")


def test_a_small_file_that_claims_cells_without_number_is_refused_before_memory_is_taken(
    tmp_path: Path,
) -> None:
    cells = np.empty((2, 1), object)
    cells[:] = 1.0
    file = io.BytesIO()
    scipy.io.savemat(file, {"cells": cells})
    claimed = np.array([2**15, 2**15], "<i4").tobytes()
    path = tmp_path / "a.mat"
    path.write_bytes(file.getvalue().replace(np.array([2, 1], "<i4").tobytes(), claimed))
    with pytest.raises(BrokenFile, match="unpacks to 8,192 MiB"):
        load_matlab(path)
