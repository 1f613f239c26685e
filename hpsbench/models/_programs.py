"""Programs from outside as systems: a PyTorch program (`.pt2`, `torch.export`) or an ONNX file.

A program is called with float32 tensors (B, T, ...) of what its card says that it reads, and returns bodies (B, T', ...).
Where it was exported for a fixed number of windows it is called with as many.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hpsbench.bodies.files import file_sha256
from hpsbench.errors import BrokenFile, CheckpointMismatch, HpsbenchError, UnsafeFile, UsageError
from hpsbench.geometry.rotations import axis_angle_to_rotmat
from hpsbench.models._adapter import FeatureSystem
from hpsbench.models._program_cards import OUTPUTS, ProgramCard, card_beside, read_program_card
from hpsbench.models._streams import READ_IN_ORDER
from hpsbench.models._system import HPSOutput
from hpsbench.safe_io import check_program
from hpsbench.types import WindowRule

CARD_INSIDE = "hpsbench.json"
"""Name of the card among the extra files of a `.pt2`; in ONNX metadata the key is `hpsbench`."""
ONNX_KEY = "hpsbench"
MAX_BYTES = 8 << 30

Call = Callable[[Sequence[Tensor]], Mapping[str, Tensor]]


def load_program(path: Path, *, device: str = "cpu", trust_code: bool = False) -> "Program":
    """A program as a system.

    Args:
        path: an ONNX file, or a `.pt2` written by `torch.export.save`.
        device: where it computes; ONNX needs its CUDA provider for `cuda`.
        trust_code: needed for a `.pt2` (loading one may run code) and for ONNX with operators of its own.

    Raises:
        UnsafeFile: code is not trusted; or a `.pt2` asks for something that no program needs, whether trusted or not.
        BrokenFile: damaged, or without a card.
        CheckpointMismatch: the card does not fit the program.
        UsageError: onnxruntime is not installed.
    """
    if path.suffix == ".onnx":
        return _load_onnx(path, device, trust_code)
    return _load_exported(path, device, trust_code)


class Program(FeatureSystem):
    """A program and its card. It computes where it was loaded to and has no parameters of its own to train.

    Args:
        card: what it reads and returns.
        call: the program, by tensors in the order in which they are read.
        batch: how many windows it takes at once; None: any number.
        length: how many frames a window has; None: any number.
        device: where it computes.
    """

    name: str  # type: ignore[misc]
    context: WindowRule | None  # type: ignore[assignment,misc]

    def __init__(
        self, card: ProgramCard, call: Call, *, batch: int | None, length: int | None, device: str
    ) -> None:
        super().__init__(card.inputs.features or 0)
        self.name, self.context, self.inputs = card.system, card.context, card.inputs
        self.card, self.options = card.whole, {}
        self._joint_set, self._batch, self._frames = card.joint_set, batch, length
        self._call = (call,)  # hidden from torch: a program has its own modes and devices
        self.place = nn.Parameter(torch.zeros(0, device=device), requires_grad=False)

    def forward(self, *given: Tensor) -> HPSOutput:
        """What the program reads, (B, T, ...) each, in the order of `READ_IN_ORDER` -> bodies (B, T', ...)."""
        windows = given[0].shape[0]
        size = self._batch or max(windows, 1)
        parts = [
            self._run([value[start : start + size] for value in given], size if self._batch else None)
            for start in range(0, windows, size)
        ]
        made = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        if "axis_angle" in made:
            turns = made.pop("axis_angle")
            made["rotmat"] = axis_angle_to_rotmat(turns.reshape(*turns.shape[:2], 24, 3))
        joint_set = self._joint_set if "joints3d" in made else None
        fields: dict[str, Any] = {name: value.float() for name, value in made.items()}
        return HPSOutput(joint_set=joint_set, **fields)

    def _run(self, given: list[Tensor], size: int | None) -> Mapping[str, Tensor]:
        """One call, the last windows filled up to the program's number."""
        windows = len(given[0])
        if self._frames is not None and given[0].shape[1] != self._frames:
            raise CheckpointMismatch(
                f"{self.name}: exported for windows of {self._frames} frames and called with {given[0].shape[1]}; its "
                "card's context.length is to be the former"
            )
        if size is not None and windows < size:
            given = [
                torch.cat([value, value[-1:].expand(size - windows, *value.shape[1:])]) for value in given
            ]
        made = self._call[0](given)
        return {name: value[:windows] for name, value in made.items()}

    def accepts(self, rule: WindowRule) -> bool:
        """Windows of its own length and kind."""
        own = self.context
        return (
            own is not None
            and super().accepts(rule)
            and rule.length == own.length
            and (rule.predict == own.predict or own.predict == "all")
        )

    def train(self, mode: bool = True) -> "Program":
        """A program has one mode."""
        return super().train(False)

    def _apply(self, fn: Any, recurse: bool = True) -> "Program":
        """A program stays on the device that it was loaded to."""
        return self


def _by_name(names: Sequence[str] | None, made: Any, path: Path) -> dict[str, Tensor]:
    """What a program returned, by the names of the card or its own.

    Raises:
        CheckpointMismatch: other names, or another number.
    """
    if isinstance(made, Mapping):
        chosen = {str(name): value for name, value in made.items() if names is None or name in names}
        wanted = set(names or chosen)
        if not chosen or wanted - set(chosen) or set(chosen) - set(OUTPUTS):
            raise CheckpointMismatch(
                f"{path}: returns {', '.join(map(str, made)) or 'nothing'}; wanted are "
                f"{', '.join(names) if names else 'some of ' + ', '.join(OUTPUTS)}"
            )
        return chosen
    values = list(made) if isinstance(made, tuple | list) else [made]
    if names is None or len(names) != len(values):
        found = "none" if names is None else f"{len(names)} ({', '.join(names)})"
        raise CheckpointMismatch(
            f"{path}: returns {len(values)} values without names; the card's 'outputs' names {found}"
        )
    return dict(zip(names, values, strict=True))


def _load_exported(path: Path, device: str, trust_code: bool) -> Program:
    check_program(path)
    if not trust_code:
        raise UnsafeFile(
            f"{path}: an exported program (.pt2), which can run code when it is loaded. If you trust whoever made it, "
            "pass --trust-code (trust_code=True)"
        )
    from torch.export.passes import move_to_device_pass

    inside = {CARD_INSIDE: ""}
    try:
        program = torch.export.load(path, extra_files=inside)
    except Exception as error:
        raise BrokenFile(
            f"{path}: this torch ({torch.__version__}) cannot load it as an exported program ({type(error).__name__}: "
            f"{error}). Export it again with torch.export.save"
        ) from error
    card = read_program_card(path, inside[CARD_INSIDE] or None)
    if torch.device(device).type != "cpu":
        program = move_to_device_pass(program, device)
    shapes = [
        tuple(node.meta["val"].shape)
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs
    ]
    module = program.module()

    def call(given: Sequence[Tensor]) -> Mapping[str, Tensor]:
        return _by_name(card.outputs, module(*given), path)

    return _made(path, card, call, shapes, device)


def _load_onnx(path: Path, device: str, trust_code: bool) -> Program:
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError(f"{path}: ONNX files need onnxruntime; run pip install 'hpsbench[onnx]'") from error
    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    card_first = _operators(path, trust_code)
    if card_first is not None:
        options.register_custom_ops_library(str(card_first))
    cuda = (
        torch.device(device).type == "cuda"
        and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    )
    providers = ["CUDAExecutionProvider"] * cuda + ["CPUExecutionProvider"]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:
        raise _why_not_onnx(path, str(error)) from error
    card = read_program_card(path, session.get_modelmeta().custom_metadata_map.get(ONNX_KEY))
    wanted = [key for key in READ_IN_ORDER if getattr(card.inputs, key) is not None]
    own = [node.name for node in session.get_inputs()]
    order = wanted if set(wanted) == set(own) else own
    by_name = {node.name: node for node in session.get_inputs()}
    outputs = [node.name for node in session.get_outputs()]

    def call(given: Sequence[Tensor]) -> Mapping[str, Tensor]:
        fed = {name: value.cpu().numpy() for name, value in zip(order, given, strict=True)}
        values = [torch.from_numpy(value) for value in session.run(outputs, fed)]
        named = set(outputs) <= set(OUTPUTS) or card.outputs is None
        return _by_name(card.outputs, dict(zip(outputs, values, strict=True)) if named else values, path)

    return _made(path, card, call, [tuple(by_name[name].shape) for name in order], "cpu")


def _operators(path: Path, trust_code: bool) -> Path | None:
    """The library of a model's own operators, as the card beside it names it.

    Raises:
        UnsafeFile: code is not trusted.
    """
    if not card_beside(path).is_file():
        return None
    named = read_program_card(path, None).whole.get("operators")
    if named is None:
        return None
    if not trust_code:
        raise UnsafeFile(
            f"{path}: its card names a library of operators ({named}), which is code that would be run; pass --trust-code "
            "(trust_code=True) if you trust it"
        )
    return path.parent / str(named)


def _why_not_onnx(path: Path, reason: str) -> HpsbenchError:
    if "is not a registered function/op" in reason or "custom op" in reason.lower():
        return UnsafeFile(
            f"{path}: uses operators of its own ({reason.strip()}). Name their library in {card_beside(path).name} "
            "('operators': 'file.so') and pass --trust-code if you trust it: it is code"
        )
    return BrokenFile(f"{path}: onnxruntime cannot load it ({reason.strip()}). Export it again")


def _made(
    path: Path, card: ProgramCard, call: Call, shapes: Sequence[tuple[Any, ...]], device: str
) -> Program:
    """The system, after its inputs were compared with the card.

    Raises:
        CheckpointMismatch: another number of inputs, or other widths.
    """
    wanted = [key for key in READ_IN_ORDER if getattr(card.inputs, key) is not None]
    if len(shapes) != len(wanted):
        raise CheckpointMismatch(
            f"{path}: reads {len(shapes)} inputs, its card names {len(wanted)} ({', '.join(wanted)})"
        )
    for key, shape in zip(wanted, shapes, strict=True):
        width = getattr(card.inputs, key)
        if key in ("features", "flow") and (
            len(shape) != 3 or (isinstance(shape[2], int) and shape[2] != width)
        ):
            raise CheckpointMismatch(f"{path}: input {key!r} is {shape}, its card says (B, T, {width})")
    batch, length = (_fixed(shapes[0], axis) for axis in (0, 1))
    system = Program(card, call, batch=batch, length=length, device=device)
    system.checkpoint_sha256 = file_sha256(path)
    return system.eval()


def _fixed(shape: tuple[Any, ...], axis: int) -> int | None:
    """A size that is a number; None where it is free."""
    size = shape[axis] if len(shape) > axis else None
    return size if isinstance(size, int) else None
