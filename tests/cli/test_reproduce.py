"""`hpsbench reproduce`, as typed. Where nothing is prepared nothing is run, so these are quick."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpsbench.tables import run

Run = Callable[..., Any]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("catfa:tabl5",), "Did you mean 'catfa:table5'"),
        (("catfa:table5", "--only", "ratio"), "expected key=value"),
        (("catfa:table5", "--only", "foo=1", "--plan"), "no cell has foo=1. There are: foo: no cell has it"),
        (("catfa:table9", "--set", "schedule.nope=1", "--plan"), "'catfa': schedule.nope"),
        (("catfa:runtime", "--device", "gpu"), "--device 'gpu': expected auto, cpu or cuda[:N]"),
        (("catfa:runtime", "--device", "cuda:99"), "--device 'cuda:99': torch finds"),
    ],
)
def test_a_call_that_is_wrong_is_refused(
    arguments: tuple[str, ...], told: str, run_cli: Run, tmp_path: Path
) -> None:
    found = run_cli("reproduce", *arguments, "--root", tmp_path)
    assert found.code == 2
    assert told in found.err.replace("\n", " ")
    assert not found.out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("table", "only", "cells"),
    [
        ("spsnet:table5", ("row=8",), 3),  # a label, not the number
        ("spsnet:table5", ("seqlen=8,16", "metric=pve"), 2),
        ("catfa:table7", ("row=(2,1,0)",), 4),  # a label with commas
        ("catfa:table3", ("h36m_smpl=false",), 6),
        ("dtsvibe:table3", ("flow_loss=true", "metric=accel_err"), 1),
    ],
)
def test_only_takes_what_cells_are_like(
    table: str, only: tuple[str, ...], cells: int, run_cli: Run, tmp_path: Path
) -> None:
    options = [word for text in only for word in ("--only", text)]
    plan = run_cli("reproduce", table, "--root", tmp_path, "--dry-run", "--json", *options).json
    left_out = sum(r["cells"] for r in plan["cannot"] if r["why_not"] == "left out by --only")
    assert plan["cells"] - left_out == cells
    assert plan["dry_run"] is True
    assert not list(tmp_path.iterdir())


def test_a_table_without_data_says_so_without_naming_places(run_cli: Run, tmp_path: Path) -> None:
    found = run_cli("reproduce", "spsnet:table4", "--root", tmp_path, "--json")
    assert found.code == 0
    reasons = {cell["why_not"] for cell in found.json["cells"]}
    assert reasons == {"3dpw: not prepared; 'hpsbench prepare 3dpw' makes its store"}
    assert str(tmp_path) not in "".join(reasons)
    written = tmp_path / "runs" / "reproduce" / "spsnet_table4"
    assert {path.suffix for path in written.iterdir()} == {".json", ".md", ".tex", ".csv", ".html"}


def test_steps_that_fail_are_named_and_make_the_call_fail(
    run_cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run.reproduce

    def broken(*arguments: Any, **options: Any) -> run.Reproduced:
        return replace(whole(*arguments, **options), failed=("train vibe [x]: no space",))

    monkeypatch.setattr(run, "reproduce", broken)
    found = run_cli("reproduce", "spsnet:table4", "--root", tmp_path)
    assert found.code == 1
    assert "failed: train vibe [x]: no space" in found.err
    assert "Self-Attention" in found.out
