"""Convert body-model files to plain `.npz`, and check the ones that are there."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench.bodies.files import GENDERS, REGRESSOR_FILES, body_folder, file_sha256, find_body_files
from hpsbench.bodies.mean_params import load_mean_params
from hpsbench.bodies.regressors import load_regressor
from hpsbench.bodies.smpl_data import BODY_KEYS, checked_entry, is_synthetic, read_body_file, read_entries
from hpsbench.errors import HpsbenchError, MissingBodyModel, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyFileReport:
    """What `check_body_files` found about one file.

    Attributes:
        key: `neutral`, `male`, `female`, a regressor's id, or `mean_params`.
        path: the file, or None where there is none.
        sha256: of its content.
        problem: what is wrong with it, or None.
        note: what else is worth knowing.
    """

    key: str
    path: Path | None
    sha256: str | None = None
    problem: str | None = None
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether the file is there and sound."""
        return self.path is not None and self.problem is None


def convert_body_file(source: Path, target: Path | None = None) -> Path:
    """Write a body model as `.npz` with plain arrays, as they are in the source: no chumpy, nothing to unpickle.

    Args:
        source: an official `.pkl`, or an `.npz`.
        target: the new file; None: beside the source, with the ending `.npz`.

    Returns:
        The new file. The same source gives the same bytes.

    Raises:
        MissingBodyModel: no such source.
        BrokenFile, UnsafeFile: as for `read_body_file`.
        UsageError: the target is the source, or not an `.npz`.
    """
    source = Path(source)
    target = source.with_suffix(".npz") if target is None else Path(target)
    if not source.is_file():
        raise MissingBodyModel(f"no body model at {source}")
    if target.suffix != ".npz" or target.absolute() == source.absolute():
        raise UsageError(f"cannot convert {source} to {target}: give another file that ends in .npz")
    read_body_file(source)
    entries = read_entries(source)
    arrays: dict[str, Any] = {key: checked_entry(source, entries, key) for key in BODY_KEYS}
    if is_synthetic(entries):
        arrays["synthetic"] = np.array(True)
    waiting = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        with waiting.open("wb") as file:
            np.savez(file, **arrays)
        waiting.replace(target)
    finally:
        waiting.unlink(missing_ok=True)
    return target


def check_body_files(root: Path, *, synthetic: bool) -> list[BodyFileReport]:
    """Read every body-model file of a data root and say what is missing or wrong. Raises nothing for bad files."""
    found = find_body_files(root, synthetic=synthetic)
    keys = [*GENDERS, *REGRESSOR_FILES, "mean_params"]
    return [_check(Path(root), key, found.get(key), synthetic) for key in keys]


def _check(root: Path, key: str, path: Path | None, synthetic: bool) -> BodyFileReport:
    if path is None:
        return BodyFileReport(key=key, path=None, problem="missing")
    try:
        note = _read(root, key, path, synthetic)
    except HpsbenchError as error:
        return BodyFileReport(key=key, path=path, problem=str(error))
    return BodyFileReport(key=key, path=path, sha256=file_sha256(path), note=note)


def _read(root: Path, key: str, path: Path, synthetic: bool) -> str:
    if key == "mean_params":
        load_mean_params(root, synthetic=synthetic)
        return ""
    if key in REGRESSOR_FILES:
        matrix = load_regressor(body_folder(root, synthetic=synthetic), key).matrix
        return f"{matrix.shape[0]} joints from {int(np.any(matrix != 0, axis=0).sum())} vertices"
    data = read_body_file(path)
    if data.synthetic != synthetic:
        kind = "synthetic" if data.synthetic else "real"
        raise UsageError(f"{path} is a {kind} body model in the folder of the other kind")
    return f"{data.shape_components} shape components, {path.suffix.removeprefix('.')}"
