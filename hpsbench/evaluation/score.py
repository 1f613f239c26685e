"""Scoring bare arrays under a protocol: windows, masks, roots, metrics and averages, without a store or a body."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hpsbench import __version__
from hpsbench.bodies.joints import JointSet, get_joint_set
from hpsbench.errors import ProtocolMismatch, ShapeError, UsageError
from hpsbench.evaluation.frames import FramePlan, accounting, plan_frames, sequence_of
from hpsbench.evaluation.measures import VertexValues
from hpsbench.evaluation.orientations import global_rotations
from hpsbench.evaluation.summary import Scored, build_result
from hpsbench.evaluation.values import Side
from hpsbench.metrics.motion import FOOT_VERTICES
from hpsbench.protocols.catalog import get_protocol
from hpsbench.protocols.protocol import JointSource, Protocol, Rule
from hpsbench.results.result import Result
from hpsbench.types import Array, BoolArray, FloatArray, IntArray

# Frames whose vertices are compared at once.
_BLOCK = 64
_KEYS = ("joints3d", "joint_set", "root", "vertices", "vertices_tpose", "rotmat")


def score(
    protocol: Protocol | str,
    pred: Mapping[str, Any],
    target: Mapping[str, Any],
    *,
    track: Any,
    seen: Any = None,
    scored: Any = None,
    dataset: str = "3dpw",
    frame_id: Any = None,
    sequence: Any = None,
) -> Result:
    """Score predictions against targets, both as arrays of N frames, under a protocol.

    Windows are cut from the seen frames of each track, as the protocol's rules for that dataset say; the frames that a
    window predicts and `scored` allows enter the means.

    Args:
        protocol: a protocol, or its name.
        pred: `joints3d` (N, J, 3) in metres: the joints that the protocol scores (14 of `lsp14`, say), or all joints of
            the set that they come from (the 17 of the regressor); with `joint_set`, its id, any set that has them.
            Optional: `vertices` (N, V, 3), `vertices_tpose` (N, V, 3), `rotmat` (N, 24, 3, 3) local joint rotations,
            `root` (N, 3) for a protocol whose root is none of the scored joints.
        target: the same of the ground truth. Its joints pass through half precision where the protocol says so.
        track: (N,) names of the tracks; rows of a track are in time order.
        seen: (N,) bool, frames that a system may see (what the protocol calls `valid`, say); default all.
        scored: (N,) bool, frames that may enter the mean; default all. Unseen frames never do.
        dataset: which of the protocol's datasets or settings.
        frame_id: (N,) frame numbers; tells gaps in time. Without it, unseen frames are gaps.
        sequence: (N,) video of each frame; default: track names without the person, `<sequence>_<digit>`.

    Returns:
        The result. Metrics that the arrays cannot support are in `absent`, with the reason.

    Raises:
        ProtocolMismatch: the protocol does not cover the dataset, or the joints are not those that it scores.
        ShapeError, UnitError: arrays of other shapes or units.
        MissingPrediction: scored frames without finite joints.
        UnknownName: no such protocol.
    """
    resolved = get_protocol(protocol) if isinstance(protocol, str) else protocol
    rule = resolved.rule(dataset)
    names = np.asarray(track, dtype=str)
    if names.ndim != 1:
        raise ShapeError(f"track: expected (N,) names, got {names.shape}")
    arrays = {"pred": _checked(pred, "pred", len(names)), "target": _checked(target, "target", len(names))}
    masks = {"seen": _mask(seen, "seen", len(names)), "scored": _mask(scored, "scored", len(names))}
    frames = None if frame_id is None else _numbers(frame_id, len(names))
    plan = plan_frames(rule, names, seen=masks["seen"], scored=masks["scored"], frame_id=frames)
    absent = _absent(rule, arrays["pred"], arrays["target"])
    pred_side = _side(rule, rule.pred, arrays["pred"], "pred")
    target_side = _side(rule, rule.target, arrays["target"], "target")
    found = Scored(
        protocol=resolved,
        rule=rule,
        plan=plan,
        pred=pred_side,
        target=target_side,
        vertices=_vertex_values(rule, plan, arrays, (pred_side, target_side), absent),
        sequence=sequence_of(names) if sequence is None else _texts(sequence, len(names)),
        frame_id=np.arange(len(names)) if frames is None else frames,
        accounting=accounting(
            plan,
            seen_masks={_reason(rule.seen, "seen"): masks["seen"]},
            scored_masks={_reason(rule.scored, "scored"): masks["scored"]},
        ),
        absent=absent,
    )
    return build_result(found, provenance={"hpsbench": __version__, "protocol_sha256": resolved.sha256})


def _reason(masks: tuple[str, ...], given: str) -> str:
    """What the frames are not that a given mask takes out, in the protocol's words where it has some."""
    named = [mask for mask in masks if mask not in ("all", "seen")]
    return f"not {' and '.join(named) or given}"


def _checked(arrays: Mapping[str, Any], name: str, rows: int) -> dict[str, Any]:
    """Arrays as NumPy, with as many rows as there are track names."""
    unknown = [key for key in arrays if key not in _KEYS]
    if unknown:
        raise UsageError(f"{name}: unknown key {unknown[0]!r}; known are {', '.join(_KEYS)}")
    if arrays.get("joints3d") is None:
        raise ProtocolMismatch(
            f"{name}: no joints3d. Bare arrays need them; 'score_predictions' makes joints from SMPL parameters"
        )
    found: dict[str, Any] = {}
    tails = {
        "joints3d": (None, 3),
        "root": (3,),
        "vertices": (None, 3),
        "vertices_tpose": (None, 3),
        "rotmat": (24, 3, 3),
    }
    for key, value in arrays.items():
        if key == "joint_set" or value is None:
            found[key] = value
            continue
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        tail = tails[key]
        fits = array.ndim == 1 + len(tail) and all(
            w in (None, n) for w, n in zip(tail, array.shape[1:], strict=True)
        )
        if not fits or len(array) != rows:
            wanted = ", ".join("J" if size is None else str(size) for size in tail)
            raise ShapeError(f"{name}[{key!r}]: expected ({rows}, {wanted}), got {array.shape}")
        found[key] = array
    return {key: value for key, value in found.items() if value is not None}


def _mask(mask: Any, name: str, rows: int) -> BoolArray:
    if mask is None:
        return np.ones(rows, bool)
    array = np.asarray(mask.cpu() if hasattr(mask, "cpu") else mask)
    if array.shape != (rows,) or array.dtype.kind not in "bui":
        raise ShapeError(f"{name}: expected ({rows},) bool, got {array.shape} {array.dtype}")
    return array.astype(bool)


def _numbers(frame_id: Any, rows: int) -> IntArray:
    array = np.asarray(frame_id)
    if array.shape != (rows,) or array.dtype.kind not in "ui":
        raise ShapeError(f"frame_id: expected ({rows},) integers, got {array.shape} {array.dtype}")
    return array.astype(np.int64)


def _texts(values: Any, rows: int) -> Array:
    array = np.asarray(values, dtype=str)
    if array.shape != (rows,):
        raise ShapeError(f"sequence: expected ({rows},) names, got {array.shape}")
    return array


def _absent(rule: Rule, pred: Mapping[str, Any], target: Mapping[str, Any]) -> dict[str, str]:
    """Metrics that the arrays cannot support, and why."""
    needed = {
        "vertices": "vertices",
        "vertices_tpose": "vertices_tpose",
        "feet": "vertices",
        "rotations": "rotmat",
    }
    reasons = {}
    for metric in rule.metrics:
        key = needed.get(metric.inputs)
        sides = [
            name for name, arrays in (("prediction", pred), ("target", target)) if key and key not in arrays
        ]
        if sides:
            reasons[metric.name] = f"{' and '.join(sides)} without {key}"
    return reasons


def _side(rule: Rule, source: JointSource, arrays: Mapping[str, Any], name: str) -> Side:
    """Scored joints and root of one side."""
    joints = arrays["joints3d"]
    if source.dtype == "float16":
        joints = joints.astype(np.float16).astype(np.float64)
    given = _given_set(source, joints.shape[1], arrays.get("joint_set"), name)
    rows = source.rows(given) if given is not None else list(range(len(source.joints)))
    chosen = joints[:, rows]
    rotmat = arrays.get("rotmat")
    needs_rotations = any(metric.inputs == "rotations" for metric in rule.metrics)
    vertices = arrays.get("vertices")
    needs_feet = any(metric.inputs == "feet" for metric in rule.metrics)
    return Side(
        joints=chosen,
        root=_root(source, joints, chosen, given, arrays.get("root"), name),
        rotations=global_rotations(rotmat) if needs_rotations and rotmat is not None else None,
        feet=vertices[:, list(FOOT_VERTICES)] if needs_feet and vertices is not None else None,
    )


def _given_set(source: JointSource, count: int, joint_set: str | None, name: str) -> JointSet | None:
    """The joint set that the given joints are; None: exactly the scored ones."""
    if joint_set is not None:
        given = get_joint_set(joint_set)
        if len(given) != count:
            raise ShapeError(f"{name}: {count} joints, but joint_set {given.id} has {len(given)}")
        return None if given.names == source.joints.names else given
    if count == len(source.joints):
        return None
    if source.source_set is not None and count == len(source.source_set):
        return source.source_set
    sets = [f"{len(source.joints)} ({source.joints.id})"]
    if source.source_set is not None:
        sets.append(f"{len(source.source_set)} ({source.source_set.id})")
    raise ProtocolMismatch(
        f"{name}: {count} joints; the protocol scores {' or '.join(sets)}, or name their joint_set"
    )


def _root(
    source: JointSource, joints: Array, chosen: Array, given: JointSet | None, root: Array | None, name: str
) -> FloatArray | None:
    """(N, 3) position that root alignment takes off; None for the root `none`."""
    rule = source.root
    if rule.of == "none":
        return None
    if root is not None:
        return np.asarray(root)
    if rule.of == "selected":
        return np.asarray(chosen[:, list(rule.rows)].mean(axis=1, dtype=np.float64))
    from_set = given or source.source_set
    if given is None or from_set is None:
        known = (
            f"the {len(source.source_set)} joints of {source.source_set.id}"
            if source.source_set
            else "its joint_set"
        )
        raise ProtocolMismatch(
            f"{name}: the protocol's root {rule.text} is none of the {len(source.joints)} scored joints; give "
            f"root (N, 3), or {known}"
        )
    return np.asarray(joints[:, list(rule.source_rows(from_set))].mean(axis=1, dtype=np.float64))


def _vertex_values(
    rule: Rule,
    plan: FramePlan,
    arrays: Mapping[str, Mapping[str, Any]],
    sides: tuple[Side, Side],
    absent: Mapping[str, str],
) -> VertexValues:
    """Vertex errors of the scored frames, block by block."""
    values = VertexValues(rule=rule, rows=len(plan))
    rows = np.flatnonzero(plan.scored)
    for key in ("vertices", "vertices_tpose"):
        if not any(metric.inputs == key and metric.name not in absent for metric in rule.metrics):
            continue
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            first, second = (arrays[side][key][block] for side in ("pred", "target"))
            roots = [None if side.root is None else side.root[block] for side in sides]
            values.add(block, key, first, second, (roots[0], roots[1]))
    return values
