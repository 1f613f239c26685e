"""From a raw folder to tracks: finding the files that a recipe's splits name, and calling its reader."""

import fnmatch
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from hpsbench.errors import BadData, BrokenFile, HpsbenchError, MissingData, UnknownName, UsageError
from hpsbench.recipes.schema import Recipe, Split
from hpsbench.types import NOTHING, Track


@dataclass(frozen=True, slots=True, kw_only=True)
class RawSequence:
    """One raw file, or a part of one, that is read in one go: usually one recorded sequence.

    Attributes:
        root: the raw dataset's folder.
        name: path of the file under `root`, with forward slashes.
        split: `train`, `val` or `test`.
        item: which part of the file, in the reader's own words; empty: the whole file.
        fps: of the recipe, or None where it differs.
        options: the reader's constants, from the recipe.
    """

    root: Path
    name: str
    split: str
    item: str = ""
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
        BadData: a file belongs to two splits, its reader puts it into a split that the recipe does not have, or its name is
            not UTF-8.
    """
    found: list[RawSequence] = []
    owner: dict[str, str] = {}
    told: dict[str, str] = {}
    for split, facts in recipe.splits.items():
        own: list[RawSequence] = []
        for name in _names(recipe, root, facts):
            raw = RawSequence(
                root=root, name=name, split=split, fps=recipe.source.fps, options=recipe.options
            )
            if facts.told_by == "reader" and _told(recipe, raw, told) != split:
                continue
            if name in owner:
                raise BadData(f"{recipe.path}: {name} belongs to the splits {owner[name]} and {split}")
            owner[name] = split
            own += _items(recipe, raw) if facts.items == "reader" else [raw]
            if limit is not None and len(own) >= limit:
                break
        found += own[:limit]
    return found


def files_beside(recipe: Recipe, root: Path) -> list[RawSequence]:
    """Files whose values readers take beside those of the sequences' own: what the recipe calls `hashed`, by name.

    They belong to no split and are not read as sequences; the raw manifest counts them.
    """
    found = {
        name
        for files in recipe.files.values()
        if files.hashed
        for pattern in files.glob
        for name in _matches(root, pattern)
    }
    return [RawSequence(root=root, name=name, split="") for name in sorted(found)]


def _names(recipe: Recipe, root: Path, facts: Split) -> list[str]:
    """The files that a split's patterns name, in alphabetical order."""
    found: set[str] = set()
    for pattern in facts.glob:
        found |= {name for name in _matches(root, pattern) if not _excluded(name, recipe.exclude)}
        if found and facts.take == "first":
            break
    return sorted(found)


def _told(recipe: Recipe, raw: RawSequence, told: dict[str, str]) -> str:
    """The split that the file itself names. A damaged file stays where it was first found: reading it reports it."""
    if raw.name not in told:
        try:
            told[raw.name] = _reader_function(recipe, "split_of")(raw)
        except BrokenFile:
            told[raw.name] = raw.split
    if told[raw.name] not in recipe.splits:
        raise BadData(
            f"{raw.path}: belongs to a split {told[raw.name]!r}; the recipe has {', '.join(recipe.splits)}"
        )
    return told[raw.name]


def _items(recipe: Recipe, raw: RawSequence) -> list[RawSequence]:
    """The parts of a file. A damaged file is one part: reading it reports it."""
    try:
        items: list[str] = _reader_function(recipe, "items_of")(raw)
    except BrokenFile:
        items = [""]
    return [replace(raw, item=item) for item in items]


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
    module, function = _reader_module(recipe)
    if module is not None:
        return _load(module, function, recipe)
    installed = _installed_readers()
    if recipe.reader in installed:
        reader: Reader = installed[recipe.reader].load()
        return reader
    raise UnknownName("reader", recipe.reader, [*list_readers(), *installed])


def _installed_readers() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="hpsbench.readers")}


def _reader_module(recipe: Recipe) -> tuple[str | None, str]:
    """Module and function that the recipe's reader names; no module if an entry point may."""
    if ":" in recipe.reader:
        module, _, function = recipe.reader.partition(":")
        return module, function
    ours = recipe.reader in list_readers()
    return (f"hpsbench.recipes.readers.{recipe.reader}" if ours else None), "read_sequence"


def _reader_function(recipe: Recipe, name: str) -> Callable[[RawSequence], Any]:
    """Another function of the reader's module: `split_of` or `items_of`."""
    return _load(get_reader(recipe).__module__, name, recipe)


def list_readers() -> list[str]:
    """Names of the readers that come with hpsbench."""
    return list(_readers())


@cache
def _readers() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in (Path(__file__).parent / "readers").glob("[!_]*.py")))


def _load(module: str, function: str, recipe: Recipe) -> Callable[[RawSequence], Any]:
    try:
        found: Callable[[RawSequence], Any] = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{recipe.path}: reader {recipe.reader!r} cannot be loaded: {error}") from error
    return found


def _matches(root: Path, pattern: str) -> Iterator[str]:
    if not root.is_dir():
        raise MissingData(f"no folder at {root}")
    return (_text(path.relative_to(root)) for path in root.glob(pattern) if path.is_file())


def _text(path: Path) -> str:
    """A path with forward slashes.

    Raises:
        BadData: its name is no text.
    """
    name = path.as_posix()
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise BadData(
            f"{name!a}: the name of this file is not UTF-8; rename it, and what belongs to it (images) with it"
        ) from error
    return name


def _excluded(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatch(name.rsplit("/", 1)[-1], pattern) for pattern in patterns)
