"""`hpsbench import` and `hpsbench export`, as typed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import joblib
import numpy as np
import pytest

from hpsbench.synth.body import load_synthetic_body
from hpsbench.synth.body_shape import regressor

Run = Callable[..., Any]


@pytest.mark.parametrize(
    ("verb", "said"), [("import", ("--dataset", "--split", "insta_train_db.h5")), ("export", ("vibe-db",))]
)
def test_help_tells_the_options(run_cli: Run, verb: str, said: tuple[str, ...]) -> None:
    shown = run_cli(verb, "--help")
    assert shown.code == 0
    text = " ".join(shown.out.split())
    assert all(word in text for word in said)


def test_both_come_where_the_flow_has_them(run_cli: Run) -> None:
    lines = [line.split()[0] for line in run_cli("--help").out.splitlines() if line.startswith("  ")]
    assert lines.index("extract") < lines.index("import") < lines.index("export") < lines.index("corrupt")


def check_joints(db: dict[str, np.ndarray]) -> None:
    """joints3D are those of the neutral body in the file's pose, by another implementation of the body."""
    body, order = load_synthetic_body("neutral", 0), [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10]
    assert db["joints3D"].shape == (len(db["vid_name"]), 14, 3)
    for row in (0, 7, -1):
        pose = db["pose"][row][None].astype(np.float64)
        vertices = body.pose(pose, db["shape"][row].astype(np.float64), np.zeros((1, 3)))[0][0]
        joints = (regressor("h36m17") @ vertices)[order]
        found = db["joints3D"][row]
        np.testing.assert_allclose(found - found[2:4].mean(0), joints - joints[2:4].mean(0), atol=1e-4)


def test_an_export_comes_back_as_a_store(run_cli: Run, world: Path, tmp_path: Path) -> None:
    file = tmp_path / "3dpw_test_db.pt"
    asked = ("export", "--format", "vibe-db", "--root", world, "--split", "test", "--out", file)
    planned = run_cli(*asked, "--dry-run", "--json")
    assert planned.code == 0, planned.err
    assert not file.exists()
    done = run_cli(*asked, "--json")
    assert done.code == 0, done.err
    db = joblib.load(file)
    assert {"vid_name", "frame_id", "img_name", "joints2D", "joints3D", "pose", "shape", "bbox"} <= set(db)
    check_joints(db)
    assert len(db["vid_name"]) == done.json["rows"]
    shown = run_cli("import", file, "--dataset", "3dpw", "--root", world)
    assert shown.code == 0, shown.err
    assert "wrote synthetic 3dpw from a vibe-db file" in " ".join(shown.err.split())
    listed = run_cli("ls", "stores", "--root", world, "--json").json["stores"]
    assert "3dpw-import-3dpw_test_db.zarr" in {row["store"] for row in listed}
    again = run_cli("import", file, "--dataset", "3dpw", "--root", world, "--json")
    assert again.json["rows"] == done.json["rows"]


def test_vibes_collection_is_imported(run_cli: Run, tmp_path: Path) -> None:
    file = tmp_path / "insta_train_db.h5"
    with h5py.File(file, "w") as held:
        held["vid_name"] = np.repeat([b"/a/insta_99.tfrecord-0", b"/a/insta_99.tfrecord-1"], 20)
        held["frame_id"] = np.tile(np.arange(20), 2)
        held["joints2D"] = np.random.default_rng(0).uniform(0, 224, (40, 25, 3)).astype(np.float32)
        held["features"] = np.zeros((40, 2048), np.float32)
    asked = ("import", file, "--dataset", "instavariety", "--root", tmp_path)
    refused = run_cli(*asked)
    assert refused.code == 4, "real data needs the licence"
    done = run_cli(*asked, "--accept-licence", "--json")
    assert done.code == 0, done.err
    assert (done.json["kind"], done.json["tracks"], done.json["features"]) == ("vibe-h5", 2, "spin-tcmr")


def test_a_file_that_is_none_of_these_is_refused(run_cli: Run, tmp_path: Path) -> None:
    (tmp_path / "3dpw_test_db.pt").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    bad = run_cli("import", tmp_path / "3dpw_test_db.pt", "--dataset", "3dpw", "--root", tmp_path)
    assert bad.code == 5
    assert "system" in bad.err
    absent = run_cli("import", tmp_path / "none.pt", "--dataset", "3dpw", "--root", tmp_path)
    assert absent.code == 3
    assert run_cli("export", "--format", "csv", "--root", tmp_path).code in (2, 3)
