"""The numbers of one SMPL file, checked: from the official pickle or from `.npz`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from hpsbench.bodies.files import file_sha256
from hpsbench.bodies.joints import PARENTS
from hpsbench.errors import BrokenFile
from hpsbench.safe_io import load_npz, load_pickle
from hpsbench.types import FloatArray, IntArray

NUM_VERTICES, NUM_FACES, NUM_JOINTS, NUM_BETAS = 6890, 13776, 24, 10
_SHAPES: Mapping[str, tuple[int | None, ...]] = {
    "v_template": (NUM_VERTICES, 3),
    "shapedirs": (NUM_VERTICES, 3, None),
    "posedirs": (NUM_VERTICES, 3, 9 * (NUM_JOINTS - 1)),
    "J_regressor": (NUM_JOINTS, NUM_VERTICES),
    "weights": (NUM_VERTICES, NUM_JOINTS),
    "kintree_table": (2, NUM_JOINTS),
    "f": (NUM_FACES, 3),
}
BODY_KEYS = tuple(_SHAPES)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class BodyData:
    """Template, blend shapes and skinning of an SMPL body, as its file holds them.

    Attributes:
        v_template: (6890, 3) metres, rest pose.
        shapedirs: (6890, 3, 10) metres per unit of beta.
        posedirs: (6890, 3, 207) metres per entry of (R - I) of joints 1 to 23.
        joint_regressor: (24, 6890) rest vertices to rest joints.
        weights: (6890, 24) skinning weights; rows sum to 1.
        faces: (13776, 3) vertex indices.
        synthetic: whether the file says that it belongs to the synthetic world.
        source: the file, or None.
        sha256: of the file's content, or None.
        shape_components: how many shape components the file had before it was cut to 10.
    """

    v_template: FloatArray
    shapedirs: FloatArray
    posedirs: FloatArray
    joint_regressor: FloatArray
    weights: FloatArray
    faces: IntArray
    synthetic: bool = False
    source: Path | None = None
    sha256: str | None = None
    shape_components: int = NUM_BETAS


def read_body_file(path: Path) -> BodyData:
    """Read an SMPL body model: official `.pkl` (chumpy inside, without chumpy) or `.npz`.

    `J_regressor` may be sparse or dense; more than 10 shape components are cut to the first 10.

    Raises:
        BrokenFile: the file cannot be read, an entry is missing, of the wrong shape or not finite, or the file holds
            another body model; the message names the entry.
        UnsafeFile: a pickle that asks for more than arrays.
    """
    entries = read_entries(path)
    arrays = {key: checked_entry(path, entries, key) for key in BODY_KEYS}
    _check_content(path, arrays)
    return BodyData(
        v_template=arrays["v_template"],
        shapedirs=arrays["shapedirs"][..., :NUM_BETAS],
        posedirs=arrays["posedirs"],
        joint_regressor=arrays["J_regressor"],
        weights=arrays["weights"],
        faces=arrays["f"].astype(np.int64),
        synthetic=is_synthetic(entries),
        source=Path(path),
        sha256=file_sha256(path),
        shape_components=arrays["shapedirs"].shape[-1],
    )


def read_entries(path: Path) -> Mapping[str, Any]:
    """Everything in a body-model file, by key. Raises BrokenFile, UnsafeFile."""
    entries = load_npz(path) if Path(path).suffix == ".npz" else load_pickle(path, encoding="latin1")
    if not isinstance(entries, Mapping):
        found = type(entries).__name__
        raise BrokenFile(
            f"{path}: expected a dictionary of SMPL arrays, found {found}; is this a body model?"
        )
    return entries


def is_synthetic(entries: Mapping[str, Any]) -> bool:
    """Whether a body-model file carries the mark of the synthetic world (key `synthetic`)."""
    return bool(np.any(entries["synthetic"])) if "synthetic" in entries else False


def dense(value: Any) -> FloatArray:
    """An array from what a file may hold: an array, a SciPy sparse matrix, one of them wrapped by `np.savez`."""
    if isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 0:
        value = value.item()
    if scipy.sparse.issparse(value):
        matrix: Any = value
        return np.asarray(matrix.toarray())
    return np.asarray(value)


def checked_entry(path: Path, entries: Mapping[str, Any], key: str) -> FloatArray:
    """One entry as a dense array of the shape that SMPL has. Raises BrokenFile, which names the entry."""
    if key not in entries:
        raise BrokenFile(
            f"{path}: no entry {key!r}; found {', '.join(sorted(entries)[:20])}. Is this an SMPL model?"
        )
    array = dense(entries[key])
    wanted = _SHAPES[key]
    fits = array.ndim == len(wanted) and all(w in (None, n) for w, n in zip(wanted, array.shape, strict=True))
    if not fits or (key == "shapedirs" and array.shape[-1] < NUM_BETAS):
        shape = ", ".join("at least 10" if size is None else str(size) for size in wanted)
        raise BrokenFile(
            f"{path}: entry {key!r} is {array.shape}, expected ({shape}).{_other_model(key, array)}"
        )
    if not np.issubdtype(array.dtype, np.number) or not np.isfinite(array).all():
        raise BrokenFile(
            f"{path}: entry {key!r} holds values that are no finite numbers; get the file again."
        )
    return array


def _other_model(key: str, array: FloatArray) -> str:
    vertices = array.shape[0] if key in ("v_template", "shapedirs", "posedirs", "weights") else 0
    joints = array.shape[-1] if key in ("kintree_table", "weights") else 0
    if vertices == 10475 or joints == 55:
        return " This looks like SMPL-X; hpsbench needs SMPL."
    if joints == 52 or array.shape[-1] == 9 * 51:
        return " This looks like SMPL-H; hpsbench needs SMPL."
    return ""


def _check_content(path: Path, arrays: Mapping[str, FloatArray]) -> None:
    parents = arrays["kintree_table"][0].astype(np.int64)
    if tuple(parents[1:]) != PARENTS["smpl24"][1:]:
        raise BrokenFile(f"{path}: 'kintree_table' is not SMPL's kinematic tree (parents {parents.tolist()})")
    faces = arrays["f"]
    if faces.min() < 0 or faces.max() >= NUM_VERTICES:
        raise BrokenFile(f"{path}: 'f' names vertices outside 0..{NUM_VERTICES - 1}")
    for key in ("weights", "J_regressor"):
        sums = arrays[key].sum(axis=1)
        if np.abs(sums - 1).max() > 1e-2:
            worst = int(np.abs(sums - 1).argmax())
            raise BrokenFile(
                f"{path}: row {worst} of {key!r} sums to {sums[worst]:.4f}, expected 1; get the file again."
            )
