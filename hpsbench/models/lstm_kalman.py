"""LSTM-Kalman: a Kalman filter over another system's joints whose motion and noise models are LSTMs. Joints only."""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from hpsbench.bodies.joints import LSP14, convert_indices
from hpsbench.errors import FeatureMismatch, ShapeError, UsageError
from hpsbench.geometry.alignment import root_align
from hpsbench.models._adapter import FeatureSystem
from hpsbench.models._system import HPSOutput
from hpsbench.models.mean_pose import JointsOf
from hpsbench.types import ClipInput, Inputs, Prediction, WindowRule

CARD = {
    "title": "LSTM-Kalman on SPIN's joints",
    "paper": "Coskun et al., ICCV 2017; as a baseline in Zhang et al., section IV.K and Table X",
    "inputs": {"predictions": "spin"},
    "predicts": "14 LSP joints of every frame, relative to the middle of the hips; no body",
    "parameters": 6524030,
    "fixed": [
        "observation = state; motion model of 3 LSTM layers of 512 and three layers; process and measurement noise each by an "
        "LSTM of 256 and one layer (lstmkf_ICCV2017 kfl_QRf.py and config.py)",
        "the covariance is carried in Joseph's form, without a Jacobian of the motion model",
    ],
    "reading": [
        "state: 14 root-relative joints, 42 numbers in metres (the confidence paper gives no sizes); the pose of the body is not filtered",
        "diagonal covariances, so that the gain is one number per coordinate",
        "the state is corrected by K (z - x), not replaced by it as in the stored revision of the code",
        "starts from the first measurement with variance 0.1; log variances clamped to [-10, 10]",
        "a whole track at once; training resets the state at each window",
        "dropout 0.1 after every LSTM layer (kept 0.9); Xavier weights, forget gates start with bias 1",
    ],
    "narrow": {"hidden_size": 8, "noise_size": 6},
}
STATE = 3 * len(LSP14)
START_VARIANCE = 0.1
LIMIT = 10.0
"""Largest absolute log variance of the noises."""
HIPS = ("Right Hip", "Left Hip")


class LstmStack(nn.Module):
    """LSTM cells on top of each other, dropout after each; called step by step with its own state."""

    def __init__(self, width: int, hidden_size: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.cells = nn.ModuleList(
            _started(nn.LSTMCell(width if number == 0 else hidden_size, hidden_size))
            for number in range(layers)
        )
        self.drop = nn.Dropout(dropout)

    def forward(
        self, value: Tensor, states: list[tuple[Tensor, Tensor]] | None
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """One step: (B, width) and the states (None at the start) -> (B, hidden size) and the new states."""
        after = []
        for number, cell in enumerate(self.cells):
            hidden, memory = cell(value, None if states is None else states[number])
            after.append((hidden, memory))
            value = self.drop(hidden)
        return value, after


class NoiseModel(nn.Module):
    """Variances of a noise, one per coordinate of the state, from an LSTM and one layer. `kfl_QRf.py`, noiseQ, noiseR."""

    def __init__(self, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.lstm = LstmStack(STATE, hidden_size, 1, dropout)
        self.fc = _xavier(nn.Linear(hidden_size, STATE))

    def forward(
        self, value: Tensor, states: list[tuple[Tensor, Tensor]] | None
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """One step: (B, 42) and the states -> variances (B, 42) and the new states."""
        hidden, after = self.lstm(value, states)
        return torch.exp(self.fc(hidden).clamp(-LIMIT, LIMIT)), after


class LstmKalman(FeatureSystem):
    """The filter. Reads the joints of another system's predictions.

    Attributes:
        joints_of: rotations (N, 24, 3, 3) and betas (N, 10) -> LSP joints (N, 14, 3), metres, for predictions that are
            bodies without joints; None until whoever drives the system has a body model.

    Args:
        hidden_size: of the motion model's LSTM and layers.
        n_layers: of its LSTM.
        noise_size: of the LSTMs of both noises.
        dropout: after every LSTM layer.
        feature_width: of a measurement; 42.

    Raises:
        UsageError: `feature_width` is not 42.
    """

    name: ClassVar[str] = "lstm_kalman"
    context: ClassVar[WindowRule] = WindowRule(length="track", stride="track")

    def __init__(
        self,
        hidden_size: int = 512,
        n_layers: int = 3,
        noise_size: int = 256,
        dropout: float = 0.1,
        feature_width: int = STATE,
    ) -> None:
        if feature_width != STATE:
            raise UsageError(f"lstm_kalman: feature_width={feature_width}; measurements are {STATE} numbers")
        super().__init__(
            feature_width, hidden_size=hidden_size, n_layers=n_layers, noise_size=noise_size, dropout=dropout
        )
        self.inputs = Inputs(predictions="spin")
        self.joints_of: JointsOf | None = None
        self.motion = LstmStack(STATE, hidden_size, n_layers, dropout)
        self.motion_head = nn.Sequential(
            _xavier(nn.Linear(hidden_size, hidden_size)),
            nn.ReLU(),
            _xavier(nn.Linear(hidden_size, hidden_size)),
            nn.ReLU(),
            _xavier(nn.Linear(hidden_size, STATE)),
        )
        self.process_noise = NoiseModel(noise_size, dropout)
        self.measurement_noise = NoiseModel(noise_size, dropout)

    def forward(self, features: Tensor) -> HPSOutput:
        """Measurements (B, T, 42) of `measurements` -> filtered joints of all T frames; each sees no later frame.

        `aux`: `prior` (B, T, 14, 3), the joints before the frame's own measurement, which training supervises too, and
        `gain` (B, T, 42).
        """
        state, variance = features[:, 0], torch.full_like(features[:, 0], START_VARIANCE)
        motion = process = measured = None
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        for seen in features.unbind(1):
            process_noise, process = self.process_noise(state, process)
            hidden, motion = self.motion(state, motion)
            prior: Tensor = self.motion_head(hidden)
            variance = variance + process_noise
            measurement_noise, measured = self.measurement_noise(seen, measured)
            gain = variance / (variance + measurement_noise)
            state = prior + gain * (seen - prior)
            variance = (1 - gain) ** 2 * variance + gain**2 * measurement_noise
            found.append((state, prior, gain))
        states, priors, gains = (torch.stack(parts, dim=1) for parts in zip(*found, strict=True))
        shape = (*features.shape[:2], len(LSP14), 3)
        aux = {"prior": priors.reshape(shape), "gain": gains.detach()}
        return HPSOutput(joints3d=states.reshape(shape), joint_set=LSP14.id, aux=aux)

    def accepts(self, rule: WindowRule) -> bool:
        """Only whole tracks: a filter has no window."""
        return rule.length == "track"

    @torch.no_grad()
    def predict(self, clip: ClipInput) -> Prediction:
        """Filtered joints of all frames that the other system predicted.

        Raises:
            FeatureMismatch: the clip has no predictions, or none that joints can be made of.
        """
        given = clip.predictions
        if given is None:
            raise FeatureMismatch(
                f"track {clip.track}: system {self.name!r} reads the predictions of another system "
                f"({self.inputs.predictions}), and the clip has none"
            )
        if len(given.rows) == 0:
            nothing = np.zeros((0, len(LSP14), 3), np.float32)
            return Prediction(rows=given.rows, joints3d=nothing, joint_set=LSP14.id)
        training = self.training
        self.eval()
        try:
            device = next(self.parameters()).device
            seen = measurements(self._joints(clip.track, given).to(device))
            output: HPSOutput = self(seen[None])
        finally:
            self.train(training)
        if output.joints3d is None:
            raise FeatureMismatch(f"track {clip.track}: no joints were filtered")
        return Prediction(rows=given.rows, joints3d=output.joints3d[0].cpu().numpy(), joint_set=LSP14.id)

    def _joints(self, track: str, given: Prediction) -> Tensor:
        """LSP joints (T, 14, 3) of predictions, in their order."""
        if given.joints3d is not None and given.joint_set is not None:
            order = convert_indices(given.joint_set, LSP14.id)
            if min(order) < 0:
                absent = [name for name, row in zip(LSP14.names, order, strict=True) if row < 0]
                raise FeatureMismatch(f"track {track}: joint set {given.joint_set} lacks {', '.join(absent)}")
            return torch.from_numpy(given.joints3d[:, order].astype(np.float32, copy=False))
        if given.rotmat is None or given.betas is None or self.joints_of is None:
            raise FeatureMismatch(
                f"track {track}: system {self.name!r} reads joints; the predictions have none, and no body model was "
                "given to make them (joints_of)"
            )
        rotmat, betas = (torch.from_numpy(value.astype(np.float32)) for value in (given.rotmat, given.betas))
        return self.joints_of(rotmat, betas)


def measurements(joints3d: Tensor) -> Tensor:
    """What the filter reads: LSP joints (..., 14, 3), metres -> (..., 42), relative to the middle of the hips.

    Raises:
        ShapeError: another number of joints.
    """
    if joints3d.shape[-2:] != (len(LSP14), 3):
        raise ShapeError(f"joints3d: expected (..., {len(LSP14)}, 3), got {tuple(joints3d.shape)}")
    aligned: Tensor = root_align(joints3d, LSP14.indices(HIPS))
    return aligned.flatten(-2)


def _xavier(layer: nn.Linear) -> nn.Linear:
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _started(cell: nn.LSTMCell) -> nn.LSTMCell:
    """Xavier weights, zero biases, and 1 for the forget gate (PyTorch's gates: input, forget, cell, output)."""
    for weight in (cell.weight_ih, cell.weight_hh):
        nn.init.xavier_uniform_(weight)
    for bias in (cell.bias_ih, cell.bias_hh):
        nn.init.zeros_(bias)
    with torch.no_grad():
        cell.bias_ih[cell.hidden_size : 2 * cell.hidden_size] = 1.0
    return cell


SYSTEM = LstmKalman
