"""Factories of tracks and stores for the tests of the store."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsbench.store.writer import MemoryTrack, ViewRows, write_store
from hpsbench.types import Track


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def make_track(rng: np.random.Generator) -> Callable[..., Track]:
    """Tracks with random values; `frames` is a number of frames or the frame numbers themselves."""

    def make(sequence: str = "walk_00", person: int = 0, *, frames: Any = 12, **changes: Any) -> Track:
        frame_id = np.arange(frames) if isinstance(frames, int) else np.asarray(frames)
        count = len(frame_id)
        fields = {
            "full_pose": rng.normal(size=(count, 72)),
            "betas": np.tile(rng.normal(size=10), (count, 1)),
            "joints3d": rng.normal(size=(count, 24, 3)),
            "keypoints2d": rng.uniform(0, 500, size=(count, 18, 3)),
            "valid": rng.random(count) < 0.8,
        }
        known: dict[str, Any] = {
            "split": "test",
            "fps": 30.0,
            "width": 640,
            "height": 360,
            "gender": "female",
        }
        known["image_source"] = f"imageFiles/{sequence}/image_{{frame_id:05d}}.jpg"
        return Track(
            sequence=sequence,
            person=person,
            frame_id=frame_id,
            fields=changes.pop("fields", fields),
            **{**known, **changes},
        )

    return make


@pytest.fixture
def make_view(rng: np.random.Generator) -> Callable[[Track], ViewRows]:
    def make(track: Track) -> ViewRows:
        boxes = rng.uniform(10, 300, size=(len(track), 4))
        boxes[~np.asarray(track.fields["valid"])] = np.nan
        return ViewRows(keep=np.asarray(track.fields["valid"]), bbox_cxcywh=boxes)

    return make


@pytest.fixture
def make_store(tmp_path: Path, make_view: Callable[[Track], ViewRows]) -> Callable[..., Path]:
    """Writes a store of the given tracks and returns its folder."""

    def make(tracks: list[Track], name: str = "3dpw", **changes: Any) -> Path:
        path = tmp_path / "stores" / f"{name}.zarr"
        sources = [MemoryTrack.of(track, {"tcmr": make_view(track)}) for track in tracks]
        attributes = {"dataset": name, "synthetic": True, **changes.pop("attributes", {})}
        nodes = {
            "frames/joints3d": {
                "joint_set": "smpl24",
                "joint_names": [f"j{i}" for i in range(24)],
                "unit": "m",
            },
            "views/tcmr": {"crop_scale": 1.3},
        }
        write_store(path, sources, attributes=attributes, nodes=nodes, **changes)
        return path

    return make


@pytest.fixture
def three_tracks(make_track: Callable[..., Track]) -> list[Track]:
    return [
        make_track("a_00", 0, frames=40, split="train"),
        make_track("b_00", 0, frames=[0, 1, 2, 6, 7, 8, 9]),
        make_track("b_00", 1, frames=25, width=None, height=None),
    ]
