"""A protocol in words: joints, body, root, frames, windows, alignment, averages, units, known defects."""

from typing import NamedTuple

from hpsbench.protocols.protocol import JointSource, Metric, Protocol, Rule, visible_count
from hpsbench.protocols.schema import SmoothTable
from hpsbench.types import WindowRule


class Line(NamedTuple):
    """One statement about a protocol.

    Attributes:
        dataset: that it is about, or "" for all.
        topic: `joints`, `frames`, `windows`, ...
        text: the statement.
    """

    dataset: str
    topic: str
    text: str


def explain(protocol: Protocol) -> str:
    """The protocol in words, for a terminal: what `hpsbench ls protocols --explain NAME` prints."""
    parts = [
        f"{protocol.id}: {protocol.table.title}",
        f"source: {protocol.table.source}",
        f"sha256: {protocol.sha256}",
    ]
    heading = ""
    for line in explain_lines(protocol):
        if line.dataset != heading:
            heading = line.dataset
            parts += ["", heading or "all datasets"]
        parts.append(f"  {line.topic + ':':<22}{line.text}")
    return "\n".join(parts) + "\n"


def explain_lines(protocol: Protocol) -> list[Line]:
    """The same as rows: one list of statements per dataset, then the known defects of the released script."""
    lines = [
        Line(name, topic, text) for name, rule in protocol.rules.items() for topic, text in _rule_lines(rule)
    ]
    for defect in protocol.table.defects:
        lines.append(Line("known defects of the released script", "released", defect.official))
        lines.append(Line("known defects of the released script", "here", defect.ours))
    return lines


def _rule_lines(rule: Rule) -> list[tuple[str, str]]:
    lines = [
        ("data", _data(rule)),
        ("frames seen", f"{_mask(rule.seen, rule)}: a system may see these, and windows are cut from them"),
        ("frames scored", f"{_mask(rule.scored, rule)}, as far as a window predicts them"),
        ("windows", _windows(rule.windows)),
        ("gaps", _gaps(rule)),
        ("target", _joints(rule.target, _BODIES)),
        ("prediction", _joints(rule.pred, _PRED_BODIES)),
        ("root", _roots(rule)),
        (
            "precision",
            "target in half (float16), as released" if rule.target.dtype == "float16" else "float32",
        ),
        ("average", _average(rule)),
    ]
    lines += [(f"metric {metric.name}", _metric(metric, rule)) for metric in rule.metrics]
    if rule.smooth is not None:
        lines.append(("smoothing", _smooth(rule.smooth)))
    if rule.flip_test:
        lines.append(("flip test", "predictions of the mirrored video are averaged in"))
    for need in rule.needs:
        lines.append(("needs", f"predictions with {need}"))
    if not rule.published:
        lines.append(("published", "no: no paper reports numbers of this setting"))
    if rule.note:
        lines.append(("note", rule.note))
    return lines


def _data(rule: Rule) -> str:
    text = f"{rule.dataset}, split {' + '.join(rule.splits)}, view {rule.view}"
    for column, values in rule.where.items():
        text += f", {column} {' or '.join(values)}"
    for what, count in rule.expect.items():
        text += f"; exactly {count} {what} (another count is an error on real data)"
    return text


_MASK_TEXTS = {
    "all": "all frames of the view",
    "valid": "frames that the dataset flags valid",
    "seen": "all seen frames",
    "nonzero-2d": "frames whose 2D keypoints are not all zero",
}


def _mask(masks: tuple[str, ...], rule: Rule) -> str:
    texts = []
    for mask in masks:
        count = visible_count(mask)
        of = f"the first {rule.visible_first} keypoints of {rule.visible_set or 'the dataset'}"
        visible = (
            f"frames with more than {count} of {of} visible (confidence above {rule.visible_confidence:g})"
        )
        texts.append(_MASK_TEXTS[mask] if count is None else visible)
    return " that are also ".join(texts)


def _windows(rule: WindowRule | None) -> str:
    if rule is None:
        return "none: predictions are submitted; a system cuts its own"
    if rule.length == "track":
        return "the whole track at once"
    which = {
        "all": "all frames",
        "last": "the last frame",
        "middle": "the middle frame (start + length // 2)",
    }[rule.predict]
    if rule.keep:
        which = f"the middle {rule.keep} frames"
    edges = {
        "drop": "frames that no full window predicts are dropped",
        "repeat-frame": "frames at either end get a window of that frame repeated",
        "repeat-window": "the first and last full window are repeated at either end",
        "shift-last": "the last window is shifted back to end with the track",
        "zero-image": "windows reach over both ends, filled with zero images",
    }[rule.edges]
    short = {
        "skip": "shorter tracks are skipped",
        "pad": "shorter tracks are padded with their last frame",
        "error": "shorter tracks are an error",
    }[rule.short]
    parts = [f"{rule.length} frames, stride {rule.stride}, {which} of each are used", edges]
    if rule.overlap == "cut-half":
        parts.append("half of the overlap is cut off either side")
    if rule.overlap == "central":
        parts.append("a frame is read from the window in which it lies most centrally")
    if rule.edges != "zero-image":
        parts.append(short)
    return "; ".join(parts)


def _gaps(rule: Rule) -> str:
    text = (
        "bridged: frames before and after a gap count as neighbours"
        if rule.gaps == "bridge"
        else "end a segment"
    )
    if rule.tracks == "first-occurrence":
        text += "; a track is what follows the first occurrence of its name"
    if rule.join_tracks:
        text += "; acceleration runs across track joins"
    return text


_BODIES = {
    "smpl-neutral": "neutral SMPL (with the dataset's betas, which are gendered)",
    "smpl-gendered": "male or female SMPL, as the dataset says",
    "smpl-refit": "neutral SMPL with betas refitted to the gendered shape",
}
_PRED_BODIES = {
    "smpl-neutral": "neutral SMPL",
    "smpl-gendered": "male or female SMPL, as the dataset says",
}


def _joints(source: JointSource, bodies: dict[str, str]) -> str:
    count = f"{len(source.joints)} joints ({source.joints.id})"
    if source.kind == "field":
        return f"{count} of the annotation {source.source}"
    how = (
        f"by the regressor {source.source}"
        if source.kind == "via"
        else f"of the model's own set {source.source}"
    )
    mesh = "" if source.mesh == source.body else f"; vertices of {bodies[str(source.mesh)]}"
    place = ", world coordinates" if source.frame == "world" else ""
    if source.transl == "world" and source.frame == "camera":
        place = ", with the dataset's world translation added (it decides what half precision rounds away)"
    return f"{count} {how} on {bodies[str(source.body)]}{place}{mesh}"


def _roots(rule: Rule) -> str:
    if rule.target.root.text == rule.pred.root.text:
        return rule.target.root.text
    return f"{rule.target.root.text} (target), {rule.pred.root.text} (prediction)"


def _average(rule: Rule) -> str:
    text = {
        "frame": "over all frames",
        "track": "of track means",
        "video": "of video means, all people of a video pooled",
    }[rule.average]
    return text if rule.round is None else f"{text}, rounded to {rule.round:g} m"


def _metric(metric: Metric, rule: Rule) -> str:
    parts = [metric.title]
    if metric.joint_names:
        parts.append(f"{len(metric.joint_names)} joints: {', '.join(metric.joint_names)}")
    if metric.metric in ("pck", "auc"):
        parts.append(f"correct means {'<' if metric.strict else '<='} the threshold")
    if metric.metric.startswith("accel"):
        parts.append(
            {"root": "root taken off first", "none": "joints as they are"}.get(metric.align, metric.align)
        )
        parts.append(
            {
                "centre": "counted where the centre frame is scored",
                "all-three": "counted where all three frames are scored",
                "any": "counted everywhere",
            }[metric.visible]
        )
    if metric.trim:
        parts.append(f"{metric.trim} value at either end of a track cut off")
    if metric.average != rule.average:
        parts.append(f"mean of {metric.average} means")
    return f"{'; '.join(parts)} [{metric.unit}]"


def _smooth(smooth: SmoothTable) -> str:
    mesh = "joints and mesh" if smooth.mesh else "joints only, the mesh stays unfiltered"
    return f"predicted rotations through a causal {smooth.method} filter, ratio {smooth.ratio:g} for the new frame; {mesh}"
