"""The iterative regressor of HMR and SPIN, which every video generator ends with."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from hpsbench.bodies.mean_params import MeanParams
from hpsbench.geometry.rotations import rot6d_to_rotmat
from hpsbench.models._system import HPSOutput

NUM_POSE, NUM_SHAPE, NUM_CAMERA = 144, 10, 3
NUM_STATE = NUM_POSE + NUM_SHAPE + NUM_CAMERA
IDENTITY_6D = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
MEAN_CAMERA = (0.9, 0.0, 0.0)
PASSES = 3
VIDEO_EPS, SPIN_EPS = 1e-6, 1e-12


class BodyState(NamedTuple):
    """What the regressor refines: pose (N, 144) in SPIN's 6D layout, shape (N, 10), camera (N, 3)."""

    pose: Tensor
    shape: Tensor
    camera: Tensor

    def output(self, windows: int, eps: float = VIDEO_EPS) -> HPSOutput:
        """As bodies of `windows` windows of N / windows frames; `eps` is the norm floor of the 6D form."""
        rot6d = self.pose.reshape(windows, -1, 24, 6)
        return HPSOutput(
            rotmat=rot6d_to_rotmat(rot6d, eps=eps),
            betas=self.shape.reshape(windows, -1, NUM_SHAPE),
            camera=self.camera.reshape(windows, -1, NUM_CAMERA),
        )


class IterativeRegressor(nn.Module):
    """Refines mean parameters three times from one feature; the passes share their weights.

    There is no non-linearity between the two hidden layers and the heads. Entry names and shapes are those of SPIN's
    checkpoint; the features' share of the first layer is the same in every pass and computed once.
    Source: Kanazawa et al., CVPR 2018, section 3.2 (iterative error feedback); SPIN `models/hmr.py`.

    Args:
        feature_width: F.
        hidden: width of both hidden layers.
        mean: where it starts; None: identity rotations, zero shape, camera (0.9, 0, 0).
    """

    def __init__(self, feature_width: int = 2048, hidden: int = 1024, mean: MeanParams | None = None) -> None:
        super().__init__()
        self.fc1 = nn.Linear(feature_width + NUM_STATE, hidden)
        self.drop1 = nn.Dropout()
        self.fc2 = nn.Linear(hidden, hidden)
        self.drop2 = nn.Dropout()
        self.decpose = nn.Linear(hidden, NUM_POSE)
        self.decshape = nn.Linear(hidden, NUM_SHAPE)
        self.deccam = nn.Linear(hidden, NUM_CAMERA)
        for head in (self.decpose, self.decshape, self.deccam):
            nn.init.xavier_uniform_(head.weight, gain=0.01)
        self.init_pose: Tensor
        self.init_shape: Tensor
        self.init_cam: Tensor
        start = (
            (IDENTITY_6D * 24, (0.0,) * 10, MEAN_CAMERA)
            if mean is None
            else (mean.pose, mean.shape, mean.cam)
        )
        for name, value in zip(("init_pose", "init_shape", "init_cam"), start, strict=True):
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float32).reshape(1, -1).clone())

    def frames(self, features: Tensor, eps: float = VIDEO_EPS) -> HPSOutput:
        """Features (B, T, F) -> bodies of all T frames; `eps` is the norm floor of the 6D form."""
        state: BodyState = self(features.flatten(0, 1))
        return state.output(features.shape[0], eps)

    def forward(
        self,
        features: Tensor,
        pose: Tensor | None = None,
        shape: Tensor | None = None,
        camera: Tensor | None = None,
        passes: int = PASSES,
    ) -> BodyState:
        """Features (N, F) -> the state after the last pass; `pose`, `shape`, `camera` replace the mean as start."""
        count = features.shape[0]
        pose = self.init_pose.expand(count, -1) if pose is None else pose
        shape = self.init_shape.expand(count, -1) if shape is None else shape
        camera = self.init_cam.expand(count, -1) if camera is None else camera
        width = self.fc1.in_features - NUM_STATE
        of_features, of_state = self.fc1.weight[:, :width], self.fc1.weight[:, width:]
        given = linear(features, of_features, self.fc1.bias)
        for _ in range(passes):
            hidden = self.drop1(given + linear(torch.cat([pose, shape, camera], dim=1), of_state))
            hidden = self.drop2(self.fc2(hidden))
            pose = pose + self.decpose(hidden)
            shape = shape + self.decshape(hidden)
            camera = camera + self.deccam(hidden)
        return BodyState(pose, shape, camera)


_LAYERS = ("fc1", "fc2", "decpose", "decshape", "deccam")
REGRESSOR_ENTRIES = (
    *("init_pose", "init_shape", "init_cam"),
    *(f"{layer}.{kind}" for layer in _LAYERS for kind in ("weight", "bias")),
)
"""Names of the regressor's entries in a checkpoint."""
