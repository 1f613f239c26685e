"""Colours of a page in both modes: texts and controls can be told from what they stand on (WCAG 2, level AA)."""

import itertools
import re

import pytest

from hpsbench.reports.page import asset

STYLE = asset("report.css")
LIGHT, DARK = (
    dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", part))
    for part in re.findall(r":root \{(.*?)\n *\}", STYLE, re.DOTALL)[:2]
)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_formula_gives_what_the_standard_says() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("mode", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "paper"),
    [
        *itertools.product(("text", "soft", "accent", "truth", "pred"), ("bg", "card")),
        ("warn", "warn-bg"),
    ],
)
def test_texts_can_be_read(mode: dict[str, str], ink: str, paper: str) -> None:
    assert contrast(mode[ink], mode[paper]) >= 4.5


@pytest.mark.parametrize("mode", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("series", [f"c{i}" for i in range(8)])
def test_lines_can_be_seen(mode: dict[str, str], series: str) -> None:
    assert contrast(mode[series], mode["card"]) >= 3
