"""`status`: what a data root holds, what is half done, and what to do next. Reads names and attributes only."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hpsbench.bodies.files import find_body_files
from hpsbench.errors import HpsbenchError, MissingData, MissingRawFiles
from hpsbench.pipeline.assemble import store_path
from hpsbench.pipeline.work import WORK, find_entries
from hpsbench.recipes.access import find_raw, licence_accepted
from hpsbench.recipes.catalog import get_recipe, list_recipes
from hpsbench.recipes.sequences import find_sequences
from hpsbench.store import layout
from hpsbench.store.reader import read_attributes

CHECKPOINT_ENDINGS = (".pt", ".pth", ".tar", ".safetensors", ".ckpt", ".pt2")


@dataclass(frozen=True, slots=True, kw_only=True)
class RawStatus:
    """Raw files of one dataset.

    Attributes:
        dataset: key of the recipe.
        path: their folder.
        synthetic: whether they are.
        licence: whether the licence was accepted; None for synthetic data, which needs none.
        sequences: found per split.
        expected: per split, where the recipe knows.
        read: sequences that an unfinished `prepare` has read.
    """

    dataset: str
    path: str
    synthetic: bool
    licence: bool | None
    sequences: Mapping[str, int]
    expected: Mapping[str, int | None]
    read: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatus:
    """One clip store.

    Attributes:
        path: its folder.
        state: `complete`, `incomplete`, or what is wrong with it.
        dataset: key of the recipe, if it says.
        synthetic: whether it was made from synthetic data.
        partial: whether it was made with a limit.
        frames: rows.
        tracks: number of tracks.
        default_view: of the recipe.
        views: view -> kept rows.
        features: complete feature sets.
        incomplete_features: feature sets that are half done.
    """

    path: str
    state: str
    dataset: str | None = None
    synthetic: bool | None = None
    partial: bool = False
    frames: int | None = None
    tracks: int | None = None
    default_view: str | None = None
    views: Mapping[str, int] = field(default_factory=dict)
    features: Sequence[str] = ()
    incomplete_features: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What a data root holds.

    Attributes:
        root: the folder.
        raw: datasets whose raw files are there.
        stores: clip stores.
        body_models: `smpl` and `synthetic` -> files that are there, by what they are.
        checkpoints: files in `checkpoints`.
        runs: number of runs by their state.
        problems: raw folders that cannot be read, and why.
        next: commands that make sense now, the most useful first.
    """

    root: str
    raw: Sequence[RawStatus]
    stores: Sequence[StoreStatus]
    body_models: Mapping[str, Sequence[str]]
    checkpoints: Sequence[str]
    runs: Mapping[str, int]
    problems: Sequence[str]
    next: Sequence[str]

    def to_json_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def status(root: str | Path, *, recipes: Path | None = None) -> Status:
    """What a data root holds. Writes nothing.

    Args:
        root: data root.
        recipes: another folder with `datasets/*.toml`.

    Raises:
        MissingData: there is no such root.
    """
    root = Path(root)
    if not root.is_dir():
        raise MissingData(
            f"no data root at {root}; create the folder, or name another with --root or HPSBENCH_ROOT"
        )
    raw, problems = _raw(root, recipes)
    stores = [_store(path) for path in sorted((root / "stores").glob("[!.]*")) if path.is_dir()]
    bodies = {
        name: sorted(find_body_files(root, synthetic=name == "synthetic")) for name in ("smpl", "synthetic")
    }
    checkpoints = sorted(
        path.relative_to(root / "checkpoints").as_posix()
        for path in (root / "checkpoints").rglob("*")
        if path.is_file() and path.suffix in CHECKPOINT_ENDINGS
    )
    return Status(
        root=str(root), raw=raw, stores=stores, body_models=bodies, checkpoints=checkpoints,
        runs=_runs(root), problems=problems, next=_next(root, raw, stores, bodies, checkpoints),
    )  # fmt: skip


def _raw(root: Path, recipes: Path | None) -> tuple[list[RawStatus], list[str]]:
    found, problems = [], []
    for key in list_recipes(recipes):
        recipe = get_recipe(key, recipes)
        try:
            raw = find_raw(recipe, root)
        except MissingRawFiles:
            continue
        except HpsbenchError as error:
            problems.append(str(error))
            continue
        counts = Counter(sequence.split for sequence in find_sequences(recipe, raw.path))
        found.append(
            RawStatus(
                dataset=key,
                path=str(raw.path),
                synthetic=raw.is_synthetic,
                licence=None if raw.is_synthetic else licence_accepted(recipe, root),
                sequences={split: counts[split] for split in recipe.splits},
                expected={split: facts.sequences for split, facts in recipe.splits.items()},
                read=len(find_entries(root / WORK / f"prepare-{key}")),
            )
        )
    return found, problems


def _store(path: Path) -> StoreStatus:
    try:
        attributes = read_attributes(path)
    except HpsbenchError as error:
        return StoreStatus(path=str(path), state=str(error))
    if attributes is None or attributes.get("format") != layout.FORMAT:
        return StoreStatus(path=str(path), state="not a clip store" if attributes else "incomplete")
    if attributes.get("version") != layout.VERSION:
        return StoreStatus(path=str(path), state=f"version {attributes.get('version')}, not {layout.VERSION}")
    if not attributes.get("complete"):
        return StoreStatus(path=str(path), state="incomplete")
    views = {child.name: read_attributes(child) or {} for child in sorted((path / "views").glob("*/"))}
    sets = {child.name: read_attributes(child) or {} for child in sorted((path / "features").glob("*/"))}
    return StoreStatus(
        path=str(path),
        state="complete",
        dataset=attributes.get("dataset"),
        synthetic=attributes.get("synthetic"),
        partial=attributes.get("limit") is not None,
        frames=attributes.get("rows"),
        tracks=attributes.get("tracks"),
        default_view=attributes.get("default_view"),
        views={name: sum(c["kept"] for c in view.get("counts", {}).values()) for name, view in views.items()},
        features=[name for name, content in sets.items() if content.get("complete")],
        incomplete_features=[name for name, content in sets.items() if not content.get("complete")],
    )


def _runs(root: Path) -> dict[str, int]:
    states: Counter[str] = Counter()
    for path in (root / "runs").glob("*/run.json"):
        try:
            states[str(json.loads(path.read_text(encoding="utf-8")).get("state", "unknown"))] += 1
        except (json.JSONDecodeError, UnicodeDecodeError, AttributeError):
            states["unreadable"] += 1
    return dict(sorted(states.items()))


def _next(
    root: Path,
    raw: Sequence[RawStatus],
    stores: Sequence[StoreStatus],
    bodies: Mapping[str, Sequence[str]],
    checkpoints: Sequence[str],
) -> list[str]:
    """Commands, in the order of the flow: get data, prepare, extract, evaluate."""
    states = {store.path: store for store in stores}
    at = f"--root {root}"
    commands = [f"hpsbench synth 3dpw {at}"] if not raw and not stores else []
    for held in raw:
        store = states.get(str(store_path(root, held.dataset)))
        if store is None or store.state != "complete":
            licence = " --accept-licence" if held.licence is False else ""
            commands.append(f"hpsbench prepare {held.dataset} {at}{licence}")
    for store in stores:
        wanting = store.incomplete_features or (store.state == "complete" and not store.features)
        if wanting and _has_images(store):
            commands.append(f"hpsbench extract {store.dataset} {at}")
    ready = [
        store for store in stores if store.features and bodies["synthetic" if store.synthetic else "smpl"]
    ]
    if ready and checkpoints:
        commands.append(
            f"hpsbench evaluate --model {checkpoints[0]} --protocol tcmr --dataset {ready[0].dataset} {at}"
        )
    return commands


def _has_images(store: StoreStatus) -> bool:
    """Whether the default view has boxes to cut out."""
    view = read_attributes(Path(store.path) / "views" / str(store.default_view)) or {}
    return view.get("crop_scale") is not None
