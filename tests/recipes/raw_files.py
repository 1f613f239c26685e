"""Small raw datasets in their official layouts, written without any code of the package.

Run by path from conftest files (`runpy.run_path`), since test folders are not packages.
"""

import io
import json
import pickle
import runpy
import struct
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np

REST = np.array(
    [
        [0, 0, 0], [0.06, -0.09, 0], [-0.06, -0.09, 0], [0, 0.11, 0], [0.1, -0.47, 0], [-0.1, -0.47, 0], [0, 0.25, 0],
        [0.09, -0.89, 0], [-0.09, -0.89, 0], [0, 0.3, 0], [0.12, -0.95, 0.12], [-0.12, -0.95, 0.12], [0, 0.51, 0],
        [0.08, 0.42, 0], [-0.08, 0.42, 0], [0, 0.6, 0.03], [0.17, 0.45, 0], [-0.17, 0.45, 0], [0.43, 0.44, 0],
        [-0.43, 0.44, 0], [0.68, 0.45, 0], [-0.68, 0.45, 0], [0.77, 0.44, 0], [-0.77, 0.44, 0],
    ]
)  # fmt: skip
# SMPL joint next to each of the 18 detected joints; eyes and ears sit on the head.
NEAREST = [15, 12, 17, 19, 21, 16, 18, 20, 2, 5, 8, 1, 4, 7, 15, 15, 15, 15]
LIMBS = [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]


class Python2Pickler(pickle._Pickler):  # type: ignore[name-defined,misc]
    """Writes text and bytes as Python 2 wrote its one string type."""

    dispatch: ClassVar[dict[Any, Any]] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def _string(self, value: Any) -> None:
        data = value.encode("latin1") if isinstance(value, str) else bytes(value)
        head = b"U" + bytes([len(data)]) if len(data) < 256 else b"T" + struct.pack("<i", len(data))
        self.write(head + data)
        self.memoize(value)

    dispatch[str] = _string
    dispatch[bytes] = _string


def python2_pickle(value: Any) -> bytes:
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(value)
    return buffer.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def turn(angle: float, axis: int) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    a, b = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = np.eye(3)
    matrix[a, a], matrix[a, b], matrix[b, a], matrix[b, b] = c, -s, s, c
    return matrix


def threedpw_document(name: str, frames: int, people: list[dict[str, Any]], seed: int = 0) -> dict[str, Any]:
    """One sequence. A person may have: undetected, invalid (frame numbers), visible {frame: limb joints seen},
    confidence {frame: value}, betas (how many), gender.
    """
    rng = np.random.default_rng([seed, len(name), frames])
    cameras = np.tile(np.eye(4), (frames, 1, 1))
    for i in range(frames):
        cameras[i, :3, :3] = turn(np.pi + 0.01 * i, 0) @ turn(0.02 * i, 1)
        cameras[i, :3, 3] = [0.01 * i, 0.1, 4.0]
    intrinsics = np.array([[500.0, 0, 320], [0, 500.0, 180], [0, 0, 1]])
    made = [_person(frames, person, cameras, intrinsics, 0.8 * p, rng) for p, person in enumerate(people)]
    ids = np.arange(frames) * 2
    document = {key: [person[key] for person in made] for key in made[0]}
    return document | {
        "sequence": name,
        "img_frame_ids": ids,
        "cam_poses": cameras,
        "cam_intrinsics": intrinsics,
        "poses_60Hz": [np.repeat(person["poses"], 2, axis=0) for person in made],
        "trans_60Hz": [np.repeat(person["trans"], 2, axis=0) for person in made],
        "betas_clothed": [np.zeros(10) for _ in made],
        "v_template_clothed": [np.zeros((8, 3)) for _ in made],
        "texture_maps": [],
    }


def _person(
    frames: int, person: dict[str, Any], cameras: np.ndarray, intrinsics: np.ndarray, aside: float, rng: Any
) -> dict[str, Any]:
    trans = np.column_stack([aside + 0.01 * np.arange(frames), np.zeros(frames), 0.3 * np.ones(frames)])
    joints = np.stack([REST @ turn(0.03 * i, 1).T + trans[i] for i in range(frames)])
    in_camera = np.einsum("tij,tkj->tki", cameras[:, :3, :3], joints) + cameras[:, None, :3, 3]
    image = in_camera[:, NEAREST] @ intrinsics.T
    pixels = image[..., :2] / image[..., 2:]
    pixels[:, 14:] += [[6, -4], [-6, -4], [9, 0], [-9, 0]]
    points = np.concatenate([pixels, np.full((frames, 18, 1), 0.9)], axis=2)
    for frame, seen in person.get("visible", {}).items():
        points[frame, LIMBS[seen:]] = 0
    for frame, confidence in person.get("confidence", {}).items():
        points[frame, :, 2] = confidence
    points[person.get("undetected", [])] = 0
    valid = np.ones(frames, dtype=np.int64)
    valid[person.get("invalid", [])] = 0
    return {
        "poses": rng.normal(scale=0.3, size=(frames, 72)),
        "trans": trans,
        "betas": rng.normal(size=person.get("betas", 10)),
        "genders": person.get("gender", "m"),
        "poses2d": np.ascontiguousarray(points.transpose(0, 2, 1)),
        "jointPositions": joints.reshape(frames, 72),
        "campose_valid": valid,
    }


def write_threedpw_sequence(
    raw: Path,
    folder: str,
    name: str,
    frames: int,
    people: list[dict[str, Any]],
    images: bool = True,
    seed: int = 0,
) -> dict[str, Any]:
    """Write one sequence and return what its pickle holds."""
    document = threedpw_document(name, frames, people, seed)
    path = raw / "sequenceFiles" / folder / f"{name}.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(python2_pickle(document))
    if images:
        picture = cv2.imencode(".jpg", np.full((360, 640, 3), 90, np.uint8))[1].tobytes()
        target = raw / "imageFiles" / name
        target.mkdir(parents=True, exist_ok=True)
        for i in range(frames):
            (target / f"image_{i:05d}.jpg").write_bytes(picture)
    return document


def write_threedpw(raw: Path, images: bool = True) -> None:
    """Six sequences with the dataset's known defects and known counts (`COUNTS`)."""
    write_threedpw_sequence(raw, "train", "courtyard_a_00", 24, [{}], images, 1)
    write_threedpw_sequence(raw, "train", "outdoors_b_00", 20, [{"gender": "f"}, {"betas": 16}], images, 2)
    write_threedpw_sequence(raw, "validation", "courtyard_c_01", 22, [{}], images, 3)
    write_threedpw_sequence(
        raw,
        "test",
        "downtown_two_00",
        40,
        [
            {"undetected": [0, 1, 20, 21, 39], "visible": {10: 6, 11: 7}, "invalid": [30, 31, 32]},
            {"confidence": {0: 0.2, 5: 0.2}, "gender": "f"},
        ],
        images,
        4,
    )
    write_threedpw_sequence(raw, "test", "downtown_short_00", 5, [{}], images, 5)
    write_threedpw_sequence(raw, "test", "office_never_00", 18, [{"undetected": list(range(18))}], images, 6)


# Rows of the test split: 40 + 40 + 5 + 18 = 103. Counted by hand from the description above.
COUNTS = {
    "vibe": {"rows": 103, "kept": 72, "tracks": 2, "no-box": 23, "too-few-visible": 4, "undetected-edge": 4},
    "tcmr": {"rows": 103, "kept": 72, "tracks": 2, "no-box": 23, "too-few-visible": 4, "undetected-edge": 4},
    "mpsnet": {
        "rows": 103,
        "kept": 72,
        "tracks": 2,
        "no-box": 23,
        "too-few-visible": 4,
        "undetected-edge": 4,
    },
    "spin": {"rows": 103, "kept": 77, "tracks": 3, "camera-invalid": 3, "no-box": 23},
    "hmmr": {"rows": 103, "kept": 77, "tracks": 2, "no-box": 23, "undetected-edge": 3},
    "all": {"rows": 103, "kept": 103, "tracks": 4},
}


def amass_arrays(
    frames: int, rate: Any = 120.0, width: int = 156, gender: Any = "male", seed: int = 0
) -> dict[str, Any]:
    rng = np.random.default_rng([seed, frames, width])
    arrays = {
        "poses": rng.normal(scale=0.3, size=(frames, width)),
        "betas": rng.normal(size=16),
        "trans": rng.normal(size=(frames, 3)),
        "gender": np.array(gender),
    }
    if width == 156:
        return arrays | {"mocap_framerate": np.array(rate), "dmpls": rng.normal(size=(frames, 8))}
    return arrays | {
        "mocap_frame_rate": np.array(rate),
        "surface_model_type": np.array("smplx"),
        "pose_jaw": arrays["poses"][:, 66:69],
    }


def write_amass(raw: Path) -> None:
    """Motions of both releases, with the dataset's known defects. Kept: the four of 30, 30, 30 and 25 fps."""
    files = {
        "ACCAD/Female1General_c3d/A1 - Stand_poses.npz": amass_arrays(256, 120.00004578, gender=b"female"),
        "ACCAD/Female1General_c3d/A2_poses.npz": amass_arrays(236, 120.0),
        "CMU/01/01_01_poses.npz": amass_arrays(130, 60.0),
        "HumanEva/S1/Walking_1_poses.npz": amass_arrays(70, 24.0),
        "SSM/20160330/push_stageii.npz": amass_arrays(257, 120.0, 165, "neutral"),
        "SFU/0005/jump_poses.npz": amass_arrays(280, 100.0),
    }
    for name, arrays in files.items():
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        np.savez(raw / name, **arrays)
    for name in ("CMU/01/shape.npz", "SSM/20160330/neutral_stagei.npz", "CMU/stray.npz"):
        np.savez(raw / name, betas=np.zeros(16))


def mark_synthetic(raw: Path, dataset: str) -> None:
    mark = {"format": "hpsbench-synthetic", "version": 1, "dataset": dataset, "size": "tiny", "seed": 0}
    (raw / "hpsbench-synthetic.json").write_text(json.dumps(mark))


WRITERS = {"3dpw": write_threedpw, "amass": write_amass}
# A dataset whose raw files are described in a file of their own, `raw_<reader>.py`, has KEY and write(raw) there.
for _path in sorted(Path(__file__).parent.glob("raw_*.py")):
    if _path.name != Path(__file__).name:
        _names = runpy.run_path(str(_path))
        WRITERS[_names["KEY"]] = _names["write"]
