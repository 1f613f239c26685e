"""Cameras: rigid changes of frame, projection, crop cameras. NumPy and torch alike, any leading axes.

Extrinsics are 4x4 matrices from world to camera, intrinsics 3x3 matrices in pixels. Metres and pixels.
"""

from typing import Any

from array_api_compat import array_namespace

from hpsbench.errors import ShapeError


def world_to_camera(points: Any, extrinsics: Any) -> Any:
    """Points in camera coordinates.

    Args:
        points: (..., N, 3) world, metres.
        extrinsics: (..., 4, 4) or (..., 3, 4), world to camera; leading axes broadcast with those of `points`.

    Returns:
        (..., N, 3) camera, metres.
    """
    rotation, translation = _split(extrinsics)
    return points @ _transpose(rotation) + translation[..., None, :]


def camera_to_world(points: Any, extrinsics: Any) -> Any:
    """Points in world coordinates: the inverse of `world_to_camera` for the same `extrinsics`.

    Args:
        points: (..., N, 3) camera, metres.
        extrinsics: (..., 4, 4) or (..., 3, 4), world to camera.

    Returns:
        (..., N, 3) world, metres.
    """
    rotation, translation = _split(extrinsics)
    return (points - translation[..., None, :]) @ rotation


def rotate_to_camera(rotmat: Any, extrinsics: Any) -> Any:
    """Orientations in camera coordinates (the root rotation of a body, say).

    Args:
        rotmat: (..., 3, 3) world.
        extrinsics: (..., 4, 4) or (..., 3, 4), world to camera.

    Returns:
        (..., 3, 3) camera.
    """
    return _split(extrinsics)[0] @ rotmat


def project(points: Any, intrinsics: Any) -> Any:
    """Pinhole projection; no distortion, no test whether a point lies behind the camera.

    Args:
        points: (..., N, 3) camera, metres, z forward.
        intrinsics: (..., 3, 3) pixels.

    Returns:
        (..., N, 2) pixels.
    """
    if points.shape[-1] != 3:
        raise ShapeError(f"points: expected (..., N, 3), got {tuple(points.shape)}")
    if tuple(intrinsics.shape[-2:]) != (3, 3):
        raise ShapeError(f"intrinsics: expected (..., 3, 3), got {tuple(intrinsics.shape)}")
    image = points @ _transpose(intrinsics)
    return image[..., :2] / image[..., 2:]


def project_h36m(points: Any, intrinsics: Any, distortion: Any) -> Any:
    """Projection by Human3.6M's camera model: radial and tangential distortion, then pinhole.

    With x = X / Z, y = Y / Z, r2 = x^2 + y^2 and g = 1 + k1 r2 + k2 r2^2 + k3 r2^3 + p1 y + p2 x, the pixel is
    u = fx (x g + p2 r2) + cx, v = fy (y g + p1 r2) + cy. This is not OpenCV's model: the cross terms of the
    tangential part count once, not twice.

    Args:
        points: (..., N, 3) camera, metres, z forward.
        intrinsics: (..., 3, 3) pixels, without skew.
        distortion: (..., 5) k1, k2, k3, p1, p2, in the order of the dataset's `metadata.xml`.

    Returns:
        (..., N, 2) pixels.

    Source: the dataset's code bundle, as read by human_dynamics `read_human36m.py`; agrees with the published 2D
    joints to 4e-5 pixels.
    """
    if points.shape[-1] != 3:
        raise ShapeError(f"points: expected (..., N, 3), got {tuple(points.shape)}")
    if tuple(intrinsics.shape[-2:]) != (3, 3) or distortion.shape[-1] != 5:
        raise ShapeError(
            "intrinsics and distortion: expected (..., 3, 3) and (..., 5), got "
            f"{tuple(intrinsics.shape)} and {tuple(distortion.shape)}"
        )
    xp = array_namespace(points, intrinsics, distortion)
    k1, k2, k3, p1, p2 = (distortion[..., i, None] for i in range(5))
    x, y = points[..., 0] / points[..., 2], points[..., 1] / points[..., 2]
    r2 = x * x + y * y
    gain = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)) + p1 * y + p2 * x
    u = intrinsics[..., 0, 0, None] * (x * gain + p2 * r2) + intrinsics[..., 0, 2, None]
    v = intrinsics[..., 1, 1, None] * (y * gain + p1 * r2) + intrinsics[..., 1, 2, None]
    return xp.stack([u, v], axis=-1)


def camera_matrix(focal: float, center: tuple[float, float], like: Any) -> Any:
    """Intrinsics (3, 3) of one focal length and a principal point, in pixels; dtype and device of `like`."""
    xp = array_namespace(like)
    rows = [[focal, 0.0, center[0]], [0.0, focal, center[1]], [0.0, 0.0, 1.0]]
    return xp.asarray(rows, dtype=like.dtype, device=like.device)


def crop_intrinsics(intrinsics: Any, bbox_cxcywh: Any, size: float) -> Any:
    """Intrinsics of the square crop of a box, resized to `size` pixels.

    The crop covers [cx - w/2, cx + w/2] x [cy - w/2, cy + w/2]; a box that is to be enlarged is enlarged before.

    Args:
        intrinsics: (..., 3, 3) pixels of the full image.
        bbox_cxcywh: (..., 4) pixels; w = h.
        size: side of the crop in pixels.

    Returns:
        (..., 3, 3) pixels of the crop.
    """
    xp = array_namespace(intrinsics, bbox_cxcywh)
    cx, cy, w = bbox_cxcywh[..., 0], bbox_cxcywh[..., 1], bbox_cxcywh[..., 2]
    scale = size / w
    zero, one = xp.zeros_like(scale), xp.ones_like(scale)
    rows = (
        (scale, zero, size / 2 - scale * cx),
        (zero, scale, size / 2 - scale * cy),
        (zero, zero, one),
    )
    return xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2) @ intrinsics


def weak_perspective_to_translation(camera: Any, focal: float = 5000.0, size: float = 224.0) -> Any:
    """Translation of the body that makes a full-perspective camera of a weak-perspective one.

    Source: SPIN, VIBE, TCMR (`projection`): principal point 0, identity rotation, offset of the projection
    divided by size / 2 to give [-1, 1].

    Args:
        camera: (..., 3) = (s, tx, ty) in the crop.
        focal: of the crop's camera, pixels.
        size: side of the crop, pixels.

    Returns:
        (..., 3) = (tx, ty, 2 focal / (size s + 1e-9)) metres.
    """
    xp = array_namespace(camera)
    if camera.shape[-1] != 3:
        raise ShapeError(f"camera: expected (..., 3) = (s, tx, ty), got {tuple(camera.shape)}")
    depth = 2 * focal / (size * camera[..., 0] + 1e-9)
    return xp.stack([camera[..., 1], camera[..., 2], depth], axis=-1)


def project_crop(points: Any, camera: Any, focal: float = 5000.0, size: float = 224.0) -> Any:
    """Projection into the crop by the network's camera, normalised so that the crop is [-1, 1].

    Args:
        points: (..., N, 3) metres, body coordinates.
        camera: (..., 3) = (s, tx, ty).
        focal: of the crop's camera, pixels.
        size: side of the crop, pixels.

    Returns:
        (..., N, 2) in [-1, 1] inside the crop.
    """
    moved = points + weak_perspective_to_translation(camera, focal, size)[..., None, :]
    return moved[..., :2] / moved[..., 2:] * (2 * focal / size)


def _split(extrinsics: Any) -> tuple[Any, Any]:
    if tuple(extrinsics.shape[-2:]) not in {(4, 4), (3, 4)}:
        raise ShapeError(f"extrinsics: expected (..., 4, 4) or (..., 3, 4), got {tuple(extrinsics.shape)}")
    return extrinsics[..., :3, :3], extrinsics[..., :3, 3]


def _transpose(matrix: Any) -> Any:
    return array_namespace(matrix).matrix_transpose(matrix)
