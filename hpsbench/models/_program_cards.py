"""What a program from outside says about itself: a JSON card beside it (`<file>.json`) or inside it.

    {"system": "my-model",
     "inputs": {"features": 2048},
     "context": {"length": 16, "stride": 1, "predict": "middle", "edges": "repeat-frame", "short": "pad"},
     "outputs": ["rotmat", "betas", "camera"]}

`inputs` are those of `hpsbench.types.Inputs`; `context` is a window rule, or null for whole tracks; `outputs` name what
the program returns, in order (`axis_angle` (B, T', 72) may stand for `rotmat`); `joint_set` names that of `joints3d`.
Further keys are kept.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hpsbench.bodies.joints import get_joint_set
from hpsbench.errors import BrokenFile
from hpsbench.models._streams import READ_IN_ORDER
from hpsbench.models._system import PREDICTED_FIELDS
from hpsbench.types import Inputs, WindowRule

EXAMPLE = (
    '{"inputs": {"features": 2048}, "context": {"length": 16, "stride": 1, "predict": "middle", '
    '"edges": "repeat-frame", "short": "pad"}, "outputs": ["rotmat", "betas", "camera"]}'
)
OUTPUTS = (*PREDICTED_FIELDS, "axis_angle")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramCard:
    """A checked card.

    Attributes:
        system: name of the system.
        inputs: what it reads.
        context: its windows, or None for whole tracks.
        outputs: what it returns, in order; None: it returns them by name.
        joint_set: of `joints3d`.
        whole: the card as it was written.
    """

    system: str
    inputs: Inputs
    context: WindowRule | None
    outputs: tuple[str, ...] | None
    joint_set: str | None
    whole: Mapping[str, Any]


def card_beside(path: Path) -> Path:
    """Where the card of a program lies that has none inside."""
    return path.with_name(f"{path.name}.json")


def read_program_card(path: Path, inside: str | None) -> ProgramCard:
    """The card of a program; one beside the file wins over the one inside.

    Args:
        path: of the program.
        inside: the text of the card in the file, or None.

    Raises:
        BrokenFile: there is none, or it is not as described above; says what is wrong and shows an example.
    """
    beside = card_beside(path)
    where = str(beside) if beside.is_file() else f"{path} (its card)"
    text = beside.read_text(encoding="utf-8") if beside.is_file() else inside
    if not text:
        raise BrokenFile(
            f"{path}: nothing says what this program reads and returns. Write {beside.name} beside it: {EXAMPLE}"
        )
    try:
        card = json.loads(text)
    except json.JSONDecodeError as error:
        raise BrokenFile(f"{where}: not valid JSON ({error}). An example: {EXAMPLE}") from error
    if not isinstance(card, dict):
        raise BrokenFile(f"{where}: expected a JSON object. An example: {EXAMPLE}")
    absent = [key for key in ("inputs", "context") if key not in card]
    if absent:
        raise BrokenFile(f"{where}: has no {' and no '.join(absent)}. An example: {EXAMPLE}")
    return ProgramCard(
        system=str(card.get("system", path.name.partition(".")[0])),
        inputs=_inputs(card["inputs"], where),
        context=None if card["context"] is None else _made(WindowRule, card["context"], where, "context"),
        outputs=_outputs(card.get("outputs"), where),
        joint_set=_joint_set(card, where),
        whole=card,
    )


def _inputs(given: Any, where: str) -> Inputs:
    inputs: Inputs = _made(Inputs, given, where, "inputs")
    if not any(getattr(inputs, key) is not None for key in READ_IN_ORDER):
        raise BrokenFile(
            f"{where}: 'inputs' names none of {', '.join(READ_IN_ORDER)}; a program is called with these"
        )
    for key in ("features", "flow", "images"):
        width = getattr(inputs, key)
        if width is not None and (not isinstance(width, int) or width < 1):
            raise BrokenFile(
                f"{where}: inputs.{key} is {width!r}; it is a width or a side, a positive whole number"
            )
    if inputs.keypoints2d is not None:
        get_joint_set(str(inputs.keypoints2d))
    return inputs


def _made(kind: Any, given: Any, where: str, key: str) -> Any:
    known = [field.name for field in fields(kind)]
    unknown = sorted(set(given) - set(known)) if isinstance(given, dict) else [given]
    if unknown:
        raise BrokenFile(f"{where}: {key!r} has no {unknown[0]!r}; known: {', '.join(known)}")
    return kind(**given)


def _outputs(given: Any, where: str) -> tuple[str, ...] | None:
    if given is None:
        return None
    unknown = [name for name in given if name not in OUTPUTS] if isinstance(given, list) else [given]
    if unknown:
        raise BrokenFile(f"{where}: unknown output {unknown[0]!r}; known: {', '.join(OUTPUTS)}")
    return tuple(given)


def _joint_set(card: Mapping[str, Any], where: str) -> str | None:
    named = card.get("joint_set")
    if named is not None:
        get_joint_set(str(named))
        return str(named)
    if "joints3d" in (card.get("outputs") or ()):
        raise BrokenFile(f"{where}: 'joints3d' needs 'joint_set', the id of its joint set")
    return None
