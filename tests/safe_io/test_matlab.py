"""MATLAB files: what is read, and how damaged ones are refused."""

import io
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from hpsbench.errors import BrokenFile, MissingData
from hpsbench.safe_io import load_matlab
from hpsbench.safe_io.matlab import unwrap
from hpsbench.safe_io.matlab_5 import read_plain

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


def some_variables(rng: np.random.Generator, depth: int = 0) -> dict[str, Any]:
    """Numbers, text, flags, structures and cells, most of them of the plain kinds."""
    types = ["f8", "f8", "f8", "f4", "u1", "i4", "u2", "i8", "?", "c16"]
    found: dict[str, Any] = {}
    for name in ("x", "y", "train", "cells", "a_name_longer_than_that")[: rng.integers(1, 6)]:
        kind = rng.integers(12)
        if kind < 7:
            shape = tuple(rng.integers(0, 5, rng.integers(2, 4)).tolist())
            found[name] = (rng.random(shape) * 300).astype(types[rng.integers(len(types))])
        elif kind < 9:
            found[name] = ["bowl", "", "a b", "ä", ["two", "one"]][rng.integers(5)]
        elif kind < 11 and depth < 2:
            cells = np.empty((rng.integers(4), rng.integers(1, 3)), dtype=object)
            for place in np.ndindex(cells.shape):
                cells[place] = next(iter(some_variables(rng, depth + 1).values()))
            found[name] = cells
        else:
            found[name] = {"field": float(kind)}
    return found


def read_by_scipy(data: bytes, keys: list[str] | None) -> dict[str, Any] | None:
    """None where it refuses or warns."""
    file: Any = io.BytesIO(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = scipy.io.loadmat(file, variable_names=keys)
    except Exception:  # whatever it raises
        return None
    return {name: np.asarray(value) for name, value in found.items() if not name.startswith("__")}


def assert_same(found: Any, wanted: Any) -> None:
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    if found.dtype == object:
        for one, other in zip(found.ravel(), wanted.ravel(), strict=True):
            assert_same(one, other)
    else:
        assert found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("seed", range(40))
def test_plain_variables_are_what_scipy_reads_in_sound_and_in_damaged_files(seed: int) -> None:
    rng = np.random.default_rng(seed)
    plain = 0
    for number in range(10):
        file: Any = io.BytesIO()
        variables = {"x": np.eye(3)} if number == 0 else some_variables(rng)
        scipy.io.savemat(file, variables, do_compression=bool(seed % 2), oned_as="row")
        data = bytearray(file.getvalue())
        if number % 2:
            for place in rng.integers(124, len(data), 2):
                data[place] = int(rng.integers(256))
        elif number % 4 == 2:
            del data[int(rng.integers(130, len(data))) :]
        keys = None if rng.random() < 0.5 else list(variables)[: rng.integers(1, 3)]
        found = read_plain(np.frombuffer(bytes(data), np.uint8), keys, 1 << 20)
        if found is not None:
            wanted = read_by_scipy(bytes(data), keys)
            assert wanted is not None
            assert list(found) == list(wanted)
            for name, values in found.items():
                assert_same(values, wanted[name])
            plain += 1
    assert plain >= 1


@pytest.mark.parametrize("compressed", [True, False])
def test_plain_variables_do_not_go_through_scipy(
    compressed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = np.empty((2, 1), dtype=object)
    cells[0, 0], cells[1, 0] = np.arange(6.0).reshape(2, 3), np.zeros((0, 3))
    scipy.io.savemat(tmp_path / "a.mat", {**CONTENT, "cells": cells}, do_compression=compressed)
    monkeypatch.setattr(scipy.io, "loadmat", None)
    found = load_matlab(tmp_path / "a.mat")
    np.testing.assert_array_equal(found["cells"][0, 0], cells[0, 0])
    assert found["action"].tolist() == ["squat"]
    found["x"][0, 0] = 7.0


def test_a_large_file_is_mapped_and_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"x": np.zeros((1000, 600)), "y": np.arange(3.0)})
    before = path.read_bytes()
    found = load_matlab(path, keys=["y", "x"])
    found["x"][:] = 1.0
    assert found["y"].tolist() == [[0.0, 1.0, 2.0]]
    assert path.read_bytes() == before


def test_a_cell_array_that_claims_to_be_endless_takes_no_memory(tmp_path: Path) -> None:
    cells = np.empty((2, 1), dtype=object)
    cells[:, 0] = [np.eye(2), np.eye(2)]
    file: Any = io.BytesIO()
    scipy.io.savemat(file, {"cells": cells})
    data = file.getvalue().replace(np.array([2, 1], "<i4").tobytes(), np.full(2, 2**31 - 1, "<i4").tobytes())
    assert read_plain(np.frombuffer(data, np.uint8), None, 1 << 20) is None


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
