"""Joint sets by name: which joints a set has, in which order, and how to get from one set to another.

The sets are facts (`joint_sets.csv`), and so is what each row means (`joint_meanings.toml`). Nothing here needs
torch; functions on joint values work on NumPy arrays and torch tensors alike.
"""

import csv
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from hpsbench.errors import ShapeError, UnknownName

_FOLDER = Path(__file__).resolve().parent
_Values = TypeVar("_Values", bound=Any)


@dataclass(frozen=True, slots=True)
class JointSet:
    """Named joints in a fixed order.

    Attributes:
        id: as in `joint_sets.csv`, e.g. `lsp14`.
        names: the set's own names, in order.
        meanings: what each row is, in the vocabulary that all sets share; the names where nothing else is known.

    Example:
        >>> LSP14.index("Left Hip"), LSP14.index("left_hip")
        (3, 3)
    """

    id: str
    names: tuple[str, ...]
    meanings: tuple[str, ...] = ()
    _rows: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        meanings = self.meanings or self.names
        if len(meanings) != len(self.names):
            raise ShapeError(f"joint set {self.id}: {len(self.names)} names but {len(meanings)} meanings")
        rows = {meaning: row for row, meaning in enumerate(meanings)}
        rows.update({name: row for row, name in enumerate(self.names)})
        object.__setattr__(self, "meanings", meanings)
        object.__setattr__(self, "_rows", MappingProxyType(rows))

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def __reduce__(self) -> tuple[Any, ...]:
        return JointSet, (self.id, self.names, self.meanings)

    def index(self, name: str) -> int:
        """Row of a joint, by the set's own name or by its meaning (`left_hip` finds `Left Hip` in `lsp14`).

        Raises:
            UnknownName: the set has no such joint.
        """
        if name not in self._rows:
            raise UnknownName(f"joint of {self.id}", name, choices=self._rows)
        return self._rows[name]

    def indices(self, names: Iterable[str]) -> list[int]:
        """Rows of several joints, in the order asked for. Raises UnknownName."""
        return [self.index(name) for name in names]

    def midpoint(self, joints: _Values, a: str, b: str) -> _Values:
        """The point halfway between two joints: (..., J, 3) -> (..., 3), in the unit of `joints`.

        Raises:
            UnknownName: the set has no such joint.
            ShapeError: `joints` has another number of joints than this set.
        """
        self._check(joints)
        middle: _Values = (joints[..., self.index(a), :] + joints[..., self.index(b), :]) * 0.5
        return middle

    def select(self, joints: _Values, names: Iterable[str]) -> _Values:
        """Joints by name: (..., J, C) -> (..., n, C). Raises UnknownName, ShapeError."""
        self._check(joints)
        chosen: _Values = joints[..., self.indices(names), :]
        return chosen

    @property
    def flip(self) -> tuple[int, ...]:
        """Left-right permutation: after mirroring, `new[j] = old[flip[j]]`. Its own inverse."""
        rows = {meaning: row for row, meaning in enumerate(self.meanings)}
        return tuple(rows.get(_mirrored(meaning), row) for row, meaning in enumerate(self.meanings))

    def _check(self, joints: Any) -> None:
        if joints.ndim < 2 or joints.shape[-2] != len(self):
            found = tuple(joints.shape)
            raise ShapeError(f"joints of {self.id}: expected (..., {len(self)}, C), got {found}")


def _mirrored(meaning: str) -> str:
    if "left_" in meaning:
        return meaning.replace("left_", "right_")
    return meaning.replace("right_", "left_")


@cache
def _facts() -> Mapping[str, Any]:
    with (_FOLDER / "joint_meanings.toml").open("rb") as file:
        return tomllib.load(file)


@cache
def _sets() -> Mapping[str, JointSet]:
    names: dict[str, list[str]] = {}
    with (_FOLDER / "joint_sets.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            names.setdefault(row["joint_set"], []).append(row["name"])
    meaning, same = _facts()["meaning"], _facts()["same_rows"]
    sets = {
        key: JointSet(key, tuple(rows), tuple(meaning[same.get(key, key)].split()))
        for key, rows in names.items()
    }
    layer, extra = sets["smpl45_smplx_layer"], sets["j_regressor_extra9"]
    sets["smpl54"] = JointSet("smpl54", layer.names + extra.names, layer.meanings + extra.meanings)
    return MappingProxyType(sets)


def list_joint_sets() -> list[str]:
    """Ids of all joint sets: those of `joint_sets.csv`, and `smpl54` (the SMPL layer's 45 and the 9 extra joints)."""
    return sorted(_sets())


def get_joint_set(id: str) -> JointSet:
    """The joint set of this id. Raises UnknownName, which suggests the nearest id."""
    if id not in _sets():
        raise UnknownName("joint set", id, choices=_sets())
    return _sets()[id]


def convert_indices(
    src: JointSet | str, dst: JointSet | str, *, via: JointSet | str | None = None
) -> list[int]:
    """For every row of `dst`, the row of `src` that is the same point; -1 where `src` has none.

    Rows are matched by meaning. A point that the source lacks is filled by one that stands for it (OpenPose's right
    knee for the annotated one), unless that source row already fills its own row. Where published code maps rows
    otherwise, its map is declared in `joint_meanings.toml` and holds here too.

    Args:
        src: source set or its id.
        dst: destination set or its id.
        via: a set to go through. Human3.6M's and MPI-INF-3DHP's two head points are read as VIBE and TCMR read them
            (head, top of the head); `via="h36m17_spin_selection"` gives SPIN's reading (jaw, head).

    Raises:
        UnknownName: an id that is no joint set.

    Example:
        >>> convert_indices("h36m17_regressor", "lsp14")
        [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10]
    """
    source = get_joint_set(src) if isinstance(src, str) else src
    target = get_joint_set(dst) if isinstance(dst, str) else dst
    between = via or _facts()["via"].get(f"{source.id} -> {target.id}")
    if between is not None:
        first, second = convert_indices(source, between), convert_indices(between, target)
        return [first[row] if row >= 0 else -1 for row in second]
    declared = _facts()["declared"].get(f"{source.id} -> {target.id}")
    return list(declared) if declared is not None else _by_meaning(source, target)


def _by_meaning(source: JointSet, target: JointSet) -> list[int]:
    rows = {meaning: row for row, meaning in enumerate(source.meanings)}
    taken = {rows[meaning] for meaning in target.meanings if meaning in rows}
    found = []
    for meaning in target.meanings:
        stand_ins = (rows[near] for near in _near().get(meaning, ()) if near in rows)
        free = (row for row in stand_ins if row not in taken)
        found.append(rows[meaning] if meaning in rows else next(free, -1))
    return found


@cache
def _near() -> Mapping[str, tuple[str, ...]]:
    table: dict[str, tuple[str, ...]] = {}
    for meaning, stand_ins in _facts()["near"].items():
        for side in ("left", "right"):
            table[meaning.format(side=side)] = tuple(name.format(side=side) for name in stand_ins)
    return MappingProxyType(table)


def convert_joints(joints: _Values, src: JointSet | str, dst: JointSet | str) -> _Values:
    """Values of `src`'s joints as `dst`'s: (..., J, C) -> (..., J', C).

    Raises:
        UnknownName: an id that is no joint set, or a joint of `dst` that `src` lacks.
        ShapeError: `joints` has another number of joints than `src`.
    """
    source = get_joint_set(src) if isinstance(src, str) else src
    target = get_joint_set(dst) if isinstance(dst, str) else dst
    rows = convert_indices(source, target)
    missing = [name for name, row in zip(target.names, rows, strict=True) if row < 0]
    if missing:
        raise UnknownName(f"joint of {source.id}", ", ".join(missing), choices=source.names)
    source._check(joints)
    converted: _Values = joints[..., rows, :]
    return converted


_BODY = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)


def _hand(wrist: int, first: int) -> tuple[int, ...]:
    """Parents of a hand's 15 joints: five fingers of three joints, each finger hanging on the wrist."""
    return tuple(
        wrist if knuckle == 0 else first + 3 * finger + knuckle - 1
        for finger in range(5)
        for knuckle in range(3)
    )


PARENTS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "smpl24": (*_BODY, 20, 21),
        "smplh52": (*_BODY, *_hand(20, 22), *_hand(21, 37)),
        "smplx55": (*_BODY, 15, 15, 15, *_hand(20, 25), *_hand(21, 40)),
    }
)
"""Kinematic parents of SMPL's, SMPL-H's and SMPL-X's joints; -1 is the root."""

_RIGID, _NEARLY = 0.02, 0.10
RIGID_LIMBS: Mapping[str, tuple[tuple[str, str, float], ...]] = MappingProxyType(
    {
        "h36m32_raw": tuple(
            (f"{side}{near}", f"{side}{far}", tolerance)
            for side in ("Left", "Right")
            for near, far, tolerance in (
                ("Arm", "ForeArm", _RIGID), ("ForeArm", "Hand", _RIGID), ("UpLeg", "Leg", _NEARLY), ("Leg", "Foot", _RIGID)
            )
        ),
        "h36m17_official": tuple(
            (f"{side}_{near}", f"{side}_{far}", tolerance)
            for side in ("L", "R")
            for near, far, tolerance in (
                ("Shoulder", "Elbow", _RIGID), ("Elbow", "Wrist", _RIGID), ("Hip", "Knee", _NEARLY), ("Knee", "Ankle", _RIGID)
            )
        ),
        **{
            joint_set: tuple(
                (f"{side}_{near}", f"{side}_{far}", _RIGID)
                for side in ("left", "right")
                for near, far in (("shoulder", "elbow"), ("elbow", "wrist"), ("knee", "ankle"))
            )
            for joint_set in ("mpii3d28_official", "mpii3d_test17_official")
        },
    }
)  # fmt: skip
"""Limbs of annotated skeletons that keep their length: two joints, and by how much it may differ. MPI-INF-3DHP's hips do
not turn with the thigh: left and right thighs of one published frame differ by half of their length, while arms and shins
agree to a hundredth of a millimetre.
"""

SMPL24 = get_joint_set("smpl24")
SMPLH52 = get_joint_set("smplh52")
SMPLX55 = get_joint_set("smplx55")
SMPL54 = get_joint_set("smpl54")
SPIN49 = get_joint_set("spin49")
SPIN_GT24 = get_joint_set("spin_gt24")
H36M17 = get_joint_set("h36m17_regressor")
H36M17_OFFICIAL = get_joint_set("h36m17_official")
LSP14 = get_joint_set("lsp14")
COMMON14 = get_joint_set("common14")
MPII3D_TEST17 = get_joint_set("mpii3d_test17_official")

SMPL_PICKED_VERTICES: Sequence[int] = (
    *(332, 6260, 2800, 4071, 583),  # nose, right and left eye, right and left ear
    *(3216, 3226, 3387, 6617, 6624, 6787),  # left big toe, small toe, heel; the right ones
    *(2746, 2319, 2445, 2556, 2673),  # left thumb, index, middle, ring, pinky tips
    *(6191, 5782, 5905, 6016, 6133),  # the right ones
)
"""Vertices that smplx takes as rows 24..44 of `smpl45_smplx_layer`."""

SPIN49_FROM_SMPL54: Sequence[int] = tuple(convert_indices(SMPL54, SPIN49))
"""Rows of `smpl54` that make SPIN's 49 joints (JOINT_MAP of SPIN `constants.py`)."""

H36M_TO_J17: Sequence[int] = (6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10, 0, 7, 9)
"""Rows of `h36m17_regressor` that make LSP-14 and pelvis, spine, jaw (SPIN `constants.py`)."""

J24_TO_J17: Sequence[int] = (*range(12), 12, 18, 14, 16, 17)
"""Rows of `spin_gt24` in the same order; the 14th is `Head (H36M)`, not the top of the head."""
