"""Optical flow between consecutive crops, and CNN features of it: the second stream of DTS-VIBE (section 3.1).

The paper names neither the flow method nor how flow becomes an image. Readings, recorded with each feature set: OpenCV's DIS
flow from a frame to the one before it, between the two crops as the network sees them (so that motion of the box is part of
it); three planes u, v and magnitude, where 20 pixels of a 224 crop are 1, clipped to [-1, 1]; zeros for a clip's first frame.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hpsbench.errors import CheckpointMismatch, MissingCheckpoint, UsageError
from hpsbench.features import embedded
from hpsbench.types import FloatArray

METHODS: Mapping[str, tuple[str, int]] = {
    "dis": ("medium", cv2.DISOPTICAL_FLOW_PRESET_MEDIUM),
    "dis-fast": ("fast", cv2.DISOPTICAL_FLOW_PRESET_FAST),
    "dis-ultrafast": ("ultrafast", cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST),
}
"""Flow methods: name -> DIS preset, as a word and as OpenCV's number."""
PREFIX = "flow-"
KIND = "flow"
"""`kind` of feature sets that were made of optical flow."""
FULL_SCALE = 20.0
"""Pixels of a 224 crop that are 1 in the planes."""
REFERENCE_SIDE = 224
IMAGENET = "checkpoints/resnet50-*.pth"
TWIN = Path("checkpoints/flow-encoder.safetensors")
TWIN_NETWORK = "embedded flow twin"

Pairs = NDArray[np.uint8]


def dis_flow(now: NDArray[np.uint8], before: NDArray[np.uint8], method: str = "dis") -> FloatArray:
    """Dense flow from an image to the one before it: what is at x in `now` was at x + flow(x) in `before`.

    Args:
        now: (S, S, 3) uint8 RGB.
        before: the same of the earlier frame; the very same picture has zero flow.
        method: one of `METHODS`.

    Returns: (S, S, 2) float32 pixels, x to the right and y down.
    """
    if np.array_equal(now, before):
        return np.zeros((*now.shape[:2], 2), np.float32)
    gray = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (now, before)]
    estimator: Any = cv2.DISOpticalFlow_create(METHODS[method][1])  # type: ignore[attr-defined]
    flow: FloatArray = estimator.calc(gray[0], gray[1], None)
    return flow


def flow_planes(flow: FloatArray) -> FloatArray:
    """Flow (S, S, 2) in pixels -> (3, S, S) float32: u, v, magnitude, relative to the crop's side, in [-1, 1]."""
    scale = FULL_SCALE * flow.shape[0] / REFERENCE_SIDE
    magnitude = np.linalg.norm(flow, axis=-1, keepdims=True)
    planes = np.clip(np.concatenate([flow, magnitude], axis=-1) / scale, -1, 1)
    return np.ascontiguousarray(planes.transpose(2, 0, 1), np.float32)


def planes_of_pairs(pairs: Pairs, method: str = "dis") -> FloatArray:
    """Crops one above the other, the earlier on top (B, 2S, S, 3) -> flow planes (B, 3, S, S)."""
    side = pairs.shape[2]
    return np.stack([flow_planes(dis_flow(pair[side:], pair[:side], method)) for pair in pairs])


class FlowExtractor:
    """An extractor of pairs of crops: flow between them, then a CNN. See `backbones.Extractor`.

    Attributes:
        pairs: it is called with pairs, (B, 2S, S, 3).
        about: what is recorded with the feature set, besides what is recorded of every extractor.
    """

    pairs = True

    def __init__(
        self,
        network: nn.Module,
        *,
        method: str,
        cnn: str,
        size: int,
        batch: int,
        sha256: str,
        device: str,
        synthetic: bool,
    ) -> None:
        self.name, self.dim, self.size, self.batch = f"{PREFIX}{method}", 2048, size, batch
        self.sha256, self.device, self.synthetic = sha256, device, synthetic
        self._network, self._method = network.to(device), method
        self.about: Mapping[str, Any] = {
            "kind": KIND,
            "flow": {
                "method": "DIS",
                "preset": METHODS[method][0],
                "opencv": cv2.__version__,
                "direction": "to the kept frame before, in the same clip; zeros where there is none",
                "planes": f"u, v, magnitude; 1 = {FULL_SCALE:g} px of a {REFERENCE_SIDE} crop",
                "cnn": cnn,
            },
        }

    @torch.inference_mode()
    def __call__(self, batch: Pairs) -> NDArray[np.float32]:
        """(B, 2S, S, 3) uint8 RGB, the earlier crop on top -> (B, 2048) float32."""
        planes = torch.from_numpy(planes_of_pairs(batch, self._method)).to(self.device)
        features: NDArray[np.float32] = self._network(planes).float().cpu().numpy()
        return features


def method_of(name: str) -> str:
    """The flow method in an extractor's name, `flow-dis` -> `dis`."""
    return name.removeprefix(PREFIX)


def list_flow_extractors() -> list[str]:
    """Names of the flow extractors."""
    return [f"{PREFIX}{method}" for method in METHODS]


def load_flow(name: str, root: Path, device: str = "cpu") -> FlowExtractor:
    """A flow extractor: with ImageNet's ResNet-50 where its file is there, else with the twin trained on synthetic data.

    Args:
        name: `flow-dis`, `flow-dis-fast` or `flow-dis-ultrafast`.
        root: data root: `checkpoints/resnet50-*.pth` with torchvision's entry names, `checkpoints/flow-encoder.safetensors`.
        device: where the CNN computes; flow is computed on the CPU.

    Raises:
        MissingCheckpoint: neither is there; says how to get them.
        UsageError: several ResNet-50 files.
        CheckpointMismatch: entries are missing or of another shape.
    """
    from hpsbench.features.backbones import fold_batch_norms

    network, facts = _imagenet(root) or _twin(root) or (None, {})
    if network is None:
        raise MissingCheckpoint(
            f"no CNN for optical flow: put torchvision's ResNet-50 (resnet50-0676ba61.pth, from download.pytorch.org/models) "
            f"into {root / 'checkpoints'}, or, for synthetic data, train the small twin: 'hpsbench train flow-encoder'"
        )
    folded = fold_batch_norms(network.eval().requires_grad_(requires_grad=False))
    return FlowExtractor(folded, method=method_of(name), device=device, **facts)


def _imagenet(root: Path) -> tuple[nn.Module, dict[str, Any]] | None:
    from hpsbench.features.backbones import SPIN_BATCH, SPIN_SIZE, ResNet50, file_sha256, load_weights
    from hpsbench.safe_io import load_torch

    found = sorted(root.glob(IMAGENET))
    if not found:
        return None
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise UsageError(f"{root / 'checkpoints'}: several ResNet-50 files ({names}); keep the one to use")
    state = load_torch(found[0])
    if not isinstance(state, Mapping):
        raise CheckpointMismatch(f"{found[0]}: expected a state dict with torchvision's names")
    network = ResNet50()
    load_weights(network, state, found[0], ignore=("fc.",))
    facts = {"cnn": f"ImageNet ResNet-50 ({found[0].name})", "size": SPIN_SIZE, "batch": SPIN_BATCH}
    return network, {**facts, "sha256": file_sha256(found[0]), "synthetic": False}


def _twin(root: Path) -> tuple[nn.Module, dict[str, Any]] | None:
    from safetensors.torch import load_file

    from hpsbench.features.backbones import file_sha256, load_weights

    path = root / TWIN
    if not path.is_file():
        return None
    network = embedded.EmbeddedEncoder()
    load_weights(network, load_file(path), path)
    facts = {"cnn": TWIN_NETWORK, "size": embedded.SIZE, "batch": embedded.BATCH}
    return network, {**facts, "sha256": file_sha256(path), "synthetic": True}
