"""What a network costs: multiply-adds and parameters by module, counted on shapes alone.

A multiply-add is one product and one sum of a matrix product or a convolution; biases, activations, norms and softmax are
not counted. Elementwise work is counted apart, as ptflops counts it: a batch norm 2, a ReLU 1, a pooling 1 per element.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

Shape = tuple[int, ...]


def _product(left: Shape, right: Shape) -> int:
    """Of matrices (..., n, k) and (..., k, m)."""
    count: int = prod(left) * right[-1]
    return count


def _convolution(args: tuple[Any, ...], out: Tensor) -> int:
    transposed, weight = args[6], args[1].shape
    spread = args[0] if transposed else out
    count: int = prod(spread.shape) * prod(weight[1:])
    return count


_PRODUCTS: Mapping[str, Callable[[tuple[Any, ...], Any], int]] = {
    "aten::mm": lambda args, _: _product(args[0].shape, args[1].shape),
    "aten::addmm": lambda args, _: _product(args[1].shape, args[2].shape),
    "aten::bmm": lambda args, _: _product(args[0].shape, args[1].shape),
    "aten::baddbmm": lambda args, _: _product(args[1].shape, args[2].shape),
    "aten::mv": lambda args, _: prod(args[0].shape),
    "aten::addmv": lambda args, _: prod(args[1].shape),
    "aten::dot": lambda args, _: prod(args[0].shape),
    "aten::convolution": _convolution,
}
_ELEMENTWISE: Mapping[str, Callable[[tuple[Any, ...], Any], int]] = {
    "aten::native_batch_norm": lambda args, _: 2 * args[0].numel(),
    "aten::_native_batch_norm_legit_no_training": lambda args, _: 2 * args[0].numel(),
    "aten::relu": lambda args, _: args[0].numel(),
    "aten::max_pool2d_with_indices": lambda args, _: args[0].numel(),
    "aten::mean": lambda args, _: args[0].numel() if args[0].ndim == 4 else 0,
}


@dataclass(slots=True)
class Costs:
    """What one call of a network costs.

    Attributes:
        multiply_adds: module -> of its own products, those of its children not included.
        elementwise: module -> likewise, of batch norms, ReLUs and pooling.
    """

    multiply_adds: Counter[str] = field(default_factory=Counter)
    elementwise: Counter[str] = field(default_factory=Counter)

    def of(self, module: str = "") -> int:
        """Multiply-adds of a module with its children; "" is the whole network."""
        return _below(self.multiply_adds, module)

    def elementwise_of(self, module: str = "") -> int:
        """Elementwise operations of a module with its children."""
        return _below(self.elementwise, module)


def _below(counts: Mapping[str, int], module: str) -> int:
    if not module:
        return sum(counts.values())
    return sum(value for name, value in counts.items() if name == module or name.startswith(f"{module}."))


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, costs: Costs, where: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.costs, self.where = costs, where

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name, here = func._schema.name, self.where[-1]
        if name in _PRODUCTS:
            self.costs.multiply_adds[here] += _PRODUCTS[name](args, out)
        elif name in _ELEMENTWISE:
            self.costs.elementwise[here] += _ELEMENTWISE[name](args, out)
        return out


@contextmanager
def watched(network: nn.Module, enter: Callable[[str], None], leave: Callable[[str], None]) -> Iterator[None]:
    """Call `enter` and `leave` with a module's name round each of its forward calls; "" is the network itself."""
    handles = []
    for name, module in network.named_modules():
        handles.append(module.register_forward_pre_hook(lambda *_, name=name: enter(name)))
        handles.append(module.register_forward_hook(lambda *_, name=name: leave(name)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def count_costs(network: nn.Module, call: Callable[[], Any]) -> Costs:
    """What a call costs, by module.

    Args:
        network: whose modules are told apart; best on the device `meta`, where nothing is computed and recurrent layers
            are made of plain products.
        call: runs the network, or a part of it.
    """
    costs, where = Costs(), [""]

    def leave(_: str) -> None:
        where.pop()

    with watched(network, where.append, leave), _Counting(costs, where):
        call()
    return costs


def parameters_of(network: nn.Module, module: str = "") -> int:
    """Trainable numbers of a module; "" is the whole network."""
    return sum(value.numel() for value in network.get_submodule(module).parameters() if value.requires_grad)


def bytes_of(network: nn.Module, module: str = "") -> int:
    """Bytes of a module's weights and buffers, trainable or not."""
    state = network.get_submodule(module).state_dict(keep_vars=True).values()
    return sum(value.numel() * value.element_size() for value in state)
