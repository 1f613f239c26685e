"""What a paper says of its table, judged twice: by its own printed numbers, and by what was measured here.

A claim is a list of comparisons of two cells. In the paper a comparison holds if the printed numbers say so; a tie or a
missing number leaves it undecided. Here it holds, or fails, if the 95 % interval of the paired difference on the same
frames lies on one side of 0. A claim holds if all its comparisons hold (or the share that the claim asks for), fails if
so many fail that it cannot hold, and is undecided otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hpsbench.evaluation.statistics import Average, paired_difference
from hpsbench.results.result import Result
from hpsbench.tables.cells import HIGHER_IS_BETTER, RESULT_NAMES, matches
from hpsbench.tables.fill import Filled
from hpsbench.tables.schema import Claim

Answer = Literal["holds", "fails", "undecided"]
_KEYS = ["track", "frame_id"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One pair of cells. Differences are better - worse, in the direction that the claim wants negative.

    Attributes:
        better, worse: rows of the two.
        dataset, metric: of both.
        paper, here: the two answers.
        paper_difference: of the printed numbers.
        difference: of the measured ones.
        interval: 95 % of the measured difference.
        why: why it is undecided here.
    """

    better: str
    worse: str
    dataset: str
    metric: str
    paper: Answer
    here: Answer
    paper_difference: float | None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    why: str | None = None

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        found = {slot: getattr(self, slot) for slot in self.__slots__}
        return {**found, "interval": None if self.interval is None else list(self.interval)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A claim, its two answers, and the comparisons behind them."""

    claim: Claim
    paper: Answer
    here: Answer
    why: str
    comparisons: tuple[Comparison, ...]

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "id": self.claim.id,
            "says": self.claim.says,
            "where": self.claim.where or None,
            "kind": self.claim.kind,
            "paper": self.paper,
            "here": self.here,
            "why": self.why,
            "comparisons": [comparison.to_json() for comparison in self.comparisons],
        }


@dataclass(frozen=True, slots=True)
class _Side:
    """A cell, and the one whose value is taken off."""

    cell: Filled
    base: Filled | None

    @property
    def parts(self) -> tuple[Filled, ...]:
        return (self.cell,) if self.base is None else (self.cell, self.base)

    def printed(self) -> float | None:
        values = [part.cell.paper for part in self.parts]
        if any(value is None for value in values):
            return None
        return round(
            float(values[0] or 0) - float(values[1] or 0) if len(values) > 1 else float(values[0] or 0), 6
        )

    def label(self) -> str:
        cell = self.cell.cell
        condition = ", ".join(f"{k} {v}" for k, v in cell.condition.items() if k in ("ratio", "consecutive"))
        return cell.row + (f" ({condition})" if condition else "")


def judge(claim: Claim, cells: Sequence[Filled]) -> Verdict:
    """Judge a claim over the cells of its table (controls included)."""
    pairs = _pairs(claim, cells)
    found = tuple(_compare(claim, better, worse) for better, worse in pairs)
    printed = [c.paper for c, sides in zip(found, pairs, strict=True) if not any(map(_is_ours, sides))]
    paper, here = _all(printed, claim.share), _all([c.here for c in found], claim.share)
    return Verdict(claim=claim, paper=paper, here=here, why=_why(found, here), comparisons=found)


def _pairs(claim: Claim, cells: Sequence[Filled]) -> list[tuple[_Side, _Side]]:
    usable = [f for f in cells if _wanted(claim, f)]
    betters = [f for f in usable if matches(f.cell, claim.better)]
    worses = [f for f in usable if matches(f.cell, claim.worse)]
    pairs = []
    for better in betters:
        for worse in worses:
            if better is worse or any(better.cell.get(k) != worse.cell.get(k) for k in claim.same):
                continue
            sides = _with_baseline(claim, better, usable), _with_baseline(claim, worse, usable)
            if sides[0] is not None and sides[1] is not None:
                pairs.append((sides[0], sides[1]))
    return pairs


def _is_ours(side: _Side) -> bool:
    """Whether a side is a control, of which the paper says nothing."""
    return any(part.cell.control for part in side.parts)


def _wanted(claim: Claim, filled: Filled) -> bool:
    cell = filled.cell
    return (not claim.metrics or cell.metric in claim.metrics) and (
        not claim.datasets or cell.dataset in claim.datasets
    )


def _with_baseline(claim: Claim, filled: Filled, cells: Sequence[Filled]) -> _Side | None:
    if claim.baseline is None:
        return _Side(filled, None)
    agree = claim.baseline_same
    base = [
        f
        for f in cells
        if matches(f.cell, claim.baseline) and all(f.cell.get(k) == filled.cell.get(k) for k in agree)
    ]
    return _Side(filled, base[0]) if base and base[0] is not filled else None


def _compare(claim: Claim, better: _Side, worse: _Side) -> Comparison:
    cell = better.cell.cell
    sign = -1.0 if cell.metric in HIGHER_IS_BETTER else 1.0
    factor = claim.times or 1.0
    a, b = better.printed(), worse.printed()
    printed = None if a is None or b is None else round(sign * (factor * a - b), 6)
    difference, interval, why = _measured(better, worse, sign, factor)
    return Comparison(
        better=better.label(),
        worse=worse.label(),
        dataset=cell.dataset,
        metric=cell.metric,
        paper=_of_printed(claim, printed),
        here=_of_interval(claim, interval),
        paper_difference=printed,
        difference=difference,
        interval=interval,
        why=why,
    )


def _of_printed(claim: Claim, difference: float | None) -> Answer:
    if difference is None or claim.relation == "no-difference" or difference == 0:
        return "undecided"  # a printed number has no interval: nothing follows about "no difference"
    return "holds" if difference < 0 else "fails"


def _of_interval(claim: Claim, interval: tuple[float, float] | None) -> Answer:
    if interval is None:
        return "undecided"
    low, high = interval
    if claim.relation == "no-difference":
        return "holds" if low <= 0 <= high else "fails"
    return "holds" if high < 0 else "fails" if low > 0 else "undecided"


def _measured(
    better: _Side, worse: _Side, sign: float, factor: float
) -> tuple[float | None, tuple[float, float] | None, str | None]:
    """(difference, interval, why there is no answer)."""
    parts = (*better.parts, *worse.parts)
    lacking = next((f for f in parts if f.measured is None), None)
    if lacking is not None:
        return None, None, f"{lacking.cell.row} is not measured: {lacking.why_not}"
    values = [float(f.measured or 0.0) for f in parts]
    half = len(better.parts)
    total = factor * _less_base(values[:half]) - _less_base(values[half:])
    short = next((f for f in parts if f.undertrained), None)
    if short is not None:
        return sign * total, None, f"{short.cell.row} is undertrained"
    if all(f.counted for f in parts):
        return sign * total, (sign * total, sign * total), None
    if not any(f.results for f in parts):
        return sign * total, None, "times on one machine have no interval"
    if not all(f.results for f in parts):
        return sign * total, None, "one side was counted, the other measured"
    return _paired(better, worse, sign, factor)


def _less_base(values: Sequence[float]) -> float:
    return values[0] - (values[1] if len(values) > 1 else 0.0)


def _paired(
    better: _Side, worse: _Side, sign: float, factor: float
) -> tuple[float | None, tuple[float, float] | None, str | None]:
    name = RESULT_NAMES[better.cell.cell.metric]
    parts = (*better.parts, *worse.parts)
    seeds = min((len(f.results) for f in parts if len(f.results) > 1), default=1)
    tables = [[_sorted(result) for result in f.results] for f in parts]
    first = tables[0][0]
    for found in tables:
        for table in found:
            if len(table) != len(first) or not (table[_KEYS].to_numpy() == first[_KEYS].to_numpy()).all():
                return None, None, "the two sides were scored on different frames"
    whole = [_stacked(found, name, seeds) for found in tables]
    half = len(better.parts)
    left = whole[0] - whole[1] if half > 1 else whole[0]
    right = whole[half] - whole[half + 1] if len(parts) > half + 1 else whole[half]
    left, right = factor * left, np.broadcast_to(right, left.shape)
    missing = np.isnan(left) | np.isnan(right)
    counts = f"{name}_n"
    average: Average = parts[0].results[0].summary[name].average  # type: ignore[assignment]
    found_difference = paired_difference(
        np.where(missing, np.nan, sign * left),
        np.where(missing, np.nan, sign * right),
        first["sequence"].to_numpy(str),
        weight=first[counts].to_numpy(np.float64) if counts in first else None,
        track=first["track"].to_numpy(str),
        average=average,
    )
    return found_difference.value, found_difference.interval, found_difference.why_none


def _sorted(result: Result) -> Any:
    return result.frames.sort_values(_KEYS, kind="stable").reset_index(drop=True)


def _stacked(tables: Sequence[Any], name: str, seeds: int) -> Any:
    """(S, N) values; a system without seeds gives the same row to each."""
    rows = [table[name].to_numpy(np.float64) for table in tables]
    return np.stack(rows * seeds if len(rows) == 1 else rows[:seeds])


def _all(answers: Sequence[Answer], share: float) -> Answer:
    if not answers:
        return "undecided"
    if answers.count("fails") > (1 - share) * len(answers) + 1e-9:
        return "fails"
    return "holds" if answers.count("holds") >= share * len(answers) - 1e-9 else "undecided"


def _why(found: Sequence[Comparison], here: Answer) -> str:
    """What decides it here, in words."""
    if not found:
        return "no two cells of the table are compared"
    if here == "fails":
        bad = [c for c in found if c.here == "fails"]
        return f"{len(bad)} of {len(found)} comparisons fail, first {_told(bad[0])}"
    if here == "holds":
        return f"{sum(c.here == 'holds' for c in found)} of {len(found)} comparisons hold"
    open_ = [c for c in found if c.here == "undecided"]
    return f"{len(open_)} of {len(found)} comparisons undecided, first {_told(open_[0])}"


def _told(c: Comparison) -> str:
    text = f"{c.better} against {c.worse}, {c.dataset} {c.metric}".replace(",  ", ", ")
    if c.interval is not None:
        return f"{text}: {c.difference:+.2f} [{c.interval[0]:+.2f}, {c.interval[1]:+.2f}]"
    return f"{text}: {c.why}"
