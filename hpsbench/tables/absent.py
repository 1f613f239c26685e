"""Stores that are not there yet: what a plan assumes of them, and how to get them.

What comes after a missing store is planned as if it were prepared. Such steps have provisional ids: the real ones hold hashes of
what the store is made from.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpsbench.errors import HpsbenchError
from hpsbench.recipes.access import find_raw
from hpsbench.recipes.catalog import get_recipe, list_recipes
from hpsbench.synth.world import list_worlds, plan_world

USUAL_SIZE = "full"
"""Of a synthetic dataset that is yet to be written: the one that tables are about."""


@dataclass(frozen=True, kw_only=True)
class AbsentStore:
    """Stands where a store will be.

    Attributes:
        dataset: its key.
        root: data root.
        synthetic: what it is assumed to be.
        frames_of: split -> frames, as far as known.
        raw: folder of the raw data; None where that is missing too.
    """

    dataset: str
    root: Path
    synthetic: bool
    frames_of: Mapping[str, int]
    raw: Path | None
    features: Mapping[str, Any] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def can_be_made(self) -> bool:
        """Whether its raw data may be synthesized."""
        return self.synthetic and self.dataset in list_worlds()

    def rows(self, splits: tuple[str, ...] = ()) -> int:
        """Frames of splits, of all where none is named; 0 where unknown."""
        return sum(n for split, n in self.frames_of.items() if not splits or split in splits)

    def to_json(self) -> dict[str, Any]:
        """What is missing, and the commands that make it."""
        prepare = f"hpsbench prepare {self.dataset} --root {self.root}"
        if self.raw is not None:
            return {
                "dataset": self.dataset,
                "what": "not prepared",
                "raw": str(self.raw),
                "commands": [prepare],
            }
        synth = f"hpsbench synth {self.dataset} --size {USUAL_SIZE} --root {self.root}"
        return {
            "dataset": self.dataset,
            "what": "no raw data",
            "raw": None,
            "commands": [*([synth] if self.can_be_made else []), prepare],
        }


def absent_store(dataset: str, root: Path, recipes: Path | None = None) -> AbsentStore:
    """The stand-in for a dataset's store.

    Raises:
        UnknownName: no such dataset.
    """
    recipe = get_recipe(dataset, recipes)
    try:
        raw = find_raw(recipe, root)
    except HpsbenchError:
        synthetic = assumed_synthetic(root, recipes)
        counts = _world(dataset, root, USUAL_SIZE) if synthetic else {}
        return AbsentStore(dataset=dataset, root=root, synthetic=synthetic, frames_of=counts, raw=None)
    counts = _world(dataset, root, str((raw.synthetic or {}).get("size"))) if raw.is_synthetic else {}
    return AbsentStore(dataset=dataset, root=root, synthetic=raw.is_synthetic, frames_of=counts, raw=raw.path)


def assumed_synthetic(root: Path, recipes: Path | None = None) -> bool:
    """Whether what is not there is taken for synthetic: as the stores or the raw data beside it; with nothing at all, yes."""
    for store in stores_under(root):
        try:
            document = json.loads((store / "zarr.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return bool(document.get("attributes", {}).get("synthetic"))
    for key in list_recipes(recipes):
        try:
            return find_raw(get_recipe(key, recipes), root).is_synthetic
        except HpsbenchError:
            continue
    return True


def stores_under(root: Path) -> list[Path]:
    """The folders of stores, whole or not."""
    return sorted((root / "stores").glob("*.zarr"))


def _world(dataset: str, root: Path, size: str) -> dict[str, int]:
    """Split -> frames of a synthetic dataset."""
    try:
        planned = plan_world(dataset, root, size=size)
    except HpsbenchError:
        return {}
    return {split: int(count["frames"]) for split, count in planned["splits"].items()}
