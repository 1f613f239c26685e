"""PoseTrack 2017's files: one `annolist` per video, as MATLAB structures become JSON.

Every value is a list of one element, also where there can be but one; joints are listed by number, those that are not
annotated not at all; a person has a box of the head alone; images are counted from 1 and have a folder outside the splits.
Source: the layout of the release's `annolist` files (annorect with track_id, annopoints, x1, y1, x2, y2).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hpsbench.types import BoolArray, FloatArray, IntArray

IDS = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist", "right_elbow",
    "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "head_bottom", "nose", "head_top",
)  # fmt: skip
"""Names of the numbered joints."""
FIRST_IMAGE = 1


def stem(number: int, split: str) -> str:
    """Name of a video's file, without `.json`."""
    return f"{number:06d}_mpii_relpath_5sec_{split}sub"


def image(number: int, frame: int) -> str:
    """Path of an image under the dataset's folder; `frame` counts from 0, the name from 1."""
    return f"images/bonn_5sec/{number:06d}_mpii/{frame + FIRST_IMAGE:08d}.jpg"


def document(
    number: int,
    labelled: BoolArray,
    joints: Sequence[str],
    people: Sequence[tuple[IntArray, FloatArray, FloatArray]],
) -> dict[str, Any]:
    """One video's file.

    Args:
        number: the video's.
        labelled: (F,) which images are labelled.
        joints: J names of the joints of `people`; those that 2017 doesn't have must not be annotated.
        people: of each person the annotated frames (n,), joints (n, J, 3), and corners of the head's box (n, 4).
    """
    entries: list[dict[str, Any]] = [
        {
            "image": [{"name": image(number, frame)}],
            "imgnum": [frame + FIRST_IMAGE],
            "is_labeled": [int(flag)],
            "ignore_regions": [],
            "annorect": [],
        }
        for frame, flag in enumerate(labelled)
    ]
    for person, (frames, points, heads) in enumerate(people):
        for row, frame in enumerate(frames.tolist()):
            entries[frame]["annorect"].append(_person(person, joints, points[row], heads[row]))
    return {"annolist": entries}


def _person(person: int, joints: Sequence[str], points: FloatArray, head: FloatArray) -> dict[str, Any]:
    listed = [
        {"id": [IDS.index(name)], "x": [float(x)], "y": [float(y)], "is_visible": [1]}
        for name, (x, y, seen) in zip(joints, np.round(points, 2), strict=True)
        if seen
    ]
    corners = {
        key: [float(value)] for key, value in zip(("x1", "y1", "x2", "y2"), np.round(head, 2), strict=True)
    }
    return {**corners, "track_id": [person], "annopoints": [{"point": listed}] if listed else []}
