"""What the README tells a new user, done as it stands: a model of one's own, evaluated, and a report about it."""

import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hpsbench.cli import app
from hpsbench.pipeline.corrupt import corrupt

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("\n## Your own model")[2].partition("\n## ")[0]
FENCES = re.findall(r"```(\w*)\n(.*?)```", SECTION, re.DOTALL)


@pytest.fixture
def here(tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with `demo/` as `make demo` leaves it, but tiny and without its runs."""
    root = tmp_path / "demo"
    shutil.copytree(tiny_world / "stores", root / "stores")
    for name in ("raw", "body_models"):
        (root / name).symlink_to(tiny_world / name)
    corrupt(root / "stores" / "3dpw.zarr", root, ratio=0.33, mode="center", view="tcmr", workers=1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("HPSBENCH_ROOT", "demo")
    return tmp_path


def test_a_new_user_gets_from_the_readme_to_a_report(here: Path) -> None:
    (program,) = [text for language, text in FENCES if language == "python"]
    (commands,) = [text for language, text in FENCES if language == ""]
    Path("my_model.py").write_text(program.replace("range(20)", "range(2)"), encoding="utf-8")
    runpy.run_path("my_model.py", run_name="__main__")
    lines = [shlex.split(line) for line in commands.splitlines() if line.startswith("hpsbench ")]
    assert [line[1] for line in lines] == ["evaluate", "evaluate", "report"]
    try:
        for line in lines:
            arguments = [word for word in line[1:] if "=demo/" not in word]  # a run that only the demo makes
            done = CliRunner().invoke(app, arguments)
            assert done.exit_code == 0, done.exception or done.output
    finally:
        sys.modules.pop("my_model", None)
    page = Path("mine.html").read_text(encoding="utf-8")
    for what in ("my_model", "Error over time", "3D viewer", "corrupted frames", "@inproceedings"):
        assert what in page


def test_its_section_is_read_in_two_minutes() -> None:
    assert len(SECTION.split()) < 450
    assert "(#your-own-model-from-here-to-a-report)" in README
