"""What goes wrong in a synthetic 3DPW, frame by frame: the real dataset's defects, placed on purpose.

`tiny` has each of them at known frames of the test split; larger sizes draw a few per track.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from hpsbench.types import BoolArray

Kind = Literal["undetected", "few", "six", "seven", "camera"]
DETECTION_KINDS: tuple[Kind, ...] = ("undetected", "few", "six", "seven")
_CHANCE: dict[Kind, tuple[float, int, int]] = {  # chance of a run per track, shortest and longest run
    "undetected": (0.35, 2, 4),
    "few": (0.30, 2, 4),
    "six": (0.30, 1, 1),
    "seven": (0.30, 1, 1),
    "camera": (0.30, 3, 6),
}


@dataclass(frozen=True, slots=True)
class Run:
    """Frames `first` to `first + count - 1` of one track have one defect.

    Attributes:
        kind: `undetected`: no 2D joint; `few`: 5 of the 12 limb joints; `six`, `seven`: exactly so many limb joints;
            `camera`: the camera pose is wrong and marked invalid.
        first: first frame.
        count: how many.
    """

    kind: Kind
    first: int
    count: int = 1

    @property
    def stop(self) -> int:
        """The frame after the last one."""
        return self.first + self.count


def frames_with(runs: tuple[Run, ...], kinds: tuple[Kind, ...], frames: int) -> BoolArray:
    """(T,) frames that have a defect of one of these kinds."""
    mask = np.zeros(frames, dtype=bool)
    for run in runs:
        if run.kind in kinds:
            mask[run.first : run.stop] = True
    return mask


def draw_runs(frames: int, rng: np.random.Generator) -> tuple[Run, ...]:
    """A few defects of one track: sometimes undetected ends, and short runs inside that keep clear of each other."""
    runs: list[Run] = []
    if rng.random() < 0.4:
        runs.append(Run("undetected", 0, int(rng.integers(1, 4))))
    if rng.random() < 0.2:
        count = int(rng.integers(1, 4))
        runs.append(Run("undetected", frames - count, count))
    for kind, (chance, shortest, longest) in _CHANCE.items():
        for _ in range(max(1, frames // 300)):
            count = int(rng.integers(shortest, longest + 1))
            first = int(rng.integers(8, max(9, frames - 8 - count)))
            if rng.random() < chance and _is_free(first, count, runs, frames):
                runs.append(Run(kind, first, count))
    return tuple(sorted(runs, key=lambda run: run.first))


def _is_free(first: int, count: int, runs: list[Run], frames: int, clear: int = 3) -> bool:
    far = all(first >= run.stop + clear or first + count + clear <= run.first for run in runs)
    return far and first + count + clear <= frames
