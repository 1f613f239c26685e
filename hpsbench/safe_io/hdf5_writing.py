"""Writing HDF5 files of named arrays, each as its rows come."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hpsbench.errors import ShapeError
from hpsbench.safe_io.joblib_writing import Rows

_UTF8_BYTES = 4  # that a character may take


def write_hdf5(path: Path, arrays: Mapping[str, Rows]) -> None:
    """Write arrays as contiguous datasets, text as bytes (UTF-8); the file is there whole or not at all.

    Raises:
        ShapeError: blocks that do not make up the shape that was announced.
    """
    import h5py

    temporary = path.with_name(f"{path.name}.partial")
    try:
        with h5py.File(temporary, "w") as file:
            for key, rows in arrays.items():
                _write_array(file, key, rows)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_array(file: "h5py.File", key: str, rows: Rows) -> None:  # type: ignore[name-defined]  # noqa: F821
    text = rows.dtype.kind == "U"
    dtype = np.dtype(f"S{rows.dtype.itemsize}") if text else rows.dtype
    array = file.create_dataset(key, rows.shape, dtype)
    written = 0
    for block in rows.blocks:
        if block.shape[1:] != rows.shape[1:] or written + len(block) > rows.shape[0]:
            raise ShapeError(
                f"{key}: a block of shape {block.shape} after {written} rows, announced {rows.shape}"
            )
        array[written : written + len(block)] = np.char.encode(block, "utf-8") if text else block
        written += len(block)
    if written != rows.shape[0]:
        raise ShapeError(f"{key}: {written} rows, announced {rows.shape[0]}")
