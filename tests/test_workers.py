"""Jobs in several processes: results, one thread each, nobody left behind by a kill or a signal."""

import functools
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from hpsbench.workers import map_in_processes


def whose(scale: int, number: int) -> tuple[int, int, str | None]:
    if number < 0:
        raise ZeroDivisionError("a bug")
    return number * scale, os.getpid(), os.environ.get("OMP_NUM_THREADS")


@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_is_done_once_by_processes_of_one_thread(workers: int) -> None:
    before = os.environ.get("OMP_NUM_THREADS")
    done = sorted(map_in_processes(functools.partial(whose, 3), range(5), workers))
    assert [value for value, _, _ in done] == [0, 3, 6, 9, 12]
    assert ({pid for _, pid, _ in done} == {os.getpid()}) == (workers == 1)
    if workers > 1:
        assert {threads for _, _, threads in done} == {"1"}
    assert os.environ.get("OMP_NUM_THREADS") == before


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_job_is_raised(workers: int) -> None:
    with (
        closing(map_in_processes(functools.partial(whose, 1), [-1, 2], workers)) as results,
        pytest.raises(ZeroDivisionError, match="a bug"),
    ):
        list(results)


SLOW = """
import os, sys, time
from pathlib import Path
import typer
from hpsbench.cli.console import run
from hpsbench.workers import map_in_processes

def slow(path):
    path.write_text(str(os.getpid()))
    time.sleep(600)

def command():
    list(map_in_processes(slow, [Path(sys.argv[1]) / f"pid{i}" for i in range(2)], 2))

if __name__ == "__main__":
    app = typer.Typer()
    app.command(context_settings={"allow_extra_args": True})(command)
    run(app)
"""


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_stopped_ends_at_once_and_so_do_its_workers(
    kind: signal.Signals, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SLOW)
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], stderr=subprocess.PIPE, text=True
    )
    files = [tmp_path / "pid0", tmp_path / "pid1"]
    deadline = time.monotonic() + 200  # far below what a job takes
    while not all(file.exists() and file.read_text() for file in files) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(kind)
    _, said = process.communicate(timeout=200)
    if kind != signal.SIGKILL:
        assert process.returncode == 130
        assert said.strip() == "interrupted: what was complete is kept; the same command resumes."
    pids = [int(file.read_text()) for file in files]
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
