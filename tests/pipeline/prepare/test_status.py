"""`status`: what is there, what is half done, what comes next."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hpsbench.errors import BrokenFile, MissingData
from hpsbench.pipeline.prepare import prepare
from hpsbench.pipeline.status import status
from hpsbench.store.feature_sets import FeatureSetWriter
from hpsbench.store.writer import begin_store

ATTRS = {"extractor": "x", "weights_sha256": "0", "view": "tcmr", "crop_scale": 1.3, "corruption": None}


def test_an_empty_root_leads_to_synthetic_data(tmp_path: Path) -> None:
    found = status(tmp_path)
    assert (found.raw, found.stores, found.checkpoints) == ([], [], [])
    assert found.next == [f"hpsbench synth 3dpw --root {tmp_path}"]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(MissingData, match="no data root"):
        status(tmp_path / "none")


def test_raw_data_leads_to_prepare(make_root: Callable[..., Path]) -> None:
    root = make_root(own=True)
    (root / "raw/amass/hpsbench-synthetic.json").unlink()
    found = status(root)
    assert [(raw.dataset, raw.synthetic, raw.licence) for raw in found.raw] == [
        ("3dpw", True, None),
        ("amass", False, False),
    ]
    assert found.raw[0].sequences == {"train": 2, "val": 1, "test": 3}
    assert found.raw[0].expected == {"train": 24, "val": 12, "test": 24}
    assert found.next == [
        f"hpsbench prepare 3dpw --root {root}",
        f"hpsbench prepare amass --root {root} --accept-licence",
    ]


def test_a_store_leads_to_features_and_evaluation(make_root: Callable[..., Path]) -> None:
    root = make_root()
    for key in ("3dpw", "amass"):
        prepare(key, root)
    found = status(root)
    first, second = found.stores
    assert (first.dataset, first.state, first.frames, first.tracks) == ("3dpw", "complete", 189, 8)
    assert (first.views["tcmr"], first.views["all"]) == (158, 189)
    assert second.dataset == "amass"
    assert found.next == [f"hpsbench extract 3dpw --root {root}"]
    assert found.runs == {"complete": 2}
    path = root / "stores" / "3dpw.zarr"
    for name in ("x-tcmr", "y-tcmr"):
        writer = FeatureSetWriter.create(path, name, rows=np.arange(5), dim=2, attrs=ATTRS)
        writer.write(0, np.ones((5, 2), np.float32))
    assert status(root).stores[0].incomplete_features == ["x-tcmr", "y-tcmr"]
    writer.finish()
    (root / "checkpoints").mkdir()
    (root / "checkpoints" / "vibe.pt").write_bytes(b"")
    (root / "checkpoints" / "readme.txt").write_bytes(b"")
    (root / "body_models" / "synthetic").mkdir(parents=True)
    (root / "body_models" / "synthetic" / "SMPL_NEUTRAL.npz").write_bytes(b"")
    found = status(root)
    assert found.stores[0].features == ["y-tcmr"]
    assert found.checkpoints == ["vibe.pt"]
    assert found.body_models["synthetic"] == ["neutral"]
    assert found.next[-1].startswith("hpsbench evaluate --model vibe.pt")
    json.dumps(found.to_json_dict())


def test_half_done_and_foreign_stores_are_told_apart(make_root: Callable[..., Path], tmp_path: Path) -> None:
    root = make_root(own=True)
    begin_store(root / "stores" / "amass.zarr")
    (root / "stores" / "notes").mkdir()
    (root / "stores" / "notes" / "zarr.json").write_text('{"attributes": {"a": 1}}')
    (root / "stores" / "torn.zarr").mkdir()
    (root / "stores" / "torn.zarr" / "zarr.json").write_text("{")
    last = root / "raw/3dpw/sequenceFiles/test/office_never_00.pkl"
    last.write_bytes(last.read_bytes()[:50])
    with pytest.raises(BrokenFile):
        prepare("3dpw", root)
    found = status(root)
    states = {Path(store.path).name: store.state for store in found.stores}
    assert states["3dpw.zarr"] == states["amass.zarr"] == "incomplete"
    assert states["notes"] == "not a clip store"
    assert "not valid JSON" in states["torn.zarr"]
    assert found.raw[0].read == 5
    assert found.runs == {"failed": 1}
    assert len([command for command in found.next if "prepare" in command]) == 2


def test_a_damaged_synthetic_mark_is_a_problem_not_a_crash(make_root: Callable[..., Path]) -> None:
    root = make_root(own=True)
    (root / "raw/3dpw/hpsbench-synthetic.json").write_text("{")
    found = status(root)
    assert [raw.dataset for raw in found.raw] == ["amass"]
    assert "hpsbench-synthetic.json" in found.problems[0]
