"""What is behind people: walls, skies, blocks, noise and floors, all procedural."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hpsbench.types import FloatArray

Image = NDArray[np.uint8]
WALL_SIZE = (1280, 400)  # width (one turn of the head), height
FLOOR_SIZE = 256
FLOOR_METRES = 4.0  # the floor texture repeats after this


@dataclass(frozen=True, kw_only=True)
class Backdrop:
    """A surrounding picture and a floor.

    Attributes:
        wall: (400, 1280, 3) uint8 RGB; the width is 360 degrees, rows are at the same scale, the middle row the horizon.
        floor: (256, 256, 3) uint8 RGB, repeats every `FLOOR_METRES`.
        haze: (3,) colour that the far floor fades to.
    """

    wall: Image
    floor: Image
    haze: FloatArray


def _palette(rng: np.random.Generator) -> FloatArray:
    """(8, 3) colours that share a cast."""
    base = rng.uniform(50, 205) + rng.normal(0, 14, 3)
    grey = rng.normal(0, rng.uniform(20, 60), (8, 1))
    tint = rng.normal(0, rng.choice((8.0, 35.0)), (8, 3))
    return np.asarray(np.clip(base + grey + tint, 5, 250))


def fractal_noise(
    shape: tuple[int, int], rng: np.random.Generator, octaves: int = 4, first: int = 4
) -> FloatArray:
    """(H, W) float32 noise of about unit size, coarse to fine."""
    height, width = shape
    total = np.zeros(shape, dtype=np.float32)
    for octave in range(octaves):
        cells = first * 2**octave
        grid = rng.standard_normal((max(2, cells * height // width + 1), cells + 1), dtype=np.float32)
        smooth = cv2.INTER_CUBIC if octave < 3 else cv2.INTER_LINEAR
        total += cv2.resize(grid * np.float32(0.6**octave), (width, height), interpolation=smooth)
    return total


def _blocks(picture: FloatArray, rng: np.random.Generator, colours: FloatArray, count: int) -> None:
    """Rectangles such as doors, windows, posters, houses."""
    height, width = picture.shape[:2]
    for _ in range(count):
        w, h = int(rng.uniform(0.02, 0.14) * width), int(rng.uniform(0.05, 0.5) * height)
        x, y = int(rng.uniform(0, width - w)), int(rng.uniform(0.1, 0.75) * height)
        colour = colours[rng.integers(len(colours))].tolist()
        cv2.rectangle(picture, (x, y), (x + w, min(y + h, height - 1)), colour, -1)
        if rng.random() < 0.3:
            edge = (np.array(colour) * 0.6).tolist()
            cv2.rectangle(picture, (x, y), (x + w, min(y + h, height - 1)), edge, int(rng.integers(1, 4)))


def _stripes(picture: FloatArray, rng: np.random.Generator, colours: FloatArray) -> None:
    period, upright, share = rng.uniform(12, 60), rng.random() < 0.5, rng.uniform(-0.5, 0.8)
    lines = picture.swapaxes(0, 1) if upright else picture
    striped = np.sin(np.arange(len(lines)) * 2 * np.pi / period) > share
    lines[striped] = 0.6 * lines[striped] + 0.4 * colours[0]


def _limbs(picture: FloatArray, rng: np.random.Generator, colours: FloatArray) -> None:
    """Slanted strokes and blobs: trunks, railings, bushes; shapes that a network might take for limbs."""
    height, width = picture.shape[:2]
    for _ in range(int(rng.integers(4, 22))):
        x, y = int(rng.uniform(0, width)), int(rng.uniform(0.2, 0.9) * height)
        dx, dy = int(rng.normal(0, 18)), int(rng.uniform(20, 140))
        colour = colours[rng.integers(len(colours))].tolist()
        cv2.line(picture, (x, y), (x + dx, y + dy), colour, int(rng.integers(2, 16)))
        if rng.random() < 0.4:
            cv2.circle(picture, (x, y), int(rng.integers(6, 36)), colour, -1)


def draw_wall(rng: np.random.Generator) -> tuple[Image, FloatArray]:
    """A surrounding picture and its colour at the horizon."""
    width, height = WALL_SIZE
    colours = _palette(rng)
    fade = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    picture = np.empty((height, width, 3), dtype=np.float32)
    picture[:] = (1 - fade) * colours[0] + fade * colours[1]
    if rng.random() < 0.35:
        _stripes(picture, rng, colours[2:])
    if rng.random() < 0.8:
        _blocks(picture, rng, colours, int(rng.integers(5, 60)))
    if rng.random() < 0.6:
        _limbs(picture, rng, colours)
    grain = fractal_noise((height, width), rng, octaves=int(rng.integers(3, 7)))
    grain *= np.float32(rng.uniform(3, 28))
    for channel, tint in enumerate(rng.uniform(0.6, 1.4, 3)):
        picture[..., channel] += grain * np.float32(tint)
    wall = cv2.addWeighted(picture, 1.0, picture, 0.0, 0.0, dtype=cv2.CV_8U)
    _close_ring(wall)
    wall = np.asarray(cv2.GaussianBlur(wall, (0, 0), rng.uniform(0.4, 1.3)), dtype=np.uint8)
    return wall, np.asarray(wall[height // 2].mean(0), dtype=np.float64)


def _close_ring(wall: Image) -> None:
    """Fade both ends of the surrounding picture into its first column, so that no seam is seen."""
    margin = 24
    for part in (wall[:, :margin], wall[:, : -margin - 1 : -1]):
        share = (np.arange(margin) / margin)[None, :, None]
        part[:] = (share * part + (1 - share) * wall[:, :1].copy()).astype(np.uint8)


def draw_floor(rng: np.random.Generator) -> Image:
    """A floor texture: noise, tiles or planks."""
    colours = _palette(rng)
    grain = fractal_noise((FLOOR_SIZE, FLOOR_SIZE), rng, octaves=5)
    picture = colours[0].astype(np.float32) + (grain * rng.uniform(3, 22))[..., None] * np.ones(3, np.float32)
    kind = rng.random()
    if kind < 0.35:
        tile = int(rng.choice([16, 32, 64]))
        rows, columns = np.mgrid[:FLOOR_SIZE, :FLOOR_SIZE] // tile
        picture[(rows + columns) % 2 == 0] += (colours[1] - colours[0]).astype(np.float32) * 0.5
    elif kind < 0.6:
        picture[:: int(rng.choice([16, 32]))] *= 0.6
    floor: Image = np.clip(picture, 0, 255).astype(np.uint8)
    return floor


def draw_backdrop(rng: np.random.Generator) -> Backdrop:
    """A random wall and floor."""
    wall, horizon = draw_wall(rng)
    return Backdrop(wall=wall, floor=draw_floor(rng), haze=horizon)


def paint_backdrop(
    backdrop: Backdrop, intrinsics: FloatArray, cam_pose: FloatArray, size: tuple[int, int]
) -> Image:
    """The backdrop as one camera sees it.

    Args:
        backdrop: what is there.
        intrinsics: (3, 3) pixels.
        cam_pose: (4, 4) world to camera (y up in the world, y down in the camera).
        size: width and height of the picture.

    Returns:
        (height, width, 3) uint8 RGB, contiguous. It is painted at half the size, as if a little out of focus.
    """
    width, height = size
    half = (max(width // 2, 1), max(height // 2, 1))
    scaled = np.diag((half[0] / width, half[1] / height, 1.0)) @ intrinsics
    picture = _paint_wall(backdrop, scaled, cam_pose[:3, :3], half)
    _paint_floor(picture, backdrop, scaled, cam_pose)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _paint_wall(backdrop: Backdrop, intrinsics: FloatArray, turn: FloatArray, size: tuple[int, int]) -> Image:
    """The surrounding picture, shifted by yaw and pitch, turned by roll and scaled to the focal length."""
    forward, right = turn[2], turn[0]
    yaw = np.arctan2(forward[0], forward[2])
    pitch = np.arcsin(np.clip(forward[1], -1, 1))
    roll = np.arctan2(right[1], np.hypot(right[0], right[2]))
    wall_height, wall_width = backdrop.wall.shape[:2]
    per_radian = wall_width / (2 * np.pi)
    zoom = per_radian / intrinsics[0, 0]
    c, s = zoom * np.cos(roll), zoom * np.sin(roll)
    centre = np.array((-yaw * per_radian, wall_height / 2 - pitch * per_radian))
    linear = np.array(((c, s), (-s, c)))
    offset = centre - linear @ intrinsics[:2, 2]
    matrix = np.concatenate([linear, offset[:, None]], axis=1)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(backdrop.wall, matrix, size, flags=flags, borderMode=cv2.BORDER_WRAP), np.uint8
    )


def _paint_floor(picture: Image, backdrop: Backdrop, intrinsics: FloatArray, cam_pose: FloatArray) -> None:
    """Draw the ground plane y = 0 below the horizon into `picture`."""
    turn, shift = cam_pose[:3, :3], cam_pose[:3, 3]
    to_image = intrinsics @ np.stack([turn[:, 0], turn[:, 2], shift], axis=1)
    height, width = picture.shape[:2]
    up = turn[:, 1]  # the world's up in the camera
    normal = np.linalg.inv(intrinsics).T @ up
    corners = np.array([(0, 0, 1), (width, 0, 1), (0, height, 1), (width, height, 1)], dtype=float)
    if (corners @ normal >= 0).all() or abs(np.linalg.det(to_image)) < 1e-9:
        return
    if abs(normal[1]) < 1e-9:
        return
    horizon = -(normal[0] * np.arange(width) + normal[2]) / normal[1] + 1.5
    top = int(np.clip(np.floor(horizon.min()), 0, height))
    if top >= height:
        return
    floor = _floor_pixels(backdrop.floor, np.linalg.inv(to_image), width, top, height)
    band = 0.09 * height  # the far end of the floor fades into the haze
    clear = int(np.clip(np.ceil(horizon.max() + band), top, height))
    picture[clear:] = floor[clear - top :]
    rows = np.arange(top, clear, dtype=np.float32)[:, None]
    depth = (rows - horizon[None].astype(np.float32)) / np.float32(band)
    share = np.clip(depth, 0, 1)[..., None]
    mixed = share * floor[: clear - top] + (1 - share) * backdrop.haze.astype(np.float32)
    np.copyto(picture[top:clear], mixed.astype(np.uint8), where=(depth > 0)[..., None])


def _floor_pixels(floor: Image, to_floor: FloatArray, width: int, top: int, bottom: int) -> Image:
    """(bottom - top, width, 3) the repeating floor texture under each pixel; `to_floor` maps pixels to metres."""
    m = (to_floor * np.array((FLOOR_SIZE / FLOOR_METRES, FLOOR_SIZE / FLOOR_METRES, 1.0))[:, None]).astype(
        np.float32
    )
    x, y = np.arange(width, dtype=np.float32), np.arange(top, bottom, dtype=np.float32)[:, None]
    depth = m[2, 0] * x + (m[2, 1] * y + m[2, 2])
    scale = 1 / np.where(np.abs(depth) < 1e-4, np.float32(1e-4), depth)
    columns = (scale * (m[0, 0] * x + (m[0, 1] * y + m[0, 2]))).astype(np.int32) & (FLOOR_SIZE - 1)
    rows = (scale * (m[1, 0] * x + (m[1, 1] * y + m[1, 2]))).astype(np.int32) & (FLOOR_SIZE - 1)
    return np.asarray(floor.reshape(-1, 3)[rows * FLOOR_SIZE + columns])
