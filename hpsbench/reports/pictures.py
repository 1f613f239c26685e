"""Frames as small JPEG pictures inside a page: crops, and crops with the annotated or the predicted body on them."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from hpsbench.bodies.joints import JointSet
from hpsbench.geometry.cameras import project, project_crop, weak_perspective_to_translation
from hpsbench.predictions.predictions import Predictions
from hpsbench.reports.drawing import PRED_COLOUR, TARGET_COLOUR, Colour, Image, draw_mesh
from hpsbench.reports.scene import Scene, pelvis_of
from hpsbench.reports.skeletons import bones
from hpsbench.types import FloatArray

if TYPE_CHECKING:
    import pandas as pd

SIDE = 224


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstFrame:
    """One of the frames with the largest error.

    Attributes:
        track, frame_id: which.
        value: of the metric.
        corrupted: whether the frame itself was corrupted.
        crop, truth, pred: pictures as data URIs; None where they cannot be made.
    """

    track: str
    frame_id: int
    value: float
    corrupted: bool
    crop: str | None
    truth: str | None
    pred: str | None


def jpeg(image: Image, quality: int) -> bytes:
    """An RGB picture as JPEG."""
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes() if done else b""


def data_uri(image: Image, quality: int = 78) -> str:
    """An RGB picture as the `src` of an image."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(image, quality)).decode("ascii")


def pick_worst(frames: "pd.DataFrame", metric: str, count: int, apart: int = 12) -> list[int]:
    """Places of the scored frames with the largest values, not of one moment: `apart` frames between two of a track."""
    scored = frames[frames["scored"] & frames[metric].notna()]
    order = scored[metric].to_numpy().argsort(kind="stable")[::-1]
    tracks, numbers = scored["track"].to_numpy(str), scored["frame_id"].to_numpy(np.int64)
    chosen: list[int] = []
    for place in order.tolist():
        near = any(
            tracks[place] == tracks[other] and abs(int(numbers[place] - numbers[other])) < apart
            for other in chosen
        )
        if not near:
            chosen.append(place)
        if len(chosen) == count:
            break
    return [int(scored.index[place]) for place in chosen]


def worst_frames(
    scene: Scene | None,
    frames: "pd.DataFrame",
    metric: str,
    *,
    predictions: Predictions | None,
    count: int,
) -> list[WorstFrame]:
    """The frames with the largest values of a metric, with pictures as far as they can be made.

    Args:
        scene: store, images and bodies; None: no pictures.
        frames: of a result.
        metric: one of its columns.
        predictions: of the same run, or None.
        count: at most so many.
    """
    own = frames.loc[pick_worst(frames, metric, count)]
    tracks, numbers = own["track"].to_numpy(str), own["frame_id"].to_numpy(np.int64)
    rows = scene.locate(tracks, numbers) if scene is not None else np.full(len(own), -1)
    places = np.full(len(own), -1)
    if predictions is not None:
        places = predictions.locate(tracks, numbers, rows)
    distance = own.get("corrupted_distance")
    found = []
    for i in range(len(own)):
        pictures: tuple[str | None, str | None, str | None] = (None, None, None)
        if scene is not None and rows[i] >= 0:
            pictures = _pictures(scene, int(rows[i]), predictions, int(places[i]))
        found.append(
            WorstFrame(
                track=str(tracks[i]),
                frame_id=int(numbers[i]),
                value=float(own[metric].iloc[i]),
                corrupted=distance is not None and float(distance.iloc[i]) == 0,
                crop=pictures[0],
                truth=pictures[1],
                pred=pictures[2],
            )
        )
    return found


def _pictures(
    scene: Scene, row: int, predictions: Predictions | None, place: int
) -> tuple[str | None, str | None, str | None]:
    crop = scene.crop(row, SIDE)
    if crop is None:
        return None, None, None
    truth = draw_truth(scene, row, crop)
    pred = None if predictions is None or place < 0 else draw_pred(scene, row, crop, predictions, place)
    return (
        data_uri(crop),
        None if truth is None else data_uri(truth),
        None if pred is None else data_uri(pred),
    )


def draw_truth(scene: Scene, row: int, crop: Image) -> Image | None:
    """A crop with the annotated body, or skeleton, on it; None where the store cannot place one in the image."""
    at = np.array([row])
    pelvis = _camera_pelvis(scene, row)
    if pelvis is None:
        return None
    if scene.has_mesh:
        placed = scene.truth_vertices(at)[0] + pelvis
        return draw_mesh(crop, _pixels(scene, row, placed, len(crop)), placed, scene.faces, TARGET_COLOUR)
    given = scene.truth_joints(at)
    if given is None:
        return None
    return draw_skeleton(crop, _pixels(scene, row, given[0][0], len(crop)), given[1], TARGET_COLOUR)


def draw_pred(scene: Scene, row: int, crop: Image, predictions: Predictions, place: int) -> Image | None:
    """A crop with the predicted body, or skeleton, on it.

    It lies where the predicted weak-perspective camera puts it; without one, with its pelvis on the annotated one.
    """
    at = np.array([place])
    if predictions.attrs["frame"] != "camera":
        return None
    camera = predictions.take("camera", at) if "camera" in predictions.arrays else None
    vertices = scene.pred_vertices(predictions, at)
    joints = scene.pred_joints(predictions, at) if vertices is None else None
    if vertices is None and joints is None:
        return None
    points = vertices[0] if vertices is not None else joints[0][0] - pelvis_of(*joints)[0]  # type: ignore[index,misc]
    if camera is not None:
        lens = torch.as_tensor(np.asarray(camera)).float()
        body = torch.as_tensor(np.asarray(points)).float()[None]
        pixels = (project_crop(body, lens)[0].numpy() + 1) * len(crop) / 2
        placed = (body + weak_perspective_to_translation(lens)[:, None])[0].numpy()
    else:
        pelvis = _camera_pelvis(scene, row)
        if pelvis is None:
            return None
        placed = points + pelvis
        pixels = _pixels(scene, row, placed, len(crop))
    if vertices is None and joints is not None:
        return draw_skeleton(crop, pixels, joints[1], PRED_COLOUR)
    return draw_mesh(crop, pixels, placed, scene.faces, PRED_COLOUR)


def draw_skeleton(
    image: Image, pixels: FloatArray, joints: JointSet | Sequence[str], colour: Colour
) -> Image:
    """Bones and joints over an image; (J, 2) pixels."""
    drawn = image.copy()
    points = np.round(np.clip(pixels, -1000, 1000) * 16).astype(np.int32)
    for first, second in bones(joints):
        ends = points[first].tolist(), points[second].tolist()
        cv2.line(drawn, *ends, (16, 16, 16), 5, cv2.LINE_AA, 4)
        cv2.line(drawn, *ends, colour, 3, cv2.LINE_AA, 4)
    for point in points.tolist():
        cv2.circle(drawn, point, 3 * 16, colour, -1, cv2.LINE_AA, 4)
    return drawn


def _camera_pelvis(scene: Scene, row: int) -> FloatArray | None:
    """(3,) where the annotated pelvis lies before the camera, metres; None where the store does not say."""
    fields = scene.store.frames
    if "joints3d" not in fields or "intrinsics" not in fields:
        return None
    if fields["joints3d"].attrs.get("frame", "camera") != "camera":
        return None
    given = scene.truth_joints(np.array([row]))
    if given is None or not np.isfinite(given[0]).all():
        return None
    pelvis = pelvis_of(*given)[0]
    return pelvis if pelvis[2] > 0 else None


def _pixels(scene: Scene, row: int, points: FloatArray, size: int) -> FloatArray:
    """(n, 2) where points in camera coordinates lie in a crop of `size` pixels."""
    view = scene.store.views[scene.rule.view]
    pixels = project(points, np.asarray(scene.store.frames["intrinsics"].take(np.array([row])))[0])
    box = view.bbox_cxcywh[row]
    scaled = (pixels - box[:2]) * size / (float(view.attrs["crop_scale"]) * box[2]) + size / 2
    return np.asarray(scaled, np.float64)
