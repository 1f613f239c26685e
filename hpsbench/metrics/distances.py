"""Point distances in blocks of frames that fit a core's cache, so that no temporary is as long as the track.

Few points a frame (joints) are turned into columns, (3, J, F), where every step is one pass over contiguous frames.
Many points (meshes) stay as they are.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from array_api_compat import array_namespace, is_numpy_array, is_torch_array

from hpsbench.geometry.procrustes import center, is_on_cpu, solve, to_columns, work_dtype
from hpsbench.geometry.units import M_TO_MM

Part = TypeVar("Part")
# Points per block: 4,096 frames of 14 joints. A GPU takes many more, because a launch costs more than the memory.
_BLOCK_CPU = 14 * 4096
_BLOCK_GPU = 1024 * 6890
# Blocks and meshes worth a second thread.
_BLOCKS_PER_THREAD = 2
_MESHES_PER_THREAD = 64
_MOST_THREADS = 4
# Vertices from which on rounding in float32 averages out.
_MESH = 1024


def blocks(points: Any, overlap: int = 0) -> Iterator[slice]:
    """Slices over the frames of (T, N, 3), at least one; neighbours share `overlap` frames."""
    frames, count, _ = points.shape
    step = max(1, (_BLOCK_CPU if is_on_cpu(points) else _BLOCK_GPU) // count)
    for start in range(0, max(frames - overlap, 1), step):
        yield slice(start, start + step + overlap)


def map_blocks(work: Callable[[slice], Part], points: Any, overlap: int = 0) -> Iterator[Part]:
    """What `work` makes of each block, in order; long NumPy arrays on a few threads (NumPy leaves Python's lock).

    Blocks are the same with any number of threads, so the numbers are, too.
    """
    cut = list(blocks(points, overlap))
    threads = min(_threads(), len(cut) // _BLOCKS_PER_THREAD)
    if threads < 2 or not is_numpy_array(points):
        yield from map(work, cut)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(work, cut)


def joined(parts: list[Any]) -> Any:
    """The parts of all blocks, one after the other."""
    return parts[0] if len(parts) == 1 else array_namespace(parts[0]).concat(parts)


def column_difference(pred: Any, target: Any, root: Sequence[int] = ()) -> Any:
    """`pred - target` as columns, after the mean of the root joints is taken off both: (T, J, 3) twice -> (3, J, T)."""
    xp = array_namespace(pred, target)
    dtype = work_dtype(pred)
    return without_root(to_columns(xp.astype(pred, dtype) - xp.astype(target, dtype)), root)


def without_root(columns: Any, root: Sequence[int] = ()) -> Any:
    """Columns (in place) about the mean of the root joints; as they are if there are none."""
    if len(root):
        offset = columns[:, root[0], :] / len(root)
        for i in root[1:]:
            offset += columns[:, i, :] / len(root)
        columns -= offset[:, None, :]
    return columns


def column_differences(columns: Any, order: int) -> Any:
    """Differences of neighbouring frames, `order` times: (3, J, T) -> (3, J, max(T - order, 0))."""
    for _ in range(order):
        columns = columns[..., 1:] - columns[..., :-1]
    return columns


def column_lengths(columns: Any) -> Any:
    """Lengths of the vectors: (3, J, T) -> (J, T)."""
    squares = columns[0, ...] * columns[0, ...]
    squares += columns[1, ...] * columns[1, ...]
    squares += columns[2, ...] * columns[2, ...]
    return array_namespace(columns).sqrt(squares)


def mean_length(columns: Any) -> Any:
    """Mean length of the vectors of each frame: (3, J, T) -> (T,)."""
    return array_namespace(columns).sum(column_lengths(columns), axis=0) / columns.shape[1]


def joint_distances(pred: Any, target: Any) -> Any:
    """Distance of each joint: (T, J, 3) twice, metres -> (T, J) millimetres."""
    xp = array_namespace(pred, target)
    return xp.permute_dims(column_lengths(column_difference(pred, target)), (1, 0)) * M_TO_MM


def mean_joint_distance(pred: Any, target: Any, root: Sequence[int] = ()) -> Any:
    """Mean distance of the joints of each frame.

    Args:
        pred: (T, J, 3) metres.
        target: (T, J, 3) metres.
        root: joints whose mean is taken off both sides first.

    Returns:
        (T,) millimetres.
    """
    parts = []
    for block in blocks(pred):
        moved = column_difference(pred[block, ...], target[block, ...], root)
        parts.append(mean_length(moved) * M_TO_MM)
    return joined(parts)


def aligned_mean_distance(pred: Any, target: Any) -> Any:
    """Mean of `aligned_distances` of each frame: (3, J, T) columns twice -> (T,) millimetres."""
    distances = aligned_distances(pred, target)
    return array_namespace(distances).sum(distances, axis=0) * (M_TO_MM / distances.shape[0])


def aligned_distances(pred: Any, target: Any) -> Any:
    """Distance of each joint after the best similarity of each frame.

    Args:
        pred: (3, J, T) columns, metres; are centred in place.
        target: (3, J, T) columns, metres; are centred in place.

    Returns:
        (J, T) metres.
    """
    p, p_mean = center(pred)
    t, _ = center(target)
    fit = solve(p, p_mean, t)
    xp = array_namespace(p, t)
    error = xp.einsum("ikf,kjf->ijf", fit.scale * fit.rotation, p)
    error -= t
    error *= error
    return xp.sqrt(error[0, ...] + error[1, ...] + error[2, ...])


def mean_vertex_distance(pred: Any, target: Any) -> Any:
    """Mean distance of the vertices of each frame: (T, V, 3) twice, metres -> (T,) millimetres."""
    if is_numpy_array(pred):
        return _mesh_distance_numpy(pred, target)
    xp = array_namespace(pred, target)
    if _is_plain_cpu(pred) and _is_plain_cpu(target):
        return xp.asarray(_mesh_distance_numpy(pred.numpy(), target.numpy()))
    dtype = work_dtype(pred)
    parts = []
    for block in blocks(pred):
        moved = xp.astype(pred[block, ...], dtype) - xp.astype(target[block, ...], dtype)
        parts.append(xp.mean(lengths(moved), axis=-1) * M_TO_MM)
    return joined(parts)


def _is_plain_cpu(points: Any) -> bool:
    """Whether NumPy can read a tensor where it lies, and no gradient is asked for."""
    known = str(points.dtype) in ("torch.float32", "torch.float64")
    return known and is_torch_array(points) and is_on_cpu(points) and not points.requires_grad


def lengths(vectors: Any) -> Any:
    """Lengths of vectors: (..., 3) -> (...)."""
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    return array_namespace(vectors).sqrt(x * x + y * y + z * z)


def _mesh_distance_numpy(pred: Any, target: Any) -> Any:
    """`mean_vertex_distance` with buffers of one frame that stay in cache, on a few threads."""
    frames, count, _ = pred.shape
    total = np.empty(frames)
    threads = max(1, min(_threads(), frames // _MESHES_PER_THREAD))
    cuts = [frames * i // threads for i in range(threads + 1)]
    if threads == 1:
        _sum_mesh_distances(pred, target, total)
    else:
        with ThreadPoolExecutor(threads) as pool:
            parts = [slice(a, b) for a, b in itertools.pairwise(cuts)]
            list(pool.map(lambda part: _sum_mesh_distances(pred[part], target[part], total[part]), parts))
    return total * (M_TO_MM / count)


def _sum_mesh_distances(pred: Any, target: Any, total: Any) -> None:
    """Sum of the distances of each frame in float64, written into `total` (T,)."""
    count = pred.shape[1]
    if pred.dtype == target.dtype == np.float32 and count >= _MESH:
        _sum_float32_distances(pred, target, total)
        return
    moved, other = np.empty((count, 3)), np.empty((count, 3))
    length, ones = np.empty(count), np.ones(count)
    x, y, z = (moved[:, i] for i in range(3))
    with np.errstate(invalid="ignore", over="ignore"):
        for frame in range(pred.shape[0]):
            np.copyto(moved, pred[frame])
            np.copyto(other, target[frame])
            np.subtract(moved, other, out=moved)
            np.multiply(moved, moved, out=moved)
            np.add(x, y, out=length)
            np.add(length, z, out=length)
            np.sqrt(length, out=length)
            total[frame] = length @ ones


def _sum_float32_distances(pred: Any, target: Any, total: Any) -> None:
    """The same for float32 meshes: squared distances in float32, roots and sums in float64.

    float64 coordinates would take twice as long, most of it for widening numbers that carry 24 bits. The squares round a
    distance by at most 1.2e-7 of itself; over thousands of vertices that averages out to some 1e-9 of the mean.
    """
    count = pred.shape[1]
    moved, squared = np.empty((count, 3), np.float32), np.empty(count, np.float32)
    length, ones, three = np.empty(count), np.ones(count), np.ones(3, np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        for frame in range(pred.shape[0]):
            np.subtract(pred[frame], target[frame], out=moved)
            np.multiply(moved, moved, out=moved)
            np.dot(moved, three, out=squared)
            np.copyto(length, squared)
            np.sqrt(length, out=length)
            total[frame] = length @ ones


def _threads() -> int:
    """How many threads arithmetic may use: OMP_NUM_THREADS, else the CPUs of this process, at most four."""
    wish = os.environ.get("OMP_NUM_THREADS", "")
    if wish.isdigit():
        return min(int(wish), _MOST_THREADS)
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return min(count, _MOST_THREADS)
