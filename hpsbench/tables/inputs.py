"""What the steps of a table read: feature sets, flow, targets; which steps make them, and what identifies them.

The identity of what is read goes into the key of every step that reads it: the store's raw data and renderer, the encoder's
weights, the corruption with its version. A change of any of them makes another step.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from hpsbench.corruption._catalog import get_corruption
from hpsbench.corruption._corruption import USUAL_SEVERITY
from hpsbench.corruption._plan import Condition
from hpsbench.corruption._record import FIRST_VERSION
from hpsbench.errors import MissingCheckpoint, MissingFeatures
from hpsbench.evaluation.provenance import renderer
from hpsbench.features import embedded
from hpsbench.features.backbones import SPIN_CHECKPOINT, choose_extractor, file_sha256, get_extractor
from hpsbench.features.flow import IMAGENET, TWIN
from hpsbench.features.flow import KIND as FLOW
from hpsbench.pipeline.targets import FOLDER as TARGETS
from hpsbench.pipeline.targets import USER_MASKS
from hpsbench.store.reader import ClipStore
from hpsbench.tables.absent import AbsentStore
from hpsbench.tables.steps import Step
from hpsbench.training.flow_encoder import get_flow_recipe

FLOW_EXTRACTOR = "flow-dis"
Stock: TypeAlias = ClipStore | AbsentStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One feature set that a step reads.

    Attributes:
        name: of the set.
        identity: what made it, for the keys of steps.
        needs: steps that make it.
    """

    name: str
    identity: Mapping[str, Any]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inputs:
    """Finds what is read, and adds the steps that make it.

    Attributes:
        root: data root.
        store: opens the store of a dataset.
        add: takes a step and gives its id.
        recipes: folder with further recipes.
    """

    root: Path
    store: Callable[[str], Stock]
    add: Callable[[Step], str]
    recipes: Path | None = None
    _hashes: dict[str, str] = field(default_factory=dict)
    _versions: dict[str, int] = field(default_factory=dict)

    def features(self, store: Stock, view: str, named: str | None, hurt: Condition | None) -> Read:
        """Image features of a view, clean or hurt.

        Args:
            store: of the dataset.
            view: whose crops.
            named: extractor that has to be it; None: the usual one.
            hurt: corruption; None: clean.

        Raises:
            MissingFeatures: features that hpsbench cannot compute and that nobody imported.
        """
        if named is not None and f"{named}-{view}" not in store.features:
            raise MissingFeatures(
                f"needs a feature set '{named}-{view}' of the {store.dataset} store, which hpsbench cannot compute: "
                f"import one under that name ('hpsbench import') and the row is measured"
            )
        extractor = named or choose_extractor(self.root, synthetic=store.synthetic)
        if extractor is None:
            raise MissingFeatures(
                f"no image features of {store.dataset}: put SPIN's model_checkpoint.pt under R/checkpoints/spin"
            )
        clean = self._clean(store, view, extractor, named)
        return clean if hurt is None else self._hurt(store, view, extractor, clean, hurt, ())

    def hidden_joints(self, store: Stock, view: str, clean: Read, split: str | None) -> Read:
        """Features of a split (None: of all) with joints hidden in every frame, as SPS-Net trains with, beside the clean ones."""
        hurt = Condition(mode="spsnet-occ", ratio=1.0, severity=USUAL_SEVERITY)
        return self._hurt(
            store, view, _extractor(clean, view), clean, hurt, () if split is None else (split,)
        )

    def flow(self, store: Stock, view: str, hurt: Condition | None) -> Read:
        """Features of optical flow of a view, of clean or hurt frames.

        Raises:
            MissingCheckpoint: real data without ImageNet's network.
        """
        name = f"{FLOW_EXTRACTOR}-{view}"
        fitting = [
            s
            for s in store.features.values()
            if s.attrs.get("kind") == FLOW and s.attrs["view"] == view and not s.attrs.get("corruption")
        ]
        if fitting and name not in store.features:
            own = fitting[0]
            clean = Read(
                name=own.name, identity={"features": own.name, "cnn": own.attrs.get("weights_sha256")}
            )
            return (
                clean if hurt is None else self._hurt(store, view, _extractor(clean, view), clean, hurt, ())
            )
        cnn, needs = self._flow_network(store)
        identity = {"features": name, "cnn": cnn}
        step = Step(
            kind="extract",
            key={**about_store(store), "view": view, "extractor": FLOW_EXTRACTOR, **identity},
            label=f"extract {name} of {store.dataset}",
            units=kept(store, view),
            needs=(*self.prepared(store), *needs),
        )
        clean = Read(name=name, identity=identity, needs=(self.add(step),))
        return clean if hurt is None else self._hurt(store, view, FLOW_EXTRACTOR, clean, hurt, ())

    def _flow_network(self, store: Stock) -> tuple[dict[str, Any], tuple[str, ...]]:
        """What identifies the network behind flow features, and the step that trains it where it is the synthetic twin.

        The twin is known by its recipe and the store that it was trained on, before and after its training.
        """
        found = sorted(self.root.glob(IMAGENET))
        if found:
            return {"weights_sha256": file_sha256(found[0])}, ()
        if not store.synthetic:
            raise MissingCheckpoint(
                f"no CNN for optical flow: put torchvision's ResNet-50 (resnet50-0676ba61.pth, from download.pytorch.org/models) "
                f"into {self.root / 'checkpoints'}"
            )
        recipe = get_flow_recipe(extra=self.recipes)
        trained_on = self.store(recipe.data.dataset)
        origin = {
            "dataset": trained_on.dataset,
            "raw_manifest_sha256": trained_on.attrs.get("raw_manifest_sha256"),
        }
        wanted = {"recipe": recipe.model_dump(mode="json", exclude={"title", "readings"}), "store": origin}
        there = _twin(self.root / TWIN)
        if there not in (None, wanted):
            return there or {}, ()
        pairs = min(recipe.data.pairs, rows_of_splits(trained_on, (recipe.data.split,)))
        step = Step(
            kind="flow-encoder",
            key=wanted,
            label=f"train flow-encoder on {trained_on.dataset}",
            units=recipe.schedule.epochs * max(1, pairs // recipe.schedule.batch),
            needs=self.prepared(trained_on),
        )
        return wanted, (self.add(step),)

    def target(self, store: Stock, view: str, kind: str, crop_scale: float) -> tuple[str, ...]:
        """The step that writes masks or flow fields beside a store; none where the store has nothing to make them from."""
        if kind == "masks" and not (
            (self.root / USER_MASKS / store.dataset).is_dir() or _shows_bodies(store)
        ):
            return ()
        key = {**about_store(store), "view": view, "target": kind, "crop_scale": crop_scale}
        step = Step(
            kind="targets",
            key=key,
            label=f"write {kind} of {store.dataset}, {view}",
            units=kept(store, view),
            needs=self.prepared(store),
        )
        return (self.add(step),)

    def _clean(self, store: Stock, view: str, extractor: str, named: str | None) -> Read:
        name = f"{extractor}-{view}"
        identity = {"features": name, "encoder_sha256": self._encoder(store, name, extractor)}
        if named is not None:
            return Read(name=name, identity=identity)
        step = Step(
            kind="extract",
            key={**about_store(store), "view": view, "extractor": extractor, **identity},
            label=f"extract {name} of {store.dataset}",
            units=kept(store, view),
            needs=self.prepared(store),
        )
        return Read(name=name, identity=identity, needs=(self.add(step),))

    def prepared(self, store: Stock) -> tuple[str, ...]:
        """The step that prepares a store that is not there."""
        if not isinstance(store, AbsentStore):
            return ()
        first: tuple[str, ...] = ()
        if store.raw is None:
            what = (
                f"synthesize {store.dataset}" if store.can_be_made else f"get the raw data of {store.dataset}"
            )
            first = (
                self.add(Step(kind="raw", key={"dataset": store.dataset}, label=what, units=store.rows())),
            )
        step = Step(
            kind="prepare",
            key={"dataset": store.dataset},
            label=f"prepare {store.dataset}",
            units=store.rows(),
            needs=first,
        )
        return (self.add(step),)

    def _hurt(
        self,
        store: Stock,
        view: str,
        extractor: str,
        clean: Read,
        hurt: Condition,
        splits: tuple[str, ...],
    ) -> Read:
        name = f"{clean.name}+{hurt.name}"
        if hurt.mode not in self._versions:
            self._versions[hurt.mode] = get_corruption(hurt.mode).version
        what = {"version": self._versions[hurt.mode], **hurt.as_dict()}
        identity = {**clean.identity, "features": name, "corruption": what}
        own = {"splits": list(splits)} if splits else {}
        step = Step(
            kind="corrupt",
            key={**about_store(store), "view": view, "extractor": extractor, **identity, **own},
            label=f"corrupt {name} of {store.dataset}",
            units=max(1, round(hurt.ratio * kept(store, view, splits))),
            needs=clean.needs,
        )
        return Read(name=name, identity=identity, needs=(self.add(step),))

    def _encoder(self, store: Stock, name: str, extractor: str) -> str:
        """Hash of the weights behind a set: those it was made with, or those it would be made with."""
        if name in store.features:
            return str(store.features[name].attrs.get("weights_sha256"))
        if extractor not in self._hashes:
            places = {embedded.NAME: embedded.WEIGHTS, "spin": self.root / SPIN_CHECKPOINT}
            path = places.get(extractor)
            self._hashes[extractor] = (
                get_extractor(extractor, self.root).sha256 if path is None else file_sha256(path)
            )
        return self._hashes[extractor]


def _extractor(clean: Read, view: str) -> str:
    return clean.name.removesuffix(f"-{view}")


def set_is_made(store: ClipStore, step: Step) -> bool:
    """Whether the set of an `extract` or `corrupt` step is in its store: whole, of these weights, of this version."""
    name = step.key["features"]
    if name not in store.features:
        return False
    attrs = store.features[name].attrs
    record = attrs.get("corruption")
    made = record.get("version", FIRST_VERSION) if isinstance(record, Mapping) else None
    wanted = step.key.get("corruption", {}).get("version", made)
    splits = set(step.key.get("splits") or store.clips["split"])
    return (
        not attrs.get("partial")
        and splits <= set(attrs.get("splits") or splits)
        and step.key.get("encoder_sha256") in (None, str(attrs.get("weights_sha256")))
        and made == wanted
    )


def target_is_made(root: Path, step: Step) -> bool:
    """Whether the masks or flow fields of a `targets` step lie beside their store."""
    path = root / TARGETS / step.key["dataset"] / step.key["view"] / f"{step.key['target']}.npy"
    card = _card(path)
    own = ("view", "crop_scale", "raw_manifest_sha256")
    return path.is_file() and all(card.get(name) == step.key[name] for name in own)


def _card(path: Path) -> dict[str, Any]:
    """The JSON beside a file; empty where there is none."""
    try:
        found: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def _twin(path: Path) -> dict[str, Any] | None:
    """What identifies the flow twin that is there; None where there is none."""
    if not path.is_file():
        return None
    card, sha256 = _card(path), file_sha256(path)
    if card.get("sha256") != sha256:
        return {"weights_sha256": sha256}
    return {key: card.get(key) for key in ("recipe", "store")}


def _shows_bodies(store: Stock) -> bool:
    """Whether the true body of every row of a synthetic store is known."""
    fields = ("full_pose", "betas", "joints3d", "intrinsics")
    if (
        isinstance(store, AbsentStore)
        or not store.synthetic
        or any(name not in store.frames for name in fields)
    ):
        return False
    return "has_smpl" not in store.frames or bool(np.asarray(store.frames["has_smpl"][:]).all())


def about_store(store: Stock) -> dict[str, Any]:
    """What identifies a store: its raw annotations, its recipe, and on synthetic data what drew its images."""
    found = {key: store.attrs.get(key) for key in ("raw_manifest_sha256", "recipe_sha256")}
    drawn = None if isinstance(store, AbsentStore) else renderer(store)
    return {
        "dataset": store.dataset,
        **found,
        "renderer": None if drawn is None else {key: drawn[key] for key in ("format", "version")},
    }


def kept(store: Stock, view: str, splits: tuple[str, ...] = ()) -> int:
    """Frames of splits (none named: all) that a view keeps; of a store that is not there yet all that it will have."""
    if isinstance(store, AbsentStore):
        return store.rows(splits)
    keep = np.asarray(store.views[view].keep)
    if not splits:
        return int(keep.sum())
    clips = store.clips.loc[store.clips["split"].isin(list(splits))]
    return sum(
        int(keep[start : start + length].sum())
        for start, length in zip(clips["start"], clips["length"], strict=True)
    )


def rows_of_splits(store: Stock, splits: tuple[str, ...]) -> int:
    """Frames of splits, whatever a view keeps."""
    if isinstance(store, AbsentStore):
        return store.rows(splits)
    clips = store.clips
    return int(clips.loc[clips["split"].isin(list(splits)), "length"].sum())
