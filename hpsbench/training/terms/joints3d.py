"""The 14 LSP joints relative to the middle of the hips, in frames that have them."""

from hpsbench.losses.joints import joints3d_loss
from hpsbench.training.step import HIPS, LSP_IN_SPIN49, Part, Step


def term(step: Step) -> Part:
    """See `joints3d_loss`."""
    target, has = step.target_joints
    known = has[:, step.index].flatten()
    pred = step.joints(step.output)[:, LSP_IN_SPIN49]
    wanted = target[:, step.index].flatten(0, 1)
    return Part(joints3d_loss(pred, wanted, known, HIPS), known.sum())
