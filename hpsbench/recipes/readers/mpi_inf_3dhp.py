"""MPI-INF-3DHP: `S*/Seq*/annot.mat` (training: 14 cameras, 28 joints), `TS*/annot_data.mat` (test: 17 joints).

Source of the layouts: the dataset's readme and the public readers of SPIN, VIBE, TCMR, mmhuman3d and mmpose.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hpsbench.bodies.joints import get_joint_set
from hpsbench.errors import BrokenFile
from hpsbench.geometry.units import M_TO_MM
from hpsbench.recipes.readers._calibration import Camera, read_calibration
from hpsbench.recipes.readers._checks import check_finite, check_metres, check_shape, option
from hpsbench.recipes.readers._images import Images, find_images
from hpsbench.recipes.sequences import RawSequence
from hpsbench.safe_io import load_matlab
from hpsbench.safe_io.hdf5 import Hdf5File
from hpsbench.types import Array, BoolArray, FloatArray, Track

_TRAIN_ARRAYS = {"annot2": 2, "annot3": 3, "univ_annot3": 3}  # coordinates of a joint
_TEST_ARRAYS = {**_TRAIN_ARRAYS, "valid_frame": 0, "activity_annotation": 0}
_NAMES = {"annot3": "joints3d", "univ_annot3": "joints3d_univ"}
_JOINTS = "mpii3d28_official"
_TEST_JOINTS = "mpii3d_test17_official"


def read_sequence(raw: RawSequence) -> Iterator[Track]:
    """Yield one track per camera of a training sequence, or the one track of a test sequence.

    - `frame_id`: number of the image, which counts from 1; row i of the file belongs to image i + 1, also in videos.
      The file's `frames` and `cameras` are not used: every public reader counts rows and cells.
    - `joints3d`: metres, camera coordinates, true scale. `joints3d_univ`: the same poses on a skeleton of one height,
      which does not project onto the keypoints.
    - Both sets of joints are in the order of the training set's 28; the test set annotates 17 of them, the others are
      NaN in 3D and have confidence 0 in 2D.
    - `keypoints2d`: annotated, hence confidence 1, inside the image or not.
    - `valid`: the test set's `valid_frame`; true throughout in training, which has no such flag.
    - `activity`: the test set's `activity_annotation` (training: absent).
    - `intrinsics`, `extrinsics`: training only; the test set comes without calibration.
    - `has_image`: whether the image of this frame was there; true throughout where a camera has no images at all.

    A file may hold more rows than the dataset officially has frames (`options.frames`); only those are read.

    Raises:
        BrokenFile: the file is damaged, lacks a key, has another shape or values that are not finite.
        UnitError: the 3D joints are not in millimetres.
        MissingRawFiles: `camera.calibration` is not beside the annotations.
    """
    if raw.path.name == "annot_data.mat":
        yield _test_track(raw)
    else:
        yield from _train_tracks(raw)


def _train_tracks(raw: RawSequence) -> Iterator[Track]:
    cells = {key: value.ravel() for key, value in load_matlab(raw.path, keys=[*_TRAIN_ARRAYS]).items()}
    counts = {key: len(value) for key, value in cells.items()}
    if len(set(counts.values())) != 1 or any(value.dtype != object for value in cells.values()):
        raise BrokenFile(f"{raw.path}: expected cell arrays with one cell per camera, found {counts}")
    cameras = read_calibration(raw.path.with_name("camera.calibration"))
    for number in range(counts["annot2"]):
        arrays = {key: cells[key][number] for key in cells}
        for key in cells:
            cells[key][number] = None  # a sequence of 14 cameras is large: keep no cell longer than needed
        if all(np.size(values) == 0 for values in arrays.values()):
            continue
        if number not in cameras:
            raise BrokenFile(
                f"{raw.path.with_name('camera.calibration')}: has no camera {number}, which annot.mat has"
            )
        yield _train_track(raw, str(number), cameras[number], arrays)


def _train_track(raw: RawSequence, camera: str, lens: Camera, arrays: Mapping[str, Array]) -> Track:
    subject, sequence = raw.path.parts[-3:-1]
    rows = _official_rows(raw, f"{subject}_{sequence}", len(arrays["annot2"]))
    joints = len(get_joint_set(_JOINTS))
    points = {}
    for key, size in _TRAIN_ARRAYS.items():
        check_shape(arrays[key], (len(arrays["annot2"]) or None, joints * size), f"{key}[{camera}]", raw)
        values = np.asarray(arrays[key][:rows], dtype=np.float64).T  # MATLAB keeps a column's rows together
        points[key] = values.reshape(joints, size, rows).transpose(2, 0, 1)
    frame_id = np.arange(1, rows + 1)
    images = _find_images(raw, "train_images", camera)
    fields = _common_fields(points, images.present(frame_id), f"[{camera}]", raw)
    fields |= {
        "valid": np.ones(rows, dtype=bool),
        "intrinsics": np.broadcast_to(lens.intrinsics, (rows, 3, 3)),
        "extrinsics": np.broadcast_to(lens.extrinsics, (rows, 4, 4)),
    }
    return Track(
        sequence=f"{subject}_{sequence}_video_{camera}",
        person=0,
        split=raw.split,
        frame_id=frame_id,
        fields=fields,
        fps=_constant(raw, "fps", f"{subject}_{sequence}"),
        image_source=images.source,
        width=lens.width,
        height=lens.height,
        subject=subject,
        camera=camera,
    )


def _test_track(raw: RawSequence) -> Track:
    with Hdf5File(raw.path, [*_TEST_ARRAYS]) as file:
        arrays = {key: file.read(key) for key in _TEST_ARRAYS}
    subject = raw.path.parent.name
    frames = len(arrays["valid_frame"])
    given = get_joint_set(_TEST_JOINTS)
    for key, size in _TEST_ARRAYS.items():
        check_shape(arrays[key], (frames or None, 1, *([len(given), size] if size else [])), key, raw)
    rows = _official_rows(raw, subject, frames)
    points = {key: np.asarray(arrays[key][:rows, 0], dtype=np.float64) for key in _TRAIN_ARRAYS}
    frame_id = np.arange(1, rows + 1)
    images = _find_images(raw, "test_images", "")
    width, height = images.size() or _constant(raw, "sizes", subject) or (None, None)
    fields = _widened(_common_fields(points, images.present(frame_id), "", raw))
    fields |= {
        "valid": _flags(arrays["valid_frame"][:rows, 0], raw),
        "activity": np.asarray(arrays["activity_annotation"][:rows, 0], dtype=np.float32),
    }
    return Track(
        sequence=subject,
        person=0,
        split=raw.split,
        frame_id=frame_id,
        fields=fields,
        fps=_constant(raw, "fps", subject),
        image_source=images.source,
        width=width,
        height=height,
        subject=subject,
    )


def _flags(values: Array, raw: RawSequence) -> BoolArray:
    """(T,) `valid_frame`, which is 0 or 1 in whatever type."""
    if not np.isin(values, (0, 1)).all():
        wrong = int(np.flatnonzero(~np.isin(values, (0, 1)))[0])
        raise BrokenFile(f"{raw.path}: valid_frame should be 0 or 1, found {values[wrong]} in row {wrong}")
    return np.asarray(values, dtype=bool)


def _common_fields(
    points: Mapping[str, FloatArray], has_image: Array, where: str, raw: RawSequence
) -> dict[str, Array]:
    """Fields that both layouts have; points in pixels and millimetres."""
    fields: dict[str, Array] = {}
    for key, values in points.items():
        check_finite(values, f"{key}{where}", raw)
        if key in _NAMES:
            metres = np.empty(values.shape, dtype=np.float32)
            np.divide(values, M_TO_MM, out=metres, casting="same_kind")
            check_metres(metres, f"{key}{where}", "millimetres", raw)
            fields[_NAMES[key]] = metres
    rows, joints, _ = points["annot2"].shape
    keypoints = np.ones((joints, 3, rows))
    keypoints[:, :2] = points["annot2"].transpose(1, 2, 0)
    fields["keypoints2d"] = keypoints.transpose(2, 0, 1)
    fields["has_image"] = has_image
    return fields


def _widened(fields: Mapping[str, Array]) -> dict[str, Array]:
    """The test set's 17 joints among the training set's 28; the others are NaN, and keypoints of confidence 0."""
    joints = get_joint_set(_JOINTS)
    rows = joints.indices(get_joint_set(_TEST_JOINTS).names)
    wide = dict(fields)
    for key, missing in {"keypoints2d": 0.0, "joints3d": np.nan, "joints3d_univ": np.nan}.items():
        wide[key] = np.full((len(fields[key]), len(joints), 3), missing, dtype=fields[key].dtype)
        wide[key][:, rows] = fields[key]
    return wide


def _find_images(raw: RawSequence, layouts: str, camera: str) -> Images:
    folder = raw.name.rpartition("/")[0]
    wanted = [
        f"{folder}/{layout.replace('{camera}', camera)}" if folder else layout
        for layout in option(raw, layouts, list)
    ]
    return find_images(raw.root, wanted)


def _official_rows(raw: RawSequence, name: str, rows: int) -> int:
    official = _constant(raw, "frames", name)
    return rows if official is None else min(rows, int(official))


def _constant(raw: RawSequence, table: str, name: str) -> Any:
    """A constant of this sequence, from a table of the recipe's options; None where it has none."""
    return option(raw, table, dict).get(name)
