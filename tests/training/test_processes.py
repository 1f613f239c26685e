"""Several processes are one: same losses, same weights. A kill in the middle of an epoch changes nothing."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from hpsbench.errors import ResumeMismatch, UsageError
from hpsbench.models._catalog import load_system
from hpsbench.training import loop
from hpsbench.training.kit import Hardware, hardware_of
from hpsbench.training.loop import train

MIXED = (
    'data.view="tcmr"',
    'validation.protocol="tcmr"',
    "windows.stride=4",
    "schedule.batch=8",
    "schedule.epochs=1",
    "schedule.iterations_per_epoch=4",
    "optimiser.lr=1e-3",
    "dropout=0.0",
    "adversary.options.attention_dropout=0.0",
    'sources=[{dataset="pennaction", group="2d"}, {dataset="mpi-inf-3dhp"}, {dataset="3dpw"}]',
)


def run(root: Path, **changes: Any) -> Any:
    sets = (*MIXED, *changes.pop("sets", ()))
    return train("vibe", root, features="narrow-tcmr", tiny=True, limit=2, sets=sets, **changes)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return dict(load_system(path).state_dict())  # type: ignore[attr-defined]


def close(one: Path, other: Path, tolerance: float) -> None:
    expected = weights(other)
    for name, value in weights(one).items():
        if tolerance == 0:
            assert torch.equal(value, expected[name]), name
        else:
            torch.testing.assert_close(value, expected[name], rtol=tolerance, atol=tolerance, msg=name)


def test_two_processes_give_what_one_gives_with_the_doubled_batch(
    wide_world: Path, tmp_path: Path, fresh_root: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    one = run(fresh_root(wide_world, tmp_path / "one"), hardware=Hardware(device="cpu"))
    two = run(fresh_root(wide_world, tmp_path / "two"), hardware=Hardware(device="cpu", devices=2))
    assert two.steps == one.steps == 4
    for name, value in one.history[-1]["loss"].items():
        assert two.history[-1]["loss"][name] == pytest.approx(value, rel=1e-5), name
    close(two.folder / "last.safetensors", one.folder / "last.safetensors", 1e-5)
    with pytest.raises(ResumeMismatch, match="--devices 2"):
        run(tmp_path / "two", hardware=Hardware(device="cpu"))


def test_parts_of_a_step_give_the_whole_step_where_all_windows_are_alike(
    wide_world: Path, tmp_path: Path, fresh_root: Any
) -> None:
    """Every frame has SMPL parameters here, so that a part counts as much as its windows in every term."""
    sets = ('sources=[{dataset="3dpw"}]', 'data.shares={"3d"=1.0}', "losses.adversarial=0")
    whole = run(fresh_root(wide_world, tmp_path / "whole"), sets=sets, device="cpu")
    parts = run(
        fresh_root(wide_world, tmp_path / "parts"), sets=(*sets, "schedule.accumulate=2"), device="cpu"
    )
    close(parts.folder / "last.safetensors", whole.folder / "last.safetensors", 1e-5)


def _forever(root: Path, marker: Path) -> None:
    """A run that saves at every step, and says when it has done two."""
    loop.SAVE_EVERY = -1.0

    def progress(done: int, total: int, note: str = "") -> None:
        if done == 3:
            marker.write_text("now", encoding="utf-8")
            time.sleep(60)

    run(root, device="cpu", progress=progress)


def test_a_run_that_is_killed_in_an_epoch_ends_with_the_same_weights(
    wide_world: Path, tmp_path: Path, fresh_root: Any
) -> None:
    whole = run(fresh_root(wide_world, tmp_path / "whole"), device="cpu")
    root, marker = fresh_root(wide_world, tmp_path / "killed"), tmp_path / "marker"
    process = multiprocessing.get_context("spawn").Process(target=_forever, args=(root, marker))
    process.start()
    for _ in range(600):
        if marker.is_file() or not process.is_alive():
            break
        time.sleep(0.1)
    assert marker.is_file()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    state = next((root / "runs").glob("vibe-*/state.pt"))
    saved = torch.load(state, weights_only=True)["state"]
    assert (saved["epoch"], saved["within"]) == (0, 2), "the state is of the middle of an epoch"
    again = run(root, device="cpu")
    assert again.steps == 4
    assert again.history[-1]["loss"] == whole.history[-1]["loss"], "to the bit"
    close(again.folder / "last.safetensors", whole.folder / "last.safetensors", 0)


def test_hardware_is_checked_and_a_batch_must_be_shared() -> None:
    assert hardware_of("cpu", 1, 1, "bf16", False).precision == "bf16-mixed"
    with pytest.raises(UsageError, match="fp32, bf16"):
        hardware_of("cpu", 1, 1, "fp16", False)
    with pytest.raises(UsageError, match="cuda:1"):
        hardware_of("cuda:1", 2, 1, "fp32", False)


def test_half_precision_trains_and_the_card_says_so(
    wide_world: Path, tmp_path: Path, fresh_root: Any
) -> None:
    half = run(
        fresh_root(wide_world, tmp_path / "half"),
        hardware=Hardware(device="cpu", precision="bf16-mixed"),
        sets=("schedule.iterations_per_epoch=1",),
    )
    full = run(
        fresh_root(wide_world, tmp_path / "full"), device="cpu", sets=("schedule.iterations_per_epoch=1",)
    )
    card = load_system(half.checkpoint).card  # type: ignore[attr-defined]
    assert card["environment"]["precision"] == "bf16-mixed"
    for name, value in full.history[-1]["loss"].items():
        assert half.history[-1]["loss"][name] == pytest.approx(value, rel=0.1), name
    assert json.dumps(half.history[-1]["loss"]) != json.dumps(full.history[-1]["loss"])
