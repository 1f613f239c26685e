"""The best rotation between two point sets, for very many small sets at once and without an SVD each.

Points lie as a structure of arrays, (3, J, F): coordinate, joint, frame. Then every step is a pass over F frames.
With B = sum_j target_j pred_j^T and singular values s1 >= s2 >= |s3| (s3 carries the sign of det B), the largest
eigenvalue of Horn's 4x4 quaternion matrix is l = s1 + s2 + s3. It is the largest root of a quartic whose coefficients
are cheap, and Newton from an upper bound finds it in a few steps. The rotation then follows in closed form,

    R = [(k + |B|^2) B + l cof(B) - B B^T B] / z,   k = (l^2 - |B|^2) / 2,   z = k l - det B,

where 8 z = 8 (s1 + s2)(s2 + s3)(s3 + s1) is the product of the three gaps between l and the other eigenvalues.
Frames with a small z (points on a line, or two equally good rotations) are ill-conditioned and go through the SVD,
so that all frames follow the rule R = U diag(1, 1, det(U V^T)) V^T, which never reflects.
Sources: Horn 1987 (quaternion matrix), Theobald 2005 (its quartic), Markley 1993 (closed form).
"""

from typing import Any, NamedTuple

from array_api_compat import array_namespace, is_torch_array

# Relative size of centred to raw points below which all points are the same point.
_SAME_POINT = 1e-13
_MAX_STEPS = 30
_STEP = 1e-9

Matrix = list[list[Any]]


class Fit(NamedTuple):
    """Rotation and scale of F frames: `scale * rotation @ pred` fits the centred target best.

    Attributes:
        rotation: 3x3 nested list of (F,) arrays.
        scale: (F,); 0 where all points of the prediction are the same (so the fit is the target's mean).
        degenerate: (F,) bool, all points of the prediction are the same point.
    """

    rotation: Matrix
    scale: Any
    degenerate: Any


def work_dtype(array: Any) -> Any:
    """The dtype to compute in: float64, except on devices that have none (Apple's)."""
    xp = array_namespace(array)
    if is_torch_array(array) and array.device.type == "mps":
        return xp.float32
    return xp.float64


def to_columns(points: Any) -> Any:
    """(F, J, 3) -> (3, J, F), contiguous, in the dtype of `work_dtype`."""
    xp = array_namespace(points)
    frames, joints, _ = points.shape
    columns = xp.empty((3, joints, frames), dtype=work_dtype(points), device=points.device)
    columns[...] = xp.permute_dims(points, (2, 1, 0))
    return columns


def from_columns(columns: Any) -> Any:
    """(3, J, F) -> (F, J, 3)."""
    return array_namespace(columns).permute_dims(columns, (2, 1, 0))


def center(columns: Any) -> tuple[Any, Any]:
    """Points about their mean, and the mean: (3, J, F) -> (3, J, F), (3, F)."""
    xp = array_namespace(columns)
    mean = xp.sum(columns, axis=1) / columns.shape[1]
    return columns - mean[:, None, :], mean


def is_one_point(centered: Any, mean: Any) -> Any:
    """(F,) bool: all points of a frame are the same up to rounding. Arguments as returned by `center`."""
    xp = array_namespace(centered)
    spread = _sum_of_squares(xp, centered)
    size = xp.sum(mean * mean, axis=0) * centered.shape[1]
    return spread <= size * _SAME_POINT**2


def solve(pred: Any, pred_mean: Any, target: Any, *, scaled: bool = True) -> Fit:
    """Best rotation (and scale) from centred `pred` to centred `target`, per frame.

    Args:
        pred: (3, J, F) centred.
        pred_mean: (3, F), as `center` returns it; tells rounding from real spread.
        target: (3, J, F) centred.
        scaled: False fixes the scale at 1 (rigid).
    """
    xp = array_namespace(pred, target)
    b: Matrix = [[xp.sum(target[i] * pred[j], axis=0) for j in range(3)] for i in range(3)]
    pred_squared, target_squared = _sum_of_squares(xp, pred), _sum_of_squares(xp, target)
    bound = xp.sqrt(pred_squared * target_squared)
    norm = xp.sqrt(_column_product(b, 0, 0) + _column_product(b, 1, 1) + _column_product(b, 2, 2))
    no_signal = norm <= bound * _SAME_POINT
    safe_norm = xp.where(no_signal, xp.ones_like(norm), norm)
    b = [[x / safe_norm for x in row] for row in b]
    rotation, eigenvalue, gaps = _closed_form(xp, b, bound / safe_norm)
    hard = (gaps < _hard_limit(xp, norm)) | no_signal
    if bool(xp.any(hard)):
        rotation, eigenvalue = _replace_by_svd(xp, b, hard, rotation, eigenvalue)
    degenerate = is_one_point(pred, pred_mean)
    if not scaled:
        return Fit(rotation, xp.ones_like(norm), degenerate)
    spread = xp.where(degenerate, xp.ones_like(norm), pred_squared)
    scale = xp.where(degenerate | no_signal, xp.zeros_like(norm), eigenvalue * norm / spread)
    return Fit(rotation, scale, degenerate)


def rotate(rotation: Matrix, columns: Any, row: int) -> Any:
    """One coordinate of the rotated points: (3, J, F) -> (J, F)."""
    r = rotation[row]
    return r[0] * columns[0] + r[1] * columns[1] + r[2] * columns[2]


def _sum_of_squares(xp: Any, columns: Any) -> Any:
    return xp.sum(xp.sum(columns * columns, axis=0), axis=0)


def _closed_form(xp: Any, b: Matrix, bound: Any) -> tuple[Matrix, Any, Any]:
    """Rotation, largest eigenvalue and z (product of the gaps over 8) for B of Frobenius norm 1."""
    cofactor = [[_cofactor(b, i, j) for j in range(3)] for i in range(3)]
    det = b[0][0] * cofactor[0][0] + b[0][1] * cofactor[0][1] + b[0][2] * cofactor[0][2]
    gram: Matrix = [[_column_product(b, i, j) for j in range(3)] for i in range(3)]
    diagonal = gram[0][0] * gram[0][0] + gram[1][1] * gram[1][1] + gram[2][2] * gram[2][2]
    upper = gram[0][1] * gram[0][1] + gram[0][2] * gram[0][2] + gram[1][2] * gram[1][2]
    eigenvalue = _largest_root(xp, -8 * det, 2 * diagonal + 4 * upper - 1, bound)
    k = (eigenvalue * eigenvalue - 1) / 2
    z = k * eigenvalue - det
    inverse = 1 / xp.where(z == 0, xp.ones_like(z), z)
    head, tail = (k + 1) * inverse, eigenvalue * inverse
    rotation: Matrix = []
    for i in range(3):
        row = []
        for j in range(3):
            cubic = b[i][0] * gram[0][j] + b[i][1] * gram[1][j] + b[i][2] * gram[2][j]
            row.append(head * b[i][j] + tail * cofactor[i][j] - inverse * cubic)
        rotation.append(row)
    return rotation, eigenvalue, z


def _hard_limit(xp: Any, like: Any) -> float:
    """The z below which a frame is ill-conditioned (0.011 in float64; errors of the closed form grow as eps / z^2)."""
    limit: float = float(xp.finfo(like.dtype).eps) ** 0.125
    return limit


def _column_product(b: Matrix, i: int, j: int) -> Any:
    return b[0][i] * b[0][j] + b[1][i] * b[1][j] + b[2][i] * b[2][j]


def _cofactor(b: Matrix, i: int, j: int) -> Any:
    r, s, c, d = (i + 1) % 3, (i + 2) % 3, (j + 1) % 3, (j + 2) % 3
    return b[r][c] * b[s][d] - b[r][d] * b[s][c]


def _largest_root(xp: Any, c1: Any, c0: Any, bound: Any) -> Any:
    """Largest root of x^4 - 2 x^2 + c1 x + c0 (all roots real), from above by Newton.

    The slope is 8 z and falls towards the root: where it is below the limit of z already, the frame is one for the
    SVD and stays where it is (a step would divide rounding by nearly nothing).
    """
    x = xp.clip(bound, max=3.0**0.5)
    flat = 4 * _hard_limit(xp, x)
    for _ in range(_MAX_STEPS):
        squared = x * x
        value = (squared - 2) * squared + c1 * x + c0
        slope = 4 * x * (squared - 1) + c1
        steep = slope > flat
        step = xp.where(steep, value, xp.zeros_like(value)) / xp.where(steep, slope, xp.ones_like(slope))
        x = x - step
        if not bool(xp.any(xp.abs(step) > _STEP)):
            break
    return x


def _replace_by_svd(xp: Any, b: Matrix, hard: Any, rotation: Matrix, eigenvalue: Any) -> tuple[Matrix, Any]:
    """The same two results for the frames where `hard` holds, by singular value decomposition."""
    where = xp.nonzero(hard)[0]
    matrix = xp.stack([xp.stack([x[where] for x in row], axis=-1) for row in b], axis=-2)
    u, s, vh = xp.linalg.svd(matrix)
    sign = xp.where(xp.linalg.det(u @ vh) < 0, -xp.ones_like(s[:, 0]), xp.ones_like(s[:, 0]))
    flipped = xp.concat([u[..., :2], u[..., 2:] * sign[:, None, None]], axis=-1)
    exact = flipped @ vh

    def merged(fast: Any, values: Any) -> Any:
        full = xp.zeros_like(fast)
        full[where] = values
        return xp.where(hard, full, fast)

    rotation = [[merged(rotation[i][j], exact[:, i, j]) for j in range(3)] for i in range(3)]
    return rotation, merged(eigenvalue, s[:, 0] + s[:, 1] + sign * s[:, 2])
