"""PoseTrack: one JSON per video; releases 2018 and 21 (one schema) and 2017 (`annolist`).

Source of the layouts: the files themselves, the releases' documentation, and the readers of VIBE and mmpose.
"""

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import accumulate, pairwise
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from hpsbench.bodies.joints import JointSet, get_joint_set
from hpsbench.errors import BrokenFile, HpsbenchError, UnknownName
from hpsbench.recipes.readers._checks import check_finite, check_pixels
from hpsbench.recipes.readers._jpeg import jpeg_size
from hpsbench.recipes.readers._json import load_json
from hpsbench.recipes.readers._posetrack17 import to_2018
from hpsbench.recipes.sequences import RawSequence, SequenceSkipped
from hpsbench.types import Array, FloatArray, Track

_JOINTS = "posetrack18_json17"


class _Video(NamedTuple):
    """The images of one file: image id -> frame number, and whether it is labelled; where they lie; their size."""

    frames: Mapping[Any, int]
    labelled: Mapping[Any, bool]
    source: str
    size: tuple[int | None, int | None]


def read_sequence(raw: RawSequence) -> Iterator[Track]:
    """Yield one track per person of a video: the frames in which the person is annotated.

    - `frame_id`: number in the image's name. Annotated frames are not consecutive (every frame in the middle of a
      video, every fourth elsewhere, none where the person is hidden), so a track is cut into clips at its gaps.
    - `keypoints2d`: in the order of `posetrack18_json17`, by the names that the file lists; confidence is the file's
      flag. Joints that are not annotated are (0, 0, 0), the two ears always.
    - `bbox_xyxy`: corners of the file's box; NaN where an annotation has none. PoseTrack 2017 has only boxes of heads:
      there it is 1.3 x the extent of the joints, which is what the boxes of 2018 are.
    - `is_labeled`: the image's flag; keypoints of an image without it are not to be trusted.

    Raises:
        SequenceSkipped: the file has no annotations, as those of the test set (`no-annotations`).
        BrokenFile: the file is damaged, an annotation has no image, or a person occurs twice in one.
        UnitError: keypoints are no pixels.
    """
    document = load_json(raw.path)
    try:
        if "annolist" in document:
            document = to_2018(document)
        video = _video(document, raw)
        tracks = _tracks(document, video, raw)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        if isinstance(error, HpsbenchError):
            raise
        raise BrokenFile(
            f"{raw.path}: not laid out as a PoseTrack file ({type(error).__name__}: {error}); download it again"
        ) from error
    sequence = raw.stem
    for person, fields in tracks.items():
        yield Track(
            sequence=sequence,
            person=person,
            split=raw.split,
            frame_id=fields.pop("frame_id"),
            fields=fields,
            fps=raw.fps,
            image_source=video.source,
            width=video.size[0],
            height=video.size[1],
        )


def _video(document: Mapping[str, Any], raw: RawSequence) -> _Video:
    images = document["images"]
    if not document.get("annotations"):
        raise SequenceSkipped("no-annotations", f"{raw.name}: nobody is annotated")
    if not images:
        raise BrokenFile(f"{raw.path}: has annotations, but lists no images; download it again")
    names = [str(image["file_name"]) for image in images]
    first = PurePosixPath(names[0])
    begin = names[0].rfind("/") + 1
    end = begin + len(names[0][begin:].partition(".")[0])
    numbers = [name[begin:end] for name in names]
    digits = "".join(numbers)
    alike = {(name[:begin], name[end:], len(name)) for name in names}
    if len(alike) > 1 or not (digits.isascii() and digits.isdigit()):
        raise BrokenFile(f"{raw.path}: the images should be numbers in one folder, found {first} and others")
    if first.is_absolute() or ".." in first.parts:
        raise BrokenFile(f"{raw.path}: image {first} lies outside the dataset")
    frames = dict(zip([image["id"] for image in images], map(int, numbers), strict=True))
    if len(set(frames.values())) != len(images):
        raise BrokenFile(f"{raw.path}: an image or its id is listed twice")
    # 0 and 1 equal False and True.
    odd = {image.get("is_labeled", True) for image in images} - {True, False, None}
    if odd:
        raise BrokenFile(f"{raw.path}: is_labeled of an image should be true or false, found {odd.pop()!r}")
    folder = str(first.parent).replace("{", "{{").replace("}", "}}")
    return _Video(
        frames=frames,
        labelled={image["id"]: bool(image.get("is_labeled", True)) for image in images},
        source=f"{folder}/{{frame_id:0{len(first.stem)}d}}{first.suffix}",
        size=_size(images, first, raw),
    )


def _size(
    images: list[Mapping[str, Any]], first: PurePosixPath, raw: RawSequence
) -> tuple[int | None, int | None]:
    """Width and height that all images have, where the file lacks them those of the first image; None if they differ."""
    sizes: set[tuple[Any, Any]] = {(image.get("width"), image.get("height")) for image in images}
    known = [size for size in sizes if None not in size]
    for size in known:
        if not all(isinstance(side, int | float) and side >= 1 and side == int(side) for side in size):
            raise BrokenFile(
                f"{raw.path}: width and height of an image should be whole numbers, found {size[0]!r} and {size[1]!r}"
            )
    if len(known) > 1:
        return None, None
    if len(sizes) > 1 or not known:
        return jpeg_size(raw.root / first) if (raw.root / first).is_file() else (None, None)
    ((width, height),) = known
    return int(width), int(height)


def _tracks(document: Mapping[str, Any], video: _Video, raw: RawSequence) -> dict[int, dict[str, Array]]:
    """Arrays of each person, in the order of the person's number."""
    joints = _joints(document, raw)
    given = document["annotations"]
    frames = [video.frames.get(annotation["image_id"]) for annotation in given]
    people = _people(given, raw)
    if None in frames:
        lost = given[frames.index(None)]
        raise BrokenFile(
            f"{raw.path}: annotation {lost.get('id')} belongs to image {lost['image_id']}, which the file does not list"
        )
    places = list(zip(people, frames, strict=True))
    if len(set(places)) < len(places):
        person, frame = next(place for row, place in enumerate(places) if place in places[:row])
        raise BrokenFile(f"{raw.path}: person {person} is annotated twice in frame {frame}")
    order = sorted(range(len(places)), key=places.__getitem__)
    annotations = [given[row] for row in order]
    fields = {
        "frame_id": np.array([frames[row] for row in order]),
        "keypoints2d": _keypoints(annotations, joints, raw),
        "bbox_xyxy": _boxes(annotations, raw),
        "is_labeled": np.array([video.labelled[annotation["image_id"]] for annotation in annotations]),
    }
    rows = Counter(people)
    ends = list(accumulate((rows[person] for person in sorted(rows)), initial=0))
    return {
        person: {name: values[begin:end] for name, values in fields.items()}
        for person, (begin, end) in zip(sorted(rows), pairwise(ends), strict=True)
    }


def _people(annotations: list[Mapping[str, Any]], raw: RawSequence) -> list[int]:
    """The person that each annotation is of."""
    named = [annotation["track_id"] for annotation in annotations]
    people = list(map(int, named))
    if people != named:
        odd = next(name for person, name in zip(people, named, strict=True) if person != name)
        raise BrokenFile(f"{raw.path}: track_id should be a whole number, found {odd!r}")
    return people


def _joints(document: Mapping[str, Any], raw: RawSequence) -> list[int]:
    """The row of each of the file's keypoints in our order, by name."""
    known: JointSet = get_joint_set(_JOINTS)
    names = document["categories"][0]["keypoints"]
    try:
        rows = known.indices(names)
    except UnknownName as error:
        raise BrokenFile(f"{raw.path}: categories list an {error}") from error
    if len(set(rows)) != len(rows):
        raise BrokenFile(f"{raw.path}: categories list a keypoint twice: {', '.join(names)}")
    return rows


def _keypoints(annotations: list[Mapping[str, Any]], joints: list[int], raw: RawSequence) -> FloatArray:
    missing = [0] * (3 * len(joints))
    values = [annotation.get("keypoints") or missing for annotation in annotations]
    given = _table(values, len(missing), "keypoints", annotations, raw)
    points = np.zeros((len(annotations), len(get_joint_set(_JOINTS)), 3))
    points[:, joints] = given.reshape(len(annotations), -1, 3)
    check_finite(points, "keypoints", raw)
    odd = (points[..., 2] != 0) & (points[..., 2] != 1) & (points[..., 2] != 2)
    if odd.any():
        first = annotations[int(np.argwhere(odd)[0, 0])].get("id")
        raise BrokenFile(
            f"{raw.path}: keypoints of annotation {first} should be x, y and a flag of 0, 1 or 2 for each joint; is an axis "
            "swapped?"
        )
    check_pixels(points, "keypoints", raw)
    return points


def _boxes(annotations: list[Mapping[str, Any]], raw: RawSequence) -> FloatArray:
    missing = [np.nan] * 4
    boxes = _table([a.get("bbox") or missing for a in annotations], 4, "bbox", annotations, raw)
    check_finite(boxes[~np.isnan(boxes).all(axis=1)], "bbox", raw)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def _table(
    values: list[Any], width: int, key: str, annotations: list[Mapping[str, Any]], raw: RawSequence
) -> FloatArray:
    """One row of numbers per annotation."""
    if set(map(len, values)) != {width}:
        row, annotation = next(
            pair for pair in zip(values, annotations, strict=True) if len(pair[0]) != width
        )
        raise BrokenFile(
            f"{raw.path}: annotation {annotation.get('id')} has {len(row)} numbers as {key}, expected {width}"
        )
    table = array("d")  # several times faster than numpy's own way from lists
    for row in values:
        table.fromlist(row)
    return np.frombuffer(table).reshape(-1, width)
