"""Windows of a track that share work: what depends on one frame alone is computed once per frame, not once per window.

A window of 16 at every frame computes each frame's input projection of a recurrent layer 16 times, although it is the same each
time. Recurrent states cannot be shared, since each window starts from zero; but of a layer of which one step is read, only the
steps that lead to it are needed. Outputs are those of the network itself but for rounding.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from hpsbench.models._regressor import BodyState, IterativeRegressor
from hpsbench.types import WindowRule

WINDOWS_PER_BATCH = 256
"""Windows that run through a network at once, at most; a multiple of `GROUP`."""
GROUP = 8
"""Batches hold whole groups of so many windows, in which MPS-Net's released mixing pairs them."""
WORTHWHILE = 4
"""In how many windows a frame must be before sharing is worth it."""


def overlaps_much(rule: WindowRule) -> bool:
    """Whether sharing is worth it under a rule."""
    return (
        isinstance(rule.length, int)
        and isinstance(rule.stride, int)
        and rule.length >= WORTHWHILE * rule.stride
    )


def windows_at_once(rule: WindowRule, frames: int) -> int:
    """Windows of one batch under a rule that `overlaps_much`: as many as `frames` frames make, in whole groups."""
    if not isinstance(rule.length, int) or not isinstance(rule.stride, int):
        return GROUP
    groups = (frames - rule.length) // rule.stride // GROUP
    return min(max(groups, 1) * GROUP, WINDOWS_PER_BATCH)


class SharedGru:
    """A GRU over windows of a track, its first layer's input projections computed once per frame.

    Args:
        gru: zero initial states, one-way or bidirectional, any number of layers.
        frames: (U, F), the frames that the windows are made of.
        rows: (W, T), the frames of each window.
    """

    def __init__(self, gru: nn.GRU, frames: Tensor, rows: Tensor) -> None:
        self._gru, self._rows = gru, rows
        ways = ("", "_reverse") if gru.bidirectional else ("",)
        self._projected = {way: linear(frames, *self._of("ih", 0, way)) for way in ways}

    def at(self, step: int) -> Tensor:
        """The last layer's output at one step, (W, H), or (W, 2 H) of both directions."""
        length = self._rows.shape[1]
        step %= length
        forth, back = range(length), range(length - 1, -1, -1)
        every = {way: back if way else forth for way in self._projected}
        needed = {way: steps[: steps.index(step) + 1] for way, steps in every.items()}
        last = self._gru.num_layers - 1
        states: Tensor | None = None
        for layer in range(last):
            states = self._layer(layer, states, every)
        return self._layer(last, states, needed)[step]

    def _layer(self, layer: int, below: Tensor | None, used: dict[str, range]) -> Tensor:
        """States (T, W, directions x H) of one layer at the steps that are used, made in their order; others stay empty."""
        size = self._gru.hidden_size
        count, length = self._rows.shape
        states = self._projected[""].new_empty(length, count, size * len(used))
        for number, (way, steps) in enumerate(used.items()):
            own = states[..., number * size : (number + 1) * size]
            weight, bias = self._of("hh", layer, way)
            first = min(steps)
            given = None
            if below is not None:
                given = linear(below[first : max(steps) + 1], *self._of("ih", layer, way))
            state: Tensor | None = None
            for step in steps:
                gates = self._projected[way][self._rows[:, step]] if given is None else given[step - first]
                state = gru_step(gates, state, weight, bias)
                own[step] = state
        return states

    def _of(self, kind: str, layer: int, way: str) -> tuple[Tensor, Tensor]:
        suffix = f"_{kind}_l{layer}{way}"
        return getattr(self._gru, f"weight{suffix}"), getattr(self._gru, f"bias{suffix}")


def gru_step(gates: Tensor, state: Tensor | None, weight: Tensor, bias: Tensor) -> Tensor:
    """One step of a GRU, gates r, z, n; no graph is kept.

    Args:
        gates: (W, 3 H) input parts with their bias.
        state: (W, H), or None for zero.
        weight: (3 H, H), of the recurrent part.
        bias: (3 H,), of the recurrent part.
    """
    size = weight.shape[1]
    own = bias.expand_as(gates) if state is None else torch.addmm(bias, state, weight.t())
    turn = torch.add(gates[:, : 2 * size], own[:, : 2 * size]).sigmoid_()
    reset, update = turn[:, :size], turn[:, size:]
    new = torch.addcmul(gates[:, 2 * size :], reset, own[:, 2 * size :]).tanh_()
    return new * (1 - update) if state is None else new.lerp_(state, update)


def regress(regressor: IterativeRegressor, features: Tensor) -> BodyState:
    """The regressor's state after three passes; the features' part of the first layer is computed once for all three.

    Args:
        regressor: in evaluation mode.
        features: (N, F).
    """
    width = features.shape[1]
    weight, bias = regressor.fc1.weight, regressor.fc1.bias
    seen = linear(features, weight[:, :width], bias)
    sizes = [value.shape[1] for value in (regressor.init_pose, regressor.init_shape, regressor.init_cam)]
    heads = (regressor.decpose, regressor.decshape, regressor.deccam)
    state = torch.cat([regressor.init_pose, regressor.init_shape, regressor.init_cam], dim=1)
    state = state.expand(len(features), -1)
    for _ in range(3):
        hidden = regressor.fc2(torch.addmm(seen, state, weight[:, width:].t()))
        state = state + torch.cat([head(hidden) for head in heads], dim=1)
    return BodyState(*torch.split(state, sizes, dim=1))
