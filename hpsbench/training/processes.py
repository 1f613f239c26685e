"""Several processes as one: each sees its part of every batch, and gradients are those of the whole batch.

A term is a mean over what took part, and processes may differ in how much that is. So each part is scaled by its share
of the count over all processes before gradients are summed, which makes the sum the gradient of the mean over the whole
batch, whatever the number of processes.
"""

import multiprocessing
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, distributed, nn

from hpsbench.errors import HpsbenchError
from hpsbench.training.step import Part


def shared(parts: Mapping[str, Part]) -> dict[str, Tensor]:
    """Parts as values whose sum over processes is the mean over all; of one process they are what they were."""
    if not _several():
        return {name: part.value for name, part in parts.items()}
    counts = torch.stack([torch.as_tensor(part.count).double().cpu() for part in parts.values()])
    total = counts.clone()
    _sum(total)
    shares = (counts / total.clamp_min(1.0)).tolist()
    return {name: part.value * share for (name, part), share in zip(parts.items(), shares, strict=True)}


def sum_gradients(modules: Iterable[nn.Module]) -> None:
    """Replace gradients by their sum over all processes."""
    if not _several():
        return
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
    used = torch.tensor([p.grad is not None for p in parameters], dtype=torch.float64)
    distributed.all_reduce(flat)
    _sum(used)
    at = 0
    for parameter, seen in zip(parameters, used.tolist(), strict=True):
        if seen:
            parameter.grad = flat[at : at + parameter.numel()].view_as(parameter).clone()
        at += parameter.numel()


def summed(values: Mapping[str, float]) -> dict[str, float]:
    """Numbers, each summed over all processes."""
    if not _several():
        return dict(values)
    total = torch.tensor(list(values.values()), dtype=torch.float64)
    _sum(total)
    return dict(zip(values, total.tolist(), strict=True))


def gathered(value: Any) -> list[Any]:
    """A small object of every process, in their order."""
    if not _several():
        return [value]
    found: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, value)
    return found


def from_first(value: Any) -> Any:
    """The first process's object, in all."""
    if not _several():
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def _several() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def _sum(values: Tensor) -> None:
    """Sum over processes, in place; through the device where the processes talk over one."""
    if distributed.get_backend() == "nccl":
        there = values.cuda()
        distributed.all_reduce(there)
        values.copy_(there.cpu())
    else:
        distributed.all_reduce(values)


def launch(work: Callable[..., Any], count: int, arguments: Mapping[str, Any]) -> None:
    """Run `work(**arguments)` in `count` processes of this machine that Lightning Fabric takes for one job.

    Raises:
        HpsbenchError: one of them failed; its own message is on stderr.
    """
    context = multiprocessing.get_context("spawn")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = [
        context.Process(target=_enter, args=(work, rank, count, port, dict(arguments)))
        for rank in range(count)
    ]
    for process in processes:
        process.start()
    try:
        while any(process.is_alive() for process in processes):
            for process in processes:
                process.join(0.2)
            if any(process.exitcode not in (None, 0) for process in processes):
                break
    finally:
        for process in processes:
            if process.is_alive() and any(p.exitcode not in (None, 0) for p in processes):
                process.terminate()
            process.join()
    codes = [process.exitcode for process in processes]
    if any(codes):
        raise HpsbenchError(
            f"training in {count} processes failed (exit codes {', '.join(map(str, codes))}); the message of the one that "
            "failed is above. What was complete is kept; the same command resumes"
        )


def _enter(work: Callable[..., Any], rank: int, count: int, port: int, arguments: dict[str, Any]) -> None:
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "LOCAL_RANK": str(rank),
        "NODE_RANK": "0",
        "WORLD_SIZE": str(count),
    }
    work(**arguments)
