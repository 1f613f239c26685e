"""The mean pose: the one body, said of every frame, that minimises the training error. A floor for every system."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from hpsbench.errors import ShapeError
from hpsbench.geometry.alignment import root_align
from hpsbench.geometry.rotations import axis_angle_to_rotmat, rot6d_to_rotmat, rotmat_to_rot6d
from hpsbench.geometry.units import M_TO_MM
from hpsbench.models._adapter import FeatureSystem
from hpsbench.models._regressor import IDENTITY_6D, MEAN_CAMERA
from hpsbench.models._system import HPSOutput
from hpsbench.types import ClipInput, FloatArray, Inputs, Prediction, WindowRule

CARD = {
    "title": "mean pose",
    "paper": "none: a control",
    "inputs": {},
    "predicts": "the same SMPL parameters and camera for every frame",
    "parameters": 157,
    "fixed": "nothing",
    "reading": "constant that minimises the mean root-aligned joint error on a training split",
    "narrow": {"feature_width": 24},
    "checkpoint": ["mean_pose.safetensors"],
}
BETA_LIMIT = 3.0
"""Shapes beyond this are no people (SPIN resets its fits there); the fit stays inside."""

JointsOf = Callable[[Tensor, Tensor], Tensor]
"""Rotations (N, 24, 3, 3) and betas (N, 10) to joints (N, J, 3), metres; differentiable."""


class MeanPose(FeatureSystem):
    """A constant body. Reads nothing; `MeanPose.fit` makes one from training data."""

    name: ClassVar[str] = "mean_pose"
    context: ClassVar[WindowRule] = WindowRule(length=1, stride=1, predict="all", short="pad")

    def __init__(self, feature_width: int = 2048) -> None:
        super().__init__(feature_width)
        self.inputs = Inputs()
        self.pose = nn.Parameter(torch.tensor(IDENTITY_6D).repeat(24, 1))
        self.betas = nn.Parameter(torch.zeros(10))
        self.camera = nn.Parameter(torch.tensor(MEAN_CAMERA))

    def forward(self, features: Tensor) -> HPSOutput:
        """Features (B, T, F), of which only B and T count -> the constant body, T' = T."""
        leading = features.shape[:2]
        return HPSOutput(
            rotmat=rot6d_to_rotmat(self.pose).expand(*leading, 24, 3, 3),
            betas=self.betas.expand(*leading, 10),
            camera=self.camera.expand(*leading, 3),
        )

    def accepts(self, rule: WindowRule) -> bool:
        """Any: what it sees makes no difference."""
        return True

    @torch.no_grad()
    def predict(self, clip: ClipInput) -> Prediction:
        """The constant body for all frames of the track."""
        output = self(torch.empty(1, clip.length, 0, device=self.pose.device))
        fields = {name: getattr(output, name)[0].cpu().numpy() for name in ("rotmat", "betas", "camera")}
        return Prediction(
            rows=np.arange(clip.length), **{name: value.copy() for name, value in fields.items()}
        )

    @classmethod
    def fit(
        cls,
        full_pose: FloatArray,
        betas: FloatArray,
        joints_of: JointsOf,
        roots: Sequence[int],
        *,
        steps: int = 300,
        rate: float = 0.02,
    ) -> "MeanPose":
        """The constant body whose joints have the smallest mean error to those of the frames, roots aligned.

        Starts from the mean rotation of each joint (nearest in the chordal metric) and the mean shape, then descends
        on the mean joint error itself; the best point on the way is kept, so it is never worse than the start.

        Args:
            full_pose: (N, 72) axis-angle, radians, root in camera coordinates.
            betas: (N, 10).
            joints_of: what is compared: rotations and betas to joints.
            roots: joints whose mean is the root.
            steps: of Adam.
            rate: its learning rate; it falls to zero along a cosine.

        Raises:
            ShapeError: no frames, or other shapes.
        """
        if len(full_pose) == 0 or full_pose.shape[1:] != (72,) or betas.shape != (len(full_pose), 10):
            found = f"full_pose {full_pose.shape} and betas {betas.shape}"
            raise ShapeError(f"mean pose: expected (N, 72) and (N, 10) with N > 0, got {found}")
        rotmat = axis_angle_to_rotmat(torch.tensor(full_pose, dtype=torch.float32).reshape(-1, 24, 3))
        shapes = torch.tensor(betas, dtype=torch.float32)
        with torch.no_grad():
            target = root_align(joints_of(rotmat, shapes), roots)
        system = cls()
        with torch.no_grad():
            system.pose.copy_(rotmat_to_rot6d(_chordal_mean(rotmat)))
            system.betas.copy_(shapes.mean(0).clamp(-BETA_LIMIT, BETA_LIMIT))
        error = _descend(system, lambda: _error(system, joints_of, target, roots), steps, rate)
        system.card = {"fit": {"frames": len(target), "steps": steps, "joint_error_mm": error * M_TO_MM}}
        return system


def _chordal_mean(rotmat: Tensor) -> Tensor:
    """(N, 24, 3, 3) -> (24, 3, 3): the rotations nearest to the arithmetic mean of the matrices."""
    left, _, right = torch.linalg.svd(rotmat.double().mean(0))
    sign = torch.linalg.det(left @ right)
    left = torch.cat([left[..., :2], left[..., 2:] * sign[:, None, None]], dim=-1)
    nearest: Tensor = (left @ right).float()
    return nearest


def _error(system: MeanPose, joints_of: JointsOf, target: Tensor, roots: Sequence[int]) -> Tensor:
    """Mean distance of the constant body's joints to the targets, metres."""
    joints: Tensor = root_align(joints_of(rot6d_to_rotmat(system.pose)[None], system.betas[None]), roots)
    error: Tensor = torch.linalg.vector_norm(joints - target, dim=-1).mean()
    return error


def _descend(system: MeanPose, error_of: Callable[[], Tensor], steps: int, rate: float) -> float:
    """Adam on pose and shape; leaves the best parameters seen in the system and returns their error."""
    free: list[Any] = [system.pose, system.betas]
    optimiser = torch.optim.Adam(free, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
    best, kept = float("inf"), [value.detach().clone() for value in free]
    for step in range(steps + 1):
        error = error_of()
        if error.item() < best:
            best, kept = error.item(), [value.detach().clone() for value in free]
        if step == steps:
            break
        optimiser.zero_grad()
        error.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            system.betas.clamp_(-BETA_LIMIT, BETA_LIMIT)
    with torch.no_grad():
        for value, good in zip(free, kept, strict=True):
            value.copy_(good)
    return best


SYSTEM = MeanPose
