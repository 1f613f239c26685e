"""`synthesize_raw` marks what it writes, goes on where it stopped, and never writes among real data."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hpsbench.errors import ResumeMismatch, UnknownName, UsageError
from hpsbench.synth.world import MARKER, list_worlds, mark, plan_world, synthesize_raw


def test_the_writers_are_listed_without_importing_them() -> None:
    assert {"3dpw", "amass"} <= set(list_worlds())
    code = (
        "import sys; from hpsbench.synth.world import list_worlds; list_worlds()\n"
        "assert not {'numpy', 'scipy', 'cv2', 'torch'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("size", ["tiny", "small", "full"])
def test_a_plan_counts_without_writing(tmp_path: Path, size: str) -> None:
    for dataset in list_worlds():
        plan = plan_world(dataset, tmp_path, size=size)
        assert plan["frames"] == sum(split["frames"] for split in plan["splits"].values())
        assert json.loads(json.dumps(plan)) == plan
    assert not list(tmp_path.iterdir())


def test_a_synthetic_folder_is_marked_and_has_a_body(tmp_path: Path) -> None:
    plan = synthesize_raw("amass", tmp_path, size="tiny", seed=2)
    folder = tmp_path / "raw" / "amass"
    assert plan["folder"] == str(folder)
    marker = json.loads((folder / MARKER).read_text())
    assert marker == {
        "format": "hpsbench-synthetic",
        "version": 1,
        "dataset": "amass",
        "size": "tiny",
        "seed": 2,
    }
    assert (tmp_path / "body_models" / "synthetic" / "SMPL_NEUTRAL.pkl").is_file()
    assert len(list(folder.rglob("*_poses.npz"))) + len(list(folder.rglob("*_stageii.npz"))) == sum(
        split["sequences"] for split in plan["splits"].values()
    )


def test_other_sizes_and_seeds_are_refused_in_the_same_folder(tmp_path: Path) -> None:
    mark(tmp_path / "raw", "amass", "tiny", 0)
    mark(tmp_path / "raw", "amass", "tiny", 0)
    with pytest.raises(ResumeMismatch, match=r"'tiny'.*asked for.*'small'"):
        mark(tmp_path / "raw", "amass", "small", 0)
    with pytest.raises(ResumeMismatch, match=r"seed 0.*seed 1"):
        mark(tmp_path / "raw", "amass", "tiny", 1)


def test_real_data_is_never_written_to(tmp_path: Path) -> None:
    folder = tmp_path / "raw" / "amass"
    (folder / "ACCAD").mkdir(parents=True)
    np.savez(folder / "ACCAD" / "a_poses.npz", poses=np.zeros(1))
    with pytest.raises(UsageError, match="not synthetic"):
        synthesize_raw("amass", tmp_path)
    assert [path.name for path in folder.rglob("*.npz")] == ["a_poses.npz"]


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"Did you mean '3dpw'"):
        plan_world("3dwp", tmp_path)
    with pytest.raises(UnknownName, match="tiny"):
        plan_world("amass", tmp_path, size="tyni")
