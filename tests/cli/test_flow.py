"""The promised lines, as typed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


def test_synth_plans_without_touching_and_writes_with_a_mark(run_cli: Run, tmp_path: Path) -> None:
    planned = run_cli("synth", "amass", "--root", tmp_path, "--dry-run", "--json")
    assert planned.code == 0
    assert planned.json["datasets"][0]["dataset"] == "amass"
    assert list(tmp_path.iterdir()) == []
    assert run_cli("synth", "amass", "--root", tmp_path, "--size", "tiny").code == 0
    mark = json.loads((tmp_path / "raw" / "amass" / "hpsbench-synthetic.json").read_text(encoding="utf-8"))
    assert mark["dataset"] == "amass"


def test_prepare_amass_has_no_features_and_says_so(run_cli: Run, tmp_path: Path) -> None:
    run_cli("synth", "amass", "--root", tmp_path)
    done = run_cli("prepare", "amass", "--root", tmp_path, "--workers", 1, "--json")
    assert done.code == 0
    assert done.json["datasets"][0]["features"] == {"features": None, "reason": "amass has no images"}
    listed = run_cli("ls", "stores", "--root", tmp_path, "--json").json["stores"]
    assert [(row["store"], row["synthetic"]) for row in listed] == [("amass.zarr", True)]


def test_corrupt_evaluate_as_typed(run_cli: Run, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPSBENCH_ROOT", str(world))
    corrupted = run_cli("corrupt", "--ratio", "0.33", "--mode", "center", "--json")
    assert corrupted.code == 0, corrupted.err
    assert corrupted.json["features"] == "embedded-tcmr+center-0.33x1-s0"
    assert 0 < corrupted.json["images"] < corrupted.json["frames"]
    clean = run_cli("evaluate", "--model", "embedded-spin", "--protocol", "tcmr", "--json")
    assert clean.code == 0, clean.err
    hidden = run_cli(
        "evaluate",
        "--model",
        "embedded-spin",
        "--protocol",
        "tcmr",
        "--features",
        corrupted.json["features"],
        "--json",
    )
    assert hidden.json["condition"] == "center-0.33x1-s0"
    assert hidden.json["metrics"]["mpjpe"]["n"] == clean.json["metrics"]["mpjpe"]["n"]
    assert hidden.json["metrics"]["mpjpe"]["value"] != clean.json["metrics"]["mpjpe"]["value"]
    assert clean.json["metrics"]["mpjpe"]["unit"] == "mm"
    assert clean.json["metrics"]["mpjpe"]["interval"] is None
    assert "needs at least 6" in clean.json["metrics"]["mpjpe"]["why_no_interval"]
    assert (Path(clean.json["folder"]) / "frames.parquet").is_file()


def test_every_frame_is_accounted_for_on_screen(run_cli: Run, world: Path) -> None:
    shown = run_cli("evaluate", "--model", "embedded-spin", "--root", world)
    assert shown.code == 0, shown.err
    assert "frames: in 152" in shown.out
    assert "scored" in shown.out
    assert "too-few-visible" in shown.out


def test_dry_runs_touch_nothing(run_cli: Run, world: Path) -> None:
    before = sorted(path for path in (world / "stores").rglob("*"))
    for arguments in (
        ("prepare", "3dpw"),
        ("extract", "3dpw"),
        ("corrupt", "--ratio", "0.33"),
        ("evaluate", "--model", "embedded-spin"),
        ("train", "vibe-generator"),
    ):
        done = run_cli(*arguments, "--root", world, "--dry-run", "--json")
        assert done.code == 0, done.err
        assert done.json["dry_run"] is True
    assert sorted(path for path in (world / "stores").rglob("*")) == before
    assert not (world / "runs").exists()


def test_train_then_evaluate_the_checkpoint(run_cli: Run, world: Path) -> None:
    trained = run_cli(
        "train", "vibe-generator", "--root", world, "--json",
        "--set", "schedule.epochs=1", "--set", "schedule.iterations_per_epoch=2", "--set", "schedule.batch=2",
        "--set", "options.hidden_size=8",
    )  # fmt: skip
    assert trained.code == 0, trained.err
    assert trained.json["steps"] == 2
    done = run_cli("evaluate", "--model", trained.json["checkpoint"], "--root", world, "--json")
    assert done.code == 0, done.err
    assert done.json["system"] == "vibe"
    assert done.json["synthetic"] is True
