"""Tables with made-up results: every evaluation gives per-frame errors that are known."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hpsbench.results.measured import Measured
from hpsbench.results.result import Result
from hpsbench.tables.catalog import get_table
from hpsbench.tables.cells import RESULT_NAMES, Cell, control_cells, table_cells
from hpsbench.tables.claims import judge
from hpsbench.tables.fill import Filled, fill_from_results
from hpsbench.tables.run import Reproduced
from hpsbench.tables.trained import Trained, trained_of

SEQUENCES, FRAMES = 10, 30


@pytest.fixture
def make_result() -> Callable[..., Result]:
    """A result of ten sequences whose metrics lie near the given means; the same frames each time."""

    def make(means: Mapping[str, float], *, seed: int = 0, sequences: int = SEQUENCES) -> Result:
        rng = np.random.default_rng(seed)
        name = [f"s{i:02d}" for i in range(sequences) for _ in range(FRAMES)]
        frames = pd.DataFrame({"track": name, "sequence": name, "frame_id": list(range(FRAMES)) * sequences})
        frames["scored"] = True
        level = np.repeat(rng.normal(0, 1.0, sequences), FRAMES)
        for metric, mean in means.items():
            frames[metric] = mean + level + rng.normal(0, 0.1, len(frames))
        summary = {
            metric: Measured(
                float(frames[metric].mean()), unit="mm", n=len(frames), interval=(mean - 1, mean + 1)
            )
            for metric, mean in means.items()
        }
        return Result(
            protocol="vibe@1",
            protocol_sha256="0" * 64,
            dataset="3dpw",
            summary=summary,
            frames=frames,
            sequences=pd.DataFrame(),
            accounting={"scored": len(frames)},
            synthetic=True,
            seeds=(seed,),
        )

    return make


@pytest.fixture
def make_trained() -> Callable[..., Trained]:
    """A training as its step's record tells of it: whole and settled unless said otherwise."""

    def make(
        *,
        recipe: str = "vibe",
        seed: int = 0,
        steps: int = 96,
        shorter: tuple[str, ...] = (),
        curve: tuple[float, ...] = (60.0, 55.0, 52.0, 50.0, 49.9),
        without_data: tuple[str, ...] = (),
        sources: tuple[str, ...] = (),
        left_out: tuple[str, ...] = (),
        features: str = "embedded-vibe",
    ) -> Trained:
        return trained_of(
            {
                "id": f"train-{recipe}-{features}-{seed}",
                "key": {
                    "recipe": {"name": recipe, "validation": {"metric": "pa_mpjpe"}},
                    "seed": seed,
                    "sources": [{"dataset": dataset} for dataset in sources],
                    "features": features,
                },
                "left_out": list(left_out),
                "steps": steps,
                "declared": 96,
                "shorter": list(shorter),
                "validation": list(curve),
                "without_data": list(without_data),
            }
        )

    return make


@pytest.fixture
def make_reproduced(make_result: Callable[..., Result]) -> Callable[..., Reproduced]:
    """A whole table whose cells of 3DPW hold `value(cell)` (the printed number by default); others say why not."""

    def make(
        table_id: str,
        value: Callable[[Cell], float | None] = lambda cell: cell.paper,
        *,
        synthetic: bool = True,
        **facts: Any,
    ) -> Reproduced:
        table = get_table(table_id)
        printed = table_cells(table)
        cells = [*printed, *(cell for cell, _ in control_cells(table, printed))]

        def filled(cell: Cell) -> Filled:
            wanted = value(cell)
            if wanted is None or cell.metric not in RESULT_NAMES:
                return Filled(cell=cell, why_not="nothing here measures it")
            result = make_result({RESULT_NAMES[cell.metric]: wanted}, **facts)
            return fill_from_results(cell, [result])

        found = [filled(cell) for cell in cells]
        return Reproduced(
            table=table,
            synthetic=synthetic,
            cells=tuple(f for f in found if not f.cell.control),
            controls=tuple(f for f in found if f.cell.control),
            claims=tuple(judge(claim, found) for claim in table.claims),
            command=f"hpsbench reproduce {table_id}",
        )

    return make


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare a text with a stored one; `HPSBENCH_WRITE_EXPECTED=1` writes it."""
    import os

    def compare(name: str, text: str) -> None:
        path = Path(__file__).parent / "expected" / name
        if os.environ.get("HPSBENCH_WRITE_EXPECTED"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"{path} differs; see HPSBENCH_WRITE_EXPECTED"

    return compare
