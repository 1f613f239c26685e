"""A data root whose stores have all that the recipes read, with features narrow enough to train every recipe in seconds."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

NARROW, FULL = 24, 2048


@pytest.fixture(scope="session")
def wide_world(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores of 3DPW, of other datasets made of copies of it, and of AMASS; narrow features, flow, masks. Read only."""
    return _build(tiny_world, tmp_path_factory.mktemp("wide"), NARROW)


@pytest.fixture(scope="session")
def full_world(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with features of published width. Read only."""
    return _build(tiny_world, tmp_path_factory.mktemp("full"), FULL)


def _build(tiny_world: Path, root: Path, width: int) -> Path:
    from hpsbench.pipeline.prepare import prepare
    from hpsbench.synth.world import synthesize_raw

    (root / "body_models").symlink_to(tiny_world / "body_models")
    (root / "raw").mkdir()
    (root / "raw" / "3dpw").symlink_to(tiny_world / "raw" / "3dpw")
    synthesize_raw("amass", root, size="tiny", seed=0, workers=1)
    prepare("amass", root, workers=1)
    source = root / "stores" / "3dpw.zarr"
    shutil.copytree(tiny_world / "stores" / "3dpw.zarr", source)
    _features(source, "narrow-tcmr", width)
    _features(source, "flow-narrow-tcmr", width - 4, kind="flow")
    for number in range(2):
        _features(source, f"narrow-tcmr+spsnet-occ-s{number}", width, corruption={"mode": "spsnet-occ"})
    lacking = {
        "pennaction": ("full_pose", "betas", "has_smpl", "joints3d"),
        "mpi-inf-3dhp": ("full_pose", "betas", "has_smpl"),
    }
    for dataset, fields in lacking.items():
        _copy(source, root / "stores" / f"{dataset}.zarr", dataset, fields)
    rows = zarr.open_array(source / "frames" / "frame_id", mode="r").shape[0]
    rng = np.random.default_rng(0)
    folder = root / "targets" / "3dpw" / "tcmr"
    folder.mkdir(parents=True)
    np.save(folder / "masks.npy", rng.random((rows, 56, 56)) < 0.3)
    np.save(folder / "flow.npy", rng.normal(size=(rows, 2, 56, 56), scale=0.05).astype(np.float16))
    return root


@pytest.fixture
def world(wide_world: Path, tmp_path: Path) -> Path:
    """The same, with an empty folder of runs of its own."""
    return fresh(wide_world, tmp_path)


@pytest.fixture(scope="session")
def fresh_root() -> Any:
    """A function that makes another root over the same data: (root, folder) -> root."""
    return fresh


def fresh(root: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name in ("stores", "body_models", "raw", "targets"):
        (folder / name).symlink_to((root / name).resolve())
    return folder


def _features(store: Path, name: str, width: int, **changes: Any) -> None:
    """One more feature set: of the rows of the embedded one, drawn at random."""
    like = zarr.open_group(store / "features" / "embedded-tcmr", mode="r")
    rows = np.asarray(like["row"])
    attrs = {**dict(like.attrs), "extractor": name.partition("-tcmr")[0], **changes}
    made = zarr.open_group(store / "features" / name, mode="w", zarr_format=3, attributes=attrs)
    rng = np.random.default_rng(len(name))
    made.create_array("row", data=rows, chunks=rows.shape, compressors=None)
    values = rng.normal(size=(len(rows), width)).astype(np.float32)
    made.create_array("data", data=values, chunks=(1024, width), compressors=None)


def _copy(source: Path, target: Path, dataset: str, lacking: tuple[str, ...]) -> None:
    """The store as if it were of another dataset, without some fields."""
    shutil.copytree(source, target)
    for field in lacking:
        shutil.rmtree(target / "frames" / field)
    document = json.loads((target / "zarr.json").read_text(encoding="utf-8"))
    document["attributes"]["dataset"] = dataset
    (target / "zarr.json").write_text(json.dumps(document), encoding="utf-8")
