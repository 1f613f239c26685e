"""Which body models scoring needs, and that the synthetic ones never stand in for the real ones."""

from collections.abc import Iterable
from pathlib import Path

from hpsbench.bodies.files import GENDERS, REGRESSOR_FILES, body_file_names
from hpsbench.bodies.smpl import Bodies, load_bodies
from hpsbench.errors import MissingBodyModel
from hpsbench.features.backbones import choose_device
from hpsbench.protocols.protocol import JointSource, Rule
from hpsbench.store.reader import ClipStore


def needed_bodies(
    store: ClipStore,
    rule: Rule,
    *,
    root: str | Path | None,
    bodies: Bodies | None,
    device: str | None,
    posed: bool = True,
) -> Bodies | None:
    """Body models of the store's world, checked for what the protocol needs before anything is computed.

    Args:
        store: real or synthetic.
        rule: of the protocol on its dataset.
        root: data root; None: the folder above the store's `stores/`.
        bodies: given ones, instead of `root`.
        device: where they compute; None: where they are.
        posed: whether predictions are posed bodies; joints alone need none.

    Returns:
        The bodies; None where neither side needs one.

    Raises:
        MissingBodyModel: files are absent, or of the other world.
    """
    kinds = _kinds(rule, posed)
    if not kinds:
        return None
    if bodies is None:
        bodies = load_bodies(Path(root) if root is not None else root_of(store), store.synthetic)
    if bodies.synthetic != store.synthetic:
        names = {True: "synthetic", False: "real"}
        raise MissingBodyModel(
            f"{store.location} is {names[store.synthetic]}, the body models in {bodies.folder} are "
            f"{names[bodies.synthetic]}; one never stands in for the other"
        )
    genders = _genders(kinds, store.clips["gender"].dropna())
    regressors = _regressors(rule, posed)
    bodies.require(genders=sorted(genders), regressors=sorted(regressors))
    return bodies if device is None else bodies.to(choose_device(device))


def needed_files(rule: Rule, genders: Iterable[str], *, posed: bool = True) -> set[str]:
    """Names of the body-model files that a protocol reads, `.npz` or `.pkl`.

    Args:
        rule: of the protocol on its dataset.
        genders: of the people that it scores.
        posed: whether predictions are posed bodies.
    """
    kinds = _kinds(rule, posed)
    names = {name for gender in _genders(kinds, genders) for name in body_file_names(gender)}
    regressors = _regressors(rule, posed) & set(REGRESSOR_FILES)
    return names | {REGRESSOR_FILES[id] for id in regressors if kinds}


def _sources(rule: Rule, posed: bool) -> list[JointSource]:
    return [rule.target, rule.pred] if posed else [rule.target]


def _kinds(rule: Rule, posed: bool) -> set[str]:
    """Bodies that are posed: `smpl-neutral`, `smpl-gendered`, `smpl-refit`."""
    return {kind for s in _sources(rule, posed) for kind in (s.body, s.mesh) if kind is not None}


def _genders(kinds: set[str], people: Iterable[str]) -> set[str]:
    genders = {"neutral"} if kinds & {"smpl-neutral", "smpl-refit"} else set()
    if kinds & {"smpl-gendered", "smpl-refit"}:
        genders |= set(people) & set(GENDERS)
    return genders


def _regressors(rule: Rule, posed: bool) -> set[str]:
    sources = _sources(rule, posed)
    regressors = {source.source for source in sources if source.kind == "via"}
    if any(source.kind == "from" and source.source == "spin49" for source in sources):
        regressors.add("extra9")  # the part of the model's own set that is regressed
    return regressors


def root_of(store: ClipStore) -> Path:
    """The data root of a store in `R/stores/`."""
    if "://" in store.location or store.path.resolve().parent.name != "stores":
        raise MissingBodyModel(
            f"{store.location} does not lie in the stores/ of a data root, so it is not known where the body models are; "
            "give root= (the folder with body_models/) or bodies="
        )
    return store.path.resolve().parent.parent
