"""What `hpsbench ls systems` tells of each system, at the widths of common terminals."""

import json
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from hpsbench.cli import app, ls
from hpsbench.models import _catalog
from hpsbench.models._catalog import list_systems, read_card


def lines_of(monkeypatch: pytest.MonkeyPatch, width: int) -> list[str]:
    console = Console(width=width, soft_wrap=True, record=True, force_terminal=False)
    monkeypatch.setattr(ls, "out", lambda: console)
    done = CliRunner().invoke(app, ["ls", "systems"])
    assert done.exit_code == 0, done.output
    return console.export_text().splitlines()


def plain(text: str) -> str:
    """Without line breaks and dashes."""
    return " ".join(text.split()).replace(" - ", " ")


@pytest.mark.parametrize("width", [80, 120])
def test_each_system_has_a_block_that_fits(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    lines = lines_of(monkeypatch, width)
    assert max(map(len, lines)) <= width
    starts = [line.split()[0] for line in lines if line and not line.startswith(" ")]
    assert starts == list_systems()
    text = " ".join(" ".join(lines).split())
    for name in list_systems():
        card = read_card(name)
        for field in ("paper", "predicts", "fixed", "reading"):
            said = card[field] if isinstance(card[field], list) else [card[field]]
            for line in said:
                assert plain(line) in plain(text), (name, field)
        assert f"({card['parameters']:,})" in text
    assert "2048 CNN features a frame, 2048 optical-flow features a frame; windows of 16 frames" in text
    assert "predictions of spin; whole tracks" in text
    assert "one frame at a time" in text


def test_the_same_as_json() -> None:
    rows = json.loads(CliRunner().invoke(app, ["ls", "systems", "--json"]).stdout)["systems"]
    assert [row["system"] for row in rows] == list_systems()
    keys = {"system", "title", "paper", "inputs", "predicts", "parameters", "fixed", "reading"}
    for row in rows:
        assert set(row) == keys
        assert isinstance(row["fixed"], list)
        assert isinstance(row["reading"], list)
        assert row["reading"]


def test_a_package_without_a_readable_card_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    gone: Any = EntryPoint(name="gone", value="no_such_module", group="hpsbench.systems")
    monkeypatch.setattr(_catalog, "_installed", lambda: {"gone": gone})
    rows = json.loads(CliRunner().invoke(app, ["ls", "systems", "--json"]).stdout)["systems"]
    told = {row["system"]: row["title"] for row in rows}
    assert "not installed" in told["gone"]
    assert told["vibe"] == "VIBE"


def test_derived_training_recipes_name_the_system_that_they_train() -> None:
    rows = json.loads(CliRunner().invoke(app, ["ls", "training", "--json"]).stdout)["training"]
    systems = {row["recipe"]: row["system"] for row in rows}
    assert systems["catfa-past-3"] == "catfa"
    assert systems["dtsvibe-length-8"] == "dtsvibe"
