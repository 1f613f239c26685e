"""Named joint regressors: vertices to joints."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from hpsbench.bodies.files import file_sha256, find_regressor_file
from hpsbench.bodies.joints import SPIN49_FROM_SMPL54, JointSet, get_joint_set
from hpsbench.bodies.smpl_data import NUM_VERTICES, dense, is_synthetic, read_entries
from hpsbench.errors import BrokenFile, ShapeError
from hpsbench.safe_io import load_npy
from hpsbench.types import FloatArray

REGRESSOR_JOINT_SETS: Mapping[str, str] = MappingProxyType(
    {
        "h36m17": "h36m17_regressor",
        "extra9": "j_regressor_extra9",
        "smpl24": "smpl24",
        "cocoplus": "smplcoco19",
    }
)
"""Joint set of each regressor's rows."""


@dataclass(frozen=True, slots=True, eq=False)
class Regressor:
    """Joints as fixed weighted sums of vertices.

    Attributes:
        id: `h36m17`, `extra9`, `smpl24` or `cocoplus`.
        joint_set: what the rows are.
        matrix: (J, 6890) float64.
        sha256: of the file that it was read from, or None.
    """

    id: str
    joint_set: JointSet
    matrix: FloatArray
    sha256: str | None = None

    def __post_init__(self) -> None:
        if self.matrix.shape != (len(self.joint_set), NUM_VERTICES):
            wanted = (len(self.joint_set), NUM_VERTICES)
            raise ShapeError(f"joint regressor {self.id}: expected {wanted}, found {self.matrix.shape}")

    def regress(self, vertices: Any) -> Any:
        """Joints of vertices: (..., 6890, 3) -> (..., J, 3), same unit; NumPy arrays and torch tensors alike.

        Raises:
            ShapeError: another number of vertices.
        """
        if tuple(vertices.shape[-2:]) != (NUM_VERTICES, 3):
            raise ShapeError(f"vertices: expected (..., {NUM_VERTICES}, 3), got {tuple(vertices.shape)}")
        if isinstance(vertices, np.ndarray):
            return self.matrix.astype(vertices.dtype, copy=False) @ vertices
        return vertices.new_tensor(self.matrix) @ vertices


def load_regressor(folder: Path, id: str) -> Regressor:
    """Read a joint regressor by its id (`h36m17`, `extra9`, `cocoplus`).

    Raises:
        MissingBodyModel: its file is not in the folder; the message says how to get it.
        BrokenFile: the file has another shape.
        UnknownName: an id that names no regressor file.
    """
    path = find_regressor_file(folder, id)
    matrix = _cocoplus(path) if path.suffix == ".pkl" else dense(load_npy(path))
    joint_set = get_joint_set(REGRESSOR_JOINT_SETS[id])
    if matrix.shape == (NUM_VERTICES, len(joint_set)):
        matrix = matrix.T
    if matrix.shape != (len(joint_set), NUM_VERTICES):
        wanted = (len(joint_set), NUM_VERTICES)
        raise BrokenFile(
            f"{path}: a joint regressor {id} is {wanted}, found {matrix.shape}; is this the right file?"
        )
    if not np.isfinite(matrix).all():
        raise BrokenFile(f"{path}: holds values that are no finite numbers; get the file again")
    return Regressor(id, joint_set, np.asarray(matrix, dtype=np.float64), file_sha256(path))


def _cocoplus(path: Path) -> FloatArray:
    entries = read_entries(path)
    if "cocoplus_regressor" not in entries:
        found = ", ".join(sorted(entries)[:20])
        raise BrokenFile(
            f"{path}: no entry 'cocoplus_regressor'; found {found}. It comes with HMR's body model."
        )
    if is_synthetic(entries) != (path.parent.name == "synthetic"):
        raise BrokenFile(
            f"{path}: a synthetic file must lie in body_models/synthetic, a real one in body_models/smpl"
        )
    return dense(entries["cocoplus_regressor"])


def spin49_joints(joints54: Any) -> Any:
    """SPIN's 49 joints of the SMPL layer's 45 joints and the 9 regressed ones: (..., 54, 3) -> (..., 49, 3).

    Source: SPIN `constants.py` (JOINT_MAP).
    """
    if joints54.shape[-2] != 54:
        raise ShapeError(f"joints of smpl54: expected (..., 54, 3), got {tuple(joints54.shape)}")
    return joints54[..., list(SPIN49_FROM_SMPL54), :]
