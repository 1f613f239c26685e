"""Which published tables there are. Listing reads TOML and CSV only, so that `ls` stays quick.

`recipes/tables/<paper>_<table>.toml` names the file in `leaderboards/papers/` that holds the printed numbers.
"""

import csv
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hpsbench.data_dir import data_dir
from hpsbench.errors import BrokenFile, UnknownName

if TYPE_CHECKING:
    from hpsbench.tables.schema import Table

Kind = Literal["table", "figure", "study"]
SHARED = "_shared.toml"


def list_tables(extra: Path | None = None, *, kind: Kind = "table") -> list[dict[str, Any]]:
    """`{"id", "paper", "title", "cells"}` of every published table: `cells` counts its printed numbers.

    Args:
        extra: another recipe folder, whose `tables/*.toml` are known too.
        kind: tables proper, what the papers draw or say in the text ("figure"), or comparisons of our own ("study").
    """
    found = []
    for path in _files(extra).values():
        document = _toml(path)
        if document.get("kind", "table") == kind:
            numbers = read_numbers(document["source"]) if "source" in document else ()
            printed = sum(bool(row["value"]) for row in numbers)
            found.append({**{key: document[key] for key in ("id", "paper", "title")}, "cells": printed})
    return found


def get_table(table_id: str, extra: Path | None = None) -> "Table":
    """A table by its id, `catfa:table5`.

    Raises:
        UnknownName: no such table; the message suggests the nearest.
        BrokenFile: its file is not TOML.
        UsageError: its file says something unknown.
    """
    from hpsbench.tables.schema import parse_table

    files = _files(extra)
    path = files.get(table_id)
    if path is None:
        raise UnknownName("table", table_id, files)
    shared = _toml(data_dir("recipes") / "tables" / SHARED)
    return parse_table(_toml(path), shared, str(path))


@cache
def read_numbers(source: str) -> tuple[dict[str, str], ...]:
    """Rows of a file of `leaderboards/papers`, as text.

    Raises:
        UnknownName: no such file.
    """
    folder = data_dir("leaderboards") / "papers"
    path = folder / source
    if not path.is_file():
        raise UnknownName("file of printed numbers", source, (p.name for p in folder.glob("*.csv")))
    with path.open(encoding="utf-8", newline="") as lines:
        return tuple(csv.DictReader(lines))


def _files(extra: Path | None) -> dict[str, Path]:
    """Id -> file, papers and tables in reading order."""
    folders = [data_dir("recipes"), *([Path(extra)] if extra else [])]
    paths = [path for folder in folders for path in folder.glob("tables/[!_]*.toml")]
    return {str(_toml(path).get("id", path.stem)): path for path in sorted(paths, key=_reading_order)}


def _reading_order(path: Path) -> tuple[str, str, int]:
    paper, _, name = path.stem.partition("_")
    digits = "".join(filter(str.isdigit, name))
    return paper, name.rstrip("0123456789"), int(digits or 0)


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BrokenFile(f"{path}: not valid TOML ({error})") from error
