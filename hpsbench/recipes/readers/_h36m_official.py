"""Human3.6M as its site gives it: `D3_Positions_mono/<name>.<camera>.cdf`, masks, videos and `metadata.xml`.

Source of the layout: the public readers of SPIN, mmhuman3d, mmpose and human_dynamics.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hpsbench.bodies.joints import get_joint_set
from hpsbench.errors import BrokenFile
from hpsbench.geometry.cameras import project_h36m
from hpsbench.geometry.units import M_TO_MM
from hpsbench.recipes.readers._checks import check_finite, check_metres, option
from hpsbench.recipes.readers._h36m_fits import Wanted, find_fit
from hpsbench.recipes.readers._h36m_metadata import Camera, read_metadata
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
from hpsbench.safe_io.bounded import broken_if_unreadable, file_size
from hpsbench.safe_io.hdf5 import Hdf5File
from hpsbench.types import Array, FloatArray, Track

_JOINTS = len(get_joint_set("h36m32_raw"))
_LARGEST = 256 << 20  # bytes of a .cdf; the longest recording has 3 MB
_MASK_BYTES = 16 << 20
_FEATURES, _FOLDER = "MyPoseFeatures", "D3_Positions_mono"


class _Place(NamedTuple):
    """Where the files of one recording lie.

    Attributes:
        subject_folder: under the raw root, with forward slashes.
        name: base name of the recording, such as `Directions 1`.
        camera: name of the camera.
    """

    subject_folder: str
    name: str
    camera: str

    @property
    def stem(self) -> str:
        return f"{self.name}.{self.camera}"


def read_official(raw: RawSequence) -> Iterator[Track]:
    """Yield the one track of a `.cdf` of 3D joints: every annotated frame.

    Raises:
        MissingRawFiles: there is no `metadata.xml`.
        BrokenFile, UnitError: a file is damaged, or is not what its name says.
    """
    subject = subject_of(raw)
    place = _place(raw)
    metadata = read_metadata(raw.root / "metadata.xml")
    action, subaction = metadata.recording(subject, place.name)
    lens = metadata.camera(subject, place.camera)
    recording = Recording(
        layout="official", subject=subject, camera=place.camera, action=action, subaction=subaction, name=place.name
    )  # fmt: skip
    fields = _poses(raw, lens)
    rows = len(fields["joints3d"])
    fields |= Lens(**lens._asdict()).fields(rows)
    masks = _mask_boxes(raw, place, rows)
    if masks is not None:
        fields["bbox_xyxy"] = masks
    images = None
    if images_are_usable(raw, recording):
        images = images_of(
            raw,
            option(raw, "official_images", list),
            folder=place.subject_folder,
            subject=subject,
            name=place.name,
            name_=place.name.replace(" ", "_"),
            camera=place.camera,
        )
    fit = find_fit(
        raw,
        Wanted(subject, action, subaction, place.name, camera_number(raw, place.camera), np.arange(rows), lens.extrinsics),
    )  # fmt: skip
    yield make_track(
        raw,
        recording,
        sequence=f"S{subject}_{place.stem.replace(' ', '_')}",
        frame_id=np.arange(1, rows + 1),
        fields=fields,
        images=images,
        fit=fit,
    )


def _place(raw: RawSequence) -> _Place:
    name, _, camera = raw.stem.rpartition(".")
    found = re.match(r"(?:.*/)?S\d{1,2}(?=/)", raw.name)
    if not name or found is None:
        raise BrokenFile(
            f"{raw.path}: expected S<subject>/.../<action>.<camera>.cdf, as the dataset's archives unpack"
        )
    return _Place(found[0], name, camera)


def _poses(raw: RawSequence, lens: Camera) -> dict[str, Array]:
    """3D and 2D joints; as many rows as both have. 2D joints that are not there are projected, distortion and all."""
    given = _read_pose(raw.path, 3, raw)
    joints = _metres(given)
    check_metres(joints, "Pose", "millimetres", raw)
    flat_path, universal_path = (_beside(raw, name) for name in ("D2_Positions", f"{_FOLDER}_universal"))
    if flat_path.is_file():
        flat = _read_pose(flat_path, 2, raw)
    else:
        flat = project_h36m(np.asarray(given, dtype=np.float64) / M_TO_MM, lens.intrinsics, lens.distortion)
    rows = min(len(joints), len(flat))
    keypoints = np.ones((rows, _JOINTS, 3), dtype=flat.dtype)
    keypoints[..., :2] = flat[:rows]
    fields: dict[str, Array] = {"joints3d": joints[:rows], "keypoints2d": keypoints}
    if universal_path.is_file():
        universal = _metres(_read_pose(universal_path, 3, raw)[:rows])
        missing = np.full((rows - len(universal), _JOINTS, 3), np.nan, dtype=universal.dtype)
        fields["joints3d_univ"] = np.concatenate([universal, missing]) if len(missing) else universal
    return fields


def _metres(poses: FloatArray) -> FloatArray:
    """From millimetres, in the type of the file; a quotient of two float32 is the same in float64, rounded after."""
    metres: FloatArray = np.divide(poses, poses.dtype.type(M_TO_MM))
    return metres


def _beside(raw: RawSequence, folder: str) -> Path:
    """The same recording in another folder of features; where it is nowhere, the place where it should be.

    Tools call the folders `D2_Positions` or `Poses_D2_Positions`, and put them into `MyPoseFeatures` or right beside it.
    """
    own = raw.path.parent
    subject = own.parent.parent if own.parent.name == _FEATURES else own.parent
    names = [own.name.replace(_FOLDER, folder), folder, f"Poses_{folder}"]
    places = [
        parent / name / raw.path.name
        for parent in (own.parent, subject, subject / _FEATURES)
        for name in names
    ]
    return next((place for place in places if place.is_file()), places[0])


def _read_pose(path: Path, size: int, raw: RawSequence) -> FloatArray:
    """(N, 32, size) the variable `Pose` of a CDF file, which has shape (1, N, 32 x size); float32 stays what it is."""
    import cdflib

    file_size(path, _LARGEST)
    with broken_if_unreadable(path, "CDF file"), cdflib.CDF(path) as file:
        values = np.asarray(file.varget("Pose"))
        values = values if values.dtype == np.float32 else values.astype(np.float64)
    if values.ndim == 3 and len(values) == 1:
        values = values[0]
    if values.ndim != 2 or values.shape[1] != _JOINTS * size or len(values) == 0:
        raise BrokenFile(
            f"{path}: Pose has shape {values.shape}, expected (1, frames, {_JOINTS * size}); is it in the right folder?"
        )
    poses = values.reshape(-1, _JOINTS, size)
    check_finite(poses, f"Pose of {path.parent.name}", raw)
    return poses


def _mask_boxes(raw: RawSequence, place: _Place, rows: int) -> FloatArray | None:
    """(T, 4) boxes of the person's masks in every n-th row (`options.mask_step`), NaN elsewhere; None without masks.

    A mask is stored as (width, height). The far corner is the last pixel of the mask plus one, as in SPIN.
    """
    for pattern in option(raw, "masks", list):
        path = raw.root / place.subject_folder / pattern.format(stem=place.stem)
        if path.is_file():
            break
    else:
        return None
    boxes = np.full((rows, 4), np.nan)
    with Hdf5File(path, ["Masks"]) as file:
        chosen = range(0, min(rows, max(file.shape("Masks"))), option(raw, "mask_step", int))
        for row, mask in zip(chosen, file.read_cells("Masks", chosen, max_bytes=_MASK_BYTES), strict=True):
            if mask.ndim != 2:
                raise BrokenFile(f"{path}: mask {row} has shape {mask.shape}, expected (width, height)")
            person = mask == 1
            across, down = (np.flatnonzero(person.any(axis=axis)) for axis in (1, 0))
            if len(across):
                boxes[row] = across[0], down[0], across[-1] + 1, down[-1] + 1
    return boxes
