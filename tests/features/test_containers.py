"""Frames of videos and images of TFRecord shards come out by number, in any order, from any thread."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest
import simplejpeg

from hpsbench.errors import BrokenFile, MissingRawFiles
from hpsbench.features.containers import read_inner

FRAMES = 120


def level(number: int) -> int:
    """Grey of frame `number`, from 1: neighbours differ by much."""
    return 20 + (number * 37) % 200


@pytest.fixture(scope="module", params=["mp4", "avi", "one-key.mp4"])
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / f"video.{request.param}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=50)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 2_000_000
        stream.gop_size = 1000 if "one-key" in request.param else 12
        for number in range(1, FRAMES + 1):
            picture = np.full((64, 64, 3), level(number), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    "numbers",
    [range(1, 30), [1, 3, 5, 7], [100, 101, 5, 6, 7, FRAMES, 1], [60, 60, 59]],
    ids=["on", "every other", "jumps", "back"],
)
def test_frames_come_by_their_number(video: Path, numbers: list[int]) -> None:
    for number in numbers:
        image = read_inner(video, str(number))
        assert image.shape == (64, 64, 3)
        assert image.dtype == np.uint8
        assert abs(float(image.mean()) - level(number)) < 6, number


def test_threads_may_read_one_video(video: Path) -> None:
    numbers = [int(n) for n in np.random.default_rng(0).integers(1, FRAMES + 1, 40)]
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda n: read_inner(video, str(n)), numbers))
    for number, image in zip(numbers, images, strict=True):
        assert abs(float(image.mean()) - level(number)) < 6


def test_what_is_not_there_is_said(video: Path, tmp_path: Path) -> None:
    with pytest.raises(BrokenFile, match=rf"{video.name}.*(ends after|has no frame)"):
        read_inner(video, str(FRAMES + 1))
    with pytest.raises(MissingRawFiles, match=r"none\.mp4 is missing"):
        read_inner(tmp_path / "none.mp4", "1")
    broken = tmp_path / f"broken{video.suffix}"
    broken.write_bytes(video.read_bytes()[:200])
    with pytest.raises(BrokenFile, match=r"broken\."):
        read_inner(broken, "1")


def test_images_of_records_come_by_record_and_entry(tmp_path: Path) -> None:
    import google_crc32c

    def message(field: int, data: bytes) -> bytes:
        def varint(n: int) -> bytes:
            return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)

        return varint(field << 3 | 2) + varint(len(data)) + data

    def framed(payload: bytes) -> bytes:
        def masked(data: bytes) -> bytes:
            crc = int(google_crc32c.value(data))
            return (((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32).to_bytes(4, "little")

        length = len(payload).to_bytes(8, "little")
        return length + masked(length) + payload + masked(payload)

    def record(levels: list[int]) -> bytes:
        jpegs = [simplejpeg.encode_jpeg(np.full((32, 24, 3), n, np.uint8)) for n in levels]
        feature = message(1, b"".join(message(1, jpeg) for jpeg in jpegs))
        return framed(message(1, message(1, message(1, b"image/encoded") + message(2, feature))))

    path = tmp_path / "a.tfrecord"
    path.write_bytes(record([10, 60]) + record([110, 160, 210]))
    assert abs(float(read_inner(path, "1/2").mean()) - 210) < 2
    assert abs(float(read_inner(path, "0/1").mean()) - 60) < 2
    assert read_inner(path, "0/0").shape == (32, 24, 3)
    with pytest.raises(BrokenFile, match="record 0 holds 2 images"):
        read_inner(path, "0/2")
    with pytest.raises(BrokenFile, match="record 5 was asked for"):
        read_inner(path, "5/0")
