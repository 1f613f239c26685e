"""A picture of what systems see and say: crops, corrupted crops, the annotated body and each system's body on them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from hpsbench.bodies.smpl import Bodies, load_bodies
from hpsbench.corruption._catalog import get_corruption
from hpsbench.features.corrupted import corrupted_crop
from hpsbench.features.frames import Frames
from hpsbench.geometry.cameras import project, project_crop, weak_perspective_to_translation
from hpsbench.pipeline.extract import raw_folder
from hpsbench.reports.drawing import PRED_COLOUR, TARGET_COLOUR, Image, caption, draw_mesh, grid
from hpsbench.store.reader import ClipStore, TrackRows
from hpsbench.types import Array, ClipInput, IntArray

SIDE = 224


def contact_sheet(
    store: ClipStore,
    root: Path,
    systems: Mapping[str, Any],
    *,
    features: Mapping[str, str],
    view: str,
    out: Path,
    split: str = "test",
    count: int = 6,
) -> Path:
    """Draw `count` corrupted frames of a split: clean crop, corrupted crop, annotated body, then each system's body.

    Args:
        store: a prepared store with SMPL parameters, 3D joints and intrinsics.
        root: data root.
        systems: label -> system that predicts SMPL parameters and a camera.
        features: `clean` and `corrupted` -> names of feature sets; systems read the corrupted one.
        view: whose boxes and crop scale.
        out: picture to write (.png or .jpg).
        split: to draw from.
        count: frames, spread over the tracks.

    Returns: `out`.
    """
    record = store.features[features["corrupted"]].attrs["corruption"]
    hits = np.asarray(record["hits"]["row"])
    keep = store.views[view].keep
    tracks = [
        track for track in store.tracks(split) if np.intersect1d(track.rows[keep[track.rows]], hits).size
    ]
    chosen = [tracks[i] for i in np.linspace(0, len(tracks) - 1, min(count, len(tracks))).astype(int)]
    sheet = _Sheet(store, root, view, record)
    rows = [
        _picture(sheet, track, hits, systems, features["corrupted"], number)
        for number, track in enumerate(chosen)
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(out), grid(rows)[..., ::-1])
    return out


def _picture(
    sheet: "_Sheet", track: TrackRows, hits: IntArray, systems: Mapping[str, Any], features: str, number: int
) -> list[Image]:
    """One row of the sheet: a corrupted frame somewhere in the middle of a track."""
    rows = track.rows[sheet.keep[track.rows]]
    hit = np.intersect1d(rows, hits)
    row = int(hit[len(hit) // 2])
    clean, corrupted = sheet.crop(row), sheet.crop(row, corrupted=True)
    first = number == 0
    cells = [
        ("clean crop", clean),
        ("corrupted crop", corrupted),
        ("annotated body", sheet.target(row, clean)),
    ]
    cells += [
        (label, sheet.predicted(system, track, rows, row, features, clean))
        for label, system in systems.items()
    ]
    return [
        caption(image, label if first else f"{track.track}, row {row}" if i == 0 else "")
        for i, (label, image) in enumerate(cells)
    ]


class _Sheet:
    """The store's frames, boxes and bodies, as a contact sheet needs them."""

    def __init__(self, store: ClipStore, root: Path, view: str, record: Mapping[str, Any]) -> None:
        self.store, self.record = store, record
        self.keep = store.views[view].keep
        self.boxes = store.views[view].bbox_cxcywh
        self.scale = float(store.views[view].attrs["crop_scale"])
        self.frames = Frames(store, raw_folder(store, root), view)
        self.bodies: Bodies = load_bodies(root, synthetic=store.synthetic)
        self.faces = np.asarray(self.bodies.neutral.faces)
        self.corruption = get_corruption(record["mode"])
        self.place = {row: i for i, row in enumerate(record["hits"]["row"])}

    def crop(self, row: int, *, corrupted: bool = False) -> Image:
        """The crop that an extractor sees, at `SIDE` pixels."""
        if not corrupted:
            crop: Image = self.frames.crop(row, SIDE)
            return crop
        what = np.array([self.record["hits"][name][self.place[row]] for name in self.corruption.columns])
        return corrupted_crop(self.frames, self.corruption, row, what, SIDE, self.record["fill"])

    def target(self, row: int, image: Image) -> Image:
        """The annotated body (neutral, the dataset's betas) where the dataset's joints are."""
        one = np.array([row])
        pose, betas = (
            self.store.frames[name].take(one).astype(np.float32) for name in ("full_pose", "betas")
        )
        vertices = self.bodies.neutral.vertices(pose, betas)[0].numpy()
        pelvis = self.bodies.neutral.joints(pose, betas)[0, 0].numpy()
        placed = vertices - pelvis + self.store.frames["joints3d"].take(one)[0, 0]
        pixels = project(placed, self.store.frames["intrinsics"].take(one)[0])
        box = self.boxes[row]
        return draw_mesh(
            image,
            (pixels - box[:2]) * SIDE / (self.scale * box[2]) + SIDE / 2,
            placed,
            self.faces,
            TARGET_COLOUR,
        )

    def predicted(
        self, system: Any, track: TrackRows, rows: IntArray, row: int, features: str, image: Image
    ) -> Image:
        """A system's body of one frame, predicted from the whole track's features."""
        data = self.store.features[features].of(rows)
        clip = ClipInput(
            track=track.track,
            length=len(rows),
            frame_id=self.store.frames["frame_id"].take(rows),
            features=data,
        )
        prediction = system.predict(clip)
        at = int(np.argmin(np.abs(prediction.rows - int(np.searchsorted(rows, row)))))
        vertices, camera = self._body(prediction, at)
        pixels = (project_crop(vertices, camera).numpy() + 1) * SIDE / 2
        placed = vertices + weak_perspective_to_translation(camera)[:, None]
        return draw_mesh(image, pixels[0], placed[0].numpy(), self.faces, PRED_COLOUR)

    def _body(self, prediction: Any, at: int) -> tuple[torch.Tensor, torch.Tensor]:
        def one(values: Array) -> torch.Tensor:
            return torch.as_tensor(values[at : at + 1]).float()

        vertices = self.bodies.neutral.vertices(one(prediction.rotmat), one(prediction.betas))
        return vertices, one(prediction.camera)
