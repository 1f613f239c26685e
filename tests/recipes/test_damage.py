"""The lines about damaged files: every kind is answered for, and texts are compared whole."""

from pathlib import Path

import pytest

from hpsbench.errors import BrokenFile, UsageError
from hpsbench.recipes.damage import KINDS, Damage, read_damages


def write(folder: Path, text: str) -> Path:
    (folder / "damaged").mkdir()
    (folder / "damaged" / "mine.toml").write_text(text)
    return folder


def lines(kinds: tuple[str, ...]) -> str:
    return "".join(f'[[damage]]\nkind = "{kind}"\nhow = "so"\nsays = "RAW/a: no"\n' for kind in kinds)


def test_every_kind_needs_a_line_or_a_reason(tmp_path: Path) -> None:
    plain = tuple(kind.removesuffix(" or video") for kind in KINDS)
    folder = write(tmp_path, lines(plain[:-1]) + '[cannot]\n"wrong unit" = "there are no lengths"\n')
    found = read_damages("mine", folder)
    assert found is not None
    assert [line.of for line in found.damage] == list(KINDS[:-1])
    (tmp_path / "damaged" / "mine.toml").write_text(lines(plain[:-1]))
    with pytest.raises(UsageError, match=r"(?s)mine.toml.*kinds without a line: \['wrong unit'\]"):
        read_damages("mine", folder)
    (tmp_path / "damaged" / "mine.toml").write_text(lines((*plain, "NaN")))
    with pytest.raises(UsageError, match="two lines have one kind"):
        read_damages("mine", folder)
    (tmp_path / "damaged" / "mine.toml").write_text("[[damage]")
    with pytest.raises(BrokenFile, match="not a TOML file"):
        read_damages("mine", folder)
    assert read_damages("theirs", folder) is None


def test_a_message_is_compared_whole() -> None:
    line = Damage(kind="NaN", how="", says="RAW/a.npz: broken (…); fetch it")
    raw = Path("/data/raw/mine")
    assert line.matches("/data/raw/mine/a.npz: broken (EOF\n at 3); fetch it", raw)
    assert not line.matches("/data/raw/mine/a.npz: broken (EOF); fetch it again", raw)
    assert not line.matches("a.npz: broken (EOF); fetch it", raw)
