"""Temporal SMPLify: fits pose, one shape and camera of a clip to its 2D keypoints, starting from a network's output.

VIBE section 3.1 (fitting with shape consistency and pose smoothness) and 3.3 (L-BFGS with a strong Wolfe line search); terms,
weights and stages are those of VIBE `lib/smplify`. Readings: keypoints without any confidence leave a frame as it is; the
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
from hpsbench.safe_io import load_pickle

FOCAL, CENTER = 5000.0, 112.0
"""Of the crop's camera, pixels of a crop of 224."""
ROBUST = 100.0
"""Pixels beyond which the Geman-McClure error flattens."""
DEPTH, PRIOR, ANGLE, SHAPE, SMOOTH_2D, SMOOTH_3D = 100.0, 4.78, 15.2, 5.0, 0.01, 1.0
"""Weights of the terms; they enter squared."""
BENDS = ((52, 1.0), (55, -1.0), (9, -1.0), (12, -1.0))
"""Elbows and knees: place in the 69 numbers of the body pose, and the sign of an unnatural bend."""
TORSO = ("OP RHip", "OP LHip", "OP RShoulder", "OP LShoulder")
IGNORED = ("OP Neck", "OP RHip", "OP LHip", "rhip", "lhip")
"""Keypoints that the second stage leaves out."""
SPIN49_COUNT = 49

PosePrior = Callable[[Tensor], Tensor]
"""Body poses (T, 69), axis-angle, to a cost per frame (T,)."""
Optimiser = Literal["lbfgs", "adam"]


class MixturePrior:
    """Smallest negative log-likelihood under a mixture of Gaussians. SMPLify (Bogo et al., ECCV 2016), equation 5.

    Args:
        means: (M, 69).
        covariances: (M, 69, 69).
        weights: (M,), of the components.
    """

    def __init__(self, means: Tensor, covariances: Tensor, weights: Tensor) -> None:
        half_logdet = torch.linalg.slogdet(covariances.double())[1] / 2
        constant = means.shape[1] / 2 * np.log(2 * np.pi)
        offset = constant + half_logdet - half_logdet.min() - torch.log(weights.double())
        self._means, self._offset = means.float(), offset.float()
        self._precisions = torch.linalg.inv(covariances.double()).float()

    def __call__(self, body_pose: Tensor) -> Tensor:
        """(T, 69) -> (T,)."""
        away = body_pose[:, None] - self._means.to(body_pose)
        squared = torch.einsum("tmi,mij,tmj->tm", away, self._precisions.to(body_pose), away)
        cost: Tensor = (squared / 2 + self._offset.to(body_pose)).amin(dim=1)
        return cost


def load_mixture_prior(path: Path) -> MixturePrior:
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
    return MixturePrior(*(torch.tensor(value) for value in (means, covariances, weights)))


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
    prior: PosePrior | None = None,
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
    seen = keypoints2d[..., :2].detach()
    confidence = keypoints2d[..., 2].detach()
    scored = confidence.clone()
    scored[:, _places(IGNORED)] = 0
    before = reprojection(body, full_pose, betas, start, seen, scored)
    free = {
        "orient": full_pose[:, :3].detach().clone(),
        "pose": full_pose[:, 3:].detach().clone(),
        "betas": betas[before.argmin()].detach().clone(),
        "transl": start.clone(),
    }

    def joints() -> Tensor:
        whole = torch.cat([free["orient"], free["pose"]], dim=1)
        return body.spin49(whole, free["betas"].expand(len(whole), -1))

    def minimise(names: Sequence[str], cost: Callable[[], Tensor]) -> None:
        _minimise([free[name] for name in names], cost, optimiser, steps, rate, iterations)

    minimise(("orient", "transl"), lambda: torso_cost(joints(), free["transl"], start, seen, confidence))
    minimise(
        ("pose", "betas", "orient"),
        lambda: body_cost(joints(), free["pose"], free["betas"], free["transl"], seen, scored, prior),
    )
    fitted = torch.cat([free["orient"], free["pose"]], dim=1)
    shape = free["betas"].expand_as(betas)
    after = reprojection(body, fitted, shape, free["transl"], seen, scored)
    improved = after < before
    keep = improved[:, None]
    return Fit(
        full_pose=torch.where(keep, fitted, full_pose.detach()),
        betas=torch.where(keep, shape, betas.detach()),
        camera=torch.where(keep, _weak_perspective(free["transl"]), camera.detach()),
        reprojection=torch.where(improved, after, before),
        before=before,
        improved=improved,
    )


def torso_cost(joints: Tensor, transl: Tensor, start: Tensor, seen: Tensor, confidence: Tensor) -> Tensor:
    """First stage: squared pixel error of hips and shoulders where all four are seen, and the change of depth; a sum.

    Args:
        joints: (T, 49, 3) metres, body coordinates.
        transl: (T, 3) metres.
        start: (T, 3) metres, where it began.
        seen: (T, 49, 2) pixels.
        confidence: (T, 49).
    """
    places = _places(TORSO)
    squared = (_project(joints[:, places], transl) - seen[:, places]).square().sum(dim=(1, 2))
    valid = confidence[:, places].amin(dim=1) > 0
    depth = DEPTH**2 * (transl[:, 2] - start[:, 2]).square()
    return (squared * valid + depth).sum()


def body_cost(
    joints: Tensor,
    pose: Tensor,
    betas: Tensor,
    transl: Tensor,
    seen: Tensor,
    confidence: Tensor,
    prior: PosePrior | None,
) -> Tensor:
    """Second stage: reprojection, priors of pose, bends and shape per frame, smoothness in 2D and 3D; a sum.

    Args:
        joints: (T, 49, 3) metres, body coordinates.
        pose: (T, 69) axis-angle of the body.
        betas: (10,), of the clip; its prior counts in every frame.
        transl: (T, 3) metres.
        seen: (T, 49, 2) pixels.
        confidence: (T, 49).
        prior: cost of body poses, or None.
    """
    projected = _project(joints, transl)
    squared = confidence.square()
    cost = (squared * robust(projected - seen).sum(dim=-1)).sum()
    if prior is not None:
        cost = cost + PRIOR**2 * prior(pose).sum()
    bends = torch.stack([sign * pose[:, place] for place, sign in BENDS], dim=1)
    cost = cost + ANGLE**2 * torch.exp(bends).square().sum()
    cost = cost + SHAPE**2 * len(pose) * betas.square().sum()
    for points, weight in ((projected, SMOOTH_2D), (joints, SMOOTH_3D)):
        cost = cost + weight**2 * (squared[1:] * points.diff(dim=0).abs().sum(dim=-1)).sum()
    return cost


def robust(error: Tensor) -> Tensor:
    """Geman-McClure error, element by element, pixels squared."""
    squared = error.square()
    return ROBUST**2 * squared / (ROBUST**2 + squared)


@torch.no_grad()
def reprojection(
    body: BodyModel, full_pose: Tensor, betas: Tensor, transl: Tensor, seen: Tensor, confidence: Tensor
) -> Tensor:
    """Mean over keypoints of the robust squared pixel error, weighted by squared confidences; (T,)."""
    error = robust(_project(body.spin49(full_pose, betas), transl) - seen).sum(dim=-1)
    return (confidence.square() * error).mean(dim=1)


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
