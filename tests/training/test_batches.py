"""Which windows are drawn, and when all of them were."""

import numpy as np
import pytest

from hpsbench.training.batches import draws


@pytest.mark.parametrize("batch", [10, 30])
def test_all_windows_are_drawn_before_any_is_drawn_again_also_over_epochs(batch: int) -> None:
    """VIBE's loaders go on where an epoch of 500 steps ended, so that no window waits while others are seen twice."""
    epochs = [np.concatenate(list(draws(1000, batch, 20, seed=3, epoch=number))) for number in range(11)]
    drawn = np.concatenate(epochs)
    for first in range(0, len(drawn) - 999, 1000):
        assert len(np.unique(drawn[first : first + 1000])) == 1000
    assert not np.array_equal(drawn[:1000], drawn[1000:2000]), "shuffled anew"
    again = np.concatenate(list(draws(1000, batch, 20, seed=3, epoch=7)))
    np.testing.assert_array_equal(again, epochs[7])


def test_fewer_windows_than_a_batch_are_all_drawn_each_time() -> None:
    for number in range(3):
        for chosen in draws(4, 10, 5, seed=0, epoch=number):
            assert sorted(chosen) == [0, 1, 2, 3]


def test_streams_and_seeds_differ() -> None:
    orders = [
        tuple(next(draws(50, 50, 1, seed=s, epoch=0, stream=t))) for s, t in ((0, ()), (1, ()), (0, (1,)))
    ]
    assert len(set(orders)) == 3
