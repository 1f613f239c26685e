"""What processed files of a dataset are called and what their columns mean: `recipes/imports/processed.toml`."""

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from hpsbench.bodies.joints import get_joint_set
from hpsbench.data_dir import data_dir
from hpsbench.errors import BrokenFile, UnknownName, UsageError


def _pattern(value: str) -> str:
    re.compile(value)
    return value


def _joint_set(value: str) -> str:
    return get_joint_set(value).id


Pattern = Annotated[str, AfterValidator(_pattern)]
JointSetId = Annotated[str, AfterValidator(_joint_set)]


class WholeFile(BaseModel):
    """A file that holds every split of a dataset.

    Attributes:
        file: its name.
        split: of all its frames, as an import has them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    split: str


class ProcessedFacts(BaseModel):
    """One dataset's entry; the fields are explained at the head of the TOML file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    whole: WholeFile | None = None
    container: Literal["joblib", "hdf5"] = "joblib"
    splits: dict[str, str]
    track: Pattern
    values: dict[str, dict[str, str]] = {}
    names: list[tuple[Pattern, str]] = []
    images: Pattern = "[^/]+/[^/]+"
    number: Literal["number", "stem", "none"] = "number"
    offset: int = 0
    keypoints: list[JointSetId] = []
    seen_above: float | None = None
    filler: str | None = None
    joints: dict[str, JointSetId] = {}
    joints_field: dict[str, str] = {}
    joints_note: str = ""
    also: dict[JointSetId, str] = {}
    root: str | None = None
    smpl: Literal["separate", "theta", "none"] = "none"
    valid: str | None = None
    lacks: dict[str, list[str]] = {}
    fps: float | None = None

    def split_of(self, file: Path) -> str | None:
        """The split that a file's name tells, by its words; None where it tells none, or several."""
        words = _words(file.name)
        told = {self.splits[word] for word in words if word in self.splits}
        if not told and self.whole is not None and _words(Path(self.whole.file).stem) <= words:
            return self.whole.split
        return told.pop() if len(told) == 1 else None


def _words(name: str) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", name.lower()))


def processed_facts(dataset: str) -> ProcessedFacts:
    """The facts about a dataset's processed files.

    Raises:
        UnknownName: there are none of this dataset.
        BrokenFile, UsageError: the TOML file is wrong.
    """
    facts = _all()
    if dataset not in facts:
        raise UnknownName("dataset with processed files", dataset, facts)
    return facts[dataset]


@cache
def _all() -> dict[str, ProcessedFacts]:
    path = data_dir("recipes") / "imports" / "processed.toml"
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return {key: ProcessedFacts(**entry) for key, entry in content["datasets"].items()}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError) as error:
        raise BrokenFile(f"{path}: not the TOML file of processed files ({error})") from error
    except (ValidationError, UnknownName) as error:
        raise UsageError(f"{path}: {error}") from error
