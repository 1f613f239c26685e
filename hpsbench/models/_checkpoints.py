"""Checkpoints: which system a file holds, and loading it strictly by name.

Own files are safetensors whose metadata carry a card (JSON). Released files of VIBE, TCMR, SPIN and others are recognised
by the names of their entries; entries of the body model (`*.smpl.*`) depend on its version and are left out.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hpsbench import __version__
from hpsbench.bodies.files import file_sha256
from hpsbench.errors import BrokenFile, CheckpointMismatch, MissingCheckpoint, UnknownCheckpoint, UsageError
from hpsbench.features import embedded
from hpsbench.models._adapter import FeatureSystem
from hpsbench.models._catalog import get_system, list_systems
from hpsbench.models._regressor import REGRESSOR_ENTRIES, IterativeRegressor
from hpsbench.safe_io import load_torch
from hpsbench.types import NOTHING

FORMAT, VERSION = "hpsbench-checkpoint", 1
_CONTAINERS = ("gen_state_dict", "model", "state_dict")
_SAFETENSORS_LIMIT = 8  # bytes of the header's length


@dataclass(frozen=True, slots=True)
class Stored:
    """What a checkpoint file holds.

    Attributes:
        path: the file.
        entries: of the network, by name.
        card: of our own files, None in others.
        container: top-level keys of a released file, with the values of those that are plain numbers or text (`epoch`,
            `performance`), else None.
    """

    path: Path
    entries: Mapping[str, Tensor]
    card: Mapping[str, Any] | None
    container: Mapping[str, Any] = field(default_factory=lambda: NOTHING)


def read_checkpoint(path: Path) -> Stored:
    """Read a checkpoint file of any known container, without running anything in it.

    Raises:
        MissingCheckpoint: no such file.
        UnsafeFile: the file asks for code.
        BrokenFile: truncated or unreadable.
        UnknownCheckpoint: no network's entries in it; the message lists what was found.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingCheckpoint(f"no checkpoint at {path}")
    if _is_safetensors(path):
        return _read_safetensors(path)
    content = load_torch(path)
    if not isinstance(content, Mapping):
        raise UnknownCheckpoint(f"{path}: expected a dictionary of weights, found {type(content).__name__}")
    inner = next((content[key] for key in _CONTAINERS if isinstance(content.get(key), Mapping)), content)
    entries = {str(name): value for name, value in inner.items() if isinstance(value, Tensor)}
    if not entries or (inner is content and len(entries) < len(content)):
        found = ", ".join(sorted(map(str, content))[:20])
        raise UnknownCheckpoint(
            f"{path}: a checkpoint of no known layout. Top level: {found or 'nothing'}; known are "
            f"{', '.join(_CONTAINERS)} and plain state dicts."
        )
    container = {} if inner is content else {str(key): _plain(value) for key, value in content.items()}
    return Stored(path, _without_prefix(entries), None, container)


def _plain(value: Any) -> int | float | str | None:
    """A number or text as JSON has it; None for everything else, and for NaN."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, int | float | str) else None


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(_SAFETENSORS_LIMIT + 1)
    size = int.from_bytes(start[:_SAFETENSORS_LIMIT], "little")
    return path.suffix == ".safetensors" or (
        start[_SAFETENSORS_LIMIT:] == b"{" and size < path.stat().st_size
    )


def _read_safetensors(path: Path) -> Stored:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            entries = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise BrokenFile(
            f"{path}: not readable as safetensors ({error}); get or make the file again"
        ) from error
    if FORMAT not in metadata:
        return Stored(path, _without_prefix(entries), None)
    try:
        header = json.loads(metadata[FORMAT])
        if header["version"] != VERSION:
            found = header["version"]
            raise UnknownCheckpoint(
                f"{path}: checkpoint version {found}; this hpsbench reads version {VERSION}"
            )
        card = header["card"]
        if not isinstance(card["system"], str) or not isinstance(card["options"], dict):
            raise TypeError("system and options")
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise BrokenFile(
            f"{path}: its card is unreadable ({error}); it needs 'system' and 'options'"
        ) from error
    return Stored(path, entries, card)


def _without_prefix(entries: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without `module.`, which torch's data parallelism puts before each."""
    if entries and all(name.startswith("module.") for name in entries):
        return {name.removeprefix("module."): value for name, value in entries.items()}
    return dict(entries)


def load_checkpoint(
    path: Path, *, device: str | torch.device = "cpu", options: Mapping[str, Any] | None = None
) -> FeatureSystem:
    """Build the system that a checkpoint holds and load it, in evaluation mode.

    Args:
        path: the file.
        device: where the system computes.
        options: of the system, instead of those that the file says or its entries tell: `batch_mixing` of MPS-Net.

    Raises:
        MissingCheckpoint, UnsafeFile, BrokenFile, UnknownCheckpoint: as for `read_checkpoint`.
        UnknownCheckpoint: entries of no system that hpsbench knows.
        CheckpointMismatch: missing or unexpected entries, or wrong shapes; the message names them.
    """
    stored, options = read_checkpoint(path), dict(options or {})
    system = _from_card(stored, options) if stored.card is not None else _from_released(stored, options)
    system.checkpoint_sha256 = file_sha256(stored.path)
    return system.to(device).eval()


def _from_card(stored: Stored, chosen: Mapping[str, Any]) -> FeatureSystem:
    card = dict(stored.card or {})
    card["options"] = {**card["options"], **chosen}
    system = _build(get_system(card["system"]), card["options"], stored.path)
    _load(system, stored, {name: name for name in system.state_dict()}, {})
    system.card = card
    system.inputs = replace(
        system.inputs,
        extractor=card.get("extractor"),
        extractor_sha256=card.get("extractor_sha256"),
        crop_scale=card.get("crop_scale"),
    )
    return system


def _from_released(stored: Stored, chosen: Mapping[str, Any]) -> FeatureSystem:
    entries = {name: value for name, value in stored.entries.items() if not _of_body_model(name)}
    shapes = {name: tuple(value.shape) for name, value in entries.items()}
    for name in list_systems():
        kind = get_system(name)
        options = kind.recognise(shapes) if hasattr(kind, "recognise") else None
        if options is not None:
            options = {**options, **chosen}
            system = _build(kind, options, stored.path)
            _load(system, replace(stored, entries=entries), system.released_names(), kind.released_extras())
            system.card = _released_card(stored, name, options, len(stored.entries) - len(entries))
            system.inputs = replace(
                system.inputs,
                extractor=system.card["extractor"],
                extractor_sha256=system.card.get("extractor_sha256"),
            )
            return system
    found = ", ".join(sorted({name.split(".")[0] for name in stored.entries})[:20])
    raise UnknownCheckpoint(
        f"{stored.path}: {len(stored.entries)} entries of no known system; they begin with {found}. "
        f"Known systems: {', '.join(list_systems())}."
    )


def _of_body_model(name: str) -> bool:
    return "smpl" in name.split(".")[:-1]


def _released_card(stored: Stored, name: str, options: Mapping[str, Any], ignored: int) -> dict[str, Any]:
    """Released files have no card; they were trained on SPIN's features. The embedded regressor is ours."""
    card: dict[str, Any] = {
        "system": name,
        "options": dict(options),
        "layout": "released",
        "extractor": "spin",
    }
    if stored.container:
        card["container"] = dict(stored.container)
    if ignored:
        card["body_model_entries_left_out"] = ignored
    if stored.path.absolute() == embedded.REGRESSOR.absolute():
        card |= {"layout": "embedded", "extractor": embedded.NAME, "synthetic": True}
        if embedded.WEIGHTS.is_file():
            card["extractor_sha256"] = file_sha256(embedded.WEIGHTS)
    return card


def _build(kind: Any, options: Mapping[str, Any], path: Path) -> FeatureSystem:
    try:
        with torch.device("meta"):  # shapes alone: the weights come from the file
            system: FeatureSystem = kind(**options)
    except TypeError as error:
        raise CheckpointMismatch(
            f"{path}: options {dict(options)} do not fit system {kind.name!r}: {error}"
        ) from error
    return system


def _load(
    system: FeatureSystem, stored: Stored, names: Mapping[str, str], extras: Mapping[str, tuple[int, ...]]
) -> None:
    """Copy entries into a system; `names`: file's name -> own name, `extras`: entries that are another network's."""
    expected = {given: tuple(system.state_dict()[own].shape) for given, own in names.items()}
    if set(extras) & set(stored.entries):
        expected |= extras
    problems = _differences(expected, {name: tuple(value.shape) for name, value in stored.entries.items()})
    if problems:
        raise CheckpointMismatch(
            f"{stored.path} does not fit system {system.name!r}:\n" + "\n".join(problems)
        )
    state = {
        own: _as_stored(stored.entries[given]) for given, own in names.items() if given in stored.entries
    }
    system.load_state_dict(state, assign=True)


def _differences(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], most: int = 10
) -> list[str]:
    """One line per kind of difference, naming the first few entries."""
    optional = {name for name in expected if name.endswith("num_batches_tracked")}
    missing = [name for name in expected if name not in found and name not in optional]
    unexpected = [name for name in found if name not in expected]
    wrong = [
        f"{name} is {found[name]}, expected {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    lines = []
    for kind, entries in (("missing", missing), ("unexpected", unexpected), ("wrong shape", wrong)):
        if entries:
            more = f" and {len(entries) - most} more" if len(entries) > most else ""
            lines.append(f"  {kind}: {'; '.join(entries[:most])}{more}")
    return lines


def _as_stored(value: Tensor) -> Tensor:
    return value.float().contiguous() if value.is_floating_point() else value.contiguous()


def save_checkpoint(system: FeatureSystem, path: Path, card: Mapping[str, Any] | None = None) -> Path:
    """Write a system as safetensors with its card, all or nothing.

    Args:
        system: any feature system; its name and options are written into the card.
        path: the new file, ending in `.safetensors`.
        card: what else made it, as JSON values, added to the system's own card: `extractor`, `extractor_sha256`,
            `crop_scale`, the training recipe, seeds, the source's sha256, ...

    Raises:
        UsageError: the path has another ending, or the card is not JSON.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise UsageError(f"{path}: checkpoints are written as .safetensors")
    inputs = system.inputs
    known = {
        "extractor": inputs.extractor,
        "extractor_sha256": inputs.extractor_sha256,
        "crop_scale": inputs.crop_scale,
        "hpsbench": __version__,
    }
    whole = {**system.card, **known, **(card or {}), "system": system.name, "options": dict(system.options)}
    try:
        text = json.dumps({"version": VERSION, "card": whole}, sort_keys=True)
    except TypeError as error:
        raise UsageError(f"{path}: the card holds something that is not JSON: {error}") from error
    state = {name: value.detach().cpu().contiguous() for name, value in system.state_dict().items()}
    waiting = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        save_file(state, waiting, metadata={FORMAT: text})  # one key: the order of several is not fixed
        waiting.replace(path)
    finally:
        waiting.unlink(missing_ok=True)
    return path


def load_regressor(regressor: IterativeRegressor, path: Path) -> None:
    """Start a generator's regressor from a checkpoint: SPIN's, or that of any system that ends with this regressor.

    Raises:
        MissingCheckpoint, UnsafeFile, BrokenFile, UnknownCheckpoint: as for `read_checkpoint`.
        CheckpointMismatch: a regressor's entry is missing or of another shape.
    """
    stored = read_checkpoint(path)
    given = {
        name: stored.entries.get(name, stored.entries.get(f"regressor.{name}")) for name in REGRESSOR_ENTRIES
    }
    own = {name: tuple(value.shape) for name, value in regressor.state_dict().items()}
    problems = _differences(
        own, {name: tuple(value.shape) for name, value in given.items() if value is not None}
    )
    if problems:
        raise CheckpointMismatch(f"{path} has no regressor that fits:\n" + "\n".join(problems))
    regressor.load_state_dict({name: _as_stored(value) for name, value in given.items() if value is not None})
