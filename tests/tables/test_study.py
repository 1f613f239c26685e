from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from hpsbench.errors import UsageError
from hpsbench.tables.catalog import get_table, list_tables
from hpsbench.tables.cells import Cell, fill_of, table_cells
from hpsbench.tables.dot_plot import dot_plot
from hpsbench.tables.render import FORMS, markdown
from hpsbench.tables.run import Reproduced
from hpsbench.tables.schema import parse_table
from hpsbench.training.config import list_training_recipes

STUDIES = [study["id"] for study in list_tables(kind="study")]
SVG = "{http://www.w3.org/2000/svg}"


def _value(cell: Cell) -> float:
    return 90.0 if cell.method == "spin" else 60.0


@pytest.mark.parametrize("study", STUDIES)
def test_every_row_of_a_study_has_a_recipe(study: str) -> None:
    table = get_table(study)
    cells = table_cells(table)
    assert len(cells) == len(table.rows) * len(table.places)
    assert {fill_of(table, cell).train for cell in cells} <= set(list_training_recipes())
    assert all(cell.paper is None for cell in cells)


def test_studies_are_no_tables_of_papers() -> None:
    assert not {table["id"] for kind in ("table", "figure") for table in list_tables(kind=kind)} & set(
        STUDIES
    )


@pytest.mark.parametrize("extra", [{"source": "vibe_table1.csv"}, {"rows": []}, {"kind": "table"}])
def test_a_study_lists_its_rows_and_reads_no_printed_numbers(extra: dict[str, object]) -> None:
    document = {
        "id": "own:study", "paper": "own", "number": "1", "title": "t", "kind": "study", "protocol": "tcmr",
        "rows": [{"row": "a", "method": "vibe"}], "places": [{"dataset": "3dpw", "metric": "mpjpe"}],
    }  # fmt: skip
    parse_table(document, {}, "here")
    with pytest.raises(UsageError, match="'rows' and 'places'"):
        parse_table(document | extra, {}, "here")


def test_a_study_says_nothing_of_a_paper(make_reproduced: Callable[..., Reproduced]) -> None:
    text = markdown(make_reproduced("hpsbench:temporal", _value))
    assert "paper's number" not in text
    assert "What one would expect" in text
    assert "| - |" not in text


@pytest.mark.parametrize("ending", FORMS)
def test_a_study_is_written_in_every_form(ending: str, make_reproduced: Callable[..., Reproduced]) -> None:
    found = make_reproduced("hpsbench:temporal", _value)
    assert found.claims
    written = FORMS[ending](found)
    assert all(row.row in written for row in found.table.rows)


def test_the_plot_shows_every_value_and_the_reference(make_reproduced: Callable[..., Reproduced]) -> None:
    found = make_reproduced("hpsbench:temporal", _value)
    drawn = ElementTree.fromstring(dot_plot(found))
    dots = drawn.findall(f".//{SVG}circle")
    assert len(dots) == len(found.cells)
    said = [dot.findtext(f"{SVG}title") or "" for dot in dots]
    assert sum(text.startswith("frame-based head: ") for text in said) == len(found.table.places)
    first = [float(dot.get("cx") or 0) for dot in dots[:2]]
    assert first[1] < first[0], "a smaller error stands further left"


def test_what_was_not_measured_is_said_in_the_plot(make_reproduced: Callable[..., Reproduced]) -> None:
    found = make_reproduced("hpsbench:temporal", lambda cell: None if cell.method == "vibe" else 70.0)
    texts = [node.text for node in ElementTree.fromstring(dot_plot(found)).iter(f"{SVG}text")]
    assert texts.count("not measured") == len(found.table.places)
