"""Checking a clip store: does it keep the format's word, and are its values plausible?

Errors break the format or cannot be true; warnings are odd enough to be looked at.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hpsbench.bodies.joints import convert_indices
from hpsbench.errors import HpsbenchError
from hpsbench.geometry.cameras import project, project_h36m
from hpsbench.store import layout
from hpsbench.store.arrays import RowArray
from hpsbench.store.clips import COLUMNS, MAY_MISS
from hpsbench.store.limbs import Change, LimbLengths
from hpsbench.store.reader import ClipStore, TrackRows, open_store
from hpsbench.types import Array, BoolArray, FloatArray, IntArray

LONGEST_BODY = 4.0  # metres between two joints of one person
LARGEST_BETA = 20.0
# Radians; axis-angle vectors longer than this are another unit, but that of the root, which may go round and round.
LARGEST_ROTATION = 4 * np.pi
KEYPOINT_TOLERANCE = 0.25  # detected keypoints to projected joints, relative to the person's size
SWAPPED_SHARE = 0.2  # of a track's frames that may lie further away


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something wrong with raw files or a store.

    Attributes:
        severity: `error` or `warning`.
        kind: what sort of problem, as recipes name it in `defects.explains`, or `format`, `view`, `features`.
        where: file, array or track.
        text: what was found.
        causes: likely causes, from the recipe's known defects.
    """

    severity: Literal["error", "warning"]
    kind: str
    where: str
    text: str
    causes: tuple[str, ...] = ()

    def to_json_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def verify_store(path: str | Path, progress: Callable[[int, int, str], None] | None = None) -> list[Problem]:
    """Check a store's format, clip table, values, views and feature sets; an empty list means that all is well.

    Values are read track by track, so memory use does not grow with the store.

    Args:
        path: folder of the store.
        progress: called as (tracks done, tracks, name).
    """
    try:
        store = open_store(path)
        clips = store.clips
    except HpsbenchError as error:
        return [_error("format", str(path), str(error))]
    problems = [*_check_files(store), *_check_arrays(store), *_check_clips(store)]
    if any(problem.severity == "error" for problem in problems):
        return problems
    tracks = clips["track"].nunique()
    limbs = LimbLengths()
    for done, track in enumerate(store.tracks(), start=1):
        try:
            problems += _check_track(store, track, limbs)
        except HpsbenchError as error:
            problems.append(_error("format", track.track, str(error)))
        if progress is not None:
            progress(done, tracks, track.track)
    problems += [_limb_problem(change) for change in limbs.changes()]
    return problems + list(_check_views(store)) + list(_check_features(store))


def _error(kind: str, where: str, text: str) -> Problem:
    return Problem(severity="error", kind=kind, where=where, text=text)


def _warning(kind: str, where: str, text: str) -> Problem:
    return Problem(severity="warning", kind=kind, where=where, text=text)


def _check_files(store: ClipStore) -> Iterator[Problem]:
    """Nothing but metadata and chunks may lie in a local group."""
    if "://" in store.location:
        return
    for file in sorted(store.path.rglob("*")):
        parts = file.relative_to(store.path).parts
        if file.is_file() and file.name != layout.NODE and "c" not in parts[:-1]:
            yield _error("format", "/".join(parts), "foreign file in the store; remove it")


def _check_arrays(store: ClipStore) -> Iterator[Problem]:
    rows = len(store) if "frame_id" in store.frames else -1
    if rows < 0:
        yield _error("format", "frames", "there is no frame_id")
        return
    if store.attrs.get("rows") != rows:
        yield _error(
            "format", "root", f"attribute rows is {store.attrs.get('rows')}, but there are {rows} frames"
        )
    for name, array in store.frames.items():
        if len(array) != rows:
            yield _error("format", f"frames/{name}", f"{len(array)} rows, expected {rows}")
        known = layout.FIELDS.get(name)
        if known is not None:
            fits = array.dtype == np.dtype(known[0]) and array.ndim == 1 + len(known[1])
            fits = fits and all(
                isinstance(w, str) or w == n for w, n in zip(known[1], array.shape[1:], strict=True)
            )
            if not fits:
                yield _error(
                    "format",
                    f"frames/{name}",
                    f"{array.dtype} {array.shape}, expected {known[0]} (N, *{known[1]})",
                )
        names = array.attrs.get("joint_names")
        if names is not None and len(names) != array.shape[1]:
            yield _error("format", f"frames/{name}", f"{len(names)} joint names for {array.shape[1]} joints")


def _check_clips(store: ClipStore) -> Iterator[Problem]:
    clips = store.clips
    for name in COLUMNS:
        if name not in MAY_MISS and clips[name].isna().any():
            yield _error("format", f"clips/{name}", "has missing values")
    for name in ("clip_id", "start"):
        if not clips[name].is_unique:
            yield _error("format", f"clips/{name}", "values occur twice")
    ends = (clips["start"] + clips["length"]).tolist()
    if (
        clips["start"].tolist() != [0, *ends[:-1]]
        or (ends and ends[-1] != len(store))
        or (clips["length"] < 1).any()
    ):
        yield _error("format", "clips", f"clips do not cover the {len(store)} rows one after another")
        return
    frame_id: IntArray = np.asarray(store.frames["frame_id"])
    first, step, length = (clips[name].to_numpy() for name in ("first_frame", "step", "length"))
    number = np.arange(len(frame_id)) - np.repeat(clips["start"].to_numpy(), length)
    wrong = frame_id != np.repeat(first, length) + np.repeat(step, length) * number
    if wrong.any():
        yield _error(
            "format", "frames/frame_id", f"{int(wrong.sum())} rows do not follow first_frame + step * i"
        )
    several = clips.groupby("track")["split"].nunique()
    for track in several[several > 1].index:
        yield _error("format", str(track), "lies in several splits")


def _check_track(store: ClipStore, track: TrackRows, limbs: LimbLengths) -> Iterator[Problem]:
    values: dict[str, Array] = {name: array[track.rows] for name, array in store.frames.items()}
    valid: BoolArray = np.asarray(values.get("valid", np.ones(len(track.rows), dtype=bool)))
    yield from _check_finite(store, track, values, valid)
    for name in ("joints3d", "joints3d_univ"):
        if name in values:
            yield from _check_joints(track, name, values[name][valid], store.frames[name], limbs)
    for name, limit in (("full_pose", LARGEST_ROTATION), ("betas", LARGEST_BETA)):
        if name in values:
            size = np.abs(values[name][valid])
            if name == "full_pose":
                size = np.linalg.norm(size.reshape(-1, 24, 3), axis=2)[:, 1:]
            size = size[np.isfinite(size)]
            if size.size and size.max() > limit:
                text = f"values up to {size.max():.1f}, at most {limit:.1f} expected"
                yield _error("joint-range", f"{track.track}: {name}", text)
    if {"joints3d", "keypoints2d", "intrinsics"} <= set(values):
        yield from _check_projection(store, track, values, valid)


def _check_finite(
    store: ClipStore, track: TrackRows, values: dict[str, Array], valid: BoolArray
) -> Iterator[Problem]:
    for name, rows in values.items():
        if rows.dtype.kind != "f":
            continue
        broken = ~np.isfinite(rows).reshape(len(rows), -1).all(axis=1)
        if store.frames[name].attrs.get("missing") == "nan":
            broken &= ~_missing(rows)
        if (broken & valid).any():
            yield _error(
                "non-finite", f"{track.track}: {name}", f"{int((broken & valid).sum())} rows are not finite"
            )
        elif broken.any():
            yield _warning(
                "non-finite",
                f"{track.track}: {name}",
                f"{int(broken.sum())} rows that are not valid are not finite",
            )


def _missing(rows: FloatArray) -> BoolArray:
    """(T,) rows of a field that may be missing, and nothing worse.

    That is: all NaN, or NaN in nothing but what no row of the track has.
    """
    flat = rows.reshape(len(rows), -1)
    nan = np.isnan(flat)
    whole = np.isfinite(flat[:, ~nan.all(axis=0)])
    missing: BoolArray = np.logical_or(whole.all(axis=1), nan.all(axis=1))
    return missing


def _check_joints(
    track: TrackRows, name: str, joints: FloatArray, array: RowArray, limbs: LimbLengths
) -> Iterator[Problem]:
    """A body's size, and limbs that keep their length: the skeleton of a track is one person's."""
    known = joints[:, np.isfinite(joints).all(axis=(0, 2))]
    if known.size == 0:
        return
    where = f"{track.track}: {name}"
    span = float((known.max(axis=1) - known.min(axis=1)).max())
    if span > LONGEST_BODY:
        yield _error("joint-range", where, f"a body spans {span:.1f} m; is the unit metres?")
    subject = track.clips["subject"].iloc[0]
    person = subject if isinstance(subject, str) else None
    change = limbs.add(track.track, person, name, str(array.attrs.get("joint_set")), joints)
    if change is not None:
        yield _limb_problem(change)


def _limb_problem(change: Change) -> Problem:
    said = _error if change.gross else _warning
    return said("limb-length", f"{change.where}: {change.field}", change.text)


def _check_projection(
    store: ClipStore, track: TrackRows, values: dict[str, Array], valid: BoolArray
) -> Iterator[Problem]:
    """Projected joints lie near the keypoints.

    Of detected ones a detector's slips are allowed for; those that are projections (attribute `projected_within`) differ
    by a few pixels.
    """
    sets = [store.frames[name].attrs.get("joint_set") for name in ("joints3d", "keypoints2d")]
    if None in sets or store.frames["joints3d"].attrs.get("frame") != "camera":
        return
    source = np.array(convert_indices(str(sets[0]), str(sets[1])))
    common = source >= 0
    points = values["keypoints2d"][valid][:, common].astype(np.float64)
    joints = values["joints3d"][valid][:, source[common]].astype(np.float64)
    if len(points) == 0 or not np.isfinite(joints).all() or (joints[..., 2] <= 0).all():
        return
    pixels = _projected(joints, values, valid)
    size = np.linalg.norm(pixels.max(axis=1) - pixels.min(axis=1), axis=1)
    distance = np.linalg.norm(pixels - points[..., :2], axis=2)
    seen = points[..., 2] > 0.3
    frames = seen.sum(axis=1) >= 3
    if not frames.any():
        return
    mean = (distance * seen).sum(axis=1)[frames] / seen.sum(axis=1)[frames]
    within = store.frames["keypoints2d"].attrs.get("projected_within")
    limit = KEYPOINT_TOLERANCE * size[frames] if within is None else float(within)
    far = mean > limit
    if far.mean() > SWAPPED_SHARE:
        allowed = f"{KEYPOINT_TOLERANCE:.0%} of the person's size" if within is None else f"{within:g} px"
        text = (
            f"in {int(far.sum())} of {len(far)} frames the projected joints lie more than {allowed} from the keypoints "
            f"(median {np.median(mean):.0f} px)"
        )
        yield _error("reprojection", track.track, text)


def _projected(joints: FloatArray, values: dict[str, Array], valid: BoolArray) -> FloatArray:
    """(T, J, 2) pixels, through the lens where it is known."""
    intrinsics = values["intrinsics"][valid].astype(np.float64)
    lens = values.get("distortion")
    pixels: FloatArray = (
        project(joints, intrinsics)
        if lens is None or not np.isfinite(lens[valid]).all()
        else project_h36m(joints, intrinsics, lens[valid].astype(np.float64))
    )
    return pixels


def _check_views(store: ClipStore) -> Iterator[Problem]:
    splits = {
        split: np.concatenate([t.rows for t in store.tracks(split)])
        for split in sorted(set(store.clips["split"]))
    }
    for name, view in store.views.items():
        boxes, keep = view.bbox_cxcywh, view.keep
        if keep.shape != (len(store),) or boxes.shape != (len(store), 4):
            yield _error(
                "view", f"views/{name}", f"keep {keep.shape} and boxes {boxes.shape} for {len(store)} rows"
            )
            continue
        known = np.isfinite(boxes).all(axis=1)
        if (boxes[known][:, 2:] <= 0).any():
            yield _error("view", f"views/{name}", "a box has no size")
        rule = view.attrs.get("box") or {}
        boxed = rule.get("rule", "none") != "none" and rule.get("ends") != "hold"
        if boxed and view.attrs.get("boxless", "drop") == "drop" and (keep & ~known).any():
            yield _error("view", f"views/{name}", f"{int((keep & ~known).sum())} kept rows have no box")
        for split, counts in (view.attrs.get("counts") or {}).items():
            found = {
                "rows": len(splits.get(split, [])),
                "kept": int(keep[splits[split]].sum()) if split in splits else 0,
            }
            stated = {key: counts.get(key) for key in found}
            if stated != found:
                yield _error("view", f"views/{name}", f"{split}: counts say {stated}, found {found}")


def _check_features(store: ClipStore) -> Iterator[Problem]:
    for name in store.incomplete_features:
        yield _warning(
            "features", f"features/{name}", "incomplete; run the command that makes it again to resume"
        )
    for name in store.features:
        try:
            features = store.features[name]
            rows = features.row
            if (
                (np.diff(rows) <= 0).any()
                or len(rows) != len(features)
                or (len(rows) and rows[-1] >= len(store))
            ):
                yield _error(
                    "features", f"features/{name}", "row does not increase, or points outside the store"
                )
            broken = 0
            for start in range(0, len(features), layout.FEATURE_CHUNK_ROWS):
                block = features.data[start : start + layout.FEATURE_CHUNK_ROWS]
                broken += int((~np.isfinite(block).all(axis=1)).sum())
            if broken:
                yield _error("features", f"features/{name}", f"{broken} features are not finite")
        except HpsbenchError as error:
            yield _error("features", f"features/{name}", str(error))
