"""Resumable items: recorded one by one, refused for another job, locked, in one process and in several."""

import io
import os
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from hpsbench.errors import BrokenFile, HpsbenchError, ResumeMismatch, UnknownName
from hpsbench.pipeline.work import (
    _journals,
    append_entry,
    find_entries,
    lock,
    open_work,
    run_items,
    whole_file,
)


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
        append_entry(work.journals, 3, [b"ab", np.arange(2, dtype=np.uint8).data])
        append_entry(work.journals, 4, [b"torn"])
        assert [(number, entry.length) for number, entry in work.entries().items()] == [(3, 4), (4, 4)]
        (journal,) = work.journals.iterdir()
        os.truncate(journal, journal.stat().st_size - 1)
    with open_work(tmp_path, "job", {"limit": None, "recipe": "a"}) as work:
        assert work.resumed == 1
        assert [work.is_done(i) for i in (3, 4)] == [True, False]
        append_entry(work.journals, 4, [b"whole"])
        found = work.entries()
        assert sorted(found) == [3, 4]
        contents = {number: e.path.read_bytes()[e.begin : e.begin + e.length] for number, e in found.items()}
        assert contents == {3: b"ab\x00\x01", 4: b"whole"}
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
        append_entry(work.journals, 0, [b"x"])
    (work.path / "identity.json").unlink()
    with open_work(tmp_path, "job", {}) as work:
        assert work.resumed == 0
    (work.path / "identity.json").write_text("{")
    with pytest.raises(BrokenFile, match=r"identity\.json"), open_work(tmp_path, "job", {}):
        pass


class FullDisk(io.BytesIO):
    """A file that takes the head of an entry and no more."""

    def writelines(self, lines: object) -> None:
        raise OSError("no space left")


def test_nothing_follows_an_entry_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_work(tmp_path, "job", {}) as work:
        append_entry(work.journals, 0, [b"first"])
        (first,) = work.journals.iterdir()
        full = FullDisk()
        monkeypatch.setitem(_journals, (os.getpid(), work.journals), full)
        with pytest.raises(OSError, match="no space left"):
            append_entry(work.journals, 1, [b"half"])
        assert full.closed
        append_entry(work.journals, 1, [b"again"])
        found = work.entries()
    assert sorted(found) == [0, 1]
    assert found[0].path == first
    assert found[1].path != first


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    with open_work(tmp_path, "job", {}) as work:
        append_entry(work.journals, 0, [b"first"])
    (journal,) = work.journals.iterdir()
    journal.write_bytes(b"x" * 64)
    with pytest.raises(BrokenFile, match=r"\.journal is damaged at byte 0; remove .*job to begin again"):
        find_entries(work.path)


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
