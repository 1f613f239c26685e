from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hpsbench.leaderboards.board import list_boards, read_board
from hpsbench.tables.fill import Filled
from hpsbench.tables.publish import publish
from hpsbench.tables.render import FORMS
from hpsbench.tables.run import Reproduced


def test_a_table_and_its_results_go_to_the_boards_once(
    make_reproduced: Callable[..., Reproduced], tmp_path: Path
) -> None:
    found = make_reproduced("spsnet:table4")
    number = {id(f): i for i, f in enumerate(found.cells)}

    def settled(filled: Filled) -> Filled:
        made = {"step": f"evaluate-{number[id(filled)] // 3}", "trained": "spsnet", "trained_on": ["h36m"]}
        results = (replace(filled.results[0], system="spsnet", windowing="system", provenance=made),)
        return replace(filled, results=results, undertrained=number[id(filled)] >= 3)

    command = "hpsbench reproduce spsnet:table4 --root /data/mine --boards leaderboards"
    found = replace(found, cells=tuple(map(settled, found.cells)), command=command)
    paths = publish(found, tmp_path, FORMS)
    assert tmp_path / "synthetic" / "tables" / "spsnet_table4" / "table.html" in paths
    assert list_boards(tmp_path) == ["synthetic/3dpw/vibe@1"]
    entries = read_board(tmp_path, "synthetic/3dpw/vibe@1").entries
    assert len(entries) == 1  # three cells of one result; the other three are undertrained
    assert entries[0][1].name == "spsnet"
    assert entries[0][1].command == "hpsbench reproduce spsnet:table4 --root R --boards leaderboards"
    page = (tmp_path / "synthetic" / "tables" / "spsnet_table4" / "table.md").read_text(encoding="utf-8")
    assert "--root R" in page
    assert "/data/mine" not in page
    assert entries[0][1].trained_with_3dpw is False


def test_a_control_is_named_as_in_the_table(
    make_reproduced: Callable[..., Reproduced], tmp_path: Path
) -> None:
    found = make_reproduced("catfa:table5", value=lambda cell: 100.0)
    control = next(f for f in found.controls if f.cell.method == "spin-median" and f.results)
    result = replace(
        control.results[0],
        system="spin+median5",
        windowing="system",
        provenance={"step": "one", "trained": "spin-head"},
    )
    publish(replace(found, cells=(), controls=(replace(control, results=(result,)),)), tmp_path, FORMS)
    entries = read_board(tmp_path, "synthetic/3dpw/vibe@1").entries
    assert [entry.name for _, entry in entries] == ["SPIN, median of 5 frames"]
