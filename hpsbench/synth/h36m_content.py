"""One synthetic Human3.6M trial as arrays: person, motion, cameras, and where the joints are.

The world is the dataset's: z up, millimetres in the files, metres here.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from hpsbench.synth.h36m import CAMERAS, FPS, TEST_SUBJECTS, TrialPlan
from hpsbench.synth.motion import Motion
from hpsbench.synth.output import write_jpeg
from hpsbench.synth.people import Person, draw_person
from hpsbench.synth.points import named_points
from hpsbench.synth.render import Image, visible_faces
from hpsbench.synth.scene import project_points
from hpsbench.synth.seeds import dataset_owner, generator
from hpsbench.synth.studio import Camera, act_in_place, place_camera, plain_picture
from hpsbench.types import BoolArray, FloatArray

MM = 1000.0
SIZES = ((1000, 1002), (1000, 1000), (1000, 1000), (1000, 1002))
_LEG = ("h36m_{}_hip", "{}_knee", "{}_ankle", "{}_foot", "{}_big_toe")
_ARM = ("{}_shoulder", "{}_elbow", "{}_wrist", "{}_wrist", "{}_thumb", "{}_hand", "{}_middle")
# Points of the body in the order of the 32 joints (joint set `h36m32_raw`): several are the same point twice.
POINTS = (
    "mid_hip",
    *(point.format(side) for side in ("right", "left") for point in _LEG),
    "mid_hip", "h36m_spine", "h36m_neck", "jaw", "head_top",
    *(point.format(side) for side in ("left", "right") for point in ("h36m_neck", *_ARM)),
)  # fmt: skip
# Of these 32, the 17 that move (joint set `h36m17_official`, right leg first).
SEVENTEEN = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
_UNIVERSAL_HEIGHT = 1.52
_Z_UP = np.array(((1.0, 0, 0), (0, 0, -1.0), (0, 1.0, 0)))  # from y up to z up
_NOBODY = 10
"""Row in which a mask is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lens:
    """A camera with a lens: `studio.Camera` in the world with y up, and the distortion k1, k2, k3, p1, p2."""

    camera: Camera
    distortion: FloatArray

    @property
    def rotation(self) -> FloatArray:
        """(3, 3) from the world with z up to the camera."""
        return np.asarray(self.camera.pose[:3, :3] @ _Z_UP.T)

    @property
    def centre(self) -> FloatArray:
        """(3,) where it stands in the world with z up, metres."""
        return np.asarray(-self.rotation.T @ self.camera.pose[:3, 3])

    @property
    def numbers(self) -> tuple[float, float, float, float]:
        """Focal lengths, then the principal point: fx, fy, cx, cy."""
        inner = self.camera.intrinsics
        return float(inner[0, 0]), float(inner[1, 1]), float(inner[0, 2]), float(inner[1, 2])

    def distorted(self, points: FloatArray) -> FloatArray:
        """(..., 3) points in camera coordinates -> (..., 2) pixels through the lens."""
        k1, k2, k3, p1, p2 = self.distortion
        fx, fy, cx, cy = self.numbers
        x, y = points[..., 0] / points[..., 2], points[..., 1] / points[..., 2]
        square = x * x + y * y
        gain = 1 + square * (k1 + square * (k2 + square * k3)) + p1 * y + p2 * x
        return np.stack([fx * (x * gain + p2 * square) + cx, fy * (y * gain + p1 * square) + cy], axis=-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A trial before it is written.

    Attributes:
        plan: what was asked for.
        person, motion: in the world with y up.
        lenses: of all four cameras.
        world: (F, 32, 3) joints in the world with z up, metres.
        universal: scale of the skeleton of one size.
    """

    plan: TrialPlan
    person: Person
    motion: Motion
    lenses: tuple[Lens, ...]
    world: FloatArray
    universal: float

    def joints(self, camera: int) -> FloatArray:
        """(F, 32, 3) joints in a camera's coordinates, metres."""
        lens = self.lenses[camera]
        return np.asarray((self.world - lens.centre) @ lens.rotation.T)

    def full_pose(self, camera: int | None) -> FloatArray:
        """(F, 72) SMPL's pose with the root in a camera's coordinates, or in the world with z up."""
        pose = self.motion.z_up().full_pose.copy()
        if camera is not None:
            turn = Rotation.from_matrix(self.lenses[camera].rotation)
            pose[:, :3] = (turn * Rotation.from_rotvec(pose[:, :3])).as_rotvec()
        return pose

    def transl(self, camera: int | None) -> FloatArray:
        """(F, 3) SMPL's translation with `full_pose`, metres."""
        moved = self.motion.z_up()
        if camera is None:
            return moved.transl
        lens = self.lenses[camera]
        return np.asarray((moved.root - lens.centre) @ lens.rotation.T - moved.rest_joints[0])


def make_trial(plan: TrialPlan, size: str, seed: int) -> Trial:
    """Person, motion and cameras of a planned trial; the same arguments give the same trial."""
    owner = dataset_owner("h36m", plan.split, size)
    person = draw_person(generator(owner, "people", plan.subject, seed=seed))
    motions = generator(owner, "motions", plan.index, seed=seed)
    motion = act_in_place(plan.motion, plan.frames, FPS, motions, person=person)
    world = named_points(person, motion, POINTS) @ _Z_UP.T
    return Trial(
        plan=plan,
        person=person,
        motion=motion,
        lenses=lenses_of(plan.subject, size, seed),
        world=world,
        universal=_UNIVERSAL_HEIGHT / _height(person, motion),
    )


def lenses_of(subject: int, size: str, seed: int) -> tuple[Lens, ...]:
    """The four cameras as they stood for a subject; their lenses are the same for everybody."""
    lens_rng = generator(dataset_owner("h36m", "train", size), "cameras", 0, seed=seed)
    split = "test" if subject in TEST_SUBJECTS else "train"
    places = generator(dataset_owner("h36m", split, size), "cameras", subject, seed=seed)
    lenses = []
    for number in range(len(CAMERAS)):
        focal, centre = lens_rng.uniform(1140, 1150, 2), lens_rng.uniform(505, 518, 2)
        distortion = np.array((-0.2, 0.25, -0.005, -0.0014, 0.0009)) * lens_rng.uniform(0.8, 1.2, 5)
        inner = np.array(((focal[0], 0, centre[0]), (0, focal[1], centre[1]), (0, 0, 1.0)))
        angle = np.pi / 4 + np.pi / 2 * number + places.uniform(-0.1, 0.1)
        height, distance = float(places.uniform(1.4, 1.7)), float(places.uniform(4.4, 5.2))
        lenses.append(
            Lens(camera=place_camera(angle, height, distance, inner, SIZES[number]), distortion=distortion)
        )
    return tuple(lenses)


def write_frame(path: Path, trial: Trial, camera: int, row: int) -> None:
    """Draw and write one image that is not there yet."""
    if not path.is_file():
        write_jpeg(path, picture(trial, camera, row))


def picture(trial: Trial, camera: int, row: int) -> Image:
    """(H, W, 3) uint8 RGB: what a camera sees, as through a lens without distortion."""
    return plain_picture(trial.lenses[camera].camera, [trial.person], [trial.motion], row)


def masks(trial: Trial, camera: int) -> list[BoolArray]:
    """(H, W) where the person is, in each frame; nowhere in frame 10."""
    seen, body = trial.lenses[camera].camera, trial.person.body(2)
    found = []
    for row in range(trial.plan.frames):
        part = slice(row, row + 1)
        posed = body.pose(trial.motion.full_pose[part], trial.person.betas, trial.motion.transl[part])
        pixels = project_points(posed[0][0], seen.pose, seen.intrinsics)
        mask = np.zeros((seen.height, seen.width), dtype=np.uint8)
        if row != _NOBODY:
            corners = np.round(pixels[:, :2]).astype(np.int32)
            for triangle in corners[body.faces[visible_faces(pixels, body.faces)]]:
                cv2.fillConvexPoly(mask, triangle, 1)
        found.append(mask.astype(bool))
    return found


def _height(person: Person, motion: Motion) -> float:
    """Head top to the middle of the ankles in the T-pose, metres."""
    from dataclasses import replace

    standing = replace(motion, full_pose=np.zeros((1, 72)), transl=np.zeros((1, 3)))
    head, *ankles = named_points(person, standing, ("head_top", "left_ankle", "right_ankle"))[0]
    return float(head[1] - np.mean([ankle[1] for ankle in ankles]))
