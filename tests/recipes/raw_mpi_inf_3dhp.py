"""A small MPI-INF-3DHP in its official layout, written without any code of the package (run by path).

Training: S1/Seq1 (24 rows, 25 fps) and S1/Seq2 (12 rows, 50 fps), 14 cameras each. Images of S1/Seq1: camera 0 in SPIN's
layout (22 of 24), camera 1 in VIBE's, camera 2 in mmhuman3d's, camera 4 as a video (24), camera 5 as a video that ends
after 20 frames, the others none. Known places: see `EDGES`. Test: TS1 (2048 x 2048), TS5 (1920 x 1080), TS6 (never
valid).
"""

from pathlib import Path
from typing import Any

import av
import cv2
import h5py
import numpy as np
import scipy.io

KEY = "mpi-inf-3dhp"
FOCAL, CENTER = 1500.0, 1024.0
FRAMES = {"Seq1": 24, "Seq2": 12}
TEST = {"TS1": (20, 2048, 2048), "TS5": (16, 1920, 1080), "TS6": (16, 1920, 1080)}
# The 17 joints of the test set among the 28 of the training set (joint_notes: mmpose, P-STMO).
SEVENTEEN = [7, 5, 14, 15, 16, 9, 10, 11, 23, 24, 25, 18, 19, 20, 4, 3, 6]
# S1/Seq1, camera 0: row -> (joint, x, y). The hand (17) is none of the 17 joints.
EDGES = {5: (16, -1.0, 900.0), 9: (7, 2048.0, 900.0), 10: (7, 0.0, 2047.5), 12: (17, 2100.0, 900.0)}


def skeleton() -> np.ndarray:
    """(28, 3) millimetres, y down."""
    rng = np.random.default_rng(3)
    return rng.uniform([-400, -800, -150], [400, 800, 150], size=(28, 3))


def intrinsics(camera: int) -> np.ndarray:
    return np.array([[FOCAL + camera, 0, CENTER], [0, FOCAL - camera, CENTER - camera], [0, 0, 1]])


def extrinsics(camera: int) -> np.ndarray:
    """(4, 4), millimetres."""
    c, s = np.cos(0.3 * camera), np.sin(0.3 * camera)
    return np.array([[c, 0, s, 10.0 * camera], [0, 1, 0, 20.0], [-s, 0, c, 3500.0], [0, 0, 0, 1]])


def poses(frames: int, camera: int) -> np.ndarray:
    """(F, 28, 3) millimetres in the camera."""
    world = skeleton() + np.arange(frames)[:, None, None] * [6.0, 0, 4.0]
    return world @ extrinsics(camera)[:3, :3].T + extrinsics(camera)[:3, 3]


def project(points: np.ndarray, camera: int) -> np.ndarray:
    image = points @ intrinsics(camera).T
    return image[..., :2] / image[..., 2:]


def train_arrays(frames: int, camera: int, edges: dict[int, Any]) -> dict[str, np.ndarray]:
    """annot2 (F, 28, 2), annot3 and univ_annot3 (F, 28, 3)."""
    joints = poses(frames, camera)
    pixels = project(joints, camera)
    for row, (joint, x, y) in edges.items():
        pixels[row, joint] = x, y
    return {"annot2": pixels, "annot3": joints, "univ_annot3": joints * 0.9}


def calibration(newline: str = "\n") -> str:
    lines = ["Skeletool Camera Calibration File V1.0"]
    for camera in range(14):
        k = np.eye(4)
        k[:3, :3] = intrinsics(camera)
        lines += [
            f"name          {camera}",
            "  sensor      10 10",
            "  size        2048 2048",
            "  animated    0",
            f"  intrinsic   {' '.join(repr(float(v)) for v in k.ravel())} ",
            f"  extrinsic   {' '.join(repr(float(v)) for v in extrinsics(camera).ravel())} ",
            "  radial      0",
        ]
    return newline.join(lines) + newline


def write_train_sequence(
    raw: Path, subject: str, sequence: str, frames: int, edges: dict[int, Any], **changes: Any
) -> None:
    """`changes` replaces variables of the file; None leaves one out."""
    folder = raw / subject / sequence
    folder.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {"cameras": np.arange(14)[None], "frames": np.arange(frames)[:, None]}
    for key in ("annot2", "annot3", "univ_annot3"):
        content[key] = np.empty((14, 1), object)
        for camera in range(14):
            values = train_arrays(frames, camera, edges if camera == 0 else {})[key]
            content[key][camera, 0] = values.reshape(frames, -1)
    content |= changes
    scipy.io.savemat(
        folder / "annot.mat", {key: value for key, value in content.items() if value is not None}
    )
    text = calibration("\r\n" if sequence == "Seq2" else "\n")
    (folder / "camera.calibration").write_bytes(text.encode())


def jpeg(width: int, height: int) -> bytes:
    return bytes(cv2.imencode(".jpg", np.full((height, width, 3), 90, np.uint8))[1].tobytes())


def write_video(path: Path, frames: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(frames):
            picture = np.full((64, 64, 3), 10 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def write_images(folder: Path, name: str, count: int, data: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):
        (folder / name.format(number)).write_bytes(data)


def test_arrays(subject: str) -> dict[str, np.ndarray]:
    """Arrays of a test sequence as MATLAB has them; h5py shows the axes reversed, as written here."""
    frames, width, height = TEST[subject]
    joints = poses(frames, 0)[:, SEVENTEEN]
    pixels = joints @ np.array([[1500.0, 0, width / 2], [0, 1500.0, height / 2], [0, 0, 1]]).T
    pixels = pixels[..., :2] / pixels[..., 2:]
    if height < 2048:
        pixels[:, :, 1] = height / 2 + (pixels[:, :, 1] - height / 2) * 0.5
    pixels[3, 0] = width, 100.0
    valid = np.zeros((frames, 1))
    valid[2::4] = subject != "TS6"
    return {
        "annot2": pixels[:, None],
        "annot3": joints[:, None],
        "univ_annot3": joints[:, None] * 0.9,
        "valid_frame": valid,
        "activity_annotation": np.arange(frames)[:, None] % 7 + 1.0,
        "bb_crop": np.zeros((frames, 34)),
    }


def write_test_sequence(raw: Path, subject: str, **changes: Any) -> None:
    folder = raw / "mpi_inf_3dhp_test_set" / subject
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "annot_data.mat", "w", userblock_size=512) as file:
        for key, values in (test_arrays(subject) | changes).items():
            if values is not None:
                file[key] = values
    with (folder / "annot_data.mat").open("r+b") as block:
        text = b"MATLAB 7.3 MAT-file, Platform: none, Created here"
        block.write(text.ljust(116) + bytes(8) + b"\x00\x02IM")


def write(raw: Path) -> None:
    write_train_sequence(raw, "S1", "Seq1", FRAMES["Seq1"], EDGES)
    write_train_sequence(raw, "S1", "Seq2", FRAMES["Seq2"], {})
    small, first = jpeg(64, 64), raw / "S1" / "Seq1"
    write_images(first / "imageFrames" / "video_0", "frame_{:06d}.jpg", 22, small)
    write_images(first / "video_1", "frame_{:06d}.jpg", 24, small)
    write_images(first / "video_2", "{:06d}.jpg", 24, small)
    write_video(first / "imageSequence" / "video_0.avi", 24)
    write_video(first / "imageSequence" / "video_4.avi", 24)
    write_video(first / "imageSequence" / "video_5.avi", 20)
    for subject, (frames, width, height) in TEST.items():
        write_test_sequence(raw, subject)
        folder = raw / "mpi_inf_3dhp_test_set" / subject / "imageSequence"
        write_images(folder, "img_{:06d}.jpg", frames, jpeg(width, height))
