"""Filtered joints against the annotated LSP joints, relative to the middle of the hips (LSTM-Kalman)."""

from hpsbench.losses.joints import joints3d_loss
from hpsbench.training.step import HIPS, Part, Step, present


def term(step: Step) -> Part:
    """See `joints3d_loss`; annotated bodies' joints are regressed, as those that are filtered and those that are scored."""
    target, has = step.regressed_joints
    found = present(step.output.joints3d, "joints").flatten(0, 1)
    return Part(joints3d_loss(found, target.flatten(0, 1), has.flatten(), HIPS), has.sum())
