"""Released checkpoints as our own files: safetensors with a card that says what they are and where they came from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpsbench.bodies.files import file_sha256
from hpsbench.errors import MissingCheckpoint, UsageError
from hpsbench.models._catalog import find_checkpoint, list_systems, read_card
from hpsbench.models._checkpoints import load_checkpoint, save_checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What `convert_checkpoint` would write, or wrote.

    Attributes:
        source: the file that was read.
        target: the file that is written.
        system: that it holds.
        options: that the system is built with.
        parameters: trainable numbers.
        card: that is written into the file.
    """

    source: Path
    target: Path
    system: str
    options: Mapping[str, Any]
    parameters: int
    card: Mapping[str, Any]

    def to_json_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "source": str(self.source),
            "target": str(self.target),
            "system": self.system,
            "options": dict(self.options),
            "parameters": self.parameters,
            "card": dict(self.card),
        }


def convert_checkpoint(
    source: str | Path,
    target: Path | None = None,
    *,
    root: Path | None = None,
    options: Mapping[str, Any] | None = None,
    dry_run: bool = False,
) -> Conversion:
    """Write a checkpoint of any known layout as safetensors with a card.

    The card holds the system, its options, the source's name and sha256, what its container said (epoch, score), the
    extractor, and the readings behind the system's definition. Entries of body models are left out.

    Args:
        source: a file, looked for as `load_system` does.
        target: the new file; None: the source's name with `.safetensors`, beside it.
        root: data root.
        options: of the system, instead of those that the file's entries tell.
        dry_run: read and check, and write nothing.

    Raises:
        MissingCheckpoint: no such file.
        UsageError: the target has another ending, or is the source.
        UnsafeFile, BrokenFile, UnknownCheckpoint, CheckpointMismatch: as for `load_checkpoint`; mismatches name the
            entries.
    """
    path = find_checkpoint(source, root)
    if path is None:
        raise MissingCheckpoint(
            f"no checkpoint {str(source)!r}" + (f", and none in {root / 'checkpoints'}" if root else "")
        )
    chosen = Path(target) if target is not None else path.with_name(f"{_stem(path)}.safetensors")
    if chosen.suffix != ".safetensors":
        raise UsageError(f"{chosen}: checkpoints are written as .safetensors")
    if chosen.exists() and chosen.samefile(path):
        raise UsageError(f"{path} would be overwritten by its own conversion; name another file")
    system = load_checkpoint(path, options=options)
    card = {
        **system.card,
        "source": {"name": path.name, "sha256": file_sha256(path), **_container(system.card)},
        "reading": read_card(system.name).get("reading", []) if system.name in list_systems() else [],
    }
    card.pop("container", None)
    system.card = {}
    if not dry_run:
        chosen.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(system, chosen, card)
    counted = sum(value.numel() for value in system.parameters() if value.requires_grad)
    return Conversion(
        source=path,
        target=chosen,
        system=system.name,
        options=system.options,
        parameters=counted,
        card=card,
    )


def _container(card: Mapping[str, Any]) -> dict[str, Any]:
    container: Mapping[str, Any] = card.get("container", {})
    if not container:
        return {}
    known = {key: value for key, value in container.items() if value is not None}
    return {"top_level": sorted(container), **({"values": known} if known else {})}


def _stem(path: Path) -> str:
    """A file's name without its endings."""
    name = path.name
    for ending in (".pth.tar", ".pt", ".pth", ".tar", ".safetensors"):
        if name.endswith(ending):
            return name.removesuffix(ending)
    return path.stem
