"""The page on MPS-Net's batch mixing says what its code prints."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "mpsnet-batch-mixing.md"


def test_the_page_shows_what_its_code_prints(capsys) -> None:
    shown = PAGE.read_text(encoding="utf-8").partition("<!-- run by")[2]
    code, printed = re.findall(r"```(?:python|text)\n(.*?)```", shown, flags=re.DOTALL)
    exec(compile(code, PAGE.name, "exec"), {})
    assert capsys.readouterr().out == printed
