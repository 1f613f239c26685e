"""A small Human3.6M in its three layouts, written without any code of the package (run by path).

The people walk in circles about the origin; `world(...)` is the ground truth, in millimetres, z up. Cameras stand around
them and have lenses with distortion. `write` writes the official layout: S1 (train), S9 and S11 (test).
"""

import json
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar
from xml.sax.saxutils import escape

import av
import cdflib
import cv2
import h5py
import numpy as np
from scipy.spatial.transform import Rotation

KEY = "h36m"
CAMERAS = ["54138969", "55011271", "58860488", "60457274"]
SUBJECTS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
ACTIONS = [
    "_ALL", "Directions", "Discussion", "Eating", "Greeting", "Phoning", "Posing", "Purchases", "Sitting",
    "SittingDown", "Smoking", "TakingPhoto", "Waiting", "Walking", "WalkingDog", "WalkTogether",
]  # fmt: skip
FILE_NAMES = {"TakingPhoto": "Photo", "WalkingDog": "WalkDog"}
# The 17 joints among the 32 (joint_notes: "movable joints"): right leg first.
SEVENTEEN = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]

_HALF = {  # right side, millimetres; the left one is mirrored in x. The person looks along -y, so right is -x.
    "leg": [[-130, 0, 880], [-140, -20, 450], [-140, 20, 60], [-150, -120, 20], [-150, -180, 15]],
    "arm": [
        [0, 0, 1400], [-150, 0, 1370], [-170, 20, 1100], [-180, -60, 880], [-180, -60, 880], [-190, -100, 850],
        [-185, -80, 820], [-185, -80, 820],
    ],
}  # fmt: skip
_TRUNK = [[0, 0, 900], [0, 10, 1150], [0, 0, 1400], [0, -90, 1480], [0, -20, 1620]]


def skeleton() -> np.ndarray:
    """(32, 3) millimetres, standing."""
    leg, arm = np.array(_HALF["leg"], float), np.array(_HALF["arm"], float)
    mirror = np.array([-1.0, 1, 1])
    return np.concatenate([_TRUNK[:1], leg, leg * mirror, _TRUNK[:1], _TRUNK[1:], arm * mirror, arm])


def world(subject: int, action: int, subaction: int, frames: int) -> np.ndarray:
    """(frames, 32, 3) millimetres: the person turns and walks a little."""
    joints = np.empty((frames, 32, 3))
    for i in range(frames):
        angle = 0.1 * subject + 0.3 * action + 0.7 * subaction + 0.04 * i
        c, s = np.cos(angle), np.sin(angle)
        turned = skeleton() @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1.0]])
        joints[i] = turned + np.array([300 * np.cos(0.05 * i), 200 * np.sin(0.05 * i), 3 * np.sin(i)])
    return joints


def extrinsics(subject: int, camera: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotation world to camera, and the camera's centre in millimetres."""
    angle = np.pi / 4 + camera * np.pi / 2 + 0.02 * subject
    center = np.array([4500 * np.cos(angle), 4500 * np.sin(angle), 1500.0 + 10 * subject])
    forward = np.array([0, 0, 950.0]) - center
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    return np.array([right, np.cross(forward, right), forward]), center


def intrinsics(camera: int) -> list[float]:
    """F (2), c (2), k (3), p (2)."""
    return [
        1145 + camera,
        1143 - camera,
        512 + camera,
        515 - camera,
        -0.2 - 0.01 * camera,
        0.25,
        -0.005,
        -0.0014,
        0.0009,
    ]


def to_camera(points: np.ndarray, subject: int, camera: int) -> np.ndarray:
    rotation, center = extrinsics(subject, camera)
    return (points - center) @ rotation.T


def project(points: np.ndarray, camera: int, distorted: bool = True) -> np.ndarray:
    """(..., 2) pixels of points in the camera, joint by joint."""
    fx, fy, cx, cy, k1, k2, k3, p1, p2 = intrinsics(camera)
    if not distorted:
        k1 = k2 = k3 = p1 = p2 = 0.0
    pixels = np.empty((*points.shape[:-1], 2))
    for place in np.ndindex(points.shape[:-1]):
        x, y = points[place][0] / points[place][2], points[place][1] / points[place][2]
        r2 = x**2 + y**2
        gain = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3 + p1 * y + p2 * x
        pixels[place] = fx * (x * gain + p2 * r2) + cx, fy * (y * gain + p1 * r2) + cy
    return pixels


def name_of(subject: int, action: int, subaction: int) -> str:
    """Base name of a recording's files; the first trial mostly has the suffix 1, and there are exceptions."""
    name = FILE_NAMES.get(ACTIONS[action - 1], ACTIONS[action - 1])
    if (subject, action) == (11, 6):
        return f"{name} {4 - subaction}"
    swapped = (subject, action) == (9, 10)
    return f"{name} 1" if (subaction == 1) != swapped else name


def write_metadata(path: Path, changes: dict[str, str] | None = None) -> None:
    rows = [["action", "subaction", *(f"S{s}" for s in SUBJECTS)]]
    for action in range(1, 17):
        for subaction in (1, 2):
            rows.append([str(action), str(subaction), *(name_of(s, action, subaction) for s in SUBJECTS)])
    rows.append(["", "", *("T" for _ in SUBJECTS)])  # the real file has more rows, which mean something else
    numbers: list[float] = []
    for camera in range(4):
        for subject in SUBJECTS:
            rotation, center = extrinsics(subject, camera)
            numbers += [*Rotation.from_matrix(rotation).as_euler("XYZ"), *center]
    for camera in range(4):
        numbers += intrinsics(camera)
    parts = {
        "mapping": "".join(f"<tr>{''.join(f'<td>{escape(c)}</td>' for c in row)}</tr>" for row in rows),
        "actionnames": "".join(f"<td>{name}</td>" for name in ACTIONS),
        "dbcameras": f"<index2id>{''.join(f'<td>{camera}</td>' for camera in CAMERAS)}</index2id>",
        "w0": f"[{' '.join(repr(float(n)) for n in numbers)}]",
    } | (changes or {})
    body = "".join(f"<{key}>{text}</{key}>" for key, text in parts.items() if text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<config>{body}</config>", encoding="utf-8")


def write_cdf(path: Path, values: np.ndarray, name: str = "Pose") -> None:
    """`values` (N, J, 2 or 3) as one record (1, N, J x 2 or 3) of float32."""
    flat = values.reshape(len(values), -1).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    file = cdflib.cdfwrite.CDF(path)
    spec = {
        "Variable": name, "Data_Type": file.CDF_FLOAT, "Num_Elements": 1, "Var_Type": "zVariable", "Rec_Vary": True,
        "Dim_Sizes": list(flat.shape), "Dim_Vary": [True, True], "Compress": 0,
    }  # fmt: skip
    file.write_var(spec, var_data=flat[None])
    file.close()


def write_masks(path: Path, boxes: Iterable[tuple[int, int, int, int] | None]) -> None:
    """A MATLAB 7.3 file with one mask (width, height) per box (first x, first y, last x, last y); None: an empty one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    listed = list(boxes)
    with h5py.File(path, "w", userblock_size=512) as file:
        cells = file.create_dataset("Masks", (len(listed), 1), dtype=h5py.ref_dtype)
        for row, box in enumerate(listed):
            mask = np.zeros((1000, 1002), np.uint8)
            if box is not None:
                mask[box[0] : box[2] + 1, box[1] : box[3] + 1] = 1
            cells[row, 0] = file.create_dataset(f"#refs#/m{row}", data=mask, compression="gzip").ref
    head = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + bytes(8) + b"\x00\x02IM"
    with path.open("r+b") as raw:
        raw.write(head)


def write_video(path: Path, frames: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=50)
        stream.width = stream.height = 64
        for i in range(frames):
            picture = np.full((64, 64, 3), 5 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def write_images(folder: Path, name: str, numbers: Iterable[int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    picture = cv2.imencode(".jpg", np.full((8, 8, 3), 90, np.uint8))[1].tobytes()
    for number in numbers:
        (folder / name.format(number)).write_bytes(picture)


def write_recording(
    raw: Path, subject: int, action: int, subaction: int, camera: int, frames: int, **options: Any
) -> None:
    """One camera's `.cdf` files.

    Options: `folder` (MyPoseFeatures or none), `flat` (False: no 2D file), `universal`.
    """
    stem = f"{name_of(subject, action, subaction)}.{CAMERAS[camera]}.cdf"
    features = raw / f"S{subject}" / "MyPoseFeatures"
    prefix = ""
    if options.get("extracted"):
        features, prefix = raw / "extracted" / f"S{subject}", "Poses_"
    joints = to_camera(world(subject, action, subaction, frames), subject, camera)
    write_cdf(features / f"{prefix}D3_Positions_mono" / stem, joints)
    if options.get("flat", True):
        write_cdf(features / f"{prefix}D2_Positions" / stem, project(joints, camera))
    if options.get("universal", True):
        write_cdf(features / f"{prefix}D3_Positions_mono_universal" / stem, joints * 0.9)


def write_official(raw: Path) -> None:
    """S1: two trials, camera 0; S9: Directions (24 frames; 22 in the video of camera 3; masks of camera 3), Greeting;
    S11: Directions, cameras 0 and 3; Phoning 2. Files called _ALL are there too.
    """
    write_metadata(raw / "metadata.xml")
    write_recording(raw, 1, 2, 1, 0, 31)
    write_recording(raw, 1, 12, 2, 3, 20)
    for camera in range(4):
        write_recording(raw, 9, 2, 2, camera, 24)
    write_recording(raw, 9, 5, 2, 3, 20)
    for camera in (0, 3):
        write_recording(raw, 11, 2, 2, camera, 25)
    write_recording(raw, 11, 6, 2, 3, 21)
    write_cdf(raw / "S1/MyPoseFeatures/D3_Positions_mono/_ALL.54138969.cdf", world(1, 2, 1, 4))
    write_video(raw / "S9/Videos/Directions.60457274.mp4", 22)
    write_masks(raw / "S9/MySegmentsMat/ground_truth_bs/Directions.60457274.mat", mask_boxes(24))


def mask_boxes(frames: int) -> list[tuple[int, int, int, int] | None]:
    """First and last column and row of the person; nobody in frame 10."""
    return [None if i == 10 else (400 + i, 300, 599 + i, 899) for i in range(frames)]


def smpl(frame: int, camera: int = 0) -> dict[str, list[float]]:
    """A fit with every number different."""
    rng = np.random.default_rng([frame, camera])
    return {
        "pose": rng.normal(scale=0.4, size=72).tolist(),
        "shape": rng.normal(size=10).tolist(),
        "trans": rng.normal(size=3).tolist(),
    }


def write_moon_subject(
    raw: Path, subject: int, trials: dict[tuple[int, int], dict[str, Any]], data: bool = True
) -> None:
    """Annotations of one subject.

    A trial has: frames (with joints), images (listed), cameras (numbers from 1 with images).
    """
    joints: dict[str, Any] = {}
    listed: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    for (action, subaction), trial in trials.items():
        points = world(subject, action, subaction, trial["frames"])[:, SEVENTEEN]
        joints.setdefault(str(action), {})[str(subaction)] = {
            str(i): p.tolist() for i, p in enumerate(points)
        }
        for camera in trial.get("cameras", [1, 2, 3, 4]):
            folder = moon_folder(subject, action, subaction, camera)
            for i in range(trial.get("images", trial["frames"])):
                number = len(listed)
                listed.append(
                    {
                        "id": number, "file_name": f"{folder}/{folder}_{i + 1:06d}.jpg", "width": 1000,
                        "height": 1002 if camera in (1, 4) else 1000, "subject": subject,
                        "action_name": ACTIONS[action - 1], "action_idx": action, "subaction_idx": subaction,
                        "cam_idx": camera, "frame_idx": i,
                    }
                )  # fmt: skip
                notes.append(
                    {"id": number, "image_id": number, "keypoints_vis": [True] * 17, "bbox": [1, 2, 3, 4]}
                )
    cameras = {}
    for camera in range(4):
        rotation, center = extrinsics(subject, camera)
        f, c = intrinsics(camera)[:2], intrinsics(camera)[2:4]
        cameras[str(camera + 1)] = {
            "R": rotation.tolist(),
            "t": (-rotation @ center).tolist(),
            "f": f,
            "c": c,
        }
    write_json(raw, subject, "joint_3d", joints)
    write_json(raw, subject, "camera", cameras)
    if data:
        write_json(raw, subject, "data", {"images": listed, "annotations": notes})


def write_json(raw: Path, subject: int, kind: str, content: Any) -> Path:
    path = raw / "annotations" / f"Human36M_subject{subject}_{kind}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def moon_folder(subject: int, action: int, subaction: int, camera: int) -> str:
    return f"s_{subject:02d}_act_{action:02d}_subact_{subaction:02d}_ca_{camera:02d}"


def write_moon(raw: Path) -> None:
    """S1: one trial of 25 frames, its image folder of camera 1 sub-sampled (odd numbers). S9: Directions, 30 frames,
    cameras 1 and 4, the folder of camera 4 with 28 images; Greeting 2, 20 joints for 26 images. Fits: S1 SMPLify-X in
    the world, every fifth frame but one; S9 NeuralAnnot per camera.
    """
    write_moon_subject(raw, 1, {(2, 1): {"frames": 25}})
    write_moon_subject(
        raw, 9, {(10, 1): {"frames": 20, "cameras": [4]}, (2, 1): {"frames": 30, "cameras": [1, 4]}, (5, 2): {"frames": 20, "images": 26, "cameras": [4]}}
    )  # fmt: skip
    folder = moon_folder(1, 2, 1, 1)
    write_images(raw / "images" / folder, folder + "_{:06d}.jpg", range(1, 26, 2))
    folder = moon_folder(9, 2, 1, 4)
    write_images(raw / "images" / folder, folder + "_{:06d}.jpg", range(1, 29))
    write_json(raw, 1, "smpl_param", {"2": {"1": {str(i): smpl(i) for i in (0, 5, 15, 20)}}})
    per_camera = {str(i): {str(c): smpl(i, c) for c in (1, 4)} for i in (0, 5, 10)}
    write_json(raw, 9, "SMPL_NeuralAnnot", {"2": {"1": per_camera}})


def write_fetch(
    raw: Path, subject: int, folder: str, parts: dict[int, list[int]], first_version: bool = False
) -> Path:
    """One `annot.h5`: camera -> frame numbers, from 1. Its people are those of action 2, subaction 1."""
    columns: dict[str, list[Any]] = {
        key: [] for key in ("pose/2d", "pose/3d", "pose/3d-univ", "camera", "frame")
    }
    path = raw / "processed" / f"S{subject}" / folder / "annot.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for camera, numbers in parts.items():
            rows = np.array(numbers) - 1
            joints = to_camera(world(subject, 2, 1, int(rows.max()) + 1)[rows], subject, camera)
            fx, fy, cx, cy = intrinsics(camera)[:4]
            file[f"intrinsics/{CAMERAS[camera]}"] = np.array([fx, cx, fy, cy])
            if not first_version:
                file[f"intrinsics-univ/{CAMERAS[camera]}"] = np.array([fx + 1, cx, fy + 1, cy])
            columns["pose/2d"].append(project(joints, camera))
            columns["pose/3d"].append(joints)
            columns["pose/3d-univ"].append(joints * 0.9)
            columns["camera"].append(np.full(len(rows), int(CAMERAS[camera])))
            columns["frame"].append(numbers)
        if first_version:
            del columns["pose/3d"]
        for key, values in columns.items():
            file[key] = np.concatenate(values)
        count = len(file["frame"])
        file["subject"] = np.full(count, subject)
        file["action"] = np.full(count, 1 if first_version else 2)
        if not first_version:
            file["subaction"] = np.full(count, 1)
    return path


def write_mosh(
    raw: Path, subject: int, action: int, subaction: int, camera: int, poses: np.ndarray, betas: np.ndarray
) -> None:
    name = f"{name_of(subject, action, subaction)}_cam{camera}_aligned.pkl"
    path = raw / "neutrMosh" / "neutrSMPL_H3.6" / f"S{subject}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(python2_pickle({"new_poses": poses, "betas": betas}))


def python2_pickle(value: Any) -> bytes:
    """Bytes as Python 2 pickled them: its one string type for names and for raw array data."""
    import io
    import pickle

    class Pickler(pickle._Pickler):  # type: ignore[name-defined,misc]
        dispatch: ClassVar[dict[Any, Any]] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

        def _string(self, text: Any) -> None:
            data = text.encode("latin1") if isinstance(text, str) else bytes(text)
            self.write(
                (b"U" + bytes([len(data)]) if len(data) < 256 else b"T" + struct.pack("<i", len(data))) + data
            )
            self.memoize(text)

        dispatch[str] = _string
        dispatch[bytes] = _string

    buffer = io.BytesIO()
    Pickler(buffer, protocol=2).dump(value)
    return buffer.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def write(raw: Path) -> None:
    write_official(raw)
