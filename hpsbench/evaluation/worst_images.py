"""The images of a result's worst frames, cropped as the systems saw them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from hpsbench.errors import MissingData, MissingRawFiles
from hpsbench.evaluation.breakdown import Frame
from hpsbench.features.frames import Frames
from hpsbench.recipes.access import find_raw
from hpsbench.recipes.catalog import get_recipe
from hpsbench.results.result import Result
from hpsbench.store.reader import ClipStore, open_store

SIZE = 448
_QUALITY = 90


def save_worst_images(result: Result, worst: Sequence[Frame], root: Path, folder: Path) -> list[Path]:
    """Write the crop of each frame as a JPEG, `01_<track>_<frame>.jpg` for the worst.

    Args:
        result: that the frames are of; it names its store and view.
        worst: as `worst_frames` gives them.
        root: data root with the store and the raw dataset.
        folder: where to; made if it is not there.

    Returns:
        The files, in the order of the frames.

    Raises:
        MissingData: the result is of bare arrays, its store is not there, or has none of the frames.
        MissingRawFiles: the raw dataset is not there, or has no images.
    """
    dataset = (result.provenance.get("store") or {}).get("dataset")
    view = result.provenance.get("view")
    if dataset is None or view is None:
        raise MissingData("this result is of bare arrays: it names no dataset, so its frames have no images")
    if not any(frame.image for frame in worst):
        raise MissingRawFiles(f"the results of {dataset} name no images for these frames")
    store = open_store(Path(root) / "stores" / f"{dataset}.zarr")
    frames = Frames(store, find_raw(get_recipe(str(dataset)), Path(root)).path, str(view))
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, frame in enumerate(worst, start=1):
        crop: Any = np.ascontiguousarray(frames.crop(_row(store, frame), SIZE))
        path = folder / f"{number:02d}_{frame.track}_{frame.frame_id}.jpg"
        path.write_bytes(simplejpeg.encode_jpeg(crop, quality=_QUALITY))
        written.append(path)
    return written


def _row(store: ClipStore, frame: Frame) -> int:
    """The row of the store that a frame is."""
    clips = store.clips[store.clips["track"] == frame.track]
    for start, length, first, step in clips[["start", "length", "first_frame", "step"]].itertuples(
        index=False
    ):
        place, rest = divmod(frame.frame_id - int(first), max(int(step), 1))
        if rest == 0 and 0 <= place < int(length):
            return int(start) + place
    raise MissingData(
        f"{store.location} has no frame {frame.frame_id} of track {frame.track}; is it the store that the result is of?"
    )
