"""Two results, number by number, on the same frames.

Numbers are only compared if they answer the same question: same protocol (to its hash), dataset, body files, scored
frames and flags. Everything that differs is named, and then nothing is compared. What may differ, because it is what
one compares (system, features, condition, windowing), is listed beside the numbers.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hpsbench.errors import BadData, HpsbenchError, UsageError
from hpsbench.evaluation.statistics import RESAMPLES, Average, PairedDifference, paired_difference
from hpsbench.results.result import Result

if TYPE_CHECKING:
    import pandas as pd

Better = Literal["lower", "higher"]
Results = Result | Sequence[Result]

_KEYS = ["track", "frame_id"]
_MUST_AGREE = ("protocol", "protocol_sha256", "dataset", "synthetic", "partial", "flags")
_MAY_DIFFER = ("system", "windowing", "condition")
_FILES = ("body_sha256", "regressor_sha256")
# Sizes of a motion, which are no errors.
_UNDIRECTED = ("accel_pred", "jitter")
# A unit that begins with a digit (10 m/s^3) needs a space before it.
_LIMIT = re.compile(r"(?:(?P<metric>\w+):)?\s*(?P<amount>\d+(?:\.\d+)?)(?P<unit>\s+\S.*|[^\s\d.].*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One metric of both results.

    Attributes:
        metric, unit, average: as in the results.
        first, second: the two means over the same frames.
        change: second - first.
        interval: 95 % interval of the change, or None.
        p_value: of no change, or None.
        why_none: the reason where there is no interval.
        n: values behind each mean.
        better: which direction is better, None where neither is.
    """

    metric: str
    unit: str
    average: str
    first: float
    second: float
    change: float
    interval: tuple[float, float] | None
    p_value: float | None
    why_none: str | None
    n: int
    better: Better | None

    @property
    def worse_by(self) -> float | None:
        """By how much the second is worse (negative: better); None where no direction is better."""
        if self.better is None:
            return None
        return self.change if self.better == "lower" else -self.change


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What changed from the first result to the second.

    Attributes:
        protocol, dataset: of both.
        frames: scored frames of both.
        sequences: that the intervals resample.
        seeds: results on each side.
        changes: one per metric that both have.
        notes: what else differs, in words.
    """

    protocol: str
    dataset: str
    frames: int
    sequences: int
    seeds: int
    changes: tuple[Change, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Limit:
    """How much worse is too much: `0.5mm`, or for one metric `pa_mpjpe:0.5mm`."""

    amount: float
    unit: str
    metric: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Limit":
        """Read it from the command line.

        Raises:
            UsageError: another form.
        """
        found = _LIMIT.fullmatch(text.strip())
        if found is None:
            raise UsageError(f"limit {text!r}: expected a number and a unit, as 0.5mm or pa_mpjpe:0.5mm")
        return cls(float(found["amount"]), found["unit"].strip(), found["metric"])


def compare_results(
    first: Results, second: Results, *, seed: int = 0, resamples: int = RESAMPLES
) -> Comparison:
    """Compare two results, or two lists of results (one per seed, paired in order), on the same frames.

    Args:
        first: the one to compare with.
        second: the one that may be better or worse.
        seed: of the resampling.
        resamples: how many.

    Raises:
        BadData: protocol, dataset, body files, frames or flags differ; the message names each.
        UsageError: lists of different lengths.
    """
    firsts, seconds = _listed(first), _listed(second)
    if len(firsts) != len(seconds):
        raise UsageError(
            f"{len(firsts)} results of the first and {len(seconds)} of the second: expected one per seed"
        )
    tables = _aligned_tables([*firsts, *seconds])
    a, b = firsts[0], seconds[0]
    changes, sequences = [], 0
    for metric in (name for name in a.summary if name in b.summary):
        found = _difference(metric, a, tables, seed, resamples)
        measured = a.summary[metric]
        sequences = max(sequences, found.sequences)
        changes.append(
            Change(
                metric=metric,
                unit=measured.unit,
                average=measured.average,
                first=found.second,
                second=found.first,
                change=found.value,
                interval=found.interval,
                p_value=found.p_value,
                why_none=found.why_none,
                n=found.n,
                better=better_direction(metric),
            )
        )
    return Comparison(
        protocol=a.protocol,
        dataset=a.dataset,
        frames=int(a.accounting["scored"]),
        sequences=sequences,
        seeds=len(firsts),
        changes=tuple(changes),
        notes=tuple(_notes(a, b)),
    )


def fail_if_worse(comparison: Comparison, limit: Limit | str) -> None:
    """Do nothing if no metric of the limit's unit is worse by more than the limit.

    The estimate decides, not its interval: on the same frames both means are exact.

    Raises:
        HpsbenchError: the second result is worse; names each metric and by how much.
        UsageError: no metric has that name or unit.
    """
    limit = Limit.parse(limit) if isinstance(limit, str) else limit
    concerned = [
        c
        for c in comparison.changes
        if _plain(c.unit) == _plain(limit.unit) and limit.metric in (None, c.metric) and c.better is not None
    ]
    if not concerned:
        known = ", ".join(f"{c.metric} ({c.unit})" for c in comparison.changes if c.better is not None)
        wanted = f"{limit.metric or 'metric'} in {limit.unit}"
        raise UsageError(f"limit {limit.amount:g} {limit.unit}: there is no {wanted} among {known}")
    worse = [c for c in concerned if c.worse_by is not None and c.worse_by > limit.amount]
    if worse:
        listed = "; ".join(
            f"{c.metric} {c.first:.2f} -> {c.second:.2f} {c.unit} ({c.change:+.2f})" for c in worse
        )
        raise HpsbenchError(f"worse by more than {limit.amount:g} {limit.unit}: {listed}")


def check_comparable(first: Result, second: Result) -> None:
    """Make sure that two results answer the same question on the same frames.

    Raises:
        BadData: they do not; names every difference.
    """
    problems = [
        f"{name.replace('_', ' ')}: {_told(getattr(first, name))} and {_told(getattr(second, name))}"
        for name in _MUST_AGREE
        if _unordered(getattr(first, name)) != _unordered(getattr(second, name))
    ]
    problems += [p for name in _FILES for p in _different_files(name, first, second)]
    problems += _different_frames(first.frames, second.frames)
    if problems:
        raise BadData("these results cannot be compared; they differ in " + "; ".join(problems))


def better_direction(metric: str) -> Better | None:
    """Whether lower or higher values of a result name are better; None for sizes of a motion."""
    if any(metric.startswith(name) for name in _UNDIRECTED):
        return None
    return "higher" if re.search(r"(^|_)(pck|auc)", metric) else "lower"


def _listed(results: Results) -> list[Result]:
    return [results] if isinstance(results, Result) else list(results)


def _aligned_tables(results: list[Result]) -> list["pd.DataFrame"]:
    """The frame tables, checked against the first one and in its order."""
    if not results:
        raise UsageError("no results to compare")
    for other in results[1:]:
        check_comparable(results[0], other)
    return [r.frames.sort_values(_KEYS, kind="stable").reset_index(drop=True) for r in results]


def _difference(
    metric: str, about: Result, tables: list["pd.DataFrame"], seed: int, resamples: int
) -> PairedDifference:
    """Second minus first of one metric; the first half of the tables belongs to the first."""
    values = np.stack([t[metric].to_numpy(np.float64) for t in tables])
    table, half = tables[0], len(tables) // 2
    missing = np.isnan(values)
    where = np.flatnonzero((missing != missing[0]).any(axis=0))
    if len(where):
        row = table.iloc[int(where[0])]
        raise BadData(
            f"{metric}: {len(where)} frames have a value in one result only, the first is track {row['track']}, "
            f"frame {row['frame_id']}; these results cannot be compared"
        )
    counts = f"{metric}_n"
    average: Average = "frame"
    if about.summary[metric].average in ("track", "video"):
        average = "track" if about.summary[metric].average == "track" else "video"
    return paired_difference(
        values[half:],
        values[:half],
        table["sequence"].to_numpy(str),
        weight=table[counts].to_numpy(np.float64) if counts in table else None,
        track=table["track"].to_numpy(str),
        average=average,
        seed=seed,
        resamples=resamples,
    )


def _different_frames(first: "pd.DataFrame", second: "pd.DataFrame") -> list[str]:
    columns = [*_KEYS, "sequence", "scored"]
    for name, table in (("first", first), ("second", second)):
        lacking = [c for c in columns if c not in table]
        if lacking:
            return [f"the table of frames: the {name} has no column {lacking[0]!r}"]
    both = first[columns].merge(second[columns], on=_KEYS, how="outer", indicator=True)
    problems = []
    for side, name in (("left_only", "first"), ("right_only", "second")):
        alone = both[both["_merge"] == side]
        if len(alone):
            row = alone.iloc[0]
            problems.append(
                f"frames: {len(alone)} only in the {name} (track {row['track']}, frame {row['frame_id']}, ...)"
            )
    shared = both[both["_merge"] == "both"]
    for column in ("sequence", "scored"):
        differ = int((shared[f"{column}_x"] != shared[f"{column}_y"]).sum())
        if differ:
            problems.append(f"frames: {differ} have another value of {column!r}")
    return problems


def _different_files(name: str, first: Result, second: Result) -> list[str]:
    """Files behind the targets that both results name, with different contents."""
    a, b = first.provenance.get(name) or {}, second.provenance.get(name) or {}
    if isinstance(a, str) or isinstance(b, str):
        return [f"{name}: {a} and {b}"] if a and b and a != b else []
    return [
        f"{name} of {key}: {a[key][:8]} and {b[key][:8]}"
        for key in sorted(set(a) & set(b))
        if a[key] != b[key]
    ]


def _notes(first: Result, second: Result) -> list[str]:
    notes = [
        f"{name}: {_told(getattr(first, name))} and {_told(getattr(second, name))}"
        for name in _MAY_DIFFER
        if getattr(first, name) != getattr(second, name)
    ]
    for key in ("features", "hpsbench"):
        a, b = first.provenance.get(key), second.provenance.get(key)
        if a != b:
            notes.append(f"{key}: {_told(a)} and {_told(b)}")
    for name, (own, other) in {"first": (first, second), "second": (second, first)}.items():
        for metric in own.summary:
            if metric not in other.summary:
                reason = other.absent.get(metric)
                notes.append(f"{metric}: only in the {name}" + (f" ({reason})" if reason else ""))
    return notes


def _unordered(value: Any) -> Any:
    return set(value) if isinstance(value, tuple) else value


def _told(value: Any) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    text = str(value)
    return text[:8] if re.fullmatch("[0-9a-f]{64}", text) else text


def _plain(unit: str) -> str:
    return unit.replace(" ", "")
