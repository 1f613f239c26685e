"""Single person crops with full ground truth, in any number: what the embedded encoder is trained on.

A scene here is not a video: each of its frames is a moment of one motion seen by a new camera, lit and drawn once.
People, motions, backgrounds and cameras come from the seed ranges of the owner (`seeds`), so that no crop shares any
of them with a dataset.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hpsbench.synth.backdrops import Backdrop, draw_backdrop
from hpsbench.synth.body_shape import Gender
from hpsbench.synth.gaits import KINDS
from hpsbench.synth.motion import MIXED, Motion, synthesize
from hpsbench.synth.people import draw_person
from hpsbench.synth.render import blurred, render_crop
from hpsbench.synth.scene import HEIGHT, Box, Scene, draw_intrinsics, draw_light, look_at
from hpsbench.synth.seeds import generator
from hpsbench.synth.visibility import coco18_world
from hpsbench.types import FloatArray

CROPS_PER_SCENE = 12
_SCENES_PER_BACKDROP = 4  # drawing one takes as long as several crops
_FPS, _EVERY = 15.0, 10
_FAR_BELOW = np.array((0.0, -100.0, 0.0))


@dataclass(frozen=True, kw_only=True)
class Crop:
    """One picture of one person.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        full_pose: (72,) axis-angle, joint 0 in camera coordinates.
        betas: (10,) of the body of `gender`.
        transl: (3,) SMPL's translation in camera coordinates, metres.
        keypoints2d: (18, 2) `visibility.COCO18` in pixels of the crop.
        bbox_cxcywh: (4,) the crop in pixels of the frame.
        intrinsics: (3, 3) of the frame.
    """

    image: NDArray[np.uint8]
    full_pose: FloatArray
    betas: FloatArray
    gender: Gender
    transl: FloatArray
    keypoints2d: FloatArray
    bbox_cxcywh: FloatArray
    intrinsics: FloatArray


def still_scene(number: int, *, owner: str = "encoder/train", seed: int = 0) -> Scene:
    """Scene `number` of an owner: `CROPS_PER_SCENE` moments of one or two people, each from a new camera.

    Args:
        number: from 0.
        owner: of the seeds, one of `seeds.OWNERS`.
        seed: the user's seed.
    """
    people, motions, backgrounds, cameras = (
        generator(owner, ingredient, number, seed=seed)
        for ingredient in ("people", "motions", "backgrounds", "cameras")
    )
    who = [draw_person(people)]
    kind = str(motions.choice([*KINDS, MIXED, MIXED]))
    moving = [_moments(kind, motions, who[0].rest_joints())]
    if people.random() < 0.15:
        who.append(draw_person(people))
        moving.append(_bystander(moving[0], motions, who[1].rest_joints()))
    intrinsics = draw_intrinsics(cameras)
    cam_poses = _random_cameras(moving[0], intrinsics, cameras)
    return Scene(
        people=tuple(who),
        motions=tuple(moving),
        cam_poses=cam_poses,
        intrinsics=intrinsics,
        light=draw_light(backgrounds),
        backdrop=_recoloured(_shared_backdrop(owner, number // _SCENES_PER_BACKDROP, seed), backgrounds),
        boxes=_flashing_boxes(moving[0], cam_poses, backgrounds),
        noise=int(backgrounds.integers(0, 7)),
        fps=_FPS / _EVERY,
    )


def crops_of(scene: Scene, rng: np.random.Generator, *, size: int = 112) -> Iterator[Crop]:
    """One crop of the first person in each frame; the box is about what the dataset recipes cut, moved a little.

    The recipes' boxes are 1.1 times the diagonal of the keypoints, then enlarged by 1.2 or 1.3.
    """
    params, points = scene.body_params_cam(0), coco18_world(scene, 0)
    transl = np.asarray(params.transl)
    for index in range(len(scene)):
        pixels = scene.project(points[index], index)[:, :2]
        low, high = pixels.min(0), pixels.max(0)
        side = float(np.linalg.norm(high - low)) * rng.uniform(1.15, 1.60)
        centre = (low + high) / 2 + rng.normal(0, 0.03, 2) * side
        bbox = np.array((*centre, side, side))
        image = render_crop(scene, index, bbox, size, oversample=1.75)
        if rng.random() < 0.2:
            image = blurred(image, rng.normal(0, 0.012, 2) * size)
        yield Crop(
            image=image,
            full_pose=params.full_pose[index],
            betas=scene.people[0].betas,
            gender=scene.people[0].gender,
            transl=transl[index],
            keypoints2d=(pixels - centre) * (size / side) + size / 2 - 0.5,
            bbox_cxcywh=bbox,
            intrinsics=scene.intrinsics,
        )


def crop_stream(owner: str, scenes: range, *, size: int = 112, seed: int = 0) -> Iterator[Crop]:
    """All crops of a range of scenes, in order; the same for the same arguments.

    Example:
        for crop in crop_stream("encoder/train", range(1000)): ...   # 12,000 crops
    """
    for number in scenes:
        rng = generator(owner, "defects", number, seed=seed)
        yield from crops_of(still_scene(number, owner=owner, seed=seed), rng, size=size)


@functools.lru_cache(maxsize=2)
def _shared_backdrop(owner: str, number: int, seed: int) -> Backdrop:
    return draw_backdrop(generator(owner, "textures", number, seed=seed))


def _recoloured(backdrop: Backdrop, rng: np.random.Generator) -> Backdrop:
    """The same surroundings with the colour channels exchanged."""
    order = rng.permutation(3)
    return Backdrop(
        wall=np.ascontiguousarray(backdrop.wall[..., order]),
        floor=np.ascontiguousarray(backdrop.floor[..., order]),
        haze=backdrop.haze[order],
    )


def _moments(kind: str, rng: np.random.Generator, rest_joints: FloatArray) -> Motion:
    motion = synthesize(kind, CROPS_PER_SCENE * _EVERY, _FPS, rng, rest_joints=rest_joints)
    chosen = slice(int(rng.integers(_EVERY)), None, _EVERY)
    return replace(
        motion, full_pose=motion.full_pose[chosen], transl=motion.transl[chosen], fps=motion.fps / _EVERY
    )


def _bystander(first: Motion, rng: np.random.Generator, rest_joints: FloatArray) -> Motion:
    """Someone else near the first person, each time at another side."""
    motion = _moments(str(rng.choice(list(KINDS))), rng, rest_joints)
    angle, distance = rng.uniform(0, 2 * np.pi, len(first)), rng.uniform(0.7, 2.0, len(first))
    beside = np.stack([np.sin(angle) * distance, np.zeros(len(first)), np.cos(angle) * distance], axis=1)
    ground = np.array((1.0, 0.0, 1.0))
    transl = motion.transl * (0, 1, 0) + (first.root + beside - rest_joints[0]) * ground
    return replace(motion, transl=transl)


def _random_cameras(motion: Motion, intrinsics: FloatArray, rng: np.random.Generator) -> FloatArray:
    """(T, 4, 4) cameras all round the person, more often at eye level than from above."""
    frames = len(motion)
    distance = intrinsics[0, 0] * 1.75 / (rng.uniform(0.45, 0.95, frames) * HEIGHT)
    side = rng.uniform(0, 2 * np.pi, frames)
    tilt = np.where(rng.random(frames) < 0.8, rng.normal(0.08, 0.08, frames), rng.uniform(0.1, 0.6, frames))
    away = np.stack([np.cos(tilt) * np.sin(side), np.sin(tilt), np.cos(tilt) * np.cos(side)], axis=1)
    eye = motion.root + distance[:, None] * away
    eye[:, 1] = np.maximum(eye[:, 1], 0.25)
    target = motion.root + rng.normal(0, 0.15, (frames, 3))
    return look_at(eye, target, rng.normal(0, 0.05, frames))


def _flashing_boxes(motion: Motion, cam_poses: FloatArray, rng: np.random.Generator) -> tuple[Box, ...]:
    """One box that in a third of the moments stands before the person; else it is far below the floor."""
    frames = len(motion)
    eye = -np.einsum("tba,tb->ta", cam_poses[:, :3, :3], cam_poses[:, :3, 3])
    nearness = rng.uniform(0.4, 0.75)
    tall, width = float(rng.choice((0.5, 0.9, 2.8))), nearness * rng.uniform(0.15, 0.55)
    spot = eye + nearness * (motion.root - eye)
    spot += nearness * rng.normal(0, 0.35, (frames, 1)) * cam_poses[:, 0, :3]
    spot[:, 1] = tall / 2
    centre = np.where(rng.random((frames, 1)) < 0.33, spot, _FAR_BELOW)
    colour = np.clip(rng.uniform(20, 235) + rng.normal(0, 30, 3), 5, 250)
    size = np.array((width, tall, width * rng.uniform(0.4, 1.0)))
    return (Box(centre=centre, size=size, heading=float(rng.uniform(0, np.pi)), colour=colour),)
