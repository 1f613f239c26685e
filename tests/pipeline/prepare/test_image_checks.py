"""What `verify` says of images: missing, empty, beyond a video's end, of another size."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from hpsbench.pipeline.image_checks import ImageChecks
from hpsbench.types import Track

SIZE = (64, 48)


def jpeg(width: int = SIZE[0], height: int = SIZE[1]) -> bytes:
    return bytes(cv2.imencode(".jpg", np.full((height, width, 3), 90, np.uint8))[1].tobytes())


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Images 1, 2, ... of a folder, with this content each; returns the root."""

    def make(*contents: bytes, folder: str = "a") -> Path:
        (tmp_path / folder).mkdir()
        for number, content in enumerate(contents, start=1):
            (tmp_path / folder / f"{number:03d}.jpg").write_bytes(content)
        return tmp_path

    return make


def track(source: str = "a/{frame_id:03d}.jpg", frames: int = 3, **changes: Any) -> Track:
    fields = {"has_image": np.ones(frames, dtype=bool)} | changes.pop("fields", {})
    facts = {"width": SIZE[0], "height": SIZE[1], **changes}
    return Track(
        sequence="a", person=0, split="test", frame_id=np.arange(1, frames + 1), fields=fields,
        image_source=source, **facts
    )  # fmt: skip


def look(root: Path, *tracks: Track) -> tuple[ImageChecks, list[str]]:
    checks = ImageChecks()
    checks.look(root, tracks)
    found = list(checks.problems(root))
    assert {problem.severity for problem in found} <= {"warning"}
    return checks, [f"{problem.kind}: {problem.text}" for problem in found]


def test_sound_images_have_no_problems(write: Callable[..., Path]) -> None:
    root = write(*[jpeg()] * 3)
    assert look(root, track(), track())[1] == []
    assert look(root, track(width=None, height=None))[1] == []


def test_missing_superfluous_and_empty_images_are_counted(write: Callable[..., Path]) -> None:
    root = write(b"", jpeg(), b"", jpeg())
    (root / "a/nowhere.jpg").symlink_to(root / "gone.jpg")
    checks, said = look(root, track(frames=3), track(frames=5))
    assert said == [
        "image-missing: 1 images are missing, the first is a/005.jpg; features cannot be extracted without",
        "unreadable: 2 images are empty files, the first is a/001.jpg; copy them again",
    ]
    assert checks.unannotated == 0
    assert look(root, track(frames=3))[0].unannotated == 1


def test_images_of_another_size_are_found_by_the_first_of_a_sequence(write: Callable[..., Path]) -> None:
    root = write(jpeg(32, 24), jpeg())
    (said,) = look(root, track(frames=2))[1]
    assert said.startswith(
        "image-size: 1 sequences have images of another size than their annotations are for"
    )
    assert "a/001.jpg: 32 x 24 instead of 64 x 48" in said


def test_a_first_image_that_is_no_jpeg_is_named(write: Callable[..., Path]) -> None:
    (said,) = look(write(b"GIF89a", jpeg()), track(frames=2))[1]
    assert said.startswith("unreadable: ")
    assert "001.jpg is not a JPEG" in said


class TestVideos:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        with av.open(str(tmp_path / "v.avi"), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height = SIZE
            for _ in range(2):
                picture = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
        return tmp_path

    def test_frames_beyond_the_end_are_counted(self, root: Path) -> None:
        short = track("v.avi#{frame_id}", 5, fields={"has_image": np.arange(5) < 2})
        (said,) = look(root, short)[1]
        assert "3 annotated frames lie beyond the end of 1 videos, the first is v.avi (3 frames)" in said
        assert look(root, track("v.avi#{frame_id}", 2))[1] == []

    def test_the_size_is_that_of_the_annotation(self, root: Path) -> None:
        (said,) = look(root, track("v.avi#{frame_id}", 2, width=2048, height=2048))[1]
        assert "v.avi: 64 x 48 instead of 2048 x 2048" in said

    def test_a_missing_video_is_named_and_another_container_only_looked_for(self, root: Path) -> None:
        (said,) = look(root, track("w.avi#{frame_id}"))[1]
        assert said.startswith("image-missing: 1 videos are missing, the first is w.avi")
        (root / "shard.tfrecord").write_bytes(b"x")
        assert look(root, track("shard.tfrecord#0/{frame_id}"))[1] == []
