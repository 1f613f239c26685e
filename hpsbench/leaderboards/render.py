"""Boards as Markdown pages and LaTeX, entries as a Hugging Face `.eval_results` file."""

import json
from collections.abc import Sequence
from pathlib import Path

from hpsbench.leaderboards.board import Board, list_boards, read_board
from hpsbench.leaderboards.entry import FLAG_REASONS, Entry, MetricEntry
from hpsbench.leaderboards.reported import Reported

BEGIN, END = "<!-- boards: begin -->", "<!-- boards: end -->"
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
        f"# {kind}{board.dataset}, {board.protocol}" + (f", {board.condition}" if board.condition else ""),
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
    """The measured entries as a LaTeX table (booktabs)."""
    names = " & ".join(f"{_tex(n)} ({_tex(_unit(board, n))})" for n in board.metrics)
    flags = sorted({flag for _, entry in board.entries for flag in entry.flags})
    marks = dict(zip(flags, "abcdefghijklmnopqrstuvwxyz", strict=False))
    rows = []
    for _, entry in board.entries:
        marked = ",".join(marks[flag] for flag in entry.flags)
        name = _tex(_title(entry, board)) + (rf"\textsuperscript{{{marked}}}" if marked else "")
        rows.append(" & ".join([name, *(_tex(_value(entry.metrics.get(n))) for n in board.metrics)]) + r" \\")
    notes = [
        rf"\multicolumn{{{1 + len(board.metrics)}}}{{l}}{{\footnotesize {mark}: {_tex(_flag(flag))}}} \\"
        for flag, mark in marks.items()
    ]
    caption = f"{board.dataset}, {board.protocol}" + (", synthetic data" if board.synthetic else "")
    return "\n".join(
        [
            r"\begin{tabular}{l" + "r" * len(board.metrics) + "}",
            f"% {caption}",
            r"\toprule",
            f"system & {names} " + r"\\",
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
    """
    notes = [entry.protocol, f"n = {entry.scored} frames", *([entry.condition] if entry.condition else [])]
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
        lines.append(f"  notes: {_yaml(', '.join(notes) + f', {metric.unit}{spread}')}")
    return "\n".join(lines) + "\n"


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
                _title(entry, board),
                *values,
                f"{entry.scored:,}",
                trained,
                ", ".join(entry.flags),
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
        lines.setdefault(key, {})[row["metric"]] = cell
    columns = [name for name in _PRINTED_COLUMNS if any(name in line for line in lines.values())]
    body = [[*key, *(line.get(name, "") for name in columns)] for key, line in lines.items()]
    head = ["method", "variant", "3DPW in training", "first printed in", *columns]
    return [*_md(head, body), "", *(f"[{number}] {text}" for text, number in reasons.items())]


def _index(boards: Sequence[Board]) -> str:
    rows = [
        [
            f"[{board.path}]({board.path}/README.md)",
            str(len(board.entries)),
            _title(board.entries[0][1], board),
        ]
        for board in boards
    ]
    lines = _md(["board", "entries", "first"], rows) if rows else ["No measured entries yet."]
    return "\n".join([BEGIN, *lines, END])


def _flag(flag: str) -> str:
    """A flag and its reason."""
    return f"{flag}: {FLAG_REASONS.get(flag, 'see the entry')}"


def _unit(board: Board, name: str) -> str:
    return next(entry.metrics[name].unit for _, entry in board.entries if name in entry.metrics)


def _value(metric: MetricEntry | None) -> str:
    if metric is None:
        return ""
    spread = "" if metric.interval is None else f" [{metric.interval[0]:.1f}, {metric.interval[1]:.1f}]"
    return f"{metric.value:.1f}{spread}"


def _md(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(text.replace("|", r"\|") for text in line) + " |" for line in (head, *rows)]
    return [lines[0], "|" + " --- |" * len(head), *lines[1:]]


def _tex(text: str) -> str:
    swaps = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "^": r"\^{}"}  # fmt: skip
    return "".join(swaps.get(letter, letter) for letter in text)


def _yaml(text: str | None) -> str:
    """A YAML string; JSON strings are YAML."""
    return json.dumps(text, ensure_ascii=False)
