"""The image, box and crop of a store's rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpsbench.errors import BadData, MissingRawFiles
from hpsbench.features.containers import read_inner
from hpsbench.features.images import crop, decode
from hpsbench.store.reader import ClipStore
from hpsbench.types import FloatArray


class Frames:
    """Finds the image, box and crop of a store's rows.

    Args:
        store: an open store.
        raw: folder of the raw dataset, to which the clips' `image_source` is relative.
        view: name of the view whose boxes are used.
    """

    def __init__(self, store: ClipStore, raw: Path, view: str) -> None:
        self.raw, self.store = raw, store
        self.crop_scale = float(store.views[view].attrs["crop_scale"])
        self._boxes = store.views[view].bbox_cxcywh
        self._frame_id = np.asarray(store.frames["frame_id"][:])
        clips = store.clips
        self._starts = clips["start"].to_numpy()
        self._sources = clips["image_source"].tolist()
        self._keep = store.views[view].keep

    def source(self, row: int) -> tuple[Path, str]:
        """The file of a row's image, and what is looked for in it: nothing, or a frame of a video or record.

        Raises:
            MissingRawFiles: the dataset gives no image for this row.
        """
        source = self._sources[int(np.searchsorted(self._starts, row, side="right")) - 1]
        if not isinstance(source, str) or not source:
            raise MissingRawFiles(
                f"{self.store.location}: row {row} has no image, so it can have no features"
            )
        name, _, inner = source.format(frame_id=int(self._frame_id[row])).partition("#")
        return self.raw / name, inner

    def path(self, row: int) -> Path:
        """The file that holds a row's image; see `source`."""
        return self.source(row)[0]

    def image(self, row: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB: the whole image of a row, from its file, or decoded out of a video or TFRecord shard.

        Raises:
            MissingRawFiles: there is no image for this row, or no such file.
            BrokenFile: the file is damaged.
        """
        path, inner = self.source(row)
        return read_inner(path, inner) if inner else decode(path)

    def box(self, row: int) -> FloatArray:
        """(4,) the view's box of a row."""
        box: FloatArray = self._boxes[row]
        return box

    def earlier(self, row: int) -> int | None:
        """The row before in the same clip, of those that the view keeps; None for the first."""
        start = int(self._starts[int(np.searchsorted(self._starts, row, side="right")) - 1])
        kept = np.flatnonzero(self._keep[start:row])
        return start + int(kept[-1]) if len(kept) else None

    def pair(self, row: int, size: int) -> Any:
        """(2 size, size, 3) uint8: the crop of the row before above that of the row; the same twice where there is none."""
        now, earlier = self.crop(row, size), self.earlier(row)
        return np.concatenate([now if earlier is None else self.crop(earlier, size), now])

    def crop(
        self,
        row: int,
        size: int,
        change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
        *,
        box: FloatArray | None = None,
    ) -> Any:
        """(size, size, 3) uint8 crop of a row.

        Args:
            row: of the store.
            size: side in pixels.
            change: applied to the whole frame before it is cropped.
            box: (4,) another box than the view's.
        """
        image = self.image(row)
        where = self.box(row) if box is None else box
        try:
            return crop(image if change is None else change(image), where, self.crop_scale, size)
        except BadData as error:
            raise BadData(f"{self.path(row)} (row {row}): {error}") from error
