import csv
import io
from collections.abc import Callable
from html.parser import HTMLParser
from typing import ClassVar

import pytest

from hpsbench.tables.cells import Cell
from hpsbench.tables.layout import grid
from hpsbench.tables.render import FORMS, csv_text, html_text, latex, markdown, rows
from hpsbench.tables.run import Reproduced

Make = Callable[..., Reproduced]


@pytest.mark.parametrize(
    "table_id", ["catfa:table5", "catfa:table8", "dtsvibe:table1", "mpsnet:table1", "vibe:table2"]
)
@pytest.mark.parametrize("ending", ["md", "tex"])
def test_a_table_is_laid_out_as_stored(table_id: str, ending: str, make_reproduced: Make, golden: Callable[[str, str], None]) -> None:  # fmt: skip
    found = make_reproduced(table_id, lambda cell: None)
    golden(f"{table_id.replace(':', '_')}.{ending}", FORMS[ending](found))


def test_rows_and_columns_are_the_papers(make_reproduced: Make) -> None:
    head, body = rows(make_reproduced("catfa:table8"))
    assert head == [
        "aggregation", "0 % MPJPE, mm", "0 % PA-MPJPE, mm", "33 % MPJPE, mm", "33 % PA-MPJPE, mm",
    ]  # fmt: skip
    assert [line[0] for line in body] == ["gru", "tcn", "equal", "adaptive"]
    assert body[0][1].startswith("81.8 | 8")


def test_every_cell_stands_in_the_grid_once(make_reproduced: Make) -> None:
    for table_id in ("catfa:table5", "dtsvibe:table1", "mpsnet:table1", "spsnet:table1", "catfa:table4"):
        found = make_reproduced(table_id)
        placed = [f for line in grid(found.table, found.cells).cells for f in line if f is not None]
        assert len(placed) == len(found.cells), table_id


def test_controls_stand_in_their_block_and_are_named(make_reproduced: Make) -> None:
    _, body = rows(make_reproduced("catfa:table5", lambda cell: 80.0))
    assert [line[2] for line in body[:6]] == [
        "SPIN", "T-HMR", "VIBE", "Ours",
        "SPIN, median of 5 frames (control, not in the paper)",
        "VIBE, trained on clean features (control, not in the paper)",
    ]  # fmt: skip
    assert body[4][3].startswith("- | 8")


def test_synthetic_pages_say_so_at_the_top_and_have_no_differences(make_reproduced: Make) -> None:
    synthetic, real = (make_reproduced("spsnet:table4", synthetic=s) for s in (True, False))
    for form in (markdown, html_text):
        assert form(synthetic).index("SYNTHETIC DATA") < form(synthetic).index("100.6")
        assert "SYNTHETIC" not in form(real)
    assert "synthetic data" in latex(synthetic)
    assert all(cell["difference"] is None for cell in synthetic.to_json()["cells"])
    assert all(abs(cell["difference"]) < 2 for cell in real.to_json()["cells"])
    assert "(+0." in markdown(real) or "(-0." in markdown(real)


def test_latex_shows_reasons_and_claims_and_not_only_as_comments(make_reproduced: Make) -> None:
    text = latex(make_reproduced("vibe:table2", lambda cell: None))
    shown = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert r"(1) nothing here measures it\par" in shown
    assert "only directions are compared" in shown
    assert r"MPoser performs better than only G ... (sec. 4.2) & FAILS & undecided" in shown


def test_json_holds_the_paper_beside_what_was_measured(make_reproduced: Make) -> None:
    document = make_reproduced("catfa:table5").to_json()
    assert {"table", "synthetic", "cells", "claims"} <= set(document)
    assert len(document["cells"]) == 128
    first = document["cells"][0]
    assert first["paper"] == 84.5
    assert first["condition"] == {"corruption": "center", "ratio": 0.0, "consecutive": 0}
    assert {c["unit"] for c in document["cells"]} == {"mm", "mm/frame^2"}
    assert {"id", "says", "paper", "here", "comparisons"} <= set(document["claims"][0])


def test_csv_has_a_line_per_cell(make_reproduced: Make) -> None:
    lines = list(csv.DictReader(io.StringIO(csv_text(make_reproduced("catfa:table9")))))
    assert len(lines) == 16
    assert lines[0]["paper"] == "80.3"
    assert float(lines[0]["low"]) < float(lines[0]["measured"]) < float(lines[0]["high"])


def test_the_page_is_whole_and_escapes_what_it_shows(make_reproduced: Make) -> None:
    def value(cell: Cell) -> float | None:
        return None

    class Tags(HTMLParser):
        open: ClassVar[list[str]] = []
        void = ("meta", "p", "html", "br")

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in self.void:
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            if tag not in self.void:
                assert self.open.pop() == tag

    page = html_text(make_reproduced("mpsnet:table4", value))
    parser = Tags()
    parser.feed(page)
    assert not parser.open
    assert "<script" not in page
    assert "http" not in page
    assert "nothing here measures it" in page


def test_printed_numbers_that_are_known_to_be_wrong_carry_their_reason(make_reproduced: Make) -> None:
    found = make_reproduced("vibe:table1", synthetic=False)
    cells = {(c["row"], c["dataset"], c["metric"]): c for c in found.to_json()["cells"]}
    accel = cells["VIBE (direct comp.)", "3dpw", "accel_err"]
    assert accel["difference"] is None
    assert "not-an-error: The mean size of the predicted acceleration" in accel["paper_flags"][0]
    assert cells["VIBE (direct comp.)", "3dpw", "mpjpe"]["difference"] is not None
    retracted = cells["VIBE", "3dpw", "mpjpe"]
    assert retracted["paper_flags"][0].startswith("retracted: ")
    page = markdown(found)
    assert "82.9[" in page
    assert "] retracted: VIBE's README withdraws" in page
