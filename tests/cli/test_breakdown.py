"""Breaking a result down from the command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hpsbench as hb

Run = Callable[..., Any]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One run: two sequences whose right wrist is off by 14 t mm at frame t."""
    target = np.repeat(np.random.default_rng(0).normal(0, 0.3, (1, 14, 3)), 40, axis=0)
    pred = target.copy()
    pred[:, 6, 0] += 0.014 * np.arange(40)
    track = np.repeat(["a_0", "b_0"], 20)
    hb.score("tcmr", {"joints3d": pred}, {"joints3d": target}, track=track).save(tmp_path / "runs" / "one")
    return tmp_path


def test_all_breakdowns_are_shown_and_what_is_not_there_is_said(run_cli: Run, root: Path) -> None:
    done = run_cli("breakdown", "one", "--root", root)
    assert done.code == 0, done.err
    for words in ("by sequence", "by joint", "Right Wrist", "the 10 worst frames"):
        assert words in done.out
    assert "by corruption: none, the features behind it are clean" in done.err.replace("\n", " ")


def test_chosen_ones_as_json(run_cli: Run, root: Path) -> None:
    done = run_cli(
        "breakdown", root / "runs" / "one", "--by", "sequence", "--by", "worst", "--metric", "mpjpe", "--worst", 2,
        "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    (found,) = done.json["breakdowns"]
    assert [(g["name"], g["n"]["mpjpe"]) for g in found["groups"]] == [("a", 20), ("b", 20)]
    assert found["groups"][0]["means"]["mpjpe"] == pytest.approx(9.5)
    assert [f["frame_id"] for f in done.json["worst"]["frames"]] == [39, 38]
    assert done.json["worst"]["metric"] == "mpjpe"


def test_slips_are_named(run_cli: Run, root: Path) -> None:
    wrong = run_cli("breakdown", "one", "--by", "joints", "--root", root)
    assert wrong.code == 2
    assert "Did you mean 'joint'" in wrong.err
    assert run_cli("breakdown", "two", "--root", root).code == 3


def test_bare_arrays_have_no_images(run_cli: Run, root: Path, tmp_path: Path) -> None:
    done = run_cli("breakdown", "one", "--root", root, "--images", tmp_path / "worst")
    assert done.code == 3
    assert "bare arrays" in done.err.replace("\n", " ")
