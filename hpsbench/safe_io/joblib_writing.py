"""Writing joblib's uncompressed format: a dictionary of arrays, each written as its rows come.

A dump is a pickle in which a description of every array (class `NumpyArrayWrapper`) is followed by the array's bytes.
Without padding before the bytes, as here, versions of joblib before and after 1.2 read it alike. Format: the public
documentation and files of joblib.
"""

import os
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from hpsbench.errors import ShapeError

_PROTOCOL = 2
_WRAPPER = b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n"
_NDARRAY = b"cnumpy\nndarray\n"


@dataclass(frozen=True, slots=True)
class Rows:
    """An array to write, in blocks of whole rows.

    Attributes:
        dtype: of numbers or text of fixed width.
        shape: of all blocks together.
        blocks: consecutive rows; converted to `dtype`.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    blocks: Iterable[NDArray[Any]]


def write_joblib(path: Path, arrays: Mapping[str, Rows]) -> None:
    """Write a dictionary of arrays that `joblib.load` reads; the file is there whole or not at all.

    Raises:
        ShapeError: blocks that do not make up the shape that was announced.
    """
    temporary = path.with_name(f"{path.name}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(pickle.PROTO + bytes([_PROTOCOL]) + pickle.EMPTY_DICT)
            for key, rows in arrays.items():
                file.write(_opcodes(key))
                _write_array(file, key, rows)
                file.write(pickle.SETITEM)
            file.write(pickle.STOP)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _opcodes(value: Any) -> bytes:
    """The pickle of a plain value without its first opcode (the protocol) and its last (stop)."""
    return pickle.dumps(value, protocol=_PROTOCOL)[2:-1]


def _write_array(file: BinaryIO, key: str, rows: Rows) -> None:
    file.write(_WRAPPER + pickle.EMPTY_TUPLE + pickle.NEWOBJ + pickle.EMPTY_DICT)
    file.write(_opcodes("subclass") + _NDARRAY + pickle.SETITEM)
    for name, value in {
        "shape": rows.shape,
        "order": "C",
        "dtype": rows.dtype,
        "allow_mmap": True,
    }.items():
        file.write(_opcodes(name) + _opcodes(value) + pickle.SETITEM)
    file.write(pickle.BUILD)
    written = 0
    for block in rows.blocks:
        if block.shape[1:] != rows.shape[1:]:
            raise ShapeError(f"{key}: a block of rows of shape {block.shape[1:]}, announced {rows.shape[1:]}")
        file.write(np.ascontiguousarray(block, dtype=rows.dtype).tobytes())
        written += len(block)
    if written != rows.shape[0]:
        raise ShapeError(f"{key}: {written} rows, announced {rows.shape[0]}")
