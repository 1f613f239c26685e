"""A model of crops, as another package would bring it: images in, SMPL parameters out."""

import torch
from torch import nn

from hpsbench import FeatureSystem, HPSOutput, Inputs, WindowRule

CARD = {"paper": "none: a toy", "inputs": {"images": 64}, "predicts": "SMPL parameters"}


class ColourToBody(FeatureSystem):
    name = "outside_images"
    context = WindowRule(length=1, stride=1, predict="all", short="pad")

    def __init__(self) -> None:
        super().__init__()
        self.inputs = Inputs(images=64, crop_scale=1.2)
        self.shape = nn.Linear(3, 10)

    def forward(self, images: torch.Tensor) -> HPSOutput:  # (B, T, 3, 64, 64), normalised
        betas = self.shape(images.mean(dim=(3, 4)))
        return HPSOutput(rotmat=torch.eye(3).expand(*betas.shape[:2], 24, 3, 3), betas=betas)


def make() -> ColourToBody:
    return ColourToBody()
