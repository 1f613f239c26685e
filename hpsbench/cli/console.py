"""The consoles, progress bars, tables and the printing of errors: the only place that talks to a person."""

import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import typer

from hpsbench.errors import HpsbenchError

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED = 130


# rich is imported where something is printed: `--help` and `ls` are to be quick.
@cache
def out() -> "Console":
    """The console of data (stdout)."""
    from rich.console import Console

    console = Console(soft_wrap=True)
    return console if console.is_terminal else Console(soft_wrap=True, width=max(console.width, 140))


@cache
def err() -> "Console":
    """The console of messages and progress (stderr)."""
    from rich.console import Console

    return Console(stderr=True)


class OnProgress(Protocol):
    """What long jobs call as they go: how much is done of how much, and a short note."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Report progress."""


def run(app: typer.Typer) -> NoReturn:
    """Run the app; every deliberate error becomes one message and its documented exit code."""
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, _interrupt)
    try:
        app(standalone_mode=True)
    except HpsbenchError as problem:
        say_error(problem)
        sys.exit(problem.exit_code)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            note("[yellow]interrupted[/]: what was complete is kept; the same command resumes.")
        raise
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    sys.exit(0)


def _interrupt(*_: object) -> NoReturn:
    """Stop now: worker processes end at once, since what they have not finished is begun again when the command resumes."""
    from hpsbench.workers import end_workers

    end_workers()
    sys.exit(INTERRUPTED)


def as_typed() -> str:
    """The command line of this process, quoted for a shell."""
    return shlex.join(["hpsbench", *sys.argv[1:]])


def say_error(problem: HpsbenchError) -> None:
    """Print an error as one message on stderr."""
    from rich.markup import escape

    err().print(f"[bold red]error:[/] {escape(str(problem))}", highlight=False, soft_wrap=True)


def plain(text: object) -> str:
    """A name or a path for `note`: nothing in it is taken for a colour."""
    from rich.markup import escape

    return escape(str(text))


def note(message: str) -> None:
    """A line for the person at the terminal; not data. Brackets are markup: names go through `plain`."""
    err().print(message, highlight=False, soft_wrap=True)


def emit_json(document: Any) -> None:
    """Print one JSON document to stdout."""
    sys.stdout.write(json.dumps(document, indent=2, default=_plain, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    """JSON form of paths, NumPy scalars and arrays, mappings and pydantic models."""
    for method in ("model_dump", "to_json_dict", "tolist"):
        if hasattr(value, method):
            return getattr(value, method)()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    return str(value)


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[str] = ()
) -> None:
    """Print a table to stdout; columns named in `right` are aligned to the right."""
    from rich.table import Table

    grid = Table(title=plain(title), title_justify="left", header_style="bold", title_style="bold")
    for name in columns:
        grid.add_column(plain(name), justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*("" if cell is None else plain(cell) for cell in row))
    out().print(grid)


@contextmanager
def progress(label: str, unit: str = "") -> Iterator[OnProgress]:
    """A progress bar on stderr with rate and time left; silent where stderr is no terminal."""
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} " + unit),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
        console=err(),
        transient=True,
        disable=not err().is_terminal,
    )
    with bar:
        task = bar.add_task(label, total=1, note="", rate="")

        def advance(done: int, total: int, note: str = "") -> None:
            speed = bar.tasks[0].speed
            rate = f"{speed:.1f} {unit}/s" if speed and unit else ""
            bar.update(task, completed=done, total=max(total, 1), note=note, rate=rate)

        yield advance


def ask_yes_no(question: str) -> bool | None:
    """The answer of a person, or None where nobody can be asked."""
    if not (sys.stdin.isatty() and err().is_terminal):
        return None
    return typer.confirm(question, err=True)


def render(document: Any, as_json: bool, show: Callable[[], None]) -> None:
    """Print a result: as one JSON document, or the way `show` prints it for a person."""
    if as_json:
        emit_json(document)
    else:
        show()
