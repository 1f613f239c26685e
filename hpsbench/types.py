"""The nouns that rooms hand to each other. Standard library and NumPy only.

Units are metres, pixels, radians and frames unless a name says otherwise; glossary in `CONTRIBUTING.md`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
FloatArray: TypeAlias = NDArray[np.floating[Any]]
IntArray: TypeAlias = NDArray[np.integer[Any]]
BoolArray: TypeAlias = NDArray[np.bool_]

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One person through one sequence, as a reader yields it: raw values, native joints, metres.

    Attributes:
        sequence: the dataset's own name of the recorded video.
        person: the dataset's own number or name of the person in it.
        split: `train`, `val` or `test`, as the authors define it.
        frame_id: (T,) the dataset's own frame numbers, strictly increasing; gaps stay gaps.
        fields: field name of the clip store -> (T, ...). A field that the dataset lacks is absent.
        fps: frames per second of these rows; None where the dataset does not say.
        image_source: path under the raw root, with `{frame_id}` to format (`imageFiles/x/image_{frame_id:05d}.jpg`);
            a video is `path.avi#{frame_id}`. None where the dataset has no images.
        width, height: of the source images, in pixels; None where unknown.
        clip_info: columns that the dataset adds to the clip table; one value per track.
    """

    sequence: str
    person: int | str
    split: str
    frame_id: IntArray
    fields: Mapping[str, Array]
    fps: float | None = None
    image_source: str | None = None
    width: int | None = None
    height: int | None = None
    subject: str | None = None
    action: str | None = None
    camera: str | None = None
    gender: str | None = None
    clip_info: Mapping[str, Any] = field(default_factory=lambda: NOTHING)

    @property
    def key(self) -> str:
        """The track's name in the clip table, `<sequence>_<person>`."""
        return f"{self.sequence}_{self.person}"

    def __len__(self) -> int:
        return len(self.frame_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyParams:
    """SMPL parameters of T frames, camera coordinates unless said otherwise.

    Attributes:
        full_pose: (T, 72) axis-angle of the 24 joints, radians; joint 0 is `global_orient`.
        betas: (T, 10) shape.
        transl: (T, 3) metres, or None.
    """

    full_pose: FloatArray
    betas: FloatArray
    transl: FloatArray | None = None

    @property
    def global_orient(self) -> FloatArray:
        """(T, 3) root rotation, axis-angle."""
        return self.full_pose[:, :3]

    @property
    def body_pose(self) -> FloatArray:
        """(T, 23, 3) the other joints, axis-angle."""
        return self.full_pose[:, 3:].reshape(-1, 23, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRule:
    """How a track is cut into windows; the keys of a protocol's `windows` table.

    Attributes:
        length: frames per window, or "track" for the whole track at once.
        stride: frames between window starts.
        predict: which frames of a window are used: "all", "middle" (start + length // 2) or "last".
        keep: with "middle", how many frames round the middle are used.
        edges: what happens to frames that no full window predicts: "drop", "repeat-frame" (windows of one frame
            repeated), "repeat-window" (the first and last full window again), "shift-last" (the last window is
            moved back to end with the track), "zero-image" (windows reach over the ends, filled with zero images).
        overlap: who gives a frame that several windows predict: "none" (there is none), "cut-half", "central".
        short: tracks shorter than a window: "skip", "pad" (the last frame repeated) or "error".
        match: TCMR's match rule (16 in its training-time validation), or None.
    """

    length: int | Literal["track"] = 16
    stride: int | Literal["track"] = 16
    predict: Literal["all", "middle", "last"] = "all"
    keep: int | None = None
    edges: Literal["drop", "repeat-frame", "repeat-window", "shift-last", "zero-image"] = "drop"
    overlap: Literal["none", "cut-half", "central"] = "none"
    short: Literal["skip", "pad", "error"] = "skip"
    match: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a system reads of each frame. Absent inputs are None or False.

    Attributes:
        features: width of the CNN features, or None.
        flow: width of optical-flow features, or None.
        images: side of the square crops in pixels, or None.
        keypoints2d: joint set of 2D keypoints, or None.
        predictions: name of the system whose predictions it reads, or None.
        extractor: name of the extractor whose features it was trained on, or None if any will do.
        extractor_sha256: of that extractor's weights, or None.
        crop_scale: of the crops behind the features, or None.
    """

    features: int | None = None
    flow: int | None = None
    images: int | None = None
    keypoints2d: str | None = None
    predictions: str | None = None
    extractor: str | None = None
    extractor_sha256: str | None = None
    crop_scale: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipInput:
    """What the harness hands to `System.predict`: the seen frames of one track, in order.

    Attributes:
        track: name of the track.
        length: T, the number of frames.
        frame_id: (T,) the dataset's own frame numbers.
        bbox_cxcywh: (T, 4) pixels, of the view.
        features: (T, D) float32, or None.
        flow: (T, D) float32, or None.
        images: gives (n, S, S, 3) uint8 RGB crops of the rows asked for, or None.
        keypoints2d: (T, J, 3) pixels and confidence, or None.
        predictions: of another system for the same frames, or None.
        windows: the protocol's window rule, for systems without a fixed context; None: the system's own.
        fps: frames per second, or None.
    """

    track: str
    length: int
    frame_id: IntArray
    bbox_cxcywh: FloatArray | None = None
    features: FloatArray | None = None
    flow: FloatArray | None = None
    images: Callable[[IntArray], NDArray[np.uint8]] | None = None
    keypoints2d: FloatArray | None = None
    predictions: "Prediction | None" = None
    windows: WindowRule | None = None
    fps: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Body of every predicted frame of one track. At least one of (rotmat and betas), joints3d, vertices is there.

    Attributes:
        rows: (T',) int64, which frames of the `ClipInput` these are, increasing.
        rotmat: (T', 24, 3, 3) rotation matrices, joint 0 in camera coordinates.
        betas: (T', 10).
        camera: (T', 3) = (s, tx, ty) in the crop.
        transl: (T', 3) metres.
        joints3d: (T', J, 3) metres, in the joint set `joint_set`.
        vertices: (T', 6890, 3) metres.
    """

    rows: IntArray
    rotmat: FloatArray | None = None
    betas: FloatArray | None = None
    camera: FloatArray | None = None
    transl: FloatArray | None = None
    joints3d: FloatArray | None = None
    joint_set: str | None = None
    vertices: FloatArray | None = None
