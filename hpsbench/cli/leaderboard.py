"""`hpsbench leaderboard`: submit a result, build the pages, check what is there, export."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hpsbench.cli.console import emit_json, note, out, plain, table
from hpsbench.cli.options import HERE, AsJson, DryRun, Root
from hpsbench.errors import UsageError

_boards = typer.Typer(
    no_args_is_help=True, help="Submit results to boards, build their pages, check them, export them."
)

Folder = Annotated[
    Path | None,
    typer.Option("--boards", help="Folder of the boards; default: the one that came with hpsbench."),
]


class Form(StrEnum):
    """Forms of an export."""

    LATEX = "latex"
    HUGGING_FACE = "hugging-face"


def register(app: typer.Typer) -> None:
    """Add the verbs to the app."""
    app.add_typer(_boards, name="leaderboard")


@_boards.command("submit")
def submit_command(
    result: Annotated[Path, typer.Argument(help="Folder of a result, or its name under R/runs.")],
    root: Root = HERE,
    boards: Folder = None,
    name: Annotated[
        str | None, typer.Option("--name", help="As shown on the board; default: the system.")
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            "--predictions", help="Their file, to be hashed; default: those kept beside the result."
        ),
    ] = None,
    url: Annotated[str | None, typer.Option("--url", help="Where others find the predictions.")] = None,
    trained_with_3dpw: Annotated[
        bool | None,
        typer.Option("--trained-with-3dpw/--trained-without-3dpw", help="Whether training saw 3DPW."),
    ] = None,
    h36m_smpl: Annotated[
        str | None,
        typer.Option("--h36m-smpl", help="SMPL parameters of Human3.6M in training: none, mosh, fitted."),
    ] = None,
    citation: Annotated[str | None, typer.Option("--citation", help="BibTeX key of the paper.")] = None,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Turn a RESULT into an entry of its board."""
    from hpsbench.leaderboards.submit import submit
    from hpsbench.results.result import find_result

    if h36m_smpl not in (None, "none", "mosh", "fitted"):
        raise UsageError(f"--h36m-smpl {h36m_smpl!r}: none, mosh or fitted")
    path, entry = submit(
        find_result(result, root),
        _folder(boards),
        predictions=predictions,
        url=url,
        root=root,
        dry_run=dry_run,
        name=name,
        trained_with_3dpw=trained_with_3dpw,
        h36m_smpl=h36m_smpl,
        paper={"citation": citation} if citation else None,
    )
    if json:
        emit_json(
            {"dry_run": dry_run, "file": path, "board": entry.board, "entry": entry.model_dump(mode="json")}
        )
        return
    note(f"{'would write' if dry_run else 'wrote'} {plain(path)}")
    if entry.predictions is None:
        note(
            "no predictions: nobody can score it again; 'hpsbench evaluate --save-predictions' keeps them beside the result"
        )
    if entry.trained_with_3dpw is None:
        note(
            "the entry does not say whether training saw 3DPW: --trained-with-3dpw or --trained-without-3dpw"
        )


@_boards.command("build")
def build_command(boards: Folder = None, json: AsJson = False) -> None:
    """Write the page of every board and the index."""
    from hpsbench.leaderboards.render import build

    written = build(_folder(boards))
    if json:
        emit_json({"written": written})
    else:
        note(f"wrote {len(written)} pages: " + ", ".join(map(plain, written)))


@_boards.command("check")
def check_command(
    boards: Folder = None,
    root: Annotated[
        Path | None,
        typer.Option(
            "--root",
            envvar="HPSBENCH_ROOT",
            help="Data root: predictions are scored again where it has the store.",
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Check every entry and every printed number; exit 5 if something is wrong."""
    from hpsbench.leaderboards.board import entry_files
    from hpsbench.leaderboards.check import check

    folder = _folder(boards)
    problems = check(folder, root=root)
    if json:
        emit_json({"entries": len(entry_files(folder)), "problems": problems})
    else:
        for problem in problems:
            out().print(problem, markup=False, highlight=False)
        note(f"{len(entry_files(folder))} entries, {len(problems)} problems")
    if problems:
        raise typer.Exit(5)


@_boards.command("list")
def list_command(boards: Folder = None, json: AsJson = False) -> None:
    """List the boards and their first entry."""
    from hpsbench.leaderboards.board import list_boards, read_board

    folder = _folder(boards)
    found = [read_board(folder, path) for path in list_boards(folder)]
    if json:
        emit_json({"boards": [{"board": b.path, "entries": [str(f) for f, _ in b.entries]} for b in found]})
        return
    table(
        "boards",
        ("board", "entries", "first"),
        [[b.path, len(b.entries), b.entries[0][1].name] for b in found],
    )


@_boards.command("export")
def export_command(
    what: Annotated[
        str, typer.Argument(help="A board (3dpw/tcmr@1) for LaTeX, an entry's file for Hugging Face.")
    ],
    form: Annotated[Form, typer.Option("--form", help="Form of the text.")],
    boards: Folder = None,
    dataset_id: Annotated[
        str | None,
        typer.Option("--dataset-id", help="Hugging Face: owner/name of the benchmark's repository."),
    ] = None,
    date: Annotated[
        str | None, typer.Option("--date", help="Hugging Face: of the evaluation, ISO 8601.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", help="Hugging Face: address of the entry.")
    ] = None,
) -> None:
    """Print a board as LaTeX, or an entry as a file for `.eval_results/` of a model repository."""
    from hpsbench.leaderboards.board import read_board
    from hpsbench.leaderboards.entry import read_entry
    from hpsbench.leaderboards.render import eval_results, latex

    folder = _folder(boards)
    if form is Form.LATEX:
        text = latex(read_board(folder, what))
    else:
        if dataset_id is None:
            raise UsageError(
                "--form hugging-face needs --dataset-id owner/name, the benchmark's repository on the hub"
            )
        path = Path(what) if Path(what).is_file() else folder / what
        text = eval_results(read_entry(path), dataset_id=dataset_id, date=date, source=source)
    typer.echo(text, nl=False)


def _folder(boards: Path | None) -> Path:
    if boards is not None:
        return boards
    from hpsbench.data_dir import data_dir

    return data_dir("leaderboards")
