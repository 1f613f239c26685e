"""MPS-Net: attention over time guided by self-similarity (MoCA), then nine frames fused in two levels (HAFI)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from hpsbench.bodies.mean_params import MeanParams
from hpsbench.errors import ShapeError, UsageError
from hpsbench.models._adapter import Batch, FeatureSystem
from hpsbench.models._regressor import IterativeRegressor
from hpsbench.models._sliding import regress
from hpsbench.models._system import HPSOutput
from hpsbench.models.tcmr import ATTENTION_WIDTH, Attention
from hpsbench.types import WindowRule

CARD = {
    "title": "MPS-Net",
    "paper": "Wei et al., CVPR 2022",
    "inputs": {"features": 2048, "window": 16},
    "predicts": "SMPL parameters and camera of the middle frame of a window; of every frame without integration",
    "parameters": 12646050,
    "fixed": "MoCA, HAFI and the regressor as in MPS-Net_release lib/models/mpsnet.py; names and shapes of its entries",
    "reading": [
        "batch_mixing: 'paper' (default) joins the two maps of a window with each other, as equation 1 says; 'released' "
        "joins them across groups of 8 windows in order, as the released code does",
        "motion_rows: the discriminator sees one row per frame; 'released' regresses rows that interleave channels and frames",
        "windows of another length than 16: the current frame is T // 2, HAFI's offsets -4..4 stay",
        "integration 'tcmr_tf' (the paper names TCMR's scheme, not what it fuses): one level of the same attention over the "
        "frames before, at and after the current one",
        "integration 'none': every frame is regressed, windows as VIBE's",
    ],
    "checkpoint": ["mpsnet_model_best.pth.tar"],
    "get": "the links in the README of github.com/MPS-Net/MPS-Net_release",
    "narrow": {"feature_width": 24, "hidden_size": 10, "attention_width": 6, "regressor_hidden": 12},
}
RELEASED_GROUP = 8
"""Windows of one track that the released evaluation feeds, and so mixes, at once."""
HAFI_OFFSETS = ((-4, -3, -2), (-1, 0, 1), (2, 3, 4))
"""Frames round the current one that HAFI groups: 4..6, 7..9, 10..12 of a window of 16."""

TemporalModule = Literal["moca", "nonlocal"]
Integration = Literal["hafi", "tcmr_tf", "none"]
Mixing = Literal["paper", "released"]
Rows = Literal["frames", "released"]
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "temporal_module": ("moca", "nonlocal"),
    "integration": ("hafi", "tcmr_tf", "none"),
    "batch_mixing": ("paper", "released"),
    "motion_rows": ("frames", "released"),
}


def released_pairs(similarity: Tensor, attention: Tensor) -> Tensor:
    """The map pairs that the released code weighs: joined along the batch, then cut into pairs.

    Args:
        similarity: NSSM, (B, T, T).
        attention: (B, T, T).

    Returns:
        (B, 2, T, T): of the list of all NSSM, then all attention maps, sample n gets entries 2n and 2n + 1. At B = 1 that
        is its own pair; else nearly every sample gets maps of other windows, and half of them no learned map. Rows of the
        maps, (B, K, T), are paired alike.
    """
    return torch.cat([similarity, attention]).reshape(len(similarity), 2, *similarity.shape[1:])


class TemporalAttention(nn.Module):
    """MoCA or the plain non-local block, and the fusion of frames. MPS-Net sections 3.1 and 3.2, equations 1 to 6.

    Entry names are those of the released `nonlocalblock`.

    Args:
        width: F.
        hidden: width of the projections theta, phi and g (reduction ratio m = 2: F / 2).
        temporal_module: "moca", or "nonlocal": attention alone, without NSSM and rho.
        integration: whether there is an attention block to fuse frames.
        attention_width: of that block.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        temporal_module: TemporalModule,
        integration: Integration,
        attention_width: int,
    ) -> None:
        super().__init__()
        self.conv_phi = nn.Conv1d(width, hidden, 1, bias=False)
        self.conv_theta = nn.Conv1d(width, hidden, 1, bias=False)
        self.conv_g = nn.Conv1d(width, hidden, 1, bias=False)
        self.conv_mask = nn.Conv1d(hidden, width, 1, bias=False)
        self.integration = integration
        self.conv_mask_forR = nn.Conv2d(2, 1, 1, bias=False) if temporal_module == "moca" else None
        self.attention = Attention(width, hidden=attention_width) if integration != "none" else None

    def forward(self, features: Tensor, mixing: Mixing = "paper") -> Tensor:
        """Features (B, T, F) -> Z (B, T, F), the features plus their context. Equation 6."""
        frames = features.transpose(1, 2)
        theta, phi, given = self.conv_theta(frames), self.conv_phi(frames), self.conv_g(frames)
        weights = torch.softmax(theta.transpose(1, 2) @ phi, dim=-1)
        if self.conv_mask_forR is not None:
            similarity = torch.softmax(features @ frames, dim=-1)
            pair = _pairs(similarity, weights, mixing)
            weights = torch.softmax(self.conv_mask_forR(pair)[:, 0], dim=-1)
        context: Tensor = self.conv_mask((weights @ given.transpose(1, 2)).transpose(1, 2))
        return features + context.transpose(1, 2)

    def fuse(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Three vectors (N, 3, F) -> their weighted sum (N, F) and the weights (N, 3)."""
        if self.attention is None:
            raise UsageError("MPS-Net without integration has no attention block to fuse frames with")
        weights: Tensor = self.attention(vectors)
        return torch.sum(vectors * weights[..., None], dim=1), weights

    def hafi(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """Z (B, T, F) -> the refined current frame (B, F) and the weights of the top level (B, 3). Section 3.2.

        Three groups of three frames are fused to a vector each, and these once more, with one set of weights.
        """
        batch, frames, width = encoded.shape
        rows = [frames // 2 + offset for group in HAFI_OFFSETS for offset in group]
        groups, _ = self.fuse(encoded[:, rows].reshape(batch * 3, 3, width))
        return self.fuse(groups.reshape(batch, 3, width))

    def neighbours(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """Z (B, T, F) -> the current frame fused with the one before and after it, and the weights. Table 3, TF-intgr."""
        middle = encoded.shape[1] // 2
        return self.fuse(encoded[:, middle - 1 : middle + 2])

    def windows(self, frames: Tensor, rows: Tensor, mixing: Mixing) -> tuple[Tensor, Tensor]:
        """`hafi` or `neighbours` of `forward(frames[rows])`: refined current frames (W, F) and weights of the last level (W, 3).

        Only its maps are a window's own. The rest is linear in the frames and done once for each: the projections, their
        products, the way of g through conv_mask, the attention block's first layer. A refined frame is a weighted sum of the
        window's features and of their values, so one product with those of all frames makes it.

        Args:
            frames: (U, F).
            rows: (W, T), the frames of each window.
            mixing: "released" pairs the maps of groups of 8 windows, in the order given.
        """
        block = self.attention
        if block is None:
            raise UsageError("MPS-Net without integration has no attention block to fuse frames with")
        middle, offsets = rows.shape[1] // 2, HAFI_OFFSETS if self.integration == "hafi" else ((-1, 0, 1),)
        used = rows[:, [middle + offset for group in offsets for offset in group]]
        values = linear(linear(frames, self.conv_g.weight[..., 0]), self.conv_mask.weight[..., 0])
        maps = _spread(self._maps(frames, rows, used, mixing), rows, len(frames))
        projected = block.fc(frames)[used] + maps @ linear(values, block.fc.weight)
        groups = projected.reshape(len(rows), len(offsets), 3, -1)
        weights = block.weigh(groups.flatten(0, 1)).reshape(len(rows), -1, 3)
        last = weights[:, 0]
        if len(offsets) > 1:
            last = block.weigh(torch.sum(groups * weights[..., None], dim=2))
            weights = last[..., None] * weights
        shares = weights.flatten(1)[:, None]
        refined = _spread(shares, used, len(frames))[:, 0] @ frames + (shares @ maps)[:, 0] @ values
        return refined, last

    def _maps(self, frames: Tensor, rows: Tensor, used: Tensor, mixing: Mixing) -> Tensor:
        """What the frames `used` (W, K) of each window weigh its frames `rows` (W, T) with: (W, K, T)."""
        theta, phi = (linear(frames, conv.weight[..., 0]) for conv in (self.conv_theta, self.conv_phi))
        place = used[..., None], rows[:, None]
        weights = torch.softmax((theta @ phi.t())[place], dim=-1)
        if self.conv_mask_forR is None:
            return weights
        similarity = torch.softmax((frames @ frames.t())[place], dim=-1)
        groups = [torch.split(maps, RELEASED_GROUP) for maps in (similarity, weights)]
        pair = torch.cat([_pairs(one, other, mixing) for one, other in zip(*groups, strict=True)])
        return torch.softmax(self.conv_mask_forR(pair)[:, 0], dim=-1)


def _pairs(similarity: Tensor, attention: Tensor, mixing: Mixing) -> Tensor:
    """The two maps (B, K, T) that become one, side by side: (B, 2, K, T)."""
    if mixing == "released":
        return released_pairs(similarity, attention)
    return torch.stack([similarity, attention], dim=1)


def _spread(weights: Tensor, rows: Tensor, count: int) -> Tensor:
    """Weights (W, K, T) of the frames `rows` (W, T) as weights of all frames, (W, K, count)."""
    spread = weights.new_zeros(*weights.shape[:2], count)
    return spread.scatter_add_(2, rows[:, None].expand_as(weights), weights)


class MpsNet(FeatureSystem):
    """MPS-Net's generator, and the ablations of its Table 3.

    Args:
        feature_width: F.
        hidden_size: width of MoCA's projections.
        attention_width: of HAFI's hidden layers.
        temporal_module: "moca", or "nonlocal" (no NSSM, no rho).
        integration: "hafi"; "tcmr_tf" (one level over three frames); "none" (every frame is regressed).
        batch_mixing: "paper": a window's output does not depend on its batch. "released": maps are mixed in groups of 8
            windows in the order given, as by the released evaluation; for the numbers of the official checkpoint.
        motion_rows: what the discriminator sees in training: "frames", or "released" (rows of interleaved channels).
        regressor_hidden: width of the regressor's hidden layers.
        mean: mean parameters where the regressor starts.

    Raises:
        UsageError: an option has another value.
    """

    name: ClassVar[str] = "mpsnet"
    context: ClassVar[WindowRule] = WindowRule(
        length=16, stride=1, predict="middle", edges="repeat-frame", short="pad"
    )

    def __init__(
        self,
        feature_width: int = 2048,
        hidden_size: int = 1024,
        attention_width: int = ATTENTION_WIDTH,
        temporal_module: TemporalModule = "moca",
        integration: Integration = "hafi",
        batch_mixing: Mixing = "paper",
        motion_rows: Rows = "frames",
        regressor_hidden: int = 1024,
        mean: MeanParams | None = None,
    ) -> None:
        chosen = {
            "temporal_module": temporal_module,
            "integration": integration,
            "batch_mixing": batch_mixing,
            "motion_rows": motion_rows,
        }
        for key, value in chosen.items():
            if value not in _CHOICES[key]:
                raise UsageError(f"mpsnet: {key}={value!r} is not one of {', '.join(_CHOICES[key])}")
        super().__init__(
            feature_width,
            hidden_size=hidden_size,
            attention_width=attention_width,
            regressor_hidden=regressor_hidden,
            **chosen,
        )
        self.integration, self.batch_mixing, self.motion_rows = integration, batch_mixing, motion_rows
        if integration == "none":
            every_frame = WindowRule(
                length=16, stride=16, predict="all", edges="shift-last", overlap="cut-half", short="pad"
            )
            self.context = every_frame  # type: ignore[misc]
        self.shares_windows = integration != "none"  # type: ignore[misc]
        self.nonlocalblock = TemporalAttention(
            feature_width, hidden_size, temporal_module, integration, attention_width
        )
        self.regressor = IterativeRegressor(feature_width, regressor_hidden, mean)

    def forward(self, features: Tensor) -> HPSOutput:
        """Features (B, T, F) -> body of frame T // 2, T' = 1; without integration of all frames, T' = T.

        `aux["attention"]` (B, 3) are the weights of the last fusion. With `batch_mixing = "released"` the windows are
        taken in groups of 8 in the order given.

        Raises:
            ShapeError: windows too short for the integration.
        """
        if self.batch_mixing == "released":
            encoded = torch.cat(
                [self.nonlocalblock(group, "released") for group in torch.split(features, RELEASED_GROUP)]
            )
        else:
            encoded = self.nonlocalblock(features)
        return self._bodies(encoded, copies=1)

    @torch.no_grad()
    def forward_windows(self, frames: Tensor, rows: Tensor) -> HPSOutput:
        """As `forward(frames[rows])` in evaluation mode."""
        if self.integration == "none":
            return super().forward_windows(frames, rows)
        self._check_length(rows.shape[1])
        refined, weights = self.nonlocalblock.windows(frames, rows, self.batch_mixing)
        return replace(regress(self.regressor, refined).output(len(rows)), aux={"attention": weights})

    def forward_train(self, batch: Batch) -> HPSOutput:
        """Three bodies of frame T // 2, T' = 3, equal but for the regressor's dropout, all supervised with that frame.

        Without integration T' = T. `aux["motion"]` is an `HPSOutput` of T rows, the discriminator's motion.
        """
        encoded = self.nonlocalblock(batch.features, self.batch_mixing)
        output = self._bodies(encoded, copies=3)
        motion = output if self.integration == "none" else self.regressor.frames(self._motion_rows(encoded))
        return replace(output, aux={**output.aux, "motion": motion})

    def _motion_rows(self, encoded: Tensor) -> Tensor:
        """Rows (B, T, F) that are regressed for the discriminator. MPS-Net_release reshapes (B, F, T) as it lies."""
        if self.motion_rows == "released":
            return encoded.transpose(1, 2).reshape(encoded.shape)
        return encoded

    def _bodies(self, encoded: Tensor, copies: int) -> HPSOutput:
        """Z (B, T, F) -> bodies; a fused frame `copies` times."""
        if self.integration == "none":
            return self.regressor.frames(encoded)
        self._check_length(encoded.shape[1])
        block = self.nonlocalblock
        refined, weights = block.hafi(encoded) if self.integration == "hafi" else block.neighbours(encoded)
        output = self.regressor.frames(refined[:, None].expand(-1, copies, -1))
        return replace(output, aux={"attention": weights.detach()})

    def _check_length(self, frames: int) -> None:
        if frames < self._shortest():
            raise ShapeError(
                f"mpsnet: windows of {frames} frames; {self.integration} needs at least {self._shortest()}"
            )

    def _shortest(self) -> int:
        """Fewest frames of a window in which T // 2 has all the neighbours that are fused."""
        reach = HAFI_OFFSETS[-1][-1] if self.integration == "hafi" else 1
        return 2 * reach + 1

    def accepts(self, rule: WindowRule) -> bool:
        """Windows of which the middle frame is used, long enough for the integration; without integration, any.

        Mixed groups are those of the released evaluation, so that only its windows of 16 are accepted there.
        """
        if self.batch_mixing == "released" and rule.length != 16:
            return False
        if self.integration == "none":
            return super().accepts(rule)
        fits = isinstance(rule.length, int) and rule.length >= self._shortest()
        return fits and rule.predict == "middle" and rule.keep is None and rule.edges != "zero-image"

    @classmethod
    def recognise(cls, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Any] | None:
        """MPS-Net's `gen_state_dict`; an attention block tells that frames are fused, not which (released: HAFI)."""
        block = {name.split(".")[1] for name in shapes if name.startswith("nonlocalblock.")}
        if not block:
            return None
        return {
            "temporal_module": "moca" if "conv_mask_forR" in block or "attention" in block else "nonlocal",
            "integration": "hafi" if "attention" in block else "none",
        }


SYSTEM = MpsNet
