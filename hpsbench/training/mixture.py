"""Windows of many stores as mixed batches: each group of sources fills its share, and captured motions come beside."""

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from hpsbench.errors import UsageError
from hpsbench.store.reader import ClipStore
from hpsbench.store.windows import windows
from hpsbench.training.batches import Batch, TrainingWindows, draws, join
from hpsbench.training.config import Motions
from hpsbench.types import IntArray

Item = TypeVar("Item")
AHEAD = 2
"""Batches that are made before they are asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """R captured motions of T frames.

    Attributes:
        axis_angle: (R, T, 24, 3).
        betas: (R, T, 10).
    """

    axis_angle: Tensor
    betas: Tensor

    def to(self, device: torch.device) -> "Motion":
        """The same motions on another device."""
        return Motion(axis_angle=self.axis_angle.to(device), betas=self.betas.to(device))


class MotionWindows:
    """Windows of captured motions, of a store with SMPL parameters (AMASS).

    Args:
        store: prepared.
        rule: split, view and stride.
        length: T.
        limit: use the first so many tracks.

    Raises:
        UsageError: no track is as long as a window.
    """

    def __init__(self, store: ClipStore, rule: Motions, length: int, limit: int | None = None) -> None:
        self.store, self.length = store, length
        keep = store.views[rule.view].keep
        starts: list[int] = []
        used: list[IntArray] = []
        before = 0
        for number, track in enumerate(store.tracks(split=rule.split)):
            if limit is not None and number >= limit:
                break
            rows = track.rows[keep[track.rows]]
            cut = windows(len(rows), length=length, stride=rule.stride or length)
            starts += [before + window.first for window in cut]
            used.append(rows)
            before += len(rows)
        if not starts:
            raise UsageError(f"{store.location}: no motion of split {rule.split!r} has {length} frames")
        self.rows, self.starts = np.concatenate(used), np.asarray(starts, np.int64)

    def __len__(self) -> int:
        return len(self.starts)

    def batch(self, chosen: IntArray) -> Motion:
        """The motions of these numbers."""
        rows = self.rows[self.starts[chosen][:, None] + np.arange(self.length)]
        pose = np.asarray(self.store.frames["full_pose"][rows.ravel()], np.float32)
        betas = np.asarray(self.store.frames["betas"][rows.ravel()], np.float32)
        return Motion(
            axis_angle=torch.as_tensor(pose).reshape(*rows.shape, 24, 3),
            betas=torch.as_tensor(betas).reshape(*rows.shape, 10),
        )

    def epoch(
        self,
        *,
        batch: int,
        iterations: int,
        seed: int,
        epoch: int,
        first: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> Iterator[Motion]:
        """As `Mixture.epoch`; with replacement where there are fewer motions than a batch."""
        rng = np.random.default_rng([seed, epoch, 977])
        order = draws(len(self), batch, iterations, seed=seed, epoch=epoch, stream=(977,))
        if len(self) < batch:
            order = (rng.integers(len(self), size=batch) for _ in range(iterations))
        for chosen in islice(order, first, None):
            yield self.batch(chosen[rank::world])


class Mixture:
    """Batches of several sources by declared shares.

    A group's windows are those of all its sources, shuffled together and drawn without replacement until all were seen,
    through one epoch after the other; groups start over independently. Source: VIBE `lib/dataset/loaders.py`.

    Args:
        groups: name -> its sources, in the order of a batch.
        shares: name -> share of a batch. Rounded down, as VIBE does; the last group gets the rest. Shares of groups that
            are absent fall to the others in proportion.

    Raises:
        UsageError: a group without a window.
    """

    def __init__(self, groups: Mapping[str, Sequence[TrainingWindows]], shares: Mapping[str, float]) -> None:
        self.groups = {name: tuple(pools) for name, pools in groups.items()}
        for name, pools in self.groups.items():
            if sum(map(len, pools)) == 0:
                where = ", ".join(f"{p.store.dataset} ({p.source.split})" for p in pools)
                raise UsageError(
                    f"no training window in group {name!r} ({where}): no track is as long as a window; use shorter "
                    "windows, --set windows.length=..., or more data"
                )
        given = {name: shares.get(name, 1.0) for name in self.groups}
        self.shares = {name: share / sum(given.values()) for name, share in given.items()}

    def __len__(self) -> int:
        return sum(len(pool) for pools in self.groups.values() for pool in pools)

    def counts(self, batch: int) -> dict[str, int]:
        """Windows of each group in a batch."""
        *first, last = self.groups
        counts = {name: int(batch * self.shares[name] + 1e-9) for name in first}
        counts[last] = batch - sum(counts.values())
        return counts

    def epoch(
        self,
        *,
        batch: int,
        iterations: int,
        seed: int,
        epoch: int,
        first: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> Iterator[Batch]:
        """Batches of an epoch, from number `first` on; of several processes each gets every `world`-th window of a group.

        The order depends on seed and epoch alone: not on the number of processes, and not on where a run was resumed.
        """
        counts = self.counts(batch)
        orders = {}
        for number, (name, pools) in enumerate(self.groups.items()):
            total, stream = sum(map(len, pools)), (number,) if number else ()
            orders[name] = draws(total, counts[name], iterations, seed=seed, epoch=epoch, stream=stream)
        for number in range(iterations):
            chosen = {name: next(orders[name])[rank::world] for name in self.groups}
            if number < first:
                continue
            rng = np.random.default_rng([seed, epoch, number, rank])
            yield join(
                [part for name in self.groups for part in _gather(self.groups[name], chosen[name], rng)]
            )


def _gather(pools: Sequence[TrainingWindows], chosen: IntArray, rng: np.random.Generator) -> Iterator[Batch]:
    """Windows by their number over several sources, source by source."""
    first = 0
    for pool in pools:
        own = chosen[(chosen >= first) & (chosen < first + len(pool))] - first
        first += len(pool)
        if len(own):
            yield pool.batch(own, rng)


def ahead(items: Iterator[Item], size: int = AHEAD) -> Iterator[Item]:
    """The same items, made by a thread while the ones before are used; an error in the making is raised here."""
    waiting: queue.Queue[tuple[bool, Item | BaseException | None]] = queue.Queue(maxsize=size)
    stopped = threading.Event()

    def put(entry: tuple[bool, Item | BaseException | None]) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def make() -> None:
        try:
            for item in items:
                if not put((True, item)):
                    return
            put((False, None))
        except BaseException as problem:
            put((False, problem))

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        while True:
            more, item = waiting.get()
            if isinstance(item, BaseException):
                raise item
            if not more:
                return
            yield item  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join()
