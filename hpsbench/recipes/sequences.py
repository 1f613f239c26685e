"""From a raw folder to tracks: finding the files that a recipe's splits name, and calling its reader."""

import fnmatch
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from hpsbench.errors import BadData, HpsbenchError, MissingData, UnknownName, UsageError
from hpsbench.recipes.schema import Recipe
from hpsbench.types import NOTHING, Track


@dataclass(frozen=True, slots=True, kw_only=True)
class RawSequence:
    """One raw file that holds one recorded sequence.

    Attributes:
        root: the raw dataset's folder.
        name: path of the file under `root`, with forward slashes.
        split: `train`, `val` or `test`.
        fps: of the recipe, or None where it differs.
        options: the reader's constants, from the recipe.
    """

    root: Path
    name: str
    split: str
    fps: float | None = None
    options: Mapping[str, Any] = field(default_factory=lambda: NOTHING)

    @property
    def path(self) -> Path:
        """The file."""
        return self.root / self.name

    @property
    def stem(self) -> str:
        """The file's name without its ending."""
        return Path(self.name).stem


class SequenceSkipped(HpsbenchError):
    """A sequence that the dataset's rule leaves out. Readers raise it; it is counted, not reported as an error.

    Attributes:
        reason: a short name under which it is counted, such as `too-short`.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


Reader = Callable[[RawSequence], Iterator[Track]]


def find_sequences(recipe: Recipe, root: Path, limit: int | None = None) -> list[RawSequence]:
    """The sequences of a raw folder: splits in the recipe's order, files in alphabetical order of their paths.

    Args:
        recipe: of the dataset.
        root: the raw dataset's folder.
        limit: at most so many per split.

    Raises:
        BadData: a file belongs to two splits.
    """
    found: list[RawSequence] = []
    owner: dict[str, str] = {}
    for split, facts in recipe.splits.items():
        names = sorted({name for pattern in facts.glob for name in _matches(root, pattern)})
        names = [name for name in names if not _excluded(name, recipe.exclude)]
        for name in names:
            if name in owner:
                raise BadData(f"{recipe.path}: {name} belongs to the splits {owner[name]} and {split}")
            owner[name] = split
        found += [
            RawSequence(root=root, name=name, split=split, fps=recipe.source.fps, options=recipe.options)
            for name in names[:limit]
        ]
    return found


def read_sequence(recipe: Recipe, raw: RawSequence) -> Iterator[Track]:
    """The tracks of one sequence, through the recipe's reader.

    Raises:
        SequenceSkipped: the dataset's rule leaves it out.
        HpsbenchError: the file is broken; the message names it and the key.
    """
    return get_reader(recipe)(raw)


def get_reader(recipe: Recipe) -> Reader:
    """The `read_sequence` of the module that the recipe names.

    `reader = "threedpw"` is a module of `hpsbench.recipes.readers` or an entry point of the group `hpsbench.readers`;
    `reader = "package.module:function"` is any function.

    Raises:
        UnknownName: no such reader.
        UsageError: the module cannot be imported or has no such function.
    """
    if ":" in recipe.reader:
        module, _, function = recipe.reader.partition(":")
        return _load(module, function, recipe)
    installed = {point.name: point for point in entry_points(group="hpsbench.readers")}
    if recipe.reader in list_readers():
        return _load(f"hpsbench.recipes.readers.{recipe.reader}", "read_sequence", recipe)
    if recipe.reader in installed:
        reader: Reader = installed[recipe.reader].load()
        return reader
    raise UnknownName("reader", recipe.reader, [*list_readers(), *installed])


def list_readers() -> list[str]:
    """Names of the readers that come with hpsbench."""
    folder = Path(__file__).parent / "readers"
    return sorted(path.stem for path in folder.glob("[!_]*.py"))


def _load(module: str, function: str, recipe: Recipe) -> Reader:
    try:
        reader: Reader = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{recipe.path}: reader {recipe.reader!r} cannot be loaded: {error}") from error
    return reader


def _matches(root: Path, pattern: str) -> Iterator[str]:
    if not root.is_dir():
        raise MissingData(f"no folder at {root}")
    return (path.relative_to(root).as_posix() for path in root.glob(pattern) if path.is_file())


def _excluded(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatch(name.rsplit("/", 1)[-1], pattern) for pattern in patterns)
