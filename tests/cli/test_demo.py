"""The demo's whole flow at its smallest: everything runs, and what it says is what it wrote."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpsbench.results.result import load_result

Run = Callable[..., Any]


def test_a_plan_touches_nothing(run_cli: Run, tmp_path: Path) -> None:
    planned = run_cli("demo", "--root", tmp_path / "demo", "--dry-run", "--json")
    assert planned.code == 0
    assert len(planned.json["steps"]) == 6
    assert not (tmp_path / "demo").exists()


def test_every_step_runs_and_the_table_shows_the_results_written(
    run_cli: Run, tiny_world: Path, tmp_path: Path
) -> None:
    for name in ("body_models", "raw"):
        (tmp_path / name).symlink_to(tiny_world / name)
    shutil.copytree(tiny_world / "stores", tmp_path / "stores")

    done = run_cli("demo", "--root", tmp_path, "--size", "tiny", "--workers", 1)
    assert done.code == 0, done.err
    folders = sorted((tmp_path / "runs" / "demo").iterdir())
    results = {folder.name: load_result(folder) for folder in folders}
    assert len(results) == 8
    for name, result in results.items():
        assert result.summary["mpjpe"].n > 0, name
        assert f"{result.summary['mpjpe']:.1f}" in done.out, name
        assert f"{result.summary['accel_err']:.1f}" in done.out, name
    constant = [float(results[f"mean-annotated-on-{on}"].summary["mpjpe"]) for on in ("clean", "corrupted")]
    assert constant[0] == constant[1]
    for text in ("PA-MPJPE", "mm/frame^2", "temporal", "corrupted clips", "frames: in"):
        assert text in done.out
    assert done.err.count("corruption costs") == 3
    assert "demo.png" in done.err
    assert (tmp_path / "demo.png").stat().st_size > 10_000
