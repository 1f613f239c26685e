"""What a system is, and what a network hands back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from hpsbench.errors import ShapeError
from hpsbench.types import NOTHING, ClipInput, Inputs, Prediction, WindowRule

PREDICTED_FIELDS = ("rotmat", "betas", "camera", "transl", "joints3d", "vertices")
_TAILS: Mapping[str, tuple[int | None, ...]] = {
    "rotmat": (24, 3, 3),
    "betas": (10,),
    "camera": (3,),
    "transl": (3,),
    "joints3d": (None, 3),
    "vertices": (6890, 3),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HPSOutput:
    """Bodies of a batch of windows: B windows, T' = T frames each, or T' = 1 where a window predicts one frame.

    At least one of (rotmat and betas), joints3d, vertices is there.

    Attributes:
        rotmat: (B, T', 24, 3, 3) rotation matrices, joint 0 in camera coordinates.
        betas: (B, T', 10).
        camera: (B, T', 3) = (s, tx, ty), weak perspective in the crop.
        transl: (B, T', 3) metres.
        joints3d: (B, T', J, 3) metres, in the joint set `joint_set`.
        joint_set: id of the joint set of `joints3d`.
        vertices: (B, T', 6890, 3) metres.
        aux: for inspection only (attention, confidences); the evaluator never reads it.
    """

    rotmat: Tensor | None = None
    betas: Tensor | None = None
    camera: Tensor | None = None
    transl: Tensor | None = None
    joints3d: Tensor | None = None
    joint_set: str | None = None
    vertices: Tensor | None = None
    aux: Mapping[str, Any] = field(default_factory=lambda: NOTHING)

    def __post_init__(self) -> None:
        if (self.rotmat is None or self.betas is None) and self.joints3d is None and self.vertices is None:
            raise ShapeError("an HPSOutput needs rotmat and betas, or joints3d, or vertices")
        if (self.joints3d is None) != (self.joint_set is None):
            raise ShapeError("an HPSOutput has joints3d and the id of their joint_set together, or neither")
        leading = None
        for name in PREDICTED_FIELDS:
            value = getattr(self, name)
            if value is None:
                continue
            tail = _TAILS[name]
            fits = all(w in (None, n) for w, n in zip(tail, value.shape[2:], strict=False))
            if value.ndim != 2 + len(tail) or not fits or (leading or value.shape[:2]) != value.shape[:2]:
                wanted = ", ".join("J" if size is None else str(size) for size in tail)
                frames = "B, T'" if leading is None else ", ".join(map(str, leading))
                raise ShapeError(f"HPSOutput.{name}: expected ({frames}, {wanted}), got {tuple(value.shape)}")
            leading = value.shape[:2]


@runtime_checkable
class System(Protocol):
    """A complete video-to-body method, as the harness drives it.

    Attributes:
        name: as in the catalogue of systems.
        inputs: what it reads of each frame.
        context: the window that it was made for, or None for whole tracks.
    """

    @property
    def name(self) -> str: ...

    @property
    def inputs(self) -> Inputs: ...

    @property
    def context(self) -> WindowRule | None: ...

    def predict(self, clip: ClipInput) -> Prediction:
        """Bodies of the frames of one track; `rows` says which."""
        ...
