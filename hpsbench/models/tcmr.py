"""TCMR: past, present and future encoded apart and fused by attention; predicts the middle frame of a window."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hpsbench.bodies.mean_params import MeanParams
from hpsbench.models._adapter import Batch, FeatureSystem
from hpsbench.models._regressor import IterativeRegressor
from hpsbench.models._sliding import SharedGru, regress
from hpsbench.models._system import HPSOutput
from hpsbench.models.vibe import gru_hidden_size
from hpsbench.types import WindowRule

CARD = {
    "title": "TCMR",
    "paper": "Choi et al., CVPR 2021",
    "inputs": {"features": 2048, "window": 16},
    "predicts": "SMPL parameters and camera of the middle frame of a window",
    "parameters": 81907360,
    "fixed": "everything, as in TCMR_RELEASE lib/models/tcmr.py",
    "reading": "windows of another length than 16: the current frame is T // 2, past and future are what lies before and after",
    "narrow": {"feature_width": 24, "hidden_size": 8, "attention_width": 6, "regressor_hidden": 12},
    "checkpoint": ["tcmr_demo_model.pth.tar", "tcmr_table4_3dpw_test.pth.tar"],
    "get": "the links in the README of github.com/hongsukchoi/TCMR_RELEASE",
}
ATTENTION_WIDTH = 256


class Attention(nn.Module):
    """Weights of a few vectors: a shared projection of each, then an MLP on all of them. TCMR section 3.3.

    Every layer, the last one too, ends in tanh, so the logits lie in [-1, 1].

    Args:
        width: of the vectors.
        count: how many vectors.
        hidden: width of the projections and of the MLP.
    """

    def __init__(self, width: int, count: int = 3, hidden: int = ATTENTION_WIDTH) -> None:
        super().__init__()
        self.fc = nn.Linear(width, hidden)
        self.attention = nn.Sequential(
            nn.Linear(count * hidden, hidden),
            nn.Tanh(),
            nn.Linear(hidden, hidden),
            nn.Tanh(),
            nn.Linear(hidden, count),
            nn.Tanh(),
        )

    def forward(self, vectors: Tensor) -> Tensor:
        """(B, count, width) -> weights (B, count) that sum to 1."""
        return self.weigh(self.fc(vectors))

    def weigh(self, projected: Tensor) -> Tensor:
        """Projections (B, count, hidden) of the vectors -> weights (B, count)."""
        return torch.softmax(self.attention(projected.flatten(1)), dim=1)


class TemporalEncoder(nn.Module):
    """A GRU over all frames read at the middle one, one over the past, one over the future. TCMR sections 3.1, 3.2."""

    def __init__(self, width: int, n_layers: int, hidden_size: int, attention_width: int) -> None:
        super().__init__()
        self.gru_cur = nn.GRU(width, hidden_size, num_layers=n_layers, bidirectional=True)
        self.gru_bef = nn.GRU(width, hidden_size, num_layers=n_layers)
        self.gru_aft = nn.GRU(width, hidden_size, num_layers=n_layers)
        self.linear_cur = nn.Linear(2 * hidden_size, width)
        self.linear_bef = nn.Linear(hidden_size, width)
        self.linear_aft = nn.Linear(hidden_size, width)
        self.attention = Attention(width, hidden=attention_width)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, T, F) -> vectors (B, 3, F) of past, present, future of frame T // 2; their weights (B, 3)."""
        frames = features.transpose(0, 1)
        middle = len(frames) // 2
        present = self.gru_cur(frames)[0][middle]
        past = self.gru_bef(frames[:middle])[0][-1]
        future = self.gru_aft(frames[middle + 1 :].flip(0))[0][-1]
        return self._weighed(past, present, future)

    def windows(self, frames: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward(frames[rows])`: windows (W, T) of frames (U, F), whose input projections are computed once each."""
        middle = rows.shape[1] // 2
        present = SharedGru(self.gru_cur, frames, rows).at(middle)
        past = SharedGru(self.gru_bef, frames, rows[:, :middle]).at(-1)
        future = SharedGru(self.gru_aft, frames, rows[:, middle + 1 :].flip(1)).at(-1)
        return self._weighed(past, present, future)

    def _weighed(self, past: Tensor, present: Tensor, future: Tensor) -> tuple[Tensor, Tensor]:
        vectors = torch.stack(
            [
                self.linear_bef(torch.relu(past)),
                self.linear_cur(torch.relu(present)),
                self.linear_aft(torch.relu(future)),
            ],
            dim=1,
        )
        return vectors, self.attention(vectors)


class Tcmr(FeatureSystem):
    """TCMR's generator: temporal encoder, integration (section 3.3), SPIN's regressor on the fused vector.

    Args:
        n_layers: of each GRU.
        hidden_size: of each GRU.
        feature_width: F.
        attention_width: of the attention's hidden layers.
        regressor_hidden: width of the regressor's hidden layers.
        mean: mean parameters where the regressor starts.
    """

    name: ClassVar[str] = "tcmr"
    context: ClassVar[WindowRule] = WindowRule(
        length=16, stride=1, predict="middle", edges="repeat-frame", short="pad"
    )

    def __init__(
        self,
        n_layers: int = 2,
        hidden_size: int = 1024,
        feature_width: int = 2048,
        attention_width: int = ATTENTION_WIDTH,
        regressor_hidden: int = 1024,
        mean: MeanParams | None = None,
    ) -> None:
        super().__init__(
            feature_width,
            n_layers=n_layers,
            hidden_size=hidden_size,
            attention_width=attention_width,
            regressor_hidden=regressor_hidden,
        )
        self.encoder = TemporalEncoder(feature_width, n_layers, hidden_size, attention_width)
        self.regressor = IterativeRegressor(feature_width, regressor_hidden, mean)

    def forward(self, features: Tensor) -> HPSOutput:
        """Features (B, T, F) -> body of frame T // 2, T' = 1; `aux["attention"]` (B, 3): past, present, future."""
        vectors, weights = self.encoder(features)
        output = self.regressor.frames(_fused(vectors, weights)[:, None])
        return _with_attention(output, weights)

    shares_windows: ClassVar[bool] = True

    @torch.no_grad()
    def forward_windows(self, frames: Tensor, rows: Tensor) -> HPSOutput:
        """As `forward(frames[rows])` in evaluation mode; of the second layers only the steps that lead to the current frame."""
        vectors, weights = self.encoder.windows(frames, rows)
        state = regress(self.regressor, _fused(vectors, weights))
        return _with_attention(state.output(len(rows)), weights)

    def forward_train(self, batch: Batch) -> HPSOutput:
        """Three bodies of frame T // 2, T' = 3: from the past, from the future, and fused; all are supervised."""
        vectors, weights = self.encoder(batch.features)
        rows = torch.stack([vectors[:, 0], vectors[:, 2], _fused(vectors, weights)], dim=1)
        return _with_attention(self.regressor.frames(rows), weights)

    def accepts(self, rule: WindowRule) -> bool:
        """Windows of at least 3 frames of which the middle one is used."""
        fits = isinstance(rule.length, int) and rule.length >= 3
        return fits and rule.predict == "middle" and rule.keep is None and rule.edges != "zero-image"

    @classmethod
    def recognise(cls, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Any] | None:
        """TCMR's `gen_state_dict`."""
        gru = {
            name.split(".")[-1]: shape
            for name, shape in shapes.items()
            if name.startswith("encoder.gru_bef.")
        }
        if not gru:
            return None
        n_layers = 1 + max(int(name.split("_l")[-1].split("_")[0]) for name in gru)
        return {"n_layers": n_layers, "hidden_size": gru_hidden_size(gru)}


def _fused(vectors: Tensor, weights: Tensor) -> Tensor:
    """(B, 3, F), (B, 3) -> (B, F)."""
    return torch.sum(vectors * weights[..., None], dim=1)


def _with_attention(output: HPSOutput, weights: Tensor) -> HPSOutput:
    return HPSOutput(
        rotmat=output.rotmat, betas=output.betas, camera=output.camera, aux={"attention": weights.detach()}
    )


SYSTEM = Tcmr
