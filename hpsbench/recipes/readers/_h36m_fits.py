"""SMPL parameters fitted to Human3.6M by others: MoSh, SMPLify-X and NeuralAnnot, where a user has them.

Which sources there are, where their files lie and which comes first is in the recipe's `options.fits`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hpsbench.errors import BrokenFile, UsageError
from hpsbench.geometry.cameras import rotate_to_camera
from hpsbench.geometry.rotations import axis_angle_to_rotmat, rotmat_to_axis_angle
from hpsbench.recipes.readers._checks import option
from hpsbench.recipes.readers._json_sections import read_section
from hpsbench.recipes.sequences import RawSequence
from hpsbench.safe_io import load_pickle
from hpsbench.types import Array, BoolArray, FloatArray, IntArray


class Wanted(NamedTuple):
    """Whose fits are looked for.

    Attributes:
        subject, action, subaction: numbers; the subaction may be unknown.
        name: base name of the recording, if it is known.
        camera: place of the camera in the dataset's order, from 0.
        row: (T,) rows of the 50 Hz annotation, from 0.
        extrinsics: (4, 4) world to camera, if they are known.
    """

    subject: int
    action: int
    subaction: int | None
    name: str | None
    camera: int
    row: IntArray
    extrinsics: FloatArray | None


class Fit(NamedTuple):
    """SMPL parameters of a track; rows without a fit are NaN.

    Attributes:
        source: who fitted.
        has: (T,) whether a row has a fit.
        full_pose: (T, 72) the root in camera coordinates.
        betas: (T, 10) of the neutral model.
        transl: (T, 3) metres, world, or None.
        transl_cam: (T, 3) metres, camera, or None.
    """

    source: str
    has: BoolArray
    full_pose: FloatArray
    betas: FloatArray
    transl: FloatArray | None = None
    transl_cam: FloatArray | None = None

    def fields(self) -> dict[str, Array]:
        """As fields of the store."""
        found = {
            "has_smpl": self.has,
            "full_pose": self.full_pose,
            "betas": self.betas,
            "transl": self.transl,
            "transl_cam": self.transl_cam,
        }
        return {name: values for name, values in found.items() if values is not None}


def find_fit(raw: RawSequence, wanted: Wanted) -> Fit | None:
    """The fits of a track from the first source that has any; None if there are none.

    Raises:
        UsageError: the recipe names a source that is not known here.
        BrokenFile: a file of fits is damaged.
    """
    for entry in option(raw, "fits", list):
        if entry["source"] not in _READERS:
            raise UsageError(
                f"the recipe of {raw.name}: options.fits.source {entry['source']!r} is none of {', '.join(_READERS)}"
            )
        for pattern in entry["files"]:
            for path in _paths(raw.root, pattern, wanted):
                fit = _READERS[entry["source"]](path, entry["source"], wanted)
                if fit is not None and fit.has.any():
                    return fit
    return None


def _paths(root: Path, pattern: str, wanted: Wanted) -> list[Path]:
    """Files of a pattern (a folder may be `*`); none if it needs the recording's name and nobody knows it."""
    if "{name}" in pattern and wanted.name is None:
        return []
    named = pattern.format(subject=wanted.subject, name=wanted.name, camera=wanted.camera)
    before, star, after = named.partition("*/")
    if not star:
        return [root / named] if (root / named).is_file() else []
    found = (folder / after for folder in sorted((root / before).glob("*/")))
    return [path for path in found if path.is_file()]


def _read_mosh(path: Path, source: str, wanted: Wanted) -> Fit | None:
    """Poses at 10 fps in the camera, upside down: R_root x Rx(pi) is upright. Row i belongs to annotation row 5 i."""
    content = load_pickle(path, encoding="latin1")
    if not isinstance(content, dict) or not {"new_poses", "betas"} <= set(content):
        raise BrokenFile(f"{path}: expected a dictionary with new_poses and betas")
    poses = np.array(content["new_poses"], dtype=np.float64)
    betas = np.array(content["betas"], dtype=np.float64).ravel()
    if poses.ndim != 2 or poses.shape[1] != 72 or betas.size < 10:
        raise BrokenFile(
            f"{path}: new_poses has shape {poses.shape}, betas {betas.shape}; expected (N, 72), (10,)"
        )
    if not (np.isfinite(poses).all() and np.isfinite(betas).all()):
        raise BrokenFile(f"{path}: poses or betas are not finite")
    upright = axis_angle_to_rotmat(np.array([np.pi, 0.0, 0.0]))
    poses[:, :3] = rotmat_to_axis_angle(axis_angle_to_rotmat(poses[:, :3]) @ upright)
    at = np.asarray(wanted.row)
    has = (at % _MOSH_STEP == 0) & (at // _MOSH_STEP < len(poses))
    full_pose = np.full((len(at), 72), np.nan)
    full_pose[has] = poses[at[has] // _MOSH_STEP]
    return Fit(source, has, full_pose, np.where(has[:, None], betas[:10], np.nan))


def _read_json(path: Path, source: str, wanted: Wanted) -> Fit | None:
    """`[action][subaction][frame]` -> pose, shape, trans in the world, or `[camera]` below that -> the same in a camera.

    Parameters in the world are turned into the camera; without extrinsics they are of no use.
    """
    if wanted.subaction is None:
        return None
    entries = read_section(path, (str(wanted.action), str(wanted.subaction)))
    number = str(wanted.camera + 1)
    rows: dict[int, Mapping[str, Any]] = {}
    by_camera = False
    for row, frame in enumerate(np.asarray(wanted.row).tolist()):
        entry = entries.get(str(frame))
        if isinstance(entry, dict) and "pose" not in entry:
            entry, by_camera = entry.get(number), True
        if entry is not None:
            rows[row] = entry
    if not rows or (wanted.extrinsics is None and not by_camera):
        return None
    where = f"{path}: {wanted.action}/{wanted.subaction}"
    pose = _column(rows, "pose", 72, len(wanted.row), where)
    betas = _column(rows, "shape", 10, len(wanted.row), where)
    has = np.zeros(len(wanted.row), dtype=bool)
    has[list(rows)] = True
    if wanted.extrinsics is not None and not by_camera:
        root = rotate_to_camera(axis_angle_to_rotmat(pose[has, :3]), wanted.extrinsics)
        pose[has, :3] = rotmat_to_axis_angle(root)
    known = all("trans" in entry for entry in rows.values())
    transl = _column(rows, "trans", 3, len(wanted.row), where) if known else None
    return Fit(
        source,
        has,
        pose,
        betas,
        transl=None if by_camera else transl,
        transl_cam=transl if by_camera else None,
    )


def _column(
    rows: Mapping[int, Mapping[str, Any]], key: str, size: int, length: int, where: str
) -> FloatArray:
    """(length, size) one entry of the fits; NaN in rows without."""
    found = np.full((length, size), np.nan)
    for row, entry in rows.items():
        try:
            values = np.array(entry[key], dtype=np.float64).ravel()
        except (KeyError, TypeError, ValueError) as error:
            raise BrokenFile(f"{where}: a fit has no {key} of {size} numbers ({error!r})") from error
        if len(values) != size or not np.isfinite(values).all():
            raise BrokenFile(f"{where}: {key} of a fit should be {size} finite numbers, found {len(values)}")
        found[row] = values
    return found


_MOSH_STEP = 5  # annotation rows per row of a MoSh file: 50 fps against 10
_READERS: Mapping[str, Callable[[Path, str, Wanted], Fit | None]] = {
    "mosh": _read_mosh,
    "smplify-x": _read_json,
    "neuralannot": _read_json,
}
