"""What damaged raw files are told: `recipes/damaged/<dataset>.toml`, from which the docs and the tests are made.

Every dataset answers for every kind of `KINDS`: with lines, or with the reason why it cannot happen there.
"""

import re
import tomllib
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import BaseModel, Field, ValidationError, model_validator

from hpsbench.data_dir import data_dir
from hpsbench.errors import BrokenFile, UsageError
from hpsbench.recipes.view_rules import STRICT

Outcome: TypeAlias = Literal["stops", "stops-anyhow", "features", "warning", "counted"]
OUTCOMES: dict[Outcome, str] = {
    "stops": "stops `prepare`; with `--skip-bad` the sequence is left out and counted",
    "stops-anyhow": "stops `prepare`, with `--skip-bad` too",
    "features": "annotations are prepared; extracting features stops",
    "warning": "`prepare` goes on; a warning of `verify`",
    "counted": "`prepare` goes on; counted by `verify`",
}
KINDS = (
    "missing key", "wrong shape", "NaN", "swapped axes", "truncated file", "unreadable image or video",
    "annotation without image", "image without annotation", "duplicate track", "name not UTF-8", "zero-length track",
    "wrong unit",
)  # fmt: skip
ANYTHING, RAW = "…", "RAW"


class Damage(BaseModel):
    """One way in which raw files can be damaged.

    Attributes:
        kind: one of `KINDS`, or another; a note in brackets tells several of one kind apart.
        how: what is done to a sound dataset, in words.
        says: the message; `RAW` stands for the raw dataset's folder, `…` for what other libraries say.
        outcome: what becomes of the run.
    """

    model_config = STRICT

    kind: str
    how: str
    says: str
    outcome: Outcome = "stops"

    @property
    def of(self) -> str:
        """The kind without its note; images and videos are one kind."""
        plain = self.kind.partition(" (")[0]
        return KINDS[5] if plain in ("unreadable image", "unreadable video") else plain

    def matches(self, message: str, raw: Path) -> bool:
        """Whether a message is the one that is expected.

        >>> Damage(kind="NaN", how="", says="RAW/a.npz: broken (…)").matches("/d/raw/a.npz: broken (EOF)", Path("/d/raw"))
        True
        """
        wanted = ".*".join(re.escape(part) for part in self.says.split(ANYTHING))
        return re.fullmatch(wanted, message.replace(str(raw), RAW), re.DOTALL) is not None


class Damages(BaseModel):
    """All that can be said of one dataset.

    Attributes:
        damage: in the order of the docs.
        cannot: kind -> why it does not happen in this dataset.
    """

    model_config = STRICT

    damage: list[Damage] = Field(min_length=1)
    cannot: dict[str, str] = {}

    @model_validator(mode="after")
    def _every_kind_is_answered(self) -> "Damages":
        names = [damage.kind for damage in self.damage]
        if len(set(names)) != len(names):
            raise ValueError("two lines have one kind; tell them apart by a note in brackets")
        open_kinds = {kind for kind in KINDS if kind not in self.cannot} - {
            damage.of for damage in self.damage
        }
        if open_kinds or set(self.cannot) - set(KINDS):
            raise ValueError(f"kinds without a line: {sorted(open_kinds)}; known are {KINDS}")
        return self


def read_damages(dataset: str, recipes: Path | None = None) -> Damages | None:
    """The lines of one dataset; None if nobody wrote any.

    Args:
        dataset: key of a recipe.
        recipes: another folder with `damaged/*.toml`, looked into first.

    Raises:
        BrokenFile: the file is no TOML file.
        UsageError: it has an unknown key, or a kind is not answered for.
    """
    folders = [*([recipes] if recipes else []), data_dir("recipes")]
    path = next(
        (p for p in (folder / "damaged" / f"{dataset}.toml" for folder in folders) if p.is_file()), None
    )
    if path is None:
        return None
    try:
        return Damages(**tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BrokenFile(f"{path}: not a TOML file ({error})") from error
    except (ValidationError, TypeError) as error:
        raise UsageError(f"{path}: {error}") from error
