"""What a run writes down as it goes: one JSON line per epoch, and TensorBoard events."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any

LOG_FILE = "log.jsonl"
EVENTS = "tensorboard"


class RunLog:
    """The log of a run; a context that closes its files.

    Args:
        folder: of the run.
        writes: whether this process writes; of several one does.
    """

    def __init__(self, folder: Path, *, writes: bool) -> None:
        self._folder, self._writes = folder, writes
        self._writer: Any = None
        if writes:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder / EVENTS))

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def step(self, number: int, parts: dict[str, float]) -> None:
        """The loss parts of a step."""
        if self._writer is not None:
            for name, value in parts.items():
                self._writer.add_scalar(f"loss/{name}", value, number)

    def epoch(self, history: list[dict[str, Any]]) -> None:
        """The run so far; the file is rewritten whole, so that a resumed run leaves no line twice."""
        if not self._writes:
            return
        lines = "".join(json.dumps(entry) + "\n" for entry in history)
        (self._folder / LOG_FILE).write_text(lines, encoding="utf-8")
        line = history[-1]
        if self._writer is not None:
            for name, value in line["validation_mm"].items():
                self._writer.add_scalar(f"validation/{name}", value, line["step"])
            self._writer.add_scalar("learning_rate", line["lr"][0], line["step"])
