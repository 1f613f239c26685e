"""Draw scenes: lit meshes from back to front over a backdrop, with OpenCV.

The painter's algorithm: skin the people, drop faces that look away, sort the rest by depth, fill them one by one.
No depth buffer and no texture; small pictures use a thinner mesh.
"""

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hpsbench.synth.anatomy import PARENTS
from hpsbench.synth.backdrops import paint_backdrop
from hpsbench.synth.scene import Box, Light, Scene, project_points
from hpsbench.types import FloatArray, IntArray

Image = NDArray[np.uint8]
_SUBPIXEL_BITS = 4
_NEAR = 0.15
_BOX_SIDES = np.array([(0, 4, 6, 2), (1, 3, 7, 5), (0, 1, 5, 4), (2, 6, 7, 3), (0, 2, 3, 1), (4, 5, 7, 6)])
_NOISE_SIZE = (480, 800)
_SHADOW_SCALE = 4


@dataclass(frozen=True, kw_only=True)
class View:
    """How one frame is looked at: the scene's own camera, or a part of its picture at another scale.

    Attributes:
        intrinsics: (3, 3) pixels of the picture to draw.
        size: its width and height.
        level: level of detail of the people, see `SyntheticBody`.
    """

    intrinsics: FloatArray
    size: tuple[int, int]
    level: int = 1


def frame_view(scene: Scene, level: int = 1) -> View:
    """The whole frame."""
    return View(intrinsics=scene.intrinsics, size=(scene.width, scene.height), level=level)


def crop_view(scene: Scene, bbox_cxcywh: FloatArray, size: int, level: int = 2) -> View:
    """The square part of the frame round a box (centre and the larger side, pixels), drawn at `size` x `size`."""
    cx, cy, w, h = (float(v) for v in bbox_cxcywh)
    zoom = size / max(w, h)
    to_crop = np.array(
        ((zoom, 0, size / 2 - 0.5 - zoom * cx), (0, zoom, size / 2 - 0.5 - zoom * cy), (0, 0, 1.0))
    )
    return View(intrinsics=to_crop @ scene.intrinsics, size=(size, size), level=level)


def render_frame(scene: Scene, index: int, *, level: int = 1) -> Image:
    """One frame of a scene.

    Returns:
        (height, width, 3) uint8 RGB; the same bytes for the same scene and index.
    """
    picture = draw(scene, index, frame_view(scene, level))
    return _develop(picture, scene, index, 1.0)


def render_crop(
    scene: Scene, index: int, bbox_cxcywh: FloatArray, size: int, *, oversample: float = 2.0
) -> Image:
    """The square crop round a box, drawn at once at the crop's size: much cheaper than a frame.

    Args:
        scene: what to draw.
        index: which frame.
        bbox_cxcywh: (4,) box in the frame's pixels, already enlarged by a crop scale if there is one.
        size: side of the result, pixels.
        oversample: it is drawn this much larger and scaled down, which smooths edges as a camera does.

    Returns:
        (size, size, 3) uint8 RGB.
    """
    large = round(size * oversample)
    view = crop_view(scene, bbox_cxcywh, large)
    picture = draw(scene, index, view)
    picture = _develop(picture, scene, index, large / max(float(bbox_cxcywh[2]), float(bbox_cxcywh[3])))
    if large == size:
        return picture
    return np.asarray(cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def draw(scene: Scene, index: int, view: View) -> Image:
    """Backdrop, shadows, then boxes and people from far to near; no blur, no noise."""
    cam_pose = scene.cam_poses[index]
    picture = np.ascontiguousarray(paint_backdrop(scene.backdrop, view.intrinsics, cam_pose, view.size))
    _draw_shadows(picture, scene, index, view)
    for _, number in _far_to_near(scene, index):
        if number < len(scene.people):
            _draw_person(picture, scene, index, number, view)
        else:
            _draw_box(picture, scene, scene.boxes[number - len(scene.people)], index, view)
    return picture


def _far_to_near(scene: Scene, index: int) -> list[tuple[float, int]]:
    """Depth (negative) and number of people and boxes (boxes count on after the people), far ones first."""
    centres = [m.root[index] for m in scene.motions] + [b.centre[index] for b in scene.boxes]
    depth = project_points(np.array(centres), scene.cam_poses[index], scene.intrinsics)[:, 2]
    return sorted((-float(d), n) for n, d in enumerate(depth))


def visible_faces(pixels: FloatArray, faces: IntArray) -> IntArray:
    """Numbers of the faces that look at the camera, the far ones first."""
    a, b, c = pixels[faces[:, 0]], pixels[faces[:, 1]], pixels[faces[:, 2]]
    turn = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    depth = a[:, 2] + b[:, 2] + c[:, 2]
    nearest = np.minimum(np.minimum(a[:, 2], b[:, 2]), c[:, 2])
    seen = np.flatnonzero((turn < 0) & (nearest > _NEAR))
    return seen[np.argsort(-depth[seen], kind="stable")]


def _draw_person(picture: Image, scene: Scene, index: int, person: int, view: View) -> None:
    who, motion = scene.people[person], scene.motions[person]
    body, part = who.body(view.level), slice(index, index + 1)
    vertices, _, normals = body.pose_lit(motion.full_pose[part], who.betas, motion.transl[part])
    pixels = project_points(vertices[0], scene.cam_poses[index], view.intrinsics)
    if pixels[:, 0].max() < 0 or pixels[:, 0].min() > view.size[0] or pixels[:, 2].max() < _NEAR:
        return
    order = visible_faces(pixels, body.faces)
    faces = body.faces[order]
    shade = _shade(scene.light, normals[0])
    shade = (shade[faces[:, 0]] + shade[faces[:, 1]] + shade[faces[:, 2]]) / 3
    colours = np.minimum(who.clothes.face_colours(view.level)[order] * shade, 255)
    fill_triangles(picture, pixels[:, :2], faces, colours)


def _shade(light: Light, normals: FloatArray) -> FloatArray:
    """(N, 3) brightness per colour channel of skin with (N, 3) unit normals; sky light is stronger from above."""
    lamp = np.maximum(normals @ light.towards.astype(np.float32), 0)[:, None]
    sky = (0.80 + 0.30 * normals[:, 1:2]).astype(np.float32)
    return np.asarray(lamp * light.lamp.astype(np.float32) + sky * light.ambient.astype(np.float32))


def fill_triangles(picture: Image, pixels: FloatArray, faces: IntArray, colours: FloatArray) -> None:
    """Fill triangles in the given order: `pixels` (V, 2), `faces` (F, 3), `colours` (F, 3) of 0 to 255."""
    scaled = np.round(np.clip(pixels, -4000, 4000) * 2**_SUBPIXEL_BITS).astype(np.int32)
    fill = cv2.fillConvexPoly
    for triangle, colour in zip(scaled[faces], colours.tolist(), strict=True):
        fill(picture, triangle, colour, 8, _SUBPIXEL_BITS)


def box_polygons(
    scene: Scene, box: Box, index: int, intrinsics: FloatArray
) -> list[tuple[FloatArray, FloatArray]]:
    """Sides of a box that look at the camera: (4, 2) pixels and (3,) lit colour. Empty if it reaches behind the camera."""
    pixels = project_points(box.corners(index), scene.cam_poses[index], intrinsics)
    if pixels[:, 2].min() < _NEAR:
        return []
    quads = pixels[_BOX_SIDES, :2]
    u, v = quads[:, 1] - quads[:, 0], quads[:, 2] - quads[:, 0]
    facing = np.flatnonzero(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0] < 0)
    normals = np.repeat(box.axes().T, 2, axis=0) * np.array((-1, 1, -1, 1, -1, 1))[:, None]
    colours = np.minimum(box.colour * _shade(scene.light, normals), 255)
    return [(quads[side], colours[side]) for side in facing]


def _draw_box(picture: Image, scene: Scene, box: Box, index: int, view: View) -> None:
    for quad, colour in box_polygons(scene, box, index, view.intrinsics):
        points = np.round(np.clip(quad, -4000, 4000) * 2**_SUBPIXEL_BITS).astype(np.int32)
        cv2.fillConvexPoly(picture, points, colour.tolist(), 8, _SUBPIXEL_BITS)


def _draw_shadows(picture: Image, scene: Scene, index: int, view: View) -> None:
    """Darken the floor where limbs keep the lamp's light away: bones drawn as thick lines, then blurred."""
    width, height = view.size
    small = (max(width // _SHADOW_SCALE, 1), max(height // _SHADOW_SCALE, 1))
    intrinsics = np.diag((small[0] / width, small[1] / height, 1.0)) @ view.intrinsics
    mask = np.zeros(small[::-1], dtype=np.uint8)
    towards = scene.light.towards
    for everyone in scene.joints_world:
        joints = everyone[index]
        on_floor = joints - joints[:, 1:2] / towards[1] * towards
        pixels = project_points(on_floor, scene.cam_poses[index], intrinsics)
        usable = (pixels[:, 2] > _NEAR) & (np.abs(pixels[:, :2]) < 4000).all(1)
        thick = (
            np.maximum(np.round(0.13 * intrinsics[0, 0] / np.maximum(pixels[:, 2], _NEAR)), 1)
            .astype(int)
            .tolist()
        )
        points = np.round(np.where(usable[:, None], pixels[:, :2], 0)).astype(int).tolist()
        for joint, parent in enumerate(PARENTS):
            if parent >= 0 and usable[joint] and usable[parent]:
                cv2.line(mask, points[joint], points[parent], 255, thick[joint])
    x, y, w, h = cv2.boundingRect(mask)
    if not w:
        return
    x0, y0, x1, y1 = max(x - 3, 0), max(y - 3, 0), min(x + w + 3, small[0]), min(y + h + 3, small[1])
    lamp, ambient = float(scene.light.lamp.mean()), float(scene.light.ambient.mean())
    dark = cv2.convertScaleAbs(mask[y0:y1, x0:x1], alpha=0.75 * lamp / (lamp + ambient))
    keep = 255 - cv2.GaussianBlur(dark, (0, 0), 1.2)
    target = picture[y0 * _SHADOW_SCALE : y1 * _SHADOW_SCALE, x0 * _SHADOW_SCALE : x1 * _SHADOW_SCALE]
    keep = cv2.resize(keep, target.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    cv2.multiply(target, cv2.cvtColor(keep, cv2.COLOR_GRAY2RGB), dst=target, scale=1 / 255)


def _develop(picture: Image, scene: Scene, index: int, zoom: float) -> Image:
    """Motion blur along the people's mean movement in the picture, and sensor noise."""
    if scene.exposure > 0 and len(scene) > 1:
        picture = blurred(picture, scene.exposure * zoom * image_motion(scene, index))
    if scene.noise:
        height, width = picture.shape[:2]
        brighter, darker = _noise_sheets(scene.noise, max(height, _NOISE_SIZE[0]), max(width, _NOISE_SIZE[1]))
        room = np.array(brighter.shape[:2]) - (height, width) + 1
        top, left = (int(v) for v in np.array((index * 193, index * 389)) % room)
        picture = cv2.add(picture, brighter[top : top + height, left : left + width])
        picture = cv2.subtract(picture, darker[top : top + height, left : left + width])
    return picture


@functools.lru_cache(maxsize=16)
def _noise_sheets(strength: int, height: int, width: int) -> tuple[Image, Image]:
    """Grain of standard deviation `strength`, mostly grey: what to add and what to take away."""
    rng = np.random.default_rng((7919, strength))
    grain = rng.standard_normal((height, width, 3), dtype=np.float32)
    grain = np.round((0.8 * grain[..., :1] + 0.6 * grain) * (strength / 1.1))
    return np.clip(grain, 0, 255).astype(np.uint8), np.clip(-grain, 0, 255).astype(np.uint8)


def image_motion(scene: Scene, index: int) -> FloatArray:
    """(2,) mean movement of the people's joints in the picture until the next frame, pixels."""
    index = min(index, len(scene) - 2)
    moved = []
    for joints in scene.joints_world:
        now, then = (scene.project(joints[index + k], index + k) for k in range(2))
        if min(now[:, 2].min(), then[:, 2].min()) > _NEAR:
            moved.append((then - now)[:, :2].mean(0))
    return np.asarray(np.mean(moved, axis=0)) if moved else np.zeros(2)


def blurred(picture: Image, movement: FloatArray) -> Image:
    """Mean of the picture shifted along `movement` (x, y in pixels; at most 12): 2, 4 or 8 whole-pixel steps."""
    length = float(np.hypot(*movement))
    if length < 0.8:
        return picture
    movement = movement * min(1.0, 12.0 / length)
    doublings = 1 if length < 2 else 2 if length < 5 else 3
    for level in range(doublings):
        x, y = (int(v) for v in np.round(movement / 2 ** (level + 1)))
        if x or y:
            matrix = np.array(((1.0, 0, x), (0, 1.0, y)))
            moved = cv2.warpAffine(
                picture,
                matrix,
                picture.shape[1::-1],
                flags=cv2.INTER_NEAREST,
                borderMode=cv2.BORDER_REPLICATE,
            )
            picture = cv2.addWeighted(picture, 0.5, moved, 0.5, 0)
    return picture
