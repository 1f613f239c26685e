"""Objects inside large JSON files, read one at a time: a file is scanned once for where its inner objects lie."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpsbench.errors import BrokenFile
from hpsbench.safe_io.bounded import file_size

MAX_BYTES = 8 << 30
_BLOCK = 16 << 20  # bytes looked at in one go
_LONGEST_KEY = 64
_KEY = re.compile(rb'"([^"]*)"\s*:\s*$')
_OPEN, _CLOSE = ord("{"), ord("}")

Keys = tuple[str, ...]


def find_sections(path: Path, depth: int) -> Mapping[Keys, tuple[int, int]]:
    """Where the objects that lie `depth` levels under the outermost one begin and end, by their keys.

    Made for files of numbers: a brace inside a text would be taken for one of the structure.

    Raises:
        MissingData: no such file.
        BrokenFile: cut off, or no JSON object.
    """
    size = file_size(path, MAX_BYTES)
    return _scan(path, depth, size, path.stat().st_mtime_ns)


def read_section(path: Path, keys: Keys) -> dict[str, Any]:
    """One object, by the keys that lead to it; empty if there is none.

    Raises:
        BrokenFile: the object is damaged.
    """
    place = find_sections(path, len(keys)).get(keys)
    if place is None:
        return {}
    with path.open("rb") as file:
        file.seek(place[0])
        data = file.read(place[1] - place[0])
    try:
        found: dict[str, Any] = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BrokenFile(
            f"{path}: {'/'.join(keys)} is not readable as JSON ({error}); download the file again"
        ) from error
    return found


@lru_cache(maxsize=32)
def _scan(path: Path, depth: int, size: int, changed: int) -> Mapping[Keys, tuple[int, int]]:
    data = np.memmap(path, dtype=np.uint8, mode="r")
    found: dict[Keys, tuple[int, int]] = {}
    keys: list[str] = []
    start = level = 0
    for place, opens in _braces(data):
        if opens:
            if 0 < level <= depth:
                keys[level - 1 :] = [_key_before(data, place, path)]
            if level == depth:
                start = place
            level += 1
            continue
        level -= 1
        if level == depth:
            if tuple(keys) in found:
                raise BrokenFile(f"{path}: {'/'.join(keys)} occurs twice")
            found[tuple(keys)] = (start, place + 1)
        if level <= 0:
            break
    if level != 0 or data[:1].tobytes() != b"{":
        raise BrokenFile(f"{path}: not a JSON object, or cut off; download it again")
    return found


def _braces(data: NDArray[np.uint8]) -> Iterator[tuple[int, bool]]:
    """Places of the braces, and whether they open."""
    for first in range(0, len(data), _BLOCK):
        block = np.asarray(data[first : first + _BLOCK])
        places = np.flatnonzero((block == _OPEN) | (block == _CLOSE))
        opens = block[places] == _OPEN
        yield from zip((places + first).tolist(), opens.tolist(), strict=True)


def _key_before(data: NDArray[np.uint8], place: int, path: Path) -> str:
    found = _KEY.search(data[max(0, place - _LONGEST_KEY) : place].tobytes())
    if found is None:
        raise BrokenFile(f"{path}: an object without a key at byte {place:,}; is it the right file?")
    return found[1].decode("utf-8", errors="replace")
