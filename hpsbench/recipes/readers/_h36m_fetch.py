"""Human3.6M as h36m-fetch processes it: `S<subject>/<Action>-<subaction>/annot.h5`, all cameras one after another.

Source of the layout: anibali/h36m-fetch `process_all.py`, its first and its later versions.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from hpsbench.bodies.joints import get_joint_set
from hpsbench.errors import BrokenFile
from hpsbench.geometry.units import M_TO_MM
from hpsbench.recipes.readers._checks import check_finite, check_metres, check_shape, option
from hpsbench.recipes.readers._h36m_fits import Wanted, find_fit
from hpsbench.recipes.readers._h36m_metadata import read_metadata
from hpsbench.recipes.readers._h36m_recording import (
    Lens,
    Recording,
    camera_number,
    images_are_usable,
    images_of,
    make_track,
    subject_of,
)
from hpsbench.recipes.sequences import RawSequence
from hpsbench.safe_io.hdf5 import Hdf5File
from hpsbench.types import Array, FloatArray, IntArray, Track

_JOINTS = len(get_joint_set("h36m32_raw"))
_POSES = {"pose/2d": 2, "pose/3d": 3, "pose/3d-univ": 3}
_FIELDS = {"pose/3d": "joints3d", "pose/3d-univ": "joints3d_univ"}


def read_fetch(raw: RawSequence) -> Iterator[Track]:
    """Yield one track per camera of a file: the frames that it has, which may lie unevenly.

    Files of the first versions have no `pose/3d`; their `intrinsics` belong to `pose/3d-univ`.

    Raises:
        BrokenFile, UnitError: as for `read_sequence`.
    """
    with Hdf5File(raw.path, ["pose/2d", "pose/3d-univ", "camera", "frame"]) as file:
        arrays = {key: file.read(key) for key in (*_POSES, "camera", "frame") if key in file}
        rows = len(arrays["frame"])
        for key in ("frame", "camera"):
            check_shape(arrays[key], (rows or None,), key, raw)
            arrays[key] = _whole(arrays[key], key, raw)
        cameras = [str(camera) for camera in np.unique(arrays["camera"]).tolist()]
        lenses = {camera: _lens(file, camera) for camera in cameras}
    for key, size in _POSES.items():
        if key in arrays:
            check_shape(arrays[key], (rows, _JOINTS, size), key, raw)
            check_finite(np.asarray(arrays[key], dtype=np.float64), key, raw)
    action, subaction = _trial(raw)
    for camera in cameras:
        camera_number(raw, camera)
        yield _track(raw, camera, action, subaction, lenses[camera], arrays)


def _track(
    raw: RawSequence,
    camera: str,
    action: int,
    subaction: int | None,
    intrinsics: Mapping[str, FloatArray],
    arrays: Mapping[str, Array],
) -> Track:
    subject = subject_of(raw)
    recording = Recording(
        layout="h36m-fetch", subject=subject, camera=camera, action=action, subaction=subaction,
        name=_name(raw, subject, action, subaction),
    )  # fmt: skip
    own = np.flatnonzero(arrays["camera"] == int(camera))
    own = own[np.argsort(arrays["frame"][own], kind="stable")]
    frame_id = np.asarray(arrays["frame"][own], dtype=np.int64)
    if (np.diff(frame_id) <= 0).any() or frame_id[0] < 1:
        raise BrokenFile(
            f"{raw.path}: frame of camera {camera} should be different numbers from 1; it begins with {frame_id[:3]}"
        )
    fields: dict[str, Array] = {}
    for key, name in _FIELDS.items():
        if key in arrays:
            fields[name] = np.asarray(arrays[key][own], dtype=np.float64) / M_TO_MM
            check_metres(fields[name], key, "millimetres", raw)
    pixels = np.asarray(arrays["pose/2d"][own], dtype=np.float64)
    fields["keypoints2d"] = np.concatenate([pixels, np.ones((len(own), _JOINTS, 1))], axis=2)
    extrinsics = _extrinsics(raw, subject, camera)
    fields |= Lens(intrinsics=intrinsics["intrinsics"], extrinsics=extrinsics).fields(len(own))
    if "intrinsics-univ" in intrinsics:
        fields["intrinsics_univ"] = np.broadcast_to(intrinsics["intrinsics-univ"], (len(own), 3, 3))
    folder = raw.name.rpartition("/")[0]
    images = None
    if images_are_usable(raw, recording):
        images = images_of(raw, option(raw, "fetch_images", list), folder=folder, camera=camera)
    wanted = Wanted(
        subject, action, subaction, recording.name, camera_number(raw, camera), frame_id - 1, extrinsics
    )
    return make_track(
        raw,
        recording,
        sequence=f"S{subject}_{raw.path.parent.name}.{camera}",
        frame_id=frame_id,
        fields=fields,
        images=images,
        fit=find_fit(raw, wanted),
    )


def _lens(file: Hdf5File, camera: str) -> dict[str, FloatArray]:
    """Matrices (3, 3) of a camera's `intrinsics`, and `intrinsics-univ` if there are any.

    The four numbers are fx, cx, fy, cy: the two unknowns of x, then those of y.
    """
    found = {}
    for key in ("intrinsics", "intrinsics-univ"):
        if key == "intrinsics-univ" and f"{key}/{camera}" not in file:
            continue
        values = np.asarray(file.read(f"{key}/{camera}"), dtype=np.float64).ravel()
        if len(values) != 4 or not np.isfinite(values).all():
            raise BrokenFile(f"{file.path}: {key}/{camera} should be four numbers, found {values}")
        fx, cx, fy, cy = values
        found[key] = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    return found


def _whole(values: Array, key: str, raw: RawSequence) -> IntArray:
    """(n,) int64 of numbers that are whole, in whatever type."""
    try:
        numbers = np.asarray(values, dtype=np.float64)
        if np.isfinite(numbers).all() and (numbers == np.floor(numbers)).all():
            return numbers.astype(np.int64)
    except ValueError:
        pass
    raise BrokenFile(f"{raw.path}: {key} should be whole numbers; it begins with {values[:3]}")


def _trial(raw: RawSequence) -> tuple[int, int | None]:
    """Action and subaction from the folder's name (`Directions-1`, in first versions `Directions`).

    The numbers in the file are not used: first versions count actions from 1, later ones as `metadata.xml` does.
    """
    name, _, number = raw.path.parent.name.partition("-")
    actions = option(raw, "actions", dict)
    if name not in actions or not (number.isdigit() or number == ""):
        raise BrokenFile(
            f"{raw.path}: its folder should be called <action>-<subaction> or <action>, with one of {', '.join(actions)}"
        )
    return int(actions[name]), int(number) if number else None


def _extrinsics(raw: RawSequence, subject: int, camera: str) -> FloatArray | None:
    """Of `metadata.xml`, if it happens to be there; the files themselves have none."""
    path = raw.root / "metadata.xml"
    return read_metadata(path).camera(subject, camera).extrinsics if path.is_file() else None


def _name(raw: RawSequence, subject: int, action: int, subaction: int | None) -> str | None:
    path = raw.root / "metadata.xml"
    if subaction is None or not path.is_file():
        return None
    return read_metadata(path).names.get((subject, action, subaction))
