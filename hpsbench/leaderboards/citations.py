"""What to cite: BibTeX of datasets, systems, protocols and hpsbench, from files that hold nothing but facts."""

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import hpsbench
from hpsbench.data_dir import data_dir
from hpsbench.errors import BrokenFile, HpsbenchError, UnknownName
from hpsbench.models._catalog import list_systems, read_card
from hpsbench.protocols.catalog import list_protocols
from hpsbench.recipes.catalog import get_recipe, list_recipes

FILE = "citations.toml"
_ENTRY = re.compile(r"@\w+\{(?P<key>[^,\s]+),.*\}", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """A paper and what it stands behind.

    Attributes:
        key: of its entry.
        bibtex: the entry.
        systems: that it describes.
        protocols: whose rules are its own.
        real_bodies: whether whoever shows bodies of real people cites it.
    """

    key: str
    bibtex: str
    systems: tuple[str, ...]
    protocols: tuple[str, ...]
    real_bodies: bool


def read_papers(folder: Path | None = None) -> list[Paper]:
    """The papers of `leaderboards/papers/citations.toml`.

    Args:
        folder: `leaderboards/`; None: the one that came with hpsbench.

    Raises:
        BrokenFile: not TOML, or a paper without a whole BibTeX entry, or a key twice.
    """
    path = (folder or data_dir("leaderboards")) / "papers" / FILE
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise BrokenFile(f"{path}: not valid TOML ({error})") from error
    found: list[Paper] = []
    for number, given in enumerate(document.get("paper", ()), 1):
        entry = _ENTRY.fullmatch(str(given.get("bibtex", "")).strip())
        if entry is None or entry[0].count("{") != entry[0].count("}"):
            raise BrokenFile(f"{path}: paper {number}: 'bibtex' is no whole BibTeX entry")
        if entry["key"] in [paper.key for paper in found]:
            raise BrokenFile(f"{path}: paper {number}: the key {entry['key']!r} is there already")
        found.append(
            Paper(
                key=entry["key"],
                bibtex=entry[0],
                systems=tuple(given.get("systems", ())),
                protocols=tuple(given.get("protocols", ())),
                real_bodies=bool(given.get("real_bodies", False)),
            )
        )
    return found


def entries_for(
    *,
    datasets: Iterable[str] = (),
    systems: Iterable[str] = (),
    protocols: Iterable[str] = (),
    real_bodies: bool = False,
) -> list[str]:
    """BibTeX entries, each once, those of hpsbench last. What is not known, or has no paper, has no entry.

    Args:
        datasets: keys; of a setting of a dataset (`h36m-p2`) too.
        systems: names; of a system from outside, its card's `bibtex`.
        protocols: names, with or without version.
        real_bodies: whether bodies of real people are shown.
    """
    entries = [entry for name in datasets if (entry := _dataset_entry(name))]
    plain = [protocol.split("@")[0] for protocol in protocols]
    named = list(systems)
    known = read_papers()
    for paper in known:
        cited = {*paper.systems} & {*named} or {*paper.protocols} & {*plain}
        if cited or (real_bodies and paper.real_bodies):
            entries.append(paper.bibtex)
    covered = {system for paper in known for system in paper.systems}
    entries += [entry for name in named if name not in covered and (entry := _card_entry(name))]
    return [*dict.fromkeys(entries), own_entry()]


def cite(names: Sequence[str]) -> list[str]:
    """BibTeX entries of datasets, systems and protocols by their names, and of hpsbench.

    Raises:
        UnknownName: one is none of these.
    """
    datasets, systems, protocols = (set(f()) for f in (list_recipes, list_systems, list_protocols))
    choices, plain = datasets | systems | protocols, [name.split("@")[0] for name in names]
    for name in plain:
        if name not in choices:
            raise UnknownName("dataset, system or protocol", name, choices)
    return entries_for(
        datasets=[n for n in plain if n in datasets],
        systems=[n for n in plain if n in systems],
        protocols=[n for n in plain if n in protocols],
    )


def own_entry() -> str:
    """The entry of hpsbench."""
    return (
        "@software{hpsbench,\n"
        "  title   = {hpsbench: a dataset toolkit and benchmark harness for 3D human pose and shape from video},\n"
        "  author  = {{The hpsbench authors}},\n"
        f"  version = {{{hpsbench.__version__}}}\n"
        "}"
    )


def _dataset_entry(name: str) -> str | None:
    for key in sorted(list_recipes(), key=len, reverse=True):
        if name == key or name.startswith(f"{key}-"):
            return get_recipe(key).bibtex.strip() or None
    return None


def _card_entry(system: str) -> str | None:
    try:
        return str(read_card(system).get("bibtex") or "").strip() or None
    except (HpsbenchError, OSError):
        return None
