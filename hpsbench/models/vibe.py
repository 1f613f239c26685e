"""VIBE's generator: a GRU over the features, then SPIN's regressor on every frame."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hpsbench.bodies.mean_params import MeanParams
from hpsbench.models._adapter import FeatureSystem
from hpsbench.models._regressor import IterativeRegressor
from hpsbench.models._system import HPSOutput
from hpsbench.types import WindowRule

CARD = {
    "title": "VIBE",
    "paper": "Kocabas et al., CVPR 2020",
    "inputs": {"features": 2048, "window": 16},
    "predicts": "SMPL parameters and camera of every frame of a window",
    "parameters": 21309597,
    "fixed": "generator as in VIBE lib/models/vibe.py with the released configuration: one-way GRU, 2 layers of 1024, residual",
    "reading": [
        "the paper's text says bidirectional; released weights are one-way (option bidirectional, 45439133 parameters)",
        "the paper's text says one shape per clip; the released code regresses one per frame, and so does this",
        "the residual (released: yes) leaves no trace in a checkpoint; files without a card are taken to have it",
    ],
    "narrow": {"feature_width": 24, "hidden_size": 8, "regressor_hidden": 12},
    "checkpoint": ["vibe_model_w_3dpw.pth.tar", "vibe_model_wo_3dpw.pth.tar"],
    "get": "vibe_data.zip of github.com/mkocabas/VIBE (scripts/prepare_data.sh)",
}


class TemporalEncoder(nn.Module):
    """GRU, then ReLU and a linear layer back to the feature width, plus the features. VIBE section 3.1."""

    def __init__(
        self,
        width: int,
        n_layers: int,
        hidden_size: int,
        bidirectional: bool,
        add_linear: bool,
        residual: bool,
    ) -> None:
        super().__init__()
        self.gru = nn.GRU(width, hidden_size, num_layers=n_layers, bidirectional=bidirectional)
        self.linear: nn.Linear | None = None
        if bidirectional or add_linear:
            self.linear = nn.Linear(hidden_size * (2 if bidirectional else 1), width)
        self.residual = residual

    def forward(self, features: Tensor) -> Tensor:
        """(B, T, F) -> (B, T, F), or (B, T, hidden) without a linear layer."""
        encoded: Tensor = self.gru(features.transpose(0, 1))[0]
        if self.linear is not None:
            encoded = self.linear(torch.relu(encoded))
        encoded = encoded.transpose(0, 1)
        if self.residual and encoded.shape[-1] == features.shape[-1]:
            encoded = encoded + features
        return encoded


class Vibe(FeatureSystem):
    """VIBE's generator (section 3.1), as released; the motion discriminator is a part of training.

    Args:
        n_layers: of the GRU.
        hidden_size: of the GRU.
        add_linear: a linear layer from the GRU's width back to F; a bidirectional GRU always has one.
        bidirectional: as the paper's text says and MPS-Net's table uses; the released weights are one-way.
        residual: add the features to the result, where it has their width.
        feature_width: F.
        regressor_hidden: width of the regressor's hidden layers.
        mean: mean parameters where the regressor starts.
    """

    name: ClassVar[str] = "vibe"
    context: ClassVar[WindowRule] = WindowRule(
        length=16, stride=16, predict="all", edges="shift-last", overlap="cut-half", short="pad"
    )

    def __init__(
        self,
        n_layers: int = 2,
        hidden_size: int = 1024,
        add_linear: bool = True,
        bidirectional: bool = False,
        residual: bool = True,
        feature_width: int = 2048,
        regressor_hidden: int = 1024,
        mean: MeanParams | None = None,
    ) -> None:
        super().__init__(
            feature_width,
            n_layers=n_layers,
            hidden_size=hidden_size,
            add_linear=add_linear,
            bidirectional=bidirectional,
            residual=residual,
            regressor_hidden=regressor_hidden,
        )
        self.encoder = TemporalEncoder(
            feature_width, n_layers, hidden_size, bidirectional, add_linear, residual
        )
        width = feature_width if bidirectional or add_linear else hidden_size
        self.regressor = IterativeRegressor(width, regressor_hidden, mean)

    def forward(self, features: Tensor) -> HPSOutput:
        """Features (B, T, F) -> bodies of all T frames."""
        return self.regressor.frames(self.encoder(features))

    @classmethod
    def recognise(cls, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Any] | None:
        """VIBE's `gen_state_dict` in any configuration; whether it is residual leaves no trace (released: yes)."""
        gru = {
            name.removeprefix("encoder.gru."): shape
            for name, shape in shapes.items()
            if name.startswith("encoder.gru.")
        }
        if not gru:
            return None
        return {
            "n_layers": 1 + max(int(name.split("_l")[-1].split("_")[0]) for name in gru),
            "hidden_size": gru_hidden_size(gru),
            "bidirectional": any(name.endswith("_reverse") for name in gru),
            "add_linear": any(name.startswith("encoder.linear.") for name in shapes),
        }


def gru_hidden_size(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Hidden size that most entries of a GRU agree on, so that one wrong entry is found and named."""
    votes: Iterable[int] = (shape[0] // 3 for shape in shapes.values() if shape)
    return Counter(votes).most_common(1)[0][0]


SYSTEM = Vibe
