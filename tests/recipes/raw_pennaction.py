"""A small Penn Action in its official layout, written without any code of the package (run by path).

`CLIPS` says it all. Clip 0001 is the one with known defects: nothing visible in row 3, one joint in row 5, nothing but
zero coordinates in row 7 (all flagged visible), x zero for one visible joint in row 9; boxes for two rows too few.
Clip 0003 lacks its last image.
"""

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import scipy.io

KEY = "pennaction"


class Clip(NamedTuple):
    frames: int
    train: int
    action: str
    viewpoint: str
    boxes: int
    images: int
    height: int = 48
    width: int = 64


CLIPS = {
    "0001": Clip(24, 1, "squat", "front", 22, 24),
    "0002": Clip(20, -1, "bowl", "left", 23, 20),
    "0003": Clip(21, 1, "golf_swing", "back", 21, 20, 64, 48),
}


def arrays(name: str) -> dict[str, np.ndarray]:
    """x, y (F, 13) float64 and visibility (F, 13) uint8."""
    clip = CLIPS[name]
    rng = np.random.default_rng(int(name))
    x = rng.uniform(5, 40, size=13) + 0.25 * np.arange(clip.frames)[:, None]
    y = rng.uniform(5, 40, size=13) + 0.125 * np.arange(clip.frames)[:, None]
    visibility = np.ones((clip.frames, 13), np.uint8)
    visibility[:, 4] = 0
    if name == "0001":
        visibility[3] = 0
        visibility[5, 1:] = 0
        visibility[7] = 1
        x[7] = y[7] = 0
        x[9, 2] = 0
    return {"x": x, "y": y, "visibility": visibility}


def content(name: str) -> dict[str, Any]:
    clip = CLIPS[name]
    boxes = np.tile([2.0, 3.0, 50.0, 45.0], (clip.boxes, 1)) + np.arange(clip.boxes)[:, None]
    return {
        **arrays(name),
        "action": clip.action,
        "pose": clip.viewpoint,
        "train": clip.train,
        "bbox": boxes,
        "dimensions": np.array([[clip.height, clip.width, clip.frames]], dtype=np.float64),
        "nframes": clip.frames,
    }


def write_clip(raw: Path, name: str, images: bool = True, **changes: Any) -> None:
    """`changes` replaces variables of the file; None leaves one out."""
    clip = CLIPS[name]
    (raw / "labels").mkdir(parents=True, exist_ok=True)
    held = {key: value for key, value in (content(name) | changes).items() if value is not None}
    scipy.io.savemat(raw / "labels" / f"{name}.mat", held)
    if not images:
        return
    folder = raw / "frames" / name
    folder.mkdir(parents=True, exist_ok=True)
    data = cv2.imencode(".jpg", np.full((clip.height, clip.width, 3), 90, np.uint8))[1].tobytes()
    for number in range(1, clip.images + 1):
        (folder / f"{number:06d}.jpg").write_bytes(data)


def write(raw: Path) -> None:
    for name in CLIPS:
        write_clip(raw, name)
    (raw / "README").write_text("Penn Action\n")
