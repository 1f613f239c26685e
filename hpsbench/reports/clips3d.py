"""Short clips of annotated and predicted bodies for the 3D viewer of a page: few vertices, whole numbers."""

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hpsbench.geometry.units import M_TO_MM
from hpsbench.predictions.predictions import Predictions
from hpsbench.reports.material import Run
from hpsbench.reports.scene import Scene, pelvis_of
from hpsbench.reports.skeletons import bones
from hpsbench.types import Array, FloatArray, IntArray

if TYPE_CHECKING:
    import pandas as pd

# Edge of the cells, in metres, in which one vertex stands for all: about 2,000 of SMPL's 6,890 are left.
CELL = 0.025
# Whole numbers of this many millimetres; 16 bits then reach 16 m each way.
STEP_MM = 0.5
# Fewer frames than this in a row are shown every second one, so that a clip still shows a motion.
_FEW = 24


class Moment(NamedTuple):
    """A stretch of one track that the viewer shows.

    Attributes:
        track: its name.
        why: why it was chosen.
        frame_id: (n,) frames.
    """

    track: str
    why: str
    frame_id: IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """A coarse mesh.

    Attributes:
        vertices: (V',) which vertices of the full mesh are kept.
        faces: (F', 3) into those.
    """

    vertices: IntArray
    faces: IntArray


def coarse_mesh(vertices: FloatArray, faces: IntArray, cell: float = CELL) -> Mesh:
    """A mesh with one vertex per cell of a grid: the one nearest to the mean of those in the cell.

    Args:
        vertices: (V, 3) of a body at rest, metres.
        faces: (F, 3).
        cell: edge of the cells, metres.
    """
    places = np.floor((vertices - vertices.min(axis=0)) / cell).astype(np.int64)
    _, group = np.unique(places, axis=0, return_inverse=True)
    group = group.ravel()
    count = int(group.max()) + 1
    sums = np.zeros((count, 3))
    np.add.at(sums, group, vertices)
    means = sums / np.bincount(group, minlength=count)[:, None]
    far = np.linalg.norm(vertices - means[group], axis=1)
    order = np.lexsort((far, group))
    first = np.searchsorted(group[order], np.arange(count))
    corners = group[faces]
    whole = (
        (corners[:, 0] != corners[:, 1]) & (corners[:, 1] != corners[:, 2]) & (corners[:, 0] != corners[:, 2])
    )
    kept = corners[whole]
    _, unique = np.unique(np.sort(kept, axis=1), axis=0, return_index=True)
    return Mesh(vertices=order[first], faces=kept[np.sort(unique)])


def pick_moments(frames: "pd.DataFrame", metric: str, length: int) -> list[Moment]:
    """A bad, a usual and a good stretch, from different tracks where there are some: by the mean of the metric."""
    scored = frames[frames["scored"] & frames[metric].notna()]
    stretches: list[tuple[float, str, IntArray]] = []
    for track, own in scored.groupby("track", sort=True):
        values, numbers = own[metric].to_numpy(np.float64), own["frame_id"].to_numpy(np.int64)
        take = min(length, len(values))
        means = np.convolve(values, np.ones(take) / take, mode="valid")
        for start in {
            int(means.argmax()),
            int(means.argmin()),
            int(np.argsort(means, kind="stable")[len(means) // 2]),
        }:
            stretches.append((float(means[start]), str(track), numbers[start : start + take]))
    stretches.sort(key=lambda s: (s[0], s[1], int(s[2][0])))
    if not stretches:
        return []
    wanted = (("worst", len(stretches) - 1), ("middle", len(stretches) // 2), ("best", 0))
    chosen: list[Moment] = []
    for why, at in wanted:
        others = [m.track for m in chosen]
        near = sorted(range(len(stretches)), key=lambda i: (stretches[i][1] in others, abs(i - at)))
        if any(m.track == stretches[near[0]][1] for m in chosen) and len(chosen):
            break
        chosen.append(Moment(stretches[near[0]][1], why, stretches[near[0]][2]))
    return chosen


def viewer_clips(
    scene: Scene, runs: Sequence[Run], metric: str, *, budget: int, mesh: bool = True, most_runs: int = 3
) -> dict[str, Any] | None:
    """Everything that the viewer of a page needs, as JSON values; None where nobody's bodies are at hand.

    Args:
        scene: store and bodies.
        runs: those with predictions are shown beside the annotated body, at most `most_runs`.
        metric: by which the clips are chosen, of the first shown run.
        budget: bytes that all coordinates may take before they are packed.
        mesh: show meshes where both sides have one; else skeletons.
        most_runs: runs that are shown.
    """
    shown = [(run, run.predictions) for run in runs if run.predictions is not None][:most_runs]
    chooser = shown[0][0] if shown else runs[0]
    meshed = mesh and scene.has_mesh and all("betas" in predictions.arrays for _, predictions in shown)
    coarse = None
    if meshed and scene.bodies is not None:
        rest = scene.bodies.neutral.vertices(np.zeros((1, 72), np.float32), np.zeros((1, 10), np.float32))
        coarse = coarse_mesh(rest[0].cpu().numpy().astype(np.float64), scene.faces)
    points = len(coarse.vertices) if coarse else 24
    per_frame = points * 6 * (1 + len(shown))
    length = int(np.clip(budget // (3 * per_frame), 8, 60))
    step = 1 if length >= _FEW else 2
    moments = [
        moment._replace(frame_id=moment.frame_id[::step])
        for moment in pick_moments(chooser.result.frames, metric, length * step)
    ]
    clips = [c for c in (_clip(scene, shown, moment, coarse) for moment in moments) if c is not None]
    if not clips:
        return None
    found: dict[str, Any] = {
        "step": STEP_MM / M_TO_MM,
        "bodies": ["ground truth", *(run.label for run, _ in shown)],
        "clips": clips,
    }
    if coarse:
        found["faces"] = pack(coarse.faces, np.uint16)
    return found


def _clip(
    scene: Scene, shown: Sequence[tuple[Run, Predictions]], moment: Moment, coarse: Mesh | None
) -> dict[str, Any] | None:
    tracks = np.full(len(moment.frame_id), moment.track, dtype=object)
    rows = scene.locate(tracks, moment.frame_id)
    if (rows < 0).any():
        return None
    bodies = [_truth(scene, rows, coarse)]
    for _, predictions in shown:
        places = predictions.locate(tracks.astype(str), moment.frame_id, rows)
        bodies.append(None if (places < 0).any() else _pred(scene, predictions, places, coarse))
    if bodies[0] is None and not any(bodies):
        return None
    return {
        "track": moment.track,
        "why": moment.why,
        "frames": moment.frame_id.tolist(),
        "bodies": bodies,
    }


def _truth(scene: Scene, rows: IntArray, coarse: Mesh | None) -> dict[str, Any] | None:
    if coarse is not None:
        return _packed(scene.truth_vertices(rows)[:, coarse.vertices], None)
    given = scene.truth_joints(rows)
    if given is None or not np.isfinite(given[0]).all():
        return None
    return _packed(given[0] - pelvis_of(*given)[:, None], bones(given[1]))


def _pred(
    scene: Scene, predictions: Predictions, places: IntArray, coarse: Mesh | None
) -> dict[str, Any] | None:
    if coarse is not None:
        vertices = scene.pred_vertices(predictions, places)
        return None if vertices is None else _packed(vertices[:, coarse.vertices], None)
    given = scene.pred_joints(predictions, places)
    if given is None:
        return None
    return _packed(given[0] - pelvis_of(*given)[:, None], bones(given[1]))


def _packed(points: Array, lines: list[tuple[int, int]] | None) -> dict[str, Any]:
    whole = np.clip(np.round(points * M_TO_MM / STEP_MM), -32767, 32767)
    found: dict[str, Any] = {"n": int(points.shape[1]), "xyz": pack_motion(whole)}
    if lines is not None:
        found["bones"] = [list(pair) for pair in lines]
    return found


def pack_motion(whole: Array) -> str:
    """Whole numbers (T, V, 3) as text: differences to the frame before, low bytes then high bytes, deflated, base64."""
    values = np.ascontiguousarray(whole, "<i2").reshape(len(whole), -1)
    steps = np.concatenate([values[:1], np.diff(values, axis=0)]).astype("<i2")
    planes = steps.reshape(-1, 1).view(np.uint8).T
    return base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode("ascii")


def pack(values: Array, dtype: type[np.generic]) -> str:
    """Numbers as base64 text of little-endian values, in C order."""
    data = np.ascontiguousarray(values, np.dtype(dtype).newbyteorder("<")).tobytes()
    return base64.b64encode(data).decode("ascii")
