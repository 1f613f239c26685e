"""What a network's weights are before the first step."""

from pathlib import Path
from typing import Any

from hpsbench.errors import UsageError
from hpsbench.features import embedded
from hpsbench.features.backbones import SPIN_CHECKPOINT
from hpsbench.models._checkpoints import load_regressor
from hpsbench.models._regressor import IterativeRegressor


def start_regressor(system: Any, extractor: str, root: Path) -> None:
    """Start a system's regressor from the weights that came with the image encoder, as VIBE starts from SPIN's.

    Raises:
        UsageError: the system has no such regressor, or the extractor came without one.
        MissingCheckpoint, CheckpointMismatch: as for `load_regressor`.
    """
    regressor = getattr(system, "regressor", None)
    if not isinstance(regressor, IterativeRegressor):
        raise UsageError(f"{type(system).__name__} has no regressor to start from the extractor's")
    known = {"spin": root / SPIN_CHECKPOINT, embedded.NAME: embedded.REGRESSOR}
    if extractor not in known:
        raise UsageError(
            f"extractor {extractor!r} came without a regressor (known: {', '.join(known)}); "
            "use --set init.regressor=random"
        )
    load_regressor(regressor, known[extractor])
