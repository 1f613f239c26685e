"""What is printed for a person: names are never taken for colours."""

import pytest

from hpsbench.cli import console


def test_brackets_in_names_are_kept(capfd: pytest.CaptureFixture[str]) -> None:
    console.out.cache_clear()
    console.err.cache_clear()
    console.table("[bold]title[/] of a [run]", ("name [mm]",), [["a [red]b[/]"]])
    console.note(f"wrote {console.plain('R/[a].html')}")
    out, err = capfd.readouterr()
    for text in ("[bold]title[/] of a [run]", "name [mm]", "a [red]b[/]"):
        assert text in out
    assert "wrote R/[a].html" in err
