"""A scene: people who move, a moving camera, light, a backdrop, things in the way. All of it is ground truth.

Frames of reference: the world is in metres with y up and the floor at y = 0; a camera has x right, y down, z forward
(OpenCV, as 3DPW's `cam_poses`); pixels have (0, 0) at the centre of the upper left pixel.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from hpsbench.synth.backdrops import Backdrop, draw_backdrop
from hpsbench.synth.body import load_landmarks
from hpsbench.synth.gaits import KINDS, keyframes, smooth_noise
from hpsbench.synth.motion import MIXED, Motion, synthesize
from hpsbench.synth.people import Person, draw_person
from hpsbench.types import BodyParams, FloatArray

WIDTH, HEIGHT = 640, 360
FPS = 30.0
_CORNERS = np.array([[k >> b & 1 for b in range(3)] for k in range(8)]) - 0.5
_STAYING = ("reaching", "sitting", "turning", "jumping")


@dataclass(frozen=True, kw_only=True)
class Light:
    """One distant lamp and light from all around.

    Attributes:
        towards: (3,) unit vector from the scene to the lamp, world.
        lamp, ambient: (3,) strength per colour channel.
    """

    towards: FloatArray
    lamp: FloatArray
    ambient: FloatArray


@dataclass(frozen=True, kw_only=True)
class Box:
    """An upright plain box that may move: a pillar, a bin, a passing sign.

    Attributes:
        centre: (T, 3) world position in each frame.
        size: (3,) edge lengths along x, y, z before turning.
        heading: turn about the world's y axis, radians.
        colour: (3,) RGB of 0 to 255.
    """

    centre: FloatArray
    size: FloatArray
    heading: float
    colour: FloatArray

    def corners(self, index: int) -> FloatArray:
        """(8, 3) world corners in frame `index`; corner k has bit b of k set where coordinate b is the larger."""
        return np.asarray((_CORNERS * self.size) @ self.axes().T + self.centre[index])

    def axes(self) -> FloatArray:
        """(3, 3) whose columns are the directions of the edges in the world."""
        c, s = np.cos(self.heading), np.sin(self.heading)
        return np.array(((c, 0.0, s), (0.0, 1.0, 0.0), (-s, 0.0, c)))


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything that a picture or an annotation of T frames needs.

    Attributes:
        people, motions: who and how they move, the same order; motions are in the world.
        cam_poses: (T, 4, 4) world to camera.
        intrinsics: (3, 3) pixels, for pictures of `width` x `height`.
        light, backdrop: of all frames.
        boxes: things that may hide people.
        exposure: share of the time between two frames that the shutter is open (motion blur), 0 for sharp pictures.
        noise: standard deviation of the sensor noise, of 255, whole number.
    """

    people: tuple[Person, ...]
    motions: tuple[Motion, ...]
    cam_poses: FloatArray
    intrinsics: FloatArray
    light: Light
    backdrop: Backdrop
    boxes: tuple[Box, ...] = ()
    exposure: float = 0.0
    noise: int = 0
    fps: float = FPS
    width: int = WIDTH
    height: int = HEIGHT

    def __len__(self) -> int:
        return len(self.cam_poses)

    def body_params_cam(self, person: int) -> BodyParams:
        """SMPL parameters of one person in camera coordinates, so that SMPL's own output lies in front of the camera.

        The translation makes up for SMPL turning about its root joint: t = R (root) + t_c - rest root.
        """
        motion, turn = self.motions[person], self.cam_poses[:, :3, :3]
        pose = motion.full_pose.copy()
        pose[:, :3] = (Rotation.from_matrix(turn) * Rotation.from_rotvec(pose[:, :3])).as_rotvec()
        root = np.einsum("tab,tb->ta", turn, motion.root) + self.cam_poses[:, :3, 3]
        betas = np.tile(self.people[person].betas, (len(pose), 1))
        return BodyParams(full_pose=pose, betas=betas, transl=root - motion.rest_joints[0])

    @functools.cached_property
    def joints_world(self) -> tuple[FloatArray, ...]:
        """(T, 24, 3) SMPL joints of each person in the world, metres."""
        return tuple(
            who.body(2).joints(motion.full_pose, who.betas, motion.transl)
            for who, motion in zip(self.people, self.motions, strict=True)
        )

    @functools.cached_property
    def landmarks_world(self) -> tuple[FloatArray, ...]:
        """(T, 21, 3) face, hand and foot keypoints (`anatomy.LANDMARK_IDS`) of each person in the world, metres."""
        return tuple(
            load_landmarks(who.gender).pose(motion.full_pose, who.betas, motion.transl)[0]
            for who, motion in zip(self.people, self.motions, strict=True)
        )

    def project(self, points: FloatArray, index: int) -> FloatArray:
        """(N, 3) world points -> (N, 3) pixels x, y and depth in metres (depth at most 0: behind the camera)."""
        return project_points(points, self.cam_poses[index], self.intrinsics)


def project_points(points: FloatArray, cam_pose: FloatArray, intrinsics: FloatArray) -> FloatArray:
    """(N, 3) world points -> (N, 3) pixels x, y and depth; points nearer than 5 cm are projected as if at 5 cm."""
    here = points @ cam_pose[:3, :3].T + cam_pose[:3, 3]
    pixels = here @ intrinsics.T
    return np.concatenate([pixels[:, :2] / np.maximum(pixels[:, 2:], 0.05), here[:, 2:]], axis=1)


def look_at(eye: FloatArray, target: FloatArray, roll: FloatArray) -> FloatArray:
    """(T, 4, 4) world to camera for cameras at `eye` (T, 3) that look at `target` (T, 3), rolled by (T,) radians."""
    forward = target - eye
    forward = forward / np.linalg.norm(forward, axis=1, keepdims=True)
    right = np.cross(forward, (0.0, 1.0, 0.0))
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    down = np.cross(forward, right)
    c, s = np.cos(roll)[:, None], np.sin(roll)[:, None]
    turn = np.stack([c * right + s * down, c * down - s * right, forward], axis=1)
    pose = np.tile(np.eye(4), (len(eye), 1, 1))
    pose[:, :3, :3] = turn
    pose[:, :3, 3] = -np.einsum("tab,tb->ta", turn, eye)
    return pose


def draw_light(rng: np.random.Generator) -> Light:
    """A lamp from above, at any side; warm or cold."""
    height, side = rng.uniform(0.25, 1.3), rng.uniform(0, 2 * np.pi)
    towards = np.array((np.cos(height) * np.sin(side), np.sin(height), np.cos(height) * np.cos(side)))
    tint = 1 + rng.uniform(-0.10, 0.10) * np.array((1.0, 0.1, -1.0))
    ambient = rng.uniform(0.30, 0.60)
    return Light(towards=towards, lamp=tint * rng.uniform(0.45, 0.85), ambient=ambient * (2 - tint))


def make_scene(frames: int, *, people: np.random.Generator, motions: np.random.Generator,
               backgrounds: np.random.Generator, cameras: np.random.Generator, persons: int = 1,
               kind: str | None = None, occluders: bool = True, fps: float = FPS) -> Scene:  # fmt: skip
    """A random scene whose camera follows the first person. One generator per ingredient (see `seeds`).

    Args:
        frames: T.
        people: shapes, genders, clothes.
        motions: what people do.
        backgrounds: backdrop, light, boxes, blur and noise.
        cameras: camera path and focal length.
        persons: 1 or 2; a second person stays within about two metres of the first.
        kind: of motion, for the first person; None: "mixed".
        occluders: whether boxes may stand or pass in front.
        fps: frames per second.
    """
    who = tuple(draw_person(people) for _ in range(persons))
    moving = [synthesize(kind or MIXED, frames, fps, motions, rest_joints=who[0].rest_joints())]
    for other in who[1:]:
        moving.append(_companion(moving[0], other, motions))
    intrinsics = draw_intrinsics(cameras)
    cam_poses = _follow(moving, intrinsics, fps, cameras)
    backdrop, light = draw_backdrop(backgrounds), draw_light(backgrounds)
    boxes = _draw_boxes(moving[0].root, cam_poses, fps, backgrounds) if occluders else ()
    return Scene(
        people=who,
        motions=tuple(moving),
        cam_poses=cam_poses,
        intrinsics=intrinsics,
        light=light,
        backdrop=backdrop,
        boxes=boxes,
        exposure=float(backgrounds.uniform(0.2, 0.8)) if backgrounds.random() < 0.5 else 0.0,
        noise=int(backgrounds.integers(0, 7)),
        fps=fps,
    )


def _companion(first: Motion, person: Person, rng: np.random.Generator) -> Motion:
    """A second person beside the first, who goes along at the same slow pace."""
    frames, fps = len(first), first.fps
    kind = str(rng.choice(_STAYING))
    motion = synthesize(kind, frames, fps, rng, rest_joints=person.rest_joints())
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.9, 1.8)
    beside = np.array((np.sin(angle) * distance, 0.0, np.cos(angle) * distance))
    path = gaussian_filter1d(first.root * (1, 0, 1), 1.5 * fps, axis=0, mode="nearest")
    motion = motion.moved(Rotation.from_euler("y", rng.uniform(0, 2 * np.pi)), np.zeros(3))
    stay = motion.root * (1, 0, 1)
    stay = stay - gaussian_filter1d(stay, 1.5 * fps, axis=0, mode="nearest")
    transl = motion.transl * (0, 1, 0) + stay + path + beside - motion.rest_joints[0] * (1, 0, 1)
    return replace(motion, transl=transl)


def draw_intrinsics(rng: np.random.Generator) -> FloatArray:
    """(3, 3) of a camera with a random focal length (45 to 67 degrees wide), pixels."""
    focal = rng.uniform(480, 760)
    return np.array(((focal, 0.0, WIDTH / 2 - 0.5), (0.0, focal, HEIGHT / 2 - 0.5), (0.0, 0.0, 1.0)))


def _follow(
    moving: Sequence[Motion], intrinsics: FloatArray, fps: float, rng: np.random.Generator
) -> FloatArray:
    """(T, 4, 4) a hand-held camera that walks along, drifts round the person and comes nearer or backs off."""
    root = moving[0].root
    frames, time = len(root), np.arange(len(root)) / fps
    target = gaussian_filter1d(root, 0.35 * fps, axis=0, mode="nearest")
    target[:, 1] = 0.6 * target[:, 1] + 0.4 * 0.9
    if len(moving) > 1:
        other = gaussian_filter1d(moving[1].root, 0.35 * fps, axis=0, mode="nearest")
        target = 0.7 * target + 0.3 * other
    share = keyframes(time, rng, 0.52, 0.86, every=(3.0, 8.0), move=1.0) * (1.0 if len(moving) == 1 else 0.85)
    distance = intrinsics[0, 0] * 1.75 / (share * HEIGHT)
    side = rng.uniform(0, 2 * np.pi) + np.cumsum(keyframes(time, rng, -1.0, 1.0, every=(2.0, 5.0))) / fps
    tilt = rng.choice((0.02, 0.12, 0.35), p=(0.45, 0.40, 0.15)) + 0.03 * smooth_noise((frames,), fps, rng)
    away = np.stack([np.cos(tilt) * np.sin(side), np.sin(tilt), np.cos(tilt) * np.cos(side)], axis=1)
    eye = target + distance[:, None] * away
    eye += 0.02 * smooth_noise((frames, 3), 0.4 * fps, rng) + 0.003 * smooth_noise(
        (frames, 3), 0.08 * fps, rng
    )
    eye[:, 1] = np.maximum(eye[:, 1], 0.25)
    target = target + 0.05 * smooth_noise((frames, 3), 0.8 * fps, rng)
    roll = rng.normal(0, 0.03) + 0.01 * smooth_noise((frames,), 0.7 * fps, rng)
    return look_at(eye, target, roll)


def _draw_boxes(
    root: FloatArray, cam_poses: FloatArray, fps: float, rng: np.random.Generator
) -> tuple[Box, ...]:
    """Up to three boxes: pillars that pass between camera and person, and things that stand about."""
    eye = -np.einsum("tba,tb->ta", cam_poses[:, :3, :3], cam_poses[:, :3, 3])
    frames = len(root)
    boxes = []
    for _ in range(int(rng.choice(4, p=(0.35, 0.30, 0.22, 0.13)))):
        moment = int(rng.integers(frames))
        colour = rng.uniform(20, 235) + rng.normal(0, 30, 3)
        heading = float(rng.uniform(0, np.pi))
        if rng.random() < 0.6:  # passes in front
            nearness = rng.uniform(0.35, 0.7)
            width = nearness * rng.uniform(0.15, 0.6)
            tall = float(rng.choice((0.7, 1.1, 2.8)))
            start = eye[moment] + nearness * (root[moment] - eye[moment])
            sideways = cam_poses[moment, 0, :3] * rng.choice((-1.0, 1.0)) * nearness * rng.uniform(0.6, 2.0)
            time = (np.arange(frames) - moment) / fps
            centre = start * (1, 0, 1) + (0, tall / 2, 0) + time[:, None] * sideways * (1, 0, 1)
        else:
            tall, width = rng.uniform(0.3, 2.5), rng.uniform(0.2, 1.0)
            spot = root[moment] + rng.normal(0, 1.5, 3)
            behind = np.linalg.norm(eye - spot, axis=1) > np.linalg.norm(eye - root, axis=1) - 0.5
            if np.linalg.norm((root - spot)[:, [0, 2]], axis=1).min() < 0.5 * width + 0.7 or not behind.all():
                continue
            centre = np.tile(spot * (1, 0, 1) + (0, tall / 2, 0), (frames, 1))
        size = np.array((width, tall, width * rng.uniform(0.4, 1.0)))
        boxes.append(Box(centre=centre, size=size, heading=heading, colour=np.clip(colour, 5, 250)))
    return tuple(boxes)


SCENE_KINDS = (*KINDS, MIXED)
