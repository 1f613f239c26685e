"""Making the features of corrupted frames: of crops, of frames shown in another's place, of pairs for optical flow."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hpsbench.corruption._corruption import Corruption, Fill
from hpsbench.errors import BadData
from hpsbench.features.backbones import Extractor
from hpsbench.features.batches import compute_features
from hpsbench.features.corrupted import corrupted_crop
from hpsbench.features.frames import Frames
from hpsbench.store.reader import FeatureSet
from hpsbench.types import FloatArray, IntArray

TOLD = 0.001
"""Share of a crop's pixels from which on a change has to show in its features; below it, a network may not tell."""


def changed_rows(network: Extractor, frames: Frames | None, rows: IntArray, hit: IntArray) -> IntArray:
    """Rows whose features change: the hit ones, and those after a hit one where the network reads pairs; increasing.

    Args:
        network: that makes the features.
        frames: which row comes before which; None where features are copied.
        rows: (n,) of the set.
        hit: (h,) rows that are hit.
    """
    if frames is None or not getattr(network, "pairs", False):
        return hit
    struck = set(hit.tolist())
    after = [row for row in rows.tolist() if frames.earlier(row) in struck]
    changed: IntArray = np.union1d(hit, np.array(after, np.int64)).astype(np.int64)
    return changed


@dataclass(frozen=True)
class Redo:
    """Replaces the features that a corruption changes.

    Attributes:
        frames: images and boxes; None where features are copied from other rows.
        network: that made the clean features.
        clean: those.
        corruption, fill: what is done.
        hit: (h,) rows that are hit, increasing.
        what: (h, P) what is done to each.
        rows: rows whose features change, of `changed_rows`.
        workers: threads for images.
        report: told of every batch.
    """

    frames: Frames | None
    network: Extractor
    clean: FeatureSet
    corruption: Corruption
    fill: Fill
    hit: IntArray
    what: IntArray
    rows: IntArray
    workers: int
    report: Callable[[int], None]

    def features(self, rows: IntArray, clean: FloatArray) -> FloatArray:
        """(n, D): `clean`, with those of `self.rows` replaced.

        Raises:
            BadData: a corruption did not reach a frame's features.
        """
        todo = self.rows[np.isin(self.rows, rows)]
        if len(todo) == 0:
            return clean
        where = np.searchsorted(rows, todo)
        if self.frames is None:
            clean[where] = self.clean.of(np.array([self._plans[row][0] for row in todo.tolist()]))
            self.report(len(todo))
            return clean
        new = self._extracted(self.frames, todo)
        if not self._pairs:  # of flow, a person who stands still looks the same behind any square
            for number in np.flatnonzero((new == clean[where]).all(axis=1)):
                self._check_unseen(self.frames, int(todo[number]))
        clean[where] = new
        return clean

    @property
    def _pairs(self) -> bool:
        return bool(getattr(self.network, "pairs", False))

    @cached_property
    def _plans(self) -> dict[int, IntArray]:
        return dict(zip(self.hit.tolist(), self.what, strict=True))

    def _extracted(self, frames: Frames, rows: IntArray) -> FloatArray:
        size, pairs = self.network.size, self._pairs

        def crop(row: int) -> NDArray[np.uint8]:
            what = self._plans.get(row)
            if what is None:
                clean: NDArray[np.uint8] = frames.crop(row, size)
                return clean
            return corrupted_crop(frames, self.corruption, row, what, size, self.fill)

        def load(number: int) -> NDArray[np.uint8]:
            row = int(rows[number])
            now = crop(row)
            if not pairs:
                return now
            earlier = frames.earlier(row)
            return np.concatenate([now if earlier is None else crop(earlier), now])

        return compute_features(self.network, load, len(rows), workers=self.workers, on_batch=self.report)

    def _check_unseen(self, frames: Frames, row: int) -> None:
        """That a corruption which left the features as they were left the crop so, too: it lies beside it, or in the dark.

        Raises:
            BadData: the crop did change.
        """
        size = self.network.size
        hurt = corrupted_crop(frames, self.corruption, row, self._plans[row], size, self.fill)
        share = float((hurt != frames.crop(row, size)).any(axis=-1).mean())
        if share > TOLD:
            raise BadData(
                f"{frames.path(row)} (row {row}): the corruption changed {share:.1%} of the crop's pixels, but not one of its "
                f"features; is {self.network.name!r} blind to its input, or were the clean features made of other images?"
            )
