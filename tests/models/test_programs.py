"""Programs from outside: exported PyTorch programs and ONNX files, their cards, and what is refused."""

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hpsbench.errors import BrokenFile, CheckpointMismatch, UnsafeFile
from hpsbench.models._catalog import load_system
from hpsbench.models._programs import Program
from hpsbench.safe_io import trust_pickles
from hpsbench.types import ClipInput, WindowRule

WIDTH = 12
CONTEXT = {"length": 4, "stride": 1, "predict": "middle", "edges": "repeat-frame", "short": "pad"}
CARD = {
    "system": "outside",
    "inputs": {"features": WIDTH, "extractor": "embedded"},
    "context": CONTEXT,
    "outputs": ["axis_angle", "betas"],
}


class Small(nn.Module):
    """Pose and shape of the middle frame, linear in its features."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.pose, self.shape = nn.Linear(WIDTH, 72), nn.Linear(WIDTH, 10)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        middle = features[:, 2:3]
        return self.pose(middle), self.shape(middle)


def export(path: Path, card: dict[str, Any] | None, *, batch: int | None = None) -> Path:
    free = ({0: torch.export.Dim("B")},) if batch is None else None
    program = torch.export.export(Small(), (torch.zeros(batch or 2, 4, WIDTH),), dynamic_shapes=free)
    torch.export.save(
        program, path, extra_files=None if card is None else {"hpsbench.json": json.dumps(card)}
    )
    return path


def onnx_model(path: Path, card: dict[str, Any] | None, *, batch: Any = "B", domain: str = "") -> Path:
    """The same computation, built node by node."""
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    small = Small()
    weights = [
        numpy_helper.from_array(
            value.detach().numpy().T.copy() if value.ndim == 2 else value.detach().numpy(), name
        )
        for name, value in small.state_dict().items()
    ] + [numpy_helper.from_array(np.array([2]), "two")]
    nodes = [
        helper.make_node("Gather", ["features", "two"], ["middle"], axis=1),
        helper.make_node("MatMul", ["middle", "pose.weight"], ["turned"]),
        helper.make_node("Add", ["turned", "pose.bias"], ["axis_angle"]),
        helper.make_node("MatMul", ["middle", "shape.weight"], ["wide"]),
        helper.make_node("Add", ["wide", "shape.bias"], ["betas"], domain=domain),
    ]
    real = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("features", real, [batch, 4, WIDTH])],
        [
            helper.make_tensor_value_info(n, real, [batch, 1, w])
            for n, w in (("axis_angle", 72), ("betas", 10))
        ],
        initializer=weights,
    )
    sets = [helper.make_opsetid("", 17)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    model = helper.make_model(graph, opset_imports=sets, ir_version=9)
    if card is not None:
        helper.set_model_props(model, {"hpsbench": json.dumps(card)})
    onnx.save(model, path)
    return path


def clip(frames: int = 9) -> ClipInput:
    features = np.random.default_rng(0).random((frames, WIDTH), np.float32)
    return ClipInput(track="a", length=frames, frame_id=np.arange(frames), features=features)


@pytest.fixture(params=["pt2", "onnx"])
def make(request: pytest.FixtureRequest) -> Any:
    if request.param == "onnx":
        pytest.importorskip("onnxruntime")
    write = {"pt2": export, "onnx": onnx_model}[request.param]
    return lambda folder, card=CARD, **options: write(folder / f"small.{request.param}", card, **options)


def test_a_program_predicts_what_its_module_computes(tmp_path: Path, make: Any) -> None:
    system = load_system(make(tmp_path), trust_code=True)
    assert isinstance(system, Program)
    assert (system.name, system.inputs.features, system.inputs.extractor) == ("outside", WIDTH, "embedded")
    assert system.context == WindowRule(**CONTEXT)
    assert len(system.checkpoint_sha256) == 64
    given = clip()
    found = system.predict(given)
    np.testing.assert_array_equal(found.rows, np.arange(9))
    with torch.no_grad():
        pose, betas = Small()(torch.from_numpy(given.features)[:, None].expand(-1, 4, -1))
    np.testing.assert_allclose(found.betas, betas[:, 0], atol=1e-5)
    angle = np.linalg.norm(pose[:, 0].numpy().reshape(9, 24, 3), axis=-1)
    np.testing.assert_allclose(np.trace(found.rotmat, axis1=2, axis2=3), 1 + 2 * np.cos(angle), atol=1e-4)


def test_a_fixed_number_of_windows_is_filled_up(tmp_path: Path, make: Any) -> None:
    free = load_system(make(tmp_path), trust_code=True).predict(clip())
    fixed = load_system(make(tmp_path, batch=4), trust_code=True).predict(clip())
    np.testing.assert_allclose(free.rotmat, fixed.rotmat, atol=1e-6)


def test_a_program_keeps_windows_that_it_was_not_exported_for(tmp_path: Path, make: Any) -> None:
    system = load_system(make(tmp_path), trust_code=True)
    assert system.accepts(WindowRule(**CONTEXT))
    assert not system.accepts(WindowRule(length=16, stride=1, predict="middle"))
    assert not system.accepts(WindowRule(length=4, stride=4, predict="all"))


def test_the_card_beside_wins_and_a_missing_one_is_asked_for(tmp_path: Path, make: Any) -> None:
    path = make(tmp_path, None)
    with pytest.raises(BrokenFile, match=rf"{path.name}: nothing says.*Write {path.name}\.json beside it"):
        load_system(path, trust_code=True)
    path.with_name(f"{path.name}.json").write_text(json.dumps({**CARD, "system": "beside"}))
    assert load_system(path, trust_code=True).name == "beside"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": {"feature": 3}}, "'inputs' has no 'feature'; known: features, flow"),
        ({"inputs": {}}, "names none of features, flow, images, keypoints2d"),
        ({"inputs": {"features": "wide"}}, "inputs.features is 'wide'"),
        ({"context": {"size": 4}}, "'context' has no 'size'"),
        ({"outputs": ["theta"]}, "unknown output 'theta'"),
        ({"outputs": ["joints3d", "betas"]}, "'joints3d' needs 'joint_set'"),
    ],
)
def test_a_wrong_card_is_told_apart(tmp_path: Path, make: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(BrokenFile, match=message):
        load_system(make(tmp_path, {**CARD, **change}), trust_code=True)


def test_a_card_that_does_not_fit_the_program(tmp_path: Path, make: Any) -> None:
    with pytest.raises(CheckpointMismatch, match=r"its card says \(B, T, 13\)"):
        load_system(make(tmp_path, {**CARD, "inputs": {"features": 13}}), trust_code=True)
    with pytest.raises(CheckpointMismatch, match="reads 1 inputs, its card names 2"):
        load_system(make(tmp_path, {**CARD, "inputs": {"features": WIDTH, "flow": 4}}), trust_code=True)
    other = load_system(make(tmp_path, {**CARD, "context": {**CONTEXT, "length": 6}}), trust_code=True)
    with pytest.raises(CheckpointMismatch, match="exported for windows of 4 frames and called with 6"):
        other.predict(clip())


def test_an_exported_program_needs_trust(tmp_path: Path) -> None:
    with pytest.raises(UnsafeFile, match=r"small\.pt2: an exported program.*--trust-code"):
        load_system(export(tmp_path / "small.pt2", CARD))


class Command:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


@pytest.mark.parametrize("place", ["data/sample_inputs/model.pt", "data/constants/opaque_obj_0"])
def test_a_command_in_a_program_is_refused_by_name_even_with_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HPSBENCH_TRUST_PICKLE", "")
    buffer = io.BytesIO()
    torch.save(((torch.zeros(1), Command()), {}), buffer)
    whole, evil = export(tmp_path / "small.pt2", CARD), tmp_path / "evil.pt2"
    with zipfile.ZipFile(whole) as given, zipfile.ZipFile(evil, "w") as written:
        for info in given.infolist():
            if info.filename.partition("/")[2] != place:
                written.writestr(info.filename.replace("small/", "evil/"), given.read(info))
        written.writestr(f"evil/{place}", buffer.getvalue())
    for trust in (False, True):
        with pytest.raises(UnsafeFile, match=r"evil\.pt2: asks for .*posix\.system"):
            load_system(evil, trust_code=trust)
    assert not (tmp_path / "ran").exists()
    trust_pickles([evil])
    with pytest.raises(UnsafeFile, match=r"pass --trust-code"):  # the other key is needed as well
        load_system(evil)


def test_torchscript_and_rubbish_are_no_programs(tmp_path: Path) -> None:
    path = tmp_path / "script.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/code/__torch__.py", "x = 1")
        archive.writestr("m/constants.pkl", b"\x80\x02).")
    with pytest.raises(UnsafeFile, match=r"TorchScript.*torch\.export\.save"):
        load_system(path, trust_code=True)
    path.write_bytes(b"not a zip")
    with pytest.raises(BrokenFile, match="not an exported program"):
        load_system(path, trust_code=True)


def test_operators_of_its_own_need_trust(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = onnx_model(tmp_path / "own.onnx", CARD, domain="their.ops")
    with pytest.raises(UnsafeFile, match=r"operators of its own.*--trust-code"):
        load_system(path)
    card = {**CARD, "operators": "their_ops.so"}
    path.with_name("own.onnx.json").write_text(json.dumps(card))
    with pytest.raises(UnsafeFile, match=r"their_ops\.so.*code that would be run"):
        load_system(path)


def test_a_damaged_onnx_file_is_broken(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "a.onnx").write_bytes(b"\x08\x01 nothing")
    with pytest.raises(BrokenFile, match=r"a\.onnx: onnxruntime cannot load it"):
        load_system(tmp_path / "a.onnx")
