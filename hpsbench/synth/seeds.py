"""Which random numbers belong to whom: no two uses of the synthetic world share a seed.

Every owner (the encoder's training and held-out images; each dataset x split x size) has one range of integer seeds
for each ingredient (people, motions, textures, backgrounds, cameras). The ranges are laid end to end, so they cannot
overlap; `check_disjoint` asserts it. The order of the tables below is part of the frozen synthetic benchmark: append
only.
"""

import itertools
from collections.abc import Iterable

import numpy as np

from hpsbench.errors import UnknownName, UsageError

INGREDIENTS = ("people", "motions", "textures", "backgrounds", "cameras", "defects")
ENCODER_OWNERS = ("encoder/train", "encoder/held-out", "motion-prior")
DATASETS = ("3dpw", "amass", "h36m", "mpi-inf-3dhp", "pennaction", "posetrack", "instavariety")
SPLITS = ("train", "val", "test")
SIZES = ("tiny", "small", "full")
OWNERS = (
    *ENCODER_OWNERS,
    *("/".join(parts) for parts in itertools.product(DATASETS, SPLITS, SIZES)),
)
RANGE_LENGTH = 2**24


def dataset_owner(dataset: str, split: str, size: str) -> str:
    """Name of the owner of one dataset's split at one size, `<dataset>/<split>/<size>`."""
    return f"{dataset}/{split}/{size}"


def seed_range(owner: str, ingredient: str) -> range:
    """The integer seeds of one owner for one ingredient.

    Raises:
        UnknownName: no such owner or ingredient.

    Example:
        >>> seed_range("encoder/train", "people")
        range(0, 16777216)
    """
    if owner not in OWNERS:
        raise UnknownName("owner of synthetic seeds", owner, choices=OWNERS)
    if ingredient not in INGREDIENTS:
        raise UnknownName("ingredient of the synthetic world", ingredient, choices=INGREDIENTS)
    slot = OWNERS.index(owner) * len(INGREDIENTS) + INGREDIENTS.index(ingredient)
    return range(slot * RANGE_LENGTH, (slot + 1) * RANGE_LENGTH)


def generator(owner: str, ingredient: str, number: int, *, seed: int = 0) -> np.random.Generator:
    """The generator of item `number` (a sequence, a person, a picture) of an owner.

    Args:
        owner: one of `OWNERS`.
        ingredient: one of `INGREDIENTS`.
        number: 0 to `RANGE_LENGTH` - 1.
        seed: the user's seed; another one gives another world, whose ranges are disjoint in the same way.

    Raises:
        UnknownName: no such owner or ingredient.
        UsageError: `number` is outside of the range.
    """
    seeds = seed_range(owner, ingredient)
    if not 0 <= number < len(seeds):
        raise UsageError(f"item {number} of {owner} {ingredient}: a range has {len(seeds)} seeds, from 0")
    return np.random.default_rng(np.random.SeedSequence((seeds[number], seed)))


def check_disjoint(owners: Iterable[str] = OWNERS) -> None:
    """Assert that no seed belongs to two owners or two ingredients.

    Raises:
        UsageError: two ranges overlap (or an owner is named twice); the message names both.
    """
    named = [(o, i, seed_range(o, i)) for o, i in itertools.product(owners, INGREDIENTS)]
    named.sort(key=lambda item: item[2].start)
    for (owner, ingredient, seeds), (other, theirs, next_seeds) in itertools.pairwise(named):
        if next_seeds.start < seeds.stop:
            raise UsageError(f"the seeds of {owner} {ingredient} overlap those of {other} {theirs}")
