"""Where the images of a sequence lie: in one of several layouts, as files or in a video, complete or not."""

import os
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hpsbench.errors import BrokenFile
from hpsbench.recipes.readers._jpeg import jpeg_size
from hpsbench.types import BoolArray, IntArray

_NUMBER = re.compile(r"\{frame_id(?::[^}]*)?\}")


class Images(NamedTuple):
    """The images of one sequence.

    Attributes:
        root: the raw dataset's folder.
        source: path under the root with `{frame_id}` to format, or `video#{frame_id}`, the frames of which count from 1.
        numbers: of the images that are there, sorted; None where there is none of the sequence, or nobody knows.
    """

    root: Path
    source: str
    numbers: IntArray | None

    def present(self, frame_id: IntArray) -> BoolArray:
        """(T,) whether the image of a frame is there; true throughout where nothing is known."""
        if self.numbers is None:
            return np.ones(len(frame_id), dtype=bool)
        return np.isin(frame_id, self.numbers)

    def size(self) -> tuple[int, int] | None:
        """Width and height of the first image file, from its header; None without image files.

        Raises:
            BrokenFile: it is no JPEG.
        """
        if self.numbers is None or "#" in self.source:
            return None
        return jpeg_size(self.root / self.source.format(frame_id=int(self.numbers[0])))


def find_images(root: Path, layouts: Sequence[str]) -> Images:
    """The images in the first layout of which anything is there; the last layout where there is nothing.

    Args:
        root: the raw dataset's folder.
        layouts: paths under it with `{frame_id}` to format; a layout with `#` is a frame in a video.

    Raises:
        BrokenFile: a video cannot be opened.
    """
    for layout in layouts:
        numbers = _in_video(root, layout) if "#" in layout else _in_folder(root, layout)
        if numbers is not None:
            return Images(root, layout, numbers if len(numbers) else None)
    return Images(root, layouts[-1], None)


def _in_folder(root: Path, layout: str) -> IntArray | None:
    """Numbers of the files that have the layout's name; None where there is none."""
    folder, _, name = layout.rpartition("/")
    before, after = _NUMBER.split(name, maxsplit=1)
    path = root / folder
    if not path.is_dir():
        return None
    with os.scandir(path) as entries:
        names = [entry.name for entry in entries]
    found = []
    for held in names:
        digits = held[len(before) : len(held) - len(after)]
        if digits.isascii() and digits.isdigit() and held == name.format(frame_id=int(digits)):
            found.append(int(digits))
    return np.sort(np.array(found)) if found else None


def _in_video(root: Path, layout: str) -> IntArray | None:
    """Numbers of a video's frames; none if its header does not count them, None where there is no such file."""
    path = root / layout.partition("#")[0]
    return np.arange(1, _count_frames(path, path.stat().st_mtime_ns) + 1) if path.is_file() else None


@lru_cache(maxsize=64)
def _count_frames(path: Path, changed: int) -> int:
    import av

    try:
        with av.open(str(path)) as container:
            return int(container.streams.video[0].frames)
    except (av.error.FFmpegError, IndexError) as error:
        raise BrokenFile(
            f"{path}: not a readable video ({error}); download it again, or extract its frames as JPEG files"
        ) from error
