"""Make an entry of a result and put it on its board."""

import hashlib
from pathlib import Path
from typing import Any

from hpsbench.errors import MissingData, UsageError
from hpsbench.leaderboards.entry import Entry, entry_of
from hpsbench.results.result import load_result


def submit(
    result: str | Path,
    folder: Path,
    *,
    predictions: Path | None = None,
    url: str | None = None,
    dry_run: bool = False,
    **facts: Any,
) -> tuple[Path, Entry]:
    """Write the entry of a result.

    Args:
        result: folder of a result.
        folder: `leaderboards/`.
        predictions: file of the predictions; its hash goes into the entry.
        url: where others find the predictions; None: the file's own path.
        dry_run: only say what would be written.
        facts: as for `entry_of`: name, trained_with_3dpw, h36m_smpl, paper.

    Returns:
        The file and the entry. The same result gives the same file.

    Raises:
        MissingData: no such result or predictions.
        UsageError: a partial result; an address without a file to hash.
        BadData: a result that lacks something that an entry needs.
    """
    if url is not None and predictions is None:
        raise UsageError("an address of predictions needs the file as well (--predictions), to hash it")
    given = None
    if predictions is not None:
        if not predictions.exists():
            raise MissingData(f"no predictions at {predictions}")
        given = {"url": url or str(predictions.resolve()), "sha256": tree_sha256(predictions)}
    entry = entry_of(load_result(result), predictions=given, **facts)
    path = folder / entry.board / entry.file_name
    if not dry_run:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(entry.text(), encoding="utf-8")
    return path, entry


def tree_sha256(path: Path) -> str:
    """Hash of a file, or of all files of a folder with their names (a Zarr store)."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        inner = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(path).as_posix()} {inner}\n".encode())
    return digest.hexdigest()
