import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpsbench.errors import BrokenFile, UnknownName, UsageError
from hpsbench.protocols.catalog import get_protocol, list_protocols, load_protocol

TEN = [
    "3dpw-challenge",
    "hmmr",
    "meva",
    "mpsnet",
    "spin",
    "tcmr",
    "vibe",
    "vibe-strict",
    "wham-camera",
    "wham-world",
]
Change = Callable[..., Path]


def test_the_ten_protocols_are_listed() -> None:
    assert list_protocols() == TEN


def test_listing_needs_the_standard_library_only() -> None:
    code = (
        "import sys; from hpsbench.protocols.catalog import list_protocols; assert len(list_protocols()) == 10\n"
        "assert not {'numpy', 'pydantic', 'torch', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_loading_needs_no_torch_and_no_pandas() -> None:
    code = (
        "import sys; from hpsbench.protocols.catalog import get_protocol; get_protocol('tcmr')\n"
        "assert not {'torch', 'pandas', 'pyarrow', 'zarr'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_with_its_version_is_the_same_protocol() -> None:
    assert get_protocol("tcmr@1").sha256 == get_protocol("tcmr").sha256
    assert get_protocol("tcmr").id == "tcmr@1"


def test_unknown_names_and_versions_suggest() -> None:
    with pytest.raises(UnknownName, match=r"unknown protocol 'tmcr'. Did you mean 'tcmr'\?"):
        get_protocol("tmcr")
    with pytest.raises(UnknownName, match="tcmr@1"):
        get_protocol("tcmr@7")


def test_protocols_of_another_folder_are_found(changed: Change, tmp_path: Path) -> None:
    changed("tcmr")
    assert "mine" in list_protocols(tmp_path)
    assert get_protocol("mine", tmp_path).id == "mine@1"
    with pytest.raises(UnknownName):
        get_protocol("mine")


def test_an_older_version_stays_reachable(changed: Change, tmp_path: Path) -> None:
    changed("tcmr", ("version = 1", "version = 2"), name="mine")
    old = changed("tcmr", name="old")
    old.rename(old.with_name("mine@1.toml")).write_text(
        old.with_name("mine@1.toml").read_text().replace('name = "old"', 'name = "mine"')
    )
    assert list_protocols(tmp_path).count("mine") == 1
    assert get_protocol("mine", tmp_path).version == 2
    assert get_protocol("mine@1", tmp_path).version == 1


def test_a_shipped_name_cannot_be_taken(changed: Change, tmp_path: Path) -> None:
    changed("vibe", name="tcmr")
    with pytest.raises(UsageError, match="is there already"):
        list_protocols(tmp_path)


def test_a_file_is_called_after_its_protocol(changed: Change, tmp_path: Path) -> None:
    path = changed("tcmr")
    path.rename(path.with_name("other.toml"))
    with pytest.raises(UsageError, match="its name is 'mine'"):
        get_protocol("other", tmp_path)


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("name = ", encoding="utf-8")
    with pytest.raises(BrokenFile, match=r"broken\.toml: not valid TOML"):
        load_protocol(path)


def test_own_metrics_can_be_added_beside_own_protocols(changed: Change) -> None:
    path = changed("tcmr", ('"pa_mpjpe", "pve_raw"', '"pa_mpjpe", "pck80", "pve_raw"'))
    own = '[pck80]\nmetric = "pck"\nalign = "root"\nthreshold = 80\ncompare = "<"\nunit = "%"\n'
    (path.parent / "_metrics.toml").write_text(own, encoding="utf-8")
    assert "pck80" in [metric.name for metric in load_protocol(path).rule("3dpw").metrics]
