"""The four usual errors of any rows of bodies, frame by frame: what several terms are made of."""

import torch
from torch import Tensor

from hpsbench.geometry.cameras import project_crop
from hpsbench.models._system import HPSOutput
from hpsbench.training.step import HIPS, LSP_IN_SPIN49, Step, present

USUAL = ("keypoints2d", "joints3d", "pose", "shape")


def frame_errors(
    step: Step, output: HPSOutput, index: Tensor, *, fitted: bool = False, absolute: bool = False
) -> dict[str, Tensor]:
    """Errors of bodies against chosen frames of their windows, each a mean over its elements, 0 where nothing is annotated.

    Args:
        step: says the targets.
        output: bodies (B, R).
        index: (R,) which frame of the window each is compared with.
        fitted: fit a weak-perspective camera to each frame's keypoints instead of taking the predicted one (HMMR's deltas).
        absolute: of keypoints take absolute instead of squared differences.

    Returns:
        `keypoints2d`, `joints3d`, `pose`, `shape`: (B, R).
    """
    batch, shape = step.batch, (len(step.batch.has_smpl), len(index))
    joints = step.joints(output)
    keypoints = batch.keypoints2d[:, index].flatten(0, 1)
    if fitted:
        projected = fit_camera(joints, keypoints)
    else:
        projected = project_crop(joints, present(output.camera, "a camera").flatten(0, 1))
    away = projected - keypoints[..., :2]
    away = away.abs() if absolute else away.square()
    lsp, known = step.target_joints
    own = joints[:, LSP_IN_SPIN49]
    own = own - own[:, HIPS].mean(dim=1, keepdim=True)
    wanted = lsp[:, index].flatten(0, 1)
    wanted = wanted - wanted[:, HIPS].mean(dim=1, keepdim=True)
    rotmat, betas = present(output.rotmat, "rotations"), present(output.betas, "betas")
    has = batch.has_smpl[:, index].to(rotmat.dtype)
    return {
        "keypoints2d": (keypoints[..., 2:] * away).mean(dim=(1, 2)).reshape(shape),
        "joints3d": known[:, index] * (own - wanted).square().mean(dim=(1, 2)).reshape(shape),
        "pose": has * (rotmat - batch.rotmat[:, index]).square().mean(dim=(2, 3, 4)),
        "shape": has * (betas - batch.betas[:, index]).square().mean(dim=2),
    }


def fit_camera(joints: Tensor, keypoints: Tensor) -> Tensor:
    """Joints (N, J, 3) projected by the scale and translation that fit keypoints (N, J, 3) best, (N, J, 2).

    The camera gets no gradient. Least squares weighted by confidence; frames without keypoints get scale 1.
    Source: human_dynamics, `compute_optimal_camera`.
    """
    with torch.no_grad():
        weight = keypoints[..., 2:]
        total = weight.sum(dim=1, keepdim=True).clamp_min(1e-6)
        xy, wanted = joints[..., :2], keypoints[..., :2]
        middle = (weight * xy).sum(dim=1, keepdim=True) / total
        there = (weight * wanted).sum(dim=1, keepdim=True) / total
        spread = (weight * (xy - middle).square()).sum(dim=(1, 2), keepdim=True)
        shared = (weight * (xy - middle) * (wanted - there)).sum(dim=(1, 2), keepdim=True)
        scale = torch.where(spread > 1e-8, shared / spread.clamp_min(1e-8), torch.ones_like(spread))
    return scale * (joints[..., :2] - middle) + there


def weighted_mean(step: Step, errors: dict[str, Tensor], index: Tensor) -> Tensor:
    """Sum over the usual terms of weight x mean over the frames that have them.

    The mean of 2D distances counts seen joints alone, that of squared ones all, as the terms of these names.

    Args:
        step: says what the frames have.
        errors: of `frame_errors`, with the same `index`.
        index: (R,) which frame of the window each row was compared with.
    """
    _, known = step.target_joints
    keypoints = step.batch.keypoints2d[:, index, :, 2]
    total, joints = errors["pose"].new_zeros(()), keypoints.shape[2]
    smpl = step.batch.has_smpl[:, index].sum().clamp_min(1)
    counts = {"joints3d": known[:, index].sum().clamp_min(1), "pose": smpl, "shape": smpl}
    for name in ("joints3d", "pose", "shape"):
        total = total + step.weights.get(name, 0.0) * errors[name].sum() / counts[name]
    if "keypoints2d_distance" in step.weights:
        seen = torch.count_nonzero(keypoints).clamp_min(1)
        return total + step.weights["keypoints2d_distance"] * errors["keypoints2d"].sum() * joints / seen
    return total + step.weights.get("keypoints2d", 0.0) * errors["keypoints2d"].mean()
