"""HMMR (Temporal HMR) on SPIN's features: a convolutional encoder over time, then SPIN's regressor on every frame."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpsbench.bodies.mean_params import MeanParams
from hpsbench.models._adapter import Batch, FeatureSystem
from hpsbench.models._regressor import NUM_POSE, BodyState, IterativeRegressor
from hpsbench.models._system import HPSOutput
from hpsbench.types import WindowRule

CARD = {
    "title": "HMMR (Temporal HMR) on SPIN features",
    "paper": "Kanazawa et al., Learning 3D human dynamics from video, CVPR 2019",
    "inputs": {"features": 2048, "window": 20},
    "predicts": "SMPL parameters and camera of every frame of a window",
    "parameters": 79003805,
    "fixed": [
        "temporal encoder: 3 residual blocks of group norm (32 groups), ReLU and convolution of width 3, twice each",
        "pose changes at -5 and +5 frames and a hallucinator of three layers, both for training only (options)",
        "windows of 20 frames",
    ],
    "reading": [
        "a baseline on the same features as the others: SPIN's ResNet-50 and SPIN's regressor (6D pose, no ReLU) in place of "
        "HMR's; released TensorFlow weights do not fit",
        "a change of pose is regressed with the same layers, from the current prediction, in SPIN's 6D form",
        "a change's camera is fitted by the loss, not predicted",
        "every 8 frames a window; a frame is taken where it lies most centrally; no zero images beyond the ends of a track",
        "windows of another length than the system's own: it keeps its own",
    ],
    "narrow": {"feature_width": 24, "groups": 4, "regressor_hidden": 12},
}
BLOCKS = 3
EPS = 1e-6
SMALL_START = 0.001
"""Scale of the variance with which the last layers of residual branches start."""


class TimeConvolution(nn.Conv1d):
    """A convolution over three frames, as one product of matrices: on a CPU twice as fast as the general convolution."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width, 3, padding=1)

    def forward(self, frames: Tensor) -> Tensor:
        """(B, F, T) -> (B, F, T)."""
        triples = functional.unfold(frames.unsqueeze(2), (1, 3), padding=(0, 1)).transpose(1, 2)
        return functional.linear(triples, self.weight.flatten(1), self.bias).transpose(1, 2)


class ResidualBlock(nn.Module):
    """Two times group norm, ReLU and a convolution over time, added to the input. HMMR section 3.2.

    A group's statistics are over its channels and all frames of the window.
    """

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, width, eps=EPS)
        self.conv1 = TimeConvolution(width)
        self.norm2 = nn.GroupNorm(groups, width, eps=EPS)
        self.conv2 = TimeConvolution(width)
        start_small(self.conv2)

    def forward(self, frames: Tensor) -> Tensor:
        """(B, F, T) -> (B, F, T)."""
        hidden: Tensor = self.conv1(torch.relu(self.norm1(frames)))
        change: Tensor = self.conv2(torch.relu(self.norm2(hidden)))
        return frames + change


class TemporalEncoder(nn.Module):
    """f_movie: three blocks, so that a frame's row of the movie strip sees 13 frames. HMMR section 3.2."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(ResidualBlock(width, groups) for _ in range(BLOCKS)))

    def forward(self, features: Tensor) -> Tensor:
        """(B, T, F) -> (B, T, F)."""
        strip: Tensor = self.blocks(features.transpose(1, 2))
        return strip.transpose(1, 2)


class Hallucinator(nn.Module):
    """The movie strip's row from one frame's feature alone: three layers and a skip connection. HMMR section 3.4."""

    def __init__(self, width: int) -> None:
        super().__init__()
        last = nn.Linear(width, width)
        start_small(last)
        self.layers = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), last
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, T, F) -> (B, T, F)."""
        change: Tensor = self.layers(features)
        return features + change


class DeltaRegressor(nn.Module):
    """The pose some frames away, refined three times from the current prediction; shape and camera are kept. HMMR 3.3."""

    def __init__(self, feature_width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(feature_width + NUM_POSE, hidden)
        self.drop1 = nn.Dropout()
        self.fc2 = nn.Linear(hidden, hidden)
        self.drop2 = nn.Dropout()
        self.decpose = nn.Linear(hidden, NUM_POSE)
        nn.init.xavier_uniform_(self.decpose.weight, gain=0.01)

    def forward(self, strip: Tensor, state: BodyState) -> BodyState:
        """Strip rows (N, F) and the bodies there -> the bodies of another moment."""
        pose = state.pose
        for _ in range(3):
            hidden = self.drop1(self.fc1(torch.cat([strip, pose], dim=1)))
            pose = pose + self.decpose(self.drop2(self.fc2(hidden)))
        return BodyState(pose, state.shape, state.camera)


class Hmmr(FeatureSystem):
    """HMMR's temporal encoder before SPIN's regressor.

    Args:
        feature_width: F.
        length: frames of a window.
        deltas: frame distances at which training predicts the pose as well; HMMR's are -5 and 5.
        hallucinate: whether training predicts from hallucinated strips as well.
        groups: of the group norms.
        regressor_hidden: width of the regressors' hidden layers.
        mean: mean parameters where the regressor starts.
    """

    name: ClassVar[str] = "hmmr"
    context: ClassVar[WindowRule] = WindowRule(
        length=20, stride=8, predict="all", edges="shift-last", overlap="central", short="pad"
    )

    def __init__(
        self,
        feature_width: int = 2048,
        length: int = 20,
        deltas: Sequence[int] = (),
        hallucinate: bool = False,
        groups: int = 32,
        regressor_hidden: int = 1024,
        mean: MeanParams | None = None,
    ) -> None:
        super().__init__(
            feature_width,
            length=length,
            deltas=list(deltas),
            hallucinate=hallucinate,
            groups=groups,
            regressor_hidden=regressor_hidden,
        )
        self.context = replace(self.context, length=length, stride=min(8, length))  # type: ignore[misc]
        self.distances = tuple(deltas)
        self.encoder = TemporalEncoder(feature_width, groups)
        self.regressor = IterativeRegressor(feature_width, regressor_hidden, mean)
        self.deltas = nn.ModuleList(DeltaRegressor(feature_width, regressor_hidden) for _ in deltas)
        self.hallucinator = Hallucinator(feature_width) if hallucinate else None

    def forward(self, features: Tensor) -> HPSOutput:
        """Features (B, T, F) -> bodies of all T frames."""
        return self.regressor.frames(self.encoder(features))

    def forward_train(self, batch: Batch) -> HPSOutput:
        """Bodies of all frames, and in `aux` the rows that only a loss reads.

        `delta_<d>` for each distance d: an `HPSOutput` (B, T) whose frame t is to match frame t + d; its camera is the
        current frame's, in the place of one that the loss fits. With hallucination also `strip` and `hallucinated`
        (B, T, F), the movie strip and its hallucination, and from the latter `hallucinated_bodies` and
        `hallucinated_delta_<d>`.
        """
        strip = self.encoder(batch.features)
        output, deltas = self._bodies(strip)
        aux: dict[str, Any] = dict(deltas)
        if self.hallucinator is not None:
            hallucinated = self.hallucinator(batch.features)
            bodies, others = self._bodies(hallucinated)
            aux |= {"strip": strip, "hallucinated": hallucinated, "hallucinated_bodies": bodies}
            aux |= {f"hallucinated_{name}": value for name, value in others.items()}
        return replace(output, aux=aux)

    def _bodies(self, strip: Tensor) -> tuple[HPSOutput, dict[str, HPSOutput]]:
        """Strip (B, T, F) -> the bodies of its frames, and those of each delta, named `delta_<d>`."""
        batch = strip.shape[0]
        rows = strip.flatten(0, 1)
        state: BodyState = self.regressor(rows)
        others = {
            f"delta_{distance}": network(rows, state).output(batch)
            for distance, network in zip(self.distances, self.deltas, strict=True)
        }
        return state.output(batch), others

    def accepts(self, rule: WindowRule) -> bool:
        """Only windows of its own length: the norms span the window that it was trained for."""
        return super().accepts(rule) and rule.length == self.context.length


def start_small(layer: nn.Conv1d | nn.Linear) -> None:
    """Start a layer near zero: uniform, of variance 0.001 over the mean of fan-in and fan-out. human_dynamics."""
    nn.init.xavier_uniform_(layer.weight, gain=SMALL_START**0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


SYSTEM = Hmmr
