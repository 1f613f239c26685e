"""Human3.6M in Gyeongsik Moon's JSON files, which TCMR and MPS-Net read: one set of files per subject.

`Human36M_subject{S}_{joint_3d,camera,data}.json`. Source of the layout: the public readers of TCMR and I2L-MeshNet.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hpsbench.bodies.joints import get_joint_set
from hpsbench.errors import BrokenFile, MissingRawFiles
from hpsbench.geometry.cameras import project, world_to_camera
from hpsbench.geometry.units import M_TO_MM
from hpsbench.recipes.readers._checks import check_finite, check_metres, check_shape, option
from hpsbench.recipes.readers._h36m_fits import Wanted, find_fit
from hpsbench.recipes.readers._h36m_metadata import read_metadata
from hpsbench.recipes.readers._h36m_recording import (
    Lens,
    Recording,
    action_name,
    images_are_usable,
    images_of,
    make_track,
    subject_of,
)
from hpsbench.recipes.readers._json import MAX_BYTES, load_json
from hpsbench.recipes.readers._json_sections import find_sections, read_section
from hpsbench.recipes.sequences import RawSequence, SequenceSkipped
from hpsbench.safe_io.bounded import file_size
from hpsbench.types import FloatArray, IntArray, Track

_SET = get_joint_set("h36m17_official")
_ITEM = re.compile(r"act_(\d+)_subact_(\d+)")
_IMAGE_KEYS = ("action_idx", "subaction_idx", "cam_idx", "frame_idx", "file_name", "width", "height")


class _Listed(NamedTuple):
    """Images of one trial and camera as `_data.json` lists them.

    Attributes:
        row: (n,) annotation rows, from 0.
        size: width and height.
    """

    row: IntArray
    size: tuple[int, int]


def moon_items(raw: RawSequence) -> list[str]:
    """The trials in a subject's file, `act_02_subact_01` and so on, in the order of their numbers.

    Raises:
        BrokenFile: the file is damaged or its keys are no numbers.
    """
    try:
        trials = sorted((int(action), int(subaction)) for action, subaction in find_sections(raw.path, 2))
    except ValueError as error:
        raise BrokenFile(
            f"{raw.path}: its keys should be numbers of actions and subactions ({error})"
        ) from error
    return [f"act_{action:02d}_subact_{subaction:02d}" for action, subaction in trials]


def read_moon(raw: RawSequence) -> Iterator[Track]:
    """Yield one track per camera of a trial (`raw.item`): the frames that have both joints and an image entry.

    Without `_data.json` every camera is taken to have every frame. Legs are as in the file, right one first; TCMR
    swaps them.

    Raises:
        SequenceSkipped: `_data.json` lists no image of the trial.
        MissingRawFiles, BrokenFile, UnitError: as for `read_sequence`.
    """
    found = _ITEM.fullmatch(raw.item)
    if found is None:
        find_sections(raw.path, 2)  # says what is wrong with the file, if that is why it has no trials
        raise BrokenFile(
            f"{raw.path}: holds no trials (objects of frames by numbers of action and subaction)"
        )
    action, subaction = int(found[1]), int(found[2])
    subject = subject_of(raw)
    action_name(raw, action)
    index, world = _joints(raw, action, subaction)
    listed = _listed(raw, action, subaction)
    cameras = {
        camera: (number, lens)
        for number, camera in enumerate(option(raw, "cameras", list), start=1)
        if (lens := _lens(raw, number)) is not None
    }
    if not cameras:
        raise BrokenFile(
            f"{_file(raw, 'camera')}: has no camera 1 to 4; get the file that belongs to {raw.path.name}"
        )
    tracks = 0
    for camera, (number, lens) in cameras.items():
        if listed is not None and number not in listed:
            continue
        keep = np.ones(len(index), bool) if listed is None else np.isin(index, listed[number].row)
        if not keep.any():
            continue
        tracks += 1
        recording = Recording(
            layout="moon", subject=subject, camera=camera, action=action, subaction=subaction,
            name=_name(raw, subject, action, subaction),
        )  # fmt: skip
        yield _track(
            raw, recording, number, lens, index[keep], world[keep], listed[number].size if listed else None
        )
    if not tracks:
        raise SequenceSkipped(
            "no-image-listed",
            f"{_file(raw, 'data')} lists no image of action {action}, subaction {subaction} with joints",
        )


def _track(
    raw: RawSequence,
    recording: Recording,
    number: int,
    lens: Lens,
    index: IntArray,
    world: FloatArray,
    size: tuple[int, int] | None,
) -> Track:
    joints = world_to_camera(world, lens.extrinsics)
    pixels = project(joints, lens.intrinsics)
    folder = f"s_{recording.subject:02d}_{raw.item}_ca_{number:02d}"
    images = None
    if images_are_usable(raw, recording):
        images = images_of(raw, option(raw, "moon_images", list), folder=folder)
    wanted = Wanted(
        recording.subject, recording.action, recording.subaction, recording.name, number - 1, index, lens.extrinsics
    )  # fmt: skip
    return make_track(
        raw,
        recording,
        sequence=folder,
        frame_id=index + 1,
        fields={
            "joints3d": joints,
            "keypoints2d": np.concatenate([pixels, np.ones((*pixels.shape[:2], 1))], axis=2),
            **lens.fields(len(index)),
        },
        images=images,
        fit=find_fit(raw, wanted),
        size=size,
    )


def _joints(raw: RawSequence, action: int, subaction: int) -> tuple[IntArray, FloatArray]:
    """Annotation rows (n,), sorted, and their joints (n, 17, 3) in the world, metres."""
    key = f"{action}/{subaction}"
    frames = read_section(raw.path, (str(action), str(subaction)))
    try:
        index = np.array(sorted(int(frame) for frame in frames), dtype=np.int64)
        values = np.array([frames[str(row)] for row in index.tolist()], dtype=np.float64)
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenFile(f"{raw.path}: {key} is not frame number -> 17 x 3 numbers ({error!r})") from error
    check_shape(values, (None, len(_SET), 3), key, raw)
    check_finite(values, key, raw)
    if index[0] < 0:
        raise BrokenFile(f"{raw.path}: {key} has a frame {index[0]}; frames count from 0")
    joints = values / M_TO_MM
    check_metres(joints, key, "millimetres", raw)
    _check_right_leg_first(joints, key, raw)
    return index, joints


def _check_right_leg_first(joints: FloatArray, key: str, raw: RawSequence) -> None:
    """The first hip lies on the side of the right shoulder; copies of the file with the other order go round."""
    hip, right, left = (_SET.index(name) for name in ("R_Hip", "R_Shoulder", "L_Shoulder"))
    to_right, to_left = (
        np.linalg.norm(joints[:, hip] - joints[:, shoulder], axis=-1) for shoulder in (right, left)
    )
    if np.median(to_right - to_left) > 0:
        raise BrokenFile(
            f"{raw.path}: {key}: joint 1 lies on the side of the left shoulder, so the left leg comes first; the "
            "official order has the right leg in joints 1 to 3. Get the original file"
        )


def _lens(raw: RawSequence, number: int) -> Lens | None:
    """A camera of `_camera.json`: R, t (mm), f, c with X_c = R X_w + t; None if it has none of this number."""
    path = _file(raw, "camera")
    if not path.is_file():
        raise MissingRawFiles(
            f"{path} is missing; it comes with {raw.path.name}, copy it from the same place"
        )
    entry = load_json(path).get(str(number))
    if entry is None:
        return None
    try:
        parts = {
            key: np.array(entry[key], dtype=np.float64).reshape(shape)
            for key, shape in {"R": (3, 3), "t": (3,), "f": (2,), "c": (2,)}.items()
        }
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenFile(f"{path}: camera {number} should have R, t, f and c ({error!r})") from error
    if not all(np.isfinite(part).all() for part in parts.values()):
        raise BrokenFile(f"{path}: camera {number}: R, t, f or c is not finite; download the file again")
    extrinsics = np.eye(4)
    extrinsics[:3, :3], extrinsics[:3, 3] = parts["R"], parts["t"] / M_TO_MM
    (fx, fy), (cx, cy) = parts["f"], parts["c"]
    return Lens(intrinsics=np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), extrinsics=extrinsics)


def _listed(raw: RawSequence, action: int, subaction: int) -> dict[int, _Listed] | None:
    """Camera number -> what `_data.json` lists of a trial; None if there is no such file."""
    path = _file(raw, "data")
    if not path.is_file():
        return None
    stat = path.stat()
    images = _read_images(path, stat.st_mtime_ns, stat.st_size)
    return {camera: found for (a, s, camera), found in images.items() if (a, s) == (action, subaction)}


@lru_cache(maxsize=1)
def _read_images(path: Path, changed: int, size: int) -> Mapping[tuple[int, int, int], _Listed]:
    """(action, subaction, camera) -> images. The file has an entry per image and is large, so only numbers are kept."""
    file_size(path, MAX_BYTES)
    rows: list[tuple[int, ...]] = []

    def keep(entry: dict[str, Any]) -> Any:
        if "frame_idx" not in entry:
            return entry if "images" in entry else None
        action, subaction, camera, frame, name, width, height = (entry[key] for key in _IMAGE_KEYS)
        number = int(str(name).rpartition("_")[2].partition(".")[0])
        rows.append((int(action), int(subaction), int(camera), int(frame), number, int(width), int(height)))
        return None

    try:
        content = json.loads(path.read_bytes(), object_hook=keep)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BrokenFile(
            f"{path}: not readable as a list of images ({error!r}); download it again"
        ) from error
    if not isinstance(content, dict) or not rows:
        raise BrokenFile(f"{path}: lists no images; is it the right file?")
    table = np.array(rows, dtype=np.int64)
    if (table[:, 4] != table[:, 3] + 1).any():
        wrong = table[table[:, 4] != table[:, 3] + 1][0]
        raise BrokenFile(
            f"{path}: frame_idx {wrong[3]} of action {wrong[0]}, subaction {wrong[1]}, camera {wrong[2]} belongs to "
            f"image {wrong[4]}; image numbers should be frame_idx + 1"
        )
    trials, which = np.unique(table[:, :3], axis=0, return_inverse=True)
    found = {}
    for trial, (action, subaction, camera) in enumerate(trials.tolist()):
        own = table[which.ravel() == trial]
        found[action, subaction, camera] = _Listed(np.sort(own[:, 3]), (int(own[0, 5]), int(own[0, 6])))
    return found


def _file(raw: RawSequence, kind: str) -> Path:
    return raw.path.with_name(raw.path.name.replace("_joint_3d.json", f"_{kind}.json"))


def _name(raw: RawSequence, subject: int, action: int, subaction: int) -> str | None:
    """Base name of the official files, if `metadata.xml` happens to be there."""
    path = raw.root / "metadata.xml"
    return read_metadata(path).names.get((subject, action, subaction)) if path.is_file() else None
