"""Is this machine ready? One finding per thing: what, state, what was found, what to do.

States: `ok`; `absent` (optional, or licensed and to be fetched by the user); `fails` (hpsbench can't work so).
"""

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
from pathlib import Path
from typing import TypedDict

from hpsbench import __version__
from hpsbench.data_dir import data_dir


class Finding(TypedDict):
    """One line of the report."""

    what: str
    state: str
    found: str
    advice: str


def examine(root: Path) -> list[Finding]:
    """Every finding, essentials first."""
    return [
        _finding("hpsbench", "ok", __version__),
        _python(),
        *_libraries(),
        _facts(),
        _devices(),
        _root(root),
        _bodies(root),
        _extractor(root),
    ]


def _finding(what: str, state: str, found: str, advice: str = "") -> Finding:
    return Finding(what=what, state=state, found=found, advice=advice)


def _python() -> Finding:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return _finding("python", "ok", found)


def _libraries() -> list[Finding]:
    """Installed version of every dependency that the package declares without an extra."""
    findings = []
    try:
        needs = importlib.metadata.requires("hpsbench") or []
    except importlib.metadata.PackageNotFoundError:
        return [
            _finding(
                "libraries", "fails", "hpsbench is not installed", "run 'pip install -e .' in the checkout"
            )
        ]
    missing, present = [], []
    for need in needs:
        if "extra ==" in need:
            continue
        name = re.split(r"[^A-Za-z0-9_.-]", need, maxsplit=1)[0]
        try:
            present.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        findings.append(
            _finding(
                "libraries", "fails", f"missing: {', '.join(missing)}", "pip install " + " ".join(missing)
            )
        )
    findings.append(_finding("libraries", "ok", ", ".join(present)))
    return findings


def _facts() -> Finding:
    try:
        folder = data_dir("recipes")
    except FileNotFoundError as problem:
        return _finding("recipes", "fails", str(problem), "reinstall hpsbench")
    counts = {
        kind.name: len(list(kind.glob("[!_]*.toml"))) for kind in sorted(folder.iterdir()) if kind.is_dir()
    }
    return _finding("recipes", "ok", ", ".join(f"{n} {kind}" for kind, n in counts.items()))


def _devices() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return _finding("devices", "fails", "torch is not installed", "pip install torch -c constraints.txt")
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return _finding("devices", "ok", f"cpu, cuda: {names}")
    return _finding("devices", "ok", f"cpu ({torch.get_num_threads()} threads); no CUDA device")


def _root(root: Path) -> Finding:
    place = root.resolve()
    if not place.exists():
        return _finding("root", "absent", f"{root} does not exist", "pass --root or set HPSBENCH_ROOT")
    free = shutil.disk_usage(place).free / 2**30
    writable = os.access(place, os.W_OK)
    advice = "" if writable else "choose a folder that you may write to"
    return _finding("root", "ok" if writable else "fails", f"{root}: {free:.0f} GiB free", advice)


def _bodies(root: Path) -> Finding:
    folder = root / "body_models"
    found = [kind for kind in ("smpl", "synthetic") if any((folder / kind).glob("SMPL_NEUTRAL.*"))]
    advice = (
        ""
        if "smpl" in found
        else "SMPL: register at smpl.is.tue.mpg.de, put SMPL_NEUTRAL.pkl into body_models/smpl"
    )
    return _finding("body models", "ok" if found else "absent", ", ".join(found) or "none", advice)


def _extractor(root: Path) -> Finding:
    path = root / "checkpoints" / "spin" / "model_checkpoint.pt"
    if path.is_file():
        return _finding("image features", "ok", "SPIN's ResNet-50")
    advice = "real data: put SPIN's model_checkpoint.pt into checkpoints/spin"
    return _finding("image features", "absent", "embedded encoder only (synthetic data)", advice)
