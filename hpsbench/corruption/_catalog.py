"""The corruptions by name: every module of this folder, and the entry points `hpsbench.corruptions`."""

import importlib
import pkgutil
from importlib.metadata import entry_points

import hpsbench.corruption
from hpsbench.corruption._corruption import Corruption
from hpsbench.errors import UnknownName

ALIASES = {"centre": "center"}
_GROUP = "hpsbench.corruptions"


def list_corruptions() -> list[str]:
    """Names of all corruptions, sorted; imports none of them. A module spells its corruption's name with `_` for `-`."""
    modules = (m.name for m in pkgutil.iter_modules(hpsbench.corruption.__path__))
    ours = {name.replace("_", "-") for name in modules if not name.startswith("_")}
    return sorted(ours | {entry.name for entry in entry_points(group=_GROUP)})


def get_corruption(name: str) -> Corruption:
    """The corruption called `name`; `centre` and `center` are the same, and so are `box_jitter` and `box-jitter`.

    Raises:
        UnknownName: there is none; the message suggests the nearest.
    """
    name = ALIASES.get(name, name)
    for entry in entry_points(group=_GROUP):
        if entry.name == name:
            loaded: Corruption = entry.load()
            return loaded
    if name.replace("_", "-") not in list_corruptions():
        raise UnknownName("corruption", name, list_corruptions())
    ours: Corruption = importlib.import_module(f"hpsbench.corruption.{name.replace('-', '_')}").CORRUPTION
    return ours
