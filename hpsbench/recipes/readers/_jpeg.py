"""Size of a JPEG from its header, without decoding it."""

from pathlib import Path
from typing import BinaryIO

from hpsbench.errors import BrokenFile

# Start-of-frame markers; C4, C8 and CC are tables in the same range.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset(range(0xD0, 0xD8)) | {0x01}


def jpeg_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, as stored (an orientation tag is not applied).

    Raises:
        BrokenFile: not a JPEG, or truncated before its frame header.
    """
    with path.open("rb") as file:
        if file.read(2) != b"\xff\xd8":
            raise BrokenFile(f"{path} is not a JPEG; copy it again from the dataset")
        while (marker := _next_marker(file)) is not None:
            if marker in _ALONE:
                continue
            head = file.read(2)
            if marker in _FRAMES:
                frame = file.read(5)
                if len(frame) < 5:
                    break
                return int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[1:3], "big")
            file.seek(int.from_bytes(head, "big") - 2, 1)
    raise BrokenFile(f"{path} is a truncated JPEG; copy it again from the dataset")


def _next_marker(file: BinaryIO) -> int | None:
    """The next marker byte; None at the end of the file or where the picture's data begins."""
    byte = file.read(1)
    while byte and byte != b"\xff":
        byte = file.read(1)
    while byte == b"\xff":
        byte = file.read(1)
    return None if not byte or byte[0] in (0xD9, 0xDA) else byte[0]
