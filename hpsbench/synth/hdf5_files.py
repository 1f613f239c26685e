"""HDF5 files of the synthetic datasets, as bytes without times: the same content gives the same bytes."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from hpsbench.types import Array

_MATLAB = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created by: hpsbench (synthetic)".ljust(116)
_USERBLOCK = 512


def hdf5(arrays: Mapping[str, Array]) -> bytes:
    """A plain HDF5 file; a name with slashes lies in groups."""
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w") as document:
        for name, values in arrays.items():
            document.create_dataset(name, data=values, track_times=False)
    return file.getvalue()


def matlab_73_cells(name: str, cells: Sequence[Array]) -> bytes:
    """A MATLAB 7.3 file with one (N, 1) cell array: references to arrays of their own, which MATLAB sees transposed."""
    import h5py

    file: Any = io.BytesIO()
    with h5py.File(file, "w", userblock_size=_USERBLOCK) as document:
        table = document.create_dataset(name, (len(cells), 1), dtype=h5py.ref_dtype, track_times=False)
        for row, values in enumerate(cells):
            held = document.create_dataset(
                f"#refs#/{row}", data=values, compression="gzip", compression_opts=1, track_times=False
            )
            table[row, 0] = held.ref
    head = _MATLAB + bytes(8) + b"\x00\x02IM"
    data: bytes = file.getvalue()
    return head + data[len(head) :]
