"""Which protocols there are, and loading one. Listing reads folder contents only; loading reads and checks the TOML.

`<name>.toml` is the latest version of a protocol; a version that it replaced stays as `<name>@<version>.toml`.
"""

import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpsbench.data_dir import data_dir
from hpsbench.errors import BrokenFile, UnknownName, UsageError

if TYPE_CHECKING:
    from hpsbench.protocols.protocol import Protocol


def list_protocols(extra: Path | None = None) -> list[str]:
    """Names of all protocols, sorted; those of `extra/protocols` too."""
    return sorted(name for name in _files(extra) if "@" not in name)


def get_protocol(name: str, extra: Path | None = None) -> "Protocol":
    """A protocol by name (`tcmr`: the latest version) or by name and version (`tcmr@1`).

    Args:
        name: as printed by `hpsbench ls protocols`.
        extra: another recipe folder, whose `protocols/*.toml` are known too.

    Raises:
        UnknownName: no such protocol or version; the message suggests the nearest name.
        UsageError: its file says something unknown.
        BrokenFile: its file is not TOML.
    """
    return _load(name, extra)


def load_protocol(path: Path) -> "Protocol":
    """A protocol from a TOML file anywhere, with the shipped metrics. Raises as `get_protocol`."""
    return _read(Path(path), _metric_tables(Path(path).parent))


@cache
def _load(name: str, extra: Path | None) -> "Protocol":
    files = _files(extra)
    base, _, version = name.partition("@")
    if base not in files:
        raise UnknownName("protocol", name, [known for known in files if "@" not in known])
    latest = _read(files[base], _metric_tables(files[base].parent))
    if latest.name != base:
        raise UsageError(f"{files[base]}: its name is {latest.name!r}; a protocol's file is called after it")
    if not version or version == str(latest.version):
        return latest
    if name not in files:
        versions = [latest.id, *(known for known in files if known.startswith(f"{base}@"))]
        raise UnknownName("protocol", name, versions)
    found = _read(files[name], _metric_tables(files[name].parent))
    if found.id != name:
        raise UsageError(f"{files[name]}: it holds {found.id}; its file name says {name}")
    return found


def _files(extra: Path | None) -> dict[str, Path]:
    """File stem -> file, of the shipped folder and the extra one."""
    found: dict[str, Path] = {}
    for folder in (data_dir("recipes"), *([Path(extra)] if extra else [])):
        for path in sorted(folder.glob("protocols/[!_]*.toml")):
            if path.stem in found:
                raise UsageError(
                    f"{path}: a protocol {path.stem!r} is there already ({found[path.stem]}); rename yours"
                )
            found[path.stem] = path
    return found


def _read(path: Path, metrics: dict[str, dict[str, Any]]) -> "Protocol":
    from hpsbench.protocols.protocol import resolve_protocol
    from hpsbench.protocols.schema import parse_protocol

    return resolve_protocol(parse_protocol(_toml(path), str(path)), metrics, str(path))


def _metric_tables(folder: Path) -> dict[str, dict[str, Any]]:
    """Result name -> metric table: the shipped `_metrics.toml`, and the folder's own."""
    shipped = data_dir("recipes") / "protocols" / "_metrics.toml"
    own = folder / "_metrics.toml"
    tables = _toml(shipped)
    if own.is_file() and own.resolve() != shipped.resolve():
        tables |= _toml(own)
    return tables


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BrokenFile(f"{path}: not valid TOML ({error})") from error
