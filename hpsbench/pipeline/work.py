"""Resumable work: items that are recorded one by one, done by one process or many.

A job keeps a folder `<root>/.hpsbench/work/<name>/` with what it was begun for (`identity.json`) and one file per
finished item. An item's file is renamed into place, so it is there whole or not at all; after a kill at any moment the
same job goes on with the items that have none. Another job (other recipe, code or raw data) in the same folder is
refused. When the job is complete the folder goes.
"""

import fcntl
import json
import os
import shutil
import signal
import threading
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeVar

from hpsbench.errors import BrokenFile, HpsbenchError, ResumeMismatch

Item = TypeVar("Item")
WORK = Path(".hpsbench") / "work"
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class Progress(Protocol):
    """What long jobs call as they go: how much is done of how much, and a short note."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """So much is done of so much; `note` is for the person who watches."""


def silent(done: int, total: int, note: str = "") -> None:
    """A `Progress` that says nothing."""


@dataclass(frozen=True, slots=True)
class WorkFolder:
    """Finished items of one job; made by `open_work`.

    Attributes:
        path: the folder.
        resumed: how many items were there when the job began.
    """

    path: Path
    resumed: int

    def part(self, index: int) -> Path:
        """The file that records item `index`."""
        return self.path / "parts" / f"{index:06d}.part"

    def is_done(self, index: int) -> bool:
        """Whether item `index` is recorded."""
        return self.part(index).exists()

    def remove(self) -> None:
        """Forget the job."""
        shutil.rmtree(self.path, ignore_errors=True)


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
            (path / "parts").mkdir(parents=True)
            with whole_file(record) as file:
                file.write(wanted.encode())
        for leftover in path.rglob("*.partial"):
            leftover.unlink(missing_ok=True)
        yield WorkFolder(path, sum(1 for _ in (path / "parts").glob("*.part")))


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
def whole_file(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """A file to write that is there whole when the block ends, or not at all.

    Args:
        path: of the file.
        durable: also if the machine loses power; costs a wait for the disk. For scratch files a kill is enough.
    """
    temporary = path.with_name(f"{path.name}-{uuid.uuid4().hex}.partial")
    with temporary.open("wb") as file:
        yield file
        if durable:
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
    if workers <= 1 or len(items) <= 1:
        for index, item in items:
            yield _attempt(function, index, item)
        return
    context = get_context("forkserver")
    context.set_forkserver_preload(["__main__", function.__module__, *preload])
    with _single_threads():
        pool = ProcessPoolExecutor(
            max_workers=min(workers, len(items)), mp_context=context, initializer=_begin_worker
        )
        try:
            futures = [pool.submit(_attempt, function, index, item) for index, item in items]
            yield from _results(as_completed(futures))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _results(futures: Iterable["Future[Outcome]"]) -> Iterator[Outcome]:
    return (future.result() for future in futures)


def _attempt(function: Callable[[Item], None], index: int, item: Item) -> Outcome:
    try:
        function(item)
    except HpsbenchError as error:
        return Outcome(index, (type(error), str(error)))
    return Outcome(index, None)


@contextmanager
def _single_threads() -> Iterator[None]:
    """The process that forks the workers takes the environment over: one thread each for BLAS and OpenMP."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _begin_worker() -> None:
    """Leave Ctrl-C to the parent, and end when the parent is killed; else a worker would wait for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
