"""What a run is made of."""

from typing import Any

import pytest
import torch

from hpsbench.training.config import Schedule
from hpsbench.training.kit import make_plateau


def epochs_to_drop(values: list[float], **rule: Any) -> int | None:
    """After how many epochs of these values the learning rate is first lower."""
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    plateau = make_plateau(optimiser, Schedule(**rule))
    for number, value in enumerate(values, 1):
        plateau.step(value)
        if optimiser.param_groups[0]["lr"] < 1.0:
            return number
    return None


@pytest.mark.parametrize("start", [5.0, 0.0, -5.0])
def test_a_training_loss_that_gets_no_lower_lowers_the_rate_whatever_its_sign(start: float) -> None:
    worse = [start + 2e-4 * number for number in range(12)]
    assert epochs_to_drop(worse, plateau_on="training") == 7, "the best, and six that are no better"
    better = [start - 2e-3 * number for number in range(12)]
    assert epochs_to_drop(better, plateau_on="training") is None


def test_a_validation_error_must_fall_by_a_share_of_itself() -> None:
    assert epochs_to_drop([60.0 - 5e-4 * number for number in range(7)], plateau_on="validation") == 7
    assert epochs_to_drop([60.0 - 1e-1 * number for number in range(12)], plateau_on="validation") is None
