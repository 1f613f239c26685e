"""Checkpoints of the field load, with NumPy scalars under both module names; programs and commands do not."""

import io
import pickle
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpsbench.errors import BrokenFile, UnsafeFile
from hpsbench.safe_io.checkpoints import load_torch


def with_old_names(path: Path) -> None:
    """Rewrite a zip checkpoint as older NumPy would have written its module names."""
    with zipfile.ZipFile(path) as archive:
        parts = [(info, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w") as archive:
        for info, data in parts:
            if info.filename.endswith("data.pkl"):
                assert b"numpy._core" in data
                data = data.replace(b"numpy._core", b"numpy.core")
            archive.writestr(info.filename, data)


@pytest.fixture
def checkpoint() -> dict[str, Any]:
    return {
        "epoch": 3,
        "gen_state_dict": OrderedDict(weight=torch.arange(6.0).reshape(2, 3), steps=torch.tensor(4)),
        "performance": np.float32(51.9),
        "best": np.float64(1.5),
        "dataset_perm": np.arange(4),
        "history": [(1, np.array(["a", "b"]))],
        "gen_optimizer": {"state": {}, "param_groups": [{"lr": 1e-4, "params": [0]}]},
    }


@pytest.mark.parametrize("layout", ["zip", "zip with old names", "plain"])
def test_checkpoints_with_numpy_values_load(tmp_path: Path, checkpoint: dict[str, Any], layout: str) -> None:
    path = tmp_path / "model_best.pth.tar"
    torch.save(checkpoint, path, _use_new_zipfile_serialization=layout != "plain")
    if layout == "zip with old names":
        with_old_names(path)
    loaded = load_torch(path)
    assert torch.equal(loaded["gen_state_dict"]["weight"], torch.arange(6.0).reshape(2, 3))
    assert type(loaded["gen_state_dict"]) is OrderedDict
    assert loaded["performance"] == np.float32(51.9)
    assert type(loaded["performance"]) is np.float32
    assert type(loaded["best"]) is np.float64
    np.testing.assert_array_equal(loaded["dataset_perm"], np.arange(4))
    np.testing.assert_array_equal(loaded["history"][0][1], ["a", "b"])
    assert loaded["gen_optimizer"] == checkpoint["gen_optimizer"]


@pytest.mark.parametrize("layout", ["zip", "plain", "bare pickle", "protocol 4"])
@pytest.mark.parametrize("place", ["bare", "nested", "in an object array"])
def test_a_command_is_refused_by_name(tmp_path: Path, command: Any, layout: str, place: str) -> None:
    value: Any = {
        "bare": command,
        "nested": {"gen_state_dict": OrderedDict(a=torch.zeros(2)), "extra": [(command,)]},
        "in an object array": {"best": np.array([command], dtype=object)},
    }[place]
    path = tmp_path / "evil.pt"
    if layout == "bare pickle":
        path.write_bytes(pickle.dumps(command))
    elif layout == "protocol 4":
        torch.save(value, path, pickle_protocol=4)
    else:
        torch.save(value, path, _use_new_zipfile_serialization=layout == "zip")
    with pytest.raises(UnsafeFile, match=r"evil\.pt: asks for .*posix\.system") as refused:
        load_torch(path)
    assert "--trust-pickle" in str(refused.value)


def test_a_class_of_another_project_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"model": torch.zeros(1), "config": Path("x")}, path)
    with pytest.raises(UnsafeFile, match=r"asks for pathlib\.PosixPath"):
        load_torch(path)


def pt2(path: Path, sample_inputs: Any) -> Path:
    """The members that `torch.export.save` of torch 2.13 writes."""
    buffer = io.BytesIO()
    torch.save(sample_inputs, buffer)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data/sample_inputs/model.pt", buffer.getvalue())
        archive.writestr("m/models/model.json", "{}")
        archive.writestr("m/archive_format", "pt2")
        archive.writestr("m/archive_version", "0")
    return path


def test_an_exported_program_is_refused_with_what_it_asks_for(tmp_path: Path, command: Any) -> None:
    path = pt2(tmp_path / "evil.pt2", ((torch.zeros(1), command), {}))
    with pytest.raises(
        UnsafeFile, match=r"evil\.pt2: an exported program.*asks for posix\.system.*--trust-code"
    ):
        load_torch(path)


def test_an_opaque_object_of_an_exported_program_is_looked_into(tmp_path: Path, command: Any) -> None:
    path = pt2(tmp_path / "evil.pt2", ((), {}))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("m/data/constants/opaque_obj_0", pickle.dumps(command))
    with pytest.raises(UnsafeFile, match=r"asks for posix\.system"):
        load_torch(path)


@pytest.mark.parametrize(
    "member", ["archive_format", "models/model.json", "serialized_exported_program.json", "code/__torch__.py"]
)
def test_programs_are_refused_whatever_their_age(tmp_path: Path, member: str) -> None:
    path = tmp_path / "program.pt"
    torch.save({"a": torch.zeros(1)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"program/{member}", b"pt2")
    with pytest.raises(UnsafeFile, match=r"an exported program.*--trust-code"):
        load_torch(path)


@pytest.mark.full
def test_the_real_exports_of_this_torch_are_refused(tmp_path: Path) -> None:
    class Plus(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

    path = tmp_path / "plus.pt2"
    torch.export.save(torch.export.export(Plus(), (torch.zeros(2),)), path)
    with pytest.raises(UnsafeFile, match="--trust-code"):
        load_torch(path)


def test_the_tar_layout_of_old_torch_is_refused(tmp_path: Path, command: Any) -> None:
    for name, content, error in (("evil", command, UnsafeFile), ("old", {"a": 1}, BrokenFile)):
        path = tmp_path / f"{name}.pth.tar"
        data = pickle.dumps(content)
        with tarfile.open(path, "w") as archive:
            info = tarfile.TarInfo("pickle")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        with pytest.raises(error, match=r"posix\.system" if name == "evil" else "newer torch"):
            load_torch(path)


@pytest.mark.parametrize("layout", ["zip", "plain"])
def test_truncated_checkpoints_are_broken(tmp_path: Path, checkpoint: dict[str, Any], layout: str) -> None:
    path = tmp_path / "cut.pt"
    torch.save(checkpoint, path, _use_new_zipfile_serialization=layout == "zip")
    whole = path.read_bytes()
    for share in (0.02, 0.3, 0.6, 0.95):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(BrokenFile, match=r"cut\.pt: not a readable torch checkpoint"):
            load_torch(path)


def test_other_files_are_broken_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    for data in (b"some text, no checkpoint", pickle.dumps({"a": 1}, 2), bytes(2000)):
        path.write_bytes(data)
        with pytest.raises(BrokenFile, match=r"a\.pt"):
            load_torch(path)


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", pickle.dumps({}, 2))
        archive.writestr("bomb/data/0", bytes(2 << 20))
    with pytest.raises(BrokenFile, match="unpacks to 2 MiB; 1 are allowed"):
        load_torch(path, max_bytes=1 << 20)


def test_loading_leaves_the_global_allow_list_as_it_was(tmp_path: Path, checkpoint: dict[str, Any]) -> None:
    before = set(torch.serialization.get_safe_globals())
    torch.save(checkpoint, tmp_path / "a.pt")
    load_torch(tmp_path / "a.pt")
    assert set(torch.serialization.get_safe_globals()) == before
