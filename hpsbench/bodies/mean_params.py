"""Mean SMPL parameters: where iterative regressors start."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpsbench.bodies.files import body_folder, file_sha256, find_mean_params_file
from hpsbench.errors import BrokenFile
from hpsbench.safe_io import load_npz
from hpsbench.types import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class MeanParams:
    """Mean parameters of SPIN's `smpl_mean_params.npz`.

    Attributes:
        pose: (144,) 24 rotations, 6D in SPIN's interleaved layout.
        shape: (10,) betas.
        cam: (3,) = (s, tx, ty).
        sha256: of the file.
    """

    pose: FloatArray
    shape: FloatArray
    cam: FloatArray
    sha256: str | None = None


def load_mean_params(root: Path, *, synthetic: bool) -> MeanParams:
    """Read the mean parameters of a data root.

    Raises:
        MissingBodyModel: no `smpl_mean_params.npz`; the message says how to get it.
        BrokenFile: an entry is missing, of another size or not finite.
    """
    path = find_mean_params_file(body_folder(root, synthetic=synthetic))
    entries = load_npz(path)
    values = []
    for key, size in (("pose", 144), ("shape", 10), ("cam", 3)):
        if key not in entries:
            raise BrokenFile(f"{path}: no entry {key!r}; found {', '.join(sorted(entries))}")
        value = np.asarray(entries[key], dtype=np.float32).reshape(-1)
        if value.shape != (size,) or not np.isfinite(value).all():
            raise BrokenFile(f"{path}: entry {key!r} is {entries[key].shape}, expected {size} finite numbers")
        values.append(value)
    pose, shape, cam = values
    return MeanParams(pose, shape, cam, file_sha256(path))
