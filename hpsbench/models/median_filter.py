"""A median over time behind another system: the floor that a temporal method has to beat."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from hpsbench.errors import UsageError
from hpsbench.models._adapter import FeatureSystem
from hpsbench.models._catalog import get_system
from hpsbench.models._system import HPSOutput, System
from hpsbench.types import ClipInput, Prediction, WindowRule

CARD = {
    "title": "median filter behind a frame-based system",
    "paper": "none: a control",
    "inputs": {"features": 2048, "window": 1},
    "predicts": "what the system before it predicts, each number the median of the frames around it",
    "parameters": 3469469,
    "fixed": "nothing; parameters are those of the system before it, SPIN's unless another is named",
    "reading": [
        "5 frames, the two before and the two after; a track's ends are repeated",
        "rotation matrices entry by entry, then the nearest rotation; shape, camera, translation and joints entry by entry",
    ],
    "narrow": {"feature_width": 24, "hidden": 12},
    "get": "the model to be filtered: --model median:MODEL (or median9:MODEL for 9 frames)",
}
FRAMES = 5
"""Frames of the filter where none are named."""
_NEWTON_STEPS = 9
_SURE_DETERMINANT = 0.1
"""Below it a matrix is so far from a rotation that its nearest one is found by singular values."""


class MedianFilter(FeatureSystem):
    """Another system whose predictions are replaced by the median over the frames around each.

    `hpsbench evaluate --model median:ckpt.pt` puts it behind any system; the features, windows and inputs are that system's
    own, and its predictions are filtered over the whole track.

    Args:
        base: name of a feature system, which is made new where no `inner` is given.
        window: frames of the filter, odd.
        feature_width: F of the base.
        inner: the system to filter, instead of a new one.
        options: of the base.

    Raises:
        UsageError: an even window, or one below 1.
    """

    name: ClassVar[str] = "median_filter"
    context: ClassVar[WindowRule] = WindowRule(length="track", stride="track")

    def __init__(
        self,
        base: str = "spin",
        window: int = FRAMES,
        feature_width: int = 2048,
        inner: System | None = None,
        **options: Any,
    ) -> None:
        if window < 1 or window % 2 == 0:
            raise UsageError(f"median filter of {window} frames: an odd number is needed, to have a middle")
        super().__init__(feature_width, base=base, window=window, **options)
        self.system: Any = (
            get_system(base)(feature_width=feature_width, **options) if inner is None else inner
        )
        self.inputs = self.system.inputs
        self.context = self.system.context  # type: ignore[misc, assignment]

    def forward(self, features: Tensor) -> HPSOutput:
        """Features (B, T, F) -> the bodies of the system before it, filtered over T where it predicts all T frames."""
        output: HPSOutput = self.system(features)
        fields = ("rotmat", "betas", "camera", "transl", "joints3d")
        values = {name: getattr(output, name) for name in fields}
        filtered: dict[str, Any] = {
            name: None if value is None else _filtered(name, value, self.options["window"])
            for name, value in values.items()
        }
        return HPSOutput(joint_set=output.joint_set, **filtered)

    def accepts(self, rule: WindowRule) -> bool:
        """Whether the system before it takes other windows than its own."""
        accepts = getattr(self.system, "accepts", None)
        return bool(accepts(rule)) if accepts is not None else self.system.context in (None, rule)

    @torch.no_grad()
    def predict(self, clip: ClipInput) -> Prediction:
        """Bodies of one track, filtered over its predicted frames; vertices only where there is nothing else."""
        found: Prediction = self.system.predict(clip)
        fields = ["rotmat", "betas", "camera", "transl", "joints3d"]
        posed = found.rotmat is not None or found.joints3d is not None
        changed: dict[str, Any] = {"vertices": None}
        for name in fields if posed else [*fields, "vertices"]:
            value = getattr(found, name)
            if value is not None and len(value):
                tensor = torch.from_numpy(np.ascontiguousarray(value))[None]
                changed[name] = _filtered(name, tensor, self.options["window"])[0].numpy().astype(value.dtype)
        return replace(found, **changed)


def wrap(inner: System, window: int = FRAMES) -> MedianFilter:
    """The filter behind a loaded system; its name, checkpoint and options tell both."""
    width = inner.inputs.features or 1
    made = MedianFilter(base=inner.name, window=window, feature_width=width, inner=inner)
    made.name = f"{inner.name}+median{window}"  # type: ignore[misc]
    made.checkpoint_sha256 = getattr(inner, "checkpoint_sha256", None)
    made.card = getattr(inner, "card", made.card)
    inner_options = getattr(inner, "options", None)
    made.options = {**(inner_options if isinstance(inner_options, Mapping) else {}), "window": window}
    return made


def _filtered(name: str, values: Tensor, window: int) -> Tensor:
    """(B, T, ...) -> the median of each number over the frames around each; rotations stay rotations."""
    if values.shape[1] < 2 or window == 1:
        return values
    half = window // 2
    padded = torch.cat([values[:, :1].expand(-1, half, *values.shape[2:]), values,
                        values[:, -1:].expand(-1, half, *values.shape[2:])], dim=1)  # fmt: skip
    middle = padded.unfold(1, window, 1).median(dim=-1).values
    return nearest_rotation(middle) if name == "rotmat" else middle


def nearest_rotation(matrices: Tensor) -> Tensor:
    """(..., 3, 3) -> the rotations nearest to them in the Frobenius norm, by Newton's iteration for the polar factor."""
    given = matrices.double()
    far = torch.linalg.det(given.detach()) < _SURE_DETERMINANT
    near = torch.where(far[..., None, None], torch.eye(3, dtype=given.dtype, device=given.device), given)
    for _ in range(_NEWTON_STEPS):
        near = (near + torch.linalg.inv(near).mT) / 2
    if far.any():
        left, _, right = torch.linalg.svd(given.detach()[far])
        sign = torch.linalg.det(left @ right)
        left = torch.cat([left[..., :2], left[..., 2:] * sign[:, None, None]], dim=-1)
        near = near.index_put((far,), left @ right)
    return near.to(matrices.dtype)


SYSTEM = MedianFilter
