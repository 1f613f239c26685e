import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from hpsbench.errors import BrokenFile, UnknownName
from hpsbench.models import _catalog
from hpsbench.models._catalog import get_system, list_systems, read_card


def test_the_folder_is_the_list() -> None:
    assert {"spin", "vibe", "tcmr", "mean_pose"} <= set(list_systems())
    assert not [name for name in list_systems() if name.startswith("_")]
    assert get_system("vibe").name == "vibe"


def test_unknown_systems_suggest_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'tcmr'"):
        get_system("tcmrr")


def test_listing_and_cards_import_no_torch() -> None:
    code = (
        "import sys\nfrom hpsbench.models._catalog import list_systems, read_card\n"
        "cards = [read_card(name) for name in list_systems()]\nassert len(cards) >= 4\n"
        "assert not {'torch', 'zarr', 'pandas', 'pyarrow'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """An installed package that registers a system."""

    def install(card: str) -> None:
        (tmp_path / "toy_outside.py").write_text(
            f"CARD = {card}\nclass Toy:\n    name = 'toy'\nSYSTEM = Toy\n", encoding="utf-8"
        )
        entry = EntryPoint(name="toy", value="toy_outside", group="hpsbench.systems")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(_catalog, "_installed", lambda: {"toy": entry})

    return install


def test_entry_points_are_systems_too(outside) -> None:
    outside("{'paper': 'a toy'}")
    assert "toy" in list_systems()
    assert read_card("toy") == {"paper": "a toy"}
    assert "toy_outside" not in sys.modules
    assert get_system("toy").name == "toy"
    del sys.modules["toy_outside"]


def test_a_card_must_be_literal(outside) -> None:
    outside("dict(paper='a toy')")
    with pytest.raises(BrokenFile, match="CARD must be a literal dictionary"):
        read_card("toy")
