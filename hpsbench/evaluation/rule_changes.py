"""From one protocol's rule to another's, one cause at a time, and each change in words.

Every part of a rule that is measured belongs to exactly one cause, so that after the last cause nothing is left that
could make two numbers differ.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from hpsbench.bodies.joints import JointSet
from hpsbench.protocols.protocol import JointSource, Metric, Root, Rule
from hpsbench.protocols.schema import SmoothTable
from hpsbench.types import WindowRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Parts of a rule that are changed together.

    Attributes:
        name: of the cause.
        rule: fields of `Rule`.
        source: fields of `JointSource`, of target and prediction alike.
        metric: fields of `Metric`.
    """

    name: str
    rule: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    metric: tuple[str, ...] = ()


CAUSES: Final = (
    Cause(
        name="frames",
        rule=(
            "splits", "where", "view", "seen", "scored", "visible_set", "visible_first", "visible_confidence",
        ),
    ),
    Cause(name="windows", rule=("windows",)),
    Cause(name="gaps", rule=("gaps",)),
    Cause(name="joins", rule=("join_tracks", "tracks")),
    Cause(name="body", source=("body", "mesh")),
    Cause(
        name="joints and root",
        source=("kind", "source", "source_set", "joints", "take", "root"),
        metric=("joints", "joint_names"),
    ),
    Cause(name="coordinates", rule=("needs",), source=("frame", "transl")),
    Cause(name="precision", source=("dtype",)),
    Cause(name="smoothing and flip", rule=("smooth", "flip_test")),
    Cause(
        name="definition",
        rule=("fps",),
        metric=(
            "name", "metric", "function", "inputs", "align", "thresholds", "strict", "auc", "chunk", "trim",
            "visible", "unit",
        ),
    ),
    Cause(name="average", rule=("average", "round"), metric=("average",)),
)  # fmt: skip
# Fields that name or explain things, or are made of the others.
NOT_MEASURED: Final = {
    Rule: ("name", "dataset", "expect", "published", "note", "target", "pred", "metrics"),
    JointSource: (),
    Metric: ("title",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A rule on the way from one to another.

    Attributes:
        cause: what was changed last; several, joined by " + ", where one alone makes no rule that can be scored.
        what: the changes in words.
        rule: after them.
    """

    cause: str
    what: tuple[str, ...]
    rule: Rule


def pair_metrics(first: Rule, second: Rule) -> list[tuple[Metric, Metric]]:
    """Metrics of two rules that are the same question.

    Same names belong together; of the rest, a metric of each rule that is the only one with its function, unit and
    inputs (mesh errors with and without alignment, say).
    """
    of_second = {metric.name: metric for metric in second.metrics}
    of_first = {metric.name: metric for metric in first.metrics}
    pairs = [(metric, of_second[name]) for name, metric in of_first.items() if name in of_second]
    rest = [
        [metric for name, metric in own.items() if name not in other]
        for own, other in ((of_first, of_second), (of_second, of_first))
    ]

    def alike(metric: Metric, others: Sequence[Metric]) -> list[Metric]:
        kind = (metric.metric, metric.unit, metric.inputs)
        return [m for m in others if (m.metric, m.unit, m.inputs) == kind]

    for metric in rest[0]:
        matches = alike(metric, rest[1])
        if len(matches) == 1 and len(alike(metric, rest[0])) == 1:
            pairs.append((metric, matches[0]))
    return pairs


def changes(first: Rule, second: Rule, pairs: Sequence[tuple[Metric, Metric]]) -> Iterator[Change]:
    """The way from the first rule to the second, cause by cause; causes in which they agree are left out.

    Args:
        first: where it begins.
        second: where it ends.
        pairs: metrics of both (`pair_metrics`); the rules on the way have these alone, in this order.
    """
    before = replace(first, metrics=tuple(metric for metric, _ in pairs), expect={})
    causes: list[str] = []
    what: list[str] = []
    for cause in CAUSES:
        after = _changed(before, second, [metric for _, metric in pairs], cause)
        if after == before:
            continue
        causes.append(cause.name)
        what += describe(before, after)
        before = after
        if can_be_scored(after):
            yield Change(cause=" + ".join(causes), what=tuple(what), rule=after)
            causes, what = [], []


def can_be_scored(rule: Rule) -> bool:
    """Whether the parts of a rule fit together; between two rules that do, a mixture may not."""
    return all(source.kind == "field" or source.body is not None for source in (rule.target, rule.pred))


def describe(before: Rule, after: Rule) -> list[str]:
    """What differs between two rules with the same number of metrics, in words."""
    words = [
        f"{_LABELS.get(name, name)} {text}"
        for cause in CAUSES
        for name in cause.rule
        if name != "windows" and (text := _arrow(getattr(before, name), getattr(after, name)))
    ]
    words += _window_words(before.windows, after.windows)
    target, pred = (_source_words(getattr(before, s), getattr(after, s)) for s in ("target", "pred"))
    words += [word for word in target if word in pred]
    words += [f"target {word}" for word in target if word not in pred]
    words += [f"prediction {word}" for word in pred if word not in target]
    of_metrics = [
        (new.name, _metric_words(old, new)) for old, new in zip(before.metrics, after.metrics, strict=True)
    ]
    texts = dict.fromkeys(text for _, own in of_metrics for text in own)
    for text in texts:
        names = [name for name, own in of_metrics if text in own]
        whole = len(names) == len(of_metrics)
        words += [text if whole else f"{', '.join(names)}: {text}"]
    return list(dict.fromkeys(words))


def _changed(rule: Rule, second: Rule, metrics: Sequence[Metric], cause: Cause) -> Rule:
    """The rule with the cause's parts taken from the second."""
    sides: dict[str, Any] = {
        name: replace(getattr(rule, name), **_taken(getattr(second, name), cause.source))
        for name in ("target", "pred")
    }
    own = tuple(
        replace(metric, **_taken(other, cause.metric))
        for metric, other in zip(rule.metrics, metrics, strict=True)
    )
    return replace(rule, **_taken(second, cause.rule), **sides, metrics=own)


def _taken(source: Any, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(source, name) for name in names}


_LABELS: Final = {
    "visible_set": "keypoints counted",
    "visible_first": "of them the first",
    "visible_confidence": "visible above",
    "join_tracks": "acceleration across tracks",
    "tracks": "tracks told apart",
    "flip_test": "flip test",
    "strict": "less than, not equal",
    "joint_names": "joints",
}


def _source_words(before: JointSource, after: JointSource) -> list[str]:
    words = []
    if (before.kind, before.source) != (after.kind, after.source):
        words.append(f"{before.kind} {before.source} -> {after.kind} {after.source}")
    for name in ("joints", "take", "root", "body", "frame", "transl", "dtype"):
        text = _arrow(getattr(before, name), getattr(after, name))
        words += [f"{name} {text}"] if text else []
    meshes = [None if source.mesh == source.body else source.mesh for source in (before, after)]
    if meshes[0] != meshes[1]:
        words.append(f"mesh {_arrow(before.mesh, after.mesh) or _plain(after.mesh)}")
    return words


def _window_words(before: WindowRule | None, after: WindowRule | None) -> list[str]:
    if before is None or after is None:
        if before is after:
            return []
        texts = ["none" if w is None else f"{w.length} frames" for w in (before, after)]
        return [f"windows {texts[0]} -> {texts[1]}"]
    return [
        f"{part.name} {text}"
        for part in fields(WindowRule)
        if (text := _arrow(getattr(before, part.name), getattr(after, part.name)))
    ]


def _metric_words(before: Metric, after: Metric) -> list[str]:
    words = [] if before.name == after.name else [f"was {before.name}"]
    for part in fields(Metric):
        if part.name in ("name", "title", "function", "joints"):
            continue
        text = _arrow(getattr(before, part.name), getattr(after, part.name))
        words += [f"{_LABELS.get(part.name, part.name)} {text}"] if text else []
    return words


def _arrow(before: Any, after: Any) -> str:
    """`old -> new`, or nothing where they are the same."""
    if before == after:
        return ""
    old, new = _plain(before), _plain(after)
    return f"{old} -> {new}" if old != new else ""


def _plain(value: Any) -> str:
    if value is None or value in ((), {}):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Root):
        return value.text
    if isinstance(value, JointSet):
        return value.id
    if isinstance(value, SmoothTable):
        return f"{value.method} {value.ratio:g}" + (" with the mesh" if value.mesh else "")
    if isinstance(value, tuple):
        return " + ".join(map(str, value)) if len(value) <= 4 else f"{value[0]} .. {value[-1]} ({len(value)})"
    if isinstance(value, dict):
        return ", ".join(f"{key} {' or '.join(names)}" for key, names in value.items())
    return str(value)
