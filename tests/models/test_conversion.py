"""Released containers become our own files: the system is recognised, the card says where it came from."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from hpsbench.cli import app
from hpsbench.errors import CheckpointMismatch, HpsbenchError, MissingCheckpoint, UsageError
from hpsbench.models._catalog import load_system
from hpsbench.models._checkpoints import read_checkpoint
from hpsbench.models._conversion import convert_checkpoint
from hpsbench.models.meva import Meva

LAYOUTS = {"spin": "hmr", "vibe": "vibe", "tcmr": "tcmr", "mpsnet": "mpsnet"}
PARAMETERS = {"spin": 3469469, "vibe": 21309597, "tcmr": 81907360, "mpsnet": 12646050, "meva": 58727469}
FILES = {
    "spin": "model_checkpoint.pt",
    "vibe": "vibe_model_wo_3dpw.pth.tar",
    "tcmr": "tcmr_demo_model.pth.tar",
    "mpsnet": "mpsnet_model_best.pth.tar",
    "meva": "model_best.pth.tar",
}


@pytest.fixture
def released(tmp_path: Path, shapes_of: Any, thin_state: Any) -> Any:
    """Write a container as it was released: names and shapes are those of the public code."""

    def write(system: str, change: Any = None) -> Path:
        if system == "meva":
            with torch.device("meta"):
                shapes = {name: tuple(value.shape) for name, value in Meva().state_dict().items()}
            shapes |= {"smpl.betas": (64, 10)}
        else:
            shapes = shapes_of(LAYOUTS[system])
        state = thin_state(shapes)
        if change is not None:
            change(state)
        content: dict[str, Any] = {"model": state}
        if system != "spin":
            discriminator = thin_state(shapes_of("vibe_motion_discriminator"))
            content = {
                "epoch": 29,
                "gen_state_dict": state,
                "performance": np.float32(52.5),
                "gen_optimizer": {"state": {}},
                "disc_motion_state_dict": discriminator,
            }
        torch.save(content, tmp_path / FILES[system])
        return tmp_path / FILES[system]

    return write


@pytest.mark.parametrize("system", PARAMETERS)
def test_released_containers_are_recognised(released: Any, system: str) -> None:
    path = released(system)
    done = convert_checkpoint(path, dry_run=True)
    assert (done.system, done.parameters) == (system, PARAMETERS[system])
    assert not done.target.exists()
    card = done.card
    assert card["extractor"] == "spin"
    assert card["source"]["name"] == FILES[system]
    assert card["source"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    if system == "spin":
        assert card["source"]["top_level"] == ["model"]
    else:
        assert card["source"]["values"] == {"epoch": 29, "performance": 52.5}
        assert "disc_motion_state_dict" in card["source"]["top_level"]
    if system == "meva":
        assert any("no released file was at hand" in line for line in card["reading"])


@pytest.mark.parametrize("system", ["spin", "mpsnet"])
def test_what_is_written_loads_as_the_same_system(released: Any, tmp_path: Path, system: str) -> None:
    path = released(system)
    done = convert_checkpoint(path, tmp_path / "new" / "a.safetensors")
    ours, theirs = load_system(done.target), load_system(path)
    assert type(ours) is type(theirs)
    assert ours.options == theirs.options
    assert ours.inputs == theirs.inputs
    assert ours.card["source"] == done.card["source"]
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, atol=0, rtol=0)
    assert not [name for name in read_checkpoint(done.target).entries if "smpl" in name]
    again = convert_checkpoint(done.target, tmp_path / "b.safetensors", dry_run=True)
    assert again.card["source"]["name"] == "a.safetensors"


def test_the_released_mixing_is_an_option_of_the_conversion(released: Any, tmp_path: Path) -> None:
    path = released("mpsnet")
    assert load_system(path).batch_mixing == "paper"
    assert load_system(path, options={"batch_mixing": "released"}).batch_mixing == "released"
    done = convert_checkpoint(path, options={"batch_mixing": "released"})
    assert done.target == tmp_path / "mpsnet_model_best.safetensors"
    assert load_system(done.target).batch_mixing == "released"
    with pytest.raises(CheckpointMismatch, match=r"do not fit system 'mpsnet'.*'mixing'"):
        convert_checkpoint(path, options={"mixing": "released"}, dry_run=True)


@pytest.mark.parametrize(
    ("system", "entry"),
    [
        ("mpsnet", "nonlocalblock.conv_theta.weight"),
        ("mpsnet", "nonlocalblock.attention.attention.4.bias"),
        ("mpsnet", "regressor.fc1.weight"),
        ("meva", "vae_model.d_rnn.rnn_f.weight_hh"),
        ("spin", "layer3.0.downsample.0.weight"),
    ],
)
def test_mismatches_name_the_entries(released: Any, system: str, entry: str) -> None:
    def missing(state: dict[str, Any]) -> None:
        del state[entry]

    def other(state: dict[str, Any]) -> None:
        shape = state[entry].shape
        state[entry] = torch.zeros(1).expand(shape[0] + 1, *shape[1:])
        state["regressor.more"] = torch.zeros(3)

    with pytest.raises(CheckpointMismatch, match=f"missing: {entry}"):
        convert_checkpoint(released(system, missing), dry_run=True)
    with pytest.raises(CheckpointMismatch) as caught:
        convert_checkpoint(released(system, other), dry_run=True)
    assert f"{entry} is (" in str(caught.value)
    assert "unexpected: regressor.more" in str(caught.value)


def test_a_conversion_never_overwrites_its_source(released: Any, tmp_path: Path) -> None:
    done = convert_checkpoint(released("spin"))
    with pytest.raises(UsageError, match="overwritten by its own conversion"):
        convert_checkpoint(done.target)
    with pytest.raises(UsageError, match=r"written as \.safetensors"):
        convert_checkpoint(done.target, tmp_path / "a.pt")
    with pytest.raises(MissingCheckpoint, match=r"none in .*checkpoints"):
        convert_checkpoint("nothing.pt", root=tmp_path)


def test_the_verb_says_what_it_found(released: Any, tmp_path: Path) -> None:
    path = released("mpsnet")
    told = CliRunner().invoke(
        app, ["convert-checkpoint", str(path), "--set", "batch_mixing=released", "--dry-run"]
    )
    assert told.exit_code == 0, told.output
    for line in (
        "mpsnet",
        "batch_mixing = released",
        "12,646,050",
        "performance = 52.5",
        "entries of the body model",
    ):
        assert line in told.output
    assert "would write" in told.output
    assert not (tmp_path / "mpsnet_model_best.safetensors").exists()
    wrong = CliRunner().invoke(app, ["convert-checkpoint", str(path), "--set", "released"])
    assert isinstance(wrong.exception, HpsbenchError)
    assert "expected KEY=VALUE" in str(wrong.exception)
