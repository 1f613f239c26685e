from pathlib import Path

import pytest

from hpsbench.corruption._catalog import get_corruption, list_corruptions
from hpsbench.errors import UnknownName


def test_both_spellings_of_centre_are_one_corruption() -> None:
    assert get_corruption("centre") is get_corruption("center")
    assert get_corruption("box_jitter") is get_corruption("box-jitter")


def test_an_unknown_corruption_gets_a_suggestion() -> None:
    assert {"center", "random"} <= set(list_corruptions())
    with pytest.raises(UnknownName, match="Did you mean 'random'"):
        get_corruption("randon")


@pytest.mark.parametrize("name", list_corruptions())
def test_the_page_on_corruptions_tells_each_with_its_numbers(name: str) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "corruption.md"
    line = next(
        row for row in page.read_text(encoding="utf-8").splitlines() if row.startswith(f"| `{name}` |")
    )
    corruption = get_corruption(name)
    assert f"| {corruption.kind} |" in line
    if "as `" in line:
        return
    for level in corruption.levels:
        last = level.strength[-1] if level.strength else level.consecutive
        thousandth = name == "low-light"
        assert f"{last / 1000 if thousandth else last:g}" in line
