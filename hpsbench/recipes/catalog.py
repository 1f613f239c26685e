"""Which dataset recipes there are. Listing reads folder names only; recipes are parsed when asked for."""

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpsbench.data_dir import data_dir
from hpsbench.errors import BrokenFile, MissingData, UnknownName

if TYPE_CHECKING:
    from hpsbench.recipes.schema import Recipe


def list_recipes(extra: Path | None = None) -> list[str]:
    """Keys of all dataset recipes: the shipped ones and those in `extra/datasets`.

    Raises:
        MissingData: `extra` is no folder.
    """
    return sorted(_files(extra))


def get_recipe(key: str, extra: Path | None = None) -> "Recipe":
    """The recipe of a dataset; one in `extra/datasets` comes before a shipped one of the same key.

    Raises:
        UnknownName: there is none of this key; the message suggests the nearest.
        BrokenFile, UsageError: the recipe itself is wrong.
    """
    from hpsbench.recipes.schema import read_recipe

    files = _files(extra)
    if key not in files:
        raise UnknownName("dataset", key, files)
    return read_recipe(files[key])


def describe_recipes(extra: Path | None = None) -> list[dict[str, Any]]:
    """Key, title, licence, splits and views of every recipe, for listings; parses TOML but checks nothing."""
    found = []
    for key, path in sorted(_files(extra).items()):
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BrokenFile(f"{path}: not a TOML file ({error})") from error
        found.append(
            {
                "key": key,
                "title": content.get("title", key),
                "licence": content.get("licence", ""),
                "splits": list(content.get("splits", {})),
                "views": list(content.get("views", {})),
                "homepage": content.get("homepage", ""),
            }
        )
    return found


def _files(extra: Path | None) -> dict[str, Path]:
    folders = [data_dir("recipes")]
    if extra is not None:
        if not extra.is_dir():
            raise MissingData(
                f"no recipe folder at {extra}; --recipes takes a folder that holds datasets/<key>.toml"
            )
        folders.append(extra)
    return {path.stem: path for folder in folders for path in folder.glob("datasets/[!_]*.toml")}
