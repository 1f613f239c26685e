"""Write a synthetic dataset item by item: whole files only, resumable, by one process or several."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from hpsbench.types import Array
from hpsbench.workers import map_in_processes

JPEG_QUALITY = 90
Progress = Callable[[int, int, str], None]


class Item(Protocol):
    """Something that is written by one process: a sequence, a shard."""

    @property
    def name(self) -> str:
        """For the progress line."""

    @property
    def frames(self) -> int:
        """How much work it is."""


T = TypeVar("T", bound=Item)


def write_whole(path: Path, data: bytes) -> None:
    """Write under another name first, so that a file under its own name is whole. Makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting = path.with_name(path.name + ".part")
    waiting.write_bytes(data)
    waiting.replace(path)


def write_jpeg(path: Path, picture: Array) -> None:
    """Write (H, W, 3) uint8 RGB as a JPEG."""
    write_whole(path, encode(picture))


def encode(picture: Array) -> bytes:
    """(H, W, 3) uint8 RGB as the bytes of a JPEG."""
    import numpy as np
    import simplejpeg

    data: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(picture), quality=JPEG_QUALITY, colorspace="RGB"
    )
    return data


def encode_video(pictures: Iterable[Array], size: tuple[int, int], fps: int, container: str) -> bytes:
    """Pictures (H, W, 3) uint8 RGB as a video, MPEG-4 in `mp4` or `avi`; the same pictures give the same bytes."""
    import io

    import av
    import cv2

    file = io.BytesIO()
    with av.open(file, "w", format=container) as video:
        stream = video.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.bit_rate = 4_000_000
        for picture in pictures:
            planes = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)
            video.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        video.mux(stream.encode())
    return file.getvalue()


def write_items(
    items: Sequence[T],
    job: Callable[[T], T],
    *,
    is_done: Callable[[T], bool],
    workers: int = 1,
    progress: Progress | None = None,
) -> None:
    """Write every item that is not there yet.

    Args:
        items: all of them.
        job: writes one and returns it; picklable where there are several workers.
        is_done: whether an item is there, whole: the file that the job writes last exists.
        workers: processes; 1: in this process.
        progress: called with frames done, frames in all, and the item just finished.
    """
    waiting = sorted((item for item in items if not is_done(item)), key=lambda item: -item.frames)
    total = sum(item.frames for item in items)
    done = total - sum(item.frames for item in waiting)
    for finished in map_in_processes(job, waiting, workers):
        done += finished.frames
        if progress:
            progress(done, total, finished.name)
