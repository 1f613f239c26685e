"""Several processes for a list of jobs: one thread each, results as they come, nobody left behind.

Processes are begun by a fork server, never forked from this one, so the modules that define the jobs are imported again.
"""

import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import active_children, connection, get_context, parent_process
from typing import TypeVar

Job = TypeVar("Job")
Done = TypeVar("Done")
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def map_in_processes(
    function: Callable[[Job], Done],
    jobs: Sequence[Job],
    workers: int,
    preload: Sequence[str] = (),
) -> Generator[Done, None, None]:
    """Apply a function to jobs, in this process or in `workers` others, and yield results as they come.

    An error of a job is raised where the results are read. Closing the iterator early cancels what has not begun and
    waits for the rest.

    Args:
        function: something that can be pickled, as jobs and results can.
        jobs: its arguments.
        workers: processes; 1 works in this one. Each computes on one thread and ends when this process does.
        preload: modules that `function` imports late; they are imported once for all workers.
    """
    if workers <= 1 or len(jobs) <= 1:
        yield from map(function, jobs)
        return
    context = get_context("forkserver")
    context.set_forkserver_preload(["__main__", *_modules(function), *preload])
    with _single_threads():
        pool = ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context, initializer=_begin)
        try:
            futures = [pool.submit(function, job) for job in jobs]
            yield from (future.result() for future in as_completed(futures))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def end_workers() -> None:
    """End all processes that this one has begun: for a signal's handler, when there is no time to wait for them."""
    for process in active_children():
        process.terminate()


def _modules(function: object) -> list[str]:
    """Where a function, or what a partial call is of, is defined."""
    inner = getattr(function, "func", function)
    return [name for name in [getattr(inner, "__module__", None)] if name]


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


def _begin() -> None:
    """Leave Ctrl-C to the parent, and end when the parent is killed; else a worker would wait for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
