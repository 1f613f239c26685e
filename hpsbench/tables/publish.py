"""Put a reproduced table, and the results behind it, among the leaderboards."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from hpsbench.leaderboards.entry import entry_of, without_paths
from hpsbench.results.result import Result
from hpsbench.tables.run import Reproduced, save


def publish(found: Reproduced, folder: Path, forms: Mapping[str, Callable[[Reproduced], str]]) -> list[Path]:
    """Write the table to `<folder>/[synthetic/]tables/<table>/`, and an entry of each result on its board.

    Results of undertrained systems are left out: a board takes what its recipe declares. So are partial ones.

    Returns: the files.
    """
    found = replace(found, command=without_paths(found.command) or "")
    kind = folder / "synthetic" if found.synthetic else folder
    paths = list(save(found, kind / "tables" / found.table.id.replace(":", "_"), forms))
    for result, name in _results(found):
        entry = entry_of(
            result, name=name, trained_with_3dpw=_trained_with_3dpw(result), command=found.command or None
        )
        path = folder / entry.board / entry.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(entry.text(), encoding="utf-8")
        paths.append(path)
    return paths


def _results(found: Reproduced) -> list[tuple[Result, str]]:
    """Every result of the table once, with a name for people: of what was trained, or of the control that it is."""
    chosen: dict[str, tuple[Result, str]] = {}
    for filled in (*found.cells, *found.controls):
        for result in () if filled.undertrained else filled.results:
            trained = filled.cell.row if filled.cell.control else result.provenance.get("trained")
            step = str(result.provenance.get("step"))
            if not result.partial:
                chosen.setdefault(step, (result, str(trained or result.system)))
    return list(chosen.values())


def _trained_with_3dpw(result: Result) -> bool | None:
    sources = result.provenance.get("trained_on")
    return None if sources is None else "3dpw" in sources
