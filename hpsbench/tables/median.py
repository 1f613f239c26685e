"""A median filter over time behind another system: the floor that a temporal method has to beat."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from hpsbench.errors import UsageError
from hpsbench.models._system import System
from hpsbench.types import Array, ClipInput, FloatArray, Inputs, Prediction, WindowRule


class MedianFiltered:
    """Another system whose predictions are replaced by the median over the frames around each.

    Rotations are filtered entry by entry and brought back to the nearest rotation (by singular values); shape, camera,
    translation and joints are filtered entry by entry. The ends of a track are repeated.

    Args:
        inner: the system.
        length: frames of the filter, odd.

    Raises:
        UsageError: an even length.
    """

    def __init__(self, inner: System, length: int) -> None:
        if length % 2 == 0:
            raise UsageError(f"median filter of {length} frames: an odd number is needed, to have a middle")
        self.inner, self.length = inner, length
        self.checkpoint_sha256: Any = getattr(inner, "checkpoint_sha256", None)
        self.options = {**getattr(inner, "options", {}), "median": length}

    @property
    def name(self) -> str:
        """Of the inner system and the filter."""
        return f"{self.inner.name}+median{self.length}"

    @property
    def inputs(self) -> Inputs:
        """Of the inner system."""
        return self.inner.inputs

    @property
    def context(self) -> WindowRule | None:
        """Of the inner system: windows are cut for it, and its predictions are filtered over the whole track."""
        return self.inner.context

    def accepts(self, rule: WindowRule) -> bool:
        """Whether the inner system takes other windows than its own."""
        return bool(getattr(self.inner, "accepts", lambda _: True)(rule))

    def to(self, device: Any) -> "MedianFiltered":
        """Move the inner system."""
        if hasattr(self.inner, "to"):
            self.inner.to(device)
        return self

    def predict(self, clip: ClipInput) -> Prediction:
        """Bodies of one track, filtered over its predicted frames; vertices are left out."""
        found = self.inner.predict(clip)
        fields = ("betas", "camera", "transl", "joints3d")
        changed: dict[str, Any] = {name: self._filtered(getattr(found, name)) for name in fields}
        rotmat = self._filtered(found.rotmat)
        if rotmat is not None:
            changed["rotmat"] = nearest_rotation(rotmat)
        return replace(found, vertices=None, **changed)

    def _filtered(self, values: FloatArray | None) -> FloatArray | None:
        if values is None or len(values) == 0:
            return values
        half = self.length // 2
        padded = np.concatenate([np.repeat(values[:1], half, 0), values, np.repeat(values[-1:], half, 0)])
        middle: FloatArray = np.median(sliding_window_view(padded, self.length, axis=0), axis=-1)
        return middle.astype(values.dtype)


def nearest_rotation(matrices: Array) -> Array:
    """(..., 3, 3) -> the rotations nearest to them in the Frobenius norm."""
    u, _, vt = np.linalg.svd(matrices)
    sign = np.linalg.det(u @ vt)
    u = np.concatenate([u[..., :2], u[..., 2:] * sign[..., None, None]], axis=-1)
    found: Array = (u @ vt).astype(matrices.dtype)
    return found
