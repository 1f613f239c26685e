"""Do limbs keep their length: over a track, and over all tracks of one person?"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from hpsbench.bodies.joints import PARENTS, RIGID_LIMBS, get_joint_set
from hpsbench.types import BoolArray, FloatArray

TOLERANCE = 0.02  # spread of the length of SMPL's limbs, relative to their length
GROSS = 0.25  # spread that no tracker's slip explains


class Limb(NamedTuple):
    """Two joints whose distance does not change.

    Attributes:
        near, far: rows of the joints.
        name: of the far joint.
        tolerance: spread of its length that is no news, relative to its length.
    """

    near: int
    far: int
    name: str
    tolerance: float


class Change(NamedTuple):
    """A limb that is not of one length.

    Attributes:
        where: track, or subject.
        field: of the store.
        text: what was found.
        gross: whether it cannot be a tracker's slip.
    """

    where: str
    field: str
    text: str
    gross: bool


def limbs_of(joint_set: str) -> list[Limb]:
    """Limbs of a joint set that are rigid; none of sets whose joints are not those of a skeleton.

    SMPL's, SMPL-H's and SMPL-X's joints: every one and its parent. Annotated skeletons (`RIGID_LIMBS`): arms and
    shins, and thighs with some allowance where the hip turns with them.
    """
    if joint_set in PARENTS:
        names = get_joint_set(joint_set).names
        return [
            Limb(parent, joint, names[joint], TOLERANCE)
            for joint, parent in enumerate(PARENTS[joint_set])
            if parent >= 0
        ]
    if joint_set not in RIGID_LIMBS:
        return []
    joints = get_joint_set(joint_set)
    return [
        Limb(joints.index(near), joints.index(far), far, tolerance)
        for near, far, tolerance in RIGID_LIMBS[joint_set]
    ]


class LimbLengths:
    """Lengths of limbs, track by track, and what is odd about them."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str, str], dict[str, dict[str, float]]] = {}

    def add(
        self, track: str, subject: str | None, field: str, joint_set: str, joints: FloatArray
    ) -> Change | None:
        """Measure a track; a limb that changes over it is the answer, and the track is not compared with others.

        Args:
            track: its name.
            subject: whose tracks are compared; None: nobody knows.
            field: of the store.
            joint_set: id of its joint set.
            joints: (T, J, 3) metres; limbs that lack a joint in some frame do not count.
        """
        known: BoolArray = np.all(np.isfinite(joints), axis=(0, 2))
        limbs = [limb for limb in limbs_of(joint_set) if known[limb.near] and known[limb.far]]
        if not limbs or not len(joints):
            return None
        near, far = [limb.near for limb in limbs], [limb.far for limb in limbs]
        lengths = np.linalg.norm(joints[:, far] - joints[:, near], axis=2)
        longest: FloatArray = np.max(lengths, axis=0)
        spread: FloatArray = (longest - np.min(lengths, axis=0)) / np.maximum(np.mean(lengths, axis=0), 1e-6)
        excess = spread - [limb.tolerance for limb in limbs]
        worst = int(np.argmax(excess))
        if excess[worst] > 0:
            text = f"the limb that ends at {limbs[worst].name} changes its length by {spread[worst]:.0%}"
            gross = joint_set in PARENTS or bool(spread[worst] > GROSS)
            return Change(track, field, text, gross)
        if subject is not None:
            medians = np.median(lengths, axis=0).tolist()
            own = self._of.setdefault((subject, field, joint_set), {})
            own[track] = dict(zip((limb.name for limb in limbs), medians, strict=True))
        return None

    def changes(self) -> Iterator[Change]:
        """Persons of whom some limb is longer in one track than in another: the limb that differs most."""
        for (subject, field, joint_set), tracks in self._of.items():
            tolerance = {limb.name: limb.tolerance for limb in limbs_of(joint_set)}
            differing = []
            for limb in dict.fromkeys(name for lengths in tracks.values() for name in lengths):
                found = {track: lengths[limb] for track, lengths in tracks.items() if limb in lengths}
                short, long = min(found, key=found.__getitem__), max(found, key=found.__getitem__)
                spread = (found[long] - found[short]) / max(found[short], 1e-6)
                text = (
                    f"the limb that ends at {limb} measures {found[short]:.3f} m in {short} and {found[long]:.3f} m in "
                    f"{long}; are all these tracks of one person?"
                )
                differing.append((spread - tolerance[limb], Change(subject, field, text, spread > GROSS)))
            excess, change = max(differing, key=lambda entry: entry[0])
            if excess > 0:
                yield change
