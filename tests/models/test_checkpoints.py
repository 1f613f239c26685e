import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from hpsbench.errors import (
    BrokenFile,
    CheckpointMismatch,
    MissingCheckpoint,
    UnknownCheckpoint,
    UnsafeFile,
    UsageError,
)
from hpsbench.models._catalog import load_system
from hpsbench.models._checkpoints import load_checkpoint, load_regressor, read_checkpoint, save_checkpoint
from hpsbench.models._regressor import REGRESSOR_ENTRIES, IterativeRegressor
from hpsbench.models.mean_pose import MeanPose
from hpsbench.models.spin import Spin
from hpsbench.models.tcmr import Tcmr
from hpsbench.models.vibe import Vibe

RELEASED = [("spin", "hmr", Spin), ("vibe", "vibe", Vibe), ("tcmr", "tcmr", Tcmr)]
NARROW = {"feature_width": 24, "hidden_size": 8, "regressor_hidden": 12}


def container(name: str, state: dict[str, Any]) -> dict[str, Any]:
    if name == "hmr":
        return {"model": state}
    return {
        "epoch": 3,
        "gen_state_dict": state,
        "performance": np.float32(55.5),
        "gen_optimizer": {"state": {}},
    }


@pytest.mark.parametrize(("system", "layout", "kind"), RELEASED)
def test_released_checkpoints_load_and_run(
    tmp_path, shapes_of, thin_state, features, system, layout, kind
) -> None:
    path = tmp_path / "model_best.pth.tar"
    state = thin_state(shapes_of(layout))
    torch.save(container(layout, state), path)
    loaded = load_system(path)
    assert isinstance(loaded, kind)
    assert loaded.name == system
    assert not loaded.training
    assert loaded.inputs.extractor == "spin"
    assert len(loaded.checkpoint_sha256) == 64
    own = loaded.state_dict()
    for given, name in loaded.released_names().items():
        torch.testing.assert_close(own[name], state[given])
    with torch.no_grad():
        output = loaded(features(2, 16, 2048))
    frames = 1 if system == "tcmr" else 16
    assert output.rotmat.shape == (2, frames, 24, 3, 3)
    assert torch.isfinite(output.rotmat).all()
    counted = sum(p.numel() for p in loaded.parameters())
    assert counted == {"spin": 3469469, "vibe": 21309597, "tcmr": 81907360}[system]


@pytest.mark.parametrize(
    ("layout", "entry"),
    [
        ("hmr", "fc1.weight"),
        ("hmr", "decshape.bias"),
        ("hmr", "layer4.2.conv3.weight"),
        ("vibe", "encoder.gru.weight_hh_l0"),
        ("vibe", "encoder.gru.weight_ih_l0"),
        ("vibe", "encoder.linear.weight"),
        ("vibe", "regressor.init_pose"),
        ("tcmr", "encoder.gru_bef.bias_ih_l1"),
        ("tcmr", "encoder.attention.attention.2.weight"),
    ],
)
@pytest.mark.parametrize("change", ["shape", "missing"])
def test_a_wrong_or_missing_entry_is_named(tmp_path, shapes_of, thin_state, layout, entry, change) -> None:
    state = thin_state(shapes_of(layout))
    shape = tuple(state[entry].shape)
    if change == "missing":
        del state[entry]
    else:
        state[entry] = torch.zeros(1).expand((shape[0] - 1, *shape[1:]))
    torch.save(container(layout, state), tmp_path / "a.pt")
    with pytest.raises(CheckpointMismatch) as caught:
        load_system(tmp_path / "a.pt")
    message = str(caught.value)
    assert entry in message
    assert "a.pt" in message
    if change == "shape":
        assert f"{entry} is {(shape[0] - 1, *shape[1:])}, expected {shape}" in message
    else:
        assert f"missing: {entry}" in message


def test_an_unexpected_entry_is_named(tmp_path, shapes_of, thin_state) -> None:
    state = thin_state({**shapes_of("vibe"), "hmr.fc1.weight": (1024, 2205)})
    torch.save(container("vibe", state), tmp_path / "a.pt")
    with pytest.raises(CheckpointMismatch, match=r"unexpected: hmr\.fc1\.weight"):
        load_system(tmp_path / "a.pt")


def test_body_model_entries_may_be_absent_or_others(tmp_path, shapes_of, thin_state) -> None:
    shapes = shapes_of("vibe")
    without = {name: shape for name, shape in shapes.items() if ".smpl." not in name}
    assert len(without) < len(shapes)
    for number, changed in enumerate((without, {**without, "regressor.smpl.new": (3, 4)})):
        torch.save(container("vibe", thin_state(changed)), tmp_path / f"{number}.pt")
        assert load_system(tmp_path / f"{number}.pt").name == "vibe"


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapped", [True, False])
def test_plain_state_dicts_and_the_module_prefix_are_tolerated(
    tmp_path, shapes_of, thin_state, prefix, wrapped
) -> None:
    state = {prefix + name: value for name, value in thin_state(shapes_of("vibe")).items()}
    torch.save(container("vibe", state) if wrapped else state, tmp_path / "a.pt")
    assert load_system(tmp_path / "a.pt").name == "vibe"


@pytest.mark.parametrize(
    "options",
    [
        {"n_layers": 1, "hidden_size": 2048, "add_linear": False},
        {"n_layers": 2, "hidden_size": 64, "bidirectional": True, "add_linear": True},
        {"n_layers": 3, "hidden_size": 32, "add_linear": True},
    ],
)
def test_variants_of_vibe_are_recognised_by_their_entries(tmp_path, thin_state, options) -> None:
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in Vibe(**options).state_dict().items()}
    torch.save({"gen_state_dict": thin_state(shapes)}, tmp_path / "a.pt")
    loaded = load_system(tmp_path / "a.pt")
    assert {key: loaded.options[key] for key in options} == options


def test_a_regressor_alone_is_spin(tmp_path, shapes_of, thin_state) -> None:
    state = thin_state({name: shapes_of("hmr")[name] for name in REGRESSOR_ENTRIES})
    save_file(
        {name: value.contiguous().half() for name, value in state.items()}, tmp_path / "regressor.safetensors"
    )
    loaded = load_system(tmp_path / "regressor.safetensors")
    assert isinstance(loaded, Spin)
    assert loaded.regressor.fc1.weight.dtype == torch.float32


def test_an_unknown_layout_lists_what_was_found(tmp_path) -> None:
    torch.save({"epoch": 1, "net": {"a": torch.zeros(1)}}, tmp_path / "a.pt")
    with pytest.raises(UnknownCheckpoint, match=r"no known layout. Top level: epoch, net"):
        load_system(tmp_path / "a.pt")
    torch.save({"gen_state_dict": {"body.x": torch.zeros(1), "head.y": torch.zeros(2)}}, tmp_path / "b.pt")
    with pytest.raises(UnknownCheckpoint, match="2 entries of no known system; they begin with body, head"):
        load_system(tmp_path / "b.pt")
    torch.save([1, 2], tmp_path / "c.pt")
    with pytest.raises(UnknownCheckpoint, match="found list"):
        load_system(tmp_path / "c.pt")


def test_a_checkpoint_that_would_run_a_command_is_refused(tmp_path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return print, ("run",)

    torch.save({"model": Evil()}, tmp_path / "a.pt")
    with pytest.raises(UnsafeFile, match="print"):
        load_system(tmp_path / "a.pt")


def test_an_exported_program_is_refused(tmp_path) -> None:
    program = torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),))
    torch.export.save(program, tmp_path / "a.pt2")
    with pytest.raises(UnsafeFile, match=r"a\.pt2.*--trust-code"):
        load_system(tmp_path / "a.pt2")


def test_a_truncated_checkpoint_is_broken(tmp_path, fill) -> None:
    path = save_checkpoint(fill(Vibe(**NARROW)), tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BrokenFile, match=r"a\.safetensors"):
        load_system(path)
    path.write_bytes(b"{}")
    with pytest.raises(BrokenFile, match=r"a\.safetensors"):
        load_system(path)


@pytest.mark.parametrize("kind", [Vibe, Tcmr])
def test_own_checkpoints_come_back_with_their_card(tmp_path, fill, features, kind) -> None:
    system = fill(kind(**NARROW))
    card = {"extractor": "embedded", "extractor_sha256": "ab" * 32, "seed": 3, "options": "ignored"}
    path = save_checkpoint(system, tmp_path / "a.safetensors", card)
    loaded = load_system(path)
    assert loaded.options == system.options
    assert (loaded.inputs.extractor, loaded.inputs.extractor_sha256) == ("embedded", "ab" * 32)
    assert loaded.inputs.features == 24
    assert loaded.card["seed"] == 3
    assert loaded.card["options"] == system.options
    with torch.no_grad():
        ours, theirs = system(features(2, 16, 24)), loaded(features(2, 16, 24))
    torch.testing.assert_close(ours.rotmat, theirs.rotmat, atol=0, rtol=0)
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_the_same_system_gives_the_same_bytes(tmp_path, fill) -> None:
    first, second = (
        save_checkpoint(fill(Vibe(**NARROW)), tmp_path / f"{n}.safetensors", {"b": 1, "a": 2}) for n in "ab"
    )
    assert first.read_bytes() == second.read_bytes()


def test_a_card_that_lies_is_an_error(tmp_path, fill) -> None:
    path = save_checkpoint(fill(Vibe(**NARROW)), tmp_path / "a.safetensors")
    entries = dict(read_checkpoint(path).entries)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()

    def rewritten(version: int = 1, **changes: Any) -> Path:
        header = json.loads(metadata["hpsbench-checkpoint"])
        header = {"version": version, "card": header["card"] | changes}
        save_file(entries, path, metadata={"hpsbench-checkpoint": json.dumps(header)})
        return path

    with pytest.raises(
        CheckpointMismatch, match=r"encoder\.gru\.weight_hh_l0 is \(24, 8\), expected \(48, 16\)"
    ):
        load_checkpoint(rewritten(options={**NARROW, "hidden_size": 16}))
    with pytest.raises(CheckpointMismatch, match=r"do not fit system 'vibe'.*'colour'"):
        load_checkpoint(rewritten(options={"colour": 1}))
    with pytest.raises(BrokenFile, match="its card is unreadable"):
        load_checkpoint(rewritten(options=None))
    with pytest.raises(UnknownCheckpoint, match="version 9; this hpsbench reads version 1"):
        load_checkpoint(rewritten(version=9))


def test_only_safetensors_and_json_cards_are_written(tmp_path, fill) -> None:
    with pytest.raises(UsageError, match=r"written as \.safetensors"):
        save_checkpoint(MeanPose(), tmp_path / "a.pt")
    with pytest.raises(UsageError, match="not JSON"):
        save_checkpoint(MeanPose(), tmp_path / "a.safetensors", {"when": object()})


def test_a_generator_starts_from_spins_regressor(tmp_path, shapes_of, thin_state, fill) -> None:
    state = thin_state(shapes_of("hmr"))
    torch.save({"model": state}, tmp_path / "spin.pt")
    regressor = IterativeRegressor()
    load_regressor(regressor, tmp_path / "spin.pt")
    torch.testing.assert_close(regressor.fc1.weight.detach(), state["fc1.weight"])
    torch.testing.assert_close(regressor.init_cam, state["init_cam"])
    with pytest.raises(CheckpointMismatch, match=r"fc1\.weight is \(1024, 2205\), expected \(1024, 181\)"):
        load_regressor(IterativeRegressor(24), tmp_path / "spin.pt")
    narrow = fill(Vibe(**NARROW))
    path = save_checkpoint(narrow, tmp_path / "vibe.safetensors")
    again = IterativeRegressor(24, 12)
    load_regressor(again, path)
    torch.testing.assert_close(again.decpose.weight, narrow.regressor.decpose.weight)


def test_a_missing_checkpoint_says_where_it_was_looked_for(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("HPSBENCH_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingCheckpoint, match=r"'ckpt\.pt'; looked at ckpt\.pt \(no data root given"):
        load_system("ckpt.pt")
    with pytest.raises(MissingCheckpoint, match=rf"{tmp_path}/checkpoints/ckpt\.pt\. It is no system's name"):
        load_system("ckpt.pt", root=tmp_path)
    with pytest.raises(MissingCheckpoint, match=r"checkpoints/spin/model_checkpoint\.pt.*fetch_data\.sh"):
        load_system("spin", root=tmp_path)


def test_a_checkpoint_is_found_in_the_working_folder_first(tmp_path, monkeypatch, fill) -> None:
    folder = tmp_path / "root" / "checkpoints"
    folder.mkdir(parents=True)
    save_checkpoint(fill(Vibe(**NARROW)), folder / "a.safetensors", {"place": "root"})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HPSBENCH_ROOT", str(tmp_path / "root"))
    assert load_system("a.safetensors").card["place"] == "root"
    save_checkpoint(fill(Vibe(**NARROW)), tmp_path / "a.safetensors", {"place": "here"})
    assert load_system("a.safetensors").card["place"] == "here"


def test_a_system_is_loaded_by_its_name(tmp_path, fill) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    save_checkpoint(fill(MeanPose()), folder / "mean_pose.safetensors")
    assert load_system("mean_pose", root=tmp_path).name == "mean_pose"


def test_a_factory_needs_trust(tmp_path, monkeypatch) -> None:
    (tmp_path / "toy_factory.py").write_text(
        "from types import SimpleNamespace\n"
        "def make():\n    return SimpleNamespace(name='toy', inputs=None, context=None, predict=print)\n"
        "def wrong():\n    return 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnsafeFile, match="pass --trust-code"):
        load_system("toy_factory:make")
    assert isinstance(load_system("toy_factory:make", trust_code=True), SimpleNamespace)
    with pytest.raises(UsageError, match="made a int without 'name'"):
        load_system("toy_factory:wrong", trust_code=True)
    with pytest.raises(UsageError, match="cannot find 'none'"):
        load_system("toy_factory:none", trust_code=True)
