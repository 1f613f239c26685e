"""Crops for the encoder's training: rendered once by worker processes into a cache of uint8 shards.

A shard depends on the settings, the part (`train`, `held-out`) and its number alone, so a cache can be filled by any
number of workers, stopped and resumed. People, clothes, motions and scenes come from `synth.seeds`' encoder ranges,
which no dataset uses.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from hpsbench.features.embedded import SIZE
from hpsbench.features.images import crop, decode_bytes
from hpsbench.synth.crops import still_scene
from hpsbench.synth.detector import LIMBS
from hpsbench.synth.render import blurred, render_frame
from hpsbench.synth.scene import Scene
from hpsbench.synth.seeds import generator
from hpsbench.synth.visibility import coco18_world, keypoints2d
from hpsbench.types import FloatArray
from hpsbench.workers import map_in_processes

PARTS = ("train", "held-out")
VERSION = 1  # raise it when a shard's content changes
SCENES_PER_SHARD = 256  # scene numbers that belong to a shard; a multiple of the scenes that share a backdrop
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
    blurred: float = Field(ge=0, le=1)
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
        workers: processes; 1: in this process.
        progress: called as (shards done, shards, note).
    """
    folder = cache / f"{part}-{settings.fingerprint()}"
    folder.mkdir(parents=True, exist_ok=True)
    shards = [folder / f"{number:05d}.npz" for number in range(-(-count // settings.shard))]
    jobs = [(path, settings, part, number) for number, path in enumerate(shards) if not path.is_file()]
    done = len(shards) - len(jobs)
    for _ in map_in_processes(_write, jobs, workers):
        done += 1
        if progress:
            progress(done, len(shards), f"rendering {part} crops")
    return Crops(shards)


_Job = tuple[Path, CropSettings, str, int]


def _write(job: _Job) -> Path:
    return write_shard(*job)


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
    """The crops of one shard, as many as are asked for: scene after scene, everybody in each of its frames.

    Frames are drawn, compressed and cropped as a dataset's are, so that training and extraction see alike.
    """
    cv2.setNumThreads(1)
    owner = f"encoder/{part}"
    for scene_number in range(number * SCENES_PER_SHARD, (number + 1) * SCENES_PER_SHARD):
        draws = generator(owner, "defects", scene_number)
        scene = still_scene(scene_number, owner=owner)
        params = [scene.body_params_cam(person) for person in range(len(scene.people))]
        for index in range(len(scene)):
            image = _photograph(settings, scene, index, draws)
            for person, own in enumerate(params):
                placed = _place(settings, scene, index, person, draws)
                if placed is not None:
                    cut, keypoints = placed.cut(image), placed.pixels(scene.joints_world[person][index])
                    yield Crop(cut, own.full_pose[index], scene.people[person].betas, keypoints)


def _photograph(
    settings: CropSettings, scene: Scene, index: int, draws: np.random.Generator
) -> NDArray[np.uint8]:
    """One frame, sometimes blurred by a movement, through JPEG."""
    image = render_frame(scene, index, level=2 if draws.random() < settings.thin_meshes else 1)
    if draws.random() < settings.blurred:
        image = blurred(image, draws.normal(0, 4.0, 2))
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=int(draws.integers(80, 96)))
    return decode_bytes(jpeg, "a rendered frame")


@dataclass(frozen=True)
class _Placed:
    """Where a crop lies in a frame."""

    scene: Scene
    index: int
    centre: FloatArray
    side: float
    scale: float
    size: int

    def cut(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return crop(image, np.array([*self.centre, self.side, self.side]), self.scale, self.size)

    def pixels(self, points: FloatArray) -> FloatArray:
        """(J, 3) world points -> (J, 2) pixels of the crop."""
        seen = self.scene.project(points, self.index)[:, :2]
        return np.asarray((seen - self.centre) * self.size / (self.scale * self.side) + self.size / 2)


def _place(
    settings: CropSettings, scene: Scene, index: int, person: int, draws: np.random.Generator
) -> _Placed | None:
    """The jittered box of one person; None where at most six limb joints are seen, which the views leave out too."""
    points = keypoints2d(scene, index, person, coco18_world(scene, person)[index])
    seen = points[:, 2] > 0
    if seen[LIMBS].sum() <= LEAST_LIMBS:
        return None
    low, high = points[seen, :2].min(axis=0), points[seen, :2].max(axis=0)
    side = float(np.linalg.norm(high - low)) * np.exp(draws.uniform(-1, 1) * settings.scale_jitter)
    centre = (low + high) / 2 + draws.normal(0, settings.shift_jitter, 2) * side
    # The cached crop is larger than what the network sees, at the same scale, so that windows of it can move.
    return _Placed(scene, index, centre, side, settings.scale * settings.side / SIZE, settings.side)


def _image_file(path: Path) -> Path:
    return path.with_suffix(".images.npy")
