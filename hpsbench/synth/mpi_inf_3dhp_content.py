"""One synthetic MPI-INF-3DHP sequence as arrays: person, motion, cameras, and what the annotation files say."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from hpsbench.synth.motion import Motion
from hpsbench.synth.mpi_inf_3dhp import CAMERAS, SequencePlan, images_of, sequence_plans
from hpsbench.synth.people import Person, draw_person
from hpsbench.synth.points import named_points
from hpsbench.synth.seeds import dataset_owner, generator
from hpsbench.synth.studio import Camera, act_in_place, place_camera
from hpsbench.types import Array, BoolArray, FloatArray

_MM = 1000.0
_SIDE = ("clavicle", "shoulder", "elbow", "wrist", "hand"), ("hip", "knee", "ankle", "foot", "toe")
_POINT = {"clavicle": "{}_collar", "toe": "{}_big_toe", "hip": "lsp_{}_hip"}
_TRUNK = ("spine3", "thorax", "spine2", "h36m_spine", "mid_hip", "lsp_neck", "h36m_head", "head_top")
# Points of the body in the order of the 28 joints (joint set `mpii3d28_official`).
POINTS = (
    *_TRUNK,
    *(
        _POINT.get(name, "{}_" + name).format(side)
        for names in _SIDE
        for side in ("left", "right")
        for name in names
    ),
)
# Of these 28, the 17 of the test set in its order (`mpii3d_test17_official`).
TEST_ROWS = (7, 5, 14, 15, 16, 9, 10, 11, 23, 24, 25, 18, 19, 20, 4, 3, 6)
# Test sequence -> row, place among the 17 joints, axis, pixel: keypoints on and beyond the borders of the image.
EDGES = {"TS1": ((5, 4, 0, -1.0), (9, 10, 1, 2048.0)), "TS5": ((3, 7, 0, 1920.0),)}
_SIZES = {"TS5": (1920, 1080), "TS6": (1920, 1080)}
_SQUARE = (2048, 2048)
_UNIVERSAL_HEIGHT = 1.52  # of the universal skeleton: head top to the middle of the ankles, metres


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A sequence before it is written.

    Attributes:
        plan: what was asked for.
        person, motion: at the sequence's rate.
        cameras: 14, or the test set's one.
        annotations: variables of the annotation file.
    """

    plan: SequencePlan
    person: Person
    motion: Motion
    cameras: tuple[Camera, ...]
    annotations: dict[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackTruth:
    """What is known of one track without reading a file. J: 28 joints in training, 17 in the test set.

    Attributes:
        key: the track's name in a store.
        split: train or test.
        camera: number as text; None in the test set.
        keypoints2d: (F, J, 2) pixels.
        joints3d, joints3d_univ: (F, J, 3) camera coordinates, metres.
        valid: (F,) the flag of the test set; true in training.
        has_image: (F,) whether there is an image; true throughout where the camera has none.
        inside: (F,) whether the 17 joints lie within the image.
    """

    key: str
    split: str
    camera: str | None
    keypoints2d: FloatArray
    joints3d: FloatArray
    joints3d_univ: FloatArray
    valid: BoolArray
    has_image: BoolArray
    inside: BoolArray


def make_sequence(plan: SequencePlan, size: str, seed: int) -> Recording:
    """Person, motion and cameras of a planned sequence; the same arguments give the same sequence."""
    person, motion, cameras = _drawn(plan, size, seed)
    views = [_annotated(plan, person, motion, camera) for camera in cameras]
    if plan.split == "train":
        annotations = {name: _cells([view[name] for view in views]) for name in views[0]}
        annotations["cameras"] = np.arange(CAMERAS, dtype=np.float64)[None]
        annotations["frames"] = np.arange(plan.frames, dtype=np.float64)[:, None]
    else:
        annotations = {name: values[:, None] for name, values in views[0].items()}
        annotations["valid_frame"] = _valid(plan).astype(np.float64)[:, None]
        annotations["activity_annotation"] = (np.arange(plan.frames) * 7.0 // plan.frames + 1)[:, None]
        annotations["bb_crop"] = np.zeros((plan.frames, 34))
    return Recording(plan=plan, person=person, motion=motion, cameras=cameras, annotations=annotations)


def track_truth(size: str, seed: int = 0) -> list[TrackTruth]:
    """The ground truth of every track of a size, in the order of the plan, without rendering."""
    tracks = []
    for plan in sequence_plans(size):
        person, motion, cameras = _drawn(plan, size, seed)
        train = plan.split == "train"
        for number, camera in enumerate(cameras):
            view = _annotated(plan, person, motion, camera)
            images = images_of(plan, number, size)
            tested = view["annot2"][:, list(TEST_ROWS)] if train else view["annot2"]
            inside = (tested >= 0) & (tested < (camera.width, camera.height))
            tracks.append(
                TrackTruth(
                    key=f"{plan.name}_video_{number}_0" if train else f"{plan.name}_0",
                    split=plan.split,
                    camera=str(number) if train else None,
                    keypoints2d=view["annot2"],
                    joints3d=view["annot3"] / _MM,
                    joints3d_univ=view["univ_annot3"] / _MM,
                    valid=_valid(plan),
                    has_image=(np.arange(plan.frames) < images) | (images == 0),
                    inside=np.asarray(inside.all(axis=(1, 2))),
                )
            )
    return tracks


def calibration_text(cameras: tuple[Camera, ...], newline: str) -> str:
    """`camera.calibration`; matrix lines end in a space, translations are in millimetres."""
    lines = ["Skeletool Camera Calibration File V1.0"]
    for number, camera in enumerate(cameras):
        inner, outer = np.eye(4), camera.pose.copy()
        inner[:3, :3] = camera.intrinsics
        outer[:3, 3] *= _MM
        lines += [
            f"name          {number}",
            "  sensor      10 10",
            f"  size        {camera.width} {camera.height}",
            "  animated    0",
            f"  intrinsic   {_numbers(inner)} ",
            f"  extrinsic   {_numbers(outer)} ",
            "  radial      0",
        ]
    return newline.join(lines) + newline


def _numbers(matrix: FloatArray) -> str:
    return " ".join(repr(float(value)) for value in matrix.ravel())


def _drawn(plan: SequencePlan, size: str, seed: int) -> tuple[Person, Motion, tuple[Camera, ...]]:
    owner = dataset_owner("mpi-inf-3dhp", plan.split, size)
    person = draw_person(generator(owner, "people", plan.subject, seed=seed))
    motions = generator(owner, "motions", plan.index, seed=seed)
    motion = act_in_place(plan.motion, plan.frames, plan.fps, motions, person=person)
    rng = generator(owner, "cameras", plan.index, seed=seed)
    return person, motion, _train_cameras(rng) if plan.split == "train" else (_test_camera(plan, rng),)


def _train_cameras(rng: np.random.Generator) -> tuple[Camera, ...]:
    """Eight at chest height, number 3 high up, 9 to 13 under the ceiling; all of 2048 x 2048."""
    cameras = []
    for number in range(CAMERAS):
        focal = rng.uniform(1480, 1520, 2)
        centre = rng.uniform(1010, 1040, 2)
        inner = np.array(((focal[0], 0, centre[0]), (0, focal[1], centre[1]), (0, 0, 1.0)))
        height = 2.2 if number == 3 else 3.0 if number > 8 else rng.uniform(0.9, 1.4)
        angle = 2 * np.pi * number / CAMERAS + rng.uniform(-0.1, 0.1)
        cameras.append(place_camera(angle, float(height), float(rng.uniform(3.2, 4.0)), inner, _SQUARE))
    return tuple(cameras)


def _test_camera(plan: SequencePlan, rng: np.random.Generator) -> Camera:
    size = _SIZES.get(plan.name, _SQUARE)
    focal, centre = (
        ((1683.0, 1672.0), (940.0, 560.0)) if size != _SQUARE else ((1500.0, 1500.0), (1017.0, 1043.0))
    )
    inner = np.array(((focal[0], 0, centre[0]), (0, focal[1], centre[1]), (0, 0, 1.0)))
    distance = rng.uniform(3.4, 3.9) if size == _SQUARE else rng.uniform(4.8, 5.4)
    return place_camera(float(rng.uniform(0, 2 * np.pi)), 1.1, float(distance), inner, size)


def _annotated(plan: SequencePlan, person: Person, motion: Motion, camera: Camera) -> dict[str, FloatArray]:
    """annot2 (F, J, 2) pixels, annot3 and univ_annot3 (F, J, 3) millimetres in the camera."""
    joints = camera.to_camera(named_points(person, motion, POINTS))
    if plan.split == "test":
        joints = joints[:, list(TEST_ROWS)]
    pixels = camera.project(joints)
    for row, joint, axis, pixel in EDGES.get(plan.name, ()):
        pixels[row, joint, axis] = pixel
    standing = named_points(person, _standing(motion), ("head_top", "left_ankle", "right_ankle"))[0]
    height = standing[0, 1] - standing[1:, 1].mean()
    return {
        "annot2": pixels,
        "annot3": joints * _MM,
        "univ_annot3": joints * (_MM * _UNIVERSAL_HEIGHT / height),
    }


def _standing(motion: Motion) -> Motion:
    """One frame of the same person in the T-pose."""
    from dataclasses import replace

    return replace(motion, full_pose=np.zeros((1, 72)), transl=np.zeros((1, 3)))


def _valid(plan: SequencePlan) -> BoolArray:
    """Every fourth frame of TS1 to TS4, most of TS5, none of TS6; all of the training set."""
    frames = np.arange(plan.frames)
    if plan.split == "train":
        return np.ones(plan.frames, dtype=bool)
    if plan.name == "TS6":
        return np.zeros(plan.frames, dtype=bool)
    return np.asarray(frames % 8 != 7) if plan.name == "TS5" else np.asarray(frames % 4 == 2)


def _cells(arrays: list[FloatArray]) -> Any:
    """(14, 1) cells of (F, numbers)."""
    cells = np.empty((len(arrays), 1), dtype=object)
    for number, values in enumerate(arrays):
        cells[number, 0] = values.reshape(len(values), -1)
    return cells
