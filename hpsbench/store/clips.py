"""The clip table: cutting tracks into clips, and the Parquet bytes that the store keeps of it.

A clip is a run of rows of one track in which `frame_id[i] = first_frame + step * i`. Where the dataset itself
skips frames, a new clip of the same track starts, and its `gap_before` counts the frames that are missing.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from hpsbench.errors import BadData, BrokenFile, ShapeError
from hpsbench.types import IntArray, Track

if TYPE_CHECKING:
    import pandas as pd

ClipRow = dict[str, Any]

COLUMNS: Mapping[str, str] = {
    "clip_id": "string",
    "track": "string",
    "split": "string",
    "sequence": "string",
    "person": "string",
    "subject": "string",
    "action": "string",
    "camera": "string",
    "gender": "string",
    "fps": "double",
    "start": "int64",
    "length": "int64",
    "first_frame": "int64",
    "step": "int64",
    "gap_before": "int64",
    "width": "int64",
    "height": "int64",
    "image_source": "string",
}
# Unknown values (an unknown camera, no images) are missing, never zero or empty.
MAY_MISS = ("subject", "action", "camera", "gender", "fps", "width", "height", "image_source")


def cut_clips(track: Track, step: int | None = None) -> list[ClipRow]:
    """The clips of one track, in frame order; `start` counts from the track's own first row.

    `step` is the greatest common divisor of the frame differences: 1 for a video that is annotated throughout, 4
    for a motion of which every fourth frame was kept.

    Args:
        track: of which only the frame numbers and the names are read.
        step: distance of neighbouring frames, where it is known of the whole file and divides the differences: a track of
            which only frames 3 and 7 are left does not have every fourth frame.

    Raises:
        BadData: the frame numbers do not increase.
    """
    frames = np.asarray(track.frame_id, dtype=np.int64)
    jumps = frames[1:] - frames[:-1]
    smallest = int(jumps.min(initial=1 << 62))
    if len(frames) == 0 or smallest <= 0:
        raise BadData(f"track {track.key}: frame_id must increase and not be empty, got {_shown(frames)}")
    own, borders = step or 1, [0, len(frames)]
    if len(jumps):
        common = smallest if smallest == int(jumps.max()) else int(np.gcd.reduce(jumps))
        own = step if step is not None and common % step == 0 else common
        borders[1:1] = (np.flatnonzero(jumps != own) + 1).tolist()
    key = track.key
    rows = []
    for number, (start, end) in enumerate(pairwise(borders)):
        gap = int(frames[start] - frames[start - 1]) // own - 1 if start else 0
        rows.append(
            {
                "clip_id": f"{key}.{number}",
                "track": key,
                "split": track.split,
                "sequence": track.sequence,
                "person": str(track.person),
                "subject": track.subject,
                "action": track.action,
                "camera": track.camera,
                "gender": track.gender,
                "fps": None if track.fps is None else float(track.fps),
                "start": start,
                "length": end - start,
                "first_frame": int(frames[start]),
                "step": own,
                "gap_before": gap,
                "width": track.width,
                "height": track.height,
                "image_source": track.image_source,
                **track.clip_info,
            }
        )
    return rows


def clips_to_parquet(rows: Sequence[ClipRow]) -> bytes:
    """The clip table as the bytes of a Parquet file: the same rows give the same bytes.

    Columns that the dataset adds follow the format's own, in alphabetical order.

    Raises:
        BadData: a column that the dataset adds mixes types.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    extra = sorted({name for row in rows for name in row} - set(COLUMNS))
    arrays = [
        pa.array([row[name] for row in rows], type=pa.type_for_alias(kind)) for name, kind in COLUMNS.items()
    ]
    for name in extra:
        try:
            arrays.append(pa.array([row.get(name) for row in rows]))
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise BadData(f"clip table: column {name!r} mixes types ({error})") from error
    table = pa.table(arrays, names=[*COLUMNS, *extra])
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="none", write_statistics=False, version="2.6")
    return buffer.getvalue()


def clips_from_parquet(data: bytes, where: str) -> "pd.DataFrame":
    """The clip table as a pandas table; numbers that may be missing are nullable (`Int64`).

    Raises:
        BrokenFile: the bytes are not a Parquet file or lack a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(data))
    except pa.ArrowInvalid as error:
        raise BrokenFile(f"{where}: the clip table is not readable as Parquet ({error})") from error
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise BrokenFile(f"{where}: the clip table lacks the columns {', '.join(missing)}")
    frame: pd.DataFrame = table.to_pandas()
    for name in ("width", "height"):
        frame[name] = frame[name].astype("Int64")
    return frame


def with_starts(sources: Iterable[Sequence[ClipRow]]) -> list[ClipRow]:
    """Clips of all tracks after another, with `start` counted from the store's first row.

    Args:
        sources: the clips of one track, or of several after another.

    Raises:
        BadData: two tracks have one name.
    """
    rows: list[ClipRow] = []
    seen: dict[str, str] = {}
    offset = 0
    for clips in sources:
        for clip in clips:
            if clip["clip_id"] in seen:
                raise BadData(
                    f"track {clip['track']!r} occurs twice, in the splits {seen[clip['clip_id']]} and {clip['split']}; is a raw "
                    "file there twice? Move one away (or, in a reader of your own, give every track a name of its own)"
                )
            seen[clip["clip_id"]] = clip["split"]
            rows.append({**clip, "start": offset})
            offset += clip["length"]
    return rows


def check_track(track: Track) -> None:
    """Check at the door that every field of a track has one row per frame.

    Raises:
        ShapeError: a field is longer or shorter than `frame_id`.
    """
    for name, values in track.fields.items():
        if len(values) != len(track):
            raise ShapeError(
                f"track {track.key}: field {name!r} has {len(values)} rows for {len(track)} frames"
            )


def _shown(frames: IntArray) -> str:
    numbers = frames.tolist()
    return str(numbers) if len(numbers) < 8 else f"[{numbers[0]}, {numbers[1]}, ..., {numbers[-1]}]"
