"""PoseTrack 2017's `annolist` JSON, brought into the terms of PoseTrack 2018.

Source: the authors' converter between the two (`py/convert.py` of poseval), whose joint order and boxes these are.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hpsbench.bodies.joints import get_joint_set
from hpsbench.types import FloatArray

_OLD, _NEW = "posetrack2017_15_unverified", "posetrack18_json17"
_BOX = 1.3  # of the extent of the annotated joints, as in the boxes of PoseTrack 2018


def to_2018(document: Mapping[str, Any]) -> dict[str, Any]:
    """Images and annotations as the 2018 files have them; people have no box but that of their joints.

    Raises:
        KeyError, IndexError, TypeError, ValueError: the document has another form.
    """
    images, annotations = [], []
    for number, entry in enumerate(document["annolist"]):
        people = list(_people(entry.get("annorect") or []))
        labelled = entry.get("is_labeled") or [bool(people)]
        images.append(
            {
                "id": number,
                "file_name": _only(entry["image"])["name"],
                "is_labeled": bool(int(_only(labelled))),
            }
        )
        annotations += [
            {**person, "image_id": number, "id": f"{number}/{i}"} for i, person in enumerate(people)
        ]
    names = list(get_joint_set(_NEW).names)
    return {"images": images, "annotations": annotations, "categories": [{"keypoints": names}]}


def _people(people: Any) -> Iterator[dict[str, Any]]:
    old, new = get_joint_set(_OLD), get_joint_set(_NEW)
    for person in filter(None, _list(people)):  # an empty structure is nobody
        points = np.zeros((len(new), 3))
        for point in _list((_only(person.get("annopoints") or [{}]) or {}).get("point") or []):
            number = int(_only(point["id"]))
            if not 0 <= number < len(old):
                raise ValueError(f"joint {number}; there are {len(old)}")
            row = new.index(old.names[number])
            visible = point.get("is_visible") or [1]
            points[row] = [_only(point["x"]), _only(point["y"]), float(_only(visible))]
        annotation = {"track_id": _only(person["track_id"]), "keypoints": points.ravel().tolist()}
        known = points[(points != 0).any(axis=1)]
        yield annotation | ({"bbox": _box(known).tolist()} if len(known) else {})


def _box(points: FloatArray) -> FloatArray:
    """x, y of the corner, width, height."""
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    size = (high - low) * _BOX
    return np.concatenate([(low + high - size) / 2, size])


def _list(value: Any) -> list[Any]:
    """A list, also where MATLAB's conversion left out the list about its one element."""
    return value if isinstance(value, list) else [value]


def _only(value: Any) -> Any:
    """The one element of the lists that MATLAB structures become."""
    return value[0] if isinstance(value, list) else value
