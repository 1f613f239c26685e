"""Images to features: threads decode and crop while others run the network, in batches of one fixed size."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from hpsbench.features.backbones import Extractor

Load = Callable[[int], NDArray[np.uint8]]
Done = Callable[[int], None]


def compute_features(
    extractor: Extractor, load: Load, count: int, *, workers: int = 1, on_batch: Done | None = None
) -> NDArray[np.float32]:
    """Features of `count` crops.

    Batches are cut from the start, the last one is filled up with black, and every network call runs on one CPU
    thread, so the result depends on `extractor`, `load` and `count` alone, not on `workers`. At most a few batches
    are in memory.

    Args:
        extractor: the network.
        load: number -> its (S, S, 3) uint8 crop; called from several threads. Its errors are passed on.
        count: how many.
        workers: network calls at the same time (on a GPU one), and as many threads for `load`.
        on_batch: called with the number of crops of each finished batch, in order.

    Returns: (count, D) float32.
    """
    features = np.empty((count, extractor.dim), np.float32)
    calls = workers if extractor.device.startswith("cpu") else 1
    waiting: deque[tuple[int, Future[NDArray[np.float32]]]] = deque()

    def take_first() -> None:
        start, future = waiting.popleft()
        n = min(extractor.batch, count - start)
        features[start : start + n] = future.result()[:n]
        if on_batch:
            on_batch(n)

    with _single_threaded(), ThreadPoolExecutor(workers) as loaders, ThreadPoolExecutor(calls) as runners:
        try:
            for start in range(0, count, extractor.batch):
                crops = loaders.submit(_load_batch, extractor, load, start, count)
                waiting.append((start, runners.submit(_run, extractor, crops)))
                if len(waiting) > 2 * max(workers, calls):
                    take_first()
            while waiting:
                take_first()
        finally:
            loaders.shutdown(cancel_futures=True)
            runners.shutdown(cancel_futures=True)
    return features


def _run(extractor: Extractor, crops: Future[NDArray[np.uint8]]) -> NDArray[np.float32]:
    return extractor(crops.result())


def _load_batch(extractor: Extractor, load: Load, start: int, count: int) -> NDArray[np.uint8]:
    crops = 2 if getattr(extractor, "pairs", False) else 1  # of a pair, one lies above the other
    height = crops * extractor.size
    batch = np.zeros((extractor.batch, height, extractor.size, 3), np.uint8)
    for slot, number in enumerate(range(start, min(start + extractor.batch, count))):
        batch[slot] = load(number)
    return batch


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Torch and OpenCV use one thread per call inside; parallelism is ours, results don't depend on it."""
    before, before_cv = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        cv2.setNumThreads(before_cv)
