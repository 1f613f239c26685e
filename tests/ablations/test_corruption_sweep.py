import pytest

from hpsbench.ablations.corruption_sweep import Settings
from hpsbench.errors import UsageError


def test_a_seed_that_is_named_twice_counts_once() -> None:
    (group,) = Settings(modes=("noise",), severities=(2, 2), seeds=(3, 3, 1)).conditions().values()
    assert [condition.name for condition in group] == ["noise-0.33x1-s3-sev2", "noise-0.33x1-s1-sev2"]


def test_a_ratio_is_for_graded_corruptions() -> None:
    mixed = Settings(modes=("noise", "center"), severities=(1,), ratio=0.2, consecutive=2).conditions()
    assert [group[0].name for group in mixed.values()] == ["noise-0.2x2-s0-sev1", "center-0.1x1-s0"]
    with pytest.raises(UsageError, match="the severities of center are ratios"):
        Settings(modes=("center",), ratio=0.2).conditions()
