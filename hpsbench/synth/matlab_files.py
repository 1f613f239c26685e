"""MATLAB files of the synthetic datasets, as bytes: the same content gives the same bytes."""

import io
from typing import Any

from hpsbench.types import Array

_MATLAB_73 = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created by: hpsbench (synthetic)"
_MATLAB_5 = b"MATLAB 5.0 MAT-file, Platform: GLNXA64, Created by: hpsbench (synthetic)"
_HEADER_TEXT = 116


def matlab_5(variables: dict[str, Any]) -> bytes:
    """A MATLAB 5 file; its header has no date, so that the same content gives the same bytes."""
    import scipy.io

    file: Any = io.BytesIO()
    scipy.io.savemat(file, variables)
    data: bytes = file.getvalue()
    return _MATLAB_5.ljust(_HEADER_TEXT) + data[_HEADER_TEXT:]


def matlab_73(variables: dict[str, Array]) -> bytes:
    """An HDF5 file with the userblock of MATLAB 7.3."""
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w", userblock_size=512) as document:
        for name, values in variables.items():
            document.create_dataset(name, data=values, track_times=False)
    data = file.getvalue()
    block = _MATLAB_73.ljust(_HEADER_TEXT) + bytes(8) + b"\x00\x02IM"
    return block + data[len(block) :]
