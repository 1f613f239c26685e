"""Rotation forms: axis-angle, matrix, and the 6D form of SPIN. NumPy and torch alike, any leading axes.

Angles are radians, matrices act on column vectors from the left. Every function is differentiable in torch,
also at the identity; results have the dtype and device of the input.
"""

from typing import Any

from array_api_compat import array_namespace

from hpsbench.errors import ShapeError

# Squared angle (or half-angle sine) below which the series is more accurate than the closed form.
_SMALL = 1e-8


def axis_angle_to_rotmat(axis_angle: Any) -> Any:
    """Rotation matrix of an axis-angle vector (Rodrigues).

    Args:
        axis_angle: (..., 3) radians; direction is the axis, length the angle.

    Returns:
        (..., 3, 3).
    """
    xp = array_namespace(axis_angle)
    _check_tail(axis_angle, (3,), "axis_angle")
    x, y, z = axis_angle[..., 0], axis_angle[..., 1], axis_angle[..., 2]
    squared = x * x + y * y + z * z
    small = squared < _SMALL
    safe = xp.where(small, xp.ones_like(squared), squared)
    half = xp.sqrt(safe) / 2
    sine = xp.where(small, 1 - squared / 6, xp.sin(2 * half) / (2 * half))  # sin(a) / a
    sinc_half = xp.sin(half) / half
    versine = xp.where(small, 0.5 - squared / 24, sinc_half * sinc_half / 2)  # (1 - cos(a)) / a^2
    rows = (
        (1 - versine * (y * y + z * z), versine * x * y - sine * z, versine * x * z + sine * y),
        (versine * x * y + sine * z, 1 - versine * (x * x + z * z), versine * y * z - sine * x),
        (versine * x * z - sine * y, versine * y * z + sine * x, 1 - versine * (x * x + y * y)),
    )
    return xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2)


def rotmat_to_quaternion(rotmat: Any) -> Any:
    """Unit quaternion (w, x, y, z) of a rotation matrix, w >= 0.

    The row of 4 q q^T with the largest diagonal entry is normalised, so that no branch divides by a small number
    and matrices that are slightly off orthonormal still give a unit quaternion.

    Args:
        rotmat: (..., 3, 3).

    Returns:
        (..., 4).
    """
    xp = array_namespace(rotmat)
    _check_tail(rotmat, (3, 3), "rotmat")
    m = [[rotmat[..., i, j] for j in range(3)] for i in range(3)]
    a, b, c = m[0][0], m[1][1], m[2][2]
    wx, wy, wz = m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]
    xy, xz, yz = m[1][0] + m[0][1], m[0][2] + m[2][0], m[2][1] + m[1][2]
    rows = (
        (1 + a + b + c, wx, wy, wz),
        (wx, 1 + a - b - c, xy, xz),
        (wy, xy, 1 - a + b - c, yz),
        (wz, xz, yz, 1 - a - b + c),
    )
    diagonal = xp.stack([rows[i][i] for i in range(4)], axis=-1)
    largest = xp.argmax(diagonal, axis=-1)
    chosen = xp.stack(rows[0], axis=-1)
    for i in (1, 2, 3):
        chosen = xp.where((largest == i)[..., None], xp.stack(rows[i], axis=-1), chosen)
    unit = chosen / xp.sqrt(xp.sum(chosen * chosen, axis=-1, keepdims=True))
    return xp.where(unit[..., :1] < 0, -unit, unit)


def quaternion_to_rotmat(quaternion: Any) -> Any:
    """Rotation matrix of a quaternion (w, x, y, z), which need not have unit length.

    Args:
        quaternion: (..., 4), not zero.

    Returns:
        (..., 3, 3).
    """
    xp = array_namespace(quaternion)
    _check_tail(quaternion, (4,), "quaternion")
    w, x, y, z = (quaternion[..., i] for i in range(4))
    s = 2 / (w * w + x * x + y * y + z * z)
    rows = (
        (1 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)),
        (s * (x * y + w * z), 1 - s * (x * x + z * z), s * (y * z - w * x)),
        (s * (x * z - w * y), s * (y * z + w * x), 1 - s * (x * x + y * y)),
    )
    return xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2)


def rotmat_to_axis_angle(rotmat: Any) -> Any:
    """Axis-angle vector of a rotation matrix, angle in [0, pi].

    Accurate near the identity and near half turns (where the sign of the axis is free).

    Args:
        rotmat: (..., 3, 3).

    Returns:
        (..., 3) radians.
    """
    xp = array_namespace(rotmat)
    quaternion = rotmat_to_quaternion(rotmat)
    w, vector = quaternion[..., 0], quaternion[..., 1:]
    squared = xp.sum(vector * vector, axis=-1)
    small = squared < _SMALL
    length = xp.sqrt(xp.where(small, xp.ones_like(squared), squared))
    exact = 2 * xp.atan2(length, w) / length
    return vector * xp.where(small, 2 + squared / 3, exact)[..., None]


def rotation_angle(first: Any, second: Any) -> Any:
    """Angle of the rotation between two rotation matrices (geodesic distance), in [0, pi].

    Uses |R1 - R2|_F = 2 sqrt(2) sin(angle / 2) and the trace together, so that small angles keep their digits.

    Args:
        first: (..., 3, 3).
        second: (..., 3, 3).

    Returns:
        (...) radians.
    """
    xp = array_namespace(first, second)
    _check_tail(first, (3, 3), "first")
    _check_tail(second, (3, 3), "second")
    difference = first - second
    chord = xp.sum(difference * difference, axis=(-2, -1)) / 8  # sin^2(angle / 2)
    trace = xp.sum(first * second, axis=(-2, -1))
    return 2 * xp.atan2(_safe_sqrt(chord), _safe_sqrt((trace + 1) / 4))


def rot6d_to_rotmat(rot6d: Any, eps: float = 1e-6) -> Any:
    """Rotation matrix of a 6D vector in SPIN's interleaved layout.

    The six numbers are a 3x2 matrix in row-major order: its columns are entries 0, 2, 4 and 1, 3, 5 (not the first
    three and the last three). Gram-Schmidt makes them the first two columns of the result.
    Source: Zhou et al. 2019; layout of SPIN `utils/geometry.py`.

    Args:
        rot6d: (..., 6).
        eps: floor of the norms; VIBE, TCMR and MPS-Net 1e-6, SPIN 1e-12.

    Returns:
        (..., 3, 3).
    """
    xp = array_namespace(rot6d)
    _check_tail(rot6d, (6,), "rot6d")
    first = _unit(xp, rot6d[..., 0::2], eps)
    second = rot6d[..., 1::2]
    second = _unit(xp, second - xp.sum(first * second, axis=-1, keepdims=True) * first, eps)
    return xp.stack([first, second, _cross(xp, first, second)], axis=-1)


def rotmat_to_rot6d(rotmat: Any) -> Any:
    """First two columns of a rotation matrix in SPIN's interleaved layout; see `rot6d_to_rotmat`.

    Args:
        rotmat: (..., 3, 3).

    Returns:
        (..., 6); the identity gives (1, 0, 0, 1, 0, 0).
    """
    xp = array_namespace(rotmat)
    _check_tail(rotmat, (3, 3), "rotmat")
    return xp.reshape(rotmat[..., :2], (*rotmat.shape[:-2], 6))


def _unit(xp: Any, vector: Any, eps: float) -> Any:
    squared = xp.sum(vector * vector, axis=-1, keepdims=True)
    return vector / xp.sqrt(xp.where(squared > eps * eps, squared, eps * eps))


def _cross(xp: Any, a: Any, b: Any) -> Any:
    x = a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1]
    y = a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2]
    z = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return xp.stack([x, y, z], axis=-1)


def _safe_sqrt(x: Any) -> Any:
    """Square root of max(x, 0) whose gradient at 0 is 0 and not infinite."""
    xp = array_namespace(x)
    positive = x > 0
    return xp.where(positive, xp.sqrt(xp.where(positive, x, xp.ones_like(x))), xp.zeros_like(x))


def _check_tail(array: Any, tail: tuple[int, ...], name: str) -> None:
    if tuple(array.shape[-len(tail) :]) != tail:
        wanted = ", ".join(map(str, tail))
        raise ShapeError(f"{name}: expected (..., {wanted}), got {tuple(array.shape)}")
