"""Corrupted features of pairs of crops, as optical flow has them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hpsbench.corruption._catalog import get_corruption
from hpsbench.features import backbones
from hpsbench.features.corrupted import corrupted_crop
from hpsbench.features.flow import KIND
from hpsbench.features.frames import Frames
from hpsbench.pipeline.corrupt import corrupt
from hpsbench.pipeline.extract import extract
from hpsbench.store.reader import open_store

MakeStore = Callable[..., Path]


class Differences:
    """Mean colours of both crops of a pair, and of their difference."""

    name, dim, size, batch, sha256, device, synthetic = "pairs", 9, 32, 8, "d" * 64, "cpu", True
    pairs = True
    about = {"kind": KIND}  # noqa: RUF012

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        earlier, now = (part.astype(np.float32).mean(axis=(1, 2)) for part in np.split(batch, 2, axis=1))
        return np.concatenate([earlier, now, now - earlier], axis=1)


@pytest.fixture
def clean(image_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with clean features of pairs; rows 3 and 4 of each track are left out by the view."""
    monkeypatch.setitem(backbones._OURS, "pairs", lambda root, device: Differences())
    path = image_store()
    extract(path, path.parents[1], view="tcmr", extractor="pairs", raw=path.parents[1] / "raw", device="cpu")
    return path


@pytest.mark.parametrize("mode", ["center", "shuffled", "box-jitter"])
def test_a_pair_is_made_again_where_either_of_its_frames_is_hit(clean: Path, mode: str) -> None:
    root = clean.parents[1]
    job = corrupt(
        clean, root, mode=mode, severity=3, view="tcmr", extractor="pairs", splits=None, raw=root / "raw", device="cpu"
    )  # fmt: skip
    store = open_store(clean)
    before, after = store.features["pairs-tcmr"], store.features[job.features]
    assert job.features.startswith(f"pairs-tcmr+{mode}-0.33x")
    assert after.attrs["kind"] == KIND
    record = after.attrs["corruption"]
    corruption, frames = get_corruption(mode), Frames(store, root / "raw", "tcmr")
    plans = {
        row: np.array([record["hits"][name][number] for name in corruption.columns])
        for number, row in enumerate(record["hits"]["row"])
    }

    def crop(row: int) -> NDArray[np.uint8]:
        if row not in plans:
            made: NDArray[np.uint8] = frames.crop(row, 32)
            return made
        return corrupted_crop(frames, corruption, row, plans[row], 32)

    again = 0
    for row in after.row.tolist():
        earlier = frames.earlier(row)
        if row in plans or earlier in plans:
            again += 1
            pair = np.concatenate([crop(row if earlier is None else earlier), crop(row)])
            wanted = Differences()(pair[None].repeat(8, axis=0))[0]
        else:
            wanted = before.of(np.array([row]))[0]
        np.testing.assert_array_equal(after.of(np.array([row]))[0], wanted, err_msg=str(row))
    assert job.images == again > len(plans)
