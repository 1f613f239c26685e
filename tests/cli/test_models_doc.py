"""The examples of docs/models.md, run as they stand."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hpsbench.cli import app

TEXT = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def here(tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data").symlink_to(tiny_world)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def run(block: str) -> None:
    exec(compile(block, "docs/models.md", "exec"), {})


def told(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*arguments, "--root", "data", "--out", "made", "--json"])
    assert done.exit_code == 0, done.exception or done.output
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.mark.parametrize(
    ("what", "number", "error", "mesh"),
    [("axis_angle", 0, 200, True), ("joints3d", 1, 40, False), ("vertices", 2, 40, True)],
)
def test_predictions_of_a_model_that_runs_elsewhere(
    here: Path, what: str, number: int, error: float, mesh: bool
) -> None:
    block = BLOCKS[number]
    assert what in block
    assert len(block.splitlines()) <= 20
    run(block)
    result = told("score", "predictions.npz", "--protocol", "tcmr")
    assert result["system"] == "my-model"
    assert 0 < result["metrics"]["mpjpe"]["value"] < error
    assert ("pve_raw" in result["metrics"]) == mesh


def test_a_system_in_python(here: Path) -> None:
    (block,) = [block for block in BLOCKS if "class FlatLifting" in block]
    Path("my_module.py").write_text(block)
    try:
        result = told("evaluate", "--model", "my_module:FlatLifting", "--trust-code")
    finally:
        sys.modules.pop("my_module", None)
    assert result["system"] == "flat_lifting"


def test_an_exported_program(here: Path) -> None:
    (block,) = [block for block in BLOCKS if "torch.export.save" in block]
    run(block)
    result = told("evaluate", "--model", "model.pt2", "--trust-code")
    assert (result["system"], result["windowing"]) == ("my-model", "protocol")


def test_every_block_was_run() -> None:
    assert len(BLOCKS) == 5
