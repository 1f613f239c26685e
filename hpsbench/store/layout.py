"""The on-disk format of clip store v1: names, data types, chunks, and the Zarr v3 documents themselves.

A store is a Zarr v3 group::

    <dataset>.zarr/
        zarr.json                         root attributes: format, version, complete, dataset, ...
        frames/<field>                    (N, ...) one array per field, rows of all clips after another
        clips                             (bytes,) uint8: a Parquet file, one chunk, `clips/c/0`
        views/<view>/keep                 (N,) bool
        views/<view>/bbox_cxcywh          (N, 4) float32, pixels
        features/<set>/data               (M, D) float32
        features/<set>/row                (M,) int64, sorted rows of the store

The documents (`zarr.json`) are written here, not by a Zarr library, so that their bytes depend on the format
version alone. Every array uses the little-endian `bytes` codec without a compressor and chunks of whole rows, so
that a chunk file can be mapped into memory as it is.
"""

import json
import math
import os
import uuid
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hpsbench.errors import BrokenFile, ShapeError

FORMAT = "hpsbench-clip-store"
VERSION = 1
NODE = "zarr.json"
GROUPS = ("frames", "views", "features")
FEATURE_CHUNK_ROWS = 1024
CHUNK_BYTES = 4 * 2**20

# Fields that a recipe may fill, with the shape of one row; J is the number of joints of the native joint set.
# Fields that are not named here are allowed: floats are stored as float32, integers as int64.
FIELDS: Mapping[str, tuple[str, tuple[int | str, ...]]] = {
    "frame_id": ("int64", ()),
    "valid": ("bool", ()),
    "has_smpl": ("bool", ()),
    "keypoints2d": ("float32", ("J", 3)),
    "joints3d": ("float32", ("J", 3)),
    "joints3d_univ": ("float32", ("J", 3)),
    "full_pose": ("float32", (72,)),
    "hand_pose": ("float32", (90,)),
    "jaw_pose": ("float32", (3,)),
    "eye_pose": ("float32", (6,)),
    "betas": ("float32", (10,)),
    "transl": ("float32", (3,)),
    "intrinsics": ("float32", (3, 3)),
    "extrinsics": ("float32", (4, 4)),
}

_STORED = {"b": "bool", "f": "float32", "i": "int64", "u": "int64"}
_DTYPES = {"bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"} | {
    "float16",
    "float32",
    "float64",
}


@cache
def _stored_type(name: str) -> np.dtype[Any]:
    return np.dtype(name).newbyteorder("<")


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """What one row of an array is: its data type and shape."""

    dtype: str
    row_shape: tuple[int, ...]

    @property
    def stored(self) -> np.dtype[Any]:
        """The data type as it lies on disk, little-endian."""
        return _stored_type(self.dtype)

    @property
    def row_items(self) -> int:
        """Numbers in one row."""
        return math.prod(self.row_shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.stored.itemsize * self.row_items

    def chunk_rows(self, rows: int) -> int:
        """Rows per chunk of an array of `rows` rows: a power of two of about `CHUNK_BYTES`, or all rows."""
        fitting = max(1, CHUNK_BYTES // max(1, self.row_bytes))
        return max(1, min(1 << (fitting.bit_length() - 1), rows))


def field_spec(name: str, values: np.ndarray[Any, np.dtype[Any]]) -> ArraySpec:
    """How the rows of a field are stored, checked against the format's own fields.

    Raises:
        ShapeError: the array does not have the shape that the format gives this field.
    """
    known = FIELDS.get(name)
    row_shape = tuple(values.shape[1:])
    if known is None:
        kind = values.dtype.kind
        if kind not in _STORED:
            raise ShapeError(f"field {name!r}: cannot store values of type {values.dtype}")
        return ArraySpec(_STORED[kind], row_shape)
    dtype, want = known
    fits = len(row_shape) == len(want) and all(
        isinstance(w, str) or w == n for w, n in zip(want, row_shape, strict=True)
    )
    if not fits:
        wanted = ", ".join(str(w) for w in want)
        raise ShapeError(f"field {name!r}: expected rows of shape ({wanted}), got {row_shape}")
    return ArraySpec(dtype, row_shape)


def group_document(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The `zarr.json` of a group."""
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}


def array_document(
    spec: ArraySpec, rows: int, chunk_rows: int, attributes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The `zarr.json` of an array of `rows` rows in chunks of `chunk_rows` whole rows."""
    itemsize = np.dtype(spec.dtype).itemsize
    codec: dict[str, Any] = {"name": "bytes"}
    if itemsize > 1:
        codec["configuration"] = {"endian": "little"}
    fill: Any = {"b": False, "f": 0.0}.get(np.dtype(spec.dtype).kind, 0)
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [rows, *spec.row_shape],
        "data_type": spec.dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [chunk_rows, *spec.row_shape]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": [codec],
        "attributes": dict(attributes or {}),
    }


def is_plain(document: Mapping[str, Any]) -> bool:
    """Whether the chunk files of this array are its rows byte for byte, so that they can be mapped.

    True for exactly what `array_document` writes: a regular grid over whole rows, the default chunk keys, the
    `bytes` codec alone, little-endian.
    """
    grid = document.get("chunk_grid", {})
    keys = document.get("chunk_key_encoding", {})
    codecs = document.get("codecs", [])
    if document.get("data_type") not in _DTYPES or len(document.get("shape", [])) < 1:
        return False
    chunk = grid.get("configuration", {}).get("chunk_shape", [])
    return (
        grid.get("name") == "regular"
        and list(chunk[1:]) == list(document["shape"][1:])
        and keys.get("name") == "default"
        and keys.get("configuration", {}).get("separator", "/") == "/"
        and len(codecs) == 1
        and codecs[0].get("name") == "bytes"
        and codecs[0].get("configuration", {}).get("endian", "little") == "little"
        and not document.get("storage_transformers")
    )


def chunk_file(array: Path, index: int, dimensions: int) -> Path:
    """The file of chunk `index` along the rows of an array of so many dimensions."""
    return array.joinpath("c", str(index), *(["0"] * (dimensions - 1)))


def encode(document: Mapping[str, Any]) -> bytes:
    """A document as the bytes that are written; the same document always gives the same bytes."""
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_document(node: Path) -> dict[str, Any] | None:
    """The `zarr.json` of the group or array in the folder `node`; None where there is none.

    Raises:
        BrokenFile: the file is there but is not a JSON object.
    """
    path = node / NODE
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError as error:
        raise BrokenFile(f"{path}: not a text file ({error}); copy or prepare the store again") from error
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise BrokenFile(f"{path}: not valid JSON ({error}); copy or prepare the store again") from error
    if not isinstance(document, dict):
        raise BrokenFile(f"{path}: expected a JSON object, found {type(document).__name__}")
    return document


def scratch_folder(store: Path) -> Path:
    """The folder beside a store in which its writers keep half-written files; it never lies inside the group."""
    return store.parent / f".{store.name}.partial"


def write_file(path: Path, data: bytes | memoryview, scratch: Path) -> None:
    """Write a file so that it is there whole or not at all: a temporary file in `scratch`, then a rename.

    `scratch` must lie on the same file system as `path`.
    """
    temporary, file = _begin(path, data, scratch)
    _sync(file)
    temporary.replace(path)


class Durable:
    """Files that are written one after another and waited for together: all are on the disk when the block ends.

    The disk takes them in the background, so that many cost little more than the slowest. Until the block has ended
    nothing may vouch for them.

    Args:
        scratch: folder on the same file system in which files are begun.
    """

    _AT_ONCE = 8

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._pool = ThreadPoolExecutor(self._AT_ONCE, thread_name_prefix="fsync")
        self._waiting: list[Future[None]] = []

    def __enter__(self) -> "Durable":
        return self

    def write(self, path: Path, data: bytes | memoryview) -> None:
        """A whole file."""
        temporary, file = _begin(path, data, self._scratch)
        self.close(file)
        temporary.replace(path)

    def close(self, file: BinaryIO) -> None:
        """Close a file that was written to, once the disk has it."""
        self._waiting.append(self._pool.submit(_sync, file))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown(wait=True)
        if kind is None:
            for done in self._waiting:
                done.result()


def _begin(path: Path, data: bytes | memoryview, scratch: Path) -> tuple[Path, BinaryIO]:
    """A temporary file with some content, still open, beside the folder that `path` needs."""
    scratch.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = scratch / f"{path.name}-{uuid.uuid4().hex}"
    file = temporary.open("wb")
    try:
        file.write(data)
    except BaseException:
        file.close()
        raise
    return temporary, file


def _sync(file: BinaryIO) -> None:
    """Wait until the disk has a file, and close it."""
    with file:
        file.flush()
        os.fsync(file.fileno())
