from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hpsbench.protocols.catalog import get_protocol
from hpsbench.results.measured import Measured
from hpsbench.results.result import Result

SHA = "ab" * 32


@pytest.fixture
def make_result() -> Callable[..., Result]:
    """A whole result of 3DPW under `tcmr`, with as many frames in each of three sequences."""

    def make(system: str = "vibe", pa_mpjpe: float = 50.0, **changes: Any) -> Result:
        names = ["s0", "s1", "s2"]
        numbers = np.array([10, 20, 30])
        values = {"mpjpe": pa_mpjpe + 30 + np.arange(3.0), "pa_mpjpe": pa_mpjpe + np.arange(3.0)}
        sequences = pd.DataFrame({"sequence": names, "tracks": 1, "frames": numbers})
        summary = {}
        for key, means in values.items():
            sequences[key], sequences[f"{key}_n"] = means, numbers
            mean = float((means * numbers).sum() / numbers.sum())
            summary[key] = Measured(mean, unit="mm", n=60, interval=(mean - 2, mean + 2))
        protocol = get_protocol("tcmr")
        facts: dict[str, Any] = {
            "protocol": protocol.id,
            "protocol_sha256": protocol.sha256,
            "dataset": "3dpw",
            "summary": summary,
            "frames": pd.DataFrame({"track": ["s0"], "sequence": ["s0"], "frame_id": [0]}),
            "sequences": sequences,
            "accounting": {
                "in": 60, "masked": 0, "masked_by_reason": {}, "too_short": 0, "tail": 0, "scored": 60,
                "tracks": {"in": 3, "used": 3, "skipped": {}},
            },
            "system": system,
            "windowing": "protocol",
            "synthetic": True,
            "seeds": (0,),
            "provenance": {
                "view": "tcmr", "features": "embedded-tcmr", "checkpoint_sha256": SHA, "extractor_sha256": SHA,
                "body_sha256": {"SMPL_NEUTRAL": SHA}, "regressor_sha256": {}, "hpsbench": "0.1.0", "store": {},
            },
        }  # fmt: skip
        return Result(**{**facts, **changes})

    return make


@pytest.fixture
def save(tmp_path: Path, make_result: Callable[..., Result]) -> Callable[..., Path]:
    """Save a result; gives its folder."""

    def make(*arguments: Any, **changes: Any) -> Path:
        number = len(list((tmp_path / "runs").glob("*"))) if (tmp_path / "runs").exists() else 0
        return make_result(*arguments, **changes).save(tmp_path / "runs" / str(number))

    return make


@pytest.fixture(scope="session")
def world_run(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(run, data root): the mean pose on the tiny world, with its predictions kept."""
    from hpsbench.evaluation.run import evaluate
    from hpsbench.models.mean_pose import MeanPose
    from hpsbench.store.reader import open_store

    root = tmp_path_factory.mktemp("world-run")
    for name in ("stores", "raw", "body_models"):
        (root / name).symlink_to(tiny_world / name)
    run = root / "runs" / "mean"
    evaluate(MeanPose(), "tcmr", open_store(root / "stores" / "3dpw.zarr"), root=root, save=run)
    return run, root
