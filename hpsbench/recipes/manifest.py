"""The raw manifest: names, sizes and content hashes of a dataset's annotation files."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from hpsbench.errors import MissingRawFiles
from hpsbench.recipes.sequences import RawSequence

_BLOCK = 1 << 18  # bytes hashed at once: they stay in the cache


class RawFile(NamedTuple):
    """One annotation file; `blake3` is the hash of its content, many times faster than SHA-256 without its instructions."""

    name: str
    split: str
    size: int
    blake3: str


class Manifest(NamedTuple):
    """What a store was made from.

    Attributes:
        files: in the order of the sequences; a file that holds several is listed once.
        sha256: of the list.
    """

    files: Sequence[RawFile]
    sha256: str


def raw_manifest(
    sequences: Sequence[RawSequence],
    cache: Path,
    *,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Hash the files of some sequences, each once; hashes of unchanged files are taken from `cache`.

    Args:
        sequences: whose files.
        cache: a JSON file that this function keeps; size, change time and inode tell whether a file changed.
        threads: files hashed at once.
        progress: called with files done and files in all.

    Raises:
        MissingRawFiles: a file has gone since it was listed.
    """
    known = _read_cache(cache)
    files = list({(raw.root, raw.name): raw for raw in sequences}.values())
    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        entries = []
        for done, entry in enumerate(pool.map(lambda raw: _entry(raw, known), files), start=1):
            entries.append(entry)
            if progress is not None:
                progress(done, len(files))
    fresh = {key: content for _, key, content in entries}
    if fresh.items() - known.items():
        _write_cache(cache, known | fresh)
    listed = [file for file, _, _ in entries]
    return Manifest(listed, _digest(listed))


def _digest(files: Iterable[RawFile]) -> str:
    text = json.dumps([list(file) for file in files], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _entry(raw: RawSequence, known: dict[str, str]) -> tuple[RawFile, str, str]:
    try:
        stat = raw.path.stat()
        key = f"blake3|{raw.name}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ino}"
        content = known.get(key)
        if content is None:
            content = _content_hash(raw.path)
    except FileNotFoundError as error:
        raise MissingRawFiles(f"{raw.path} has gone; restore it and run again") from error
    return RawFile(raw.name, raw.split, stat.st_size, content), key, content


def _content_hash(path: Path) -> str:
    from blake3 import blake3

    hasher, block = blake3(), bytearray(_BLOCK)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            hasher.update(memoryview(block)[:count])
    return hasher.hexdigest()


def _read_cache(path: Path) -> dict[str, str]:
    """An unreadable cache is an empty one: the hashes are computed again."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_cache(path: Path, hashes: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(hashes, sort_keys=True), encoding="utf-8")
    temporary.replace(path)
