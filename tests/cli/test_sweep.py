"""Sweeps, as typed, on the tiny world."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from hpsbench.ablations.cells import GROUPS
from hpsbench.models._catalog import get_system
from hpsbench.models._checkpoints import save_checkpoint

Run = Callable[..., Any]
MODELS = ("--model", "embedded-spin", "--model", "median:embedded-spin")
CORRUPTION = ("sweep", "corruption", *MODELS, "--mode", "shuffled", "--severity", 2, "--resamples", 100)


def edit_attributes(root: Path, features: str, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change what a feature set of the tiny world says of itself."""
    place = root / "stores" / "3dpw.zarr" / "features" / features / "zarr.json"
    document = json.loads(place.read_text(encoding="utf-8"))
    change(document["attributes"])
    place.write_text(json.dumps(document), encoding="utf-8")


@pytest.fixture
def sweep_world(world: Path) -> Path:
    """The tiny world with a small temporal network of random weights."""
    torch.manual_seed(0)
    small = get_system("vibe")(feature_width=2048, hidden_size=8, n_layers=1).eval()
    (world / "checkpoints").mkdir()
    card = {"extractor": "embedded", "training_recipe": {"windows": {"length": 16}}}
    save_checkpoint(small, world / "checkpoints" / "small.safetensors", card)
    return world


def test_a_corruption_sweep_is_planned_measured_saved_and_resumed(run_cli: Run, world: Path) -> None:
    planned = run_cli(*CORRUPTION, "--root", world, "--dry-run", "--json")
    assert planned.code == 0, planned.err
    assert planned.json["feature_sets_to_make"] == ["embedded-tcmr+shuffled-0.33x3-s0"]
    assert (planned.json["evaluations"], planned.json["evaluations_there"]) == (4, 0)
    assert not (world / "runs").exists()

    done = run_cli(*CORRUPTION, "--root", world, "--json")
    assert done.code == 0, done.err
    assert (done.json["baseline"], done.json["models"]) == (
        "embedded-spin",
        ["embedded-spin", "median:embedded-spin"],
    )
    assert done.json["corruption_versions"] == {"shuffled": 1}
    assert done.json["renderer"] == {"format": "hpsbench-synthetic", "version": 1, "size": "tiny", "seed": 0}
    cells = {(c["model"], c["mode"], c["metric"], c["frames"]): c for c in done.json["cells"]}
    spin = {
        group: cells["embedded-spin", "shuffled", "mpjpe", group] for group in ("all", "corrupted", "further")
    }
    assert spin["corrupted"]["change"] != 0
    assert spin["further"]["change"] == 0, "a frame-based system does not see other frames"
    clean = cells["embedded-spin", "clean", "mpjpe", "all"]
    assert spin["all"]["change"] == pytest.approx(spin["all"]["value"] - clean["value"])
    assert spin["all"]["why_none"] == "2 sequences; an interval needs at least 6"
    assert {e["mode"] for e in done.json["errors"]} == {"shuffled", "mean"}
    assert all(e["absolute"]["value"] == 1 for e in done.json["errors"] if e["model"] == "embedded-spin")

    folder = Path(done.json["folder"])
    assert json.loads((folder / "sweep.json").read_text(encoding="utf-8"))["cells"] == done.json["cells"]
    with (folder / "cells.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(done.json["cells"])
    for metric in {c["metric"] for c in done.json["cells"]}:
        ElementTree.parse(folder / f"{metric}.svg")
    tables = (folder / "tables.md").read_text(encoding="utf-8")
    assert "| shuffled | 2 | median:embedded-spin |" in tables
    counts = [str(cells["embedded-spin", "shuffled", "mpjpe", group]["n"]) for group in GROUPS]
    assert f"| shuffled | 2 | mpjpe, pa_mpjpe, pve_raw | {' | '.join(counts)} |" in tables

    again = run_cli(*CORRUPTION, "--root", world, "--dry-run", "--json").json
    assert (again["feature_sets_to_make"], again["evaluations_there"]) == ([], 4)

    other = run_cli(*CORRUPTION, "--baseline", "median:embedded-spin", "--root", world, "--json").json
    assert other["baseline"] == "median:embedded-spin"
    assert other["folder"] != done.json["folder"], "one baseline's numbers don't replace another's"

    name = "embedded-tcmr+shuffled-0.33x3-s0"
    edit_attributes(world, name, lambda about: about["corruption"].update(version=0))
    planned = run_cli(*CORRUPTION, "--root", world, "--dry-run", "--json").json
    assert planned["feature_sets_to_make"] == [name]
    refused = run_cli(*CORRUPTION, "--root", world)
    assert refused.code == 5
    assert "made by version 0 of the corruption 'shuffled', which is now at version 1" in refused.err


def test_lengths_are_scored_on_the_same_frames(run_cli: Run, sweep_world: Path) -> None:
    words = (
        "sweep",
        "seqlen",
        "--model",
        "small.safetensors",
        "--model",
        "floor=embedded-spin",
        "--root",
        sweep_world,
    )
    lengths = ("--length", 8, "--length", 16, "--length", 64, "--resamples", 100)
    done = run_cli(*words, *lengths, "--json")
    assert done.code == 0, done.err
    cells = {(c["model"], c["test_length"]): c for c in done.json["cells"] if c["metric"] == "mpjpe"}
    assert len({c["n"] for c in cells.values()}) == 1
    assert cells["small", 8]["n"] == done.json["frames"]
    assert cells["small", 8]["train_length"] == 16
    assert cells["small", 8]["change"] == pytest.approx(
        cells["small", 8]["value"] - cells["small", 16]["value"]
    )
    assert cells["small", 8]["value"] != cells["small", 64]["value"]
    assert len({cells["floor", length]["value"] for length in (8, 16, 64)}) == 1
    without = done.json["frames_without_tails"]
    assert without["64"] == 0 < without["16"] < done.json["frames"]
    planned = run_cli(*words, *lengths, "--dry-run", "--json").json
    assert planned["evaluations"] == planned["evaluations_there"] == 6
    edit_attributes(sweep_world, "embedded-tcmr", lambda about: about.update(remark="made again"))
    planned = run_cli(*words, *lengths, "--dry-run", "--json").json
    assert planned["evaluations_there"] == 0, "results of other features are not taken for these"


def test_a_model_is_the_baseline_by_its_name_and_trainings_are_planned(run_cli: Run, world: Path) -> None:
    named = ("--model", "ours=embedded-spin", "--model", "median:embedded-spin", "--baseline", "ours")
    planned = run_cli("sweep", "corruption", *named, "--root", world, "--dry-run", "--json")
    assert planned.code == 0, planned.err
    assert planned.json["models"] == ["ours", "median:embedded-spin"]

    lengths = ("--train-length", 8, "--train-length", 16, "--length", 8, "--set", "max_steps=3")
    words = ("sweep", "seqlen", "--train", "vibe-generator", *lengths, "--root", world, "--dry-run")
    planned = run_cli(*words, "--json")
    assert planned.code == 0, planned.err
    assert [line.partition(":")[0] for line in planned.json["trainings"]] == [
        "vibe-generator at 8",
        "vibe-generator at 16",
    ]
    assert all(" 3 steps" in line for line in planned.json["trainings"])
    assert planned.json["evaluations_of_trained"] == 2
    assert run_cli(*words, "--model", "embedded-spin", "--json").json["evaluations"] == 1
    assert not (world / "runs").exists()


def test_wrong_calls_say_what_to_do(run_cli: Run, world: Path) -> None:
    none = run_cli("sweep", "corruption", "--root", world)
    assert none.code == 2
    assert "--model ckpt.pt" in none.err
    twice = run_cli(
        "sweep", "seqlen", "--model", "embedded-spin", "--model", "embedded-spin", "--root", world
    )
    assert twice.code == 2
    assert "different names" in twice.err.replace("\n", " ")
    alone = run_cli("sweep", "seqlen", "--train", "vibe-generator", "--root", world)
    assert alone.code == 2
    assert "--train-length" in alone.err
    lost = run_cli("sweep", "seqlen", "--model", "embedded-spin", "--set", "max_steps=3", "--root", world)
    assert lost.code == 2
    assert "--set max_steps=3 changes a training recipe" in lost.err.replace("\n", " ")
    blocks = run_cli("sweep", "corruption", "--model", "embedded-spin", "--ratio", 0.2, "--root", world)
    assert blocks.code == 2
    assert "the severities of center, random are ratios" in blocks.err.replace("\n", " ")
    unknown = run_cli("sweep", "corruption", "--model", "embedded-spin", "--mode", "nois", "--root", world)
    assert unknown.code == 2
    assert "Did you mean 'noise'" in unknown.err
