"""Crops for the encoder's training: rendered once by worker processes into a cache of uint8 shards.

A shard depends on the settings, the part (`train`, `held-out`) and its number alone, so a cache can be filled by any
number of workers, stopped and resumed. People, clothes, motions and scenes come from `synth.seeds`' encoder ranges,
which no dataset uses.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from hpsbench.features.embedded import SIZE
from hpsbench.features.images import crop, decode_bytes
from hpsbench.synth.detector import LANDMARK_ROWS, LIMBS, detector_points
from hpsbench.synth.render import render_frame
from hpsbench.synth.scene import SCENE_KINDS, Scene, make_scene
from hpsbench.synth.seeds import generator
from hpsbench.types import FloatArray, IntArray

PARTS = ("train", "held-out")
VERSION = 1  # raise it when a shard's content changes
SCENES_PER_SHARD = 1024  # scene numbers that belong to a shard
LEAST_LIMBS = 6

Progress = Callable[[int, int, str], None]


class CropSettings(BaseModel):
    """The table `[crops]` of the recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: int = Field(ge=1)
    held_out: int = Field(ge=1)
    shard: int = Field(ge=1)
    side: int = Field(ge=112)
    scale: float = Field(gt=0)
    scale_jitter: float = Field(ge=0)
    shift_jitter: float = Field(ge=0)
    frames_per_scene: int = Field(ge=1)
    frame_step: int = Field(ge=1)
    pairs: float = Field(ge=0, le=1)
    thin_meshes: float = Field(ge=0, le=1)

    def fingerprint(self) -> str:
        """Of what decides a shard's content; the numbers of shards don't."""
        content = {**self.model_dump(exclude={"images", "held_out"}), "version": VERSION}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]


class Crops:
    """Cached crops and what they show.

    Attributes:
        side: of a crop, pixels.
        full_pose: (N, 72) axis-angle, camera coordinates.
        betas: (N, 10).
        keypoints2d: (N, 24, 2) the SMPL joints in the crop, pixels.
    """

    def __init__(self, shards: list[Path]) -> None:
        self._images = [np.load(_image_file(path), mmap_mode="r") for path in shards]
        targets = [np.load(path) for path in shards]
        self.full_pose, self.betas, self.keypoints2d = (
            np.concatenate([t[name] for t in targets]) for name in ("full_pose", "betas", "keypoints2d")
        )
        self._starts = np.cumsum([0, *(len(part) for part in self._images)])
        self.side = int(self._images[0].shape[1])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def image(self, row: int) -> NDArray[np.uint8]:
        """(side, side, 3) uint8 RGB."""
        shard = int(np.searchsorted(self._starts, row, side="right")) - 1
        image: NDArray[np.uint8] = self._images[shard][row - self._starts[shard]]
        return image


def render_crops(
    cache: Path,
    settings: CropSettings,
    part: str,
    count: int,
    *,
    workers: int,
    progress: Progress | None = None,
) -> Crops:
    """Make the shards of one part that are not there yet, and open the first `count` crops (whole shards).

    Args:
        cache: folder of all caches.
        settings: what a crop is.
        part: "train" or "held-out".
        count: crops wanted, rounded up to whole shards.
        workers: processes (spawned); 1: in this process.
        progress: called as (shards done, shards, note).
    """
    folder = cache / f"{part}-{settings.fingerprint()}"
    folder.mkdir(parents=True, exist_ok=True)
    shards = [folder / f"{number:05d}.npz" for number in range(-(-count // settings.shard))]
    jobs = [(path, settings, part, number) for number, path in enumerate(shards) if not path.is_file()]
    done = len(shards) - len(jobs)
    for _ in _run(jobs, workers):
        done += 1
        if progress:
            progress(done, len(shards), f"rendering {part} crops")
    return Crops(shards)


_Job = tuple[Path, CropSettings, str, int]


def _run(jobs: list[_Job], workers: int) -> Iterator[Path]:
    if workers <= 1 or len(jobs) <= 1:
        for job in jobs:
            yield write_shard(*job)
        return
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(write_shard, *job) for job in jobs]
        try:
            yield from (future.result() for future in as_completed(futures))
        finally:
            pool.shutdown(cancel_futures=True)


def write_shard(path: Path, settings: CropSettings, part: str, number: int) -> Path:
    """Render one shard; its `.npz` appears last, under its name only when whole. Returns `path`."""
    images = np.empty((settings.shard, settings.side, settings.side, 3), np.uint8)
    rows = []
    for row, made in zip(range(settings.shard), crops_of(settings, part, number), strict=False):
        images[row] = made.image
        rows.append(made)
    waiting = path.with_suffix(".part")
    with waiting.open("wb") as file:
        np.save(file, images)
    waiting.replace(_image_file(path))
    with waiting.open("wb") as file:
        np.savez(
            file,
            full_pose=np.stack([made.full_pose for made in rows]),
            betas=np.stack([made.betas for made in rows]),
            keypoints2d=np.stack([made.keypoints2d for made in rows]),
        )
    waiting.replace(path)
    return path


@dataclass(frozen=True)
class Crop:
    """One training image.

    Attributes:
        image: (side, side, 3) uint8 RGB.
        full_pose: (72,) axis-angle, camera coordinates.
        betas: (10,).
        keypoints2d: (24, 2) SMPL joints, pixels of the crop.
    """

    image: NDArray[np.uint8]
    full_pose: FloatArray
    betas: FloatArray
    keypoints2d: FloatArray


def crops_of(settings: CropSettings, part: str, number: int) -> Iterator[Crop]:
    """The endless crops of one shard: scene after scene, some frames of each, everybody in them.

    Frames are rendered, compressed and cropped exactly as a dataset's are, so that training and extraction see alike.
    """
    cv2.setNumThreads(1)
    for scene_number in range(number * SCENES_PER_SHARD, (number + 1) * SCENES_PER_SHARD):
        draws = generator(f"encoder/{part}", "defects", scene_number)
        scene = _scene(settings, f"encoder/{part}", scene_number, draws)
        indices = np.arange(0, len(scene), settings.frame_step)
        annotated = [_annotations(scene, person, indices) for person in range(len(scene.people))]
        for position, index in enumerate(indices):
            image = render_frame(scene, int(index), level=2 if draws.random() < settings.thin_meshes else 1)
            jpeg = simplejpeg.encode_jpeg(image, quality=int(draws.integers(80, 96)))
            image = decode_bytes(jpeg, "a rendered frame")
            for own in annotated:
                yield from _crop(settings, image, own, position, draws)


def _scene(settings: CropSettings, owner: str, number: int, draws: np.random.Generator) -> Scene:
    people, motions, backgrounds, cameras = (
        generator(owner, ingredient, number) for ingredient in ("people", "motions", "backgrounds", "cameras")
    )
    return make_scene(
        settings.frames_per_scene * settings.frame_step,
        people=people,
        motions=motions,
        backgrounds=backgrounds,
        cameras=cameras,
        persons=2 if draws.random() < settings.pairs else 1,
        kind=str(draws.choice(SCENE_KINDS)),
    )


@dataclass(frozen=True)
class _Annotations:
    """What is known of one person in the rendered frames of a scene."""

    full_pose: FloatArray
    betas: FloatArray
    joints2d: FloatArray
    detected2d: FloatArray


def _annotations(scene: Scene, person: int, indices: IntArray) -> _Annotations:
    params, who = scene.body_params_cam(person), scene.people[person]
    pose, transl = params.full_pose[indices], np.asarray(params.transl)[indices]
    vertices, joints = who.body(0).pose(pose, who.betas, transl)
    points = detector_points(joints, vertices[:, LANDMARK_ROWS])
    return _Annotations(
        full_pose=pose,
        betas=np.asarray(who.betas),
        joints2d=_pixels(joints, scene.intrinsics),
        detected2d=_pixels(points, scene.intrinsics),
    )


def _pixels(points: FloatArray, intrinsics: FloatArray) -> FloatArray:
    projected = points @ intrinsics.T
    return np.asarray(projected[..., :2] / np.maximum(projected[..., 2:], 0.05))


def _crop(
    settings: CropSettings,
    image: NDArray[np.uint8],
    own: _Annotations,
    index: int,
    draws: np.random.Generator,
) -> Iterator[Crop]:
    """The crop of one person, unless at most six limb joints are inside the image (as the views leave such out)."""
    height, width = image.shape[:2]
    points = own.detected2d[index]
    inside = ((points >= 0) & (points < (width, height))).all(axis=1)
    if inside[LIMBS].sum() <= LEAST_LIMBS:
        return
    low, high = points[inside].min(axis=0), points[inside].max(axis=0)
    side = float(np.linalg.norm(high - low)) * np.exp(draws.uniform(-1, 1) * settings.scale_jitter)
    centre = (low + high) / 2 + draws.normal(0, settings.shift_jitter, 2) * side
    # The cached crop is larger than what the network sees, at the same scale, so that windows of it can move.
    scale = settings.scale * settings.side / SIZE
    zoom = settings.side / (scale * side)
    yield Crop(
        image=crop(image, np.array([*centre, side, side]), scale, settings.side),
        full_pose=own.full_pose[index],
        betas=own.betas,
        keypoints2d=(own.joints2d[index] - centre) * zoom + settings.side / 2,
    )


def _image_file(path: Path) -> Path:
    return path.with_suffix(".images.npy")
