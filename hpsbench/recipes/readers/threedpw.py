"""3DPW: `sequenceFiles/<split>/<sequence>.pkl`, Python-2 pickles; one moving camera, one or two people.

Source of the layout: the dataset's readme and the public readers of VIBE, TCMR, SPIN and mmhuman3d.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hpsbench.errors import BrokenFile
from hpsbench.geometry.cameras import rotate_to_camera, world_to_camera
from hpsbench.geometry.rotations import axis_angle_to_rotmat, rotmat_to_axis_angle
from hpsbench.recipes.readers._checks import check_finite, check_metres, check_pixels, check_radians
from hpsbench.recipes.readers._jpeg import jpeg_size
from hpsbench.recipes.sequences import RawSequence
from hpsbench.safe_io import load_pickle
from hpsbench.types import Array, FloatArray, Track

_GENDERS = {"m": "male", "f": "female", "male": "male", "female": "female", "neutral": "neutral"}
# The readme and the files disagree on two names.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "poses": ("poses",),
    "trans": ("trans",),
    "betas": ("betas",),
    "genders": ("genders", "gender"),
    "poses2d": ("poses2d", "poses2D"),
    "jointPositions": ("jointPositions",),
    "campose_valid": ("campose_valid",),
    "cam_poses": ("cam_poses",),
    "cam_intrinsics": ("cam_intrinsics",),
    "img_frame_ids": ("img_frame_ids",),
}
_PER_PERSON = ("poses", "trans", "betas", "genders", "poses2d", "jointPositions", "campose_valid")


def read_sequence(raw: RawSequence) -> Iterator[Track]:
    """Yield one track per person: every image of the sequence, 30 frames a second, metres, radians, pixels.

    - `full_pose`: the root is rotated into the camera (R_c from the left), the other joints are as in the file.
    - `joints3d`: the file's `jointPositions` in camera coordinates.
    - `transl`: the file's world translation, untouched: a translation in the camera needs the rest position of the
      root joint, which depends on the body model. With it, t_cam = R_c (J0 + transl) + t_c - J0, where R_c and t_c are
      in `extrinsics`.
    - `frame_id`: number of the image, 0 ... F-1. The file's `img_frame_ids` are rows of its 60 Hz arrays and are not
      used as image numbers.
    - `keypoints2d`: with the detector's own confidences; all zero where fewer than six joints were detected.

    Raises:
        BrokenFile: the file is damaged, lacks a key, or its arrays disagree in length.
    """
    document = _checked(load_pickle(raw.path, encoding="latin1"), raw)
    frames = len(document["cam_poses"])
    extrinsics = np.asarray(document["cam_poses"], dtype=np.float64)
    width, height = _image_size(raw)
    for person in range(len(document["poses"])):
        yield Track(
            sequence=raw.stem,
            person=person,
            split=raw.split,
            frame_id=np.arange(frames),
            fields=_fields(document, person, extrinsics),
            fps=raw.fps,
            image_source=f"imageFiles/{raw.stem}/image_{{frame_id:05d}}.jpg",
            width=width,
            height=height,
            gender=_gender(document["genders"][person], raw),
        )


def _fields(document: Mapping[str, Any], person: int, extrinsics: FloatArray) -> dict[str, Array]:
    frames = len(extrinsics)
    pose = np.array(document["poses"][person], dtype=np.float64)
    pose[:, :3] = rotmat_to_axis_angle(rotate_to_camera(axis_angle_to_rotmat(pose[:, :3]), extrinsics))
    joints = np.asarray(document["jointPositions"][person], dtype=np.float64).reshape(frames, 24, 3)
    betas = np.asarray(document["betas"][person], dtype=np.float64).ravel()[:10]
    return {
        "full_pose": pose,
        "betas": np.broadcast_to(betas, (frames, 10)),
        "transl": np.asarray(document["trans"][person], dtype=np.float64),
        "joints3d": world_to_camera(joints, extrinsics),
        "keypoints2d": np.asarray(document["poses2d"][person], dtype=np.float64).transpose(0, 2, 1),
        "valid": np.asarray(document["campose_valid"][person]).astype(bool).ravel(),
        "has_smpl": np.ones(frames, dtype=bool),
        "intrinsics": np.broadcast_to(
            np.asarray(document["cam_intrinsics"], dtype=np.float64), (frames, 3, 3)
        ),
        "extrinsics": extrinsics,
    }


def _checked(content: Any, raw: RawSequence) -> dict[str, Any]:
    """The entries that are used, under one name each, with the shapes that the layout promises."""
    if not isinstance(content, dict):
        raise BrokenFile(f"{raw.path}: expected a dictionary, found {type(content).__name__}")
    document = {name: _entry(content, names, raw) for name, names in _NAMES.items()}
    people = len(document["poses"])
    if people == 0:
        raise BrokenFile(f"{raw.path}: 'poses' holds nobody")
    for name in _PER_PERSON:
        if not isinstance(document[name], list | tuple | np.ndarray) or len(document[name]) != people:
            raise BrokenFile(f"{raw.path}: {name!r} should be a list of {people} people, as 'poses' is")
    frames = len(document["img_frame_ids"])
    if frames == 0:
        raise BrokenFile(f"{raw.path}: 'img_frame_ids' is empty; the sequence has no images")
    _check_shape(document["cam_poses"], (frames, 4, 4), "cam_poses", raw)
    _check_shape(document["cam_intrinsics"], (3, 3), "cam_intrinsics", raw)
    shapes = {
        "poses": (frames, 72),
        "trans": (frames, 3),
        "poses2d": (frames, 3, 18),
        "jointPositions": (frames, 72),
    }
    for person in range(people):
        for name, shape in shapes.items():
            _check_shape(document[name][person], shape, f"{name}[{person}]", raw)
        if np.size(document["campose_valid"][person]) != frames:
            found = np.size(document["campose_valid"][person])
            raise BrokenFile(f"{raw.path}: campose_valid[{person}] has {found} entries for {frames} frames")
        if np.size(document["betas"][person]) < 10:
            found = np.size(document["betas"][person])
            raise BrokenFile(f"{raw.path}: betas[{person}] has {found} numbers, at least 10 are needed")
        _check_values(document, person, raw)
    return document


def _check_values(document: Mapping[str, Any], person: int, raw: RawSequence) -> None:
    """Numbers, metres and radians in the frames that the file calls valid."""
    valid = np.asarray(document["campose_valid"][person]).astype(bool).ravel()
    checked = {
        f"{name}[{person}]": document[name][person]
        for name in ("poses", "trans", "poses2d", "jointPositions")
    }
    for name, given in {**checked, "cam_poses": document["cam_poses"]}.items():
        values = np.asarray(given, dtype=np.float64)
        if not valid.all():
            values = np.where(valid.reshape(-1, *[1] * (values.ndim - 1)), values, 0.0)
        check_finite(values, name, raw)
    check_finite(
        np.asarray(document["betas"][person], dtype=np.float64).reshape(1, -1), f"betas[{person}]", raw
    )
    points = np.asarray(document["poses2d"][person], dtype=np.float64).transpose(0, 2, 1)
    check_pixels(points, f"poses2d[{person}]", raw)
    if valid.any():
        rows = slice(None) if valid.all() else valid
        joints = np.asarray(document["jointPositions"][person], dtype=np.float64)[rows].reshape(-1, 24, 3)
        check_metres(joints, f"jointPositions[{person}]", "metres", raw)
        check_radians(np.asarray(document["poses"][person], dtype=np.float64)[rows], f"poses[{person}]", raw)


def _entry(content: Mapping[str, Any], names: tuple[str, ...], raw: RawSequence) -> Any:
    for name in names:
        if name in content:
            return content[name]
    raise BrokenFile(f"{raw.path}: key {names[0]!r} is missing; found {', '.join(sorted(map(str, content)))}")


def _check_shape(values: Any, shape: tuple[int, ...], name: str, raw: RawSequence) -> None:
    found = np.shape(values)
    if found != shape:
        raise BrokenFile(f"{raw.path}: {name} should have shape {shape}, found {found}")


def _gender(value: Any, raw: RawSequence) -> str:
    text = value.decode() if isinstance(value, bytes) else str(value)
    if text not in _GENDERS:
        raise BrokenFile(f"{raw.path}: gender {text!r} is none of {', '.join(_GENDERS)}")
    return _GENDERS[text]


def _image_size(raw: RawSequence) -> tuple[int | None, int | None]:
    """From the header of the first image; unknown where the images have not been unpacked."""
    first = raw.root / "imageFiles" / raw.stem / "image_00000.jpg"
    return jpeg_size(first) if first.is_file() else (None, None)
