"""Where body-model files lie, and what to say where they do not.

`R/body_models/smpl` holds the licensed files, `R/body_models/synthetic` those of the synthetic world, under the same
names; neither folder ever stands in for the other.
"""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from hpsbench.errors import MissingBodyModel, UnknownName

GENDERS = ("neutral", "male", "female")
MEAN_PARAMS_FILE = "smpl_mean_params.npz"
REGRESSOR_FILES: Mapping[str, str] = MappingProxyType(
    {
        "h36m17": "J_regressor_h36m.npy",
        "extra9": "J_regressor_extra.npy",
        "cocoplus": "neutral_smpl_with_cocoplus_reg.pkl",
    }
)
"""File of each joint regressor by its id; `smpl24` is part of the body model itself."""

_SPIN_DATA = "it is part of SPIN's data archive (fetch_data.sh of github.com/nkolot/SPIN)"
_HOW_TO_GET: Mapping[str, str] = MappingProxyType(
    {
        "SMPL": (
            "register at https://smpl.is.tue.mpg.de, download SMPL for Python (version 1.1.0) and rename "
            "basicmodel_neutral/m/f_lbs_10_207_0_v1.1.0.pkl to SMPL_NEUTRAL/MALE/FEMALE.pkl"
        ),
        "J_regressor_h36m.npy": _SPIN_DATA,
        "J_regressor_extra.npy": _SPIN_DATA,
        MEAN_PARAMS_FILE: _SPIN_DATA,
        "neutral_smpl_with_cocoplus_reg.pkl": "it is part of HMR's models archive (github.com/akanazawa/hmr)",
    }
)


def body_folder(root: Path, *, synthetic: bool) -> Path:
    """Folder of the body-model files under a data root: `body_models/synthetic` or `body_models/smpl`."""
    return Path(root) / "body_models" / ("synthetic" if synthetic else "smpl")


def body_file_names(gender: str) -> tuple[str, str]:
    """Names under which a gender's body model is looked for, in this order."""
    if gender not in GENDERS:
        raise UnknownName("gender", gender, choices=GENDERS)
    return f"SMPL_{gender.upper()}.npz", f"SMPL_{gender.upper()}.pkl"


def find_body_file(folder: Path, gender: str = "neutral") -> Path:
    """The body model of a gender in a folder, `.npz` before `.pkl`.

    Raises:
        MissingBodyModel: it is not there; the message says how to get it and where to put it.
        UnknownName: a gender other than neutral, male, female.
    """
    return _first(Path(folder), body_file_names(gender), "SMPL")


def find_regressor_file(folder: Path, id: str) -> Path:
    """The file of a joint regressor. Raises MissingBodyModel, UnknownName."""
    if id not in REGRESSOR_FILES:
        raise UnknownName("joint regressor", id, choices=REGRESSOR_FILES)
    return _first(Path(folder), (REGRESSOR_FILES[id],), REGRESSOR_FILES[id])


def find_mean_params_file(folder: Path) -> Path:
    """The file of the mean parameters. Raises MissingBodyModel."""
    return _first(Path(folder), (MEAN_PARAMS_FILE,), MEAN_PARAMS_FILE)


def find_body_files(root: Path, *, synthetic: bool) -> dict[str, Path]:
    """The body-model files that are there: `neutral`, `male`, `female`, regressor ids, `mean_params` -> path."""
    folder = body_folder(root, synthetic=synthetic)
    wanted: dict[str, tuple[str, ...]] = {gender: body_file_names(gender) for gender in GENDERS}
    wanted |= {id: (name,) for id, name in REGRESSOR_FILES.items()}
    wanted["mean_params"] = (MEAN_PARAMS_FILE,)
    found = {}
    for key, names in wanted.items():
        present = [folder / name for name in names if (folder / name).is_file()]
        if present:
            found[key] = present[0]
    return found


def _first(folder: Path, names: tuple[str, ...], what: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else None
    seen = "the folder does not exist" if there is None else f"it holds {', '.join(there[:12]) or 'nothing'}"
    if folder.name == "synthetic":
        how = "Synthetic body models are written together with synthetic data: run 'hpsbench synth'"
    else:
        how = f"It cannot be downloaded for you: {_HOW_TO_GET[what]}"
    raise MissingBodyModel(f"no {' or '.join(names)} in {folder} ({seen}). {how}, then put it there.")


def file_sha256(path: Path) -> str:
    """Hash of a file's content, in hexadecimal. Remembered until the file changes."""
    state = Path(path).stat()
    return _sha256(Path(path), state.st_size, state.st_mtime_ns)


@cache
def _sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
