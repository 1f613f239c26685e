"""Results as `hpsbench evaluate` writes them, made of random numbers; and runs on the tiny synthetic world."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hpsbench.results.measured import Measured
from hpsbench.results.result import Result

JOINTS = ("Right Ankle", "Right Knee", "Right Hip", "Left Hip", "Left Knee", "Left Ankle", "Right Wrist")
MakeRun = Callable[..., Path]


def random_frames(
    rng: np.random.Generator, tracks: tuple[str, ...], frames: int, level: float
) -> pd.DataFrame:
    tables = []
    for track in tracks:
        values = {
            "mpjpe": level * 1.4 + rng.normal(0, 9, frames),
            "pa_mpjpe": level + rng.normal(0, 6, frames),
        }
        joints = {f"pa_mpjpe.{j}": (level + 3 * i + rng.normal(0, 2, frames)) for i, j in enumerate(JOINTS)}
        tables.append(
            pd.DataFrame(
                {
                    "track": track,
                    "sequence": track,
                    "frame_id": np.arange(5, 5 + frames),
                    "scored": True,
                    **values,
                    "corrupted_distance": rng.integers(0, 4, frames).astype(np.float32),
                    **joints,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Writes a result into a folder; what is given replaces the usual."""

    def make(
        name: str = "run", *, level: float = 60.0, seed: int = 0, frames: int = 40, **changes: Any
    ) -> Path:
        rng = np.random.default_rng(seed)
        tracks = changes.pop("tracks", ("walk_0", "walk_1", "jump_0"))
        table = random_frames(rng, tracks, frames, level)
        metrics = ["mpjpe", "pa_mpjpe"]
        means = table.groupby("sequence", sort=True)[metrics].mean().reset_index()
        means.insert(1, "frames", frames)
        summary = {
            m: Measured(
                float(table[m].mean()),
                unit="mm",
                n=len(table),
                interval=(float(table[m].mean()) - 4, float(table[m].mean()) + 5),
                sequences=len(tracks),
            )
            for m in metrics
        }
        facts: dict[str, Any] = {
            "protocol": "tcmr@1",
            "protocol_sha256": "0" * 64,
            "dataset": "3dpw",
            "system": "vibe",
            "synthetic": True,
            "provenance": {
                "checkpoint_sha256": "ab" * 32,
                "hpsbench": "0.1.0",
                "command": "hpsbench evaluate",
            },
            "accounting": {
                "in": len(table) + 3,
                "masked": 3,
                "masked_by_reason": {"not valid": 3},
                "too_short": 0,
                "tail": 0,
                "scored": len(table),
                "tracks": {"in": len(tracks), "used": len(tracks), "skipped": {}},
            },
        }
        result = Result(summary=summary, frames=table, sequences=means, **{**facts, **changes})
        return result.save(tmp_path / "runs" / name)

    return make


@pytest.fixture(scope="session")
def world_run(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(run, data root): the embedded frame-based system on the tiny world, with predictions and a scene to show."""
    from hpsbench.evaluation.run import evaluate
    from hpsbench.models._catalog import load_system
    from hpsbench.store.reader import open_store

    run = tmp_path_factory.mktemp("world-run") / "mean"
    store = open_store(tiny_world / "stores" / "3dpw.zarr")
    system = load_system("embedded-spin", root=tiny_world)
    evaluate(system, "tcmr", store, root=tiny_world, save=run)
    return run, tiny_world
