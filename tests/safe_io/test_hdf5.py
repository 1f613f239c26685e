"""HDF5 files: arrays and slices of them, and how damaged or far-reaching files are refused."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from hpsbench.errors import BrokenFile, MissingData
from hpsbench.safe_io.hdf5 import Hdf5File


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["rows"] = np.arange(40).reshape(10, 4)
        file["one"] = 7
        file["folder/inner"] = np.zeros(2)
    return tmp_path / "a.h5"


def test_arrays_are_read_whole_and_in_slices(path: Path) -> None:
    with Hdf5File(path, ["rows"]) as file:
        assert file.shape("rows") == (10, 4)
        np.testing.assert_array_equal(file.read("rows"), np.arange(40).reshape(10, 4))
        np.testing.assert_array_equal(file.read("rows", 3, 5), np.arange(12, 20).reshape(2, 4))
        assert file.read("one") == 7
        assert "rows" in file
        assert "folder" not in file
        with pytest.raises(BrokenFile, match="rows has 0 MiB; 0 are allowed"):
            file.read("rows", max_bytes=100)


def test_what_is_missing_is_named(path: Path) -> None:
    with pytest.raises(BrokenFile, match=r"a\.h5: has no array folder, cols; it has folder, one, rows"):
        Hdf5File(path, ["rows", "folder", "cols"])
    with pytest.raises(MissingData):
        Hdf5File(path.with_name("b.h5"))


@pytest.mark.parametrize("keep", [0, 4, 700])
def test_a_truncated_file_is_broken(keep: int, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BrokenFile, match=r"a\.h5"):
        Hdf5File(path, ["rows"])


def test_a_file_that_points_elsewhere_is_refused(path: Path) -> None:
    (path.parent / "secret.raw").write_bytes(bytes(32))
    with h5py.File(path, "a") as file:
        file["linked"] = h5py.ExternalLink("other.h5", "/rows")
        external = [(str(path.parent / "secret.raw"), 0, 32)]
        file.create_dataset("stolen", shape=(4,), dtype="f8", external=external)
    with Hdf5File(path) as file:
        with pytest.raises(BrokenFile, match="lies in another file"):
            file.read("stolen")
        with pytest.raises(BrokenFile, match="has no array linked"):
            file.read("linked")


def test_cells_are_read_one_after_another(path: Path) -> None:
    with h5py.File(path, "a") as file:
        cells = file.create_dataset("cells", (3, 1), dtype=h5py.ref_dtype)
        for row in range(2):
            cells[row, 0] = file.create_dataset(f"#refs#/{row}", data=np.full((4, 5), row)).ref
    with Hdf5File(path, ["cells"]) as file:
        assert [int(values.sum()) for values in file.read_cells("cells", [1, 0])] == [20, 0]
        with pytest.raises(BrokenFile, match="row 2 of cells leads to no array"):
            next(file.read_cells("cells", [2]))
        with pytest.raises(BrokenFile, match="row 0 of cells has 0 MiB; 0 are allowed"):
            next(file.read_cells("cells", [0], max_bytes=10))
        with pytest.raises(BrokenFile, match="not a readable HDF5 file"):
            next(file.read_cells("cells", [3]))
        with pytest.raises(BrokenFile, match=r"rows is no cell array .* but int64 \(10, 4\)"):
            next(file.read_cells("rows", [0]))
