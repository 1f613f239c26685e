"""Who may import whom, how big a file may be, which names are public: enforced on the source itself."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hpsbench

PACKAGE = Path(hpsbench.__file__).parent

# A room may import only from rooms on lower lines; rooms on one line do not import each other.
LAYERS = [
    {"cli"},
    {"demo"},
    {"reports"},
    {"tables"},
    {"ablations", "leaderboards"},
    {"training"},
    {"evaluation", "pipeline"},
    {"models", "protocols", "synth"},
    {"features", "recipes"},
    {"predictions", "results"},
    {"store", "losses", "metrics", "corruption"},
    {"bodies"},
    {"geometry"},
    {"safe_io"},
    {"types", "errors", "data_dir", "workers"},
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
HEAVY = {"torch", "zarr", "pandas", "pyarrow"}
FORBIDDEN_FILE_NAMES = {"utils.py", "helpers.py", "common.py"}


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if "_data" not in p.parts)


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def docstring_lines(node: ast.FunctionDef) -> int:
    """A contract may be long; the code under it may not."""
    first = node.body[0]
    is_text = (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )
    return (first.end_lineno or first.lineno) - first.lineno + 1 if is_text else 0


def imported_rooms(path: Path) -> set[str]:
    """Rooms of hpsbench that a module imports, anywhere in its code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the whole name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found |= {n.split(".")[1] for n in names if n.startswith("hpsbench.") and len(n.split(".")) > 1}
    return found - {"__version__"}


def test_rooms_import_only_from_below() -> None:
    for path in modules():
        room = room_of(path)
        if room in {"__init__", "__main__"}:
            continue
        for other in (imported_rooms(path) - {room}) & set(LEVEL):
            assert LEVEL[other] > LEVEL[room], f"{path}: {room} imports {other}, which is not below it"


def test_writers_of_raw_data_share_no_code_with_its_readers() -> None:
    """Else a slip in a format or in the geometry would be made twice, and cancel out in every test."""
    for path in modules():
        if room_of(path) == "synth":
            assert imported_rooms(path) <= {"synth", "types", "errors", "workers"}, path


def test_every_room_has_a_line_in_the_table() -> None:
    rooms = {room_of(p) for p in modules()} - {"__init__", "__main__"}
    assert rooms <= set(LEVEL), f"rooms without a line: {rooms - set(LEVEL)}"


def test_files_stay_readable() -> None:
    for path in modules():
        assert path.name not in FORBIDDEN_FILE_NAMES, f"{path}: name the room"
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 500, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1 - docstring_lines(node)
                assert length <= 80, f"{path}: {node.name} has {length} lines of code"


def test_typer_and_rich_are_used_in_the_cli_only() -> None:
    for path in modules():
        if room_of(path) == "cli":
            continue
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            assert not {n.split(".")[0] for n in names} & {"typer", "rich"}, f"{path} uses the console"


def test_public_names_resolve_and_are_no_submodules() -> None:
    for name in hpsbench.__all__:
        assert getattr(hpsbench, name) is not None
        taken = (PACKAGE / name).exists() or (PACKAGE / f"{name}.py").exists()
        assert name in hpsbench._ROOMS or not taken, f"hpsbench.{name} shares its name with a submodule"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["ls", "datasets"], ["ls", "protocols"], ["ls", "systems"]]
)
def test_help_and_ls_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from hpsbench.cli import main\n"
        f"sys.argv = ['hpsbench', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        f"heavy = sorted(set(sys.modules) & {HEAVY!r})\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_path_of_a_machine_is_written_down() -> None:
    for path in modules():
        text = path.read_text(encoding="utf-8")
        assert "/home/" not in text, path
