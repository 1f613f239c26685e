"""Resumable items: recorded one by one, refused for another job, locked, in one process and in several."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import pytest

from hpsbench.errors import BrokenFile, HpsbenchError, ResumeMismatch, UnknownName
from hpsbench.pipeline.work import lock, open_work, run_items, whole_file


def note_process(path: Path) -> None:
    """An item that writes who worked on it; `bad` in its name is a deliberate error, `bug` another one."""
    if "bad" in path.name:
        raise UnknownName("thing", path.name, ["good"])
    if "bug" in path.name:
        raise ZeroDivisionError("a bug")
    path.write_text(f"{os.getpid()} {os.environ.get('OMP_NUM_THREADS')}")


def items(folder: Path, *names: str) -> list[tuple[int, Path]]:
    return list(enumerate(folder / name for name in names))


@pytest.mark.parametrize("workers", [1, 2])
def test_every_item_is_done_once_and_errors_are_outcomes(workers: int, tmp_path: Path) -> None:
    before = os.environ.get("OMP_NUM_THREADS")
    outcomes = sorted(
        run_items(note_process, items(tmp_path, "a", "bad", "c"), workers), key=lambda o: o.number
    )
    assert [outcome.number for outcome in outcomes] == [0, 1, 2]
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    with pytest.raises(UnknownName, match="unknown thing 'bad'"):
        outcomes[1].raise_error()
    pids = {int((tmp_path / name).read_text().split()[0]) for name in "ac"}
    assert (os.getpid() in pids) == (workers == 1)
    if workers > 1:
        assert all((tmp_path / name).read_text().endswith(" 1") for name in "ac")
    assert os.environ.get("OMP_NUM_THREADS") == before


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bug_is_raised(workers: int, tmp_path: Path) -> None:
    with (
        closing(run_items(note_process, items(tmp_path, "bug", "b"), workers)) as outcomes,
        pytest.raises(ZeroDivisionError),
    ):
        list(outcomes)


def test_a_job_is_taken_up_again_and_another_is_refused(tmp_path: Path) -> None:
    with open_work(tmp_path, "job", {"recipe": "a", "limit": None}) as work:
        assert work.resumed == 0
        work.part(3).write_bytes(b"x")
        (work.path / "parts" / "000004.part-1234.partial").write_bytes(b"half")
    with open_work(tmp_path, "job", {"limit": None, "recipe": "a"}) as work:
        assert work.resumed == 1
        assert [work.is_done(i) for i in (3, 4)] == [True, False]
        assert not list(work.path.rglob("*.partial"))
    with (
        pytest.raises(ResumeMismatch, match="another limit, another recipe") as caught,
        open_work(tmp_path, "job", {"recipe": "b", "limit": 2}),
    ):
        pass
    assert str(work.path) in str(caught.value)
    assert work.is_done(3)
    work.remove()
    with open_work(tmp_path, "job", {"recipe": "b"}) as work:
        assert work.resumed == 0


def test_a_folder_without_its_identity_starts_over(tmp_path: Path) -> None:
    with open_work(tmp_path, "job", {}) as work:
        work.part(0).write_bytes(b"x")
    (work.path / "identity.json").unlink()
    with open_work(tmp_path, "job", {}) as work:
        assert work.resumed == 0
    (work.path / "identity.json").write_text("{")
    with pytest.raises(BrokenFile, match=r"identity\.json"), open_work(tmp_path, "job", {}):
        pass


def test_two_processes_do_not_work_on_one_job(tmp_path: Path) -> None:
    with (
        lock(tmp_path, "job"),
        pytest.raises(HpsbenchError, match="another process is working on job"),
        open_work(tmp_path, "job", {}),
    ):
        pass
    with open_work(tmp_path, "job", {}), lock(tmp_path, "other"):
        pass


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="bytes"), whole_file(tmp_path / "x") as file:
        file.writelines([b"half", 1])  # type: ignore[list-item]
    assert not (tmp_path / "x").exists()
    with whole_file(tmp_path / "x") as file:
        file.write(b"whole")
    assert (tmp_path / "x").read_bytes() == b"whole"


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
            import os, sys, time
            from pathlib import Path
            from hpsbench.pipeline.work import run_items

            def slow(path):
                path.write_text(str(os.getpid()))
                time.sleep(60)

            if __name__ == "__main__":
                list(run_items(slow, [(i, Path(sys.argv[1]) / f"pid{i}") for i in range(2)], 2))
        """)
    )
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path)])
    files = [tmp_path / "pid0", tmp_path / "pid1"]
    deadline = time.monotonic() + 30
    while not all(file.exists() and file.read_text() for file in files) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    pids = [int(file.read_text()) for file in files]
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
