"""A room with fixed, calibrated cameras round the people, and plain pictures of it.

World as in `scene`: metres, y up, floor at y = 0, everybody near the origin. The pictures are flat backdrops with the
lit bodies drawn on them, at any size.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from hpsbench.synth.motion import Motion, synthesize
from hpsbench.synth.people import Person
from hpsbench.synth.render import Image, fill_triangles, visible_faces
from hpsbench.synth.scene import look_at, project_points
from hpsbench.types import FloatArray

_LAMP = np.array((0.35, 0.80, 0.49), dtype=np.float32)
_FLOOR_COLOUR, _WALL_COLOUR = (96, 88, 80), (120, 128, 118)


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """One fixed camera.

    Attributes:
        pose: (4, 4) world to camera, metres.
        intrinsics: (3, 3) pixels.
        width, height: of its pictures.
    """

    pose: FloatArray
    intrinsics: FloatArray
    width: int
    height: int

    def to_camera(self, points: FloatArray) -> FloatArray:
        """(..., 3) world points in camera coordinates, metres."""
        return np.asarray(points @ self.pose[:3, :3].T + self.pose[:3, 3])

    def project(self, points_cam: FloatArray) -> FloatArray:
        """(..., 3) points in camera coordinates -> (..., 2) pixels."""
        pixels = points_cam @ self.intrinsics.T
        return np.asarray(pixels[..., :2] / pixels[..., 2:])


def place_camera(angle: float, height: float, distance: float, intrinsics: FloatArray,
                 size: tuple[int, int]) -> Camera:  # fmt: skip
    """A camera at `angle` (radians about y) and `distance` metres, `height` above the floor, that looks at the middle."""
    eye = np.array(((distance * np.sin(angle), height, distance * np.cos(angle)),))
    pose = look_at(eye, np.array(((0.0, 0.95, 0.0),)), np.zeros(1))[0]
    return Camera(pose=pose, intrinsics=intrinsics, width=size[0], height=size[1])


def act_in_place(kind: str, frames: int, fps: float, rng: np.random.Generator, *, person: Person) -> Motion:
    """A motion that stays about the middle of the room: whoever walks away is brought back, as by a treadmill."""
    motion = synthesize(kind, frames, fps, rng, rest_joints=person.rest_joints())
    path = gaussian_filter1d(motion.root, 1.0 * fps, axis=0, mode="nearest") * (1, 0, 1)
    spot = np.array((rng.uniform(-0.3, 0.3), 0.0, rng.uniform(-0.3, 0.3)))
    return replace(motion, transl=motion.transl - path + spot)


@functools.lru_cache(maxsize=4)
def _backdrop(width: int, height: int) -> Image:
    picture = np.empty((height, width, 3), dtype=np.uint8)
    picture[:] = _WALL_COLOUR
    picture[height * 2 // 3 :] = _FLOOR_COLOUR
    return picture


def plain_picture(
    camera: Camera,
    people: Sequence[Person],
    motions: Sequence[Motion],
    index: int,
    *,
    level: int = 2,
    out: Image | None = None,
) -> Image:
    """(height, width, 3) uint8 RGB: wall, floor below the horizon, and the people from far to near.

    `out` is drawn into if it has the right shape (fresh memory costs more than the drawing), else a new picture.
    """
    backdrop = _backdrop(camera.width, camera.height)
    picture = out if out is not None and out.shape == backdrop.shape else np.empty_like(backdrop)
    picture[:] = backdrop
    depth = [float(camera.to_camera(motion.root[index])[2]) for motion in motions]
    for number in np.argsort(depth)[::-1].tolist():
        who, motion, part = people[number], motions[number], slice(index, index + 1)
        body = who.body(level)
        vertices, _, normals = body.pose_lit(motion.full_pose[part], who.betas, motion.transl[part])
        pixels = project_points(vertices[0], camera.pose, camera.intrinsics)
        order = visible_faces(pixels, body.faces)
        faces = body.faces[order]
        light = 0.55 + 0.45 * np.maximum(normals[0] @ _LAMP, 0)
        shade = light[faces].mean(axis=1)[:, None]
        fill_triangles(picture, pixels[:, :2], faces, who.clothes.face_colours(level)[order] * shade)
    return picture
