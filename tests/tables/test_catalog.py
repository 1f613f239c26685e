import csv
from collections import Counter
from pathlib import Path

import pytest

import hpsbench as hb
from hpsbench.data_dir import data_dir
from hpsbench.errors import BrokenFile, UnknownName, UsageError
from hpsbench.tables.catalog import get_table, list_tables
from hpsbench.tables.cells import fill_of, select, table_cells
from hpsbench.tables.run import reproduce
from hpsbench.tables.schema import parse_table
from hpsbench.training.config import Source, get_training_recipe

PAPERS = data_dir("leaderboards") / "papers"
EVERY = [t["id"] for t in (*list_tables(), *list_tables(kind="figure"))]


def test_the_cells_are_every_printed_number_of_every_table_one_by_one() -> None:
    printed = Counter(
        (
            path.stem,
            row["row_label"],
            row["method"],
            row["variant"],
            row["metric"],
            row["condition_json"],
            row["value"],
        )
        for path in PAPERS.glob("*_table*.csv")
        for row in csv.DictReader(path.open(encoding="utf-8", newline=""))
        if row["value"]
    )
    assert sum(printed.values()) == 784
    ours: Counter[tuple[str, ...]] = Counter()
    for entry in list_tables():
        table = get_table(entry["id"])
        cells = table_cells(table)
        assert table.source is not None
        assert len(cells) == entry["cells"]
        rows = [
            r
            for r in csv.DictReader((PAPERS / table.source).open(encoding="utf-8", newline=""))
            if r["value"]
        ]
        for cell, row in zip(cells, rows, strict=True):
            key = (cell.row, cell.method, cell.variant, cell.metric, row["condition_json"], cell.text)
            ours[(Path(table.source).stem, *key)] += 1
            assert cell.dataset == row["dataset"].replace("mpi_inf_3dhp", "mpi-inf-3dhp")
            assert cell.paper == float(row["value"])
    assert ours == printed


def test_there_are_the_tables_of_five_papers_and_every_file_of_numbers_has_one() -> None:
    tables = list_tables()
    counts = Counter(entry["paper"] for entry in tables)
    assert counts == {"vibe": 3, "spsnet": 5, "catfa": 10, "dtsvibe": 3, "mpsnet": 4}
    sources = {get_table(table_id).source for table_id in EVERY}
    assert sources == {path.name for path in PAPERS.glob("*.csv")} - {"methods.csv"}
    assert tables[9]["id"] == "catfa:table10"


@pytest.mark.parametrize("table_id", EVERY)
def test_every_cell_of_a_table_says_what_fills_it_or_why_nothing_can(table_id: str) -> None:
    table = get_table(table_id)
    for cell in table_cells(table):
        fill_of(table, cell)


@pytest.mark.parametrize("table_id", EVERY)
def test_every_claim_compares_something(table_id: str) -> None:
    table = get_table(table_id)
    cells = table_cells(table)
    ids = [claim.id for claim in table.claims]
    assert len(ids) == len(set(ids))
    for claim in table.claims:
        methods = {control.method for control in table.controls}
        assert select(cells, claim.better), claim.id
        assert select(cells, claim.worse) or claim.worse.get("method") in methods, claim.id


@pytest.mark.parametrize("table_id", EVERY)
def test_sources_that_a_table_names_itself_are_read_as_their_recipe_reads_them(table_id: str) -> None:
    for fill in get_table(table_id).fill:
        if fill.train is None or "sources" not in fill.set:
            continue
        recipe = get_training_recipe(fill.train)
        own = {source.dataset: source for source in recipe.sources}
        for source in map(Source.model_validate, fill.set["sources"]):
            usual = own.get(source.dataset)
            assert usual in (None, source.model_copy(update={"smpl": usual.smpl if usual else True})), (
                fill.train
            )


def test_an_unknown_table_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'catfa:table5'"):
        get_table("catfa:tabl5")


def test_a_table_of_a_users_folder_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    text = 'id = "mine:t"\npaper = "mine"\nnumber = "1"\ntitle = "t"\nsource = "vibe_table3.csv"\nprotocol = "vibe"\n'
    (folder / "mine_t.toml").write_text(text, encoding="utf-8")
    assert get_table("mine:t", tmp_path).title == "t"
    (folder / "mine_t.toml").write_text("id = ", encoding="utf-8")
    with pytest.raises(BrokenFile, match=r"mine_t\.toml"):
        get_table("mine:t", tmp_path)


def test_a_fill_with_two_sources_is_refused_with_the_place() -> None:
    document = {
        "id": "x:y", "paper": "x", "number": "1", "title": "t", "source": "vibe_table3.csv", "protocol": "vibe",
        "fill": [{"train": "vibe", "why_not": "no"}],
    }  # fmt: skip
    with pytest.raises(UsageError, match=r"here.toml: fill\.0.*one of train, system"):
        parse_table(document, {}, "here.toml")
    document["fill"] = [{"match": {"layers": 2}, "train": "vibe"}]
    table = parse_table(document, {}, "here.toml")
    with pytest.raises(UsageError, match="nothing says what fills 'DM - concat'"):
        fill_of(table, table_cells(table)[0])


def test_listing_and_reproducing_are_public() -> None:
    assert hb.list_tables() == list_tables()
    assert hb.reproduce is reproduce
