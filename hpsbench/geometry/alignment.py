"""Alignments of point sets: by root, by similarity, rigid, by the first frames. NumPy and torch alike.

A similarity is scale, rotation and translation; reflections are never allowed. Everything is differentiable in torch.
Computed in float64 where the device has it, and returned so.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from array_api_compat import array_namespace

from hpsbench.errors import ShapeError
from hpsbench.geometry.procrustes import center, solve, to_columns


class Similarity(NamedTuple):
    """x -> scale * rotation @ x + translation, one per leading index.

    Attributes:
        scale: (...).
        rotation: (..., 3, 3).
        translation: (..., 3).
        degenerate: (...) bool, all fitted points of the prediction were the same point: scale is 0 and the
            translation is the target's mean (rigid: rotation is the identity).
    """

    scale: Any
    rotation: Any
    translation: Any
    degenerate: Any

    def apply(self, points: Any) -> Any:
        """Move points (..., N, 3)."""
        xp = array_namespace(points, self.scale)
        rotated = xp.astype(points, self.scale.dtype) @ xp.matrix_transpose(self.rotation)
        return self.scale[..., None, None] * rotated + self.translation[..., None, :]


def root_align(points: Any, root_indices: Sequence[int]) -> Any:
    """Points relative to the mean of their root joints.

    Args:
        points: (..., J, 3).
        root_indices: joints whose mean becomes the origin; mid-hip is two of them.

    Returns:
        (..., J, 3), same dtype.
    """
    xp = array_namespace(points)
    root = root_position(points, root_indices)
    joints = points.shape[-2]
    # As rows of 3 J numbers: a broadcast along J would leave inner loops of 3.
    rows = xp.reshape(points, (*root.shape[:-1], 3 * joints)) - xp.tile(
        root, (*(1,) * (root.ndim - 1), joints)
    )
    return xp.reshape(rows, points.shape)


def checked_root(root: Sequence[int], joints: int) -> list[int]:
    """The indices of root joints as a list, checked.

    Raises:
        ShapeError: none, or one that is not in 0 ... joints - 1.
    """
    chosen = [int(i) for i in root]
    if not chosen or not all(0 <= i < joints for i in chosen):
        raise ShapeError(f"root: expected indices of {joints} joints, got {chosen}")
    return chosen


def root_position(points: Any, root_indices: Sequence[int]) -> Any:
    """Mean of the root joints: (..., J, 3) -> (..., 3)."""
    chosen = checked_root(root_indices, points.shape[-2])
    total = points[..., chosen[0], :]
    for i in chosen[1:]:
        total = total + points[..., i, :]
    return total / len(chosen)


def fit_similarity(pred: Any, target: Any, *, scaled: bool = True) -> Similarity:
    """The least-squares similarity that moves `pred` onto `target`, per leading index.

    Args:
        pred: (..., J, 3).
        target: (..., J, 3), same points in the same order.
        scaled: False fixes the scale at 1.
    """
    xp = array_namespace(pred, target)
    if pred.shape != target.shape or pred.ndim < 2 or pred.shape[-1] != 3:
        raise ShapeError(
            f"pred, target: expected both (..., J, 3), got {tuple(pred.shape)}, {tuple(target.shape)}"
        )
    lead, joints = tuple(pred.shape[:-2]), pred.shape[-2]
    p, p_mean = center(to_columns(xp.reshape(pred, (-1, joints, 3))))
    t, t_mean = center(to_columns(xp.reshape(target, (-1, joints, 3))))
    fit = solve(p, p_mean, t, scaled=scaled)
    rotation = xp.permute_dims(fit.rotation, (2, 0, 1))
    moved = xp.matrix_transpose(p_mean)[:, None, :] @ xp.matrix_transpose(rotation)
    translation = xp.matrix_transpose(t_mean) - fit.scale[:, None] * moved[:, 0, :]
    return Similarity(
        xp.reshape(fit.scale, lead),
        xp.reshape(rotation, (*lead, 3, 3)),
        xp.reshape(translation, (*lead, 3)),
        xp.reshape(fit.degenerate, lead),
    )


def similarity_align(pred: Any, target: Any) -> Any:
    """`pred` after the best similarity per frame (Procrustes): (..., J, 3) -> (..., J, 3).

    Where all points of a prediction are the same, the result is the mean of the target, repeated.
    """
    return fit_similarity(pred, target).apply(pred)


def rigid_align(pred: Any, target: Any) -> Any:
    """`pred` after the best rotation and translation per frame: (..., J, 3) -> (..., J, 3)."""
    return fit_similarity(pred, target, scaled=False).apply(pred)


def first_frames_align(pred: Any, target: Any, frames: int = 2) -> Any:
    """A whole track moved by the one similarity that fits its first frames.

    Args:
        pred: (T, J, 3).
        target: (T, J, 3).
        frames: how many frames are fitted together; a shorter track is fitted whole.

    Returns:
        (T, J, 3).
    """
    xp = array_namespace(pred, target)
    if pred.ndim != 3:
        raise ShapeError(f"pred: expected (T, J, 3), got {tuple(pred.shape)}")
    head = xp.reshape(pred[:frames, ...], (-1, 3)), xp.reshape(target[:frames, ...], (-1, 3))
    return fit_similarity(*head).apply(pred)


def all_frames_align(pred: Any, target: Any) -> Any:
    """A whole track moved by the one similarity that fits all its frames: (T, J, 3) -> (T, J, 3)."""
    return first_frames_align(pred, target, frames=pred.shape[0])
