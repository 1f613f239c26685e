"""No two owners and no two ingredients share a seed."""

import numpy as np
import pytest

from hpsbench.errors import UnknownName, UsageError
from hpsbench.synth.seeds import (
    DATASETS,
    ENCODER_OWNERS,
    INGREDIENTS,
    OWNERS,
    RANGE_LENGTH,
    SIZES,
    SPLITS,
    check_disjoint,
    dataset_owner,
    generator,
    seed_range,
)


def test_all_ranges_are_disjoint() -> None:
    check_disjoint()
    ranges = [seed_range(o, i) for o in OWNERS for i in INGREDIENTS]
    assert len({r.start for r in ranges}) == len(OWNERS) * len(INGREDIENTS)
    assert all(len(r) == RANGE_LENGTH for r in ranges)


def test_the_encoder_shares_nothing_with_any_dataset() -> None:
    datasets = [dataset_owner(d, s, z) for d in DATASETS for s in SPLITS for z in SIZES]
    for ingredient in INGREDIENTS:
        for owner in ENCODER_OWNERS:
            mine = seed_range(owner, ingredient)
            for other in datasets:
                theirs = seed_range(other, ingredient)
                assert mine.stop <= theirs.start or theirs.stop <= mine.start


def test_check_disjoint_finds_an_overlap() -> None:
    with pytest.raises(UsageError, match="encoder/train people overlap those of encoder/train people"):
        check_disjoint(["encoder/train", "encoder/train"])


def test_generators_repeat_and_differ() -> None:
    def first(*arguments: str | int, seed: int = 0) -> float:
        return float(generator(*arguments, seed=seed).random())  # type: ignore[arg-type]

    base = first("encoder/train", "people", 3)
    assert base == first("encoder/train", "people", 3)
    others = {
        first("encoder/train", "people", 4), first("encoder/train", "motions", 3),
        first("encoder/held-out", "people", 3), first("3dpw/test/tiny", "people", 3),
        first("encoder/train", "people", 3, seed=1),
    }  # fmt: skip
    assert len(others | {base}) == 6


def test_the_frozen_order_of_the_tables() -> None:
    assert seed_range("encoder/train", "people").start == 0
    assert seed_range("3dpw/train/tiny", "people").start == 3 * len(INGREDIENTS) * RANGE_LENGTH
    drawn = generator("3dpw/test/full", "motions", 0).integers(0, 2**32, 2)
    np.testing.assert_array_equal(drawn, generator("3dpw/test/full", "motions", 0).integers(0, 2**32, 2))


@pytest.mark.parametrize(
    ("owner", "ingredient", "number", "error", "match"),
    [
        ("3dpw/test/huge", "people", 0, UnknownName, "owner of synthetic seeds"),
        ("3dpw/test/tiny", "peple", 0, UnknownName, "Did you mean 'people'"),
        ("3dpw/test/tiny", "people", RANGE_LENGTH, UsageError, "a range has"),
        ("3dpw/test/tiny", "people", -1, UsageError, "a range has"),
    ],
)
def test_bad_requests_are_refused(
    owner: str, ingredient: str, number: int, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        generator(owner, ingredient, number)
