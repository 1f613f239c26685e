"""Cameras of frames that two windows share (SPS-Net)."""

from hpsbench.losses.camera import camera_consistency_loss
from hpsbench.training.step import Part, Step, auxiliary, present


def term(step: Step) -> Part:
    """See `camera_consistency_loss`; the second window is the batch's, one frame later."""
    camera = present(step.output.camera, "a camera")
    shifted = present(auxiliary(step, "shifted").camera, "a camera of the shifted window")
    return Part(camera_consistency_loss(camera, shifted), len(camera))
