"""Which frames of a track are hit: bursts of consecutive frames, at random or at regular distances.

Source: the confidence-aware paper (Zhang et al., Tables V, VI, X); readings where it is silent: a burst has full
length, at least one clean frame lies between two bursts, the share is met per track by rounding the number of bursts
to the nearest, and the last burst is cut only where the track has no room for it.
"""

from fractions import Fraction
from math import floor
from typing import Literal, NamedTuple

import numpy as np

from hpsbench.errors import UsageError
from hpsbench.types import IntArray

Pattern = Literal["random", "regular"]
PATTERNS: tuple[Pattern, ...] = ("random", "regular")


class Bursts(NamedTuple):
    """The frames of one track that are hit.

    Attributes:
        frames: (h,) int64, increasing positions in the track.
        cut: frames that the last bursts lost because the track had no room.
    """

    frames: IntArray
    cut: int


def exact_ratio(ratio: float) -> Fraction:
    """The share that a written ratio means: 0.33 is one third, as in the paper; others are taken as written.

    >>> exact_ratio(0.33), exact_ratio(0.2)
    (Fraction(1, 3), Fraction(1, 5))
    """
    if not 0 <= ratio <= 1:
        raise UsageError(f"a corruption ratio is a share of frames between 0 and 1, got {ratio}")
    written = Fraction(str(ratio))
    return Fraction(1, 3) if written == Fraction(33, 100) else written


def check_pattern(ratio: float, consecutive: int, pattern: str) -> None:
    """Refuse shares that no pattern with a clean frame between bursts can have.

    Raises:
        UsageError: a ratio outside 0 to consecutive / (consecutive + 1) other than 1, a burst below one frame, another
            pattern.
    """
    if consecutive < 1:
        raise UsageError(f"a burst has at least 1 frame, got consecutive={consecutive}")
    if pattern not in PATTERNS:
        raise UsageError(f"pattern must be one of {', '.join(PATTERNS)}, got {pattern!r}")
    most = Fraction(consecutive, consecutive + 1)
    if most < exact_ratio(ratio) < 1:
        raise UsageError(
            f"a ratio of {ratio} cannot be met with bursts of {consecutive} and a clean frame between bursts; "
            f"the largest is {most} = {float(most):.3f}, and 1 is every frame"
        )


def burst_frames(
    length: int, *, ratio: float, consecutive: int, rng: np.random.Generator, pattern: Pattern = "random"
) -> Bursts:
    """Draw the hit frames of a track of `length` frames.

    round(ratio * length / consecutive) bursts. `random`: every placement without overlap and with a clean frame
    between bursts is equally likely. `regular`: burst starts lie consecutive / ratio frames apart, the phase is random.
    A ratio of 1 hits every frame.

    Raises:
        UsageError: see `check_pattern`.
    """
    check_pattern(ratio, consecutive, pattern)
    share = exact_ratio(ratio)
    if share == 1:
        return Bursts(np.arange(length, dtype=np.int64), 0)
    bursts = floor(share * length / consecutive + Fraction(1, 2))
    if bursts == 0:
        return Bursts(np.empty(0, np.int64), 0)
    lengths, cut = _burst_lengths(length, bursts, consecutive)
    if pattern == "random":
        starts = _random_starts(length, lengths, rng)
    else:
        starts = _regular_starts(length, lengths, Fraction(consecutive) / share, rng)
    frames = np.concatenate(
        [np.arange(s, s + n, dtype=np.int64) for s, n in zip(starts, lengths, strict=True)]
    )
    return Bursts(frames, cut)


def _burst_lengths(length: int, bursts: int, consecutive: int) -> tuple[list[int], int]:
    """Full bursts; the last ones shortened, or left out, until all fit with a clean frame between them."""
    lengths = [consecutive] * bursts
    while sum(lengths) + len(lengths) - 1 > length:
        lengths[-1] -= 1
        if lengths[-1] == 0:
            lengths.pop()
    return lengths, bursts * consecutive - sum(lengths)


def _random_starts(length: int, lengths: list[int], rng: np.random.Generator) -> list[int]:
    """Uniform over all placements: every burst goes to another gap between (or beside) the clean frames."""
    clean = length - sum(lengths)
    gaps = np.sort(rng.choice(clean + 1, size=len(lengths), replace=False))
    before = np.cumsum([0, *lengths[:-1]])
    return [int(v) for v in gaps + before]


def _regular_starts(length: int, lengths: list[int], period: Fraction, rng: np.random.Generator) -> list[int]:
    offsets = [floor(i * period) for i in range(len(lengths))]
    room = length - (offsets[-1] + lengths[-1])
    if room < 0:  # only near the track's end: move the last bursts back, with a clean frame before each
        latest = length
        for number in reversed(range(len(lengths))):
            offsets[number] = min(offsets[number], latest - lengths[number])
            latest = offsets[number] - 1
        room = 0
    phase = int(rng.integers(min(room, floor(period) - 1) + 1))
    return [phase + offset for offset in offsets]
