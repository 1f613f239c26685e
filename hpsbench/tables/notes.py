"""What is said above and below a filled table: data, conditions, reasons, flags, how many values, and its trainings."""

from collections import Counter
from collections.abc import Sequence

from hpsbench.tables.convergence import ENOUGH
from hpsbench.tables.fill import Filled
from hpsbench.tables.layout import word
from hpsbench.tables.plan import LEFT_OUT
from hpsbench.tables.run import Reproduced
from hpsbench.tables.trained import WITH_3DPW, WITHOUT_3DPW

MARKS = "abcdefghijklmnopqrstuvwxyz"


def headline(found: Reproduced) -> list[str]:
    """What a reader has to know before the numbers."""
    table = found.table
    lines = []
    if found.synthetic and table.kind == "study":
        lines.append(
            "SYNTHETIC DATA: the numbers are of the synthetic world; they are not those of real videos."
        )
    elif found.synthetic:
        lines.append(
            "SYNTHETIC DATA: the measured numbers are of the synthetic world. They do not stand beside the paper's numbers; "
            "only directions (which is better) are compared."
        )
    lines += table.notes
    measured = sum(f.measured is not None for f in found.cells)
    left_out = sum(f.why_not == LEFT_OUT for f in found.cells)
    under = sum(f.undertrained for f in found.cells)
    lines.append(
        f"{measured} of {len(found.cells)} cells measured"
        + (
            f", {under} of them undertrained (fewer steps than the recipe declares: no part in claims)"
            if under
            else ""
        )
        + (f", {left_out} left out by --only and not shown" if left_out else "")
        + ". In a cell: "
        + ("" if table.kind == "study" else "the paper's number; ")
        + "what was measured here, with its 95 % interval"
        + ("." if found.synthetic or table.kind == "study" else "; the difference, measured - paper.")
    )
    return lines


def shown(found: Reproduced) -> list[Filled]:
    """Cells of the table and the controls, without those that nobody asked for."""
    return [f for f in (*found.cells, *found.controls) if f.why_not != LEFT_OUT]


def reasons(found: Reproduced) -> dict[str, int]:
    """Why cells are empty -> footnote number, in order of appearance."""
    texts = dict.fromkeys(f.why_not for f in shown(found) if f.why_not)
    return {text: number for number, text in enumerate(texts, 1)}


def paper_flags(found: Reproduced) -> list[str]:
    """What is known to be wrong with printed numbers of the table, in order of appearance; `MARKS` names them."""
    return list(dict.fromkeys(flag for f in shown(found) for flag in f.cell.flags))


def footnotes(found: Reproduced) -> list[str]:
    """Why cells are empty, and what is wrong with printed numbers, with the marks that cells carry."""
    lines = [f"({number}) {text}" for text, number in reasons(found).items()]
    lines += [f"[{MARKS[i]}] {flag}" for i, flag in enumerate(paper_flags(found))]
    return lines + sample_notes(found) + training_notes(found)


def sample_notes(found: Reproduced) -> list[str]:
    """How many values and trainings the measured cells are means of."""
    counts: dict[tuple[str, str, int, int], dict[str, None]] = {}
    for filled in shown(found):
        if filled.measured is not None and not filled.counted and filled.n is not None:
            cell = filled.cell
            what = "scored frames" if filled.results else "calls"
            key = (word("dataset", cell.dataset), what, filled.n, len(filled.results))
            counts.setdefault(key, {})[word("metric", cell.metric)] = None
    texts = [
        " ".join(filter(None, (dataset, ", ".join(metrics))))
        + f" {n:,} {what}"
        + (f" x {seeds} seeds" if seeds > 1 else "")
        for (dataset, what, n, seeds), metrics in counts.items()
    ]
    return [f"n: {'; '.join(texts)}."] if texts else []


def training_notes(found: Reproduced) -> list[str]:
    """How long the trainings behind the cells went on, and whether their validation curves had settled."""
    trained = found.trainings()
    if not trained:
        return []
    lines = training_data_notes(found)
    short: dict[str, list[str]] = {}
    for one in (one for one in trained if one.undertrained):
        short.setdefault(", ".join(one.shorter), []).append(one.label)
    if short:
        number = sum(map(len, short.values()))
        texts = (f"{', '.join(names)} ({why})" for why, names in short.items())
        lines.append(f"Undertrained: {number} of {len(trained)} trainings: {'; '.join(texts)}.")
    idle = [one for one in trained if one.without_data]
    if idle:
        texts = (f"{one.label} ({', '.join(one.without_data)})" for one in idle)
        lines.append(f"Losses that had no data: {'; '.join(texts)}.")
    settled = [one for one in trained if one.convergence.converged]
    moving = [one for one in trained if one.convergence.converged is False]
    unknown = [one for one in trained if one.convergence.converged is None]
    text = (
        f"Converged (the best validation error changed by under {ENOUGH:g} % in the last fifth of the epochs): {len(settled)} of "
        f"{len(trained)} trainings"
    )
    if moving:
        changes = (f"{one.label} ({one.convergence.change:+.1f} %)" for one in moving)
        text += f"; not converged: {', '.join(changes)}"
    if unknown:
        reasons = Counter(one.convergence.why_unknown for one in unknown)
        text += f"; unknown: {', '.join(f'{number} ({why})' for why, number in reasons.items())}"
    return [*lines, text + "."]


def training_data_notes(found: Reproduced) -> list[str]:
    """What the trainings learned from, what was not there to learn from, and where that is not as in the paper."""
    kinds: dict[tuple[tuple[str, ...], tuple[str, ...]], dict[str, None]] = {}
    for one in found.trainings():
        if one.sources:
            kinds.setdefault((one.sources, one.left_out), {})[one.recipe] = None
    texts = [
        f"{', '.join(names)}: {_datasets(sources)}"
        + (f" (not prepared, so left out: {_datasets(without)})" if without else "")
        for (sources, without), names in kinds.items()
    ]
    lines = [f"Trained on: {'; '.join(texts)}."] if texts else []
    printed = () if found.table.kind == "study" else found.cells
    for flag, how in ((WITH_3DPW, "with"), (WITHOUT_3DPW, "without")):
        rows = dict.fromkeys(f.cell.row for f in printed if flag in f.flags)
        if rows:
            lines.append(f"Trained {how} 3DPW here, unlike in the paper: {', '.join(rows)}.")
    return lines


def _datasets(keys: Sequence[str]) -> str:
    return ", ".join(word("dataset", key) for key in keys)
