"""The result of one evaluation: summary, per-frame and per-sequence values, accounting, provenance; on disk and back.

results.json         every metric with unit, n and interval; accounting; what produced it (`results/schema.py`)
frames.parquet       one row per frame that has a value: track, sequence, frame_id, one column per metric
sequences.parquet    one row per sequence: frames, one column per metric and one for its n
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpsbench.errors import BrokenFile, MissingData
from hpsbench.results.measured import Measured
from hpsbench.results.schema import FORMAT, SCHEMA_VERSION, check_document

if TYPE_CHECKING:
    import pandas as pd

RESULTS, FRAMES, SEQUENCES = "results.json", "frames.parquet", "sequences.parquet"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What an evaluation found.

    Attributes:
        protocol: name and version, `tcmr@1`.
        protocol_sha256: hash of its rules.
        dataset: the dataset, or the setting of a dataset, that was scored.
        summary: result name -> measured value.
        absent: result name -> why it could not be measured.
        frames: one row per frame that has a value: `track`, `sequence`, `frame_id` (the row where frames are not
            numbered), `scored`, one column per metric in the metric's unit, NaN where it has none.
        sequences: one row per sequence.
        accounting: where every frame went: `in`, `masked`, `masked_by_reason`, `too_short`, `tail`, `scored`,
            `tracks`, `degenerate`, `extra_predictions`.
        system: what was evaluated, or None for bare arrays.
        windowing: `protocol`, `system` (kept its own windows), or `none` (predictions were given).
        condition: of the input, as `center-0.33x1-s0`; None for clean input.
        synthetic: whether the data are synthetic; None for bare arrays, which do not say.
        partial: whether it was limited to a part of the data.
        flags: remarks that keep it from being compared, `extractor-mismatch`.
        seeds: random seeds behind the system and the condition.
        provenance: what made it.
    """

    protocol: str
    protocol_sha256: str
    dataset: str
    summary: Mapping[str, Measured]
    frames: "pd.DataFrame"
    sequences: "pd.DataFrame"
    accounting: Mapping[str, Any]
    absent: Mapping[str, str] = field(default_factory=dict)
    system: str | None = None
    windowing: str = "none"
    condition: str | None = None
    synthetic: bool | None = None
    partial: bool = False
    flags: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The document of results.json; its schema is `results.schema.json_schema()`."""
        made_of = (
            "checkpoint_sha256",
            "view",
            "features",
            "extractor_sha256",
            "body_sha256",
            "regressor_sha256",
        )
        return {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "kind": "measured",
            "dataset": self.dataset,
            "protocol": self.protocol,
            "protocol_sha256": self.protocol_sha256,
            "system": self.system,
            **{key: self.provenance.get(key) for key in made_of},
            "synthetic": self.synthetic,
            "partial": self.partial,
            "condition": self.condition,
            "windowing": self.windowing,
            "seeds": list(self.seeds),
            "flags": list(self.flags),
            "metrics": {name: value.to_json() for name, value in self.summary.items()},
            "absent": dict(self.absent),
            "accounting": dict(self.accounting),
            "hpsbench": self.provenance.get("hpsbench"),
            "provenance": dict(self.provenance),
        }

    def save(self, folder: str | Path) -> Path:
        """Write results.json, frames.parquet and sequences.parquet into a folder, and return it."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in ((FRAMES, self.frames), (SEQUENCES, self.sequences)):
            _write(folder / name, lambda path, table=table: table.to_parquet(path, index=False))
        text = json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        _write(folder / RESULTS, lambda path: path.write_text(text, encoding="utf-8"))
        return folder

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name} {value.value:.1f}" for name, value in self.summary.items())
        who = self.system or "arrays"
        return f"<Result {who} on {self.dataset} under {self.protocol}: {numbers} ({self.accounting['scored']} frames)>"


def load_result(folder: str | Path) -> Result:
    """A result that `Result.save` wrote, from its folder (or its results.json).

    Raises:
        MissingData: there is none.
        BrokenFile: it is damaged, or not a result.
        BadData: it was written by a later version in a way that this one cannot read.
    """
    import pandas as pd

    folder = Path(folder)
    folder = folder.parent if folder.name == RESULTS else folder
    for name in (RESULTS, FRAMES, SEQUENCES):
        if not (folder / name).is_file():
            raise MissingData(
                f"no {name} in {folder}; a result is a folder with {RESULTS}, {FRAMES} and {SEQUENCES}"
            )
    try:
        document = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BrokenFile(f"{folder / RESULTS}: not valid JSON ({error})") from error
    check_document(document, str(folder / RESULTS))
    try:
        frames, sequences = pd.read_parquet(folder / FRAMES), pd.read_parquet(folder / SEQUENCES)
    except (OSError, ValueError) as error:
        raise BrokenFile(f"{folder}: {FRAMES} or {SEQUENCES} is not readable as Parquet ({error})") from error
    return Result(
        protocol=document["protocol"],
        protocol_sha256=document["protocol_sha256"],
        dataset=document["dataset"],
        summary={name: Measured.from_json(entry) for name, entry in document["metrics"].items()},
        frames=frames,
        sequences=sequences,
        accounting=document["accounting"],
        absent=document.get("absent", {}),
        system=document.get("system"),
        windowing=document.get("windowing", "none"),
        condition=document.get("condition"),
        synthetic=document.get("synthetic"),
        partial=document.get("partial", False),
        flags=tuple(document.get("flags", ())),
        seeds=tuple(document.get("seeds", ())),
        provenance=document.get("provenance", {}),
    )


_NAMED = 12  # results that an error names


def find_result(name: str | Path, root: str | Path = ".") -> Path:
    """The folder of a result: a path, or the name of a run under `root/runs` (its beginning, if that is unique).

    Raises:
        MissingData: there is none, or several begin so.
    """
    path, runs = Path(name), Path(root) / "runs"
    for folder in (path.parent if path.name == RESULTS else path, runs / path):
        if (folder / RESULTS).is_file():
            return folder
    named = sorted(p.parent for p in runs.glob(f"*/{RESULTS}") if p.parent.name.startswith(str(name)))
    if len(named) == 1:
        return named[0]
    there = named or sorted(p.parent for p in runs.glob(f"*/{RESULTS}"))
    more = f" and {len(there) - _NAMED} more" if len(there) > _NAMED else ""
    known = (", ".join(p.name for p in there[:_NAMED]) or "none") + more
    what = f"{len(named)} results begin so" if named else f"neither {path / RESULTS} nor {runs / path} is one"
    raise MissingData(f"no result {str(name)!r}: {what} (results under {runs}: {known}); give a run's folder")


def _write(path: Path, write: Any) -> None:
    """Write a file under a temporary name and rename it, so that a half-written one never carries the name."""
    temporary = path.with_name(f".{path.name}.partial")
    write(temporary)
    temporary.replace(path)
