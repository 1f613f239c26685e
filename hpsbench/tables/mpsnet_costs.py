"""MPS-Net's Table 2, parameters and FLOPs of four systems, counted again from our networks.

The paper does not say how it counted. The recipe here gives all its cells (parameters to 0.01 M, FLOPs to 0.01 G); its
oddities are in the notes of each row. Model sizes of the paper look like checkpoint files and are not reproduced: the size
here is that of the weights, measured.
"""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hpsbench.data_dir import data_dir
from hpsbench.models._catalog import get_system
from hpsbench.models._costs import bytes_of, count_costs, parameters_of
from hpsbench.models._profile import image_network
from hpsbench.models._regressor import PASSES, IterativeRegressor

PLACEHOLDERS = 64 * (10 + 3 + 69)
"""Numbers that a body model built for batches of 64 adds to the parameters: betas, global orientation, body pose."""
WINDOW = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRow:
    """One row of the table.

    Attributes:
        method: as in `leaderboards/papers/mpsnet_table2.csv`.
        options: of the system that is counted.
        parameters: part -> trainable numbers.
        multiply_adds: part -> for one predicted frame.
        weight_bytes: of generator and image network, float32, as they are in memory.
        notes: what the printed number stands on.
    """

    method: str
    options: Mapping[str, Any]
    parameters: Mapping[str, int]
    multiply_adds: Mapping[str, int]
    weight_bytes: int
    notes: tuple[str, ...]

    @property
    def params_m(self) -> float:
        """All parameters, millions."""
        return sum(self.parameters.values()) / 1e6

    @property
    def flops_g(self) -> float:
        """All multiply-adds, thousand millions; the paper calls them FLOPs."""
        return sum(self.multiply_adds.values()) / 1e9

    @property
    def weights_mib(self) -> float:
        """Size of the weights in MiB: our own column."""
        return self.weight_bytes / 2**20

    def to_json_dict(self, printed: Mapping[str, float]) -> dict[str, Any]:
        """For JSON, beside the printed values."""
        return {
            "method": self.method,
            "options": dict(self.options),
            "params_m": self.params_m,
            "flops_g": self.flops_g,
            "printed": dict(printed),
            "parameters": dict(self.parameters),
            "multiply_adds": dict(self.multiply_adds),
            "weight_bytes": self.weight_bytes,
            "notes": list(self.notes),
        }


def printed_table2() -> dict[str, dict[str, float]]:
    """What the paper prints: method -> `params_m`, `flops_g` and `model_size_mb`."""
    found: dict[str, dict[str, float]] = {}
    path = data_dir("leaderboards") / "papers" / "mpsnet_table2.csv"
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["method"], {})[row["metric"]] = float(row["value"])
    return found


def mpsnet_table2() -> tuple[CostRow, ...]:
    """The rows of MPS-Net's Table 2, in its order.

    Parameters: trainable numbers of the generator with its regressor, of the whole single-image network (ResNet-50 and a
    regressor of its own), and of the placeholders in each body model. Multiply-adds: one crop through the ResNet-50 (norms,
    activations and pooling counted too, as ptflops does), the single-image regressor except for VIBE, and what the temporal
    part needs for one output. Regressors are counted as released: all their passes multiply the features, ours multiply once.
    """
    return (
        _row(
            "vibe",
            {"bidirectional": True},
            frames=1,
            image_regressor=False,
            notes=(
                "VIBE with a bidirectional GRU, as the paper's text has it; the released one-way model has 48.30 M",
                "the temporal part runs on one frame; the single-image network's own regressor is left out of the FLOPs",
            ),
        ),
        _row(
            "meva",
            {},
            frames=1,
            bodies=3,
            more=_meva_decoder,
            notes=(
                "without the frozen motion VAE in the parameters, with three body models",
                "encoders and refiner run on one frame, the motion decoder all its 90 steps",
            ),
        ),
        _row(
            "tcmr",
            {},
            frames=WINDOW,
            notes=("108.895 M, printed as 108.89: rounded twice, or cut; rounded once it is 108.90",),
        ),
        _row(
            "mpsnet",
            {},
            frames=WINDOW,
            more=_mpsnet_wasted,
            notes=(
                "with the 16 rows that the released code regresses for the discriminator at test time too and throws away: "
                "0.166 G",
            ),
        ),
    )


def _row(
    method: str,
    options: Mapping[str, Any],
    *,
    frames: int,
    bodies: int = 2,
    image_regressor: bool = True,
    more: Any = None,
    notes: tuple[str, ...],
) -> CostRow:
    with torch.device("meta"):
        system = get_system(method)(**options).eval()
        given, regressor = torch.zeros(1, frames, 2048), IterativeRegressor().eval()
        feature = torch.zeros(1, 2048)
    image, own = image_network(), _count(system, lambda: system(given))
    parameters = {
        "generator": parameters_of(system),
        "image network": image["parameters"],
        "image network's regressor": parameters_of(regressor),
        "body-model placeholders": bodies * PLACEHOLDERS,
    }
    costs = {"image network": image["multiply_adds"] + image["elementwise"], "temporal part": own}
    if image_regressor:
        costs["image network's regressor"] = _count(regressor, lambda: regressor(feature))
    if more is not None:
        costs |= more(system)
    return CostRow(
        method=method,
        options=options,
        parameters=parameters,
        multiply_adds=costs,
        weight_bytes=bytes_of(system) + image["bytes"] + bytes_of(regressor),
        notes=notes,
    )


def _count(network: nn.Module, run: Callable[[], Any]) -> int:
    """Multiply-adds of a call, the features multiplied in each of a regressor's passes."""
    again: list[int] = []

    def note(regressor: IterativeRegressor, args: tuple[Tensor, ...]) -> None:
        again.append((PASSES - 1) * args[0].numel() * regressor.fc1.out_features)

    hooks = [
        module.register_forward_pre_hook(note)
        for module in network.modules()
        if isinstance(module, IterativeRegressor)
    ]
    try:
        counted = count_costs(network, run).of()
    finally:
        for hook in hooks:
            hook.remove()
    return counted + sum(again)


def _meva_decoder(system: Any) -> dict[str, int]:
    """The decoder's steps beyond the first, which is part of the forward pass of one frame."""
    latent = torch.zeros(1, system.options["latent"], device="meta")
    first = torch.zeros(1, 144, device="meta")

    def steps(count: int) -> int:
        return count_costs(system, lambda: system.vae_model.decode(latent, count, first)).of()

    return {"motion decoder, further steps": (system.length - 1) * (steps(2) - steps(1))}


def _mpsnet_wasted(system: Any) -> dict[str, int]:
    rows = torch.zeros(WINDOW, 2048, device="meta")
    return {"wasted discriminator rows": _count(system, lambda: system.regressor(rows))}
