from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from hpsbench.results.measured import Measured
from hpsbench.results.result import Result

SEQUENCES, FRAMES = 8, 10


@pytest.fixture
def make_result() -> Callable[..., Result]:
    """A result of 8 sequences of 10 frames; in each, frame 3 is corrupted. `errors`: (8, 10) mpjpe."""

    def make(errors: np.ndarray, *, corrupted: bool = True, frames: int = FRAMES) -> Result:
        values = np.broadcast_to(errors, (SEQUENCES, frames)).reshape(-1).astype(float)
        names = np.repeat([f"s{i}" for i in range(SEQUENCES)], frames).astype(object)
        frame = np.tile(np.arange(frames), SEQUENCES)
        table = {
            "track": names, "sequence": names, "frame_id": frame, "scored": np.ones(len(names), bool), "mpjpe": values,
        }  # fmt: skip
        if corrupted:
            table["corrupted_distance"] = np.abs(frame - 3).astype(float)
        whole = pd.DataFrame(table)
        return Result(
            protocol="tcmr@1", protocol_sha256="0" * 64, dataset="3dpw", frames=whole, sequences=whole[:0],
            summary={"mpjpe": Measured(values.mean(), unit="mm", n=len(values))}, accounting={"scored": len(values)},
        )  # fmt: skip

    return make
