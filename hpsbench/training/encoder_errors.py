"""How well the encoder does on held-out crops, beside a constant body."""

import numpy as np
import torch
from torch import Tensor, nn

from hpsbench.bodies.joints import LSP14, convert_indices, get_joint_set
from hpsbench.bodies.smpl import BodyModel
from hpsbench.features.images import normalise
from hpsbench.geometry.alignment import root_align, similarity_align
from hpsbench.geometry.rotations import rot6d_to_rotmat
from hpsbench.geometry.units import M_TO_MM
from hpsbench.models.mean_pose import MeanPose
from hpsbench.training.encoder_batches import held_out_batches
from hpsbench.training.encoder_crops import Crops

EVALUATED = "h36m17"
EVALUATED_SET = get_joint_set("h36m17_regressor")
HIPS = LSP14.indices(["Right Hip", "Left Hip"])


@torch.inference_mode()
def held_out_errors(model: nn.Module, crops: Crops, body: BodyModel, constant: MeanPose) -> dict[str, float]:
    """Errors over the crops in mm, on the 14 LSP joints from the H36M regressor with the mid-hip as root.

    Returns: `mpjpe`, `pa_mpjpe` of the model, `constant_mpjpe`, `constant_pa_mpjpe` of the constant body.
    """
    model.eval()
    pred, target = [], []
    for batch in held_out_batches(crops, 64):
        (pose, betas, _), _, _ = model(normalise(batch.images))
        pred.append(lsp14_joints(body, rot6d_to_rotmat(pose.reshape(-1, 24, 6)), betas))
        target.append(lsp14_joints(body, batch.rotmat, batch.betas))
    joints, wanted = torch.cat(pred).double(), torch.cat(target).double()
    still = (
        lsp14_joints(body, rot6d_to_rotmat(constant.pose)[None], constant.betas[None])
        .double()
        .expand_as(wanted)
    )

    def error(points: Tensor) -> float:
        return round(float((points - wanted).norm(dim=-1).mean()) * M_TO_MM, 2)

    return {
        "mpjpe": error(joints),
        "pa_mpjpe": error(similarity_align(joints, wanted)),
        "constant_mpjpe": error(still),
        "constant_pa_mpjpe": error(similarity_align(still, wanted)),
    }


def fit_constant(crops: Crops, body: BodyModel) -> MeanPose:
    """The constant body with the smallest error on (at most 2,000 of) the training crops."""
    rows = np.linspace(0, len(crops) - 1, min(len(crops), 2000)).astype(np.int64)
    pose, betas = crops.full_pose[rows].astype(np.float32), crops.betas[rows].astype(np.float32)
    return MeanPose.fit(pose, betas, lambda rotmat, shape: lsp14_joints(body, rotmat, shape), HIPS, steps=100)


def lsp14_joints(body: BodyModel, rotmat: Tensor, betas: Tensor) -> Tensor:
    """(B, 14, 3) joints relative to the mid-hip, metres."""
    joints = body.joints(rotmat, betas, via=EVALUATED)
    rooted: Tensor = root_align(joints[:, convert_indices(EVALUATED_SET, "lsp14")], HIPS)
    return rooted
