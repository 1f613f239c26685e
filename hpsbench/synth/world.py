"""`hpsbench synth <dataset>`: raw datasets of the synthetic world, each written by one module of this package.

A module is a writer if it says `DATASET = "<key>"` on a line of its own and has `plan(size)` and
`write(folder, size, seed, workers, progress)`; nothing else has to know about it. One whose dataset comes in several raw
layouts names them in `LAYOUTS`, the usual one first, and `write` takes `layout` too; so does `plan`, if one of them holds
less than the others.
"""

import importlib
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from hpsbench.errors import ResumeMismatch, UnknownName, UsageError

MARKER = "hpsbench-synthetic.json"
"""File at a raw dataset's root that says that it is synthetic."""
FORMAT = "hpsbench-synthetic"
VERSION = 1
"""Of the synthetic world: raised when the same size and seed give other bytes."""
SIZES = ("tiny", "small", "full")

Progress = Callable[[int, int, str], None]
_KEY = re.compile(r'^DATASET = "(?P<key>[^"]+)"$', re.MULTILINE)


def list_worlds() -> list[str]:
    """Keys of the datasets that can be synthesized. Imports none of the writers."""
    return sorted(_writers())


def list_layouts(dataset: str) -> tuple[str, ...]:
    """Names of the raw layouts in which a dataset can be written, the usual one first; empty if there is but one.

    Raises:
        UnknownName: no such dataset.
    """
    return tuple(getattr(_writer(dataset), "LAYOUTS", ()))


def plan_world(
    dataset: str, root: Path, *, size: str = "tiny", seed: int = 0, layout: str | None = None
) -> dict[str, Any]:
    """What `synthesize_raw` would write, without writing it.

    Returns:
        dataset, folder, size, seed, layout (None: the only one), sequences and frames per split, frames, summary.

    Raises:
        UnknownName: no such dataset, size or layout.
    """
    make_plan = _writer(dataset).plan
    layout = _checked_layout(dataset, layout)
    told = {"layout": layout} if "layout" in inspect.signature(make_plan).parameters else {}
    sequences = make_plan(_checked(size), **told)
    counts: dict[str, dict[str, int]] = {}
    for split, frames in sequences:
        count = counts.setdefault(split, {"sequences": 0, "frames": 0})
        count["sequences"] += 1
        count["frames"] += frames
    total = sum(count["frames"] for count in counts.values())
    shown = ", ".join(f"{split} {count['sequences']}" for split, count in counts.items())
    return {
        "dataset": dataset,
        "folder": str(raw_folder(root, dataset)),
        "size": size,
        "seed": seed,
        "layout": layout,
        "splits": counts,
        "frames": total,
        "summary": f"{len(sequences)} sequences ({shown}), {total:,} frames",
    }


def synthesize_raw(
    dataset: str,
    root: Path,
    *,
    size: str = "tiny",
    seed: int = 0,
    workers: int = 1,
    progress: Progress | None = None,
    layout: str | None = None,
) -> dict[str, Any]:
    """Write one synthetic dataset to `root/raw/<dataset>` and the synthetic body to `root/body_models/synthetic`.

    The same arguments give the same bytes, with any number of workers. What is already there is kept: an interrupted
    run goes on with the first sequence that is not finished.

    Args:
        dataset: key of a writer, such as `3dpw`.
        root: the data root.
        size: `tiny` (tests), `small` (demo) or `full` (the synthetic benchmark).
        seed: of all people, motions and scenes.
        workers: processes that render.
        progress: called with frames done, frames in all, and the sequence just finished.
        layout: one of `list_layouts`; None: the usual one.

    Returns:
        The plan of `plan_world`.

    Raises:
        UnknownName: no such dataset, size or layout.
        UsageError: the folder holds something that is not synthetic.
        ResumeMismatch: the folder holds another size, seed or version.
    """
    from hpsbench.synth.body import write_body_models

    plan = plan_world(dataset, root, size=size, seed=seed, layout=layout)
    folder = raw_folder(root, dataset)
    chosen = {} if plan["layout"] is None else {"layout": plan["layout"]}
    mark(folder, dataset, size, seed, **chosen)
    write_body_models(root)
    _writer(dataset).write(folder, size=size, seed=seed, workers=workers, progress=progress, **chosen)
    return plan


def raw_folder(root: Path, dataset: str) -> Path:
    """Where a synthetic raw dataset lies under a data root."""
    return Path(root) / "raw" / dataset


def mark(folder: Path, dataset: str, size: str, seed: int, layout: str | None = None) -> None:
    """Write the marker file, or check the one that is there.

    Raises:
        UsageError: the folder has files, but no marker.
        ResumeMismatch: the marker is of another dataset, size, seed, layout or version.
    """
    content = {"format": FORMAT, "version": VERSION, "dataset": dataset, "size": size, "seed": seed}
    if layout is not None:
        content["layout"] = layout
    marker = folder / MARKER
    if marker.is_file():
        found = json.loads(marker.read_text(encoding="utf-8"))
        if found != content:
            raise ResumeMismatch(
                f"{folder}: holds synthetic data of {_describe(found)}; asked for {_describe(content)}. Use "
                "another --root, or remove the folder"
            )
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"{folder}: holds files that are not synthetic (no {MARKER}); use another --root")
    folder.mkdir(parents=True, exist_ok=True)
    waiting = marker.with_suffix(".part")
    waiting.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    waiting.replace(marker)


def _describe(content: dict[str, Any]) -> str:
    keys = ("dataset", "size", "seed", "version", *(("layout",) if "layout" in content else ()))
    return ", ".join(f"{key} {content.get(key)!r}" for key in keys)


def _checked(size: str) -> str:
    if size not in SIZES:
        raise UnknownName("size", size, SIZES)
    return size


def _checked_layout(dataset: str, layout: str | None) -> str | None:
    known = list_layouts(dataset)
    if layout is None:
        return known[0] if known else None
    if layout not in known:
        raise UnknownName(f"raw layout of {dataset}", layout, known or ("(there is but one)",))
    return layout


def _writers() -> dict[str, str]:
    """Dataset key -> name of the module that writes it, read from the source text."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if match := _KEY.search(path.read_text(encoding="utf-8")):
            found[match["key"]] = path.stem
    return found


def _writer(dataset: str) -> ModuleType:
    writers = _writers()
    if dataset not in writers:
        raise UnknownName("synthetic dataset", dataset, writers)
    return importlib.import_module(f"hpsbench.synth.{writers[dataset]}")
