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
_MERGED = 96  # channels where the last two stages meet, on the 14x14 grid
_POINTS = 64  # places that are looked for
_SPREAD = 256  # channels that are pooled over the 7x7 grid
_PATTERNS = 2  # weighings of that grid per channel
_HIDDEN = 1024


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


class Places(nn.Module):
    """Where each of some maps has its mass: a softmax over the grid, then the mean place (integral regression).

    Source: Sun et al., "Integral human pose regression", ECCV 2018.
    """

    def __init__(self, width: int, grid: int, points: int) -> None:
        super().__init__()
        self.maps = nn.Conv2d(width, points, 1)
        centres = (torch.arange(grid) + 0.5) * 2 / grid - 1
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        self.register_buffer("cells", torch.stack([x.flatten(), y.flatten()], dim=1), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, g, g) -> places (B, P, 2) in [-1, 1] and how peaked each map is (B, P)."""
        logits = self.maps(x).flatten(2)
        mass = logits.softmax(dim=2)
        return mass @ self.get_buffer("cells"), (mass * mass).sum(dim=2).sqrt()


class EmbeddedEncoder(nn.Module):
    """A compact residual CNN that keeps where things are.

    The SPIN regressor behind it is linear and body pose is a matter of places, so instead of an average pool two
    heads gather the image: the mean places of 64 learned maps on a 14x14 grid, and learned weighings of the 7x7 grid.
    Two layers mix them into 2048 numbers, none negative, as a ReLU-ed and pooled backbone gives.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, _STEM, 3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(_STEM)
        widths = [_STEM, *(width for width, _ in _STAGES)]
        self.stages = nn.Sequential(
            *(Stage(before, width, blocks) for before, (width, blocks) in zip(widths, _STAGES, strict=False))
        )
        self.fine = nn.Conv2d(widths[-2], _MERGED, 1)
        self.coarse = nn.Conv2d(widths[-1], _MERGED, 1)
        self.merge = nn.Conv2d(_MERGED, _MERGED, 3, padding=1, bias=False)
        self.merge_bn = nn.BatchNorm2d(_MERGED)
        self.places = Places(_MERGED, SIZE // 8, _POINTS)
        self.spread = nn.Conv2d(widths[-1], _SPREAD, 1, bias=False)
        self.spread_bn = nn.BatchNorm2d(_SPREAD)
        self.pool = GridPool(_SPREAD, SIZE // 16, _PATTERNS)
        self.pool_bn = nn.BatchNorm1d(_PATTERNS * _SPREAD)
        self.mix = nn.Linear(_PATTERNS * _SPREAD + 3 * _POINTS, _HIDDEN, bias=False)
        self.mix_bn = nn.BatchNorm1d(_HIDDEN)
        self.out = nn.Linear(_HIDDEN, DIM, bias=False)
        self.out_bn = nn.BatchNorm1d(DIM)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, 112, 112) normalised -> (B, 2048), non-negative."""
        return self.with_places(images)[0]

    def with_places(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, 112, 112) normalised -> features (B, 2048) and the 64 places (B, 64, 2), in [-1, 1]."""
        fine = self.stages[:-1](torch.relu(self.bn(self.conv(images))))
        coarse = self.stages[-1](fine)
        upper = nn.functional.interpolate(self.coarse(coarse), scale_factor=2.0, mode="nearest")
        merged = torch.relu(self.merge_bn(self.merge(torch.relu(self.fine(fine) + upper))))
        places, peaks = self.places(merged)
        seen = torch.relu(self.pool_bn(self.pool(torch.relu(self.spread_bn(self.spread(coarse))))))
        gathered = torch.cat([seen, 2 * places.flatten(1), 4 * peaks], dim=1)
        hidden = torch.relu(self.mix_bn(self.mix(gathered)))
        return torch.relu(self.out_bn(self.out(hidden))), places
