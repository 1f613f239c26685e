"""Opening a processed file: its columns under the store's names, read in slices of rows.

Kinds: `vibe-db`, a joblib dump of VIBE, TCMR or MPS-Net; `vibe-h5`, VIBE's HDF5 file; `spin-npz` and `humandata`, the
archives of SPIN and mmhuman3d.
"""

import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from hpsbench.errors import BrokenFile, MissingData, ShapeError
from hpsbench.safe_io import StoredArray, load_joblib, load_npz
from hpsbench.safe_io.hdf5 import Hdf5File
from hpsbench.safe_io.joblib_dumps import unpack_joblib
from hpsbench.types import Array

Kind: TypeAlias = Literal["vibe-db", "vibe-h5", "spin-npz", "humandata"]
Read: TypeAlias = Callable[[int, int], Array]
_BOX_SIDE = 200.0  # pixels of a SPIN box of scale 1


@dataclass(frozen=True, slots=True)
class Column:
    """Rows of a processed file under one of the store's names.

    Attributes:
        row_shape: shape of one row.
        read: rows `start` to `stop` - 1.
        rows: how many there are.
    """

    row_shape: tuple[int, ...]
    read: Read
    rows: int


@dataclass(frozen=True, slots=True)
class Processed:
    """An opened processed file.

    Attributes:
        path: the file.
        kind: of file.
        rows: frames in it.
        columns: `name`, `number`, `image`, `keypoints2d`, `joints3d`, `full_pose`, `betas`, `bbox`, `features`, `valid`,
            `has_smpl`, `gender`; only what the file has.
        layout: the file's own keys in its order: data type and shape.
        left_out: keys that have no place in a store.
    """

    path: Path
    kind: Kind
    rows: int
    columns: Mapping[str, Column]
    layout: Mapping[str, tuple[str, tuple[int, ...]]]
    left_out: list[str] = field(default_factory=list)


_DB = {
    "vid_name": ("name", ()),
    "frame_id": ("number", ()),
    "img_name": ("image", ()),
    "joints2D": ("keypoints2d", (-1, 3)),
    "joints3D": ("joints3d", (-1, 3)),
    "pose": ("full_pose", (72,)),
    "shape": ("betas", (10,)),
    "bbox": ("bbox", (4,)),
    "features": ("features", (-1,)),
    "valid": ("valid", ()),
    "valid_i": ("valid", (1,)),
    "has_smpl": ("has_smpl", ()),
}
_SPIN = {
    "imgname": ("image", ()),
    "part": ("keypoints2d", (-1, 3)),
    "S": ("joints3d", (-1, 4)),
    "pose": ("full_pose", (72,)),
    "shape": ("betas", (10,)),
    "has_smpl": ("has_smpl", ()),
    "gender": ("gender", ()),
}
_HUMAN_DATA = ("image_path", "bbox_xywh", "smpl", "meta", "features")
_HUMAN_DATA_COLUMNS = {
    "image_path": ("image", ()),
    "pose": ("full_pose", (72,)),
    "shape": ("betas", (10,)),
    "gender": ("gender", ()),
    "features": ("features", (-1,)),
}


@contextmanager
def open_processed(path: Path, scratch: Path) -> Iterator[Processed]:
    """Open a processed file; nothing in it is run, and no column is read whole.

    Args:
        path: the file.
        scratch: folder for unpacked copies of compressed files; made when needed, and removed at the end.

    Raises:
        UnsafeFile: the file asks to run code; the message names what.
        BrokenFile: damaged, of no known kind, or without frames or names of them.
        ShapeError: a column of another shape or length.
        MissingData: no such file.
    """
    if not path.is_file():
        raise MissingData(f"{path}: no such file; give the path of a processed file (*_db.pt, *.h5, *.npz)")
    with path.open("rb") as file:
        start = file.read(8)
    try:
        if start == b"\x89HDF\r\n\x1a\n":
            with Hdf5File(path, ["vid_name"]) as opened:
                yield _from_arrays(path, "vibe-h5", _hdf5(opened), _DB)
        elif start.startswith(b"PK"):
            yield _open_archive(path, scratch)
        else:
            yield _from_arrays(path, "vibe-db", _joblib(path, scratch), _DB)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _joblib(path: Path, scratch: Path) -> dict[str, Any]:
    held = load_joblib(path, lazy=True)
    if not isinstance(held, dict) or not all(isinstance(key, str) for key in held):
        raise BrokenFile(f"{path}: expected a dump of a dictionary of arrays, found {type(held).__name__}")
    if any(isinstance(array, StoredArray) and array.compressed for array in held.values()):
        scratch.mkdir(parents=True, exist_ok=True)
        unpack_joblib(path, scratch / "unpacked.pt")
        held = load_joblib(scratch / "unpacked.pt", lazy=True)
    return dict(held)


class _Hdf5Rows:
    """One array of an HDF5 file, indexed by slices of rows."""

    def __init__(self, file: Hdf5File, key: str) -> None:
        self._file, self._key = file, key
        self.shape = file.shape(key)
        self.dtype = file.read(key, 0, 1).dtype

    def __getitem__(self, rows: slice) -> Array:
        return self._file.read(self._key, rows.start, rows.stop)


def _hdf5(file: Hdf5File) -> dict[str, Any]:
    return {key: _Hdf5Rows(file, key) for key in _DB if key in file}


def _open_archive(path: Path, scratch: Path) -> Processed:
    with zipfile.ZipFile(path) as archive:
        members = [info.filename.removesuffix(".npy") for info in archive.infolist()]
    if "imgname" in members:
        return _spin(path, _unpacked(path, members, scratch))
    if "image_path" in members:
        wanted = [name for name in members if name in _HUMAN_DATA]
        return _human_data(path, _unpacked(path, wanted, scratch), members)
    if any(name.endswith("data.pkl") for name in members):
        raise BrokenFile(f"{path}: a torch checkpoint, no processed dataset; db files are joblib dumps")
    raise BrokenFile(
        f"{path}: neither SPIN's (imgname) nor mmhuman3d's (image_path); it has {', '.join(members)}"
    )


def _unpacked(path: Path, names: list[str], scratch: Path) -> dict[str, Any]:
    """Arrays of an archive, mapped from copies in `scratch`; objects in memory."""
    scratch.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {}
    with zipfile.ZipFile(path) as archive:
        for number, name in enumerate(names):
            copy = scratch / f"{number}.npy"
            try:
                with archive.open(f"{name}.npy") as packed, copy.open("wb") as target:
                    shutil.copyfileobj(packed, target, 1 << 20)
                arrays[name] = np.load(copy, mmap_mode="r", allow_pickle=False)
            except (ValueError, EOFError):
                copy.unlink(missing_ok=True)
                arrays |= load_npz(path, keys=[name])
            except (zipfile.BadZipFile, zlib.error, KeyError, OSError) as error:
                raise BrokenFile(f"{path}: {name} is damaged ({error})") from error
    return arrays


def _spin(path: Path, arrays: dict[str, Any]) -> Processed:
    found = _from_arrays(path, "spin-npz", arrays, _SPIN)
    columns = dict(found.columns)
    if {"center", "scale"} <= set(arrays):
        center, scale = arrays["center"], arrays["scale"]
        columns["bbox"] = Column(
            (4,), lambda a, b: _boxes(center[a:b], np.repeat(scale[a:b, None] * _BOX_SIDE, 2, 1)), len(scale)
        )
    left_out = [key for key in found.left_out if key not in ("center", "scale")]
    return Processed(path, found.kind, found.rows, columns, found.layout, left_out)


def _boxes(centers: Array, sizes: Array) -> Array:
    return np.concatenate([np.asarray(centers), np.asarray(sizes)], axis=1)


def _human_data(path: Path, arrays: dict[str, Any], members: list[str]) -> Processed:
    """HumanData: boxes as corner and size, which need not be squares, SMPL parameters in a dictionary.

    Its 190 joints have no names here. Arrays that are not used are not read.
    """
    images = arrays["image_path"]
    rows, flat = len(images), {"image_path": images}
    smpl = _dictionary(arrays.get("smpl"))
    used = {"betas"} & set(smpl)
    if {"global_orient", "body_pose"} <= set(smpl):
        used |= {"global_orient", "body_pose"}
        parts = [_rows_of(path, smpl, key, rows) for key in ("global_orient", "body_pose")]
        flat["pose"] = np.concatenate(parts, axis=1)
    if "betas" in smpl:
        flat["shape"] = _rows_of(path, smpl, "betas", rows)[:, :10]
    meta = _dictionary(arrays.get("meta"))
    if meta.get("gender") is not None and len(meta["gender"]) == rows:
        flat["gender"] = np.asarray(meta["gender"])
    if "features" in arrays:
        flat["features"] = arrays["features"]
    found = _from_arrays(path, "humandata", flat, _HUMAN_DATA_COLUMNS)
    columns = dict(found.columns)
    if "bbox_xywh" in arrays:
        columns["bbox"] = _corner_boxes(path, arrays["bbox_xywh"], rows)
    layout = {key: (str(value.dtype), value.shape) for key, value in {**arrays, **flat}.items()}
    left_out = [f"smpl.{key}" for key in smpl if key not in used]
    left_out += [
        name for name in members if name not in (*_HUMAN_DATA, "config") and not name.startswith("__")
    ]
    return Processed(path, "humandata", rows, columns, layout, left_out)


def _rows_of(path: Path, smpl: Mapping[str, Any], key: str, rows: int) -> Array:
    """An entry of HumanData's `smpl`, one row per frame."""
    values = np.asarray(smpl[key])
    if values.dtype.kind not in "fiu" or not values.ndim or len(values) != rows:
        raise ShapeError(
            f"{path}: smpl[{key!r}] has {values.dtype} {values.shape}, expected {rows} rows of numbers"
        )
    return values.reshape(rows, -1)


def _corner_boxes(path: Path, boxes: Array, rows: int) -> Column:
    """HumanData's boxes (corner, width, height, confidence) as centres and the sides of squares."""
    if boxes.ndim != 2 or len(boxes) != rows or boxes.shape[1] not in (4, 5):
        raise ShapeError(f"{path}: bbox_xywh has shape {boxes.shape}, expected ({rows}, 5)")

    def read(start: int, stop: int) -> Array:
        part = np.asarray(boxes[start:stop])
        side = part[:, 2:4].max(axis=1, keepdims=True)
        return _boxes(part[:, :2] + part[:, 2:4] / 2, np.repeat(side, 2, axis=1))

    return Column((4,), read, rows)


def _dictionary(value: Any) -> dict[str, Any]:
    """A dictionary, also one that lies in an object array of no dimension."""
    if isinstance(value, np.ndarray) and value.dtype == object and value.shape == ():
        value = value.item()
    return value if isinstance(value, dict) else {}


def _from_arrays(
    path: Path, kind: Kind, arrays: Mapping[str, Any], wanted: Mapping[str, tuple[str, tuple[int, ...]]]
) -> Processed:
    shapes = {key: tuple(getattr(array, "shape", ())) for key, array in arrays.items()}
    names = next(iter(wanted))
    if names not in arrays:
        raise BrokenFile(
            f"{path}: no array {names}, which names the frames; it has {', '.join(arrays) or 'nothing'}"
        )
    rows = (shapes[names] or (0,))[0]
    if not rows:
        raise BrokenFile(f"{path}: {names} is empty; the file holds no frames")
    columns = {}
    for key, (name, row_shape) in wanted.items():
        if key in arrays:
            _check(path, key, shapes[key], rows, row_shape)
            columns[name] = Column(shapes[key][1:], _slices(arrays[key]), shapes[key][0])
    left_out = [key for key in arrays if key not in wanted]
    if "theta" in arrays:
        _check(path, "theta", shapes["theta"], rows, (82,))
        theta = _slices(arrays["theta"])
        columns["full_pose"] = Column((72,), lambda a, b: theta(a, b)[:, :72], rows)
        columns["betas"] = Column((10,), lambda a, b: theta(a, b)[:, 72:], rows)
        left_out.remove("theta")
    layout = {key: (str(getattr(array, "dtype", "")), shapes[key]) for key, array in arrays.items()}
    return Processed(path, kind, rows, columns, layout, left_out)


def _slices(array: Any) -> Read:
    return lambda start, stop: np.asarray(array[slice(start, stop)])


def _check(path: Path, key: str, shape: tuple[int, ...], rows: int, row_shape: tuple[int, ...]) -> None:
    """Boxes may be more than frames (they are dealt with); nothing else may differ."""
    fits = len(shape) == 1 + len(row_shape) and all(
        want in (-1, got) for want, got in zip(row_shape, shape[1:], strict=True)
    )
    enough = bool(shape) and (shape[0] == rows or (key == "bbox" and shape[0] > rows))
    if not (fits and enough):
        wanted = ", ".join("any" if size < 0 else str(size) for size in (rows, *row_shape))
        raise ShapeError(f"{path}: {key} has shape {shape}, expected ({wanted})")
