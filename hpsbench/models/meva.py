"""MEVA: a coarse motion decoded from one latent vector per window, then refined frame by frame."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from hpsbench.bodies.mean_params import MeanParams
from hpsbench.errors import ShapeError, UsageError
from hpsbench.models._adapter import FeatureSystem
from hpsbench.models._regressor import NUM_CAMERA, NUM_POSE, NUM_SHAPE, BodyState, IterativeRegressor
from hpsbench.models._system import HPSOutput
from hpsbench.models.vibe import gru_hidden_size
from hpsbench.types import WindowRule

CARD = {
    "title": "MEVA",
    "paper": "Luo et al., ACCV 2020",
    "inputs": {"features": 2048, "window": 90},
    "predicts": "SMPL parameters and camera of every frame of a window",
    "parameters": 58727469,
    "fixed": [
        "encoders, motion decoder and refiner as in MEVA meva/lib/meva_model.py with the released configuration; 90 frames",
        "parameters without the frozen motion VAE: 5114000 more (vae_rec_1), 6237984 (vae_rec_2)",
        "6D rotations: first column, then second, one after the other",
        "vae rec_2 makes the first pose itself; the network that makes it for rec_1 stays among the entries, unused",
    ],
    "reading": [
        "names of a checkpoint's entries below its prefixes are those of the public code; no released file was at hand",
        "windows of another length than the system's own: it keeps its own; a window may be shorter, not longer",
        "tracks shorter than a window are padded with their last frame (the released script skips them)",
    ],
    "checkpoint": ["meva/model_best.pth.tar"],
    "get": "the links in the README of github.com/ZhengyiLuo/MEVA",
    "narrow": {"feature_width": 24, "hidden_size": 8, "latent": 6, "length": 20, "regressor_hidden": 12},
}
EPS = 1e-8

VaeKind = Literal["rec_1", "rec_2"]


def columns_to_rotmat(rot6d: Tensor) -> Tensor:
    """Rotation matrices of MEVA's 6D form (..., 6) = [column 0, column 1] -> (..., 3, 3).

    The third column is the normalised cross product of the two, the second that of the third and the first.
    """
    first = _unit(rot6d[..., :3])
    third = _unit(torch.linalg.cross(first, rot6d[..., 3:]))
    return torch.stack([first, torch.linalg.cross(third, first), third], dim=-1)


def _unit(vector: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    return vector / length.clamp_min(EPS)


class TemporalEncoder(nn.Module):
    """Bidirectional GRU, tanh, a linear layer; plus the features where it is residual. MEVA `meva_model.py`.

    The paper's spatio-temporal feature extractor (residual), and its motion encoder before the VME (not residual).
    """

    def __init__(self, width: int, n_layers: int, hidden_size: int, output_size: int, residual: bool) -> None:
        super().__init__()
        self.gru = nn.GRU(width, hidden_size, num_layers=n_layers, bidirectional=True)
        self.linear = nn.Linear(2 * hidden_size, output_size)
        self.residual = residual

    def forward(self, features: Tensor) -> Tensor:
        """(B, T, F) -> (B, T, output size)."""
        states: Tensor = self.gru(features.transpose(0, 1))[0].transpose(0, 1)
        encoded: Tensor = self.linear(torch.tanh(states))
        return encoded + features if self.residual else encoded


class Mlp(nn.Module):
    """Linear layers, each followed by the activation."""

    def __init__(
        self, width: int, hidden: Sequence[int], activation: Literal["tanh", "relu"] = "tanh"
    ) -> None:
        super().__init__()
        given = [width, *hidden[:-1]]
        self.affine_layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(given, hidden, strict=True))
        self.activation = torch.tanh if activation == "tanh" else torch.relu

    def forward(self, values: Tensor) -> Tensor:
        """(N, width) -> (N, hidden[-1])."""
        for layer in self.affine_layers:
            values = self.activation(layer(values))
        return values


class Recurrence(nn.Module):
    """GRU cells, one a direction, under the names of the released code."""

    def __init__(self, width: int, hidden_size: int, bidirectional: bool) -> None:
        super().__init__()
        size = hidden_size // 2 if bidirectional else hidden_size
        self.rnn_f = nn.GRUCell(width, size)
        self.rnn_b = nn.GRUCell(width, size) if bidirectional else None

    def forward(self, steps: Tensor) -> Tensor:
        """(B, T, width) -> states (B, T, hidden size)."""
        states = [self._run(self.rnn_f, steps)]
        if self.rnn_b is not None:
            states.append(self._run(self.rnn_b, steps.flip(1)).flip(1))
        return torch.cat(states, dim=2)

    @staticmethod
    def _run(cell: nn.GRUCell, steps: Tensor) -> Tensor:
        state = steps.new_zeros(len(steps), cell.hidden_size)
        found = []
        for step in steps.unbind(1):
            state = cell(step, state)
            found.append(state)
        return torch.stack(found, dim=1)


class MotionVae(nn.Module):
    """The variational autoencoder of motions, pretrained on AMASS; its decoder is MEVA's VME. MEVA `vae_recs.py`.

    Poses are 24 rotations in MEVA's 6D form (144 numbers). Its own training: squared error 1, of the root 20, divergence 0.1.

    Args:
        kind: "rec_1": the first pose is given to the decoder; "rec_2": a part of the VAE makes it of the latent.
        latent: width of the latent vector and of the recurrences.
    """

    def __init__(self, kind: VaeKind = "rec_1", latent: int = 512) -> None:
        super().__init__()
        hidden = (2 * latent, latent)
        self.e_rnn = Recurrence(NUM_POSE, latent, bidirectional=True)
        self.e_mlp = Mlp(latent, hidden)
        self.e_mu = nn.Linear(latent, latent)
        self.e_logvar = nn.Linear(latent, latent)
        self.d_rnn = Recurrence(NUM_POSE + latent, latent, bidirectional=False)
        self.d_mlp = Mlp(latent, hidden)
        self.d_out = nn.Linear(latent, NUM_POSE)
        self.init_pose_mlp: Mlp | None = None
        self.init_pose_out: nn.Linear | None = None
        if kind == "rec_2":
            self.init_pose_mlp = Mlp(latent, hidden, "relu")
            self.init_pose_out = nn.Linear(latent, NUM_POSE)

    def encode(self, poses: Tensor) -> tuple[Tensor, Tensor]:
        """Motions (B, T, 144) -> mean and log-variance (B, latent)."""
        hidden = self.e_mlp(self.e_rnn(poses).mean(dim=1))
        return self.e_mu(hidden), self.e_logvar(hidden)

    def decode(self, latent: Tensor, frames: int, first: Tensor | None = None) -> Tensor:
        """Latents (B, latent) -> motions (B, T, 144). Each step reads the one before and the latent.

        Args:
            latent: one vector per motion.
            frames: T.
            first: (B, 144) what the first step reads; needed for `rec_1`.

        Raises:
            UsageError: `rec_1` without a first pose.
        """
        pose = first
        if pose is None:
            if self.init_pose_mlp is None or self.init_pose_out is None:
                raise UsageError("this motion VAE (rec_1) decodes from a given first pose; none was given")
            pose = self.init_pose_out(self.init_pose_mlp(latent))
        state = latent.new_zeros(len(latent), self.d_rnn.rnn_f.hidden_size)
        poses = []
        for _ in range(frames):
            state = self.d_rnn.rnn_f(torch.cat([pose, latent], dim=1), state)
            pose = self.d_out(self.d_mlp(state))
            poses.append(pose)
        return torch.stack(poses, dim=1)

    def forward(self, poses: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Motions (B, T, 144) -> their reconstruction, mean and log-variance; latents are drawn in training."""
        mean, log_variance = self.encode(poses)
        latent = mean
        if self.training:
            latent = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        first = poses[:, 0] if self.init_pose_mlp is None else None
        return self.decode(latent, poses.shape[1], first), mean, log_variance


class Meva(FeatureSystem):
    """MEVA: feature encoder, motion encoder, frozen motion decoder (VME) and refiner (MRR).

    Args:
        n_layers: of both GRUs.
        hidden_size: of the feature encoder's GRU.
        latent: width of the motion's latent vector.
        vae: "rec_1" or "rec_2", which of the two released motion VAEs.
        length: frames of a window, and the most that are decoded.
        feature_width: F.
        regressor_hidden: width of the refiner's hidden layers.
        mean: mean shape and camera where the refiner starts; its pose starts from the decoded motion.

    Raises:
        UsageError: an option has no meaning.
    """

    name: ClassVar[str] = "meva"
    context: ClassVar[WindowRule] = WindowRule(
        length=90, stride=80, predict="all", edges="shift-last", overlap="cut-half", short="pad"
    )

    def __init__(
        self,
        n_layers: int = 2,
        hidden_size: int = 1024,
        latent: int = 512,
        vae: VaeKind = "rec_1",
        length: int = 90,
        feature_width: int = 2048,
        regressor_hidden: int = 1024,
        mean: MeanParams | None = None,
    ) -> None:
        super().__init__(
            feature_width,
            n_layers=n_layers,
            hidden_size=hidden_size,
            latent=latent,
            vae=vae,
            length=length,
            regressor_hidden=regressor_hidden,
        )
        if vae not in get_args(VaeKind):
            raise UsageError(f"meva: vae={vae!r} is not one of {', '.join(get_args(VaeKind))}")
        overlap = length // 9
        self.context = replace(self.context, length=length, stride=length - overlap)  # type: ignore[misc]
        self.vae, self.length = vae, length
        self.vae_model = MotionVae(vae, latent).requires_grad_(False)
        self.feat_encoder = TemporalEncoder(
            feature_width, n_layers, hidden_size, feature_width, residual=True
        )
        self.motion_encoder = TemporalEncoder(feature_width, n_layers, latent, latent, residual=False)
        self.vae_init_mlp = nn.Sequential(
            nn.Linear(latent, latent // 2), nn.Tanh(), nn.Linear(latent // 2, NUM_POSE)
        )
        self.regressor = IterativeRegressor(feature_width, regressor_hidden, mean)

    def forward(self, features: Tensor) -> HPSOutput:
        """Features (B, T, F), T at most the system's length -> bodies of all T frames.

        `aux["coarse"]` (B, T, 24, 3, 3): the decoded motion before it is refined.

        Raises:
            ShapeError: more frames than the decoder was trained for.
        """
        batch, frames, _ = features.shape
        if frames > self.length:
            raise ShapeError(f"meva decodes windows of at most {self.length} frames, got {frames}")
        encoded = self.feat_encoder(features)
        coarse = self._decode(self.motion_encoder(encoded).mean(dim=1), frames)
        state: BodyState = self.regressor(encoded.flatten(0, 1), pose=coarse.flatten(0, 1))
        return HPSOutput(
            rotmat=columns_to_rotmat(state.pose.reshape(batch, frames, 24, 6)),
            betas=state.shape.reshape(batch, frames, NUM_SHAPE),
            camera=state.camera.reshape(batch, frames, NUM_CAMERA),
            aux={"coarse": columns_to_rotmat(coarse.detach().reshape(batch, frames, 24, 6))},
        )

    def _decode(self, latent: Tensor, frames: int) -> Tensor:
        """VME: latents (B, latent) -> poses (B, T, 144). With `rec_1` MEVA's own network makes the first pose."""
        first = self.vae_init_mlp(latent) if self.vae == "rec_1" else None
        return self.vae_model.decode(latent, frames, first)

    def accepts(self, rule: WindowRule) -> bool:
        """Only windows of its own length: the decoder was trained for it."""
        return super().accepts(rule) and rule.length == self.length

    @classmethod
    def recognise(cls, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Any] | None:
        """MEVA's `gen_state_dict`, by its prefixes."""
        gru: dict[str, dict[str, tuple[int, ...]]] = {"feat_encoder": {}, "motion_encoder": {}}
        for name, shape in shapes.items():
            prefix, _, rest = name.partition(".gru.")
            if prefix in gru:
                gru[prefix][rest] = shape
        if not gru["feat_encoder"] or not gru["motion_encoder"]:
            return None
        return {
            "n_layers": 1 + max(int(name.split("_l")[-1].split("_")[0]) for name in gru["feat_encoder"]),
            "hidden_size": gru_hidden_size(gru["feat_encoder"]),
            "latent": gru_hidden_size(gru["motion_encoder"]),
            "vae": "rec_2" if any(name.startswith("vae_model.init_pose_") for name in shapes) else "rec_1",
        }


SYSTEM = Meva
