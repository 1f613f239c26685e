"""Boards as Markdown pages and LaTeX, entries as a Hugging Face `.eval_results` file."""

import json
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from hpsbench.errors import UsageError
from hpsbench.leaderboards.board import Board, list_boards, read_board
from hpsbench.leaderboards.entry import Entry, MetricEntry, flag_reason
from hpsbench.leaderboards.reported import Reported

BEGIN, END = "<!-- boards: begin -->", "<!-- boards: end -->"
# Digits after the point; one for every other unit.
_DIGITS = {"1": 3, "m/s^2": 2}
_PRINTED_COLUMNS = ("mpjpe", "pa_mpjpe", "pve", "accel_err", "pck")


def build(folder: Path) -> list[Path]:
    """Write the page of every board, `README.md` in its folder, and the index in `leaderboards/README.md`.

    Returns: the files that were written.

    Raises:
        BrokenFile: an entry cannot be read; named.
    """
    written, boards = [], [read_board(folder, path) for path in list_boards(folder)]
    for board in boards:
        page = folder / board.path / "README.md"
        page.write_text(board_page(board), encoding="utf-8")
        written.append(page)
    index = folder / "README.md"
    text = index.read_text(encoding="utf-8") if index.is_file() else "# Leaderboards\n"
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    index.write_text(before.rstrip() + "\n\n" + _index(boards) + after.rstrip("\n") + "\n", encoding="utf-8")
    return [*written, index]


def board_page(board: Board) -> str:
    """The page of a board: measured entries, then, apart, what papers report."""
    kind = "synthetic " if board.synthetic else ""
    lines = [
        f"# {kind}{board.dataset}, {board.protocol}"
        + (f", {_words(board.condition)}" if board.condition else ""),
        "",
    ]
    if board.synthetic:
        lines += [
            "**Synthetic data.** These numbers are of the synthetic world and stand beside no real ones.",
            "",
        ]
    lines += [
        "Made by `hpsbench leaderboard build`. Mean [95 % interval over sequences].",
        "",
        "## Measured",
        "",
    ]
    lines += _measured(board)
    flags = sorted({flag for _, entry in board.entries for flag in entry.flags})
    lines += ["", *(f"- {_flag(flag)}" for flag in flags)]
    if board.reported:
        lines += ["", "## Reported by papers, not measured here", "", *_reported(board.reported)]
    return "\n".join(lines).rstrip() + "\n"


def latex(board: Board) -> str:
    """The measured entries as a LaTeX table (booktabs), and below it what they were measured on."""
    names = " & ".join(f"{_tex(n)} ({_tex(_unit(board, n))})" for n in board.metrics)
    width = 2 + len(board.metrics)
    flags = sorted({flag for _, entry in board.entries for flag in entry.flags})
    marks = dict(zip(flags, "abcdefghijklmnopqrstuvwxyz", strict=False))
    rows = []
    for _, entry in board.entries:
        marked = ",".join(marks[flag] for flag in entry.flags)
        name = _tex(_title(entry, board)) + (rf"\textsuperscript{{{marked}}}" if marked else "")
        values = [_tex(_value(entry.metrics.get(n))) for n in board.metrics]
        rows.append(" & ".join([name, *values, f"{entry.scored:,}"]) + r" \\")
    what = [board.dataset, board.protocol, board.condition or "clean input"]
    what += ["synthetic data"] if board.synthetic else []
    said = [", ".join(what) + "; mean [95 % interval over sequences]"]
    said += [f"{mark}: {_flag(flag)}" for flag, mark in marks.items()]
    notes = [rf"\multicolumn{{{width}}}{{l}}{{\footnotesize {_tex(text)}}} \\" for text in said]
    return "\n".join(
        [
            r"\begin{tabular}{l" + "r" * (width - 1) + "}",
            r"\toprule",
            f"system & {names} & frames " + r"\\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            *notes,
            r"\end{tabular}",
            "",
        ]
    )


def eval_results(entry: Entry, *, dataset_id: str, date: str | None = None, source: str | None = None) -> str:
    """An entry as a file for `.eval_results/` of a model repository on the Hugging Face hub.

    Args:
        entry: whose metrics are listed, one item each; the metric is the task.
        dataset_id: of the benchmark's repository on the hub, `owner/name`.
        date: of the evaluation, ISO 8601.
        source: address of the entry.

    Raises:
        UsageError: a `dataset_id` or a `date` that the hub would refuse.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", dataset_id, re.ASCII):
        raise UsageError(f"dataset {dataset_id!r}: the hub calls a repository owner/name")
    if date is not None and not _is_date(date):
        raise UsageError(f"date {date!r}: give it as ISO 8601, 2026-11-21 or 2026-11-21T16:30:00Z")
    notes = [entry.protocol, *([entry.condition] if entry.condition else [])]
    notes += ["SYNTHETIC DATA"] if entry.synthetic else []
    notes += [_flag(flag) for flag in entry.flags]
    lines = []
    for name, metric in entry.metrics.items():
        spread = (
            ""
            if metric.interval is None
            else f", 95 % interval {metric.interval[0]:.4g} to {metric.interval[1]:.4g}"
        )
        lines += [
            "- dataset:",
            f"    id: {_yaml(dataset_id)}",
            f"    task_id: {_yaml(name)}",
            f"  value: {metric.value!r}",
        ]
        lines += [f"  date: {_yaml(date)}"] if date else []
        lines += ["  source:", f"    url: {_yaml(source)}", '    name: "hpsbench board"'] if source else []
        lines.append(f"  notes: {_yaml(', '.join([*notes, metric.unit, f'n = {metric.n}']) + spread)}")
    return "\n".join(lines) + "\n"


def _is_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _title(entry: Entry, board: Board) -> str:
    """Name, and the seed where entries of the board differ in nothing else."""
    if len(entry.seeds) > 1:
        return f"{entry.name} ({len(entry.seeds)} seeds)"
    alike = [other for _, other in board.entries if other.name == entry.name and len(other.seeds) == 1]
    return f"{entry.name}, seed {entry.seeds[0]}" if entry.seeds and len(alike) > 1 else entry.name


def _measured(board: Board) -> list[str]:
    head = ["", "system", *(f"{name}, {_unit(board, name)}" for name in board.metrics), "frames", "3DPW in training", "flags", "entry"]  # fmt: skip
    rows = []
    for rank, (file, entry) in enumerate(board.entries, 1):
        trained = {True: "yes", False: "no", None: "not known"}[entry.trained_with_3dpw]
        values = [_value(entry.metrics.get(name)) for name in board.metrics]
        link = f"[{file.name}]({file.name})"
        rows.append(
            [
                str(rank),
                _words(_title(entry, board)),
                *values,
                f"{entry.scored:,}",
                trained,
                _words(", ".join(entry.flags)),
                link,
            ]
        )
    return _md(head, rows)


def _reported(numbers: Sequence[Reported]) -> list[str]:
    reasons: dict[str, int] = {}
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    for number in numbers:
        row = number.row
        cell = row["value"] + {"sure": "", "inferred": " (inferred)", "unsure": " (unsure)"}[row["certainty"]]
        for flag in number.flags:
            mark = reasons.setdefault(f"{flag.name}: {flag.reason}", len(reasons) + 1)
            cell += f" [{mark}]"
        key = (row["method"], row["variant"], row["trained_with_3dpw"], row["paper"])
        line = lines.setdefault(key, {})
        line[row["metric"]] = "; ".join([*([line[row["metric"]]] if row["metric"] in line else []), cell])
    units = {number.row["metric"]: number.row["unit"] for number in numbers}
    columns = [name for name in _PRINTED_COLUMNS if any(name in line for line in lines.values())]
    body = [[*key, *(line.get(name, "") for name in columns)] for key, line in lines.items()]
    head = ["method", "variant", "3DPW in training", "first printed in", *(f"{n}, {units[n]}" for n in columns)]  # fmt: skip
    said = ["Units as printed; what papers call mm/s^2 is mm per frame squared.", ""] if "accel_err" in columns else []  # fmt: skip
    return [*_md(head, body), "", *said, *(f"- [{number}] {text}" for text, number in reasons.items())]


def _index(boards: Sequence[Board]) -> str:
    rows = [
        [
            f"[{board.path}]({board.path}/README.md)",
            str(len(board.entries)),
            _words(_title(board.entries[0][1], board)),
        ]
        for board in boards
    ]
    lines = _md(["board", "entries", "first"], rows) if rows else ["No measured entries yet."]
    return "\n".join([BEGIN, *lines, END])


def _flag(flag: str) -> str:
    """A flag and its reason."""
    return f"{flag}: {flag_reason(flag) or 'see the entry'}"


def _unit(board: Board, name: str) -> str:
    return next(entry.metrics[name].unit for _, entry in board.entries if name in entry.metrics)


def _value(metric: MetricEntry | None) -> str:
    if metric is None:
        return ""
    digits = _DIGITS.get(metric.unit, 1)
    low, high = metric.interval or (0.0, 0.0)
    spread = "" if metric.interval is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{metric.value:.{digits}f}{spread}"


def _md(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(text.replace("|", r"\|") for text in line) + " |" for line in (head, *rows)]
    return [lines[0], "|" + " --- |" * len(head), *lines[1:]]


def _words(text: str) -> str:
    """A name as plain words of a Markdown page: nothing in it is markup, and it stays on its line."""
    return re.sub(r"([\\`*\[\]<>&~])", r"\\\1", " ".join(text.split()))


def _tex(text: str) -> str:
    """Plain words of a LaTeX table; a row may begin with them, so that no bracket or star is taken for an option."""
    swaps = {
        "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "#": r"\#", "$": r"\$", "_": r"\_", "{": r"\{", "}": r"\}",
        "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
        "|": r"\textbar{}",
    }  # fmt: skip
    plain = "".join(swaps.get(letter, letter) for letter in " ".join(text.split()))
    plain = re.sub(r"\\textasciicircum\{\}([23])\b", r"\\textsuperscript{\1}", plain)
    return "{}" + plain if plain[:1] in ("[", "*") else plain


def _yaml(text: str | None) -> str:
    """A YAML string; JSON strings are YAML."""
    return json.dumps(text, ensure_ascii=False)
