"""Files opened with limits, and the words in which they are refused."""

import errno
import io
import mmap
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from hpsbench.errors import BrokenFile, HpsbenchError, MissingData, UnsafeFile

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
_PART = 256 << 10
_NO_SUCH = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
MAX_BYTES = 2048 * MIB
"""Default limit on what one file may hold: the largest official body model has 0.3 GB."""


class Bounded:
    """A binary file that never hands out, or makes room for, more than it can hold.

    Args:
        file: opened for reading, at its start.
        limit: bytes that may be read altogether. For a plain file that is its size, so that a length field that
            points past the end is found before memory is taken for it.
    """

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file = file
        self._limit = limit
        self._position = 0

    def read(self, count: int) -> bytes:
        """`count` bytes, or an `EOFError`."""
        self._claim(count)
        data = self._file.read(count)
        self._check(len(data), count)
        return data

    def peek(self) -> bytes:
        """One byte or, at the end of the file, none."""
        data = self._file.read(1)
        self._position += len(data)
        return data

    def readline(self) -> bytes:
        """One line with its end, or an `EOFError`."""
        line = self._file.readline(self._limit - self._position + 1)
        self._claim(len(line))
        self._position += len(line)
        if not line.endswith(b"\n"):
            raise EOFError(f"ends at byte {self._position:,}, within a line")
        return line

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` whole, in parts that stay in the processor's cache on their way."""
        view = memoryview(buffer).cast("B")
        self._claim(len(view))
        step = len(view) if self._is_plain() else _PART
        into = getattr(self._file, "readinto", None)
        for start in range(0, len(view), max(1, step)):
            part = view[start : start + step]
            if into is not None:
                got = into(part)
            else:
                content = self._file.read(len(part))
                got = len(content)
                part[:got] = content
            self._check(got, len(part))
        return len(view)

    def skip(self, count: int) -> None:
        """Go over `count` bytes without keeping them."""
        self._claim(count)
        if self._is_plain():
            self._file.seek(count, io.SEEK_CUR)
            self._position += count
            return
        for start in range(0, count, MIB):
            wanted = min(MIB, count - start)
            self._check(len(self._file.read(wanted)), wanted)

    def _is_plain(self) -> bool:
        """Whether the bytes come from a file as they are, not unpacked."""
        return isinstance(self._file, io.BufferedReader) and isinstance(self._file.raw, io.FileIO)

    def tell(self) -> int:
        """Bytes read so far."""
        return self._position

    def _claim(self, count: int) -> None:
        if count < 0 or self._position + count > self._limit:
            raise EOFError(
                f"wants {count:,} bytes at byte {self._position:,}, past the end at {self._limit:,}"
            )

    def _check(self, got: int, wanted: int) -> None:
        self._position += got
        if got < wanted:
            raise EOFError(f"ends at byte {self._position:,}, {wanted - got:,} bytes too early")


class BoundedMap(Bounded):
    """A whole file, mapped: small parts cost little, and large ones need not be copied.

    Args:
        content: the mapped file; views of it keep it open.
    """

    def __init__(self, content: mmap.mmap) -> None:
        super().__init__(io.BytesIO(), len(content))
        self._content = content

    def read(self, count: int) -> bytes:
        """`count` bytes, or an `EOFError`."""
        begin = self._position
        if count < 0 or begin + count > self._limit:
            self._claim(count)
        self._position = begin + count
        return self._content[begin : self._position]

    def peek(self) -> bytes:
        """One byte or, at the end of the file, none."""
        return self.read(1) if self._position < self._limit else b""

    def readline(self) -> bytes:
        """One line with its end, or an `EOFError`."""
        end = self._content.find(b"\n", self._position)
        if end < 0:
            raise EOFError(f"ends at byte {self._limit:,}, within a line")
        return self.read(end + 1 - self._position)

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` whole."""
        target = memoryview(buffer).cast("B")
        self._claim(len(target))
        target[:] = memoryview(self._content)[self._position : self._position + len(target)]
        self._position += len(target)
        return len(target)

    def skip(self, count: int) -> None:
        """Go over `count` bytes."""
        self._claim(count)
        self._position += count

    def view(self, count: int) -> memoryview:
        """The next `count` bytes where they lie, and the place behind them."""
        self._claim(count)
        self._position += count
        return memoryview(self._content)[self._position - count : self._position]

    def ahead(self, count: int, width: int) -> bytes:
        """As many as `width` of the bytes that lie `count` further on."""
        place = self._position + count
        return self._content[place : place + width]


@contextmanager
def mapped(path: Path) -> "Iterator[BoundedMap]":
    """A file that is not empty, mapped for reading."""
    with path.open("rb") as file:
        yield BoundedMap(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def file_size(path: Path, max_bytes: int) -> int:
    """Size of a file that is there and not larger than `max_bytes`.

    Raises:
        MissingData: no such file.
        BrokenFile: not a file, empty, or larger than the limit.
    """
    try:
        found = path.stat()
    except OSError as error:
        if error.errno in _NO_SUCH:
            raise MissingData(f"{path}: no such file") from error
        raise
    if not stat.S_ISREG(found.st_mode):
        raise BrokenFile(f"{path}: a folder, where a file was expected")
    size = found.st_size
    if size == 0:
        raise BrokenFile(f"{path}: the file is empty; download or copy it again")
    if size > max_bytes:
        raise BrokenFile(
            f"{path}: {size / MIB:,.0f} MiB, more than the {max_bytes / MIB:,.0f} MiB allowed here"
        )
    return size


@contextmanager
def broken_if_unreadable(path: Path, kind: str) -> "Iterator[None]":
    """Turn every failure of a parser into one `BrokenFile` that names the file; our own errors pass."""
    try:
        yield
    except HpsbenchError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise BrokenFile(
            f"{path}: not a readable {kind}, truncated or damaged ({reason}). Download or copy it again."
        ) from error


def unsafe(path: Path, wanted: str) -> UnsafeFile:
    """The refusal of a file that asks for `wanted`."""
    return UnsafeFile(
        f"{path}: asks for {wanted}, which could run code; only arrays, numbers, text and plain containers are "
        f"read. If you trust whoever made this file, pass --trust-pickle {path}"
    )
