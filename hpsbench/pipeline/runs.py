"""The record of a run, `<root>/runs/<id>/run.json`: what no store may hold: paths, host, workers, time."""

import json
import os
import platform
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hpsbench


@contextmanager
def record_run(root: Path, verb: str, arguments: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Write a run's record when it begins and again when it ends; what the caller adds to the mapping is kept.

    A record whose `state` is still `running` belongs to a process that runs or was killed.
    """
    started = time.time()
    name = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(started))}-{verb}-{uuid.uuid4().hex[:6]}"
    folder = root / "runs" / name
    folder.mkdir(parents=True)
    record: dict[str, Any] = {
        "format": "hpsbench-run",
        "version": 1,
        "id": name,
        "verb": verb,
        "arguments": dict(arguments),
        "state": "running",
        "hpsbench": hpsbench.__version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "host": platform.node(),
        "pid": os.getpid(),
        "started": started,
    }
    _write(folder / "run.json", record)
    try:
        yield record
        record["state"] = "complete"
    except BaseException as error:
        record["state"] = "interrupted" if isinstance(error, KeyboardInterrupt | SystemExit) else "failed"
        record["error"] = f"{type(error).__name__}: {error}"
        raise
    finally:
        record["seconds"] = round(time.time() - started, 3)
        _write(folder / "run.json", record)


def _write(path: Path, record: Mapping[str, Any]) -> None:
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps(record, indent=1, default=str) + "\n", encoding="utf-8")
    temporary.replace(path)
