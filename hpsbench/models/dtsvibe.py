"""DTS-VIBE: a transformer over image features, optical-flow features added, and a transformer that refines parameters."""

from dataclasses import replace
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from hpsbench.bodies.mean_params import MeanParams
from hpsbench.errors import ShapeError, UsageError
from hpsbench.models._adapter import Batch, FeatureSystem
from hpsbench.models._regressor import (
    IDENTITY_6D,
    MEAN_CAMERA,
    NUM_CAMERA,
    NUM_POSE,
    NUM_SHAPE,
    NUM_STATE,
    BodyState,
    IterativeRegressor,
)
from hpsbench.models._system import HPSOutput
from hpsbench.types import Inputs, WindowRule

CARD = {
    "title": "DTS-VIBE",
    "paper": "Deep Two-Stream Video Inference for Human Body Pose and Shape Estimation, WACV 2022 (no code released)",
    "inputs": {"features": 2048, "flow": 2048, "window": 16},
    "predicts": "SMPL parameters and camera of every frame of a window",
    "parameters": 22071418,
    "fixed": [
        "both streams reduced from 2048 to 512 by one layer; the flow's is added after the encoder",
        "temporal encoder: transformer of 6 layers, 8 heads, width 512, on the image stream alone",
        "one layer 512 to 157 (pose 144, shape 10, camera 3) gives coarse parameters; transformer regressor of 3 layers, 4 heads",
        "sequences of 16",
    ],
    "reading": [
        "157 has no 4 heads: the regressor maps 157 to 160, works there and maps back",
        "coarse = mean parameters + layer; final = coarse + regressor; both last layers start with gain 0.01",
        "fixed sinusoidal positions are added once before each transformer",
        "layers are post-norm with ReLU, feed-forward 4 times the width, dropout 0.1; no mask",
        "flow features: frame to the one before between the crops, 2048 numbers; zero flow for a track's first frame",
        "both CNNs are frozen and precomputed, the two layers after them are trained",
        "encoder 'gru': one way, 2 layers of 512, its states as they are",
        "regressor 'hmr': the iterative regressor on the 512 numbers, from the mean parameters",
    ],
    "narrow": {
        "feature_width": 24,
        "flow_width": 20,
        "width": 16,
        "encoder_layers": 2,
        "regressor_width": 12,
        "regressor_layers": 1,
        "regressor_hidden": 12,
    },
}
EXPANSION = 4
TemporalEncoder = Literal["transformer", "gru"]
Regressor = Literal["transformer", "hmr"]


def positions(frames: int, width: int) -> Tensor:
    """Sinusoidal position encoding (T, width), sines on even and cosines on odd places. Vaswani et al. 2017."""
    rate = torch.exp(torch.arange(0, width, 2) * (-torch.log(torch.tensor(10000.0)) / width))
    angle = torch.arange(frames)[:, None] * rate
    return torch.stack([torch.sin(angle), torch.cos(angle)], dim=2).flatten(1)[:, :width]


class Transformer(nn.Module):
    """Positions, then encoder layers over the frames of a window. DTS-VIBE section 3.1, equations 1 and 2."""

    def __init__(self, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(width, heads, EXPANSION * width, dropout, batch_first=True)
                for _ in range(layers)
            )
        )

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, width) -> (B, T, width)."""
        where = positions(frames.shape[1], self.width).to(frames)
        encoded: Tensor = self.layers(frames + where)
        return encoded


class TransformerRegressor(nn.Module):
    """Coarse parameters by one layer, then their change by a transformer over the window. DTS-VIBE section 3.1."""

    def __init__(
        self,
        feature_width: int,
        width: int,
        layers: int,
        heads: int,
        dropout: float,
        mean: MeanParams | None,
    ) -> None:
        super().__init__()
        self.coarse = nn.Linear(feature_width, NUM_STATE)
        self.enter = nn.Linear(NUM_STATE, width)
        self.transformer = Transformer(width, layers, heads, dropout)
        self.leave = nn.Linear(width, NUM_STATE)
        for last in (self.coarse, self.leave):  # training starts at the mean pose and camera, as SPIN's does
            nn.init.xavier_uniform_(last.weight, gain=0.01)
        self.init_pose: Tensor
        self.init_shape: Tensor
        self.init_cam: Tensor
        start = (
            (IDENTITY_6D * 24, (0.0,) * NUM_SHAPE, MEAN_CAMERA)
            if mean is None
            else (mean.pose, mean.shape, mean.cam)
        )
        for name, value in zip(("init_pose", "init_shape", "init_cam"), start, strict=True):
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float32).reshape(1, -1).clone())

    def forward(self, features: Tensor) -> tuple[HPSOutput, HPSOutput]:
        """Features (B, T, width) -> final and coarse bodies of all T frames."""
        mean = torch.cat([self.init_pose, self.init_shape, self.init_cam], dim=1)
        coarse = mean + self.coarse(features)
        final = coarse + self.leave(self.transformer(self.enter(coarse)))
        return _bodies(final), _bodies(coarse)


class DtsVibe(FeatureSystem):
    """DTS-VIBE, and the ablations of its Tables 2 and 3.

    Args:
        feature_width: F, of the image features.
        flow_width: of the optical-flow features.
        flow: whether flow features are read.
        length: T, frames of a window.
        temporal_encoder: "transformer" or "gru".
        regressor: "transformer" or "hmr".
        width: of the temporal encoder.
        encoder_layers, encoder_heads: of the temporal encoder.
        regressor_width, regressor_layers, regressor_heads: of the transformer regressor.
        dropout: of the transformers.
        regressor_hidden: width of the hidden layers of the iterative regressor.
        mean: mean parameters where the regressor starts.

    Raises:
        UsageError: an option has no meaning.
    """

    name: ClassVar[str] = "dtsvibe"
    context: ClassVar[WindowRule] = WindowRule(
        length=16, stride=16, predict="all", edges="shift-last", overlap="cut-half", short="pad"
    )

    def __init__(
        self,
        feature_width: int = 2048,
        flow_width: int = 2048,
        flow: bool = True,
        length: int = 16,
        temporal_encoder: TemporalEncoder = "transformer",
        regressor: Regressor = "transformer",
        width: int = 512,
        encoder_layers: int = 6,
        encoder_heads: int = 8,
        regressor_width: int = 160,
        regressor_layers: int = 3,
        regressor_heads: int = 4,
        dropout: float = 0.1,
        regressor_hidden: int = 1024,
        mean: MeanParams | None = None,
    ) -> None:
        super().__init__(
            feature_width,
            flow_width=flow_width,
            flow=flow,
            length=length,
            temporal_encoder=temporal_encoder,
            regressor=regressor,
            width=width,
            encoder_layers=encoder_layers,
            encoder_heads=encoder_heads,
            regressor_width=regressor_width,
            regressor_layers=regressor_layers,
            regressor_heads=regressor_heads,
            dropout=dropout,
            regressor_hidden=regressor_hidden,
        )
        _check("temporal_encoder", temporal_encoder, get_args(TemporalEncoder))
        _check("regressor", regressor, get_args(Regressor))
        self.inputs = Inputs(features=feature_width, flow=flow_width if flow else None)
        self.context = replace(self.context, length=length, stride=length)  # type: ignore[misc]
        self.reduce_features = nn.Linear(feature_width, width)
        self.reduce_flow = nn.Linear(flow_width, width) if flow else None
        self.encoder: nn.Module
        if temporal_encoder == "gru":
            self.encoder = nn.GRU(width, width, num_layers=2, batch_first=True)
        else:
            self.encoder = Transformer(width, encoder_layers, encoder_heads, dropout)
        self.regressor: IterativeRegressor | TransformerRegressor
        if regressor == "hmr":
            self.regressor = IterativeRegressor(width, regressor_hidden, mean)
        else:
            self.regressor = TransformerRegressor(
                width, regressor_width, regressor_layers, regressor_heads, dropout, mean
            )

    def forward(self, features: Tensor, flow: Tensor | None = None) -> HPSOutput:
        """Image features (B, T, F) and flow features (B, T, flow width) -> bodies of all T frames.

        Raises:
            ShapeError: flow features are missing, or there where the system reads none.
        """
        return self._run(features, flow)[0]

    def forward_train(self, batch: Batch) -> HPSOutput:
        """Bodies of all frames from the batch's `features` and `flow`; `aux["coarse"]` is an `HPSOutput` of the coarse ones.

        Raises:
            ShapeError: flow features are missing.
        """
        flow = getattr(batch, "flow", None) if self.reduce_flow is not None else None
        output, coarse = self._run(batch.features, flow)
        return output if coarse is None else replace(output, aux={"coarse": coarse})

    def _run(self, features: Tensor, flow: Tensor | None) -> tuple[HPSOutput, HPSOutput | None]:
        """Final bodies, and the coarse ones where there are any. Figure 2."""
        encoded = self.encoder(self.reduce_features(features))
        if isinstance(encoded, tuple):  # a GRU's states and its last state
            encoded = encoded[0]
        if (flow is None) != (self.reduce_flow is None):
            found = "got none" if flow is None else f"got {tuple(flow.shape)}"
            wanted = "none" if self.reduce_flow is None else f"(B, T, {self.inputs.flow})"
            raise ShapeError(f"dtsvibe reads flow features {wanted}, {found}")
        if flow is not None and self.reduce_flow is not None:
            encoded = encoded + self.reduce_flow(flow)
        if isinstance(self.regressor, IterativeRegressor):
            return self.regressor.frames(encoded), None
        final, coarse = self.regressor(encoded)
        return final, coarse

    def accepts(self, rule: WindowRule) -> bool:
        """Only windows of its own length: positions beyond it were never trained."""
        return super().accepts(rule) and rule.length == self.context.length


def _bodies(parameters: Tensor) -> HPSOutput:
    """Parameters (B, T, 157) -> bodies."""
    pose, shape, camera = torch.split(parameters.flatten(0, 1), [NUM_POSE, NUM_SHAPE, NUM_CAMERA], dim=1)
    return BodyState(pose, shape, camera).output(parameters.shape[0])


def _check(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"dtsvibe: {key}={value!r} is not one of {', '.join(choices)}")


SYSTEM = DtsVibe
