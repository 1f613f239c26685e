"""What a training command asks for, and the data that it meets: recipe, stores, feature sets, run folder."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpsbench import __version__
from hpsbench.bodies.joints import convert_indices
from hpsbench.errors import MissingData, MissingFeatures, MissingStore, UsageError
from hpsbench.features.flow import KIND as FLOW
from hpsbench.models._catalog import find_checkpoint, read_card
from hpsbench.store.reader import ClipStore, FeatureSet, open_store
from hpsbench.training.batches import Further, Wanted
from hpsbench.training.config import (
    Motions,
    Source,
    TrainingRecipe,
    get_training_recipe,
    list_training_recipes,
    parse_set,
)

TARGETS = "targets"
"""Folder under the data root with masks and flow fields, `targets/<dataset>/<view>/{masks,flow}.npy`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The arguments of a training command that decide its outcome.

    Attributes:
        name: of a training recipe.
        root: data root.
        sets: `key=value` texts that change the recipe.
        features: feature set of the recipe's dataset; None: the recipe's, else the clean set of the view. Sets of other
            stores are those of the same extractor and condition.
        seed: of weights, dropout and batch order.
        tiny: apply the recipe's `[tiny]` overrides.
        recipes: folder with further recipes.
        limit: use the first so many tracks of every source; for trying.
        only_prepared: leave out sources that are not prepared, instead of refusing.
    """

    name: str
    root: Path
    sets: tuple[str, ...] = ()
    features: str | None = None
    seed: int = 0
    tiny: bool = False
    recipes: Path | None = None
    limit: int | None = None
    only_prepared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceData:
    """A source, its store, the feature set that it reads, and where further inputs are."""

    source: Source
    store: ClipStore
    features: str
    further: Further

    def describe(self) -> dict[str, Any]:
        """As plain values, for cards and plans."""
        attrs = self.store.attrs
        return {
            "dataset": self.store.dataset,
            "split": self.source.split,
            "view": self.source.view,
            "group": self.source.group,
            "features": self.features,
            "recipe_sha256": attrs["recipe_sha256"],
            "raw_manifest_sha256": attrs["raw_manifest_sha256"],
            "synthetic": self.store.synthetic,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A recipe with its overrides applied, and the data it meets.

    Attributes:
        recipe, request: what was asked for.
        store: of the validation.
        features: feature set of the validation.
        sources: in the recipe's order.
        motions: store of captured motions, where the recipe needs one.
        left_out: datasets of the recipe that are not prepared.
    """

    recipe: TrainingRecipe
    request: Request
    store: ClipStore
    features: str
    sources: tuple[SourceData, ...]
    motions: ClipStore | None
    left_out: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Of the run."""
        return self.request.root / "runs" / run_id(self)

    @property
    def seed(self) -> int:
        """Of everything random."""
        return self.request.seed

    def describe(self) -> dict[str, Any]:
        """As plain values, for `recipe.json` and plans."""
        return {
            "recipe": self.recipe.model_dump(mode="json"),
            "store": self.store.location,
            "features": self.features,
            "sources": [source.describe() for source in self.sources],
            "left_out": list(self.left_out),
            "seed": self.seed,
            "partial": self.request.limit is not None,
        }


def make_job(request: Request) -> Job:
    """Find everything that a run needs.

    Raises:
        UnknownName, UsageError: the recipe or an override is wrong.
        MissingStore, MissingFeatures: what the recipe needs is not under the root; the message names all of it.
    """
    root, typed = request.root, dict(map(parse_set, request.sets))
    recipe = get_training_recipe(request.name, overrides=typed, extra=request.recipes)
    store = open_store(_place(root, recipe.data.dataset))
    declared = {**(recipe.synthetic if store.synthetic else {}), **(recipe.tiny if request.tiny else {})}
    recipe = get_training_recipe(request.name, overrides={**declared, **typed}, extra=request.recipes)
    named = request.features or recipe.data.features
    chosen = named or choose_features(store, recipe.data.view, condition=recipe.data.condition)
    like = store.features[chosen]
    sources, left_out = _sources(request, recipe, store, like)
    motions = _motions(root, recipe)
    _check_alike(store, [source.store for source in sources] + ([motions] if motions else []))
    return Job(
        recipe=recipe,
        request=request,
        store=store,
        features=chosen,
        sources=sources,
        motions=motions,
        left_out=left_out,
    )


def _place(root: Path, dataset: str) -> Path:
    return root / "stores" / f"{dataset}.zarr"


def _sources(
    request: Request, recipe: TrainingRecipe, store: ClipStore, like: FeatureSet
) -> tuple[tuple[SourceData, ...], tuple[str, ...]]:
    """The sources of a recipe that are there, and the datasets that are not."""
    found: list[tuple[Source, ClipStore, str]] = []
    missing: dict[str, MissingData] = {}
    for source in recipe.all_sources():
        own = source.dataset == store.dataset
        try:
            there = store if own else open_store(_place(request.root, source.dataset))
            name = source.features or _matching(there, str(source.view), like, store)
            there.features[name]
            if reads_flow(recipe):
                _flow_set(source, there, name)
        except MissingData as problem:
            missing[source.dataset] = problem
            continue
        found.append((source, there, name))
    if missing and not ((request.only_prepared or recipe.data.only_prepared) and found):
        kind = MissingStore if any(isinstance(p, MissingStore) for p in missing.values()) else MissingFeatures
        what = "\n".join(f"{dataset}: {problem}" for dataset, problem in missing.items())
        raise kind(
            f"training recipe {recipe.name!r} reads {len(recipe.all_sources())} sources, of which "
            f"{len(missing)} are not ready:\n{what}\nPrepare them"
            + (
                ", or train on the others with --only-prepared, which the checkpoint then says"
                if found
                else ""
            )
        )
    wanted = _wanted(recipe, [(source, there) for source, there, _ in found])
    sources = tuple(
        SourceData(
            source=source,
            store=there,
            features=name,
            further=_further(request.root, source, there, name, wanted),
        )
        for source, there, name in found
    )
    return sources, tuple(missing)


def _matching(store: ClipStore, view: str, like: FeatureSet, first: ClipStore) -> str:
    """The set of a store that matches the validation's: the same extractor and condition; the very set if it is that one."""
    if store is first and like.attrs["view"] == view:
        return like.name
    condition = like.name.partition("+")[2] or None
    return choose_features(store, view, extractor=str(like.attrs["extractor"]), condition=condition)


def choose_features(
    store: ClipStore, view: str, *, extractor: str | None = None, condition: str | None = None
) -> str:
    """The one image feature set of a view, extractor and condition (None: clean).

    Raises:
        MissingFeatures: there is none, or there are several and one must be named.
    """
    fitting = [
        name
        for name, found in store.features.items()
        if found.attrs["view"] == view
        and found.attrs.get("kind") != FLOW
        and (extractor is None or found.attrs["extractor"] == extractor)
        and (name.partition("+")[2] or None) == condition
    ]
    if len(fitting) != 1:
        what = "clean feature set" if condition is None else f"feature set under {condition}"
        found = f"several {what}s: " + ", ".join(fitting) if fitting else f"no {what}"
        by = f" by {extractor}" if extractor else ""
        verb = f"extract {store.dataset}" if condition is None else f"corrupt --dataset {store.dataset}"
        raise MissingFeatures(
            f"{store.location}: {found} of view {view!r}{by}; name one with --features, "
            f"or make one with 'hpsbench {verb} --view {view}'"
        )
    return fitting[0]


def _wanted(recipe: TrainingRecipe, sources: list[tuple[Source, ClipStore]]) -> Wanted:
    weights = recipe.weights()
    return Wanted(
        joints3d=any(_has_joints(source, store) for source, store in sources),
        flow=reads_flow(recipe),
        shifted="camera" in weights,
        occluded=any(name.startswith("occlusion_") for name in weights),
        masks="mask" in weights,
        flow_field="flow" in weights,
    )


def _has_joints(source: Source, store: ClipStore) -> bool:
    """Whether a source has all 14 LSP joints in camera coordinates."""
    if not source.joints3d or "joints3d" not in store.frames:
        return False
    attrs = store.frames["joints3d"].attrs
    return attrs.get("frame") == "camera" and min(convert_indices(attrs["joint_set"], "lsp14")) >= 0


def reads_flow(recipe: TrainingRecipe) -> bool:
    """Whether a recipe's system reads features of optical flow."""
    return "flow" in read_card(recipe.system).get("inputs", {}) and bool(recipe.options.get("flow", True))


def _flow_set(source: Source, store: ClipStore, features: str) -> FeatureSet:
    """The set of flow features of a source's view and of its features' condition.

    Raises:
        MissingFeatures: there is none, or there are several.
    """
    condition = features.partition("+")[2]
    fitting = [
        name
        for name, found in store.features.items()
        if found.attrs.get("kind") == FLOW
        and found.attrs["view"] == source.view
        and name.partition("+")[2] == condition
    ]
    if len(fitting) != 1:
        raise MissingFeatures(
            f"{store.location}: the system reads optical-flow features, and view {source.view!r} has "
            f"{len(fitting) or 'no'} sets of them{' under ' + condition if condition else ''}; run 'hpsbench extract "
            f"{store.dataset} --view {source.view} --extractor flow-dis'"
        )
    return store.features[fitting[0]]


def _further(root: Path, source: Source, store: ClipStore, features: str, wanted: Wanted) -> Further:
    """Where a source's further inputs are. Raises MissingFeatures as `_flow_set`."""
    hidden = [
        name
        for name, found in store.features.items()
        if name.startswith(f"{features}+spsnet-occ")
        and _splits(source, store) <= set(found.attrs.get("splits") or _splits(source, store))
    ]
    return Further(
        wanted=wanted,
        flow=_flow_set(source, store, features) if wanted.flow else None,
        occluded=tuple(store.features[name] for name in hidden) if wanted.occluded else (),
        folder=root / TARGETS / store.dataset / str(source.view),
    )


def _splits(source: Source, store: ClipStore) -> set[str]:
    """The splits that a source reads."""
    one = source.one_split()
    return set(store.clips["split"]) if one is None else {one}


def _motions(root: Path, recipe: TrainingRecipe) -> ClipStore | None:
    """The store of captured motions for the discriminator or the motion prior."""
    rules: list[Motions] = []
    weights = recipe.weights()
    if recipe.adversary is not None and "adversarial" in weights:
        rules.append(recipe.adversary.motions)
    if recipe.prior is not None and "motion_prior" in weights:
        rules.append(recipe.prior.motions)
    if recipe.motion_vae is not None:
        rules.append(recipe.motion_vae.motions)
    if not rules:
        return None
    try:
        return open_store(_place(root, rules[0].dataset))
    except MissingStore as problem:
        raise MissingStore(
            f"{problem} Training recipe {recipe.name!r} reads captured motions; 'hpsbench prepare {rules[0].dataset}' makes "
            "their store. A discriminator or prior is left out by --set losses.adversarial=0, --set losses.motion_prior=0"
        ) from None


def _check_alike(store: ClipStore, others: list[ClipStore]) -> None:
    odd = sorted({other.dataset for other in others if other.synthetic != store.synthetic})
    if odd:
        raise UsageError(
            f"{store.dataset} is {'synthetic' if store.synthetic else 'real'} data and {', '.join(odd)} the other kind; a run "
            "trains on one kind alone. Use another --root, or list the sources with --set sources=[...]"
        )


def first_stage(job: Job) -> Request | None:
    """The training whose best weights a job starts from, where its recipe names another recipe; None otherwise."""
    name, request = job.recipe.init.get("checkpoint"), job.request
    if not name or find_checkpoint(name, request.root) or name not in list_training_recipes(request.recipes):
        return None
    return replace(request, name=name)


def without_data(job: Job) -> list[str]:
    """Terms of the recipe that no source has targets for: masks, flow fields, features of hidden joints."""
    there = {"mask": False, "flow": False, "occlusion_": False}
    for further in (source.further for source in job.sources):
        for term, kind in (("mask", "masks"), ("flow", "flow")):
            there[term] |= further.folder is not None and (further.folder / f"{kind}.npy").is_file()
        there["occlusion_"] |= bool(further.occluded)
    lacking = [term for term, found in there.items() if not found]
    return [name for name in job.recipe.weights() if name.startswith(tuple(lacking))]


def run_id(job: Job) -> str:
    """Name of a run: the recipe's name, the seed, and a hash of everything that decides its outcome."""
    content = [
        job.recipe.model_dump(mode="json"),
        [
            (s.describe(), dict(s.store.features[s.features].attrs), len(s.further.occluded))
            for s in job.sources
        ],
        dict(job.store.features[job.features].attrs),
        job.motions.attrs["raw_manifest_sha256"] if job.motions else None,
        job.request.limit,
        job.seed,
        __version__,
    ]
    beside = [
        str(path.relative_to(job.request.root))
        for s in job.sources
        for kind, wanted in (("masks", s.further.wanted.masks), ("flow", s.further.wanted.flow_field))
        if wanted and s.further.folder is not None and (path := s.further.folder / f"{kind}.npy").is_file()
    ]
    if beside:  # losses that had no data before have some now: another run
        content.append(beside)
    text = json.dumps(content, sort_keys=True, default=str)
    return f"{job.recipe.name}-s{job.seed}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
