"""A board's entry: one measured result as JSON, and the folder of the board that it belongs to.

`leaderboards/[synthetic/]<dataset>/<protocol>@<version>[_<condition>]/<system>_<hash>.json`
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hpsbench.errors import BadData, BrokenFile, MissingData, UsageError
from hpsbench.results.result import Result

_SHA256 = r"^[0-9a-f]{64}$"
# Flags that a result may carry, and what they mean on a board; `windows-16` and the like are said in words below.
FLAG_REASONS: Mapping[str, str] = {
    "extractor-mismatch": "features of another extractor than the system was trained on",
    "view-mismatch": "features of another view than the protocol's: other boxes and crops",
    "ground-truth-camera": "placed in the world with the annotated camera, not with one that was predicted",
    "no-flip-test": "without the mirrored second prediction that the protocol averages with the first",
    "common-frames": "scored only on frames that several protocols share",
    "predicted-frames": "scored only on frames that have a prediction",
    "undertrained": "fewer training steps than its recipe declares",
}
_WINDOWS = re.compile(r"windows-(\d+)")

_MEASURED = (
    "protocol_sha256",
    "checkpoint_sha256",
    "features",
    "condition",
    "seeds",
    "metrics",
    "scored",
    "accounting",
    "sequences",
    "flags",
)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MetricEntry(_Strict):
    """One measured number."""

    value: float
    unit: str
    n: int = Field(gt=0)
    interval: tuple[float, float] | None
    average: Literal["frame", "track", "video"] = "frame"


class PredictionsEntry(_Strict):
    """Where the predictions are, and their hash."""

    url: str
    sha256: str = Field(pattern=_SHA256)


class Entry(_Strict):
    """One measured entry; see `docs/leaderboards.md`."""

    format: Literal["hpsbench-entry"] = "hpsbench-entry"
    version: Literal[1] = 1
    kind: Literal["measured"] = "measured"
    name: str
    dataset: str
    protocol: str = Field(pattern=r"^.+@[0-9]+$")
    protocol_sha256: str = Field(pattern=_SHA256)
    system: str | None
    checkpoint_sha256: str | None = Field(pattern=_SHA256)
    synthetic: bool
    condition: str | None
    seeds: tuple[int, ...]
    windowing: Literal["protocol", "system", "none"]
    metrics: dict[str, MetricEntry]
    scored: int = Field(gt=0)
    accounting: dict[str, Any]
    sequences: dict[str, dict[str, float | None]]
    """Sequence -> metric -> mean, and metric_n -> its number of values, so that means can be taken again and paired."""
    view: str | None
    features: str | None
    extractor_sha256: str | None
    body_sha256: dict[str, str] | str | None
    regressor_sha256: dict[str, str] | str | None
    store: dict[str, Any]
    trained_with_3dpw: bool | None
    h36m_smpl: Literal["none", "mosh", "fitted"] | None
    flags: tuple[str, ...]
    predictions: PredictionsEntry | None
    hpsbench: str | None
    command: str | None
    paper: dict[str, Any] | None

    @property
    def board(self) -> str:
        """Folder of its board under `leaderboards/`."""
        return board_of(self.dataset, self.protocol, self.condition, synthetic=self.synthetic)

    @property
    def file_name(self) -> str:
        """`<system>_<first digits of a hash>.json`; the same result has the same name.

        The hash is of what was measured, not of what a person adds: name, training data, address of the predictions, paper.
        """
        made_of = self.model_dump(mode="json", include=set(_MEASURED))
        digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:6]
        return f"{re.sub(r'[^a-zA-Z0-9.+-]+', '-', self.system or 'predictions')}_{digest}.json"

    def text(self) -> str:
        """As it is written."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def flag_reason(flag: str) -> str | None:
    """What a flag means; None for one that nobody knows.

    >>> flag_reason("windows-16")
    'cut into windows of 16 frames, whatever the protocol and the system ask for'
    """
    windows = _WINDOWS.fullmatch(flag)
    if windows is not None:
        return f"cut into windows of {windows[1]} frames, whatever the protocol and the system ask for"
    return FLAG_REASONS.get(flag)


def without_seed(condition: str | None) -> str | None:
    """A condition as boards know it: its seed is no part of it.

    >>> without_seed("noise-0.33x1-s0-sev4"), without_seed(None)
    ('noise-0.33x1-sev4', None)
    """
    return re.sub(r"-s\d+(?=$|-)", "", condition) if condition else None


def board_of(dataset: str, protocol: str, condition: str | None, *, synthetic: bool) -> str:
    """Folder of a board under `leaderboards/`; the seed of a condition is no part of it.

    >>> board_of("3dpw", "tcmr@1", "center-0.33x1-s0", synthetic=True)
    'synthetic/3dpw/tcmr@1_center-0.33x1'
    """
    settled = without_seed(condition)
    name = f"{protocol}_{settled}" if settled else protocol
    return "/".join([*(["synthetic"] if synthetic else []), dataset, name])


def entry_of(
    result: Result,
    *,
    name: str | None = None,
    trained_with_3dpw: bool | None = None,
    h36m_smpl: Literal["none", "mosh", "fitted"] | None = None,
    predictions: Mapping[str, str] | None = None,
    paper: Mapping[str, Any] | None = None,
    command: str | None = None,
) -> Entry:
    """An entry of a result.

    Args:
        result: of one evaluation, whole.
        name: as shown; None: the system's.
        trained_with_3dpw: whether training saw 3DPW; None: not known.
        h36m_smpl: which SMPL parameters of Human3.6M were trained on; None: not known.
        predictions: `url` and `sha256` of the predictions.
        paper: citation, and the numbers that the paper reports for the same thing.
        command: that made it; None: the one of the result. Paths of a machine are taken out of it.

    Raises:
        UsageError: a partial result, or one that does not say whether its data are synthetic.
        BadData: a result that lacks something that an entry needs; says what.
    """
    if result.partial:
        raise UsageError("this result is partial (--limit): a board takes whole evaluations only")
    if result.synthetic is None:
        raise UsageError(
            "this result was made from bare arrays: a board needs one that was scored against a store"
        )
    made = result.provenance
    document: dict[str, Any] = {
        "name": name or result.system or "predictions",
        "dataset": result.dataset,
        "protocol": result.protocol,
        "protocol_sha256": result.protocol_sha256,
        "system": result.system,
        "synthetic": result.synthetic,
        "condition": result.condition,
        "seeds": result.seeds,
        "windowing": result.windowing,
        "metrics": {
            key: {k: value.to_json()[k] for k in ("value", "unit", "n", "interval", "average")}
            for key, value in result.summary.items()
        },
        "scored": int(result.accounting["scored"]),
        "accounting": dict(result.accounting),
        "sequences": _sequences(result),
        "trained_with_3dpw": trained_with_3dpw,
        "h36m_smpl": h36m_smpl,
        "flags": result.flags,
        "predictions": predictions,
        "store": dict(made.get("store") or {}),
        "paper": None if paper is None else dict(paper),
    }
    keys = ("checkpoint_sha256", "view", "features", "extractor_sha256", "body_sha256", "regressor_sha256", "hpsbench")  # fmt: skip
    document |= {key: made.get(key) for key in keys}
    document["command"] = without_paths(command or made.get("command"))
    return _validated(document, "this result", BadData)


def without_paths(command: str | None) -> str | None:
    """A command as it may be shown to others: the data root is `R`, and of any other absolute path the name is left.

    >>> without_paths("hpsbench evaluate --root /data/mine --model /data/ckpt.pt --protocol tcmr")
    'hpsbench evaluate --root R --model ckpt.pt --protocol tcmr'
    """
    if command is None:
        return None
    words: list[str] = []
    for word in command.split(" "):
        option, equals, value = word.rpartition("=")
        if PurePath(value).is_absolute():
            root = "--root" in (option, *words[-1:])
            value = "R" if root else PurePath(value).name
        words.append(f"{option}{equals}{value}")
    return " ".join(words)


def read_entry(path: Path) -> Entry:
    """An entry from its file.

    Raises:
        MissingData: no such file.
        BrokenFile: not JSON, or something is missing or of the wrong kind; says what and where.
    """
    if not path.is_file():
        raise MissingData(f"no entry at {path}; 'hpsbench leaderboard list --json' names the files of all")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise BrokenFile(f"{path}: not valid JSON ({error})") from error
    return _validated(document, str(path), BrokenFile)


def _validated(document: Any, where: str, kind: type[BadData]) -> Entry:
    try:
        return Entry.model_validate(document)
    except ValidationError as problem:
        lines = "; ".join(f"{'.'.join(map(str, e['loc']))}: {_said(e)}" for e in problem.errors())
        raise kind(f"{where}: {lines}; see docs/leaderboards.md") from None


def _said(error: Any) -> str:
    """What is wrong, with what was found."""
    if error["type"] == "missing":
        return "missing"
    if error["type"] == "extra_forbidden":
        return "not a key of an entry"
    found = repr(error["input"])
    if error["type"] == "string_pattern_mismatch" and "64" in str(error["ctx"]["pattern"]):
        return f"no sha256 (64 hexadecimal digits), found {found}"
    return f"{error['msg']}, found {found if len(found) < 80 else found[:77] + '...'}"


def _sequences(result: Result) -> dict[str, dict[str, float | None]]:
    table = result.sequences
    names = [column for key in result.summary for column in (key, f"{key}_n") if column in table]
    return {
        str(row["sequence"]): {name: _number(row[name]) for name in names} for row in table.to_dict("records")
    }


def _number(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
