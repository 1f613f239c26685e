"""Rotation matrices against annotated ones, in frames that have SMPL parameters."""

from hpsbench.losses.params import pose_loss
from hpsbench.training.step import Part, Step, present


def term(step: Step) -> Part:
    """See `pose_loss`."""
    rotmat, has = present(step.output.rotmat, "rotations").flatten(0, 1), step.wanted("has_smpl")
    return Part(pose_loss(rotmat, step.wanted("rotmat"), has), has.sum())
