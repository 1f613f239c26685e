"""The TOML of a training run: what it trains, on which data, with which losses and schedule.

Facts live in `recipes/training/*.toml`; fields are explained in `recipes/README.md`.
"""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hpsbench.data_dir import data_dir
from hpsbench.errors import UnknownName, UsageError


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Table):
    """Which rows of which store make the windows."""

    dataset: str
    split: str = "train"
    view: str
    features: str | None = None
    """Feature set; None: the view's clean set of the extractor at hand."""
    crop_scale: float = Field(default=1.2, gt=0)
    """Scale at which 2D keypoints are normalised, whatever the features' own crop scale (VIBE: 1.2 always)."""
    min_confidence: float = 0.3


class Windows(_Table):
    """How training windows are cut from a track."""

    length: int = Field(default=16, ge=1)
    stride: int = Field(default=4, ge=1)


class Losses(_Table):
    """Weights of the loss terms (models.md of the field: VIBE's configured values)."""

    keypoints2d: float = 300.0
    joints3d: float = 300.0
    pose: float = 60.0
    shape: float = 0.06


class Optimiser(_Table):
    """Adam, as every paper uses it."""

    lr: float = 5e-5
    weight_decay: float = 0.0


class Schedule(_Table):
    """How long to train and when the learning rate drops (plateau of the validation PA-MPJPE)."""

    epochs: int = Field(default=30, ge=1)
    iterations_per_epoch: int = Field(default=500, ge=1)
    batch: int = Field(default=32, ge=1)
    plateau_factor: float = 0.1
    plateau_patience: int = 5


class Validation(_Table):
    """The protocol that picks the best epoch, on a split of the same store."""

    protocol: str
    split: str = "val"


class TrainingRecipe(_Table):
    """One training run as a fact."""

    name: str
    title: str
    source: str
    system: str
    readings: tuple[str, ...] = ()
    """Choices where the source is silent, one sentence each."""
    options: dict[str, Any] = {}
    init: dict[Literal["regressor"], Literal["extractor", "random"]] = {}
    data: Data
    windows: Windows = Windows()
    losses: Losses = Losses()
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    validation: Validation
    synthetic: dict[str, Any] = {}
    """Overrides, as `a.b = value`, on synthetic stores."""
    tiny: dict[str, Any] = {}
    """Overrides for tests."""
    max_steps: int | None = None


def list_training_recipes(extra: Path | None = None) -> list[str]:
    """Names of the training recipes: the shipped ones and those of an extra folder."""
    folders = [data_dir("recipes"), *([extra] if extra else [])]
    return sorted(path.stem for folder in folders for path in folder.glob("training/[!_]*.toml"))


def training_document(name: str, extra: Path | None = None) -> dict[str, Any]:
    """The parsed TOML of one training recipe.

    Raises:
        UnknownName: no recipe of that name.
    """
    for folder in ([extra] if extra else []) + [data_dir("recipes")]:
        path = folder / "training" / f"{name}.toml"
        if path.is_file():
            return tomllib.loads(path.read_text(encoding="utf-8"))
    raise UnknownName("training recipe", name, list_training_recipes(extra))


def get_training_recipe(
    name: str,
    *,
    sets: Iterable[str] = (),
    overrides: Mapping[str, Any] | None = None,
    extra: Path | None = None,
) -> TrainingRecipe:
    """Read a recipe; then apply `overrides` (dotted keys) and `sets` (`key=value` texts as typed on the command line).

    Raises:
        UnknownName: no recipe of that name.
        UsageError: a key that the schema lacks, or a value of the wrong type.
    """
    document = training_document(name, extra)
    return apply_overrides(document, {**(overrides or {}), **dict(map(parse_set, sets))}, name)


def apply_overrides(document: Mapping[str, Any], overrides: Mapping[str, Any], name: str) -> TrainingRecipe:
    """The recipe of a document with dotted keys replaced."""
    changed = {key: dict(value) if isinstance(value, Mapping) else value for key, value in document.items()}
    for dotted, value in overrides.items():
        *tables, key = dotted.split(".")
        place: dict[str, Any] = changed
        for table in tables:
            place = place.setdefault(table, {})
        place[key] = value
    try:
        return TrainingRecipe.model_validate(changed)
    except ValidationError as problem:
        lines = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in problem.errors())
        raise UsageError(f"training recipe {name!r}: {lines}") from None


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
