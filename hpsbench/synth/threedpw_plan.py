"""Which sequences a synthetic 3DPW has: names, lengths, people, motions, and where its defects lie."""

from dataclasses import dataclass

from hpsbench.synth.defects import Run, draw_runs
from hpsbench.synth.gaits import KINDS
from hpsbench.synth.motion import MIXED
from hpsbench.synth.seeds import dataset_owner, generator

SPLITS = ("train", "validation", "test")
_COUNTS = {"small": (12, 4, 8), "full": (24, 12, 24)}
# How many of a split's sequences have two people; `full` has the real 37 test tracks and 87 in all.
_PAIRS = {"small": (3, 1, 3), "full": (9, 5, 13)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonPlan:
    """One person of a sequence.

    Attributes:
        runs: defects of this track, by frame.
        betas: how many shape numbers the file keeps; the first ten are SMPL's.
    """

    runs: tuple[Run, ...] = ()
    betas: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SequencePlan:
    """One sequence.

    Attributes:
        name: of the file and of the image folder.
        split: name of the folder under `sequenceFiles`.
        index: over all splits; part of the sequence's seed.
        frames: F, images.
        motion: kind of motion of the first person; a second one stays near.
        people: one or two.
        exact: the defects are those of the plan and no others: nothing stands in the way, and in all other frames
            at least eight limb joints are found.
    """

    name: str
    split: str
    index: int
    frames: int
    motion: str
    people: tuple[PersonPlan, ...]
    exact: bool = False

    @property
    def store_split(self) -> str:
        """The split's name in hpsbench."""
        return "val" if self.split == "validation" else self.split


def sequence_plans(size: str, seed: int = 0) -> list[SequencePlan]:
    """The sequences of one size; the defects of `small` and `full` depend on the seed, those of `tiny` don't."""
    return _tiny() if size == "tiny" else _drawn(size, seed)


def _tiny() -> list[SequencePlan]:
    """Two sequences a split; the test split has every defect.

    Among them: a track of which five frames are detected (a smoothed box of so few is zero), and one of which none is.
    """
    nobody_found = (Run("undetected", 0, 24),)
    five_found = (Run("undetected", 0, 10), Run("undetected", 15, 21))
    everything = (
        Run("undetected", 0, 2),
        Run("undetected", 10, 2),
        Run("six", 15),
        Run("seven", 18),
        Run("few", 22, 4),
        Run("camera", 30, 4),
    )
    other = (Run("camera", 24, 3), Run("camera", 30, 4), Run("camera", 36, 2), Run("undetected", 38, 2))
    rows: list[tuple[str, str, int, list[tuple[Run, ...]]]] = [
        ("train", "walking", 32, [(Run("undetected", 0, 2),), (Run("undetected", 12, 3),)]),
        ("train", "turning", 24, [()]),
        ("validation", "running", 28, [(Run("camera", 20, 3),)]),
        ("validation", "sitting", 24, [(Run("undetected", 0, 2),), nobody_found]),
        ("test", "reaching", 40, [everything, other]),
        ("test", "jumping", 36, [(Run("undetected", 33, 3),), five_found]),
    ]
    return [
        SequencePlan(
            name=f"synthetic_{motion}_{index:02d}",
            split=split,
            index=index,
            frames=frames,
            motion=motion,
            people=tuple(PersonPlan(runs=runs, betas=16 if runs is everything else 10) for runs in people),
            exact=True,
        )
        for index, (split, motion, frames, people) in enumerate(rows)
    ]


def _drawn(size: str, seed: int) -> list[SequencePlan]:
    plans: list[SequencePlan] = []
    kinds = [MIXED, *KINDS]
    for split, count, pairs in zip(SPLITS, _COUNTS[size], _PAIRS[size], strict=True):
        for number in range(count):
            index = len(plans)
            owner = dataset_owner("3dpw", "val" if split == "validation" else split, size)
            rng = generator(owner, "defects", number, seed=seed)
            frames = 120 if size == "small" else 300 + int(rng.integers(0, 601))
            two = number * pairs // count != (number + 1) * pairs // count
            motion = kinds[number % len(kinds)]
            people = tuple(
                PersonPlan(runs=draw_runs(frames, rng), betas=300 if rng.random() < 0.2 else 10)
                for _ in range(2 if two else 1)
            )
            name = f"synthetic_{motion}_{index:02d}"
            plans.append(
                SequencePlan(name=name, split=split, index=index, frames=frames, motion=motion, people=people)
            )
    return plans
