import threading

import numpy as np
import pytest
import torch

from hpsbench.errors import BrokenFile
from hpsbench.features.batches import compute_features


class MeanColours:
    """An extractor that is easy to check: sums of the crop's channels."""

    name, dim, size, batch, sha256, device, synthetic = "means", 3, 4, 8, "0" * 64, "cpu", True

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.threads: set[int] = set()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.batches.append(len(batch))
        self.threads.add(torch.get_num_threads())
        return batch.astype(np.float32).sum(axis=(1, 2))


def load(number: int) -> np.ndarray:
    return np.full((4, 4, 3), number % 251, np.uint8)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("count", [0, 1, 8, 29])
def test_every_crop_gets_its_own_features_in_whole_batches(workers: int, count: int) -> None:
    extractor, done = MeanColours(), []
    features = compute_features(extractor, load, count, workers=workers, on_batch=done.append)
    np.testing.assert_array_equal(features, np.tile(16 * np.arange(count, dtype=np.float32)[:, None], 3))
    assert extractor.batches == [8] * -(-count // 8)
    assert extractor.threads <= {1}
    assert sum(done) == count


def test_loading_overlaps_the_network_and_memory_stays_bounded() -> None:
    extractor, loaded, gate = MeanColours(), [], threading.Event()

    def slow_network(batch: np.ndarray) -> np.ndarray:
        gate.wait(5)
        return MeanColours.__call__(extractor, batch)

    extractor_call = type("Slow", (MeanColours,), {"__call__": lambda self, batch: slow_network(batch)})()

    def watch(number: int) -> np.ndarray:
        loaded.append(number)
        if len(loaded) == 16:  # a second batch is loaded while the network still holds the first
            gate.set()
        return load(number)

    compute_features(extractor_call, watch, 200)
    assert gate.is_set()
    assert sorted(loaded) == list(range(200))


def test_an_image_that_cannot_be_read_ends_the_job_with_its_error() -> None:
    def broken(number: int) -> np.ndarray:
        if number == 11:
            raise BrokenFile("image 11 is not a JPEG")
        return load(number)

    with pytest.raises(BrokenFile, match="image 11"):
        compute_features(MeanColours(), broken, 40, workers=2)
