"""SPIN (HMR's network): one body per frame from that frame's feature alone."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from hpsbench.features.backbones import ResNet50
from hpsbench.models._adapter import FeatureSystem
from hpsbench.models._regressor import REGRESSOR_ENTRIES, SPIN_EPS, IterativeRegressor
from hpsbench.models._system import HPSOutput
from hpsbench.types import WindowRule

CARD = {
    "title": "SPIN (frame-based)",
    "paper": "Kolotouros et al., ICCV 2019; network of Kanazawa et al., CVPR 2018",
    "inputs": {"features": 2048, "window": 1},
    "predicts": "SMPL parameters and camera of every frame",
    "parameters": 3469469,
    "fixed": "regressor, its start and its 3 passes (SPIN models/hmr.py); 26977501 parameters with the ResNet-50",
    "reading": "none",
    "narrow": {"feature_width": 24, "hidden": 12},
    "checkpoint": ["spin/model_checkpoint.pt"],
    "get": "model_checkpoint.pt of SPIN's data archive (fetch_data.sh of github.com/nkolot/SPIN)",
}


class Spin(FeatureSystem):
    """SPIN's iterative regressor on precomputed features, frame by frame. SPIN section 3.2, HMR section 3.2.

    The ResNet-50 before it is an extractor (`hpsbench.features.backbones`); a whole SPIN checkpoint gives the
    regressor here and the backbone there.

    Args:
        feature_width: F.
        hidden: width of the regressor's hidden layers.
    """

    name: ClassVar[str] = "spin"
    context: ClassVar[WindowRule] = WindowRule(length=1, stride=1, predict="all", short="pad")

    def __init__(self, feature_width: int = 2048, hidden: int = 1024) -> None:
        super().__init__(feature_width, hidden=hidden)
        self.regressor = IterativeRegressor(feature_width, hidden)

    def forward(self, features: Tensor) -> HPSOutput:
        """Features (B, T, F) -> bodies of all T frames, each from its own feature."""
        return self.regressor.frames(features, eps=SPIN_EPS)

    def accepts(self, rule: WindowRule) -> bool:
        """Only windows of one frame: it sees nothing else."""
        return rule.length == 1

    @classmethod
    def recognise(cls, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Any] | None:
        """SPIN's checkpoints, with the backbone or without."""
        return {} if len(set(REGRESSOR_ENTRIES) & set(shapes)) > len(REGRESSOR_ENTRIES) // 2 else None

    def released_names(self) -> Mapping[str, str]:
        """Released entries have no prefix."""
        return {name.removeprefix("regressor."): name for name in self.state_dict()}

    @classmethod
    def released_extras(cls) -> Mapping[str, tuple[int, ...]]:
        """The ResNet-50 before the regressor."""
        with torch.device("meta"):
            backbone = ResNet50()
        return {name: tuple(value.shape) for name, value in backbone.state_dict().items()}


SYSTEM = Spin
