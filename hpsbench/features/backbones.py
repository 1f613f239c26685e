"""The image encoders by name, and SPIN's ResNet-50.

An extractor is called with uint8 crops (B, S, S, 3) and gives float32 features (B, D). Its result for an image does
not depend on the other images of the batch; batches have one fixed size, so that results repeat to the last bit.
"""

import hashlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.metadata import entry_points
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from hpsbench.errors import CheckpointMismatch, MissingCheckpoint, UnknownName, UsageError
from hpsbench.features import embedded
from hpsbench.features.flow import list_flow_extractors, load_flow
from hpsbench.features.images import normalise
from hpsbench.safe_io import load_torch

SPIN_CHECKPOINT = Path("checkpoints/spin/model_checkpoint.pt")
SPIN_SIZE = 224
SPIN_BATCH = 8
_BLOCKS = (3, 4, 6, 3)
_REGRESSOR_ENTRIES = ("fc1.", "fc2.", "decpose.", "decshape.", "deccam.", "init_")


class Extractor(Protocol):
    """What `extract` and `corrupt` drive.

    Attributes:
        name: first part of a feature set's name.
        dim: D, width of the features.
        size: S, side of the crops in pixels.
        batch: crops per call; always exactly so many.
        sha256: of the weights file.
        device: `cpu` or `cuda`.
        synthetic: trained on synthetic images only, so never used on real data unless asked for by name.
    """

    name: str
    dim: int
    size: int
    batch: int
    sha256: str
    device: str
    synthetic: bool

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, S, S, 3) uint8 RGB -> (B, D) float32."""
        ...


class Bottleneck(nn.Module):
    """ResNet v1.5 bottleneck: the stride is on the 3x3."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or width_in != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(width_in, 4 * width, 1, stride=stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, 4 * width, h / stride, w / stride)."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class ResNet50(nn.Module):
    """ResNet-50 v1.5 without classifier, with the entry names of SPIN's and HMR's checkpoints.

    Source: SPIN `models/hmr.py`; the feature is the average pool after the last ReLU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        width_in = 64
        for number, blocks in enumerate(_BLOCKS):
            width = 64 * 2**number
            layers = []
            for block in range(blocks):
                layers.append(Bottleneck(width_in, width, stride=2 if number and block == 0 else 1))
                width_in = 4 * width
            self.add_module(f"layer{number + 1}", nn.Sequential(*layers))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, 224, 224) normalised -> (B, 2048)."""
        x = self.maxpool(torch.relu(self.bn1(self.conv1(images))))
        for number in range(len(_BLOCKS)):
            x = self.get_submodule(f"layer{number + 1}")(x)
        pooled: Tensor = x.mean(dim=(2, 3))
        return pooled


class NetworkExtractor:
    """An `Extractor` round a torch network: normalise, run, bring back; batch norms folded into convolutions."""

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        dim: int,
        size: int,
        batch: int,
        sha256: str,
        device: str,
        synthetic: bool,
    ) -> None:
        self.name, self.dim, self.size, self.batch = name, dim, size, batch
        self.sha256, self.device, self.synthetic = sha256, device, synthetic
        folded = fold_batch_norms(network.eval().requires_grad_(requires_grad=False))
        self._network = folded.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, S, S, 3) uint8 RGB -> (B, D) float32."""
        images = normalise(torch.from_numpy(batch).to(self.device))
        features: NDArray[np.float32] = self._network(images).float().cpu().numpy()
        return features


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Fold batch norms into the convolution or linear layer that stands right before them (eval mode only); in place.

    Modules are paired in the order of their definition, which for the encoders here is the order of their use.
    """
    for parent in list(network.modules()):
        children = list(parent.named_children())
        for (name, conv), (bn_name, norm) in pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(conv, norm))
            elif isinstance(conv, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
                setattr(parent, name, fuse_linear_bn_eval(conv, norm))
            else:
                continue
            setattr(parent, bn_name, nn.Identity())
    return network


def load_weights(
    network: nn.Module, state: Mapping[str, Tensor], path: Path, ignore: tuple[str, ...] = ()
) -> None:
    """Copy a state dict into a network; entries whose name begins with one of `ignore` are left out.

    Raises:
        CheckpointMismatch: an entry is missing, unknown, or of another shape; the message names it.
    """
    given = {name: value for name, value in state.items() if not name.startswith(ignore or ("\0",))}
    wanted = network.state_dict()
    optional = {name for name in wanted if name.endswith("num_batches_tracked")}
    missing = sorted(set(wanted) - set(given) - optional)
    unknown = sorted(set(given) - set(wanted))
    if missing or unknown:
        raise CheckpointMismatch(
            f"{path}: {len(missing)} entries missing (first: {missing[:3]}), {len(unknown)} not known "
            f"(first: {unknown[:3]}); is this the right checkpoint?"
        )
    for name, value in given.items():
        if tuple(value.shape) != tuple(wanted[name].shape):
            raise CheckpointMismatch(
                f"{path}: entry {name!r} has shape {tuple(value.shape)}, expected {tuple(wanted[name].shape)}"
            )
    network.load_state_dict({k: v.to(wanted[k].dtype) for k, v in given.items()}, strict=False)


def load_spin(root: Path, device: str = "cpu") -> NetworkExtractor:
    """SPIN's ResNet-50 from `R/checkpoints/spin/model_checkpoint.pt`.

    Raises:
        MissingCheckpoint: the file is absent; the message says where to get it.
        CheckpointMismatch: entries are missing or of another shape.
    """
    path = root / SPIN_CHECKPOINT
    if not path.is_file():
        raise MissingCheckpoint(
            f"SPIN's image encoder is missing: {path}. Get model_checkpoint.pt with SPIN's fetch_data.sh "
            "(github.com/nkolot/SPIN) and put it there"
        )
    content = load_torch(path)
    state = content.get("model") if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping):
        raise CheckpointMismatch(f"{path}: expected a dict with the key 'model', as SPIN's checkpoint has")
    network = ResNet50()
    load_weights(network, state, path, ignore=_REGRESSOR_ENTRIES)
    return NetworkExtractor(
        network, name="spin", dim=2048, size=SPIN_SIZE, batch=SPIN_BATCH, sha256=file_sha256(path), device=device,
        synthetic=False,
    )  # fmt: skip


def load_embedded(root: Path, device: str = "cpu") -> NetworkExtractor:
    """The encoder that lies in the package; `root` is not used.

    Raises:
        MissingCheckpoint: the installation lacks the weights.
    """
    from safetensors.torch import load_file

    path = embedded.WEIGHTS
    if not path.is_file():
        raise MissingCheckpoint(f"{path} is missing; install hpsbench again, or run 'hpsbench train encoder'")
    network = embedded.EmbeddedEncoder()
    load_weights(network, load_file(path), path)
    return NetworkExtractor(
        network, name=embedded.NAME, dim=embedded.DIM, size=embedded.SIZE, batch=embedded.BATCH,
        sha256=file_sha256(path), device=device, synthetic=True,
    )  # fmt: skip


_OURS: dict[str, Callable[[Path, str], Extractor]] = {"spin": load_spin, "embedded": load_embedded}


def list_extractors() -> list[str]:
    """Names of all extractors: ours, and those of the entry points `hpsbench.extractors`."""
    return sorted(
        {*_OURS, *list_flow_extractors(), *(e.name for e in entry_points(group="hpsbench.extractors"))}
    )


def get_extractor(name: str, root: Path, device: str = "cpu") -> Extractor:
    """The extractor called `name`, loaded and ready on `device` ("cpu", "cuda" or "cuda:N").

    An entry point of the group `hpsbench.extractors` is a function (root, device) -> `Extractor`.

    Raises:
        UnknownName: no extractor has this name; the message lists them.
        MissingCheckpoint: its weights are not there.
    """
    if name in _OURS:
        return _OURS[name](root, device)
    if name in list_flow_extractors():
        return load_flow(name, root, device)
    for entry in entry_points(group="hpsbench.extractors"):
        if entry.name == name:
            made: Extractor = entry.load()(root, device)
            return made
    raise UnknownName("extractor", name, list_extractors())


def choose_extractor(root: Path, *, synthetic: bool) -> str | None:
    """What `auto` means: SPIN's network if its checkpoint is there, else the embedded one for synthetic data only.

    Returns: a name, or None where real data has no extractor yet.
    """
    if (root / SPIN_CHECKPOINT).is_file():
        return "spin"
    return embedded.NAME if synthetic else None


@lru_cache(maxsize=32)
def _sha256_of(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_sha256(path: Path) -> str:
    """Hex digest of a file's content; remembered while size and time stay."""
    stat = path.stat()
    return _sha256_of(path, stat.st_size, stat.st_mtime_ns)


def choose_device(wanted: str = "auto") -> str:
    """`auto` -> `cuda` where torch finds one, else `cpu`; other names are returned as they are.

    Raises:
        UsageError: no device of that name, or none here.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise UsageError(f"--device {wanted!r}: expected auto, cpu or cuda[:N]") from None
    here = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= here:
        raise UsageError(
            f"--device {wanted!r}: torch finds {here} CUDA device{'s' * (here != 1)} here; 'auto' takes what is there"
        )
    return wanted


def describe(extractor: Extractor) -> dict[str, Any]:
    """Attributes of a feature set that come from its extractor."""
    return {
        "extractor": extractor.name,
        "weights_sha256": extractor.sha256,
        "batch": extractor.batch,
        "size": extractor.size,
        "device_kind": extractor.device.split(":")[0],
        "dtype": "float32",
        **getattr(extractor, "about", {}),
    }
