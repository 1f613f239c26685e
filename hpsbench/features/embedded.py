"""The embedded encoder: small enough to ship, 112 px in, 2048 numbers out, trained on synthetic renders.

It stands where SPIN's ResNet-50 stands on real data, so that the whole flow can be tried without any download. The
weights lie beside this file; `recipes/training/encoder.toml` made them, `embedded_encoder.json` is their card.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

NAME = "embedded"
WEIGHTS = Path(__file__).with_name("embedded_encoder.safetensors")
REGRESSOR = Path(__file__).with_name("embedded_spin.safetensors")
CARD = Path(__file__).with_name("embedded_encoder.json")

SIZE = 112  # side of the input in pixels
DIM = 2048
BATCH = 32  # crops per network call

_STEM = 16
_STAGES = ((32, 0), (64, 2), (160, 2))  # channels, residual blocks; every stage halves the side
_SPREAD = 512  # channels before the spatial pooling
_PATTERNS = 2  # weighings of the grid per channel
_GRID = SIZE // 16


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions round an identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(x + self.bn2(self.conv2(y)))


class Stage(nn.Module):
    """A stride-2 convolution, then residual blocks."""

    def __init__(self, width_in: int, width: int, blocks: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width, 3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.blocks = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h/2, w/2)."""
        y: Tensor = self.blocks(torch.relu(self.bn(self.conv(x))))
        return y


class GridPool(nn.Module):
    """Weighted sums of each channel over the grid, with learned weights: an average pool that knows where things are."""

    def __init__(self, width: int, grid: int, patterns: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(patterns, grid * grid, width) / grid)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, g, g) -> (B, patterns * C)."""
        cells = x.permute(0, 2, 3, 1).flatten(1, 2)
        return torch.cat([(cells * weight).sum(dim=1) for weight in self.weight], dim=1)


class EmbeddedEncoder(nn.Module):
    """A compact residual CNN whose pooling keeps where things are.

    The 7x7 grid is not averaged but weighed by learned patterns, because the SPIN regressor behind it is linear and
    body pose is a matter of places. Output: 2048 numbers, none negative, as a ReLU-ed and pooled backbone gives.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, _STEM, 3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(_STEM)
        widths = [_STEM, *(width for width, _ in _STAGES)]
        self.stages = nn.Sequential(
            *(Stage(before, width, blocks) for before, (width, blocks) in zip(widths, _STAGES, strict=False))
        )
        self.spread = nn.Conv2d(widths[-1], _SPREAD, 1, bias=False)
        self.spread_bn = nn.BatchNorm2d(_SPREAD)
        self.pool = GridPool(_SPREAD, _GRID, _PATTERNS)
        self.pool_bn = nn.BatchNorm1d(_PATTERNS * _SPREAD)
        self.out = nn.Linear(_PATTERNS * _SPREAD, DIM, bias=False)
        self.out_bn = nn.BatchNorm1d(DIM)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, 112, 112) normalised -> (B, 2048), non-negative."""
        x = self.stages(torch.relu(self.bn(self.conv(images))))
        x = torch.relu(self.spread_bn(self.spread(x)))
        x = torch.relu(self.pool_bn(self.pool(x)))
        return torch.relu(self.out_bn(self.out(x)))
