"""The best rotation between two point sets, for very many small sets at once and without an SVD each.

Points lie as a structure of arrays, (3, J, F): coordinate, joint, frame. Then every step is a pass over F frames.
With B = sum_j target_j pred_j^T and singular values s1 >= s2 >= |s3| (s3 carries the sign of det B), the largest
eigenvalue of Horn's 4x4 quaternion matrix is l = s1 + s2 + s3. It is the largest root of a quartic whose coefficients
are cheap, and Newton from an upper bound finds it in a few steps. The rotation then follows in closed form,

    R = [(k + |B|^2) B + l cof(B) - B B^T B] / z,   k = (l^2 - |B|^2) / 2,   z = k l - det B,

(with B scaled to |B| = 1 here), where 8 z = 8 (s1 + s2)(s2 + s3)(s3 + s1) is the product of the three gaps between l and the other eigenvalues.
Frames with a small z (points on a line, or two equally good rotations) are ill-conditioned and go through the SVD,
so that all frames follow the rule R = U diag(1, 1, det(U V^T)) V^T, which never reflects.
Sources: Horn 1987 (quaternion matrix), Theobald 2005 (its quartic), Markley 1993 (closed form).
"""

from typing import Any, NamedTuple

from array_api_compat import array_namespace, device, is_torch_array

# Relative size of centred to raw points below which all points are the same point.
_SAME_POINT = 1e-13
# Frames that are transposed at once: their cache lines stay in the first-level cache.
_STRIPE = 256
_MAX_STEPS = 30
# Every frame takes this many steps; only then it pays to ask whether more are needed.
_SURE_STEPS = 3
# Newton doubles its digits: after a step of this size the next would be below rounding.
_LAST_STEP = 1e-9


class Fit(NamedTuple):
    """Rotation and scale of F frames: `scale * rotation @ pred` fits the centred target best.

    Attributes:
        rotation: (3, 3, F).
        scale: (F,); 0 where all points of the prediction are the same (so the fit is the target's mean).
        degenerate: (F,) bool, all points of the prediction are the same point.
    """

    rotation: Any
    scale: Any
    degenerate: Any


def work_dtype(array: Any) -> Any:
    """The dtype to compute in: float64, except on devices that have none (Apple's)."""
    xp = array_namespace(array)
    if is_torch_array(array) and array.device.type == "mps":
        return xp.float32
    return xp.float64


def is_on_cpu(array: Any) -> bool:
    """Whether the array lies in the memory of the CPU."""
    return str(device(array)) == "cpu"


def to_columns(points: Any, out: Any = None) -> Any:
    """(F, J, 3) -> (3, J, F) in the dtype of `work_dtype`, contiguous, or in the first F frames of `out`."""
    xp = array_namespace(points)
    frames, joints, _ = points.shape
    if out is None:
        out = xp.empty((3, joints, frames), dtype=work_dtype(points), device=points.device)
    step = _STRIPE if is_on_cpu(points) else max(frames, 1)
    for start in range(0, frames, step):
        stop = min(start + step, frames)
        out[..., start:stop] = xp.permute_dims(points[start:stop, ...], (2, 1, 0))
    return out[..., :frames]


def center(columns: Any) -> tuple[Any, Any]:
    """Points about their mean (in place), and the mean: (3, J, F) -> (3, J, F), (3, F)."""
    xp = array_namespace(columns)
    mean = xp.sum(columns, axis=1) / columns.shape[1]
    columns -= mean[:, None, :]
    return columns, mean


def is_one_point(points: Any) -> Any:
    """Which frames have all points in the same place, up to rounding: (F, J, 3) -> (F,) bool."""
    columns, mean = center(to_columns(points))
    xp = array_namespace(columns)
    return _is_one_point(xp, _squared(xp, columns), mean, points.shape[1])


def solve(pred: Any, pred_mean: Any, target: Any, *, scaled: bool = True) -> Fit:
    """Best rotation (and scale) from centred `pred` to centred `target`, per frame.

    Args:
        pred: (3, J, F) centred.
        pred_mean: (3, F), as `center` returns it; tells rounding from real spread.
        target: (3, J, F) centred.
        scaled: False fixes the scale at 1 (rigid).
    """
    xp = array_namespace(pred, target)
    b = xp.einsum("ijf,kjf->ikf", target, pred)
    norm = xp.sqrt(_squared(xp, b))
    tiny = xp.full_like(norm, float(xp.finfo(norm.dtype).smallest_normal))
    b = b / xp.maximum(norm, tiny)
    rotation, eigenvalue, gaps = _closed_form(xp, b, tiny)
    hard = (gaps < _hard_limit(xp, norm)) | (norm < tiny)
    if bool(xp.any(hard)):
        rotation, eigenvalue = _replace_by_svd(xp, b, hard, rotation, eigenvalue)
    spread = _squared(xp, pred)
    degenerate = _is_one_point(xp, spread, pred_mean, pred.shape[1])
    if not scaled:
        return Fit(rotation, xp.ones_like(norm), degenerate)
    scale = eigenvalue * norm / xp.maximum(spread, tiny)
    return Fit(rotation, xp.where(degenerate, xp.zeros_like(scale), scale), degenerate)


def _is_one_point(xp: Any, spread: Any, mean: Any, joints: int) -> Any:
    return spread <= xp.sum(mean * mean, axis=0) * (joints * _SAME_POINT**2)


def _squared(xp: Any, columns: Any) -> Any:
    """Sum of squares per frame: (3, J, F) -> (F,)."""
    return xp.einsum("ijf,ijf->f", columns, columns)


def _closed_form(xp: Any, b: Any, tiny: Any) -> tuple[Any, Any, Any]:
    """Rotation (3, 3, F), largest eigenvalue and z of frames with B of Frobenius norm 1.

    B B^T B is not multiplied out: with C = cof(B), row by row, B B^T B = (1 + det B) B + C - cof(B + C).
    """
    cofactor = _cofactors(xp, b)
    det = xp.sum(b[0, ...] * cofactor[0, ...], axis=0)
    eigenvalue = _largest_root(xp, det, _squared(xp, cofactor))
    k = (eigenvalue * eigenvalue - 1) / 2
    z = k * eigenvalue - det
    inverse = 1 / xp.maximum(z, tiny)
    rotation = ((k - det) * inverse) * b
    rotation += ((eigenvalue - 1) * inverse) * cofactor
    rotation += inverse * _cofactors(xp, b + cofactor)
    return rotation, eigenvalue, z


def _cofactors(xp: Any, b: Any) -> Any:
    """Cofactor matrix of each frame: (3, 3, F) -> (3, 3, F)."""
    wide = xp.concat([b, b[:2, ...]], axis=0)
    wide = xp.concat([wide, wide[:, :2, :]], axis=1)
    return wide[1:4, 1:4, :] * wide[2:5, 2:5, :] - wide[1:4, 2:5, :] * wide[2:5, 1:4, :]


def _largest_root(xp: Any, det: Any, cofactors_squared: Any) -> Any:
    """Largest root of x^4 - 2 x^2 - 8 det x + 1 - 4 |cof B|^2 (all roots are real), from above by Newton.

    The start is the bound x^2 = |B|^2 + 2 (s1 s2 + s2 s3 + s3 s1) <= 1 + 2 sqrt(3) |cof B|. The slope is 8 z and falls
    towards the root: once it is below the limit of z the frame is one for the SVD anyway, so the floor only keeps a
    step from dividing rounding by nearly nothing.
    """
    flat = xp.full_like(det, _hard_limit(xp, det))
    c1, c0 = -8 * det, 1 - 4 * cofactors_squared
    x = xp.sqrt(1 + xp.sqrt(12 * cofactors_squared))
    for number in range(1, _MAX_STEPS + 1):
        squared = x * x
        slope = xp.maximum(4 * x * (squared - 1) + c1, flat)
        step = (squared * (squared - 2) + c1 * x + c0) / slope
        x = x - step
        if number > _SURE_STEPS and not bool(xp.any(step > _LAST_STEP)):
            break
    return x


def _hard_limit(xp: Any, like: Any) -> float:
    """The z below which a frame is ill-conditioned (0.011 in float64; errors of the closed form grow as eps / z^2)."""
    limit: float = float(xp.finfo(like.dtype).eps) ** 0.125
    return limit


def _replace_by_svd(xp: Any, b: Any, hard: Any, rotation: Any, eigenvalue: Any) -> tuple[Any, Any]:
    """The same two results for the frames where `hard` holds, by singular value decomposition."""
    where = xp.nonzero(hard)[0]
    u, s, vh = xp.linalg.svd(xp.permute_dims(b[:, :, where], (2, 0, 1)))
    sign = xp.where(xp.linalg.det(u @ vh) < 0, -xp.ones_like(s[:, 0]), xp.ones_like(s[:, 0]))
    flipped = xp.concat([u[..., :2], u[..., 2:] * sign[:, None, None]], axis=-1)
    full_rotation, full_eigenvalue = xp.zeros_like(rotation), xp.zeros_like(eigenvalue)
    full_rotation[:, :, where] = xp.permute_dims(flipped @ vh, (1, 2, 0))
    full_eigenvalue[where] = s[:, 0] + s[:, 1] + sign * s[:, 2]
    return xp.where(hard, full_rotation, rotation), xp.where(hard, full_eigenvalue, eigenvalue)
