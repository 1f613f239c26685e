"""Scoring predictions from the command line, under one protocol and under all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

from hpsbench.predictions.files import save_predictions
from hpsbench.predictions.predictions import Predictions
from hpsbench.store.reader import open_store

Run = Callable[..., Any]


@pytest.fixture
def given(world: Path) -> Path:
    """Predictions of the frames that tcmr sees, somewhat wrong, as a file."""
    store = open_store(world / "stores" / "3dpw.zarr")
    rows = np.concatenate([track.rows for track in store.tracks("test")])
    rows = rows[store.views["tcmr"].keep[rows] & np.asarray(store.frames["valid"][rows])]
    clip = np.searchsorted(store.clips["start"].to_numpy(), rows, side="right") - 1
    pose = store.frames["full_pose"][rows] + np.random.default_rng(0).normal(0, 0.1, (len(rows), 72))
    predictions = Predictions(
        track=store.clips["track"].to_numpy(dtype=str)[clip],
        frame_id=store.frames["frame_id"][rows],
        arrays={"axis_angle": pose, "betas": store.frames["betas"][rows]},
    )
    return save_predictions(predictions, world / "given.npz")


def test_all_protocols_side_by_side_and_why_they_differ(run_cli: Run, world: Path, given: Path) -> None:
    done = run_cli("score", given, "--protocol", "all", "--root", world, "--frames", "predicted", "--json")
    assert done.code == 0, done.err
    results = done.json["results"]
    assert {"tcmr", "vibe", "spin", "hmmr", "meva"} <= set(results)
    assert set(done.json["refused"]) == {"wham-world"}
    assert results["tcmr"]["partial"] is False
    assert results["wham-camera"]["partial"] is True
    for one in results.values():
        assert (Path(one["folder"]) / "frames.parquet").is_file()
    assert len({one["folder"] for one in results.values()}) == len(results)
    assert done.json["reference"] == "tcmr"
    (vibe,) = [one for one in done.json["explanations"] if one["protocol"] == "vibe"]
    assert [step["cause"] for step in vibe["steps"]] == ["frames", "windows"]
    start, last = vibe["start"][0], vibe["steps"][-1]["effects"][0]
    assert last["value"] == pytest.approx(results["vibe"]["metrics"]["mpjpe"]["value"])
    assert start["value"] == pytest.approx(results["tcmr"]["metrics"]["mpjpe"]["value"])


def test_the_tables_say_what_was_left_out(run_cli: Run, world: Path, given: Path) -> None:
    shown = run_cli("score", given, "--protocol", "all", "--root", world, "--reference", "meva")
    assert shown.code == 0, shown.err
    assert "from meva to tcmr" in shown.out
    assert "gaps break -> bridge" in shown.out
    messages = shown.err.replace("\n", " ")
    assert "wham-camera: not scored:" in messages
    assert "see --frames predicted, common" in messages
    common = run_cli(
        "score", given, "--protocol", "all", "--root", world, "--frames", "common", "--out", world / "o"
    )
    assert common.code == 0, common.err
    assert "on the frames that all of them score (PARTIAL)" in common.out
    assert (world / "o" / "vibe" / "results.json").is_file()


def test_one_protocol_stays_one_result(run_cli: Run, world: Path, given: Path) -> None:
    done = run_cli("score", given, "--root", world, "--json")
    assert done.code == 0, done.err
    assert done.json["protocol"] == "tcmr@1"


def test_slips_are_named(run_cli: Run, world: Path, given: Path) -> None:
    alone = run_cli("score", given, "--root", world, "--reference", "vibe")
    assert alone.code == 2
    assert "go with --protocol all" in alone.err.replace("\n", " ")
    wrong = run_cli("score", given, "--root", world, "--protocol", "all", "--reference", "vib")
    assert wrong.code == 2
    assert "Did you mean 'vibe'" in wrong.err.replace("\n", " ")
    assert run_cli("score", given, "--root", world, "--protocol", "all", "--frames", "some").code == 2
    planned = run_cli(
        "evaluate", "--model", "embedded-spin", "--root", world, "--protocol", "all", "--dry-run"
    )
    assert planned.code == 2


def test_a_system_under_every_protocol_that_it_has_features_for(run_cli: Run, world: Path) -> None:
    done = run_cli("evaluate", "--model", "embedded-spin", "--root", world, "--protocol", "all", "--json")
    assert done.code == 0, done.err
    assert list(done.json["results"]) == ["tcmr"]
    assert "no feature set 'embedded-vibe'" in done.json["refused"]["vibe"]


def test_other_predictions_are_another_run(run_cli: Run, world: Path, given: Path) -> None:
    """Two unnamed predictions do not overwrite each other's result; the same one scored again does."""
    for path in (given, given.with_name("other.npz")):
        if path != given:
            values = dict(np.load(given))
            np.savez(path, **{**values, "betas": values["betas"] + 0.5})
        done = run_cli("score", path, "--root", world)
        assert done.code == 0, done.err
    assert run_cli("score", given, "--root", world).code == 0
    runs = sorted(path.name for path in (world / "runs").glob("evaluate-predictions-tcmr@1-3dpw-*"))
    assert len(runs) == 2
    assert run_cli("compare", *runs, "--root", world).code == 0


def test_images_of_the_worst_frames(run_cli: Run, world: Path, given: Path) -> None:
    assert run_cli("score", given, "--root", world, "--out", world / "scored").code == 0
    folder = world / "worst"
    done = run_cli(
        "breakdown",
        world / "scored",
        "--root",
        world,
        "--by",
        "worst",
        "--worst",
        3,
        "--images",
        folder,
        "--json",
    )
    assert done.code == 0, done.err
    frames = done.json["worst"]["frames"]
    files = sorted(folder.iterdir())
    assert [str(path) for path in files] == done.json["worst"]["files"]
    assert [path.name for path in files] == [
        f"{number:02d}_{frame['track']}_{frame['frame_id']}.jpg"
        for number, frame in enumerate(frames, start=1)
    ]
    assert all(simplejpeg.decode_jpeg(path.read_bytes()).shape == (448, 448, 3) for path in files)
