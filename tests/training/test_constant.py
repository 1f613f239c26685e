"""The mean pose by its recipe: where it goes, and that its name finds it."""

from pathlib import Path

import pytest

from hpsbench.errors import MissingData, UsageError
from hpsbench.models._catalog import load_system
from hpsbench.training.constant import PLACE, get_mean_pose_recipe, train_mean_pose


def test_the_mean_pose_is_found_by_its_name(world: Path) -> None:
    made = train_mean_pose(get_mean_pose_recipe(("schedule.steps=2",)), world)
    assert made["checkpoint"] == world / PLACE
    assert made["fitted_on"]["split"] == "train"
    assert made["fit"]["joint_error_mm"] > 0
    assert made["synthetic"] is True
    assert load_system("mean-pose", root=world).name == "mean_pose"


def test_slips_are_named(world: Path) -> None:
    with pytest.raises(UsageError, match=r"schedule\.step: Extra inputs"):
        get_mean_pose_recipe(("schedule.step=2",))
    with pytest.raises(MissingData, match="no frame of split 'train' has SMPL parameters"):
        train_mean_pose(get_mean_pose_recipe(("data.dataset=pennaction",)), world)
