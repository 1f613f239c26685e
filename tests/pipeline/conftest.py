"""A small store with images, and a network that is quick and easy to check."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

from hpsbench.features import backbones
from hpsbench.store.writer import MemoryTrack, ViewRows, write_store
from hpsbench.types import Track

WIDTH, HEIGHT = 96, 64


class Patches:
    """Features of a crop: means of a 4x4 grid of patches. Stands in for a network."""

    name, dim, size, batch, device, synthetic = "patches", 48, 32, 16, "cpu", True
    sha256 = "5" * 64

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        assert batch.shape == (16, 32, 32, 3)
        cells = batch.reshape(16, 4, 8, 4, 8, 3).astype(np.float32)
        return np.ascontiguousarray(cells.mean(axis=(2, 4)).reshape(16, 48))


@pytest.fixture
def patches(monkeypatch: pytest.MonkeyPatch) -> type[Patches]:
    """Registers the stand-in as the extractor `patches`."""
    monkeypatch.setitem(backbones._OURS, "patches", lambda root, device: Patches())
    return Patches


@pytest.fixture
def image_store(tmp_path: Path) -> Callable[..., Path]:
    """Writes raw images and a store over them: a person on a noisy background, one box and 18 keypoints a frame."""

    def make(frames: dict[str, int] | None = None, *, synthetic: bool = True, **attributes: Any) -> Path:
        rng = np.random.default_rng(4)
        tracks = []
        for name, count in (frames or {"a_00": 30, "b_00": 21}).items():
            folder = tmp_path / "raw" / "imageFiles" / name
            folder.mkdir(parents=True)
            boxes = np.stack([rng.uniform(35, 60, count), rng.uniform(25, 40, count)], axis=1)
            for i in range(count):
                image = rng.integers(30, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
                (folder / f"image_{i:05d}.jpg").write_bytes(simplejpeg.encode_jpeg(image, quality=95))
            spread = np.stack(np.broadcast_arrays(*np.mgrid[-1:1:6j, -1:1:3j]), axis=-1).reshape(18, 2)[
                :, ::-1
            ]
            keypoints = np.concatenate([boxes[:, None] + spread * (6, 18), np.ones((count, 18, 1))], axis=2)
            track = Track(
                sequence=name, person=0, split="train" if name.startswith("a") else "test", frame_id=np.arange(count),
                fields={"keypoints2d": keypoints, "valid": np.ones(count, bool)}, fps=30.0, width=WIDTH, height=HEIGHT,
                image_source=f"imageFiles/{name}/image_{{frame_id:05d}}.jpg",
            )  # fmt: skip
            keep = np.ones(count, bool)
            keep[[3, 4]] = False
            box = np.concatenate([boxes, np.full((count, 2), 44.0)], axis=1)
            tracks.append(MemoryTrack.of(track, {"tcmr": ViewRows(keep=keep, bbox_cxcywh=box)}))
        path = tmp_path / "stores" / "3dpw.zarr"
        write_store(
            path, tracks, attributes={"dataset": "3dpw", "synthetic": synthetic, **attributes},
            nodes={"views/tcmr": {"crop_scale": 1.3}},
        )  # fmt: skip
        return path

    return make
