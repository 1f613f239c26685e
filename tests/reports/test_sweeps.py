import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpsbench.errors import BrokenFile, MissingData, UsageError
from hpsbench.reports.curves import curves_of_runs, severities
from hpsbench.reports.material import load_runs
from hpsbench.reports.page import plan_report, write_report
from hpsbench.reports.sweeps import find_sweep, load_material, panels_of

NUMBER: dict[str, Any] = {"metric": "pa_mpjpe", "unit": "mm", "n": 9, "why_none": None, "p_value": None}
Save = Callable[..., Path]


def cell(value: float | None, change: float | None = None, **more: Any) -> dict[str, Any]:
    spread = None if value is None else [value - 2, value + 2]
    moved = None if change is None else [change - 1, change + 1]
    return {**NUMBER, "value": value, "interval": spread, "reference": None, "change": change, "change_interval": moved, **more}  # fmt: skip


@pytest.fixture
def save_corruption(make_run: Save) -> Save:
    """Writes a sweep over one corruption with two models, and the runs on clean input that it rests on."""

    def save(**changes: Any) -> Path:
        cells: list[dict[str, Any]] = []
        runs: list[dict[str, Any]] = []
        for model, level in (("ours", 50.0), ("theirs", 60.0)):
            clean = make_run(f"clean-{model}", system=model, level=level)
            runs.append({"model": model, "mode": "clean", "severity": 0, "folders": [str(clean)]})
            cells.append(cell(level, model=model, mode="clean", severity=0, frames="all", condition=[]))
            for severity in (1, 5):
                for frames, extra in (("all", 1.0), ("corrupted", 3.0)):
                    lost = severity * extra
                    cells.append(cell(level + lost, lost, model=model, mode="noise", severity=severity, frames=frames))  # fmt: skip
        error = {"value": 1.2, "interval": [1.1, 1.3], "why_none": None, "sequences": 3}
        none = {"value": None, "interval": None, "why_none": "the baseline loses nothing", "sequences": 0}
        document: dict[str, Any] = {
            "sweep": "corruption", "dataset": "3dpw", "protocol": "tcmr@1", "synthetic": True, "partial": False,
            "baseline": "ours", "models": ["ours", "theirs"], "cells": cells, "runs": runs,
            "errors": [{"model": "theirs", "mode": "noise", "metric": "pa_mpjpe", "absolute": error, "relative": none}],
        }  # fmt: skip
        folder = Path(runs[0]["folders"][0]).parent / "sweep-corruption"
        folder.mkdir(exist_ok=True)
        (folder / "sweep.json").write_text(json.dumps({**document, **changes}), encoding="utf-8")
        return folder

    return save


@pytest.fixture
def length_sweep(make_run: Save) -> Path:
    runs = [
        {"model": "gru", "test_length": n, "folder": str(make_run(f"w{n}", flags=(f"windows-{n}",)))}
        for n in (8, 16)
    ]
    cells = [cell(60.0 - n / 4, model="gru", train_length=16, test_length=n) for n in (8, 16)]
    document = {
        "sweep": "seqlen", "dataset": "3dpw", "protocol": "tcmr@1", "synthetic": True, "partial": False,
        "lengths": [8, 16, 64], "frames": 120, "cells": cells, "runs": runs,
        "why_not": [{"model": "gru", "test_length": 64, "why_not": "takes no windows of 64 frames"}],
    }  # fmt: skip
    folder = Path(str(runs[0]["folder"])).parent / "sweep-seqlen"
    folder.mkdir()
    (folder / "sweep.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


def test_a_sweep_alone_makes_a_report(save_corruption: Save, tmp_path: Path) -> None:
    folder = save_corruption()
    runs, sweeps = load_material(["sweep-corruption"], root=folder.parent.parent)
    assert [run.label for run in runs] == ["ours", "theirs"]
    text = write_report(runs, tmp_path / "r.html", sweeps=sweeps).path.read_text(encoding="utf-8")
    assert "Corruption sweep: what it costs" in text
    assert "Corruption sweep: noise" in text
    assert "+5.00<small>+4.0 to +6.0</small>" in text, "the change at severity 5 with its interval"
    assert "1.200<small>1.100 to 1.300</small>" in text, "the corruption error against the baseline"
    assert "the baseline loses nothing" in text
    assert "theirs, corrupted frames alone, severity 5: 75.0 mm" in text
    assert plan_report(runs, "r.html", sweeps=sweeps)["settings"][0]["sweeps"] == ["corruption"]


def test_runs_that_are_named_are_not_doubled_by_those_of_a_sweep(
    save_corruption: Save, make_run: Save
) -> None:
    folder = save_corruption()
    mine = make_run("mine")
    runs, sweeps = load_material([str(mine), str(folder)])
    assert [run.folder for run in runs] == [mine]
    assert len(sweeps) == 1


def test_a_data_root_may_move(save_corruption: Save, tmp_path: Path) -> None:
    folder = save_corruption()
    moved = folder.parent.parent / "moved"
    folder.parent.rename(moved)
    runs, _ = load_material([str(moved / "sweep-corruption")])
    assert runs[0].folder == moved / "clean-ours"
    (moved / "clean-ours" / "results.json").unlink()
    with pytest.raises(MissingData, match=r"rests on the run .*clean-ours.* run the sweep again"):
        load_material([str(moved / "sweep-corruption")])


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "not valid JSON"), ("{}", "no 'sweep'"), ("[]", "no 'sweep'"), ('{"sweep": "x", "dataset": 1, "protocol": 1, "synthetic": 1, "cells": [], "runs": []}', "kind 'x'")],
)  # fmt: skip
def test_what_is_no_sweep_is_said_to_be_none(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "sweep.json").write_text(text, encoding="utf-8")
    with pytest.raises(BrokenFile, match=said):
        find_sweep(str(tmp_path), tmp_path)
    assert find_sweep(str(tmp_path / "other"), tmp_path) is None
    with pytest.raises(UsageError, match="no runs"):
        load_material([])


def test_lengths_run_along_powers_of_two(length_sweep: Path) -> None:
    runs, (sweep,) = load_material([str(length_sweep)])
    assert [run.folder.name for run in runs] == ["w16"], "with windows as long as in training"
    (panel,) = panels_of(sweep)
    assert "gru at 64: takes no windows of 64 frames" in panel.text
    assert "the same 120 frames" in panel.text
    assert panel.numbers[0].rows == [["gru (trained on 16 frames)", "58.0\n56.0 to 60.0", "56.0\n54.0 to 58.0", "–"]]  # fmt: skip
    (plot,) = panel.plots
    for tick in (">8<", ">16<", ">64<"):
        assert tick in plot.svg
    assert "gru, windows of 8 frames: 58.0 mm" in plot.svg


def test_runs_alone_make_curves_along_share_severity_and_length(make_run: Save) -> None:
    names = [make_run("clean"), make_run("some", condition="center-0.33x1-s0")]
    names += [make_run(f"n{s}", condition=f"noise-0.33x1-s0-sev{s}") for s in (1, 4)]
    panels = curves_of_runs(load_runs([str(name) for name in names]))
    assert [panel.heading for panel in panels] == ["Corruption: center", "Corruption: noise"]
    assert "corrupted frames [%]" in panels[0].plots[0].svg
    assert panels[1].plots[0].svg.count("<circle") == 3, "clean and two severities"
    windows = [make_run(f"l{n}", flags=(f"windows-{n}",)) for n in (8, 32)]
    (panel,) = curves_of_runs(load_runs([str(name) for name in windows]))
    assert panel.heading == "Length of the windows"
    assert panel.plots[0].svg.count("<circle") == 2
    assert curves_of_runs(load_runs([str(make_run("alone"))])) == []


def test_severities_begin_at_clean() -> None:
    assert severities().ticks[0] == (0.0, "clean")
    assert math.isclose(severities(3).ticks[-1][0], 3)
