"""A reproduced table as Markdown, LaTeX, CSV and HTML, in the paper's own layout."""

import csv
import html
import io
from collections.abc import Callable, Mapping
from itertools import groupby

from hpsbench.tables.claims import Verdict
from hpsbench.tables.fill import Filled
from hpsbench.tables.layout import Grid, grid
from hpsbench.tables.notes import MARKS, footnotes, headline, paper_flags, reasons, shown
from hpsbench.tables.run import Reproduced

_DECIMALS = {"input_frames": 0, "params_m": 2, "flops_g": 2, "model_size_mb": 0}
_MARKS = {"holds": "holds", "fails": "FAILS", "undecided": "undecided"}


def cell_text(found: Reproduced, filled: Filled | None, notes: Mapping[str, int]) -> str:
    """One cell in words: paper, measured with interval, difference; marks."""
    if filled is None:
        return ""
    marks = "".join(f"[{MARKS[paper_flags(found).index(flag)]}]" for flag in filled.cell.flags)
    printed = filled.cell.text + ("?" if filled.cell.certainty == "unsure" else "") + marks
    paper = "" if found.table.kind == "study" else f"{printed or '-'} | "
    if filled.measured is None:
        return f"{paper}- ({notes[filled.why_not or '']})"
    digits = _DECIMALS.get(filled.cell.metric, 1)
    text = f"{filled.measured:.{digits}f}"
    if filled.interval is not None:
        text += f" [{filled.interval[0]:.{digits}f}, {filled.interval[1]:.{digits}f}]"
    difference = filled.difference(synthetic=found.synthetic)
    text += "" if difference is None else f" ({difference:+.{digits}f})"
    return f"{paper}{text}" + (" undertrained" if filled.undertrained else "")


def header(cells: Grid) -> list[str]:
    """Labels of the columns, the outer ones first, with the unit."""
    return [
        " ".join(filter(None, labels)) + f", {unit}"
        for labels, unit in zip(cells.column_labels, cells.units, strict=True)
    ]


def rows(found: Reproduced) -> tuple[list[str], list[list[str]]]:
    """Header and rows of texts, ready for a terminal."""
    cells, notes = grid(found.table, shown(found)), reasons(found)
    body = [
        [*_row_label(cells, i), *(cell_text(found, filled, notes) for filled in line)]
        for i, line in enumerate(cells.cells)
    ]
    return [*cells.row_keys, *header(cells)], body


def claim_rows(found: Reproduced) -> list[list[str]]:
    """A line per claim: what, where, in the paper (not of a study), here, why."""
    if found.table.kind == "study":
        return [[v.claim.says, _MARKS[v.here], v.why] for v in found.claims]
    return [[_says(v), _MARKS[v.paper], _MARKS[v.here], v.why] for v in found.claims]


def claim_columns(found: Reproduced) -> tuple[str, ...]:
    """Their header."""
    if found.table.kind == "study":
        return ("expectation", "here, at 95 %", "why")
    return ("claim", "paper's numbers", "here, at 95 %", "why")


def claims_title(found: Reproduced) -> str:
    """What stands above them."""
    return "What one would expect" if found.table.kind == "study" else "What the paper claims from it"


def markdown(found: Reproduced) -> str:
    """As Markdown."""
    head, body = rows(found)
    lines = [f"# {found.table.paper}: {found.table.number}. {found.table.title}", ""]
    for line in headline(found):
        lines += [f"**{line}**" if line.startswith("SYNTHETIC") else line, ""]
    lines += _md_table(head, body)
    lines += ["", *(f"- {line}" for line in footnotes(found))]
    if found.claims:
        lines += [
            "",
            f"## {claims_title(found)}",
            "",
            *_md_table(list(claim_columns(found)), claim_rows(found)),
        ]
    if found.command:
        lines += ["", f"Made by `{found.command}`."]
    return "\n".join(lines) + "\n"


def latex(found: Reproduced) -> str:
    """As LaTeX tables: the numbers, and the claims."""
    cells, (head, body) = grid(found.table, shown(found)), rows(found)
    keys = len(cells.row_keys)
    told = [line for line in headline(found) if not line.startswith("SYNTHETIC")] + footnotes(found)
    lines = [
        "% Needs the packages booktabs and graphicx.",
        *(f"% {line}" for line in headline(found) if line.startswith("SYNTHETIC")),
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_tex(found.table.paper)}, {_tex(found.table.number)}: {_tex(found.table.title)}"
        + (r". \textbf{Measured on synthetic data: only directions are compared.}" if found.synthetic else "")
        + "}",
        rf"\resizebox{{\linewidth}}{{!}}{{\begin{{tabular}}{{{'l' * keys}{'r' * (len(head) - keys)}}}",
        r"\toprule",
        *_latex_header(cells),
        r"\midrule",
        *(" & ".join(map(_tex, line)) + r" \\" for line in body),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\par\smallskip\raggedright\footnotesize",
        *(_tex(line) + r"\par" for line in told),
        r"\end{table}",
        *(_latex_claims(found) if found.claims else ()),
    ]
    return "\n".join(lines) + "\n"


def _latex_header(cells: Grid) -> list[str]:
    """A line for each level of the columns' labels; neighbours with the same label share one."""
    levels = len(cells.column_labels[0]) if cells.column_labels else 0
    keys = len(cells.row_keys)
    lines = []
    for level in range(levels - 1):
        spans = [
            rf"\multicolumn{{{len(list(group))}}}{{c}}{{{_tex(label[-1])}}}"
            for label, group in groupby(labels[: level + 1] for labels in cells.column_labels)
        ]
        lines.append(" & ".join([*([""] * keys), *spans]) + r" \\")
    last = (
        ", ".join((labels[-1], unit)) for labels, unit in zip(cells.column_labels, cells.units, strict=True)
    )
    return [*lines, " & ".join(map(_tex, (*cells.row_keys, *last))) + r" \\"]


def _latex_claims(found: Reproduced) -> list[str]:
    """The claims as a table of their own."""
    columns = claim_columns(found)
    widths = r"p{0.36\linewidth}" + "l" * (len(columns) - 2) + r"p{0.22\linewidth}"
    return [
        r"\begin{table}",
        r"\centering\footnotesize",
        rf"\caption{{{_tex(found.table.paper)}, {_tex(found.table.number)}: {_tex(claims_title(found))}.}}",
        rf"\begin{{tabular}}{{{widths}}}",
        r"\toprule",
        " & ".join(map(_tex, columns)) + r" \\",
        r"\midrule",
        *(" & ".join(map(_tex, line)) + r" \\" for line in claim_rows(found)),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def csv_text(found: Reproduced) -> str:
    """One line per cell."""
    out = io.StringIO()
    columns = (
        "table", "synthetic", "control", "row", "method", "variant", "dataset", "metric", "condition", "paper", "measured",
        "low", "high", "difference", "unit", "n", "seeds", "undertrained", "flags", "certainty", "why_not",
    )  # fmt: skip
    writer = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for filled in (*found.cells, *found.controls):
        line = filled.to_json(synthetic=found.synthetic)
        low, high = filled.interval or (None, None)
        facts = {
            "table": found.table.id,
            "synthetic": found.synthetic,
            "control": filled.cell.control,
            "low": low,
            "high": high,
            "condition": "; ".join(f"{k}={v}" for k, v in filled.cell.condition.items()),
            "flags": " ".join(filled.flags),
        }
        writer.writerow({**line, **facts})
    return out.getvalue()


_STYLE = """
:root{color-scheme:light dark;--line:#8886;--soft:#8883}
body{font:15px/1.45 system-ui,sans-serif;max-width:75rem;margin:1.5rem auto;padding:0 1rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding:.3rem 0}
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
.paper{opacity:.7;display:block}.measured{font-weight:600;white-space:nowrap}.control{background:var(--soft)}
.warn{border:2px solid #d33;padding:.6rem;border-radius:.3rem}.fails{color:#d33;font-weight:600}
"""


def html_text(found: Reproduced) -> str:
    """As one self-contained page, without scripts."""
    cells, notes = grid(found.table, shown(found)), reasons(found)
    title = f"{found.table.paper}: {found.table.number}. {found.table.title}"
    head = [*cells.row_keys, *header(cells)]
    out = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{_h(title)}</title>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style><h1>{_h(title)}</h1>"
    ]
    out += [
        f"<p{' class=warn role=note' if line.startswith('SYNTHETIC') else ''}>{_h(line)}</p>"
        for line in headline(found)
    ]
    out.append(f"<div class=scroll tabindex=0><table><caption>{_h(found.table.number)}</caption><thead><tr>")
    out += [f"<th scope=col>{_h(name)}</th>" for name in head]
    out.append("</tr></thead><tbody>")
    for i, line in enumerate(cells.cells):
        out.append(f"<tr{' class=control' if cells.control[i] else ''}>")
        labels = [_h(label).replace(" %", "&nbsp;%") for label in _row_label(cells, i)]
        out += [f"<th scope=row>{label}</th>" for label in labels]
        out += [f"<td>{_html_cell(cell_text(found, filled, notes))}</td>" for filled in line]
        out.append("</tr>")
    out.append("</tbody></table></div>")
    if footnotes(found):
        out += ["<ul>", *(f"<li>{_h(text)}</li>" for text in footnotes(found)), "</ul>"]
    out.append(_html_claims(found))
    if found.command:
        out.append(f"<p>Made by <code>{_h(found.command)}</code>.</p>")
    return "\n".join(out) + "</html>\n"


FORMS: Mapping[str, Callable[[Reproduced], str]] = {
    "md": markdown,
    "tex": latex,
    "csv": csv_text,
    "html": html_text,
}
"""File ending -> how it is written."""


def _html_claims(found: Reproduced) -> str:
    if not found.claims:
        return ""
    lines = [f"<h2>{claims_title(found)}</h2><div class=scroll tabindex=0><table><thead><tr>"]
    lines += [f"<th scope=col>{_h(name)}</th>" for name in claim_columns(found)]
    lines.append("</tr></thead><tbody>")
    for line in claim_rows(found):
        tags = ("<td class=fails>" if text == "FAILS" else "<td>" for text in line)
        lines.append("<tr>" + "".join(f"{t}{_h(x)}</td>" for t, x in zip(tags, line, strict=True)) + "</tr>")
    lines.append("</tbody></table></div>")
    return "\n".join(lines)


def _html_cell(text: str) -> str:
    paper, bar, measured = text.partition(" | ")
    if not bar:
        return _h(text)
    return f"<span class=paper>{_h(paper)}</span> <span class=measured>{_h(measured)}</span>"


def _row_label(cells: Grid, i: int) -> list[str]:
    labels = list(cells.row_labels[i])
    if cells.control[i]:
        labels[-1] += " (control, not in the paper)"
    return labels


def _says(verdict: Verdict) -> str:
    where = f" ({verdict.claim.where})" if verdict.claim.where else " (not said, but expected)"
    return verdict.claim.says + where


def _md_table(head: list[str], body: list[list[str]]) -> list[str]:
    def line(texts: list[str]) -> str:
        return "| " + " | ".join(text.replace(" | ", " → ").replace("|", "\\|") for text in texts) + " |"

    return [line(head), "|" + " --- |" * len(head), *map(line, body)]


def _tex(text: str) -> str:
    swaps = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "^": r"\^{}", "~": r"\textasciitilde{}", "$": r"\$", "\n": " ", "|": r"$\to$", "<": r"$<$", ">": r"$>$"}  # fmt: skip
    return "".join(swaps.get(letter, letter) for letter in text)


def _h(text: str) -> str:
    return html.escape(text)
