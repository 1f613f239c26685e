"""Images inside other files: frames of a video, and JPEGs in the records of a TFRecord shard.

A clip's `image_source` names them `<video>#<number>`, counted from 1, and `<shard>#<record>/<entry>`, counted from 0.
Videos are decoded as they are, without writing frames: on from where the last call stopped, or from the key frame before.
"""

import threading
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpsbench.errors import BrokenFile, MissingRawFiles
from hpsbench.features.images import decode_bytes
from hpsbench.safe_io.tfrecord import Example, read_record

Image = NDArray[np.uint8]
_KEPT = 8  # decoded frames of a video; several threads read neighbours
_FAR = 48  # frames ahead from which on jumping to a key frame is worth it
_OPEN = 4  # videos at once
_ENCODED = "image/encoded"


def read_inner(path: Path, inner: str) -> Image:
    """(H, W, 3) uint8 RGB of an image inside a file.

    Args:
        path: a video, or a TFRecord shard.
        inner: the frame's number from 1; or record and entry from 0, `3/17`.

    Raises:
        MissingRawFiles: there is no such file.
        BrokenFile: it is damaged, or does not hold so many images.
    """
    if not path.is_file():
        raise MissingRawFiles(f"{path} is missing; put it back, then run the command again")
    if "/" not in inner:
        return _video(str(path), path.stat().st_mtime_ns).frame(int(inner))
    record, entry = (int(word) for word in inner.split("/"))
    images = _images_of_record(str(path), path.stat().st_mtime_ns, record)
    if entry >= len(images):
        raise BrokenFile(f"{path}: record {record} holds {len(images)} images; image {entry} was asked for")
    return decode_bytes(images[entry], f"{path}#{inner}")


@lru_cache(maxsize=4)
def _images_of_record(path: str, changed: int, record: int) -> list[bytes]:
    example = Example(read_record(Path(path), record), where=f"{path}: record {record}")
    images = example.get(_ENCODED, [])
    if not isinstance(images, list):
        raise BrokenFile(f"{example.where}: {_ENCODED} holds numbers, expected JPEG files")
    return images


@lru_cache(maxsize=_OPEN)
def _video(path: str, changed: int) -> "_Video":
    return _Video(Path(path))


class _Video:
    """Frames of one video by number; calls of several threads wait for each other."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._container: Any = None
        self._frames: Any = iter(())
        self._next, self._sought = 0, -1
        self._kept: OrderedDict[int, Image] = OrderedDict()

    def frame(self, number: int) -> Image:
        """Frame `number`, from 1.

        Raises:
            BrokenFile: the video is damaged, or ends before.
        """
        import av

        with self._lock:
            try:
                while number - 1 not in self._kept:
                    self._advance(number - 1)
            except (av.error.FFmpegError, IndexError, OSError) as error:
                raise BrokenFile(
                    f"{self._path}: frame {number} cannot be decoded ({error}); download the video again, or extract its "
                    "frames as JPEG files"
                ) from error
            return self._kept[number - 1]

    def _advance(self, wanted: int) -> None:
        """Decode one more frame, after going to where that makes sense."""
        far = wanted - self._next > _FAR and wanted != self._sought
        if self._container is None or wanted < self._next or far:
            self._go_before(wanted)
        frame = next(self._frames, None)
        if frame is None:
            raise BrokenFile(
                f"{self._path}: ends after {self._next} frames; frame {wanted + 1} was asked for"
            )
        place = self._place(frame)
        self._next = place + 1
        if place >= wanted - _KEPT:
            self._kept[place] = frame.to_ndarray(format="rgb24")
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        if place > wanted and wanted not in self._kept:
            raise BrokenFile(f"{self._path}: has no frame {wanted + 1}; the next one is {place + 1}")

    def _go_before(self, wanted: int) -> None:
        """To the key frame before a frame; from the beginning where the container cannot be searched."""
        import av

        if self._container is None:
            self._container = av.open(str(self._path))
            self._container.streams.video[0].codec_context.thread_count = 1
        stream = self._container.streams.video[0]
        time = int(wanted / stream.average_rate / stream.time_base) + (stream.start_time or 0)
        self._container.seek(max(time, 0), stream=stream, backward=True)
        self._frames = self._container.decode(stream)
        self._next, self._sought = 0, wanted

    def _place(self, frame: Any) -> int:
        """Place of a decoded frame, from 0, by its time stamp; where it has none, after the one before."""
        if frame.pts is None:
            return self._next
        stream = self._container.streams.video[0]
        seconds = (frame.pts - (stream.start_time or 0)) * stream.time_base
        place: int = round(seconds * stream.average_rate)
        return place
