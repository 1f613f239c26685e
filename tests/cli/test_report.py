import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from hpsbench.cli import app
from hpsbench.errors import UsageError
from hpsbench.results.measured import Measured
from hpsbench.results.result import Result


@pytest.fixture
def run(tmp_path: Path) -> Path:
    frames = pd.DataFrame(
        {
            "track": ["a_0"] * 6,
            "sequence": ["a"] * 6,
            "frame_id": np.arange(6),
            "scored": True,
            "mpjpe": np.linspace(40.0, 50.0, 6),
        }
    )
    sequences = pd.DataFrame({"sequence": ["a"], "frames": [6], "mpjpe": [45.0]})
    result = Result(
        protocol="tcmr@1",
        protocol_sha256="0" * 64,
        dataset="3dpw",
        summary={"mpjpe": Measured(45.0, unit="mm", n=6, why_no_interval="one sequence")},
        frames=frames,
        sequences=sequences,
        accounting={
            "in": 6,
            "masked": 0,
            "masked_by_reason": {},
            "too_short": 0,
            "tail": 0,
            "scored": 6,
            "tracks": {"in": 1, "used": 1, "skipped": {}},
        },
        system="mine",
    )
    return result.save(tmp_path / "runs" / "mine")


def test_the_verb_writes_one_file_and_says_so_as_json(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = CliRunner().invoke(
        app, ["report", str(run), "--out", str(out), "--title", "Mine & yours", "--json"]
    )
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["path"] == str(out)
    assert said["bytes"] == out.stat().st_size
    assert said["runs"] == ["mine"]
    assert "<h1>Mine &amp; yours</h1>" in out.read_text(encoding="utf-8")
    assert "one sequence" in out.read_text(encoding="utf-8"), "why there is no interval"


def test_a_dry_run_writes_nothing(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["report", str(run), "--out", str(out), "--dry-run", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["settings"][0]["runs"] == ["mine"]
    assert not out.exists()


def test_an_unknown_viewer_is_a_usage_error(run: Path) -> None:
    done = CliRunner().invoke(app, ["report", str(run), "--viewer", "hologram"])
    assert isinstance(done.exception, UsageError)
    assert "skeleton" in str(done.exception)


def test_predictions_are_kept_beside_a_result_and_shown_in_its_report(run_cli, world: Path) -> None:
    run = (
        "evaluate",
        "--model",
        "embedded-spin",
        "--root",
        world,
        "--limit",
        1,
        "--save-predictions",
        "--json",
    )
    first = run_cli(*run).json["folder"]
    folder = run_cli(*run).json["folder"]
    assert folder == first, "again: the same folder, its predictions replaced"
    names = {path.name for path in Path(folder).iterdir()}
    assert names == {"results.json", "frames.parquet", "sequences.parquet", "predictions.zarr"}
    assert [p for p in (world / "runs").iterdir() if p.name.startswith(".")] == []
    done = run_cli("report", folder, "--root", world, "--dry-run", "--json")
    setting = done.json["settings"][0]
    assert setting["predictions_of"] == setting["runs"]
    assert setting["images"] is True
    refused = run_cli(
        "evaluate", "--model", "embedded-spin", "--root", world, "--protocol", "all", "--save-predictions"
    )
    assert refused.code == 2
