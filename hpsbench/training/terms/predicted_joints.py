"""Joints before their own measurement against the annotated LSP joints, relative to the middle of the hips (LSTM-Kalman)."""

from hpsbench.losses.joints import joints3d_loss
from hpsbench.training.step import HIPS, Part, Step, auxiliary


def term(step: Step) -> Part:
    """See `joints3d_loss`; joints as for `filtered_joints`."""
    target, has = step.regressed_joints
    found = auxiliary(step, "prior").flatten(0, 1)
    return Part(joints3d_loss(found, target.flatten(0, 1), has.flatten(), HIPS), has.sum())
