from pathlib import Path

import pytest
from typer.testing import CliRunner

from hpsbench.cli import app
from hpsbench.data_dir import data_dir
from hpsbench.errors import BrokenFile, UnknownName
from hpsbench.leaderboards.citations import cite, entries_for, read_papers
from hpsbench.models._catalog import list_systems, read_card
from hpsbench.protocols.catalog import list_protocols
from hpsbench.recipes.catalog import list_recipes


def test_every_published_system_and_protocol_has_a_paper() -> None:
    papers = read_papers()
    systems = {name for paper in papers for name in paper.systems}
    protocols = {name for paper in papers for name in paper.protocols}
    published = {n for n in list_systems() if not str(read_card(n)["paper"]).startswith("none")}
    assert published <= systems
    own_of_datasets = {"3dpw-challenge"}
    assert {name.split("@")[0] for name in list_protocols()} - own_of_datasets == protocols
    assert systems - {"embedded-spin"} <= set(list_systems())


def test_every_dataset_system_and_protocol_can_be_cited_by_its_name() -> None:
    for name in [*list_recipes(), *list_systems(), "tcmr@1"]:
        assert cite([name])[-1].startswith("@software{hpsbench")
    text = "\n".join(cite(["3dpw", "vibe", "tcmr"]))
    for key in ("vonmarcard2018", "kocabas2020", "choi2021"):
        assert text.count(f"{{{key},") == 1
    with pytest.raises(UnknownName, match="Did you mean 'vibe'"):
        cite(["vieb"])


def test_each_entry_stands_once_and_settings_of_a_dataset_are_the_dataset() -> None:
    entries = entries_for(datasets=["h36m-p2", "h36m"], systems=["vibe", "vibe"], protocols=["vibe@1"])
    assert len(entries) == 3
    assert any("loper2015" in e for e in entries_for(real_bodies=True))
    assert entries_for(systems=["something-else"])[0].startswith("@software")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[paper", "not valid TOML"),
        ('[[paper]]\nsystems = ["x"]\n', "paper 1: 'bibtex' is no whole BibTeX entry"),
        ('[[paper]]\nbibtex = "@article{a, title={b}"\n', "no whole BibTeX entry"),
        ('[[paper]]\nbibtex = "@article{a, t={b}}"\n[[paper]]\nbibtex = "@article{a, t={c}}"\n', "paper 2: the key 'a'"),
    ],
)  # fmt: skip
def test_broken_files_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "citations.toml").write_text(text, encoding="utf-8")
    with pytest.raises(BrokenFile, match=said):
        read_papers(tmp_path)


def test_the_file_ships_beside_the_boards() -> None:
    assert (data_dir("leaderboards") / "papers" / "citations.toml").is_file()


def test_the_verb_prints_bibtex() -> None:
    done = CliRunner().invoke(app, ["cite", "mpsnet"])
    assert done.exit_code == 0
    assert done.stdout.startswith("@inproceedings{wei2022,")
    assert CliRunner().invoke(app, ["cite"]).stdout.startswith("@software{hpsbench")
