"""Where the error is: means of a result's frames by what they have in common, and its worst frames.

Sequence, joint, action, visibility, speed, distance to a corrupted frame: everything is read from the result's table of frames, so a saved result is enough.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hpsbench.errors import UnknownName, UsageError
from hpsbench.evaluation.compare import better_direction
from hpsbench.evaluation.frame_context import ACTION, COLUMNS, CORRUPTED, IMAGE, SPEED, VISIBLE
from hpsbench.results.result import Result
from hpsbench.types import Array

if TYPE_CHECKING:
    import pandas as pd

WORST: Final = 10
# Distances to a corrupted frame that are told apart.
_NEAR: Final = 2
_SPEED_BINS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Frames (or a joint) that share something.

    Attributes:
        name: what they share.
        frames: scored frames in it.
        means: metric -> mean over its frames, in the metric's unit; None where no frame has a value.
        n: metric -> values behind the mean.
    """

    name: str
    frames: int
    means: Mapping[str, float | None]
    n: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """The means of one result, group by group.

    Attributes:
        by: `sequence`, `joint`, `action`, `visibility`, `speed` or `corruption`.
        title: what the groups are, with unit.
        units: metric -> unit.
        groups: in their own order; empty where the result cannot be broken down so.
        why_none: the reason for that.
    """

    by: str
    title: str
    units: Mapping[str, str]
    groups: tuple[Group, ...] = ()
    why_none: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame.

    Attributes:
        track: its track.
        frame_id: number of the frame.
        value: of the metric.
        image: path of its image under the raw dataset's folder, or None.
        context: what else is known of it (`evaluation.frame_context`).
    """

    track: str
    frame_id: int
    value: float
    image: str | None
    context: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def list_breakdowns() -> list[str]:
    """What a result can be broken down by."""
    return list(_GROUPERS)


def breakdown(result: Result, by: str, *, metrics: Sequence[str] | None = None) -> Breakdown:
    """Means over the frames of each group.

    Args:
        result: measured or loaded.
        by: one of `list_breakdowns()`.
        metrics: result names; None: all that the result has.

    Returns:
        The groups; none, with the reason, where the result does not know what it would take.

    Raises:
        UnknownName: no such breakdown, or no such metric in the result.
    """
    if by not in _GROUPERS:
        raise UnknownName("breakdown", by, _GROUPERS)
    names = list(result.summary) if metrics is None else list(metrics)
    for name in names:
        if name not in result.summary:
            raise UnknownName("metric of this result", name, result.summary)
    title, group = _GROUPERS[by]
    return group(result, by, title, names)


def worst_frames(result: Result, metric: str | None = None, *, count: int = WORST) -> list[Frame]:
    """The frames with the worst values of a metric, the worst first.

    Args:
        result: measured or loaded.
        metric: a result name; None: the first of the result.
        count: how many.

    Raises:
        UnknownName: the result has no such metric.
        UsageError: neither direction of the metric is better.
    """
    name = metric if metric is not None else next(iter(result.summary), "")
    if name not in result.summary:
        raise UnknownName("metric of this result", name, result.summary)
    better = better_direction(name)
    if better is None:
        raise UsageError(f"{name} is the size of a motion: no value of it is worse than another")
    table = result.frames.dropna(subset=[name])
    table = table.sort_values(name, ascending=better == "higher", kind="stable").head(count)
    known = [column for column in COLUMNS if column in table and column != IMAGE]
    return [
        Frame(
            track=str(row["track"]),
            frame_id=int(row["frame_id"]),
            value=float(row[name]),
            image=str(row[IMAGE]) if row.get(IMAGE) else None,
            context={column: _plain(row[column]) for column in known},
        )
        for row in table.to_dict("records")
    ]


def _by_sequence(result: Result, by: str, title: str, names: list[str]) -> Breakdown:
    labels = result.frames["sequence"].to_numpy(dtype=str)
    return _grouped(result, by, title, names, labels, list(dict.fromkeys(labels.tolist())))


def _by_action(result: Result, by: str, title: str, names: list[str]) -> Breakdown:
    if ACTION not in result.frames:
        return _none(
            result, by, title, names, "the dataset names no actions, or the result is of bare arrays"
        )
    labels = result.frames[ACTION].to_numpy(dtype=str)
    labels = np.where(labels == "", "not named", labels)
    return _grouped(result, by, title, names, labels, sorted(set(labels.tolist())))


def _by_visibility(result: Result, by: str, title: str, names: list[str]) -> Breakdown:
    if VISIBLE not in result.frames:
        return _none(
            result, by, title, names, "the dataset has no 2D keypoints, or the result is of bare arrays"
        )
    counts = result.frames[VISIBLE].to_numpy(np.int64)
    return _grouped(result, by, title, names, counts.astype(str), [str(n) for n in np.unique(counts)])


def _by_speed(result: Result, by: str, title: str, names: list[str]) -> Breakdown:
    """Quarters of the frames, from the slowest to the fastest."""
    if SPEED not in result.frames or not result.frames[SPEED].notna().any():
        return _none(result, by, title, names, "no frame has a neighbour in time")
    speed = result.frames[SPEED].to_numpy(np.float64)
    known = speed[np.isfinite(speed)]
    inner = np.unique(np.quantile(known, np.arange(1, _SPEED_BINS) / _SPEED_BINS))
    edges = [known.min(), *inner.tolist(), known.max()]
    order = [f"{low:.1f} to {high:.1f}" for low, high in itertools.pairwise(edges)]
    place = np.searchsorted(inner, speed, side="right")
    labels = np.where(np.isfinite(speed), np.array(order)[np.minimum(place, len(order) - 1)], "no neighbour")
    return _grouped(result, by, title, names, labels, [*order, "no neighbour"])


def _by_corruption(result: Result, by: str, title: str, names: list[str]) -> Breakdown:
    if CORRUPTED not in result.frames:
        return _none(result, by, title, names, "the features behind it are clean, or not known")
    distance = result.frames[CORRUPTED].to_numpy(np.float64)
    far = ~(distance <= _NEAR)
    labels = np.where(far, "further", np.where(far, 0, distance).astype(np.int64).astype(str))
    return _grouped(result, by, title, names, labels, [*map(str, range(_NEAR + 1)), "further"])


def _by_joint(result: Result, by: str, title: str, names: list[str]) -> Breakdown:
    """One group per joint, of the metrics that are means over joints."""
    listed = [str(column) for column in result.frames]
    columns = {name: [c for c in listed if c.startswith(f"{name}.")] for name in names}
    columns = {name: own for name, own in columns.items() if own}
    if not columns:
        return _none(result, by, title, names, "the result keeps no errors of single joints")
    frames = int(result.accounting["scored"])
    joints = dict.fromkeys(c.partition(".")[2] for own in columns.values() for c in own)
    groups = []
    for joint in joints:
        own = {n: result.frames[f"{n}.{joint}"].dropna() for n in columns if f"{n}.{joint}" in result.frames}
        means = {name: float(values.mean()) if len(values) else None for name, values in own.items()}
        groups.append(
            Group(
                name=joint, frames=frames, means=means, n={name: len(values) for name, values in own.items()}
            )
        )
    return Breakdown(by=by, title=title, units=_units(result, list(columns)), groups=tuple(groups))


_GROUPERS: Final[Mapping[str, tuple[str, Callable[[Result, str, str, list[str]], Breakdown]]]] = {
    "sequence": ("sequence", _by_sequence),
    "joint": ("joint", _by_joint),
    "action": ("action", _by_action),
    "visibility": ("visible 2D keypoints", _by_visibility),
    "speed": ("true speed, mm/frame", _by_speed),
    "corruption": ("frames to a corrupted one", _by_corruption),
}


def _grouped(
    result: Result, by: str, title: str, names: list[str], labels: Array, order: Sequence[str]
) -> Breakdown:
    """Weighted means of the frames of each label, in the given order; labels without a frame are left out."""
    scored = result.frames["scored"].to_numpy(bool)
    groups = []
    for label in order:
        inside = labels == label
        if not inside.any():
            continue
        means, n = {}, {}
        for name in names:
            means[name], n[name] = _mean(result.frames[inside], name)
        groups.append(Group(name=label, frames=int((inside & scored).sum()), means=means, n=n))
    return Breakdown(by=by, title=title, units=_units(result, names), groups=tuple(groups))


def _mean(table: "pd.DataFrame", name: str) -> tuple[float | None, int]:
    """Mean over frames of one metric, and how many values it is over."""
    values = table[name].to_numpy(np.float64)
    weights = table[f"{name}_n"].to_numpy(np.float64) if f"{name}_n" in table else np.ones(len(values))
    known = np.isfinite(values) & (weights > 0)
    if not known.any():
        return None, 0
    return float(np.average(values[known], weights=weights[known])), round(float(weights[known].sum()))


def _none(result: Result, by: str, title: str, names: list[str], why: str) -> Breakdown:
    return Breakdown(by=by, title=title, units=_units(result, names), why_none=why)


def _units(result: Result, names: list[str]) -> dict[str, str]:
    return {name: result.summary[name].unit for name in names}


def _plain(value: Any) -> Any:
    """A Python value; None for NaN."""
    plain = value.item() if hasattr(value, "item") else value
    return None if isinstance(plain, float) and np.isnan(plain) else plain
