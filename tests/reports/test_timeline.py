from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from hpsbench.reports.timeline import _thumbs


class Pictured:
    """A scene that has an image of every frame."""

    frames = SimpleNamespace()

    def locate(self, track: Sequence[str], frame_id: Sequence[int]) -> Any:
        return np.asarray(frame_id)

    def crop(self, row: int, size: int) -> Any:
        return np.full((size, size, 3), row % 255, np.uint8)


def test_a_track_shorter_than_the_step_between_pictures_has_one_too() -> None:
    tracks = [{"track": "long", "frames": list(range(900))}, {"track": "short", "frames": [7, 8, 9]}]
    long, short = _thumbs(Pictured(), tracks, 10)  # type: ignore[arg-type]
    assert 8 <= len(long) <= 10
    assert list(short) == ["8"]
