"""The values of a processed file as a store keeps them: missing joints and poses are marked, boxes put in their place."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hpsbench.bodies.joints import get_joint_set
from hpsbench.errors import UnitError
from hpsbench.recipes.imports.facts import ProcessedFacts
from hpsbench.recipes.imports.files import Processed
from hpsbench.recipes.imports.tracks import ROWS_AT_ONCE
from hpsbench.types import Array, BoolArray, FloatArray, IntArray

_SETS_BY_SIZE = {14: "common14", 24: "spin_gt24", 25: "insta25_hmmr", 49: "spin49"}
_TWINS = {
    "spin49": 2
}  # rows that a body of SMPL puts on one point: its OpenPose half repeats joints of the other
_LARGEST_BODY = 20.0  # metres

DEGENERATE = "joints3d: frames of which all joints are one point"
FILLED = "joints3d: joints filled with the negative pelvis, or with zeros"
UNKNOWN_3D = "joints3d: joints of confidence 0 or not finite"
UNKNOWN_2D = "keypoints2d: keypoints that are not finite"
NO_SMPL = "full_pose, betas: frames of zeros, not finite, or said to have none"


def joint_set_of(file: Processed, column: str, facts: ProcessedFacts) -> str | None:
    """Joint set of a column of joints, by its size; None where no set of that size circulates."""
    if column not in file.columns:
        return None
    size = file.columns[column].row_shape[0]
    known = [*facts.keypoints, *facts.joints.values(), *facts.also]
    return next((name for name in known if len(get_joint_set(name)) == size), _SETS_BY_SIZE.get(size))


def joints_field_of(file: Processed, facts: ProcessedFacts, split: str) -> str:
    """The store's field for the file's 3D joints."""
    joint_set = joint_set_of(file, "joints3d", facts)
    return facts.also.get(joint_set or "") or facts.joints_field.get(split, "joints3d")


def missing_joints(joints: FloatArray, joint_set: str | None) -> tuple[BoolArray, BoolArray]:
    """Which joints are no measurements: (T,) frames of one point, and (T, J) joints filled with one value.

    Joints that a dataset lacks are zeros from which the pelvis was subtracted with all the others: in one frame they
    have exactly the same coordinates, which measured joints never have (beside the pairs that some joint sets repeat).

    Args:
        joints: (T, J, 3), in the file's own precision.
        joint_set: id, which tells how many rows may be one point.
    """
    alike = (joints[:, :, None] == joints[:, None]).all(axis=3).sum(axis=2)
    return alike[:, 0] == joints.shape[1], alike > _TWINS.get(joint_set or "", 1)


@dataclass(frozen=True, slots=True)
class RowReader:
    """Reads rows of a processed file as fields of the store.

    Attributes:
        file: the processed file.
        facts: about its dataset.
        joints_field: `joints3d` or `joints3d_univ`.
    """

    file: Processed
    facts: ProcessedFacts
    joints_field: str = "joints3d"

    def read(self, spans: Sequence[tuple[int, int]]) -> tuple[dict[str, Array], Counter[str]]:
        """Fields of some spans of rows, and what was marked as missing in them.

        Raises:
            UnitError: joints that span more than 20 m.
        """
        fields: dict[str, Array] = {}
        counts: Counter[str] = Counter()
        for column, read in (
            ("keypoints2d", self._keypoints),
            ("joints3d", self._joints),
            ("full_pose", self._smpl),
        ):
            if column in self.file.columns:
                fields |= read(spans, counts)
        if "valid" in self.file.columns:
            fields["valid"] = self._rows("valid", spans).reshape(-1).astype(bool)
        return fields, counts

    def _rows(self, column: str, spans: Sequence[tuple[int, int]]) -> Array:
        return np.concatenate([self.file.columns[column].read(*span) for span in spans])

    def _keypoints(self, spans: Sequence[tuple[int, int]], counts: Counter[str]) -> dict[str, Array]:
        points = self._rows("keypoints2d", spans).astype(np.float32)
        broken = ~np.isfinite(points).all(axis=2)
        points[broken] = 0
        counts[UNKNOWN_2D] += int(broken.sum())
        return {"keypoints2d": points}

    def _joints(self, spans: Sequence[tuple[int, int]], counts: Counter[str]) -> dict[str, Array]:
        values = self._rows("joints3d", spans)
        joints, unknown = values[..., :3], ~np.isfinite(values[..., :3]).all(axis=2)
        if values.shape[2] == 4:
            unknown |= values[..., 3] == 0
        one_point, filled = missing_joints(joints, joint_set_of(self.file, "joints3d", self.facts))
        counts[DEGENERATE] += int(one_point.sum())
        counts[FILLED] += int((filled & ~one_point[:, None]).sum())
        counts[UNKNOWN_3D] += int((unknown & ~filled).sum())
        joints = joints.astype(np.float32)
        joints[unknown | filled] = np.nan
        known = ~np.isnan(joints).all(axis=(1, 2))
        if known.any():
            spread = np.nanmax(joints[known], axis=1) - np.nanmin(joints[known], axis=1)
            if spread.max() > _LARGEST_BODY:
                raise UnitError(
                    f"{self.file.path}: joints of one person span {spread.max():.0f} m in rows {spans[0][0]} to "
                    f"{spans[-1][1] - 1}; are these millimetres? This layout has metres"
                )
        return {self.joints_field: joints}

    def _smpl(self, spans: Sequence[tuple[int, int]], counts: Counter[str]) -> dict[str, Array]:
        pose = self._rows("full_pose", spans).astype(np.float32)
        betas = self._rows("betas", spans).astype(np.float32) if "betas" in self.file.columns else None
        both = pose if betas is None else np.concatenate([pose, betas], axis=1)
        has_smpl = np.isfinite(both).all(axis=1) & (both != 0).any(axis=1)
        if "has_smpl" in self.file.columns:
            has_smpl &= self._rows("has_smpl", spans).astype(bool)
        counts[NO_SMPL] += int((~has_smpl).sum())
        pose[~has_smpl] = np.nan
        fields = {"full_pose": pose, "has_smpl": has_smpl}
        if betas is not None:
            betas[~has_smpl] = np.nan
            fields["betas"] = betas
        return fields


@dataclass(frozen=True, slots=True)
class Boxes:
    """Where the box of each frame lies in the file.

    Attributes:
        rows: (N,) row of `bbox` of each frame; -1 where it has none that can be trusted.
        extra: rows that `bbox` has more than there are frames.
        untrusted: frames whose box is given up.
        note: what was found and done, or "".
    """

    rows: IntArray
    extra: int = 0
    untrusted: int = 0
    note: str = ""


def place_boxes(file: Processed, track_starts: Sequence[int]) -> Boxes | None:
    """Find the boxes of a file's frames; None where it has none.

    The reference code cuts every array but `bbox` where a track begins without detections: so many boxes of infinite size
    are put before the track's own, and all later boxes are shifted against their frames. Where such rows are exactly
    as many as `bbox` is too long, and lie where tracks begin, taking them out puts every box in its place. Otherwise
    boxes are given up from the first such row on (in the whole file, if there is none).

    Args:
        file: the processed file.
        track_starts: rows of the file at which runs of rows begin.
    """
    if "bbox" not in file.columns:
        return None
    column = file.columns["bbox"]
    fine, shifts = np.ones(column.rows, bool), np.zeros(column.rows, bool)
    for begin in range(0, column.rows, ROWS_AT_ONCE):
        end = min(begin + ROWS_AT_ONCE, column.rows)
        fine[begin:end], shifts[begin:end] = _judge(column.read(begin, end))
    extra, empty = column.rows - file.rows, np.flatnonzero(shifts)
    if not extra and not len(empty):
        lost = int((~fine).sum())
        note = f"bbox: {lost} frames have no box of finite size" if lost else ""
        return Boxes(np.where(fine, np.arange(file.rows), -1), untrusted=lost, note=note)
    before = np.unique(empty - np.arange(len(empty)))  # the frames before which empty boxes stand
    if extra == len(empty) and np.isin(before, track_starts).all():
        rows = np.flatnonzero(~shifts)
        return Boxes(
            np.where(fine[rows], rows, -1),
            extra=extra,
            untrusted=int((~fine[rows]).sum()),
            note=f"bbox has {extra} rows more than there are frames: {extra} empty boxes before tracks that begin without "
            "a detection were taken out. The features of later frames may come from shifted boxes",
        )
    first = int(empty[0]) if len(empty) else 0
    frames = np.arange(file.rows)
    trusted = np.where((frames < first) & fine[: file.rows], frames, -1)
    lost = int((trusted < 0).sum())
    what = f"has {extra} rows more than there are frames" if extra else f"holds {len(empty)} empty boxes"
    return Boxes(
        trusted,
        extra=extra,
        untrusted=lost,
        note=f"bbox {what}, and it cannot be told which frames the boxes from row {first} on belong to: {lost} frames "
        "have no box. Their features may come from shifted boxes",
    )


def _judge(boxes: FloatArray) -> tuple[BoolArray, BoolArray]:
    """Which rows are boxes, and which are the rows of zeros that were put before a track (150 / 0 is their size)."""
    finite = np.isfinite(boxes)
    sized = np.where(finite, boxes, 0)[:, 2:] > 0
    fine: BoolArray = np.asarray(np.concatenate([finite, sized], axis=1).all(axis=1))
    zero = boxes[:, :2] == 0
    shifts: BoolArray = np.asarray(np.concatenate([zero, ~finite[:, 2:]], axis=1).all(axis=1))
    return fine, shifts


def read_boxes(
    file: Processed, boxes: Boxes | None, spans: Sequence[tuple[int, int]], otherwise: Sequence[float] | None
) -> FloatArray:
    """(T, 4) boxes of some spans of frames: centre, width and height in pixels; NaN where there is none.

    Args:
        file: the processed file.
        boxes: where they lie in it; None where it has none.
        spans: rows of the file.
        otherwise: the box of every frame where the file has none, as its images are crops; None: no box.
    """
    parts = []
    for start, stop in spans:
        part = np.full((stop - start, 4), np.nan if otherwise is None else otherwise, dtype=np.float32)
        if boxes is not None:
            rows = boxes.rows[start:stop]
            held = rows >= 0
            part[~held] = np.nan
            if held.any():
                first = int(rows[held][0])
                part[held] = file.columns["bbox"].read(first, int(rows[held][-1]) + 1)[rows[held] - first]
        parts.append(part)
    return np.concatenate(parts)


def feature_blocks(file: Processed, rows: IntArray) -> Iterator[FloatArray]:
    """Features of some rows of the file, in runs of rows that lie together."""
    column = file.columns["features"]
    cuts = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
    for first, stop in pairwise(cuts):
        yield np.asarray(column.read(int(rows[first]), int(rows[stop - 1]) + 1), dtype=np.float32)
