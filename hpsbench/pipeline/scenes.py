"""What corruptions are told of a store's tracks: boxes, keypoints, image size, other people."""

import numpy as np

from hpsbench.corruption._corruption import Scene
from hpsbench.corruption._plan import VISIBLE, keypoint_boxes
from hpsbench.store.reader import ClipStore, TrackRows
from hpsbench.types import BoolArray, FloatArray, IntArray

# Boxes of two people whose centres are nearer than this share of the side are one box.
_SAME_BOX = 0.05


class Scenes:
    """Makes the `Scene` of each track of a store under one view.

    Args:
        store: an open store.
        view: whose rows and boxes.
        others: whether other people's boxes are wanted.
    """

    def __init__(self, store: ClipStore, view: str, *, others: bool = False) -> None:
        self.keep: BoolArray = store.views[view].keep
        self._store = store
        self._boxes: FloatArray = store.views[view].bbox_cxcywh
        self._crop_scale = float(store.views[view].attrs["crop_scale"])
        self._people = self._who_is_where() if others else {}

    def scene(self, track: TrackRows, rows: IntArray) -> Scene:
        """The scene of one track.

        The tight box is that of the visible 2D keypoints, cut off at the image's border; a frame or a dataset without
        any lends the view's own box.

        Args:
            track: of the store.
            rows: (T,) those of its rows that the view keeps.
        """
        fields = self._store.frames
        keypoints = (
            fields["keypoints2d"].take(rows) if "keypoints2d" in fields else np.zeros((len(rows), 0, 3))
        )
        boxes = self._boxes[rows].astype(np.float64)
        size = track.clips[["width", "height"]].iloc[0].to_numpy(np.float64, na_value=np.inf)
        points = np.asarray(keypoints[..., :2], np.float64)
        inside = (keypoints[..., 2] > VISIBLE) & ((points >= 0) & (points <= size - 1)).all(axis=-1)
        return Scene(
            rows=rows,
            tight=np.clip(keypoint_boxes(keypoints, boxes), 0, np.tile(size - 1, 2)),
            boxes=boxes,
            crop_scale=self._crop_scale,
            keypoints=np.where(inside[..., None], points, np.nan),
            size=(float(size[0]), float(size[1])),
            others=self._nearest_others(track, rows, boxes),
        )

    def _who_is_where(self) -> dict[tuple[str, str, int], IntArray]:
        """(sequence, camera, frame number) -> rows with a box."""
        frame_id = np.asarray(self._store.frames["frame_id"][:])
        boxed = np.isfinite(self._boxes).all(axis=1) & (self._boxes[:, 2] > 0)
        found: dict[tuple[str, str, int], list[int]] = {}
        for track in self._store.tracks():
            place = _place(track)
            for row in track.rows[boxed[track.rows]].tolist():
                found.setdefault((*place, int(frame_id[row])), []).append(row)
        return {key: np.array(rows) for key, rows in found.items() if len(rows) > 1}

    def _nearest_others(self, track: TrackRows, rows: IntArray, boxes: FloatArray) -> FloatArray:
        """(T, 4) the nearest other person's box in each frame, NaN where there is none."""
        nearest = np.full((len(rows), 4), np.nan)
        place, frame_id = _place(track), np.asarray(self._store.frames["frame_id"][rows])
        for number, frame in enumerate(frame_id.tolist()):
            people = self._people.get((*place, int(frame)))
            if people is None:
                continue
            theirs = self._boxes[people[people != rows[number]]].astype(np.float64)
            away = np.hypot(*(theirs[:, :2] - boxes[number, :2]).T)
            another = away > _SAME_BOX * boxes[number, 2]
            if another.any():
                nearest[number] = theirs[another][np.argmin(away[another])]
        return nearest


def _place(track: TrackRows) -> tuple[str, str]:
    """Sequence and camera of a track: people of one place are in one image."""
    first = track.clips.iloc[0]
    camera = first["camera"]
    return str(first["sequence"]), camera if isinstance(camera, str) else ""
