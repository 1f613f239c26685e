"""Protocol files changed in one place, written to a folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hpsbench.data_dir import data_dir


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., Path]:
    """A copy of a shipped protocol with texts replaced, in `tmp_path/protocols/<name>.toml`."""

    def change(protocol: str, *replacements: tuple[str, str], name: str = "mine") -> Path:
        text = (data_dir("recipes") / "protocols" / f"{protocol}.toml").read_text(encoding="utf-8")
        for old, new in [(f'name = "{protocol}"', f'name = "{name}"'), *replacements]:
            assert old in text, f"{protocol}.toml does not say {old!r}"
            text = text.replace(old, new)
        path = tmp_path / "protocols" / f"{name}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return change
