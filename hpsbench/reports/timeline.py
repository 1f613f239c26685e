"""Error over time for a page: the values of every frame as whole numbers, and small pictures of some frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpsbench.reports.clips3d import pack
from hpsbench.reports.material import Run
from hpsbench.reports.pictures import data_uri
from hpsbench.reports.scene import Scene
from hpsbench.reports.tables import metric_name, metrics_of, unit_of
from hpsbench.types import IntArray

_MISSING = 65535
_THUMB = 128
_CORRUPTED = "corrupted_distance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much of everything a page may hold.

    Attributes:
        values: numbers of the error over time.
        thumbs: small pictures of frames.
        worst: worst frames of each run.
        coordinates: bytes of the 3D viewer's clips, before they are packed.
    """

    values: int = 300_000
    thumbs: int = 260
    worst: int = 6
    coordinates: int = 4_500_000

    def smaller(self) -> "Budget":
        """Half of everything."""
        return Budget(
            values=self.values // 2,
            thumbs=self.thumbs // 2,
            worst=max(self.worst // 2, 1),
            coordinates=self.coordinates // 2,
        )


def timeline(runs: Sequence[Run], scene: Scene | None, lead: str, budget: Budget) -> dict[str, Any] | None:
    """Values of each frame of each track, as JSON values; None where no run has values of frames.

    Where there are more frames than fit, the later metrics go first and then the last tracks; `left_out` counts them.
    """
    own = [m for m in metrics_of(runs) if any(m in run.result.frames for run in runs)]
    metrics = sorted(own, key=lambda metric: metric != lead)
    frames = [run.result.frames for run in runs]
    tracks = list(dict.fromkeys(str(t) for table in frames for t in table["track"]))
    if not metrics or not tracks:
        return None
    total = sum(len(table) for table in frames)
    metrics = metrics[: max(1, budget.values // max(total, 1))]
    tables = [{str(t): g for t, g in table.groupby("track", sort=False)} for table in frames]
    scales = {m: _scale(runs, m) for m in metrics}
    kept: list[dict[str, Any]] = []
    spent = 0
    for track in tracks:
        numbers = np.unique(
            np.concatenate([t[track]["frame_id"].to_numpy(np.int64) for t in tables if track in t])
        )
        spent += len(numbers) * len(runs) * len(metrics)
        if kept and spent > budget.values:
            break
        values = {
            m: [pack(_whole(t.get(track), m, numbers, scales[m]), np.uint16) for t in tables] for m in metrics
        }
        kept.append(
            {
                "track": track,
                "frames": numbers.tolist(),
                "values": values,
                "corrupted": [_hit(t.get(track)) for t in tables],
            }
        )
    thumbs = _thumbs(scene, kept, budget.thumbs)
    for entry, pictures in zip(kept, thumbs, strict=True):
        entry["pictures"] = pictures
    return {
        "runs": [run.label for run in runs],
        "metrics": [
            {"key": m, "name": metric_name(m), "unit": unit_of(runs, m), "scale": scales[m]} for m in metrics
        ],
        "tracks": kept,
        "left_out": len(tracks) - len(kept),
    }


def _scale(runs: Sequence[Run], metric: str) -> float:
    """The value of one whole number."""
    tops = [float(run.result.frames[metric].max()) for run in runs if metric in run.result.frames]
    top = max((t for t in tops if np.isfinite(t)), default=1.0)
    return max(top, 1e-6) / (_MISSING - 1)


def _whole(table: Any, metric: str, numbers: IntArray, scale: float) -> IntArray:
    """(n,) values of the track's frames as multiples of `scale`."""
    found = np.full(len(numbers), _MISSING, np.int64)
    if table is None or metric not in table:
        return found
    values = table[metric].to_numpy(np.float64)
    at = np.searchsorted(numbers, table["frame_id"].to_numpy(np.int64))
    good = np.isfinite(values)
    found[at[good]] = np.clip(np.round(values[good] / scale), 0, _MISSING - 1)
    return found


def _hit(table: Any) -> list[int]:
    """Frames that were corrupted themselves."""
    if table is None or _CORRUPTED not in table:
        return []
    return [int(f) for f in table.loc[table[_CORRUPTED] == 0, "frame_id"]]


def _thumbs(scene: Scene | None, tracks: Sequence[dict[str, Any]], count: int) -> list[dict[str, str]]:
    """Pictures of frames, evenly over each track: frame number -> data URI."""
    if scene is None or scene.frames is None:
        return [{} for _ in tracks]
    total = sum(len(entry["frames"]) for entry in tracks)
    every = max(1, -(-total // max(count, 1)))
    found = []
    for entry in tracks:
        first = min(every // 2, len(entry["frames"]) // 2)  # a track that is shorter than a step has one, too
        numbers = np.asarray(entry["frames"][first::every], np.int64)
        rows = scene.locate(np.full(len(numbers), entry["track"], dtype=object), numbers)
        pictures = {}
        for number, row in zip(numbers.tolist(), rows.tolist(), strict=True):
            image = scene.crop(row, _THUMB) if row >= 0 else None
            if image is not None:
                pictures[str(number)] = data_uri(image, 60)
        found.append(pictures)
    return found
