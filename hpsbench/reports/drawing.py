"""Bodies and skeletons drawn on images, with OpenCV: for contact sheets and reports."""

import cv2
import numpy as np
from numpy.typing import NDArray

from hpsbench.errors import ShapeError
from hpsbench.types import FloatArray, IntArray

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

TARGET_COLOUR: Colour = (90, 190, 120)
PRED_COLOUR: Colour = (240, 150, 70)
_LIGHT = np.array([0.3, -0.5, -0.8]) / np.linalg.norm([0.3, -0.5, -0.8])


def draw_mesh(
    image: Image,
    pixels: FloatArray,
    vertices: FloatArray,
    faces: IntArray,
    colour: Colour,
    opacity: float = 0.75,
) -> Image:
    """A lit mesh over an image, far faces first.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        pixels: (V, 2) where the vertices lie in the image.
        vertices: (V, 3) the same in camera coordinates (y down, z forward), for depth and light.
        faces: (F, 3) vertex indices.
        colour: RGB of the fully lit mesh.
        opacity: of the mesh over the image.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ShapeError: `pixels` and `vertices` do not belong together.
    """
    if pixels.shape != (len(vertices), 2) or vertices.shape[1:] != (3,):
        raise ShapeError(
            f"expected (V, 2) pixels and (V, 3) vertices, got {pixels.shape} and {vertices.shape}"
        )
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    facing = (normals * corners.mean(axis=1)).sum(axis=1) < 0
    shade = 0.35 + 0.65 * np.clip(normals @ _LIGHT, 0, 1)
    order = np.flatnonzero(facing)
    order = order[np.argsort(-corners[order, :, 2].mean(axis=1))]
    layer = image.copy()
    height, width = image.shape[:2]
    points = np.clip(pixels, -4 * max(width, height), 5 * max(width, height))
    triangles = np.round(points[faces] * 16).astype(np.int32)
    colours = np.asarray(colour)[None] * shade[:, None]
    for face in order.tolist():
        cv2.fillConvexPoly(layer, triangles[face], colours[face].tolist(), lineType=cv2.LINE_8, shift=4)
    drawn: Image = cv2.addWeighted(layer, opacity, image, 1 - opacity, 0).astype(np.uint8)
    return drawn


def caption(image: Image, text: str) -> Image:
    """The image with a line of text in a dark strip above it."""
    strip = np.full((22, image.shape[1], 3), 32, np.uint8)
    cv2.putText(strip, text, (6, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (235, 235, 235), 1, cv2.LINE_AA)
    return np.concatenate([strip, image])


def grid(rows: list[list[Image]], gap: int = 4) -> Image:
    """Pictures of one size per row and column, side by side on white."""
    lines = [_joined(row, axis=1, gap=gap) for row in rows]
    return _joined(lines, axis=0, gap=gap)


def _joined(images: list[Image], axis: int, gap: int) -> Image:
    size = max(image.shape[1 - axis] for image in images)
    parts: list[Image] = []
    for image in images:
        missing = size - image.shape[1 - axis]
        pad = [(0, 0), (0, 0), (0, 0)]
        pad[1 - axis] = (0, missing)
        parts.append(np.pad(image, pad, constant_values=255))
        shape = list(parts[-1].shape)
        shape[axis] = gap
        parts.append(np.full(shape, 255, np.uint8))
    return np.concatenate(parts[:-1], axis=axis)
