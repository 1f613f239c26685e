"""Predictions on disk: `.zarr`, `.npz` or Parquet, with the same names in each.

.zarr      group attributes; arrays `track` (text), `frame_id`, `rotmat`, ...; read lazily
.npz       the arrays, and each attribute as an entry of its own name (0-d); others as JSON under `attrs`
.parquet   columns `track`, `frame_id`; arrays as lists of rows, flattened or nested; attributes as JSON under the
           key `hpsbench` of the file's metadata, or each under its own name
"""

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench.errors import BadData, BrokenFile, MissingData, UsageError
from hpsbench.predictions.predictions import ATTRIBUTES, KEYS, TAILS, Predictions
from hpsbench.safe_io import load_npz
from hpsbench.types import Array

# Bytes of an array in one chunk of a Zarr group: whole rows.
_CHUNK_BYTES = 4 * 2**20
_METADATA = b"hpsbench"


def save_predictions(predictions: Predictions, path: str | Path, *, replace: bool = False) -> Path:
    """Write predictions; the ending says how: `.zarr`, `.npz`, `.parquet`.

    Args:
        predictions: what to write.
        path: a new file, or folder for `.zarr`.
        replace: whether predictions that are already there are replaced, once the new ones are written.

    Raises:
        UsageError: another ending, or something that is already there.
    """
    path = Path(path)
    write = _by_ending(path, _WRITERS)
    if path.exists() and not replace:
        raise UsageError(f"{path} is already there; give another name or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".partial-{path.name}")
    write(predictions, temporary)
    if path.is_dir():
        shutil.rmtree(path)
    temporary.replace(path)
    return path


def predictions_sha256(path: str | Path) -> str:
    """Hash of a predictions file; of a Zarr folder, of the names and contents of its files."""
    path = Path(path)
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
            with file.open("rb") as handle:
                digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()


def load_predictions(path: str | Path) -> Predictions:
    """Read and check predictions; the ending says how: `.zarr`, `.npz`, `.parquet`.

    Raises:
        MissingData: nothing is there.
        BrokenFile: it cannot be read.
        BadData, ShapeError: it holds something else; see `Predictions`. The message names the file.
        UsageError: another ending.
    """
    path = Path(path)
    read = _by_ending(path, _READERS)
    if not path.exists():
        raise MissingData(f"no predictions at {path}")
    parts, attrs = read(path)
    unknown = [name for name in parts if name not in KEYS and name not in TAILS]
    try:
        return Predictions(
            track=parts.get("track"),
            frame_id=parts.get("frame_id"),
            row=parts.get("row"),
            arrays={name: value for name, value in parts.items() if name in TAILS or name in unknown},
            attrs=attrs,
        )
    except BadData as error:
        raise type(error)(f"{path}: {error}") from error


def _by_ending(path: Path, known: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    if path.suffix not in known:
        raise UsageError(
            f"{path}: predictions are {', '.join(known)} files; found the ending {path.suffix!r}"
        )
    return known[path.suffix]


def _columns(predictions: Predictions) -> dict[str, Any]:
    keys = {name: getattr(predictions, name) for name in KEYS}
    return {**{name: values for name, values in keys.items() if values is not None}, **predictions.arrays}


def _write_zarr(predictions: Predictions, path: Path) -> None:
    import zarr

    group = zarr.open_group(str(path), mode="w", zarr_format=3, attributes=dict(predictions.attrs))
    for name, values in _columns(predictions).items():
        if name == "track":
            text = group.create_array(
                name, shape=(len(values),), dtype="string", chunks=(max(len(values), 1),)
            )
            text[:] = np.asarray(values, dtype=object)
            continue
        dtype = np.dtype(np.int64) if name in KEYS else np.dtype(np.float32)
        row_bytes = math.prod(values.shape[1:]) * dtype.itemsize
        rows = max(1, min(_CHUNK_BYTES // row_bytes, len(predictions)))
        chunks = (rows, *values.shape[1:])
        array = group.create_array(name, shape=values.shape, dtype=dtype, chunks=chunks, compressors=None)
        for start in range(0, len(predictions), rows):
            array[start : start + rows] = np.asarray(values[start : start + rows], dtype)


def _read_zarr(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    import zarr

    try:
        group = zarr.open_group(str(path), mode="r", zarr_format=3)
        parts: dict[str, Any] = dict(group.arrays())
        read = {name: np.asarray(array[:]) for name, array in parts.items() if name in KEYS}
    except (OSError, ValueError, KeyError) as error:
        raise BrokenFile(f"{path}: not readable as a Zarr v3 group ({error})") from error
    if "track" in read:
        read["track"] = np.asarray(read["track"].tolist(), dtype=str)
    return {**parts, **read}, dict(group.attrs)


def _write_npz(predictions: Predictions, path: Path) -> None:
    values: dict[str, Any] = {}
    for name, column in _columns(predictions).items():
        whole = np.asarray(column[:])
        values[name] = whole if name in KEYS else whole.astype(np.float32)
    own = {
        name: np.asarray(predictions.attrs[name])
        for name in ATTRIBUTES
        if _is_plain(predictions.attrs.get(name))
    }
    others = {
        name: value for name, value in predictions.attrs.items() if name not in own and value is not None
    }
    if others:
        own["attrs"] = np.asarray(json.dumps(others))
    with path.open("wb") as file:
        np.savez(file, **values, **own)  # type: ignore[arg-type]


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _read_npz(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    entries = dict(load_npz(path))
    attrs: dict[str, Any] = {}
    if "attrs" in entries:
        attrs |= _json_object(str(entries.pop("attrs")[()]), f"{path}: attrs")
    for name in ATTRIBUTES:
        if name in entries:
            attrs[name] = entries.pop(name).item()
    if "track" in entries and entries["track"].dtype.kind == "S":
        entries["track"] = np.char.decode(entries["track"], "utf-8")
    return entries, attrs


def _write_parquet(predictions: Predictions, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {}
    for name, values in _columns(predictions).items():
        whole = np.asarray(values[:])
        if name in KEYS:
            columns[name] = pa.array(whole.tolist()) if name == "track" else pa.array(whole)
            continue
        flat = np.ascontiguousarray(whole, np.float32).reshape(len(whole), -1)
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1])
    table = pa.table(columns).replace_schema_metadata({_METADATA: json.dumps(dict(predictions.attrs))})
    pq.write_table(table, path)


def _read_parquet(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise BrokenFile(f"{path}: not readable as Parquet ({error})") from error
    metadata = table.schema.metadata or {}
    attrs: dict[str, Any] = {}
    for name in ATTRIBUTES:
        if name.encode() in metadata:
            text = metadata[name.encode()].decode()
            attrs[name] = int(text) if name == "version" else text
    if _METADATA in metadata:
        attrs |= _json_object(metadata[_METADATA].decode(), f"{path}: metadata")
    parts: dict[str, Any] = {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        parts[name] = _rows(column, name, path) if name in TAILS else np.asarray(column.to_pylist())
    return parts, attrs


def _rows(column: Any, name: str, path: Path) -> Array:
    """A column of lists (flattened or nested) as an array of rows."""
    import pyarrow as pa

    count = len(column)
    if column.null_count:
        raise BadData(f"{path}: column {name!r} has {column.null_count} missing values; leave those rows out")
    while (
        pa.types.is_list(column.type)
        or pa.types.is_large_list(column.type)
        or pa.types.is_fixed_size_list(column.type)
    ):
        column = column.flatten()
    flat = np.asarray(column, np.float32)
    tail = TAILS[name]
    known = math.prod(size for size in tail if size is not None)
    per_row = flat.size / count if count else known
    fits = per_row % known == 0 if None in tail else per_row == known
    if not fits:
        wanted = " x ".join("J" if size is None else str(size) for size in tail)
        raise BadData(f"{path}: column {name!r} has {per_row:g} numbers a row, expected {wanted}")
    shape = [int(per_row) // known if size is None else size for size in tail]
    return flat.reshape(count, *shape)


def _json_object(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise BrokenFile(f"{where}: not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise BrokenFile(f"{where}: expected a JSON object, found {type(value).__name__}")
    return value


_WRITERS: Mapping[str, Callable[[Predictions, Path], None]] = {
    ".zarr": _write_zarr,
    ".npz": _write_npz,
    ".parquet": _write_parquet,
}
_READERS: Mapping[str, Callable[[Path], tuple[dict[str, Any], dict[str, Any]]]] = {
    ".zarr": _read_zarr,
    ".npz": _read_npz,
    ".parquet": _read_parquet,
}
