"""Temporal SMPLify behind another system: its bodies are fitted to the 2D keypoints of their track.

VIBE section 3.4 and Table 2 (row "temporal SMPLify"): the fit refines predictions at test time and trains nothing. It
reads the 2D keypoints of the tested frames, which results therefore say.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from hpsbench.bodies.files import file_sha256
from hpsbench.bodies.smpl import BodyModel, load_bodies
from hpsbench.errors import BrokenFile, UsageError
from hpsbench.geometry.rotations import axis_angle_to_rotmat, rotmat_to_axis_angle
from hpsbench.losses.smplify import PoseMixture
from hpsbench.models._smplify import CENTER, fit_clip, load_mixture_prior
from hpsbench.models._system import System
from hpsbench.types import Array, ClipInput, FloatArray, Prediction, WindowRule

PUBLISHED = Path("body_models/smpl/gmm_08.pkl")
OWN = Path("checkpoints/pose-mixture.safetensors")
MIXTURE_FORMAT = "hpsbench-pose-mixture"
STEPS = 1
"""Steps of the optimiser in each stage, as VIBE's demo runs it; the paper names 6."""
CROP_SCALE = 1.2
"""Of the crop in which VIBE's networks see their camera, over the box."""


@dataclass(frozen=True, slots=True)
class Prior:
    """A prior of poses, and what is told of it.

    Attributes:
        mixture: the prior; None: there is none.
        about: name, sha256 of its file, and whether it stands in for the published one.
    """

    mixture: PoseMixture | None
    about: Mapping[str, Any]


def find_prior(root: Path, *, synthetic: bool) -> Prior:
    """The prior of a data root: the published mixture; else, for synthetic data, the one that is fitted here; else none.

    Raises:
        BrokenFile, UnsafeFile: the file is no such mixture, or asks for code.
    """
    published, own = root / PUBLISHED, root / OWN
    if published.is_file():
        about = {"name": published.name, "sha256": file_sha256(published), "stands_in": False}
        return Prior(load_mixture_prior(published), about)
    if synthetic and own.is_file():
        mixture, card = read_mixture(own)
        about = {
            "name": "pose-mixture",
            "sha256": file_sha256(own),
            "stands_in": True,
            "fitted_on": card["fitted_on"],
        }
        return Prior(mixture, about)
    return Prior(None, {"name": "none", "sha256": None, "stands_in": True})


def read_mixture(path: Path) -> tuple[PoseMixture, dict[str, Any]]:
    """A mixture that `hpsbench train pose-mixture` fitted, and its card.

    Raises:
        BrokenFile: the file is damaged, or something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            card = json.loads((file.metadata() or {})[MIXTURE_FORMAT])
            parts = [file.get_tensor(name) for name in ("means", "covariances", "weights")]
    except (SafetensorError, KeyError, ValueError, OSError) as problem:
        raise BrokenFile(
            f"{path}: no mixture of poses ({problem}); 'hpsbench train pose-mixture' makes one anew"
        ) from problem
    return PoseMixture.of(*parts), card


class Fitted(nn.Module):
    """Another system whose bodies are fitted to the 2D keypoints of their track by temporal SMPLify.

    Args:
        inner: the system; it must predict rotations, betas and a camera.
        body: the neutral body.
        prior: of poses.
        steps: of either stage.
        crop_scale: of the crop in which the system sees its camera, over the box.
    """

    context: ClassVar[WindowRule | None]

    def __init__(
        self,
        inner: System,
        body: BodyModel,
        prior: Prior,
        *,
        steps: int = STEPS,
        crop_scale: float = CROP_SCALE,
    ) -> None:
        super().__init__()
        self.system: Any = inner
        self.body, self._prior, self._steps, self._scale = body, prior, steps, crop_scale
        self.name = f"{inner.name}+smplify{steps}"
        self.inputs = replace(inner.inputs, keypoints2d="spin49")
        self.context = inner.context  # type: ignore[misc]
        self.card = getattr(inner, "card", {})
        self.checkpoint_sha256 = getattr(inner, "checkpoint_sha256", None)
        own = getattr(inner, "options", None)
        self.options = {
            **(own if isinstance(own, Mapping) else {}),
            "smplify_steps": steps,
            "smplify_crop_scale": crop_scale,
            "smplify_prior": dict(prior.about),
        }

    def accepts(self, rule: WindowRule) -> bool:
        """Whether the system before it takes other windows than its own."""
        accepts = getattr(self.system, "accepts", None)
        return bool(accepts(rule)) if accepts is not None else self.system.context in (None, rule)

    def predict(self, clip: ClipInput) -> Prediction:
        """Bodies of one track; a frame keeps what the system said where the fit does not meet its keypoints better.

        Raises:
            UsageError: the system says no body or no camera, or the track has no keypoints or boxes.
        """
        with torch.no_grad():
            found: Prediction = self.system.predict(clip)
        rotmat, betas, camera = found.rotmat, found.betas, found.camera
        if rotmat is None or betas is None or camera is None:
            raise UsageError(
                f"temporal SMPLify starts from rotations, betas and a camera, of which {self.system.name!r} lacks one"
            )
        if clip.keypoints2d is None or clip.bbox_cxcywh is None:
            raise UsageError(f"track {clip.track!r}: temporal SMPLify needs 2D keypoints and boxes")
        if len(found.rows) == 0:
            return found
        keypoints = in_crop(clip.keypoints2d[found.rows], clip.bbox_cxcywh[found.rows], self._scale)
        pose = rotmat_to_axis_angle(_tensor(rotmat)).flatten(-2)
        fit = fit_clip(
            self.body,
            pose,
            _tensor(betas),
            _tensor(camera),
            _tensor(keypoints),
            prior=self._prior.mixture,
            steps=self._steps,
        )
        changed: Tensor = axis_angle_to_rotmat(fit.full_pose.reshape(-1, 24, 3))
        kept = fit.improved[:, None, None, None]
        return replace(
            found,
            rotmat=torch.where(kept, changed, _tensor(rotmat)).numpy(),
            betas=fit.betas.numpy(),
            camera=fit.camera.numpy(),
            transl=None,
            joints3d=None,
            joint_set=None,
            vertices=None,
        )


def in_crop(keypoints: FloatArray, bbox_cxcywh: FloatArray, scale: float) -> FloatArray:
    """Keypoints (T, J, 3) in pixels of the image -> of the crop of 224; what is no number gets confidence 0."""
    side = bbox_cxcywh[:, None, 2:4] * scale
    with np.errstate(divide="ignore", invalid="ignore"):
        xy = 2 * CENTER * (keypoints[..., :2] - bbox_cxcywh[:, None, :2]) / side + CENTER
    seen = np.isfinite(xy).all(axis=-1) & (keypoints[..., 2] > 0)
    made: Array = np.concatenate(
        [np.where(seen[..., None], xy, 0.0), np.where(seen, keypoints[..., 2], 0.0)[..., None]], -1
    )
    return made.astype(np.float32)


def fit_behind(inner: System, root: Path | None, steps: int = STEPS) -> Fitted:
    """Temporal SMPLify behind a loaded system, with the bodies and the prior of a data root.

    Raises:
        UsageError: no data root, or no step.
        MissingBodyModel: no body model under it.
    """
    if root is None:
        raise UsageError("smplify: needs a data root for its body model; use --root or HPSBENCH_ROOT")
    if steps < 1:
        raise UsageError(f"smplify{steps}: at least one step is needed")
    card = getattr(inner, "card", None) or {}
    synthetic = bool(card.get("synthetic", False))
    recipe = card.get("training_recipe") or {}
    scale = float(recipe.get("data", {}).get("crop_scale", CROP_SCALE))
    body = load_bodies(root, synthetic=synthetic).neutral
    return Fitted(inner, body, find_prior(root, synthetic=synthetic), steps=steps, crop_scale=scale)


def _tensor(values: FloatArray) -> Tensor:
    return torch.as_tensor(np.asarray(values, np.float32))
