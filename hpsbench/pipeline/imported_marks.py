"""What is said about a processed file beside its content: by its name, and by the note that an export leaves next to it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hpsbench.errors import BrokenFile

ORIGIN_FORMAT = "hpsbench-export"


class FeatureMarks(NamedTuple):
    """What is known of a file's features.

    Attributes:
        extractor: SPIN's network, unless an export says otherwise.
        weights_sha256: of it; None where unknown.
        corruption: of the images, as a feature set's attributes have it; a name where nothing else is known; None: clean.
        condition: name of the corruption in the feature set's name, or None.
    """

    extractor: str = "spin"
    weights_sha256: str | None = None
    corruption: Mapping[str, Any] | str | None = None
    condition: str | None = None


def feature_marks(file: Path, origin: Mapping[str, Any]) -> FeatureMarks:
    """By the note of an export, else by the file's name."""
    said = origin.get("extracted")
    if not isinstance(said, dict):
        named = file_marks(file).corruption
        return FeatureMarks(corruption=named, condition=named)
    condition = str(origin.get("features")).partition("+")[2] or None
    return FeatureMarks(
        str(said.get("extractor", "spin")), said.get("weights_sha256"), said.get("corruption"), condition
    )


class FileMarks(NamedTuple):
    """What TCMR's file names tell.

    Attributes:
        crop_scale: of the crops behind the features; None where the name has no such word.
        corruption: name of a corruption of the images, or None.
    """

    crop_scale: float | None
    corruption: str | None


def file_marks(file: Path) -> FileMarks:
    """The words of a file's name: `scale12` is a crop of 1.2, `tight` of 1.0, `occ` synthetic occlusion.

    Source: TCMR's names of its files and its issue 33.

    Example:
        >>> file_marks(Path("3dpw_test_occ_scale12_db.pt"))
        FileMarks(crop_scale=1.2, corruption='occ')
    """
    words = re.split(r"[^a-z0-9]+", file.name.lower())
    scales = [int(word[5:]) / 10 for word in words if re.fullmatch(r"scale\d\d", word)]
    crop_scale = scales[0] if scales else (1.0 if "tight" in words else None)
    return FileMarks(crop_scale, "occ" if "occ" in words else None)


def origin_file(file: Path) -> Path:
    """Where an export leaves its note about a file."""
    return file.with_name(f"{file.name}.origin.json")


def read_origin(file: Path) -> dict[str, Any]:
    """The note of `hpsbench export` beside a file: store, view, whether it is synthetic; empty where there is none.

    Raises:
        BrokenFile: the note is damaged.
    """
    path = origin_file(file)
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BrokenFile(f"{path}: not valid JSON ({error}); remove it, or export again") from error
    if not isinstance(content, dict) or content.get("format") != ORIGIN_FORMAT:
        raise BrokenFile(f"{path}: expected format {ORIGIN_FORMAT!r}; remove it, or export again")
    return content
