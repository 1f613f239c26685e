"""Numbers that papers report: `leaderboards/papers/*.csv`, with what is known to be wrong with them."""

import csv
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpsbench.errors import BrokenFile

COLUMNS = (
    "paper", "table", "row_label", "method", "variant", "trained_with_3dpw", "train_data_note", "dataset", "metric", "value",
    "unit", "condition_json", "is_best", "certainty",
)  # fmt: skip
CERTAINTIES = ("sure", "inferred", "unsure")
FLAGS = "flags.toml"
METHODS = "methods.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """What is wrong with a printed number, and why it is said.

    Attributes:
        name: short.
        match: columns of the rows that it is about; a list: any of these.
        reason: in words.
        compares: False where the number is not of the quantity that its column names.
    """

    name: str
    match: Mapping[str, Any]
    reason: str
    compares: bool = True

    def fits(self, row: Mapping[str, str]) -> bool:
        """Whether it is about a row."""
        return all(
            row[key] == want or (isinstance(want, list) and row[key] in want)
            for key, want in self.match.items()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """One printed number with its flags."""

    row: Mapping[str, str]
    flags: tuple[Flag, ...]


def read_reported(folder: Path) -> list[Reported]:
    """Every printed number under `<folder>/papers`, in the order of the files.

    Raises:
        BrokenFile: a file lacks a column, or the flags are not TOML; named.
    """
    flags = read_flags(folder)
    found = []
    for path in sorted((folder / "papers").glob("*.csv")):
        if path.name == METHODS:
            continue
        with path.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines)
            lacking = set(COLUMNS) - set(reader.fieldnames or ())
            if lacking:
                raise BrokenFile(
                    f"{path}: no column {sorted(lacking)[0]!r}; the columns are {', '.join(COLUMNS)}"
                )
            found += [
                Reported(row=row, flags=tuple(f for f in flags if f.fits(row)))
                for row in reader
                if row["value"]
            ]
    return found


def read_methods(folder: Path) -> set[str]:
    """Ids of the methods that printed numbers may be of.

    Raises:
        BrokenFile: there is no list of them.
    """
    path = folder / "papers" / METHODS
    if not path.is_file():
        raise BrokenFile(
            f"{path}: it is missing; it names the methods of the printed numbers, one id per row"
        )
    with path.open(encoding="utf-8", newline="") as lines:
        return {str(next(iter(row.values()))) for row in csv.DictReader(lines)}


def read_flags(folder: Path) -> list[Flag]:
    """The flags of printed numbers.

    Raises:
        BrokenFile: not TOML, a flag without a reason, or one about a column that does not exist.
    """
    path = folder / "papers" / FLAGS
    if not path.is_file():
        return []
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise BrokenFile(f"{path}: not valid TOML ({error})") from error
    flags = []
    for number, flag in enumerate(document.get("flag", ()), 1):
        lacking = [key for key in ("name", "match", "reason") if not flag.get(key)]
        unknown = set(flag.get("match", {})) - set(COLUMNS)
        if lacking or unknown:
            what = f"no {lacking[0]!r}" if lacking else f"unknown column {sorted(unknown)[0]!r}"
            raise BrokenFile(f"{path}: flag {number}: {what}")
        flags.append(
            Flag(**{key: flag[key] for key in ("name", "match", "reason", "compares") if key in flag})
        )
    return flags
