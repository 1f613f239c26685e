"""A synthetic Penn Action in its raw layout: `labels/<clip>.mat` (MATLAB 5) and `frames/<clip>/<frame>.jpg`.

One person per clip, 2D only, images of 480 x 270. Joints that something hides or that are outside the picture keep
their coordinates and have visibility 0. Clips of both splits follow each other as the real ones do.

On purpose, in the first clip: a frame without a visible joint (row 3), one with a single one (row 6), a joint at
(0, 0) that is called visible (row 9), and a frame of nothing but zeros (row 12). The second clip has one box less than
frames, the third (of the test split in `tiny`) one image less. `train` is 1 or -1.
"""

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench.synth.matlab_files import matlab_5
from hpsbench.synth.output import Progress, write_items, write_jpeg, write_whole
from hpsbench.synth.points import named_points
from hpsbench.synth.scene import HEIGHT, WIDTH, Scene, make_scene
from hpsbench.synth.seeds import dataset_owner, generator
from hpsbench.types import BoolArray, FloatArray

DATASET = "pennaction"
SIZE = (480, 270)
NO_JOINT, ONE_JOINT, ZERO_JOINT, NOTHING = 3, 6, 9, 12
"""Rows of the first clip with a defect each."""
_ZERO_AT = 5
_COUNTS = {"tiny": (2, 2), "small": (12, 8), "full": (24, 24)}
_KINDS = {
    "running": "baseball_pitch", "jumping": "jumping_jacks", "sitting": "squat", "reaching": "tennis_serve",
    "turning": "golf_swing", "climbing": "pullup", "walking": "bowl",
}  # fmt: skip
_LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
POINTS = ("head_top", *(f"{side}_{limb}" for limb in _LIMBS for side in ("left", "right")))
"""Points of the body in the order of the 13 joints (joint set `pennaction13`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipPlan:
    """One clip.

    Attributes:
        name: four digits.
        split: train or test.
        index: over all clips, from 0; part of the seed.
        frames: F.
        images: of the first frames there are images.
        boxes: rows of `bbox`.
        motion: kind of motion.
    """

    name: str
    split: str
    index: int
    frames: int
    images: int
    boxes: int
    motion: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipTruth:
    """What is known of one clip without reading a file.

    Attributes:
        key: the track's name in a store.
        split: train or test.
        keypoints2d: (F, 13, 3) x, y in pixels, and 1 or 0 for visible or not.
        bbox_xyxy: (F, 4) corners; NaN in a frame without a box.
        has_image: (F,).
        action: as the file names it.
    """

    key: str
    split: str
    keypoints2d: FloatArray
    bbox_xyxy: FloatArray
    has_image: BoolArray
    action: str


def clip_plans(size: str) -> list[ClipPlan]:
    """The clips of one size; splits take turns as long as both have clips left."""
    clips = []
    for index, split in enumerate(_split_order(*_COUNTS[size])):
        frames = {"tiny": 24 + 5 * index % 17, "small": 120, "full": 300 + 137 * index % 601}[size]
        clips.append(
            ClipPlan(
                name=f"{index + 1:04d}",
                split=split,
                index=index,
                frames=frames,
                images=frames - (index == 2),
                boxes=frames - (index == 1),
                motion=list(_KINDS)[index % len(_KINDS)],
            )
        )
    return clips


def _split_order(train: int, test: int) -> list[str]:
    """Two training clips, then the splits in turn, then what is left of one of them."""
    turns = min(train - 2, test)
    return (
        ["train"] * 2
        + ["test", "train"] * turns
        + ["test"] * (test - turns)
        + ["train"] * (train - 2 - turns)
    )


def plan(size: str) -> list[tuple[str, int]]:
    """(split, frames) of every clip."""
    return [(clip.split, clip.frames) for clip in clip_plans(size)]


def write(
    root: Path, size: str = "tiny", seed: int = 0, workers: int = 1, progress: Progress | None = None
) -> list[ClipPlan]:
    """Write the dataset; clips whose label file is there already are kept.

    Args:
        root: the raw dataset's folder.
        size: `tiny`, `small` or `full`.
        seed: of all people, motions and scenes.
        workers: processes that render. The bytes don't depend on it.
        progress: called with frames done, frames in all, and the clip just finished.

    Returns:
        The clips' plans; `clip_truth` has the ground truth.
    """
    plans = clip_plans(size)
    job = functools.partial(write_clip, root, size=size, seed=seed)
    write_items(
        plans, job, is_done=lambda clip: _labels(root, clip).is_file(), workers=workers, progress=progress
    )
    return plans


def write_clip(root: Path, clip: ClipPlan, *, size: str, seed: int) -> ClipPlan:
    """Render and write one clip: images that are there are kept, the label file is written last."""
    from hpsbench.synth.render import render_frame

    scene = make_clip(clip, size, seed)
    for index in range(clip.images):
        path = root / "frames" / clip.name / f"{index + 1:06d}.jpg"
        if not path.is_file():
            write_jpeg(path, render_frame(scene, index, level=2))
    write_whole(_labels(root, clip), matlab_5(_variables(clip, annotate(clip, scene))))
    return clip


def clip_truth(size: str, seed: int = 0) -> list[ClipTruth]:
    """The ground truth of every clip of a size, in the order of the plan, without rendering."""
    clips = []
    for clip in clip_plans(size):
        points = annotate(clip, make_clip(clip, size, seed))
        boxes = np.full((clip.frames, 4), np.nan)
        boxes[: clip.boxes] = _boxes(points)[: clip.boxes]
        clips.append(
            ClipTruth(
                key=f"{clip.name}_0",
                split=clip.split,
                keypoints2d=points,
                bbox_xyxy=boxes,
                has_image=np.arange(clip.frames) < clip.images,
                action=_KINDS[clip.motion],
            )
        )
    return clips


def make_clip(clip: ClipPlan, size: str, seed: int) -> Scene:
    """The scene of a planned clip; the same arguments give the same scene."""
    draw = functools.partial(
        generator, dataset_owner(DATASET, clip.split, size), number=clip.index, seed=seed
    )
    scene = make_scene(
        clip.frames,
        people=draw(ingredient="people"),
        motions=draw(ingredient="motions"),
        backgrounds=draw(ingredient="backgrounds"),
        cameras=draw(ingredient="cameras"),
        kind=clip.motion,
    )
    inner = np.diag((SIZE[0] / WIDTH, SIZE[1] / HEIGHT, 1.0)) @ scene.intrinsics
    return replace(scene, intrinsics=inner, width=SIZE[0], height=SIZE[1])


def annotate(clip: ClipPlan, scene: Scene) -> FloatArray:
    """(F, 13, 3) what the label file says: pixels and visibility, with the planned defects."""
    from hpsbench.synth.visibility import keypoints2d

    world = named_points(scene.people[0], scene.motions[0], POINTS)
    points = np.stack([keypoints2d(scene, index, 0, world[index]) for index in range(clip.frames)])
    if clip.index == 0:
        points[NO_JOINT, :, 2] = 0
        points[ONE_JOINT, :, 2] = np.arange(len(POINTS)) == 1
        points[ZERO_JOINT, _ZERO_AT] = 0, 0, 1
        points[NOTHING] = 0
    return points


def _labels(root: Path, clip: ClipPlan) -> Path:
    return root / "labels" / f"{clip.name}.mat"


def _boxes(points: FloatArray) -> FloatArray:
    """(F, 4) corners round all joints, within the picture."""
    low, high = points[..., :2].min(axis=1) - 6, points[..., :2].max(axis=1) + 6
    return np.concatenate([np.clip(low, 1, SIZE), np.clip(high, 1, SIZE)], axis=1)


def _variables(clip: ClipPlan, points: FloatArray) -> dict[str, Any]:
    return {
        "action": _KINDS[clip.motion],
        "pose": ("front", "back", "left", "right")[clip.index % 4],
        "x": points[..., 0],
        "y": points[..., 1],
        "visibility": points[..., 2].astype(np.uint8),
        "train": 1 if clip.split == "train" else -1,
        "bbox": _boxes(points)[: clip.boxes],
        "dimensions": np.array([[SIZE[1], SIZE[0], clip.frames]], dtype=np.float64),
        "nframes": clip.frames,
    }
