"""Comparing results from the command line: what is shown, what is refused, when the exit code is 1."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hpsbench as hb

Run = Callable[..., Any]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Runs under a root: `a`, `b` and `c` are off by 1, 2 and 4 mm, `d` is a run under another protocol."""
    target = np.random.default_rng(0).normal(0, 0.3, (160, 14, 3))
    track = np.repeat([f"s{i}_0" for i in range(8)], 20)
    for name, error, protocol in (("a", 1, "tcmr"), ("b", 2, "tcmr"), ("c", 4, "tcmr"), ("d", 1, "vibe")):
        pred = target.copy()
        pred[:, 0, 0] += 14 * error / 1000
        result = hb.score(protocol, {"joints3d": pred}, {"joints3d": target}, track=track)
        result.save(tmp_path / "runs" / f"run-{name}")
    return tmp_path


def test_a_change_is_shown_with_interval_and_p_value(run_cli: Run, root: Path) -> None:
    done = run_cli("compare", "run-a", root / "runs" / "run-b", "--root", root, "--json")
    assert done.code == 0, done.err
    mpjpe = done.json["changes"][0]
    assert (mpjpe["metric"], mpjpe["unit"], mpjpe["n"]) == ("mpjpe", "mm", 160)
    assert mpjpe["change"] == pytest.approx(1)
    assert mpjpe["interval"] == pytest.approx([1, 1])
    assert mpjpe["p_value"] < 0.05
    assert done.json["worse"] is None
    shown = run_cli("compare", "run-a", "run-b", "--root", root)
    assert "+1.00" in shown.out
    assert "worse" in shown.out


def test_a_change_is_called_worse_only_where_its_interval_says_so(run_cli: Run, root: Path) -> None:
    rng = np.random.default_rng(1)
    target = np.random.default_rng(0).normal(0, 0.3, (160, 14, 3))
    pred = target.copy()
    pred[:, 0, 0] += 14 * np.repeat(1 + rng.normal(0.05, 0.8, 8), 20) / 1000
    track = np.repeat([f"s{i}_0" for i in range(8)], 20)
    hb.score("tcmr", {"joints3d": pred}, {"joints3d": target}, track=track).save(root / "runs" / "run-e")
    shown = run_cli("compare", "run-a", "run-e", "--root", root)
    (line,) = [line for line in shown.out.splitlines() if " mpjpe " in line]
    assert "undecided" in line
    (line,) = [
        line
        for line in run_cli("compare", "run-a", "run-a", "--root", root).out.splitlines()
        if " mpjpe " in line
    ]
    assert "the same" in line


def test_a_worse_result_fails(run_cli: Run, root: Path) -> None:
    worse = run_cli("compare", "run-a", "run-b", "--root", root, "--fail-if-worse", "0.5mm", "--json")
    assert worse.code == 1
    assert "worse by more than 0.5 mm: mpjpe 1.00 -> 2.00 mm (+1.00)" in worse.err.replace("\n", " ")
    assert worse.json["worse"].startswith("worse by more than 0.5 mm")
    for limit in ("5mm", "accel_err:0.1mm/frame^2"):
        done = run_cli("compare", "run-a", "run-b", "--root", root, "--fail-if-worse", limit)
        assert done.code == 0, done.err
    assert run_cli("compare", "run-b", "run-a", "--root", root, "--fail-if-worse", "0.5mm").code == 0
    nonsense = run_cli("compare", "run-a", "run-b", "--root", root, "--fail-if-worse", "half a millimetre")
    assert nonsense.code == 2


def test_what_differs_is_named_and_nothing_is_compared(run_cli: Run, root: Path) -> None:
    done = run_cli("compare", "run-a", "run-d", "--root", root)
    assert done.code == 5
    assert "protocol: tcmr@1 and vibe@1" in done.err
    assert done.out == ""


def test_seeds_are_summarised_and_paired(run_cli: Run, root: Path) -> None:
    done = run_cli("compare", "--over-seeds", "run-a", "run-b", "run-c", "--root", root, "--json")
    assert done.code == 0, done.err
    mpjpe = done.json["metrics"][0]
    assert mpjpe["mean"] == pytest.approx(7 / 3)
    assert mpjpe["std"] == pytest.approx(np.std([1, 2, 4], ddof=1))
    assert "2.33" in run_cli("compare", "--over-seeds", "run-a", "run-b", "run-c", "--root", root).out
    paired = run_cli(
        "compare", "run-a", "run-b", "--with", "run-b", "--with", "run-c", "--root", root, "--json"
    )
    assert paired.json["seeds"] == 2
    assert paired.json["changes"][0]["change"] == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("run-a",), 2, "give two, A and B"),
        (("run-a", "nowhere"), 3, "no result 'nowhere'"),
        (("run-a", "run-"), 3, "4 results begin so"),
        (("--over-seeds", "run-a"), 2, "needs at least two"),
        (("--over-seeds", "run-a", "run-b", "--with", "run-c"), 2, "goes with neither"),
        (("run-a", "run-b", "--with", "run-c"), 2, "expected one per seed"),
    ],
)
def test_slips_are_named(run_cli: Run, root: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = run_cli("compare", *arguments, "--root", root)
    assert done.code == code
    assert words in done.err.replace("\n", " ")
