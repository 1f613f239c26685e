"""What has to be run for a table: steps, named by a hash of everything that decides their outcome.

The hash of a step holds no table and no path, so tables share steps, and a step that was done once is found again. What a
step was, what it left behind and how long it took is in `R/runs/reproduce/steps/<id>.json`; an evaluation's result lies in
`R/runs/reproduce/<id>/`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

Kind = Literal["raw", "prepare", "extract", "corrupt", "flow-encoder", "targets", "train", "evaluate"]

# Seconds for one unit, two CPU cores, embedded encoder, SPIN's regressor: only until a first run was timed.
ROUGH: Mapping[str, float] = {
    "raw": 0.04,
    "prepare": 0.004,
    "extract": 0.012,
    "corrupt": 0.02,
    "flow-encoder": 0.15,
    "targets": 0.015,
    "train": 0.35,
    "evaluate": 0.004,
}


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing to run.

    Attributes:
        kind: what.
        key: everything that decides the outcome, as JSON values.
        label: for people.
        units: frames, images or optimiser steps: what the time grows with.
        needs: ids of steps that come before.
        what: arguments of the run that its outcome does not depend on, or that `key` has in another form.
    """

    kind: Kind
    key: Mapping[str, Any]
    label: str
    units: int
    needs: tuple[str, ...] = ()
    what: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def id(self) -> str:
        """Kind and content hash."""
        text = json.dumps({"kind": self.kind, **self.key}, sort_keys=True, default=str)
        return f"{self.kind}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


class Record:
    """The steps that were done under a root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "runs" / "reproduce"

    def folder_of(self, step: Step) -> Path:
        """Where a step leaves files of its own."""
        return self.folder / step.id

    def read(self, step: Step) -> dict[str, Any] | None:
        """What a step left behind, or None where it was not done, or what it left is gone."""
        path = self.folder / "steps" / f"{step.id}.json"
        if not path.is_file():
            return None
        try:
            done: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            return None
        left = done.get("left")
        return done if left is None or (self.root / left).exists() else None

    def write(self, step: Step, seconds: float, **facts: Any) -> dict[str, Any]:
        """Note that a step was done."""
        done = {
            "id": step.id,
            "kind": step.kind,
            "label": step.label,
            "key": dict(step.key),
            "units": step.units,
            "seconds": round(seconds, 3),
            **facts,
        }
        path = self.folder / "steps" / f"{step.id}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        waiting = path.with_suffix(".partial")
        waiting.write_text(json.dumps(done, indent=1, default=str) + "\n", encoding="utf-8")
        waiting.replace(path)
        return done

    @cached_property
    def speeds(self) -> Mapping[tuple[str, str], tuple[float, int]]:
        """(kind, name) -> seconds for one unit in earlier runs, and how many these were; name "" means all of a kind."""
        sums: dict[tuple[str, str], list[float]] = {}
        for path in sorted((self.folder / "steps").glob("*.json")):
            try:
                done = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                continue
            if done.get("units"):
                for name in {"", str(done["key"].get("system", ""))}:
                    sums.setdefault((done["kind"], name), []).append(done["seconds"] / done["units"])
        return {key: (sum(values) / len(values), len(values)) for key, values in sums.items()}

    def estimate(self, step: Step) -> tuple[float, int]:
        """Seconds that a step will take, and from how many earlier runs that is known (0: a rough guess)."""
        for name in (str(step.key.get("system", "")), ""):
            if (step.kind, name) in self.speeds:
                per_unit, runs = self.speeds[step.kind, name]
                return per_unit * step.units, runs
        return ROUGH[step.kind] * step.units, 0
