"""The TOML of a training run: what it trains, on which data, with which losses and schedule.

Facts live in `recipes/training/*.toml`; fields are explained in `docs/training.md`. A recipe that `extends` another
states only what differs: tables are merged key by key, lists replace, readings add up.
"""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from hpsbench.data_dir import data_dir
from hpsbench.errors import UnknownName, UsageError

Fit = TypeVar("Fit", bound=BaseModel)
FITS = ("encoder", "flow-encoder", "mean-pose", "pose-mixture")
"""Recipes of what is no video system: their TOML has tables of its own, and `hpsbench train` gives each to its own function."""


REGRESSOR_STARTS = ("extractor", "mean", "random")
"""The weights that came with the image encoder; random ones that refine the mean parameters of the body model; random ones
that refine the resting pose."""


class Table(BaseModel):
    """A table of a recipe: no other keys, nothing changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


ALL_SPLITS = "all"


class Source(Table):
    """Which rows of which store make windows; what is None is taken from the recipe's `[data]`."""

    dataset: str
    split: str | None = None
    """`all`: every split."""
    view: str | None = None
    features: str | None = None
    group: str = "3d"
    """Which part of a batch its windows fill; the windows of all sources of a group are shuffled together."""
    stride: int | None = Field(default=None, ge=1)
    crop_scale: float | None = None
    min_confidence: float | None = None
    smpl: bool = True
    """Whether SMPL parameters that the store has are used."""
    joints3d: bool = True
    """Whether 3D joints that the store has are used."""

    def one_split(self) -> str | None:
        """The split, None where all are meant; of a source that has one."""
        return None if self.split == ALL_SPLITS else self.split


class Data(Table):
    """What the sources share; alone, it is the one source."""

    dataset: str
    """Of the validation, and of the one source where none is listed."""
    split: str = "train"
    view: str
    features: str | None = None
    """Feature set; None: the view's clean set of the extractor at hand."""
    condition: str | None = None
    """Corruption of the feature sets, `center-0.33x1-s0`; None: clean ones."""
    crop_scale: float = Field(default=1.2, gt=0)
    """Scale at which 2D keypoints are normalised, whatever the features' own crop scale (VIBE: 1.2 always)."""
    min_confidence: float = 0.3
    only_prepared: bool = False
    """Leave out sources whose store or features are not there, instead of refusing; the checkpoint says which."""
    shares: dict[str, float] = {}
    """Group -> share of a batch; the last group gets what rounding down leaves."""


class Windows(Table):
    """How training windows are cut from a track."""

    length: int = Field(default=16, ge=1)
    stride: int = Field(default=4, ge=1)
    predict: Literal["all", "middle"] = "all"
    edges: Literal["drop", "repeat-window"] = "drop"
    match: int | None = None


class Optimiser(Table):
    """Adam, as every paper uses it."""

    lr: float = 5e-5
    weight_decay: float = 0.0
    clip_norm: float | None = None


class Motions(Table):
    """Where captured motions come from; windows of the recipe's length."""

    dataset: str = "amass"
    split: str = "train"
    view: str = "vibe"
    stride: int | None = Field(default=None, ge=1)
    """None: the window's length."""


class Adversary(Table):
    """A discriminator and its optimiser; its share in the generator's loss is the weight `adversarial`."""

    network: Literal["motion", "attentive", "pose"] = "motion"
    options: dict[str, Any] = {}
    lr: float = 1e-4
    weight_decay: float = 1e-4
    batch: int | None = None
    """Captured motions a step; None: the schedule's batch."""
    label_noise: float = Field(default=0.0, ge=0, le=1)
    """Labels of captured motions are 1 minus a random number up to this (VIBE's text: 0.1)."""
    motions: Motions = Motions()


class Prior(Table):
    """A network of motions, trained on captured ones before the run and then fixed."""

    options: dict[str, Any] = {}
    steps: int = Field(default=5000, ge=1)
    batch: int = 60
    lr: float = 1e-3
    clip_norm: float | None = None
    motions: Motions = Motions()


class Schedule(Table):
    """How long to train and when the learning rate drops."""

    epochs: int = Field(default=30, ge=1)
    iterations_per_epoch: int = Field(default=500, ge=1)
    batch: int = Field(default=32, ge=1)
    """Windows an optimiser step, over all processes."""
    accumulate: int = Field(default=1, ge=1)
    """Parts that a step's windows are cut into, one after the other, to save memory."""
    plateau_factor: float = 0.1
    plateau_patience: int = 5
    plateau_on: Literal["validation", "training"] = "validation"


class Validation(Table):
    """The protocol that picks the best epoch, on a split of `data.dataset`."""

    protocol: str
    split: str = "val"
    metric: str = "pa_mpjpe"
    tracks: int | None = Field(default=None, ge=1)
    """Only the first so many tracks of the split; None: all."""


class TrainingRecipe(Table):
    """One training run as a fact."""

    name: str
    title: str
    source: str
    system: str
    readings: tuple[str, ...] = ()
    """Choices where the source is silent, one sentence each."""
    options: dict[str, Any] = {}
    init: dict[Literal["regressor", "checkpoint"], str] = {}
    """`regressor`: one of `REGRESSOR_STARTS`; `checkpoint`: a file under R/checkpoints, or the name of a recipe, which is
    trained first on the same data and whose best weights are the start."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Of every dropout layer; None: as the system has it."""
    data: Data
    sources: tuple[Source, ...] = ()
    windows: Windows = Windows()
    losses: dict[str, float]
    """Term -> weight; 0 leaves a term out."""
    optimiser: Optimiser = Optimiser()
    adversary: Adversary | None = None
    prior: Prior | None = None
    """MPoser; its share in the loss is the weight `motion_prior`."""
    motion_vae: Prior | None = None
    """MEVA's motion decoder."""
    schedule: Schedule = Schedule()
    validation: Validation
    synthetic: dict[str, Any] = {}
    """Overrides, as `a.b = value`, on synthetic stores."""
    tiny: dict[str, Any] = {}
    """Overrides for tests."""
    max_steps: int | None = None

    @field_validator("init")
    @classmethod
    def _known_start(cls, init: dict[str, str]) -> dict[str, str]:
        if init.get("regressor", "random") not in REGRESSOR_STARTS:
            raise ValueError(f"regressor = {init['regressor']!r} is not one of {', '.join(REGRESSOR_STARTS)}")
        return init

    def all_sources(self) -> tuple[Source, ...]:
        """The sources with everything filled in from `[data]` and `[windows]`."""
        data = self.data
        shared = {
            "split": data.split,
            "view": data.view,
            "features": data.features,
            "crop_scale": data.crop_scale,
            "min_confidence": data.min_confidence,
            "stride": self.windows.stride,
        }
        listed = self.sources or (Source(dataset=data.dataset),)
        return tuple(
            source.model_copy(update={k: v for k, v in shared.items() if getattr(source, k) is None})
            for source in listed
        )

    def weights(self) -> dict[str, float]:
        """The terms that take part: those of a weight other than 0."""
        return {name: weight for name, weight in self.losses.items() if weight}


def list_training_recipes(extra: Path | None = None) -> list[str]:
    """Names of the training recipes: the shipped ones and those of an extra folder."""
    folders = [data_dir("recipes"), *([extra] if extra else [])]
    return sorted(path.stem for folder in folders for path in folder.glob("training/[!_]*.toml"))


def training_document(name: str, extra: Path | None = None) -> dict[str, Any]:
    """The parsed TOML of one training recipe, merged with what it extends.

    Raises:
        UnknownName: no recipe of that name, or none of the name that it extends.
        UsageError: recipes that extend each other in a circle.
    """
    return _merged_document(name, extra, ())


def _merged_document(name: str, extra: Path | None, above: tuple[str, ...]) -> dict[str, Any]:
    if name in above:
        raise UsageError(f"training recipe {above[0]!r}: circle of extends: {' -> '.join((*above, name))}")
    for folder in ([extra] if extra else []) + [data_dir("recipes")]:
        path = folder / "training" / f"{name}.toml"
        if path.is_file():
            document = tomllib.loads(path.read_text(encoding="utf-8"))
            base = document.pop("extends", None)
            if base is None:
                return document
            return merge(_merged_document(str(base), extra, (*above, name)), document)
    raise UnknownName("training recipe", name, list_training_recipes(extra))


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A document with another's keys over it: tables key by key, `readings` appended, everything else replaced."""
    merged = dict(base)
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        elif key == "readings":
            merged[key] = [*merged.get(key, ()), *value]
        else:
            merged[key] = value
    return merged


def get_training_recipe(
    name: str,
    *,
    sets: Iterable[str] = (),
    overrides: Mapping[str, Any] | None = None,
    extra: Path | None = None,
) -> TrainingRecipe:
    """Read a recipe; then apply `overrides` (dotted keys) and `sets` (`key=value` texts as typed on the command line).

    Raises:
        UnknownName: no recipe of that name, or a loss term that does not exist.
        UsageError: a key that the schema lacks, or a value of the wrong type.
    """
    document = training_document(name, extra)
    return apply_overrides(document, {**(overrides or {}), **dict(map(parse_set, sets))}, name)


def apply_overrides(document: Mapping[str, Any], overrides: Mapping[str, Any], name: str) -> TrainingRecipe:
    """The recipe of a document with dotted keys replaced.

    Raises:
        UsageError, UnknownName: as for `get_training_recipe`.
    """
    changed = merge({}, document)
    for dotted, value in overrides.items():
        *tables, key = dotted.split(".")
        place: dict[str, Any] = changed
        for table in tables:
            place[table] = dict(place.get(table, {}))
            place = place[table]
        place[key] = value
    try:
        recipe = TrainingRecipe.model_validate(changed)
    except ValidationError as problem:
        lines = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in problem.errors())
        raise UsageError(f"training recipe {name!r}: {lines}") from None
    _check(recipe)
    return recipe


def read_fit_recipe(kind: type[Fit], name: str, sets: tuple[str, ...], extra: Path | None = None) -> Fit:
    """The recipe of a fit (see `FITS`) with `table.key=value` texts as typed on the command line, checked.

    Raises:
        UsageError: a key that the recipe lacks, or a value of the wrong type.
    """
    document: dict[str, Any] = {**training_document(name, extra)}
    for dotted, value in map(parse_set, sets):
        table, _, key = dotted.partition(".")
        if key and not isinstance(document.get(table, {}), Mapping):
            raise UsageError(f"--set {dotted}: {table!r} of training recipe {name!r} is no table")
        document[table] = {**document.get(table, {}), key: value} if key else value
    try:
        return kind.model_validate(document)
    except ValidationError as problem:
        lines = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in problem.errors())
        raise UsageError(f"training recipe {name!r}: {lines}") from None


def list_terms() -> list[str]:
    """Names of all loss terms: one per file in `training/terms`."""
    folder = Path(__file__).resolve().parent / "terms"
    return sorted(path.stem for path in folder.glob("[!_]*.py"))


def _check(recipe: TrainingRecipe) -> None:
    for term in recipe.losses:
        if term not in list_terms():
            raise UnknownName(f"loss term (training recipe {recipe.name!r})", term, list_terms())
    groups = {source.group for source in recipe.sources}
    if recipe.sources and recipe.data.shares and groups - set(recipe.data.shares):
        lacking = ", ".join(sorted(groups - set(recipe.data.shares)))
        raise UsageError(f"training recipe {recipe.name!r}: data.shares says nothing about group {lacking}")
    for table, term in (("adversary", "adversarial"), ("prior", "motion_prior")):
        if recipe.losses.get(term) and getattr(recipe, table) is None:
            raise UsageError(
                f"training recipe {recipe.name!r}: losses.{term} needs a table [{table}]; add it, or set losses.{term}=0"
            )


def parse_set(text: str) -> tuple[str, Any]:
    """`a.b=value` -> ("a.b", value), the value read as TOML, or as text where it is none.

    Raises:
        UsageError: no `=` in it.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set {text!r}: expected key=value, for example --set schedule.epochs=3")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()
