"""The corruptions by name: every module of this folder, and the entry points `hpsbench.corruptions`."""

import importlib
import pkgutil
from importlib.metadata import entry_points

import hpsbench.corruption
from hpsbench.corruption._block import Corruption
from hpsbench.errors import UnknownName

ALIASES = {"centre": "center"}
_GROUP = "hpsbench.corruptions"


def list_corruptions() -> list[str]:
    """Names of all corruptions, sorted; imports none of them."""
    ours = {m.name for m in pkgutil.iter_modules(hpsbench.corruption.__path__) if not m.name.startswith("_")}
    return sorted(ours | {entry.name for entry in entry_points(group=_GROUP)})


def get_corruption(name: str) -> Corruption:
    """The corruption called `name`; `centre` and `center` are the same.

    Raises:
        UnknownName: there is none; the message suggests the nearest.
    """
    name = ALIASES.get(name, name)
    for entry in entry_points(group=_GROUP):
        if entry.name == name:
            loaded: Corruption = entry.load()
            return loaded
    if name not in list_corruptions():
        raise UnknownName("corruption", name, list_corruptions())
    ours: Corruption = importlib.import_module(f"hpsbench.corruption.{name}").CORRUPTION
    return ours
