"""Systems of other packages, registered as an installed package registers them, under a protocol: nothing here is patched."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsbench.errors import BadData, UnsafeFile, UsageError
from hpsbench.evaluation.run import evaluate, predict
from hpsbench.features.frames import Frames
from hpsbench.models._catalog import get_system, list_systems, load_system, read_card
from hpsbench.models._system import System
from hpsbench.store.reader import ClipStore, open_store

PACKAGES = Path(__file__).parent / "outside"
ENTRY_POINTS = """[hpsbench.systems]
outside_images = outside_images:make
outside_lifting = outside_lifting
outside_track = outside_track
outside_joints = outside_joints
"""
NAMES = ("outside_images", "outside_joints", "outside_lifting", "outside_track")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The toy packages as `pip install` leaves them: modules on the path, and a folder of metadata."""
    about = tmp_path / "toys-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(PACKAGES)
    yield
    for name in NAMES:
        sys.modules.pop(name, None)


@pytest.fixture
def store(tiny_world: Path) -> ClipStore:
    return open_store(tiny_world / "stores" / "3dpw.zarr")


def test_the_toys_are_small() -> None:
    for name in NAMES:
        text = (PACKAGES / f"{name}.py").read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 30, name


def test_installed_packages_are_listed_without_importing_them(installed: None) -> None:
    assert set(NAMES) <= set(list_systems())
    for name in NAMES:
        assert read_card(name)["predicts"]
        assert name not in sys.modules


@pytest.mark.parametrize("name", NAMES)
def test_an_outside_system_is_evaluated_under_tcmr(
    installed: None, tiny_world: Path, store: ClipStore, name: str
) -> None:
    system = load_system(name, root=tiny_world)
    assert isinstance(system, System)
    result = evaluate(system, "tcmr", store)
    assert result.system == name
    assert result.synthetic
    assert result.accounting["scored"] > 0
    assert np.isfinite([float(value) for value in result.summary.values()]).all()
    assert {"mpjpe", "pa_mpjpe", "accel_err"} <= set(result.summary)
    joints_only = name in ("outside_joints", "outside_lifting")
    assert ("pve_raw" in result.absent) == joints_only
    assert "joints-only" in result.absent["pve_raw"] if joints_only else "pve_raw" in result.summary
    made = predict(system, store, "tcmr")
    assert made.attrs["system"] == name
    assert ("joints3d" in made.arrays) == joints_only


def test_crops_are_cut_as_the_system_asks(installed: None, tiny_world: Path, store: ClipStore) -> None:
    system: Any = load_system("outside_images", root=tiny_world)
    seen = []
    forward = system.forward
    system.forward = lambda images: seen.append(images) or forward(images)
    result = evaluate(system, "tcmr", store, limit=1)
    row = next(iter(store.tracks("test"))).rows
    row = row[store.views["tcmr"].keep[row] & np.asarray(store.frames["valid"][row], bool)][0]
    frames = Frames(store, tiny_world / "raw" / "3dpw", "tcmr")
    frames.crop_scale = 1.2
    mean = frames.crop(int(row), 64).reshape(-1, 3).mean(axis=0) / 255
    expected = (mean - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(seen[0][0, 0].mean(dim=(1, 2)), expected, atol=1e-4)
    assert seen[0].shape[1:] == (1, 3, 64, 64)
    assert result.provenance["inputs"]["images"]["crop_scale"] == 1.2


def test_a_whole_track_model_sees_each_track_once(
    installed: None, tiny_world: Path, store: ClipStore
) -> None:
    system: Any = load_system("outside_track", root=tiny_world)
    result = evaluate(system, "tcmr", store)
    assert result.windowing == "protocol"  # it has none of its own
    frames = seen_frames(store)
    assert sorted(system.lengths) == sorted(length for length in frames.values() if length >= 16)


def seen_frames(store: ClipStore) -> dict[str, int]:
    """Frames of each test track that the protocol lets a system see."""
    seen = store.views["tcmr"].keep & np.asarray(store.frames["valid"][:], bool)
    return {track.track: int(seen[track.rows].sum()) for track in store.tracks("test")}


def test_the_command_line_runs_one(installed: None, tiny_world: Path, tmp_path: Path, capsys: Any) -> None:
    from hpsbench.cli import app

    options = [
        "--root",
        str(tiny_world),
        "--model",
        "outside_lifting",
        "--out",
        str(tmp_path / "made"),
        "--json",
    ]
    with pytest.raises(SystemExit) as stop:
        app(["evaluate", *options])
    assert not stop.value.code
    assert '"system": "outside_lifting"' in capsys.readouterr().out
    assert (tmp_path / "made" / "results.json").is_file()


def test_a_factory_in_the_working_folder_needs_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_world: Path, store: ClipStore
) -> None:
    text = (PACKAGES / "outside_lifting.py").read_text().replace("outside_lifting", "my_lifting")
    (tmp_path / "my_lifting.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(UnsafeFile, match="pass --trust-code"):
        load_system("my_lifting:FlatLifting")
    system = load_system("my_lifting:FlatLifting", trust_code=True)
    assert evaluate(system, "tcmr", store, limit=1).system == "my_lifting"
    sys.modules.pop("my_lifting")


def test_a_package_that_is_broken_says_which(installed: None, tmp_path: Path) -> None:
    about = tmp_path / "toys-1.0.dist-info" / "entry_points.txt"
    about.write_text("[hpsbench.systems]\nbroken = outside_track:Nothing\ngone = no_such_module\n")
    with pytest.raises(UsageError, match=r"system 'broken'.*'outside_track:Nothing' cannot be loaded"):
        get_system("broken")
    with pytest.raises(UsageError, match="no_such_module"):
        get_system("gone")
    with pytest.raises(BadData, match="names module 'no_such_module', which is not installed"):
        read_card("gone")


def test_an_outside_network_is_profiled_by_what_it_reads(installed: None) -> None:
    from hpsbench.models._profile import profile_system

    found = profile_system(get_system("outside_images").__globals__["ColourToBody"](), repeats=1)
    assert found.parts[0].multiply_adds == 3 * 10
    assert found.image_network is None
