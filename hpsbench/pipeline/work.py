"""Resumable work: items that are recorded one by one, done by one process or many.

A job keeps a folder under the data root's `.hpsbench` with what it was begun for (`identity.json`) and journals, to which
each process appends the items that it has finished. An entry counts if the file reaches to its end, so it is there whole
or not at all; after a kill at any moment the same job goes on, in new journals, with the items that have none. Another
job (other recipe, code or raw data) in the same folder is refused. When the job is complete the folder goes.
"""

import fcntl
import functools
import json
import os
import shutil
import struct
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeVar

from hpsbench.errors import BrokenFile, HpsbenchError, ResumeMismatch
from hpsbench.workers import map_in_processes

Item = TypeVar("Item")
WORK = Path(".hpsbench") / "work"
_JOURNALS = "journals"
_MAGIC = b"HPSITEM1"
_ENTRY = struct.Struct("<8sQQ")  # what comes, number of the item, bytes that follow
_journals: dict[tuple[int, Path], BinaryIO] = {}  # by process and folder: those that are open


class Progress(Protocol):
    """What long jobs call as they go: how much is done of how much, and a short note."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """So much is done of so much; `note` is for the person who watches."""


def silent(done: int, total: int, note: str = "") -> None:
    """A `Progress` that says nothing."""


class Entry(NamedTuple):
    """Where the bytes of a finished item lie: in `path`, from `begin` on."""

    path: Path
    begin: int
    length: int


@dataclass(frozen=True, slots=True)
class WorkFolder:
    """Finished items of one job; made by `open_work`.

    Attributes:
        path: the folder.
        found: number of each item that was finished when the folder was opened -> its entry.
    """

    path: Path
    found: Mapping[int, Entry]

    @property
    def resumed(self) -> int:
        """How many items were there when the job began."""
        return len(self.found)

    @property
    def journals(self) -> Path:
        """The folder to which `append_entry` writes."""
        return self.path / _JOURNALS

    def is_done(self, index: int) -> bool:
        """Whether item `index` was finished when the folder was opened."""
        return index in self.found

    def entries(self) -> dict[int, Entry]:
        """All items that are finished by now; closes this process's own journal."""
        close_journal(self.journals)
        return find_entries(self.path)

    def remove(self) -> None:
        """Forget the job."""
        close_journal(self.journals)
        shutil.rmtree(self.path, ignore_errors=True)


def find_entries(folder: Path) -> dict[int, Entry]:
    """Finished items of the job in a work folder; what a killed process left unfinished at the end of a journal is not."""
    found: dict[int, Entry] = {}
    for path in sorted((folder / _JOURNALS).glob("*.journal")):
        with path.open("rb") as file:
            size, place = os.fstat(file.fileno()).st_size, 0
            while place + _ENTRY.size <= size:
                file.seek(place)
                magic, index, length = _ENTRY.unpack(file.read(_ENTRY.size))
                if magic != _MAGIC:
                    raise BrokenFile(f"{path} is damaged at byte {place:,}; remove {folder} to begin again")
                place += _ENTRY.size
                if place + length > size:
                    break
                found.setdefault(index, Entry(path, place, length))
                place += length
    return found


def append_entry(journals: Path, index: int, blocks: Sequence[bytes | memoryview]) -> None:
    """Record item `index` as finished, with these bytes, in this process's own journal."""
    file = _journals.get((os.getpid(), journals))
    if file is None:
        file = (journals / f"{uuid.uuid4().hex}.journal").open("xb")
        _journals[os.getpid(), journals] = file
    try:
        file.write(_ENTRY.pack(_MAGIC, index, sum(memoryview(block).nbytes for block in blocks)))
        file.writelines(blocks)
        file.flush()
    except BaseException:  # nothing may follow an entry that is not whole
        with suppress(OSError):
            close_journal(journals)
        raise


def close_journal(journals: Path) -> None:
    """Close this process's own journal in a folder, if there is one."""
    file = _journals.pop((os.getpid(), journals), None)
    if file is not None:
        file.close()


@contextmanager
def open_work(root: Path, name: str, identity: Mapping[str, Any]) -> Iterator[WorkFolder]:
    """Begin a job or take it up again; held by one process at a time.

    Args:
        root: data root.
        name: of the job, one folder each, such as `prepare-3dpw`.
        identity: what the job is for: key -> JSON value. The keys are named if one differs on resuming.

    Raises:
        ResumeMismatch: the folder was begun for something else.
        HpsbenchError: another process works on the same job.
    """
    path = root / WORK / name
    with lock(root, name):
        record, wanted = path / "identity.json", json.dumps(dict(identity), indent=1, sort_keys=True)
        if record.exists():
            _check_identity(record, identity)
        else:
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
            with whole_file(record) as file:
                file.write(wanted.encode())
        (path / _JOURNALS).mkdir(exist_ok=True)
        for leftover in path.glob("*.partial"):
            leftover.unlink(missing_ok=True)
        work = WorkFolder(path, find_entries(path))
        try:
            yield work
        finally:
            close_journal(work.journals)


@contextmanager
def lock(root: Path, name: str) -> Iterator[None]:
    """Keep other processes from the same job; the lock goes with the process, however that ends.

    Raises:
        HpsbenchError: another process holds it.
    """
    folder = root / WORK
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise HpsbenchError(
                f"another process is working on {name} under {root}; wait for it to finish, then run again"
            ) from error
        yield


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that is there whole when the block ends, or not at all."""
    temporary = path.with_name(f"{path.name}-{uuid.uuid4().hex}.partial")
    with temporary.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _check_identity(record: Path, identity: Mapping[str, Any]) -> None:
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BrokenFile(
            f"{record}: not valid JSON ({error}); remove {record.parent} to begin again"
        ) from error
    wanted = json.loads(json.dumps(dict(identity)))
    other = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
    if other:
        raise ResumeMismatch(
            f"{record.parent} was begun with another {', another '.join(other)}. "
            f"Restore what it was begun with to resume, or remove {record.parent} to begin again."
        )


class Outcome(NamedTuple):
    """How an item went: its number; `error` is None, or the kind and message of an `HpsbenchError`."""

    number: int
    error: tuple[type[HpsbenchError], str] | None

    def raise_error(self) -> None:
        """Raise the item's error, if it has one."""
        if self.error is not None:
            kind, message = self.error
            problem = kind.__new__(kind, message)
            problem.args = (message,)
            raise problem


def run_items(
    function: Callable[[Item], None],
    items: Sequence[tuple[int, Item]],
    workers: int,
    preload: Sequence[str] = (),
) -> Generator[Outcome, None, None]:
    """Apply a function to items, in this process or in `workers` others, and yield outcomes as they come.

    Deliberate errors are outcomes; anything else is raised. Closing the iterator early cancels what has not begun.

    Args:
        function: defined at the top of a module, as items and function are sent to other processes.
        items: number and argument.
        workers: processes; 1 works in this one. Each computes on one thread and ends when this process does.
        preload: modules that `function` imports late; they are imported once for all workers.
    """
    yield from map_in_processes(functools.partial(_attempt, function), items, workers, preload)


def _attempt(function: Callable[[Item], None], numbered: tuple[int, Item]) -> Outcome:
    index, item = numbered
    try:
        function(item)
    except HpsbenchError as error:
        return Outcome(index, (type(error), str(error)))
    return Outcome(index, None)
