"""Limbs keep their length over a track and over all tracks of a person, in SMPL's skeletons and in annotated ones."""

import numpy as np
import pytest

from hpsbench.bodies.joints import RIGID_LIMBS, get_joint_set
from hpsbench.store.limbs import LimbLengths, limbs_of

ANNOTATED = sorted(RIGID_LIMBS)
NAMES = {"h36m32_raw": "RightHand", "h36m17_official": "R_Wrist"}


def person(joint_set: str, size: float = 1.0, frames: int = 12) -> np.ndarray:
    """(frames, J, 3) a body that turns and walks; every limb is rigid."""
    joints = np.random.default_rng(4).uniform(-0.8, 0.8, size=(len(get_joint_set(joint_set)), 3)) * size
    angles = 0.2 * np.arange(frames)
    turns = np.array([[[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]] for a in angles])
    walk = np.arange(frames)[:, None] * [0.05, 0.0, 0.02]
    return joints @ turns.transpose(0, 2, 1) + walk[:, None] + [0, 0, 4.0]


@pytest.mark.parametrize("joint_set", ANNOTATED)
def test_arms_and_shins_of_both_sides_are_limbs(joint_set: str) -> None:
    limbs = limbs_of(joint_set)
    assert len(limbs) == (6 if joint_set.startswith("mpii3d") else 8)
    names = get_joint_set(joint_set).names
    sides = [{names[limb.near][0].lower(), names[limb.far][0].lower()} for limb in limbs]
    assert sorted(map(sorted, sides)) == sorted([["l"]] * (len(limbs) // 2) + [["r"]] * (len(limbs) // 2))
    assert {limb.name for limb in limbs} <= set(names)


def test_sets_without_a_skeleton_have_no_limbs() -> None:
    assert limbs_of("None") == limbs_of("3dpw18") == []
    assert len(limbs_of("smpl24")) == 23


@pytest.mark.parametrize("joint_set", ANNOTATED)
def test_a_limb_that_changes_in_one_frame_is_found(joint_set: str) -> None:
    joints, wrist = person(joint_set), NAMES.get(joint_set, "right_wrist")
    assert LimbLengths().add("a", "S1", "joints3d", joint_set, joints) is None
    (limb,) = (limb for limb in limbs_of(joint_set) if limb.name == wrist)
    joints[7, limb.far] += 0.05 * (joints[7, limb.far] - joints[7, limb.near])
    slip = LimbLengths().add("a", "S1", "joints3d", joint_set, joints)
    assert slip is not None
    assert f"ends at {wrist} changes its length" in slip.text
    assert not slip.gross
    joints[7, limb.far] += 0.5 * (joints[7, limb.far] - joints[7, limb.near])
    damage = LimbLengths().add("a", "S1", "joints3d", joint_set, joints)
    assert damage is not None
    assert damage.gross


def test_every_change_of_smpls_skeleton_is_gross() -> None:
    joints = person("smpl24")
    joints[3, 23] += 0.03 * (joints[3, 23] - joints[3, 21])
    change = LimbLengths().add("a", None, "joints3d", "smpl24", joints)
    assert change is not None
    assert change.gross


def test_joints_that_are_not_annotated_do_not_count() -> None:
    joints = person("mpii3d28_official")
    own = get_joint_set("mpii3d28_official")
    joints[:, own.index("left_wrist")] = np.nan
    joints[4, own.index("right_knee")] = np.nan
    joints[5, own.index("right_ankle")] += 1.0  # its limb is not known in every frame
    assert LimbLengths().add("a", "S1", "joints3d", "mpii3d28_official", joints) is None
    assert LimbLengths().add("a", "S1", "joints3d", "mpii3d28_official", joints[:0]) is None


class TestPersons:
    def test_tracks_of_a_person_agree(self) -> None:
        lengths = LimbLengths()
        for track, size in {"a": 1.0, "b": 1.01}.items():
            lengths.add(track, "S1", "joints3d", "h36m32_raw", person("h36m32_raw", size))
        assert list(lengths.changes()) == []

    def test_a_person_who_is_another_one_in_some_track_is_found(self) -> None:
        lengths = LimbLengths()
        for track, size in {"a": 1.0, "b": 1.05, "c": 1.02}.items():
            lengths.add(track, "S1", "joints3d", "h36m32_raw", person("h36m32_raw", size))
        (change,) = lengths.changes()
        assert (change.where, change.field, change.gross) == ("S1", "joints3d", False)
        assert "in a and" in change.text
        assert "in b; are all these tracks of one person?" in change.text

    def test_persons_and_fields_are_not_compared_with_each_other(self) -> None:
        lengths = LimbLengths()
        body = person("h36m32_raw")
        lengths.add("a", "S1", "joints3d", "h36m32_raw", body)
        lengths.add("b", "S5", "joints3d", "h36m32_raw", body * 1.3)
        lengths.add("a", "S1", "joints3d_univ", "h36m32_raw", body * 0.8)
        lengths.add("c", None, "joints3d", "h36m32_raw", body * 0.5)
        assert list(lengths.changes()) == []

    def test_a_person_of_two_sizes_is_gross(self) -> None:
        lengths = LimbLengths()
        for track, size in {"a": 1.0, "b": 1.4}.items():
            lengths.add(track, "S1", "joints3d", "h36m32_raw", person("h36m32_raw", size))
        (change,) = lengths.changes()
        assert change.gross
