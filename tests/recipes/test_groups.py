"""Tracks that are alike are taken together, without a copy where their rows lie together already."""

from itertools import pairwise

import numpy as np
import pytest

from hpsbench.recipes.groups import TrackGroup, groups_of
from hpsbench.types import Array, Track

ROWS = np.random.default_rng(0).normal(size=(60, 5, 3))


def track(number: int, rows: Array) -> Track:
    return Track(
        sequence="s",
        person=number,
        split="train",
        frame_id=np.arange(len(rows)),
        fields={"keypoints2d": rows},
    )


@pytest.mark.parametrize("ends", [[0, 20, 60], [10, 20, 30, 45]])
def test_rows_of_one_array_are_not_copied(ends: list[int]) -> None:
    group = TrackGroup.of([track(n, ROWS[a:b]) for n, (a, b) in enumerate(pairwise(ends))])
    found = group.fields["keypoints2d"]
    np.testing.assert_array_equal(found, ROWS[ends[0] : ends[-1]])
    assert np.shares_memory(found, ROWS)


@pytest.mark.parametrize(
    "parts",
    [
        [ROWS[20:40], ROWS[:20]],
        [ROWS[:20], ROWS[30:40]],
        [ROWS[:20], ROWS[20:40].copy()],
        [ROWS[:40:2], ROWS[40:60]],
        [ROWS[:20, :2], ROWS[20:40, :2]],
        [ROWS.reshape(100, 3, 3)[:40], ROWS.reshape(100, 3, 3)[40:]],
        [np.asfortranarray(ROWS)[:20], np.asfortranarray(ROWS)[20:]],
    ],
)
def test_other_rows_come_one_after_another(parts: list[Array]) -> None:
    (group,) = groups_of(track(number, rows) for number, rows in enumerate(parts))
    np.testing.assert_array_equal(group.fields["keypoints2d"], np.concatenate(parts))
    assert group.starts.tolist() == [0, len(parts[0]), len(parts[0]) + len(parts[1])]
