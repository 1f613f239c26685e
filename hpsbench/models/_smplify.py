"""Temporal SMPLify: fits pose, one shape and camera of a clip to its 2D keypoints, starting from a network's output.

VIBE section 3.1 (fitting with shape consistency and pose smoothness) and 3.3 (L-BFGS with a strong Wolfe line search); stages
are those of VIBE `lib/smplify`, terms and weights those of `hpsbench.losses.smplify`. Readings: keypoints without any confidence leave a frame as it is; the
mixture prior is optional, since its file (`gmm_08.pkl` of SPIN's data archive) is licensed and may be absent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from hpsbench.bodies.joints import get_joint_set
from hpsbench.bodies.smpl import BodyModel
from hpsbench.errors import BrokenFile, ShapeError, UsageError
from hpsbench.geometry.cameras import weak_perspective_to_translation
from hpsbench.losses.smplify import PoseMixture, body_fitting_loss, camera_fitting_loss, reprojection
from hpsbench.safe_io import load_pickle

FOCAL, CENTER = 5000.0, 112.0
"""Of the crop's camera, pixels of a crop of 224."""
TORSO = ("OP RHip", "OP LHip", "OP RShoulder", "OP LShoulder")
IGNORED = ("OP Neck", "OP RHip", "OP LHip", "rhip", "lhip")
"""Keypoints that the second stage leaves out."""
SPIN49_COUNT = 49

Optimiser = Literal["lbfgs", "adam"]


def load_mixture_prior(path: Path) -> PoseMixture:
    """Read SMPLify's `gmm_08.pkl`.

    Raises:
        BrokenFile, UnsafeFile: the file is no such mixture, or asks for code.
    """
    content = load_pickle(path, encoding="latin1")
    try:
        means, covariances, weights = (
            np.asarray(content[key], float) for key in ("means", "covars", "weights")
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenFile(f"{path}: expected means, covars and weights of a mixture ({error})") from error
    count = len(weights)
    if means.shape != (count, 69) or covariances.shape != (count, 69, 69):
        found = f"{means.shape} and {covariances.shape}"
        raise BrokenFile(f"{path}: expected means (M, 69) and covars (M, 69, 69), found {found}")
    return PoseMixture.of(*(torch.tensor(value) for value in (means, covariances, weights)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """A fitted clip.

    Attributes:
        full_pose: (T, 72) axis-angle.
        betas: (T, 10); equal for all frames that took the fit.
        camera: (T, 3) = (s, tx, ty) in the crop.
        reprojection: (T,) mean robust squared pixel error of a keypoint, of what is returned.
        before: (T,) the same of the start.
        improved: (T,) bool; other frames keep their start.
    """

    full_pose: Tensor
    betas: Tensor
    camera: Tensor
    reprojection: Tensor
    before: Tensor
    improved: Tensor


def fit_clip(
    body: BodyModel,
    full_pose: Tensor,
    betas: Tensor,
    camera: Tensor,
    keypoints2d: Tensor,
    *,
    prior: PoseMixture | None = None,
    optimiser: Optimiser = "lbfgs",
    steps: int = 1,
    rate: float | None = None,
    iterations: int = 20,
) -> Fit:
    """Fit one clip.

    Args:
        body: the neutral body.
        full_pose: (T, 72) axis-angle, the start.
        betas: (T, 10); the start is that of the frame with the smallest reprojection error.
        camera: (T, 3) = (s, tx, ty) in the crop, the start.
        keypoints2d: (T, 49, 3) of SPIN's joints: x, y in pixels of the crop of 224, confidence. Not changed.
        prior: cost of body poses; None: none.
        optimiser: "lbfgs" with a strong Wolfe line search, or "adam".
        steps: of either stage (VIBE's runner 1, the paper 6; SPIN's Adam 100).
        rate: of the optimiser; None: 1 for L-BFGS, 0.01 for Adam.
        iterations: of L-BFGS in a step.

    Raises:
        ShapeError: other shapes.
        UsageError: another optimiser.
    """
    _check(full_pose, betas, camera, keypoints2d, optimiser)
    start = weak_perspective_to_translation(camera.detach())
    seen, scored = keypoints2d.detach(), keypoints2d.detach().clone()
    scored[:, _places(IGNORED), 2] = 0
    torso = _places(TORSO)
    before = _error(body, full_pose, betas, start, scored)
    orient, pose = full_pose[:, :3].detach().clone(), full_pose[:, 3:].detach().clone()
    shape, transl = betas[before.argmin()].detach().clone(), start.clone()

    def joints() -> Tensor:
        return body.spin49(torch.cat([orient, pose], dim=1), shape.expand_as(betas))

    def first_stage() -> Tensor:
        projected = _project(joints()[:, torso], transl)
        return camera_fitting_loss(projected, seen[:, torso], transl[:, 2], start[:, 2])

    def second_stage() -> Tensor:
        made = joints()
        return body_fitting_loss(_project(made, transl), made, scored, pose, shape.expand_as(betas), prior)

    _minimise([orient, transl], first_stage, optimiser, steps, rate, iterations)
    _minimise([pose, shape, orient], second_stage, optimiser, steps, rate, iterations)
    fitted, shapes = torch.cat([orient, pose], dim=1), shape.expand_as(betas)
    after = _error(body, fitted, shapes, transl, scored)
    improved = after < before
    keep = improved[:, None]
    return Fit(
        full_pose=torch.where(keep, fitted, full_pose.detach()),
        betas=torch.where(keep, shapes, betas.detach()),
        camera=torch.where(keep, _weak_perspective(transl), camera.detach()),
        reprojection=torch.where(improved, after, before),
        before=before,
        improved=improved,
    )


@torch.no_grad()
def _error(body: BodyModel, full_pose: Tensor, betas: Tensor, transl: Tensor, keypoints: Tensor) -> Tensor:
    """Mean of a frame's reprojection terms, (T,)."""
    return reprojection(_project(body.spin49(full_pose, betas), transl), keypoints).mean(dim=1)


def _minimise(
    values: list[Tensor],
    cost: Callable[[], Tensor],
    optimiser: Optimiser,
    steps: int,
    rate: float | None,
    iterations: int,
) -> None:
    """Move values, in place, to where the cost is smaller."""
    for value in values:
        value.requires_grad_(True)
    chosen: torch.optim.Optimizer
    if optimiser == "lbfgs":
        chosen = torch.optim.LBFGS(
            values, lr=1.0 if rate is None else rate, max_iter=iterations, line_search_fn="strong_wolfe"
        )
    else:
        chosen = torch.optim.Adam(values, lr=0.01 if rate is None else rate)

    def closure() -> Tensor:
        chosen.zero_grad()
        loss = cost()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        for _ in range(steps):
            chosen.step(closure)  # type: ignore[no-untyped-call]
    for value in values:
        value.requires_grad_(False)
        value.grad = None


def _project(points: Tensor, transl: Tensor) -> Tensor:
    """(T, J, 3) metres -> (T, J, 2) pixels of the crop."""
    moved = points + transl[:, None]
    return FOCAL * moved[..., :2] / moved[..., 2:] + CENTER


def _weak_perspective(transl: Tensor) -> Tensor:
    """Inverse of `weak_perspective_to_translation`."""
    scale = 2 * FOCAL / (2 * CENTER * transl[:, 2])
    return torch.stack([scale, transl[:, 0], transl[:, 1]], dim=1)


def _places(names: Sequence[str]) -> list[int]:
    return get_joint_set("spin49").indices(names)


def _check(full_pose: Tensor, betas: Tensor, camera: Tensor, keypoints2d: Tensor, optimiser: str) -> None:
    frames = len(full_pose)
    wanted = {
        "full_pose": (full_pose, (frames, 72)),
        "betas": (betas, (frames, 10)),
        "camera": (camera, (frames, 3)),
        "keypoints2d": (keypoints2d, (frames, SPIN49_COUNT, 3)),
    }
    for name, (value, shape) in wanted.items():
        if tuple(value.shape) != shape or frames == 0:
            raise ShapeError(
                f"temporal SMPLify, {name}: expected {shape} with T > 0, got {tuple(value.shape)}"
            )
    if optimiser not in get_args(Optimiser):
        raise UsageError(f"optimiser={optimiser!r} is not one of {', '.join(get_args(Optimiser))}")
