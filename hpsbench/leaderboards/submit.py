"""Make an entry of a result and put it on its board."""

import hashlib
from pathlib import Path
from typing import Any

from hpsbench.errors import MissingData, UsageError
from hpsbench.leaderboards.entry import Entry, entry_of
from hpsbench.results.result import load_result

_KEPT = ("predictions.zarr", "predictions.npz", "predictions.parquet")


def submit(
    result: str | Path,
    folder: Path,
    *,
    predictions: Path | None = None,
    url: str | None = None,
    root: Path | None = None,
    dry_run: bool = False,
    **facts: Any,
) -> tuple[Path, Entry]:
    """Write the entry of a result.

    Args:
        result: folder of a result.
        folder: `leaderboards/`.
        predictions: file of the predictions, whose hash goes into the entry; None: those kept beside the result, if any.
        url: where others find the predictions; None: their path under the data root.
        root: data root.
        dry_run: only say what would be written.
        facts: as for `entry_of`: name, trained_with_3dpw, h36m_smpl, paper.

    Returns:
        The file and the entry. The same result gives the same file.

    Raises:
        MissingData: no such result or predictions.
        UsageError: a partial result; an address without a file to hash; predictions outside the root without an address.
        BadData: a result that lacks something that an entry needs.
    """
    named = predictions is not None
    if predictions is None:
        predictions = next((p for p in (Path(result) / name for name in _KEPT) if p.exists()), None)
    if url is not None and predictions is None:
        raise UsageError("an address of predictions needs the file as well (--predictions), to hash it")
    given = None
    if predictions is not None:
        if not predictions.exists():
            raise MissingData(f"no predictions at {predictions}")
        where = url or _under(predictions, root)
        if where is not None:
            given = {"url": where, "sha256": tree_sha256(predictions)}
        elif named:
            raise UsageError(
                f"{predictions} does not lie under the data root, so nobody would find it: say where it can be had (--url)"
            )
    entry = entry_of(load_result(result), predictions=given, **facts)
    path = folder / entry.board / entry.file_name
    if not dry_run:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(entry.text(), encoding="utf-8")
    return path, entry


def _under(path: Path, root: Path | None) -> str | None:
    """A path as seen from the data root, so that no machine's own paths get into an entry; None: it lies elsewhere."""
    if root is None or not path.resolve().is_relative_to(root.resolve()):
        return None
    return path.resolve().relative_to(root.resolve()).as_posix()


def tree_sha256(path: Path) -> str:
    """Hash of a file, or of all files of a folder with their names (a Zarr store)."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        inner = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(path).as_posix()} {inner}\n".encode())
    return digest.hexdigest()
