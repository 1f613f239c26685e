"""SPS-Net: self-attention over all frames, a forecast of each frame from the one before, and their fusion."""

from dataclasses import replace
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from hpsbench.bodies.mean_params import MeanParams
from hpsbench.errors import UsageError
from hpsbench.models._adapter import Batch, FeatureSystem
from hpsbench.models._discriminators import SelfAttention, two_layers
from hpsbench.models._regressor import IterativeRegressor
from hpsbench.models._system import HPSOutput
from hpsbench.models.vibe import TemporalEncoder
from hpsbench.types import WindowRule

CARD = {
    "title": "SPS-Net",
    "paper": "Chen et al., Self-attentive 3D human pose and shape estimation from videos, CVIU 2022 (no code released)",
    "inputs": {"features": 2048, "window": 32},
    "predicts": "SMPL parameters and camera of every frame of a window, one shape per window",
    "parameters": 28649630,
    "fixed": [
        "two networks of two layers of 2048 for attention, no value map, a residual connection",
        "a forecast of two layers of 2048; fusion by one layer to a scalar and a softmax over the two",
        "the first frame has no forecast; iterative regressors; sequences of 32",
    ],
    "reading": [
        "a leaky ReLU of slope 0.01 after each of two layers; no norm and no dropout before the regressor",
        "three regressors: SPIN's regressor with its three heads; pose in SPIN's 6D form",
        "one shape per clip: mean over the window of the shapes per frame",
        "the global rotation is part of the pose only, the camera is (s, tx, ty)",
        "without attention h = f; without forecasting F = h; 'gru': VIBE's encoder as released (two layers of 1024)",
        "windows of another length than the system's own: it keeps its own",
    ],
    "narrow": {"feature_width": 24, "hidden_size": 8, "regressor_hidden": 12},
}
TemporalModule = Literal["self_attention", "gru", "none"]


class SpsNet(FeatureSystem):
    """SPS-Net's generator, and the ablations of its Tables 3, 4 and 5.

    Args:
        feature_width: F.
        length: N, frames of a window (Table 5: 8, 16, 32, 48).
        temporal_module: "self_attention"; "gru"; "none".
        forecasting: whether each frame's feature is fused with its forecast.
        hidden_size: of the GRU.
        regressor_hidden: width of the regressor's hidden layers.
        mean: mean parameters where the regressor starts.

    Raises:
        UsageError: an option has no meaning.
    """

    name: ClassVar[str] = "spsnet"
    context: ClassVar[WindowRule] = WindowRule(
        length=32, stride=32, predict="all", edges="shift-last", overlap="cut-half", short="pad"
    )

    def __init__(
        self,
        feature_width: int = 2048,
        length: int = 32,
        temporal_module: TemporalModule = "self_attention",
        forecasting: bool = True,
        hidden_size: int = 1024,
        regressor_hidden: int = 1024,
        mean: MeanParams | None = None,
    ) -> None:
        super().__init__(
            feature_width,
            length=length,
            temporal_module=temporal_module,
            forecasting=forecasting,
            hidden_size=hidden_size,
            regressor_hidden=regressor_hidden,
        )
        if temporal_module not in get_args(TemporalModule):
            choices = ", ".join(get_args(TemporalModule))
            raise UsageError(f"spsnet: temporal_module={temporal_module!r} is not one of {choices}")
        self.context = replace(self.context, length=length, stride=length)  # type: ignore[misc]
        self.attention: SelfAttention | None = None
        self.encoder: TemporalEncoder | None = None
        if temporal_module == "self_attention":
            self.attention = SelfAttention(feature_width)
        elif temporal_module == "gru":
            self.encoder = TemporalEncoder(feature_width, 2, hidden_size, False, True, True)
        self.forecast = two_layers(feature_width) if forecasting else None
        self.fusion = nn.Linear(feature_width, 1) if forecasting else None
        self.regressor = IterativeRegressor(feature_width, regressor_hidden, mean)

    def forward(self, features: Tensor) -> HPSOutput:
        """Features (B, T, F) -> bodies of all T frames, betas equal over T.

        `aux` has what there is of: `attention` (B, T, T), the weights of all frames for each; `fusion` (B, T - 1, 2), the
        weights of latent and forecast of the frames after the first.
        """
        latent, aux = self._latent(features)
        forecast = self._forecast(features)
        return self._bodies(latent, forecast, aux)

    def forward_train(self, batch: Batch) -> HPSOutput:
        """Bodies of all frames, and in `aux` the rows that only a loss reads.

        `forecast` (B, T - 1, F): the features forecast for frames 1 to T - 1, to be compared with the frozen features
        there (equation 3). `shifted` and `occluded` are `HPSOutput`s of the batch's `shifted` features (the windows one
        frame later, for camera consistency, equation 6) and `occluded` features (of masked crops, for the occlusion loss),
        each where the batch has them.
        """
        latent, aux = self._latent(batch.features)
        forecast = self._forecast(batch.features)
        if forecast is not None:
            aux["forecast"] = forecast
        for name in ("shifted", "occluded"):
            other = getattr(batch, name, None)
            if other is not None:
                aux[name] = self(other)
        return self._bodies(latent, forecast, aux)

    def _latent(self, features: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """Section 3.2, h (B, T, F): what a frame's feature becomes among the others."""
        if self.attention is not None:
            latent, weights = self.attention(features)
            return latent, {"attention": weights.detach()}
        if self.encoder is not None:
            return self.encoder(features), {}
        return features, {}

    def _forecast(self, features: Tensor) -> Tensor | None:
        """Section 3.3, f' (B, T - 1, F): the features of frames 1 to T - 1, each from the frame before."""
        return None if self.forecast is None else self.forecast(features[:, :-1])

    def _bodies(self, latent: Tensor, forecast: Tensor | None, aux: dict[str, Any]) -> HPSOutput:
        """Section 3.4: fuse latents and forecasts of the same frame, then regress; one shape per window."""
        fused = latent
        if forecast is not None and self.fusion is not None:
            both = torch.stack([latent[:, 1:], forecast], dim=2)
            weights = torch.softmax(self.fusion(both)[..., 0], dim=-1)
            later = torch.sum(both * weights[..., None], dim=2)
            fused = torch.cat([latent[:, :1], later], dim=1)
            aux["fusion"] = weights.detach()
        output = self.regressor.frames(fused)
        betas = output.betas
        if betas is not None:
            betas = betas.mean(dim=1, keepdim=True).expand_as(betas)
        return replace(output, betas=betas, aux=aux)

    def accepts(self, rule: WindowRule) -> bool:
        """Only windows of its own length: attention and shape span the window that it was trained for."""
        return super().accepts(rule) and rule.length == self.context.length


SYSTEM = SpsNet
