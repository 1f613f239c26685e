"""Objects inside large JSON files."""

import json
from pathlib import Path
from typing import Any

import pytest

from hpsbench.errors import BrokenFile, MissingData
from hpsbench.recipes.readers import _json_sections
from hpsbench.recipes.readers._json_sections import find_sections, read_section

CONTENT = {
    "2": {"1": {"0": [[1.5]]}, "2": {"0": {"pose": [1]}, "1": {"pose": []}}},
    "10": {"1": {}},
    "3": [1, 2],
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "a.json").write_text(json.dumps(CONTENT, indent=1))
    return tmp_path / "a.json"


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_objects_are_found_by_their_keys(block: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_json_sections, "_BLOCK", block)
    _json_sections._scan.cache_clear()
    assert list(find_sections(path, 2)) == [("2", "1"), ("2", "2"), ("10", "1")]
    assert list(find_sections(path, 1)) == [("2",), ("10",)]
    assert read_section(path, ("2", "2")) == CONTENT["2"]["2"]  # type: ignore[call-overload,index]
    assert read_section(path, ("10", "1")) == {}
    assert read_section(path, ("2", "9")) == {}
    assert read_section(path, ()) == CONTENT


def test_a_file_that_changed_is_scanned_again(path: Path) -> None:
    assert ("2", "1") in find_sections(path, 2)
    path.write_text(json.dumps({"7": {"7": {"a": 1}}}))
    assert read_section(path, ("7", "7")) == {"a": 1}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text[:-3], "not a JSON object, or cut off"),
        (lambda text: "[" + text, "an object without a key|not a JSON object"),
        (lambda text: text.replace('"2": {', "{", 1), "an object without a key at byte"),
        (
            lambda text: text.replace('"10"', '"2"').replace('"2": {\n  "1": {}', '"2": {\n  "2": {}'),
            "2/2 occurs twice",
        ),
    ],
)
def test_a_damaged_file_is_broken(edit: Any, message: str, path: Path) -> None:
    path.write_text(edit(path.read_text()))
    with pytest.raises(BrokenFile, match=message):
        find_sections(path, 2)


def test_damage_inside_an_object_is_found_when_it_is_read(path: Path) -> None:
    path.write_text(path.read_text().replace("1.5", "1.5.5"))
    with pytest.raises(BrokenFile, match="2/1 is not readable as JSON"):
        read_section(path, ("2", "1"))


def test_a_missing_or_empty_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(MissingData):
        find_sections(tmp_path / "none.json", 1)
    (tmp_path / "empty.json").touch()
    with pytest.raises(BrokenFile, match="empty"):
        find_sections(tmp_path / "empty.json", 1)
