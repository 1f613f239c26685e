"""What each corruption is, read from its file without importing it, so that listing them stays quick."""

import ast
import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent
_MEANING = re.compile(r"^# Severity 1\.\.5: (?P<text>.*)$", re.MULTILINE)
_BLOCK, _BASE = "_block.py", "_corruption.py"


def describe_corruptions() -> list[dict[str, Any]]:
    """Name, version, kind, the five severities and what they count, and what is done, of every corruption; sorted by name.

    Of a corruption that another package installs only the name is known without importing it: the rest is None.
    """
    found = [_describe(path) for path in sorted(_FOLDER.glob("[!_]*.py"))]
    known = {row["corruption"] for row in found}
    for entry in entry_points(group="hpsbench.corruptions"):
        if entry.name not in known:
            others = dict.fromkeys(("version", "changes", "graded", "severities", "counts"))
            found.append({"corruption": entry.name, **others, "does": f"of another package: {entry.value}"})
    return sorted(found, key=lambda row: str(row["corruption"]))


def _describe(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    call = _call_of(tree, "CORRUPTION")
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    table = text
    if _name(call.func) == "block_corruption":
        table = (_FOLDER / _BLOCK).read_text(encoding="utf-8")
        inner = _returned(ast.parse(table), "block_corruption")
        given = {**{keyword.arg: keyword.value for keyword in inner.keywords}, **given}
    levels = given["levels"]
    if not isinstance(levels, ast.Call):
        raise LookupError(f"{path}: levels")
    (starred,) = levels.args
    values = _constant(ast.parse(table), _name(getattr(starred, "value", starred)))
    version = given.get("version")
    meaning = _MEANING.search(table)
    return {
        "corruption": path.stem.replace("_", "-"),
        "version": _constant(ast.parse((_FOLDER / _BASE).read_text(encoding="utf-8")), "VERSION")
        if version is None
        else ast.literal_eval(version),
        "changes": ast.literal_eval(given["kind"]),
        "graded": _name(levels.func) == "strengths",
        "severities": [list(v) if isinstance(v, tuple) else v for v in values],
        "counts": meaning["text"].rstrip(".") if meaning else None,
        "does": (ast.get_docstring(tree) or "").splitlines()[0],
    }


def _call_of(tree: ast.Module, name: str) -> ast.Call:
    """The call whose value a module gives to a name."""
    for node in tree.body:
        if (
            isinstance(node, ast.Assign)
            and _name(node.targets[0]) == name
            and isinstance(node.value, ast.Call)
        ):
            return node.value
    raise LookupError(name)


def _returned(tree: ast.Module, function: str) -> ast.Call:
    """The call whose value a function returns."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            last = node.body[-1]
            if isinstance(last, ast.Return) and isinstance(last.value, ast.Call):
                return last.value
    raise LookupError(function)


def _constant(tree: ast.Module, name: str) -> Any:
    """A literal that a module gives to a name."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        value = getattr(node, "value", None)
        if value is not None and any(_name(target) == name for target in targets):
            return ast.literal_eval(value)
    raise LookupError(name)


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else ""
