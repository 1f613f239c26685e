"""Joints of any joint set as a drawn person: which belong together, and where each lies on a figure of a person."""

from collections.abc import Sequence
from functools import cache

from hpsbench.bodies.joints import JointSet, get_joint_set, list_joint_sets

# The figure looks at the reader: its right is on the left. Units of a drawing 100 wide and 190 high.
_MIDDLE = {
    "top_of_head": (50, 10),
    "head_h36m": (50, 16),
    "head": (50, 20),
    "nose": (50, 24),
    "jaw_h36m": (50, 30),
    "jaw": (50, 30),
    "neck": (50, 38),
    "thorax": (50, 44),
    "spine3": (50, 56),
    "spine2": (50, 68),
    "spine_h36m": (50, 68),
    "spine": (50, 68),
    "spine1": (50, 82),
    "pelvis": (50, 94),
    "mid_hip": (50, 94),
}
_SIDE = {
    "collar": (42, 42),
    "shoulder": (33, 44),
    "elbow": (22, 69),
    "wrist": (12, 91),
    "hand": (8, 101),
    "hip": (41, 97),
    "knee": (38, 134),
    "ankle": (36, 170),
    "foot": (31, 178),
    "big_toe": (29, 180),
    "small_toe": (25, 177),
    "heel": (39, 178),
    "eye": (46, 20),
    "ear": (42, 22),
}
_BONES = (
    ("pelvis|mid_hip|*hip", "*hip"),
    ("*hip", "*knee"),
    ("*knee", "*ankle"),
    ("*ankle", "*foot|*big_toe"),
    ("neck|thorax", "*collar"),
    ("*collar|neck|thorax", "*shoulder"),
    ("*shoulder", "*elbow"),
    ("*elbow", "*wrist"),
    ("*wrist", "*hand"),
    ("pelvis|mid_hip", "spine1|spine|spine_h36m|spine2|spine3|thorax|neck"),
    ("spine1", "spine2"),
    ("spine2|spine|spine_h36m", "spine3|thorax|neck"),
    ("spine3", "neck|thorax"),
    ("thorax", "neck"),
    ("neck", "head|jaw|jaw_h36m|nose|top_of_head|head_h36m"),
    ("jaw_h36m|jaw|head", "top_of_head|head_h36m"),
)


def generic(meaning: str) -> str:
    """A joint's meaning without the family that it comes from: `smpl_left_hip` -> `left_hip`."""
    for family in ("smpl_", "op_"):
        meaning = meaning.removeprefix(family)
    return meaning


def position(name: str) -> tuple[float, float] | None:
    """Where a joint lies on the figure, by its meaning or by the name that some joint set gives it; None: nowhere."""
    known = generic(_meanings().get(name, name))
    if known in _MIDDLE:
        return _MIDDLE[known]
    side, _, part = known.partition("_")
    if part not in _SIDE or side not in ("left", "right"):
        return None
    x, y = _SIDE[part]
    return (x, y) if side == "right" else (100 - x, y)


def bones(joints: JointSet | Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of rows of a joint set (or of joint names) to draw a line between."""
    names = joints.meanings if isinstance(joints, JointSet) else [_meanings().get(j, j) for j in joints]
    rows: dict[str, int] = {}
    for row, name in enumerate(names):
        rows.setdefault(generic(name), row)
    found: list[tuple[int, int]] = []
    for first, second in _BONES:
        for side in ("left_", "right_") if "*" in first + second else ("",):
            pair = [_first(part.replace("*", side), rows) for part in (first, second)]
            if pair[0] is not None and pair[1] is not None and pair[0] != pair[1]:
                found.append((pair[0], pair[1]))
    if not {"pelvis", "mid_hip"} & set(rows) and {"left_hip", "right_hip"} <= set(rows):
        found.append((rows["left_hip"], rows["right_hip"]))
        found += [
            (rows[f"{s}_hip"], rows[f"{s}_shoulder"]) for s in ("left", "right") if f"{s}_shoulder" in rows
        ]
    return list(dict.fromkeys(found))


def _first(names: str, rows: dict[str, int]) -> int | None:
    return next((rows[name] for name in names.split("|") if name in rows), None)


@cache
def _meanings() -> dict[str, str]:
    """Every set's own joint names -> what they mean."""
    found: dict[str, str] = {}
    for key in list_joint_sets():
        own = get_joint_set(key)
        for name, meaning in zip(own.names, own.meanings, strict=True):
            found.setdefault(name, meaning)
    return found
