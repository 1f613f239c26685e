"""Targets that lie beside a store, one row per row of it: silhouettes (SPS-Net's mask loss) and dense flow (DTS-VIBE's).

`R/targets/<dataset>/<view>/masks.npy` (N, 56, 56) uint8 and `flow.npy` (N, 2, 56, 56) float16, over the crop that 2D targets
are normalised in; a `.json` beside each says what made it.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hpsbench.bodies.smpl import Bodies, load_bodies
from hpsbench.errors import MissingData, UnknownName
from hpsbench.features.flow import METHODS, REFERENCE_SIDE, dis_flow
from hpsbench.features.frames import Frames
from hpsbench.features.images import crop
from hpsbench.geometry.cameras import project
from hpsbench.pipeline.extract import raw_folder
from hpsbench.pipeline.work import Progress
from hpsbench.store.reader import ClipStore, open_store
from hpsbench.types import Array, FloatArray, IntArray

FOLDER = "targets"
KINDS = ("masks", "flow")
SIDE = 56
FINE = 4
"""Silhouettes are filled at so many times the side, then averaged and halved at one half."""
CROP_SCALE = 1.2
"""Of the crop that 2D targets are normalised in (training recipes: `data.crop_scale`), where images are not crops already."""
USER_MASKS = "masks"


def write_targets(
    store_path: Path,
    root: Path,
    *,
    view: str,
    kind: str,
    crop_scale: float | None = None,
    method: str = "dis",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write one kind of target for all rows that a view keeps; other rows hold zeros.

    Masks come from the user's files, `R/masks/<dataset>/<track>/<frame_id>.png` (full frames, people not black), where that
    folder is there; else, for a synthetic store, they are the silhouettes of the true bodies as the renderer draws them.
    Flow goes from a frame to the kept one before it, between the two crops, in units of half the crop's side.

    Args:
        store_path: folder of a complete clip store.
        root: data root.
        view: whose rows and boxes.
        kind: `masks` or `flow`.
        crop_scale: of the crop over the box; None: 1.2, and 1 where a view's boxes are the images, which are crops already.
        method: of flow.
        progress: called as (rows done, rows, note).

    Returns: what the `.json` says, and the path.

    Raises:
        MissingData: real data without the user's masks; MissingRawFiles without images.
        UnknownName: another kind or view.
    """
    if kind not in KINDS:
        raise UnknownName("kind of target", kind, KINDS)
    store = open_store(store_path)
    rows = np.flatnonzero(store.views[view].keep)
    if crop_scale is None:
        crop_scale = target_crop_scale(store.views[view].attrs)
    make, about = (
        _masks(store, root, view, crop_scale)
        if kind == "masks"
        else _flow(store, root, view, crop_scale, method)
    )
    path = root / FOLDER / store.dataset / view / f"{kind}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    shape, dtype = ((SIDE, SIDE), np.uint8) if kind == "masks" else ((2, SIDE, SIDE), np.float16)
    waiting = path.with_name(f"{path.name}.part")
    made = np.lib.format.open_memmap(waiting, mode="w+", dtype=dtype, shape=(len(store), *shape))
    without = 0
    for done, row in enumerate(rows.tolist()):
        value = make(row)
        if value is None:
            without += 1
        else:
            made[row] = value
        if progress and (done % 64 == 63 or done + 1 == len(rows)):
            progress(done + 1, len(rows), kind)
    made.flush()
    del made
    waiting.replace(path)
    card = {
        "kind": kind,
        "view": view,
        "crop_scale": crop_scale,
        "side": SIDE,
        "rows": len(rows),
        "without": without,
        "raw_manifest_sha256": store.attrs["raw_manifest_sha256"],
        **about,
    }
    path.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return {**card, "path": str(path)}


def target_crop_scale(view: Mapping[str, Any]) -> float:
    """Of the crop that the 2D targets of a view are normalised in, by the view's attributes."""
    return 1.0 if (view.get("box") or {}).get("rule") == "fixed" else CROP_SCALE


Make = Callable[[int], Array | None]


def _masks(store: ClipStore, root: Path, view: str, scale: float) -> tuple[Make, dict[str, Any]]:
    folder, boxes = root / USER_MASKS / store.dataset, store.views[view].bbox_cxcywh
    if folder.is_dir():
        names = _names(store)

        def read(row: int) -> Array | None:
            track, frame = names(row)
            found = [folder / track / text for text in (f"{frame:05d}.png", f"{frame}.png")]
            path = next((one for one in found if one.is_file()), None)
            image = None if path is None else cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            if image is None:
                return None
            white = np.where(image[..., None] > 0, 255, 0).astype(np.uint8).repeat(3, axis=2)
            return _shrunk(crop(white, boxes[row], scale, FINE * SIDE)[..., 0])

        return read, {"source": f"files under {USER_MASKS}/{store.dataset}"}
    if not store.synthetic:
        raise MissingData(
            f"no masks of {store.dataset}: put one PNG per person and frame at {folder}/<track>/<frame_id>.png, as large as "
            "the image, the person not black"
        )
    body = _TrueBodies(store, load_bodies(root, synthetic=True))

    def draw(row: int) -> Array:
        pixels = body.pixels(row)
        box, side = boxes[row], FINE * SIDE
        points = (pixels - box[:2]) * side / (scale * box[2]) + side / 2
        return _shrunk(fill(points, body.faces, side))

    return draw, {"source": "silhouettes of the true bodies of synthetic data, whatever stands before them"}


class _TrueBodies:
    """The annotated bodies of a store, where the image shows them."""

    def __init__(self, store: ClipStore, bodies: Bodies) -> None:
        self._store, self._bodies = store, bodies
        self._starts = store.clips["start"].to_numpy()
        self._genders = store.clips["gender"].fillna("neutral").tolist()
        self.faces: IntArray = np.asarray(bodies.neutral.faces)

    def pixels(self, row: int) -> FloatArray:
        """(6890, 2) of the vertices in the image."""
        frames, one = self._store.frames, np.array([row])
        gender = str(self._genders[int(np.searchsorted(self._starts, row, side="right")) - 1])
        body = self._bodies.by_gender(gender)
        pose, betas = (frames[name].take(one).astype(np.float32) for name in ("full_pose", "betas"))
        pelvis = body.joints(pose, betas)[0, 0].numpy()
        placed = body.vertices(pose, betas)[0].numpy() - pelvis + frames["joints3d"].take(one)[0, 0]
        return np.asarray(project(placed, frames["intrinsics"].take(one)[0]))


def fill(points: FloatArray, faces: IntArray, side: int) -> Array:
    """(side, side) uint8, 255 where a mesh's triangles lie; points (V, 2) in pixels."""
    mask = np.zeros((side, side), np.uint8)
    corners = np.round(np.clip(points, -4 * side, 5 * side)[faces]).astype(np.int32)
    inside = ((corners.max(axis=1) >= 0) & (corners.min(axis=1) < side)).all(axis=1)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    inside &= first[:, 0] * second[:, 1] >= first[:, 1] * second[:, 0]  # one side of a closed mesh covers it
    for triangle in corners[inside]:
        cv2.fillConvexPoly(mask, triangle, 255)
    return mask


def _shrunk(fine: Array) -> Array:
    """A fine mask, 0 or 255 -> (56, 56) 0 or 1."""
    shown = cv2.resize(fine, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(shown >= 128, np.uint8)


def _flow(store: ClipStore, root: Path, view: str, scale: float, method: str) -> tuple[Make, dict[str, Any]]:
    if method not in METHODS:
        raise UnknownName("flow method", method, METHODS)
    frames = Frames(store, raw_folder(store, root), view)
    frames.crop_scale = scale

    def make(row: int) -> Array | None:
        if frames.earlier(row) is None:
            return None
        pair = frames.pair(row, REFERENCE_SIDE)
        flow = dis_flow(pair[REFERENCE_SIDE:], pair[:REFERENCE_SIDE], method) * (2 / REFERENCE_SIDE)
        small = cv2.resize(flow, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        return np.asarray(small.transpose(2, 0, 1), np.float16)

    about = {"method": "DIS", "preset": METHODS[method][0], "opencv": cv2.__version__}
    return make, {**about, "unit": "half of the crop's side, from a frame to the kept one before"}


def _names(store: ClipStore) -> Callable[[int], tuple[str, int]]:
    """Row -> its track and frame number."""
    starts, tracks = store.clips["start"].to_numpy(), store.clips["track"].tolist()
    frame_id = np.asarray(store.frames["frame_id"][:])

    def name(row: int) -> tuple[str, int]:
        return str(tracks[int(np.searchsorted(starts, row, side="right")) - 1]), int(frame_id[row])

    return name
