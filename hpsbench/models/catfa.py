"""Confidence-aware aggregation: neighbours predict a frame's feature, and how much to trust each of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from hpsbench.bodies.mean_params import MeanParams
from hpsbench.errors import UsageError
from hpsbench.models._adapter import Batch, FeatureSystem
from hpsbench.models._regressor import IterativeRegressor
from hpsbench.models._system import HPSOutput
from hpsbench.types import WindowRule

CARD = {
    "title": "confidence-aware temporal feature aggregation",
    "paper": "Zhang et al., Confidence-Aware Temporal Feature Aggregation, IEEE Trans. Multimedia 2022 (no code released)",
    "inputs": {"features": 2048, "window": 16},
    "predicts": "SMPL parameters and camera of every frame of a window",
    "parameters": 80374075,
    "fixed": [
        "five predictors of three layers with ReLU and dropout between them and a skip connection",
        "variance estimator: a 1-D convolution that combines two features, two layers with a ReLU between them",
        "weights: softmax of minus the log variance; a second generator on the weighted sum, whose loss stops there",
    ],
    "reading": [
        "features: SPIN's ResNet-50, frozen, as for every other system here (the paper cites HMR's)",
        "only the second generator's bodies are the output; those of one predictor (Table IV) by option single",
        "predictors are 2048 wide throughout, dropout 0.5",
        "one variance estimator for all distances, 4096-2048 without a non-linearity, 2048-1024-1",
        "log variance clamped to [-10, 10]",
        "frames beyond the window: left out of the softmax and of the loss; zeros for GRU and TCN; with single, and where no "
        "neighbour of a frame lies in the window (sets without 0), the window's nearest frame predicts",
        "both generators are SPIN's regressor, with weights of their own",
        "aggregation 'gru': one layer of 2048 over the predicted features from past to future, last state; 'tcn': one "
        "convolution over all of them; 'equal' (Table IX) and 'mean' (Table VIII, average pooling) are the same: their mean. "
        "The variance estimator is trained in all of them",
        "windows of 16, all frames predicted",
    ],
    "narrow": {"feature_width": 24, "variance_hidden": 10, "regressor_hidden": 12},
}
DISTANCES = (2, 1, 0, -1, -2)
LIMIT = 10.0
"""Largest absolute log variance."""

Aggregation = Literal["adaptive", "equal", "mean", "gru", "tcn"]


class Predictor(nn.Module):
    """P_d: predicts a frame's feature from that of the frame d later. Section III.C and IV.C, equation 6."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(..., F) -> (..., F)."""
        change: Tensor = self.layers(features)
        return features + change


class VarianceEstimator(nn.Module):
    """V_e: log variance of a prediction, from the predicted and the frame's own feature. Section III.D, equations 9, 10."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.combine = nn.Conv1d(2 * width, width, 1)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, 1)

    def forward(self, predicted: Tensor, own: Tensor) -> Tensor:
        """Predicted (N, F) and own (N, F) features -> s (N,), in [-10, 10]."""
        # The convolution of kernel 1 as the matrix product that it is: ten times as fast on a CPU, forth and back.
        both = torch.cat([predicted, own], dim=1)
        combined = nn.functional.linear(both, self.combine.weight[..., 0], self.combine.bias)
        log_variance: Tensor = self.fc2(torch.relu(self.fc1(combined)))
        return log_variance[:, 0].clamp(-LIMIT, LIMIT)


class SequenceAggregation(nn.Module):
    """The alternatives of Table VIII: a GRU's last state or one convolution over the predicted features of a frame."""

    def __init__(self, kind: Literal["gru", "tcn"], width: int, count: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width, width, batch_first=True) if kind == "gru" else None
        self.conv = nn.Conv1d(width, width, count) if kind == "tcn" else None

    def forward(self, predicted: Tensor) -> Tensor:
        """(N, D, F), past to future -> (N, F)."""
        if self.gru is not None:
            last: Tensor = self.gru(predicted)[1][-1]
            return last
        if self.conv is not None:
            mixed: Tensor = self.conv(predicted.transpose(1, 2))[..., 0]
            return mixed
        raise UsageError("an aggregation is a GRU or a convolution")


class Catfa(FeatureSystem):
    """The confidence-aware model, with any set of predictors and the other aggregations of its tables.

    Args:
        feature_width: F.
        distances: how far from a frame each predictor looks: any set (Table VII).
        aggregation: "adaptive" weights; "equal" weights or "mean" (average pooling, the same); "gru"; "tcn".
        single: the output is the first generator's on the prediction from this distance alone (Table IV); None: the
            aggregate. It changes no weights.
        variance_hidden: width of the variance estimator's hidden layer.
        dropout: of the predictors.
        regressor_hidden: width of the hidden layers of both generators.
        mean: mean parameters where the generators start.

    Raises:
        UsageError: an option has no meaning.
    """

    name: ClassVar[str] = "catfa"
    context: ClassVar[WindowRule] = WindowRule(
        length=16, stride=16, predict="all", edges="shift-last", overlap="cut-half", short="pad"
    )

    def __init__(
        self,
        feature_width: int = 2048,
        distances: Sequence[int] = DISTANCES,
        aggregation: Aggregation = "adaptive",
        single: int | None = None,
        variance_hidden: int = 1024,
        dropout: float = 0.5,
        regressor_hidden: int = 1024,
        mean: MeanParams | None = None,
    ) -> None:
        super().__init__(
            feature_width,
            distances=list(distances),
            aggregation=aggregation,
            single=single,
            variance_hidden=variance_hidden,
            dropout=dropout,
            regressor_hidden=regressor_hidden,
        )
        _check(distances, aggregation, single)
        self.distances, self.aggregation, self.single = tuple(distances), aggregation, single
        self.predictors = nn.ModuleList(Predictor(feature_width, dropout) for _ in distances)
        self.variance = VarianceEstimator(feature_width, variance_hidden)
        self.sequence: SequenceAggregation | None = None
        if aggregation in ("gru", "tcn"):
            self.sequence = SequenceAggregation(aggregation, feature_width, len(self.distances))
        self.generator = IterativeRegressor(feature_width, regressor_hidden, mean)
        self.regressor = IterativeRegressor(feature_width, regressor_hidden, mean)

    def forward(self, features: Tensor) -> HPSOutput:
        """Features (B, T, F) -> bodies of all T frames.

        `aux`: `weights` and `log_variance`, both (B, T, D), D in the order of `distances`; `valid` (T, D): pairs whose
        second frame lies in the window.
        """
        predicted, valid = self.predict_features(features)
        log_variance = self.log_variance(predicted, features)
        weights = self.weights(log_variance, valid)
        if self.single is not None:
            output = self.generator.frames(predicted[:, :, self.distances.index(self.single)])
        else:
            output = self.regressor.frames(self.aggregate(predicted, weights, valid))
        aux = {"weights": weights.detach(), "log_variance": log_variance.detach(), "valid": valid}
        return replace(output, aux=aux)

    def forward_train(self, batch: Batch) -> HPSOutput:
        """Bodies from the aggregate, cut off from what made it, so that their loss trains the second generator alone.

        `aux` is `weights`, `log_variance` (with its gradient) and `valid` as in `forward`, and `predicted`: an `HPSOutput`
        of the first generator's bodies (B, T x D), those of a frame from its D neighbours side by side. Section III.F.
        """
        predicted, valid = self.predict_features(batch.features)
        log_variance = self.log_variance(predicted, batch.features)
        weights = self.weights(log_variance, valid).detach()
        output = self.regressor.frames(self.aggregate(predicted.detach(), weights, valid))
        aux = {
            "weights": weights,
            "log_variance": log_variance,
            "valid": valid,
            "predicted": self.generator.frames(predicted.flatten(1, 2)),
        }
        return replace(output, aux=aux)

    def predict_features(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """f^p: features (B, T, F) -> (B, T, D, F), entry (t, d) made of frame t + d; and which of these exist, (T, D).

        Beyond the window's ends the nearest frame stands in; it counts only where a frame has no other neighbour.
        """
        frames = features.shape[1]
        ahead = torch.tensor(self.distances, device=features.device)
        source = torch.arange(frames, device=features.device)[:, None] + ahead
        valid = (source >= 0) & (source < frames)
        valid |= ~valid.any(dim=1, keepdim=True)
        source = source.clamp(0, frames - 1)
        made = [network(features)[:, source[:, number]] for number, network in enumerate(self.predictors)]
        return torch.stack(made, dim=2), valid

    def log_variance(self, predicted: Tensor, features: Tensor) -> Tensor:
        """Log variance of each prediction: f^p (B, T, D, F) and the frames' own features (B, T, F) -> (B, T, D)."""
        own = features[:, :, None].expand_as(predicted)
        found: Tensor = self.variance(predicted.flatten(0, 2), own.flatten(0, 2))
        return found.reshape(predicted.shape[:3])

    def weights(self, log_variance: Tensor, valid: Tensor) -> Tensor:
        """Weights (B, T, D) of the predictions of each frame, zero where there is none; they sum to 1. Equation 18."""
        confidence = -log_variance if self.aggregation == "adaptive" else torch.zeros_like(log_variance)
        return torch.softmax(confidence.masked_fill(~valid, -torch.inf), dim=-1)

    def aggregate(self, predicted: Tensor, weights: Tensor, valid: Tensor) -> Tensor:
        """f^r: predictions (B, T, D, F) and their weights -> (B, T, F). Equations 17 and 18, or Table VIII's others."""
        if self.sequence is None:
            return torch.sum(predicted * weights[..., None], dim=2)
        from_past = sorted(range(len(self.distances)), key=self.distances.__getitem__)
        shown = (predicted * valid[..., None])[:, :, from_past]
        found: Tensor = self.sequence(shown.flatten(0, 1))
        return found.reshape(*predicted.shape[:2], -1)


def _check(distances: Sequence[int], aggregation: str, single: int | None) -> None:
    if not distances or len(set(distances)) != len(distances):
        raise UsageError(f"catfa: distances={list(distances)}; give at least one, each once")
    if aggregation not in get_args(Aggregation):
        raise UsageError(
            f"catfa: aggregation={aggregation!r} is not one of {', '.join(get_args(Aggregation))}"
        )
    if single is not None and single not in distances:
        raise UsageError(f"catfa: single={single} is not one of the distances {list(distances)}")


SYSTEM = Catfa
