"""A prepare that is killed at any moment leaves an incomplete store, and resumes to the same bytes."""

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import hpsbench
from hpsbench.errors import IncompleteStore, MissingStore
from hpsbench.pipeline.prepare import prepare
from hpsbench.store.reader import open_store

Tree = Callable[[Path], dict[str, bytes]]

# Forks one run per line of its input, so that imports are paid once and a kill hits the run itself.
SCRIPT = """
    import os, signal, sys, time
    import scipy.ndimage
    from hpsbench.pipeline.prepare import prepare

    def run(root, workers, after):
        begun, child = time.monotonic(), os.fork()
        if child == 0:
            os.setpgid(0, 0)
            prepare("3dpw", root, workers=workers)
            os._exit(0)
        if after is not None:
            time.sleep(after)
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return time.monotonic() - begun

    if __name__ == "__main__":
        for line in sys.stdin:
            root, workers, after = line.rstrip().split("|")
            print(run(root, int(workers), float(after) if after else None), flush=True)
"""


class Runner:
    """Runs `prepare` in processes that may be killed."""

    def __init__(self, folder: Path) -> None:
        script = folder / "script.py"
        script.write_text(textwrap.dedent(SCRIPT))
        self._process = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(hpsbench.__file__).parents[1])},
        )

    def run(self, root: Path, workers: int, kill_after: float | None = None) -> float:
        """Run until the end, or kill after so many seconds; returns the seconds it took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{root}|{workers}|{'' if kill_after is None else kill_after}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End the process that forks."""
        self._process.communicate()


def is_incomplete(root: Path) -> bool:
    """Whether the store is there in part; complete stores open, and nothing else may happen."""
    try:
        open_store(root / "stores" / "3dpw.zarr")
    except (IncompleteStore, MissingStore):
        return True
    return False


def check_kills(
    runner: Runner, make_root: Callable[..., Path], tree: Tree, workers: int, kills: int, chained: bool
) -> None:
    """Kill at random moments of a run, resume, compare with an undisturbed store."""
    whole = make_root("whole")
    seconds = runner.run(whole, workers)
    expected = tree(whole / "stores")
    rng = np.random.default_rng(workers)
    halted = 0
    root = make_root("killed")
    for number, after in enumerate(rng.uniform(0, seconds, kills)):
        runner.run(root, workers, float(after))
        if is_incomplete(root):
            halted += 1
            if chained and number < kills - 1:
                continue
            prepare("3dpw", root, workers=1)
        assert tree(root / "stores") == expected
        for name in ("stores", ".hpsbench", "runs"):
            shutil.rmtree(root / name)
    assert halted >= kills // 3, "most kills came too late to test anything"


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    runner = Runner(tmp_path)
    yield runner
    runner.close()


@pytest.mark.parametrize("workers", [1, 4])
def test_ten_kills_in_a_row(workers: int, runner: Runner, make_root: Callable[..., Path], tree: Tree) -> None:
    check_kills(runner, make_root, tree, workers, kills=10, chained=True)


@pytest.mark.full
@pytest.mark.parametrize("workers", [1, 4])
def test_kills_of_fresh_runs(
    workers: int, runner: Runner, make_root: Callable[..., Path], tree: Tree
) -> None:
    check_kills(runner, make_root, tree, workers, kills=20, chained=False)


class Killed(BaseException):
    """Stands for SIGKILL at one exact operation."""


@pytest.mark.parametrize("operation", ["replace", "mkdir"])
def test_a_stop_at_any_file_operation(
    operation: str, make_root: Callable[..., Path], tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every rename and every new folder is a moment at which a run may end."""
    whole, original = make_root("whole"), getattr(Path, operation)
    calls = [0, -1]

    def counted(self: Path, *args: object, **options: object) -> object:
        calls[0] += 1
        if calls[0] == calls[1]:
            raise Killed
        return original(self, *args, **options)

    monkeypatch.setattr(Path, operation, counted)
    prepare("3dpw", whole)
    total, expected = calls[0], tree(whole / "stores")
    assert total > 20
    root = make_root("stopped")
    for stop in np.unique(np.linspace(1, total, 7).astype(int)).tolist():
        calls[:] = [0, stop]
        with pytest.raises(Killed):
            prepare("3dpw", root)
        calls[1] = -1
        assert is_incomplete(root) == (tree(root / "stores") != expected)
        prepare("3dpw", root)
        assert tree(root / "stores") == expected, f"stopped at {operation} {stop} of {total}"
        for name in ("stores", ".hpsbench", "runs"):
            shutil.rmtree(root / name, ignore_errors=True)
