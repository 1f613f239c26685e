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
from hpsbench.training.checkpoints import TrainingState, load_state, save_state
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


def test_a_run_is_resumed_by_as_many_processes_as_saved_it(tmp_path: Path) -> None:
    save_state(tmp_path, TrainingState(epoch=1), {})
    assert load_state(tmp_path, {}) == TrainingState(epoch=1)
    with pytest.raises(ResumeMismatch, match="saved by 1 processes and is resumed by 2; use --devices 1"):
        load_state(tmp_path, {}, world=2)


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


# A recipe, how its run is changed, its steps in all, and at which of them (of both stages, where there are two) it is killed:
# always within an epoch.
KILLED: dict[str, tuple[tuple[str, ...], int, int]] = {
    "vibe": (("schedule.epochs=2", "schedule.iterations_per_epoch=3", "schedule.plateau_patience=0"), 6, 5),
    "dtsvibe": (
        (
            *(text for text in MIXED if not text.startswith("adversary")),
            "schedule.epochs=2",
            "schedule.iterations_per_epoch=3",
            "schedule.plateau_patience=0",
        ),
        6,
        11,
    ),
}


def _one(root: Path, name: str, progress: Any = None) -> Any:
    sets = KILLED[name][0]
    if name == "vibe":
        return run(root, device="cpu", sets=sets, progress=progress)
    return train(
        name, root, features="narrow-tcmr", tiny=True, limit=2, sets=sets, device="cpu", progress=progress
    )


def _forever(root: Path, marker: Path, name: str) -> None:
    """A run that saves at every step, and waits in the middle of one to be killed."""
    loop.SAVE_EVERY = -1.0
    calls = 0

    def progress(done: int, total: int, note: str = "") -> None:
        nonlocal calls
        calls += 1
        if calls == KILLED[name][2]:
            marker.write_text("now", encoding="utf-8")
            time.sleep(600)

    _one(root, name, progress)


@pytest.mark.parametrize("name", KILLED)
def test_a_run_that_is_killed_in_an_epoch_ends_with_the_same_weights(
    name: str, wide_world: Path, tmp_path: Path, fresh_root: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mixture, a discriminator, a plateau; and a refinement after its first stage. Everything that is saved is the same."""
    monkeypatch.setattr(loop, "close_state", lambda folder, state: None)
    whole = _one(fresh_root(wide_world, tmp_path / "whole"), name)
    root, marker = fresh_root(wide_world, tmp_path / "killed"), tmp_path / "marker"
    process = multiprocessing.get_context("spawn").Process(target=_forever, args=(root, marker, name))
    process.start()
    while process.is_alive() and not marker.is_file():
        time.sleep(0.1)
    assert marker.is_file()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    state = root / "runs" / whole.folder.name / "state.pt"
    saved = torch.load(state, weights_only=True)["state"]
    assert (saved["epoch"], saved["within"]) == (1, 1), "the state is of the middle of an epoch"
    again = _one(root, name)
    assert again.steps == KILLED[name][1]
    for one, other in zip(again.history, whole.history, strict=True):
        assert (one["loss"], one["validation_mm"], one["lr"]) == (
            other["loss"],
            other["validation_mm"],
            other["lr"],
        )
    close(again.folder / "last.safetensors", whole.folder / "last.safetensors", 0)
    ends = [torch.load(folder / "state.pt", weights_only=True) for folder in (again.folder, whole.folder)]
    for part in (
        "parts",
        "random",
    ):  # weights of both sides, their optimisers, plateaus, and what is drawn next
        same(ends[0][part], ends[1][part])


def same(one: Any, other: Any) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        for a, b in zip(one, other, strict=True):
            same(a, b)
    else:
        assert one == other


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
