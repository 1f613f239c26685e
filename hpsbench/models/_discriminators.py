"""What tells predicted motion from captured motion in training; no part of any system's prediction."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from hpsbench.errors import ShapeError, UsageError
from hpsbench.geometry.rotations import rotmat_to_axis_angle
from hpsbench.models._system import HPSOutput

NUM_BODY_POSE = 69
NUM_BODY_JOINTS = 23
Pool = Literal["attention", "concat", "last"]


def body_pose_of(output: HPSOutput) -> Tensor:
    """(B, T, 69): axis-angle of the 23 joints below the root, the slice 6:75 of VIBE's theta.

    Raises:
        ShapeError: the output has no rotations.
    """
    if output.rotmat is None:
        raise ShapeError("a discriminator of motions needs rotations; this output has none")
    pose: Tensor = rotmat_to_axis_angle(output.rotmat[:, :, 1:])
    return pose.flatten(-2)


def shape_and_pose_of(output: HPSOutput) -> Tensor:
    """(B, T, 82): betas, then axis-angle of all 24 joints with the global rotation.

    Raises:
        ShapeError: the output has no SMPL parameters.
    """
    if output.rotmat is None or output.betas is None:
        raise ShapeError("this discriminator needs rotations and betas; the output lacks one of them")
    pose: Tensor = rotmat_to_axis_angle(output.rotmat)
    return torch.cat([output.betas, pose.flatten(-2)], dim=-1)


class StepAttention(nn.Module):
    """Weights of the steps of a sequence, from each step alone; they sum to 1. VIBE section 3.2, equation 4.

    Tanh and dropout follow every layer, also the last, scalar one, so that logits lie in [-1, 1] and training zeroes some.
    """

    def __init__(self, width: int, layers: int, size: int, dropout: float) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        for number in range(layers):
            given = width if number == 0 else size
            linear = nn.Linear(given, 1 if number == layers - 1 else size)
            nn.init.uniform_(linear.weight, -0.1, 0.1)
            nn.init.constant_(linear.bias, 0.01)
            steps += [linear, nn.Tanh(), nn.Dropout(dropout)]
        self.attention = nn.Sequential(*steps)

    def forward(self, states: Tensor) -> Tensor:
        """(B, T, width) -> (B, T)."""
        logits: Tensor = self.attention(states)
        return torch.softmax(logits.squeeze(-1), dim=1)


class MotionDiscriminator(nn.Module):
    """VIBE's motion discriminator: a GRU over body poses, pooled to one score; no sigmoid. VIBE section 3.2, ablations of Table 3.

    Entry names and shapes are those of the released `disc_motion_state_dict`. The paper's best row has 2 attention layers
    and dropout 0.1; the released configuration 3 and 0.2.

    Args:
        n_layers: of the GRU.
        hidden_size: of the GRU.
        feature_pool: "attention" over the steps; "concat" of mean and maximum of the rectified steps; "last" step.
        attention_layers: of the MLP that weighs the steps.
        attention_size: of its hidden layers; None: `hidden_size`.
        attention_dropout: after each of its layers.
        spectral_norm: of the last layer; the released one has none.

    Raises:
        UsageError: an option has no meaning.
    """

    def __init__(
        self,
        n_layers: int = 2,
        hidden_size: int = 1024,
        feature_pool: Pool = "attention",
        attention_layers: int = 3,
        attention_size: int | None = None,
        attention_dropout: float = 0.2,
        spectral_norm: bool = False,
    ) -> None:
        super().__init__()
        if feature_pool not in get_args(Pool):
            raise UsageError(f"feature_pool={feature_pool!r} is not one of {', '.join(get_args(Pool))}")
        if attention_layers < 1:
            raise UsageError(f"attention_layers={attention_layers}: at least one layer weighs the steps")
        self.feature_pool = feature_pool
        self.gru = nn.GRU(NUM_BODY_POSE, hidden_size, num_layers=n_layers)
        self.attention: StepAttention | None = None
        if feature_pool == "attention":
            size = hidden_size if attention_size is None else attention_size
            self.attention = StepAttention(hidden_size, attention_layers, size, attention_dropout)
        pooled = 2 * hidden_size if feature_pool == "concat" else hidden_size
        self.fc: nn.Module = nn.Linear(pooled, 1)
        if spectral_norm:
            self.fc = nn.utils.parametrizations.spectral_norm(self.fc)

    def forward(self, body_pose: Tensor) -> Tensor:
        """Motions (B, T, 69), axis-angle without the root -> scores (B, 1), near 1 for captured ones.

        Raises:
            ShapeError: another shape; `body_pose_of` makes it of an output.
        """
        _check(body_pose, NUM_BODY_POSE, "body_pose")
        states: Tensor = self.gru(body_pose.transpose(0, 1))[0].transpose(0, 1)
        if self.attention is not None:
            weights = self.attention(states)
            pooled = torch.sum(states * weights[..., None], dim=1)
        elif self.feature_pool == "concat":
            rectified = torch.relu(states)
            pooled = torch.cat([rectified.mean(dim=1), rectified.amax(dim=1)], dim=1)
        else:
            pooled = states[:, -1]
        score: Tensor = self.fc(pooled)
        return score


class SelfAttention(nn.Module):
    """Each frame plus the frames that it attends to. SPS-Net section 3.2, equations 1 and 2.

    Two networks of two layers make a forward vector q and a backward vector k of each frame; their inner products, not
    scaled, are the logits; there is no value map. A leaky ReLU (slope 0.01) follows each layer.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.forward_net = two_layers(width)
        self.backward_net = two_layers(width)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, T, F) -> h (B, T, F), and the weights (B, T, T) of all frames for each."""
        queries, keys = self.forward_net(features), self.backward_net(features)
        weights = torch.softmax(queries @ keys.transpose(1, 2), dim=-1)
        return features + weights @ features, weights


def two_layers(width: int) -> nn.Sequential:
    """Two linear layers of one width, a leaky ReLU after each."""
    return nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, width), nn.LeakyReLU())


class AttentiveDiscriminator(nn.Module):
    """Self-attention over [betas, pose], mean over frames, one layer, sigmoid. SPS-Net sections 3.4 and 4.1."""

    def __init__(self, width: int = 82) -> None:
        super().__init__()
        self.width = width
        self.attention = SelfAttention(width)
        self.classifier = nn.Linear(width, 1)

    def forward(self, shape_and_pose: Tensor) -> Tensor:
        """Motions (B, T, 82) of `shape_and_pose_of` -> scores (B, 1) in [0, 1]. Raises ShapeError."""
        _check(shape_and_pose, self.width, "shape_and_pose")
        attended, _ = self.attention(shape_and_pose)
        score: Tensor = self.classifier(attended.mean(dim=1))
        return torch.sigmoid(score)


class PoseDiscriminator(nn.Module):
    """HMR's discriminator of single poses, used by HMMR: one score per joint and one of all joints together.

    A 1x1 convolution (shared linear layers) 9-32-32 of each rotation, a scalar head per joint, and 736-1024-1024-1 on all
    of them. Source: Kanazawa et al., CVPR 2018, section 3.3; human_dynamics.
    """

    def __init__(self, width: int = 32, hidden: int = 1024) -> None:
        super().__init__()
        self.joint = nn.Sequential(nn.Linear(9, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(width, 1) for _ in range(NUM_BODY_JOINTS))
        self.whole = nn.Sequential(
            nn.Linear(NUM_BODY_JOINTS * width, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
        )

    def forward(self, rotmat: Tensor) -> Tensor:
        """Rotations (N, 23, 3, 3) below the root -> scores (N, 24): of each joint, then of the pose.

        Raises:
            ShapeError: another shape.
        """
        if rotmat.ndim != 4 or rotmat.shape[1:] != (NUM_BODY_JOINTS, 3, 3):
            raise ShapeError(f"rotmat: expected (N, {NUM_BODY_JOINTS}, 3, 3), got {tuple(rotmat.shape)}")
        joints: Tensor = self.joint(rotmat.flatten(2))
        scores = [head(joints[:, number]) for number, head in enumerate(self.heads)]
        return torch.cat([*scores, self.whole(joints.flatten(1))], dim=1)


def _check(motion: Tensor, width: int, name: str) -> None:
    if motion.ndim != 3 or motion.shape[2] != width or motion.shape[1] == 0:
        raise ShapeError(f"{name}: expected (B, T, {width}) with T > 0, got {tuple(motion.shape)}")
