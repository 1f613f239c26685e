"""A small PoseTrack 2018 in its official layout, written without any code of the package (run by path).

Train: `000001_bonn_train` (40 images, 60 x 40 px; everybody of `PEOPLE`), `000002_mpii_train` (sizes only in the image
files, keypoints listed in another order, one person in 8 frames). Val: `000003_mpii_test`, one person, every fourth
frame. Test: `000004_mpii_test`, no annotations.
"""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

KEY = "posetrack"
NAMES = [
    "nose", "head_bottom", "head_top", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
]  # fmt: skip
PERMUTED = NAMES[::-1]
# Person -> annotated frames of 000001_bonn_train. Frames from 30 on are flagged as not labelled.
PEOPLE = {
    0: list(range(8)),
    1: list(range(7)),
    2: [0, 4, 8, 12, 13, 14, 15, 16, 20, 24],
    3: list(range(12)),  # no keypoints in frame 2, a box without width in frame 3, no box at all in frame 9
    4: [*range(22, 30), 30, 31],
    5: list(range(8)),  # no keypoints in frame 4: seven frames are left
}


def keypoints(person: int, frame: int) -> np.ndarray:
    """(17, 3): x, y, flag in the order of NAMES; the ears and one wrist are not annotated."""
    points = np.zeros((17, 3))
    rows = np.array([i for i in range(17) if i not in (3, 4, 9)])
    points[rows, 0] = 10.0 * person + frame + rows * 1.5 - 8
    points[rows, 1] = 2.0 * rows - 3 + 0.5 * person
    points[rows, 2] = 1
    return points


def box(points: np.ndarray) -> list[float]:
    known = points[points[:, 2] > 0, :2]
    size = (known.max(axis=0) - known.min(axis=0)) * 1.3
    return [*((known.max(axis=0) + known.min(axis=0) - size) / 2), *size]


def mixed(values: Any) -> list[float | int]:
    """Whole numbers as integers, as the real files have them."""
    return [int(v) if float(v).is_integer() else float(v) for v in np.asarray(values).ravel()]


def image(video: str, split: str, frame: int, labelled: bool, size: bool = True) -> dict[str, Any]:
    number = int(video[:6])
    entry: dict[str, Any] = {
        "has_no_densepose": True,
        "is_labeled": labelled,
        "file_name": f"images/{split}/{video}/{frame:06d}.jpg",
        "nframes": 40,
        "frame_id": 10000000000 + number * 10000 + frame,
        "id": 10000000000 + number * 10000 + frame,
        "vid_id": f"{number:06d}",
        "ignore_regions_x": [[0, 1, 2]],
        "ignore_regions_y": [[0, 1, 2]],
    }
    return entry | ({"width": 60, "height": 40} if size else {})


def annotation(video: str, person: int, frame: int, names: list[str] = NAMES) -> dict[str, Any]:
    points = keypoints(person, frame)
    number = 10000000000 + int(video[:6]) * 10000 + frame
    return {
        "bbox_head": [1, 2, 3, 4],
        "keypoints": mixed(points[[NAMES.index(name) for name in names]]),
        "track_id": person,
        "image_id": number,
        "bbox": mixed(box(points)),
        "scores": [],
        "category_id": 1,
        "id": number * 100 + person,
    }


def categories(names: list[str] = NAMES) -> list[dict[str, Any]]:
    return [
        {"supercategory": "person", "id": 1, "name": "person", "keypoints": names, "skeleton": [[16, 14]]}
    ]


def bonn() -> dict[str, Any]:
    video = "000001_bonn_train"
    annotations = [annotation(video, person, frame) for person, frames in PEOPLE.items() for frame in frames]
    annotations.sort(key=lambda entry: (entry["image_id"], entry["track_id"]))
    by_id = {entry["id"] - 1000001000000: entry for entry in annotations}
    by_id[203]["keypoints"] = [0] * 51
    by_id[303]["bbox"][2] = 0
    del by_id[903]["bbox"]
    by_id[405]["keypoints"] = [0] * 51
    images = [image(video, "train", frame, frame < 30) for frame in range(40)]
    return {"images": images, "annotations": annotations, "categories": categories()}


def mpii() -> dict[str, Any]:
    video = "000002_mpii_train"
    return {
        "images": [image(video, "train", frame, True, size=False) for frame in range(8)],
        "annotations": [annotation(video, 0, frame, PERMUTED) for frame in range(8)],
        "categories": categories(PERMUTED),
    }


def val() -> dict[str, Any]:
    video = "000003_mpii_test"
    return {
        "images": [image(video, "val", frame, frame % 4 == 0) for frame in range(40)],
        "annotations": [annotation(video, 7, frame) for frame in range(0, 40, 4)],
        "categories": categories(),
    }


def write_json(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def write_images(raw: Path, document: dict[str, Any]) -> None:
    data = cv2.imencode(".jpg", np.full((40, 60, 3), 90, np.uint8))[1].tobytes()
    for entry in document["images"]:
        path = raw / entry["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def write(raw: Path, folder: str = "posetrack_data/annotations") -> None:
    for split, name, document in [
        ("train", "000001_bonn_train", bonn()),
        ("train", "000002_mpii_train", mpii()),
        ("val", "000003_mpii_test", val()),
    ]:
        write_json(raw / folder / split / f"{name}.json", document)
        write_images(raw, document)
    images = [image("000004_mpii_test", "test", frame, False, size=False) for frame in range(4)]
    test = {"images": images, "annotations": [], "categories": categories()}
    write_json(raw / folder / "test" / "000004_mpii_test.json", test)


# Ids of the 15 joints in the 2017 files.
IDS_2017 = [
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist", "right_elbow",
    "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "head_bottom", "nose", "head_top",
]  # fmt: skip


def document_2017() -> dict[str, Any]:
    """One person (number 4) in frames 3 to 12 of 15; frame 5 has nobody with joints."""
    entries = []
    for frame in range(1, 16):
        people = []
        if 3 <= frame <= 12:
            points = keypoints(4, frame)
            listed = [
                {"id": [number], "x": [points[NAMES.index(name), 0]], "y": [points[NAMES.index(name), 1]], "is_visible": [1]}
                for number, name in enumerate(IDS_2017)
                if points[NAMES.index(name), 2]
            ]  # fmt: skip
            person = {"x1": [1], "y1": [2], "x2": [3], "y2": [4], "track_id": [4]}
            people = [person | {"annopoints": [] if frame == 5 else [{"point": listed}]}]
        name = f"images/bonn_5sec/000342_mpii/{frame:08d}.jpg"
        entries.append({"image": [{"name": name}], "annorect": people, "is_labeled": [int(bool(people))]})
    return {"annolist": entries}
