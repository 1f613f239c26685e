import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Finished(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def run_cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Finished]:
    """Run `hpsbench <arguments>` in this process, as the installed script does."""
    from hpsbench.cli import main

    def run(*arguments: object) -> Finished:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["hpsbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capfd.readouterr()
        return Finished(int(stop.value.code or 0), out, err)

    return run


@pytest.fixture
def world(tiny_world: Path, tmp_path: Path) -> Path:
    """A copy of the tiny world that a test may change; the raw images are shared, not copied."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "raw").symlink_to(tiny_world / "raw")
    for name in ("stores", "body_models"):
        shutil.copytree(tiny_world / name, root / name)
    return root
