"""A synthetic PoseTrack in its raw layouts: `posetrack_data/annotations/<split>/<video>.json` and `images`.

Layout `2018` is PoseTrack 2018; `21` is PoseTrack21, which has the same schema with a few more keys, in
`posetrack_data/<split>`, and no files for the test split; `2017` has the same people in `annolist` files, without ears
and without boxes (so without the one that has no width).

Two people per video, images of 640 x 360. As in the release, a video of the training split is annotated in the frames
round its middle, one of the validation split in every fourth frame elsewhere too; ears are never annotated, boxes reach
15 % beyond the visible joints on each side, and a file of the test split lists images without annotations (and none of
these images is there).

On purpose: a track of exactly 8 annotations (first training video) and one of 7 (second, whose category list names the
joints in another order); in the first training video a box without width (annotation 2 of person 0), an annotation
without any joint (4), a joint at negative coordinates (5), an annotation of an image that is not labelled; lists
that mix whole and other numbers.
"""

import functools
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench.synth import posetrack_annolist
from hpsbench.synth.output import Progress, write_items, write_jpeg, write_whole
from hpsbench.synth.points import named_points
from hpsbench.synth.scene import HEIGHT, WIDTH, Scene, make_scene
from hpsbench.synth.seeds import dataset_owner, generator
from hpsbench.types import BoolArray, FloatArray, IntArray

DATASET = "posetrack"
LAYOUTS = ("2018", "21", "2017")
NO_WIDTH, NO_JOINTS, NEGATIVE = 2, 4, 5
"""Which annotation of person 0 in the first training video has a defect."""
_COUNTS = {"tiny": (2, 2), "small": (12, 4), "full": (24, 12)}
_KINDS = ("walking", "running", "jumping", "turning", "reaching")
_MARGIN = 0.15
_LEAST_JOINTS = 2
_NEGATIVE_POINT = (-4.25, -7.0)
JOINTS = (
    "nose", "head_bottom", "head_top", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
"""Names in the files, in the order of most of them (joint set `posetrack18_json17`)."""
_POINT = {"head_bottom": "lsp_neck", "left_hip": "lsp_left_hip", "right_hip": "lsp_right_hip"}
_NEVER = ("left_ear", "right_ear")
_SKELETON = [[16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8], [7, 9], [8, 10],
             [9, 11], [2, 3], [1, 2], [1, 3]]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoPlan:
    """One video.

    Attributes:
        name: of the file and of the image folder.
        split: train, val or test.
        index: over all videos; part of the seed.
        number: in the video's name.
        frames: F, images.
        motion: kind of motion of the first person.
        second: how many annotations the second person has at most; None: as many as the first.
    """

    name: str
    split: str
    index: int
    number: int
    frames: int
    motion: str
    second: int | None = None

    @property
    def first_of_all(self) -> bool:
        """Whether this is the video with the planned defects of single annotations."""
        return self.index == 0

    @property
    def labelled(self) -> BoolArray:
        """(F,) which images are labelled."""
        frame = np.arange(self.frames)
        half = min(30, self.frames * 2 // 3) // 2
        middle = np.abs(frame - self.frames // 2 + 0.5) < half
        return middle | (frame % 4 == 0) if self.split == "val" else np.asarray(middle)

    def image_id(self, frame: int) -> int:
        """Eleven digits: 1, the video, the frame."""
        return 10_000_000_000 + self.number * 10_000 + frame


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackTruth:
    """What is known of one track without reading a file.

    Attributes:
        key: the track's name in a store.
        split: train or val.
        frame_id: (n,) annotated frames.
        keypoints2d: (n, 17, 3) in the order of `JOINTS`; zeros where a joint is not annotated.
        bbox_xyxy: (n, 4) corners.
        is_labeled: (n,) the images' flag.
    """

    key: str
    split: str
    frame_id: IntArray
    keypoints2d: FloatArray
    bbox_xyxy: FloatArray
    is_labeled: BoolArray


def video_plans(size: str) -> list[VideoPlan]:
    """The annotated videos of one size."""
    videos: list[VideoPlan] = []
    for split, count in zip(("train", "val"), _COUNTS[size], strict=True):
        for _ in range(count):
            index = len(videos)
            number = index + 1 if split == "train" else 10_000 + index
            videos.append(
                VideoPlan(
                    name=f"{number:06d}_{'bonn_train' if split == 'train' else 'mpii_test'}",
                    split=split,
                    index=index,
                    number=number,
                    frames={
                        "tiny": (28, 24, 32, 26)[index % 4],
                        "small": 120,
                        "full": 300 + 137 * index % 601,
                    }[size],
                    motion=_KINDS[index % len(_KINDS)],
                    second={0: 8, 1: 7}.get(index),
                )
            )
    return videos


def plan(size: str) -> list[tuple[str, int]]:
    """(split, images) of every annotated video."""
    return [(video.split, video.frames) for video in video_plans(size)]


def write(
    root: Path,
    size: str = "tiny",
    seed: int = 0,
    workers: int = 1,
    progress: Progress | None = None,
    layout: str = LAYOUTS[0],
) -> list[VideoPlan]:
    """Write the dataset; videos whose annotation file is there already are kept.

    Args:
        root: the raw dataset's folder.
        size: `tiny`, `small` or `full`.
        seed: of all people, motions and scenes.
        workers: processes that render. The bytes don't depend on it.
        progress: called with frames done, frames in all, and the video just finished.
        layout: one of `LAYOUTS`.

    Returns:
        The videos' plans; `track_truth` has the ground truth.
    """
    plans = [_named(video, layout) for video in video_plans(size)]
    job = functools.partial(write_video, root, size=size, seed=seed, layout=layout)
    write_items(
        plans,
        job,
        is_done=lambda video: _annotations(root, video, layout).is_file(),
        workers=workers,
        progress=progress,
    )
    if layout != LAYOUTS[0]:
        return plans
    test = VideoPlan(name="000001_mpiinew_test", split="test", index=0, number=1, frames=24, motion="walking")
    document = {"images": _images(test), "categories": [_category(JOINTS)]}
    write_whole(_annotations(root, test, layout), json.dumps(document).encode())
    return plans


def write_video(root: Path, video: VideoPlan, *, size: str, seed: int, layout: str = LAYOUTS[0]) -> VideoPlan:
    """Render and write one video: images that are there are kept, the annotation file is written last."""
    from hpsbench.synth.render import render_frame

    video, scene = _named(video, layout), make_video(video, size, seed)
    for index in range(video.frames):
        path = root / _image(video, index, layout)
        if not path.is_file():
            write_jpeg(path, render_frame(scene, index, level=2))
    document = _annolist(video, scene) if layout == "2017" else _document(video, scene)
    if layout == "21":
        _add_keys_of_21(document)
    write_whole(_annotations(root, video, layout), json.dumps(document).encode())
    return video


def track_truth(size: str, seed: int = 0, layout: str = LAYOUTS[0]) -> list[TrackTruth]:
    """The ground truth of every track of a size, in the order of the plan, without rendering."""
    videos = [_named(video, layout) for video in video_plans(size)]
    tracks = [track for video in videos for track in annotate(video, make_video(video, size, seed))]
    return [_as_in_2017(track) for track in tracks] if layout == "2017" else tracks


def make_video(video: VideoPlan, size: str, seed: int) -> Scene:
    """The scene of a planned video; the same arguments give the same scene."""
    draw = functools.partial(
        generator, dataset_owner(DATASET, video.split, size), number=video.index, seed=seed
    )
    return make_scene(
        video.frames,
        people=draw(ingredient="people"),
        motions=draw(ingredient="motions"),
        backgrounds=draw(ingredient="backgrounds"),
        cameras=draw(ingredient="cameras"),
        persons=2,
        kind=video.motion,
    )


def annotate(video: VideoPlan, scene: Scene) -> list[TrackTruth]:
    """What the annotation file says of each person, with the planned defects."""
    tracks = []
    for person in range(len(scene.people)):
        points = _seen_points(video, scene, person)
        enough = (points[..., 2] > 0).sum(axis=1) >= _LEAST_JOINTS
        frames = np.flatnonzero(enough & video.labelled)
        if person == 1 and video.second is not None:
            frames = frames[: video.second]
        if person == 0 and video.first_of_all:
            frames = np.sort(np.append(frames, np.flatnonzero(enough & ~video.labelled)[0]))
        points = points[frames]
        boxes = np.stack([_box(row) for row in points])
        if person == 0 and video.first_of_all:
            boxes[NO_WIDTH, 2] = boxes[NO_WIDTH, 0]
            points[NO_JOINTS] = 0
            points[NEGATIVE, JOINTS.index("left_wrist")] = *_NEGATIVE_POINT, 1
        tracks.append(
            TrackTruth(
                key=f"{video.name}_{person}",
                split=video.split,
                frame_id=frames,
                keypoints2d=points,
                bbox_xyxy=boxes,
                is_labeled=video.labelled[frames],
            )
        )
    return tracks


def _seen_points(video: VideoPlan, scene: Scene, person: int) -> FloatArray:
    """(F, 17, 3) rounded pixels and 1 for joints that are seen; zeros for all others."""
    from hpsbench.synth.visibility import keypoints2d

    annotated = [row for row, name in enumerate(JOINTS) if name not in _NEVER]
    names = tuple(_POINT.get(JOINTS[row], JOINTS[row]) for row in annotated)
    world = named_points(scene.people[person], scene.motions[person], names)
    points = np.zeros((video.frames, len(JOINTS), 3))
    for index in range(video.frames):
        points[index, annotated] = np.round(keypoints2d(scene, index, person, world[index]), 2)
    points[points[..., 2] == 0] = 0
    return points


def _box(points: FloatArray) -> FloatArray:
    """(4,) corners, rounded."""
    seen = points[points[:, 2] > 0, :2]
    margin = _MARGIN * np.ptp(seen, axis=0)
    return np.round(np.concatenate([seen.min(axis=0) - margin, seen.max(axis=0) + margin]), 2)


def _named(video: VideoPlan, layout: str) -> VideoPlan:
    """The video under the name that it has in a layout."""
    if layout != "2017":
        return video
    return replace(video, name=posetrack_annolist.stem(video.number, video.split))


def _image(video: VideoPlan, frame: int, layout: str = LAYOUTS[0]) -> str:
    if layout == "2017":
        return posetrack_annolist.image(video.number, frame)
    return f"images/{video.split}/{video.name}/{frame:06d}.jpg"


def _as_in_2017(track: TrackTruth) -> TrackTruth:
    """Frames counted from 1, and boxes 1.3 times the joints': a store's, since the files have none."""
    boxes = [_box(points) if points[:, 2].any() else np.full(4, np.nan) for points in track.keypoints2d]
    first = posetrack_annolist.FIRST_IMAGE
    return replace(track, frame_id=track.frame_id + first, bbox_xyxy=np.stack(boxes))


def _annolist(video: VideoPlan, scene: Scene) -> dict[str, Any]:
    people = [
        (track.frame_id, track.keypoints2d, np.stack([_head(points) for points in track.keypoints2d]))
        for track in annotate(video, scene)
    ]
    return posetrack_annolist.document(video.number, video.labelled, JOINTS, people)


def _head(points: FloatArray) -> FloatArray:
    """(4,) corners of the box about nose, neck and top of the head; zeros where none is seen."""
    return _box(points[:3]) if (points[:3, 2] > 0).any() else np.zeros(4)


def _annotations(root: Path, video: VideoPlan, layout: str) -> Path:
    inner = "" if layout == "21" else "annotations/"
    return root / f"posetrack_data/{inner}{video.split}/{video.name}.json"


def _add_keys_of_21(document: dict[str, Any]) -> None:
    """Images say whether somebody is labelled in them, annotations who it is in all videos."""
    seen = {annotation["image_id"] for annotation in document["annotations"]}
    for image in document["images"]:
        image |= {"image_id": image["id"], "has_labeled_person": image["id"] in seen}
    for annotation in document["annotations"]:
        annotation["person_id"] = annotation["track_id"]


def _document(video: VideoPlan, scene: Scene) -> dict[str, Any]:
    order = list(JOINTS) if video.index != 1 else [*JOINTS[5:], *JOINTS[:5]]
    rows = [JOINTS.index(name) for name in order]
    annotations: list[dict[str, Any]] = []
    for person, track in enumerate(annotate(video, scene)):
        for n, frame in enumerate(track.frame_id.tolist()):
            points, (x1, y1, x2, y2) = track.keypoints2d[n], track.bbox_xyxy[n].tolist()
            head = _head(points)
            annotations.append(
                {
                    "bbox_head": _mixed([head[0], head[1], *(head[2:] - head[:2])]),
                    "keypoints": _mixed(points[rows].ravel().tolist()),
                    "track_id": person,
                    "image_id": video.image_id(frame),
                    "bbox": _mixed([x1, y1, x2 - x1, y2 - y1]),
                    "scores": [],
                    "category_id": 1,
                    "id": video.image_id(frame) * 100 + person,
                }
            )
    annotations.sort(key=lambda annotation: annotation["id"])
    return {"images": _images(video), "annotations": annotations, "categories": [_category(tuple(order))]}


def _images(video: VideoPlan) -> list[dict[str, Any]]:
    return [
        {
            "has_no_densepose": True,
            "is_labeled": bool(video.labelled[frame]),
            "file_name": _image(video, frame),
            "nframes": video.frames,
            "frame_id": video.image_id(frame),
            "vid_id": f"{video.number:06d}",
            "ignore_regions_y": [],
            "ignore_regions_x": [],
            "id": video.image_id(frame),
            "width": WIDTH,
            "height": HEIGHT,
            "mask_file": f"mask/{video.split}/{video.name}/{frame:06d}.png",
        }
        for frame in range(video.frames)
    ]


def _category(names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "supercategory": "person",
        "id": 1,
        "name": "person",
        "keypoints": list(names),
        "skeleton": _SKELETON,
    }


def _mixed(values: list[float]) -> list[float | int]:
    """Whole numbers as integers, as the release's files mix them."""
    rounded = [round(float(value), 2) for value in values]
    return [int(value) if value == int(value) else value for value in rounded]
