"""A synthetic InstaVariety in its raw layouts.

Layout `tfrecord`: HMMR's shards `insta_variety/train/*.tfrecord` (several tracks each, crops of 224 x 224, normalised
coordinates with `image/phis`) and `insta_variety/test/*.tfrecord` (one track each, pixels, no `image/phis`). Layout
`collection`: the training tracks as VIBE's `insta_train_db.h5`, with its features and paths of another machine.

2D only, 25 joints, of which `Head` is never seen; the picture is a crop round one person that was moved and scaled
before it was written. On purpose: shards 99 and 100, whose names sort the other way round; more `image/filenames` than
frames; negative `image/crop_pts`; a training track without `image/toe_pts` (the first of the second shard); a last test
crop of 200 x 224; numbers of the test files that are not packed.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpsbench.synth.hdf5_files import hdf5
from hpsbench.synth.output import Progress, encode, write_items, write_whole
from hpsbench.synth.points import named_points
from hpsbench.synth.scene import Scene, make_scene
from hpsbench.synth.seeds import dataset_owner, generator
from hpsbench.synth.tfrecords import Values, example, record, shard
from hpsbench.types import Array, FloatArray

DATASET = "instavariety"
LAYOUTS = ("tfrecord", "collection")
CROP = 224
SMALL_CROP = 200
"""Height of the last crop of a test track."""
POINTS = (
    "right_heel", "right_knee", "lsp_right_hip", "lsp_left_hip", "left_knee", "left_heel", "right_wrist",
    "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "lsp_neck", "head_top", "nose",
    "left_eye", "right_eye", "left_ear", "right_ear", "left_big_toe", "right_big_toe", "left_small_toe",
    "right_small_toe", "left_ankle", "right_ankle",
)  # fmt: skip
"""Points of the body in the order of the 25 joints (joint set `insta25_hmmr`)."""
_HEAD, _BODY, _FACE_END = 13, 14, 19
_COUNTS = {"tiny": (3, 2), "small": (12, 8), "full": (24, 24)}
_PER_SHARD = {"tiny": 2, "small": 6, "full": 6}
_FIRST_SHARD = 99
_KINDS = ("turning", "jumping", "reaching", "walking", "running", "climbing")
_SHARD_NAME = "insta_variety_{:02d}_copy00_hmr_noS5.ckpt-642561"
_FEATURES = 2048
COLLECTION = "insta_train_db.h5"
_ELSEWHERE = "/ps/project/datasets/insta_variety/train"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackPlan:
    """One tracked person.

    Attributes:
        file: stem of the file's name.
        record: place in the file, from 0.
        split: train or test.
        index: over all tracks; part of the seed.
        frames: N.
        motion: kind of motion.
        toes: whether the record has `image/toe_pts`.
    """

    file: str
    record: int
    split: str
    index: int
    frames: int
    motion: str
    toes: bool

    @property
    def key(self) -> str:
        """The track's name in a store."""
        return f"{self.file}-{self.record}_0"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPlan:
    """One file of tracks.

    Attributes:
        name: stem of the file's name.
        split: train or test.
        tracks: in the order of their records.
    """

    name: str
    split: str
    tracks: tuple[TrackPlan, ...]

    @property
    def frames(self) -> int:
        """Of all its tracks."""
        return sum(track.frames for track in self.tracks)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackTruth:
    """What is known of one track without reading a file.

    Attributes:
        key: the track's name in a store.
        split: train or test.
        keypoints2d: (N, 25, 3) pixels of the crop and 1 or 0 for seen or not.
        size: width and height of all its crops; None if they differ.
    """

    key: str
    split: str
    keypoints2d: FloatArray
    size: tuple[int, int] | None


def track_plans(size: str) -> list[TrackPlan]:
    """The tracks of one size."""
    train, test = _COUNTS[size]
    tracks = []
    for index in range(train + test):
        frames = {"tiny": (40, 26, 24, 32, 28)[index % 5], "small": 120, "full": 300 + 137 * index % 201}[
            size
        ]
        place, number = divmod(index, _PER_SHARD[size])
        in_train = index < train
        tracks.append(
            TrackPlan(
                file=_SHARD_NAME.format(_FIRST_SHARD + place)
                if in_train
                else f"tag{index:02d}_video{index:02d}",
                record=number if in_train else 0,
                split="train" if in_train else "test",
                index=index,
                frames=frames,
                motion=_KINDS[index % len(_KINDS)],
                toes=not (in_train and (place, number) == (1, 0)),
            )
        )
    return tracks


def shard_plans(size: str) -> list[ShardPlan]:
    """The files of one size."""
    tracks = track_plans(size)
    return [
        ShardPlan(
            name=name,
            split=next(t.split for t in tracks if t.file == name),
            tracks=tuple(t for t in tracks if t.file == name),
        )
        for name in dict.fromkeys(track.file for track in tracks)
    ]


def plan(size: str, layout: str = LAYOUTS[0]) -> list[tuple[str, int]]:
    """(split, frames) of every track; the collection has those of the training split alone."""
    tracks = [(track.split, track.frames) for track in track_plans(size)]
    return [track for track in tracks if track[0] == "train"] if layout == "collection" else tracks


def write(
    root: Path,
    size: str = "tiny",
    seed: int = 0,
    workers: int = 1,
    progress: Progress | None = None,
    layout: str = LAYOUTS[0],
) -> list[ShardPlan]:
    """Write the dataset; files that are there already are kept.

    Args:
        root: the raw dataset's folder.
        size: `tiny`, `small` or `full`.
        seed: of all people, motions and scenes.
        workers: processes that render. The bytes don't depend on it.
        progress: called with frames done, frames in all, and the file just finished.
        layout: one of `LAYOUTS`; `collection` has no images and only the training tracks.

    Returns:
        The files' plans; `track_truth` has the ground truth.
    """
    plans = shard_plans(size)
    if layout == "collection":
        _write_collection(root, size, seed)
        return [plan for plan in plans if plan.split == "train"]
    job = functools.partial(write_shard, root, size=size, seed=seed)
    write_items(
        plans, job, is_done=lambda plan: _path(root, plan).is_file(), workers=workers, progress=progress
    )
    return plans


def write_shard(root: Path, plan: ShardPlan, *, size: str, seed: int) -> ShardPlan:
    """Render and write one file."""
    records = [track_features(track, size, seed) for track in plan.tracks]
    if plan.split == "train":
        data = shard(records)
    else:
        data = b"".join(
            record(example(features, single=("meta/N", "image/crop_pts"))) for features in records
        )
    write_whole(_path(root, plan), data)
    return plan


def track_truth(size: str, seed: int = 0) -> list[TrackTruth]:
    """The ground truth of every track of a size, in the order of the plan, without rendering."""
    tracks = []
    for track in track_plans(size):
        points, _ = annotate(track, make_track(track, size, seed), size, seed)
        if track.split == "train":  # invisible joints are (0, 0, 0) of -1 to 1: the middle of the crop
            points[points[..., 2] == 0] = CROP / 2, CROP / 2, 0
        whole = (CROP, CROP) if track.split == "train" else None
        tracks.append(TrackTruth(key=track.key, split=track.split, keypoints2d=points, size=whole))
    return tracks


def make_track(track: TrackPlan, size: str, seed: int) -> Scene:
    """The scene of a planned track; the same arguments give the same scene."""
    draw = functools.partial(
        generator, dataset_owner(DATASET, track.split, size), number=track.index, seed=seed
    )
    return make_scene(
        track.frames,
        people=draw(ingredient="people"),
        motions=draw(ingredient="motions"),
        backgrounds=draw(ingredient="backgrounds"),
        cameras=draw(ingredient="cameras"),
        kind=track.motion,
    )


def annotate(track: TrackPlan, scene: Scene, size: str, seed: int) -> tuple[FloatArray, FloatArray]:
    """(N, 25, 3) pixels of the crop and visibility, and the (N, 4) crops in the picture: centre and two sides."""
    from hpsbench.synth.visibility import keypoints2d

    world = named_points(scene.people[0], scene.motions[0], POINTS)
    points = np.stack([keypoints2d(scene, index, 0, world[index]) for index in range(track.frames)])
    rng = generator(dataset_owner(DATASET, track.split, size), "defects", track.index, seed=seed)
    boxes = _crops(points[..., :2], rng)
    points[..., :2] = (points[..., :2] - boxes[:, None, :2]) * (CROP / boxes[:, None, 2:]) + CROP / 2 - 0.5
    points[:, _HEAD, 2] = 0
    if not track.toes:
        points[:, _FACE_END:, 2] = 0
    return points, boxes


def track_features(track: TrackPlan, size: str, seed: int) -> dict[str, Values]:
    """What one record holds, images and all."""
    from hpsbench.synth.render import render_crop

    scene = make_track(track, size, seed)
    points, boxes = annotate(track, scene, size, seed)
    train, frames = track.split == "train", track.frames
    sizes = np.full((frames, 2), CROP)
    if not train:
        sizes[-1, 0] = SMALL_CROP
    pictures = [render_crop(scene, index, boxes[index], CROP, oversample=1.0) for index in range(frames)]
    owner = dataset_owner(DATASET, track.split, size)
    factors = np.repeat(CROP / boxes[:, 2:3], 2 if train else 1, axis=1)
    features: dict[str, Values] = {
        "meta/N": np.array([frames]),
        "image/heightwidths": sizes,
        "image/centers": np.full((frames, 2), CROP // 2),
        "image/encoded": [encode(picture[:height]) for picture, (height, _) in zip(pictures, sizes, strict=True)],
        "image/scale_factors": factors.astype(np.float32),
        "image/crop_pts": np.round(boxes[:, :2] * factors[:, :1] - CROP).astype(np.int64),
        "image/filenames": [b"/data/insta/%s/frame%04d.png" % (track.file.encode(), n + 1) for n in range(frames + 3)],
        **_joints(points, train),
        "image/cams": np.zeros((frames, 3), np.float32),
        "mosh/shape": np.full(10, -1, np.float32),
        "mosh/poses": np.full((frames, 72), -1, np.float32),
        "mosh/gt3ds": np.zeros((frames, 42), np.float32),
        "meta/has_3d": np.array([0]),
        "meta/has_3d_joints": np.array([0]),
    }  # fmt: skip
    if not track.toes:
        del features["image/toe_pts"]
    if train:
        noise = generator(owner, "textures", track.index, seed=seed).standard_normal((frames, _FEATURES))
        return {**features, "image/phis": noise.astype(np.float32)}
    return {**features, "meta/time_pts": np.array([0, frames])}


def _joints(points: FloatArray, normalised: bool) -> dict[str, Array]:
    """The three lists of joints: the coordinates of the body alone, x, y and visibility of face and feet in rows."""
    values = points.copy()
    if normalised:
        values[..., :2] = 2 * values[..., :2] / CROP - 1
        values[values[..., 2] == 0] = 0
    rows = values.transpose(0, 2, 1).astype(np.float32)
    return {
        "image/xys": np.ascontiguousarray(rows[:, :2, :_BODY]),
        "image/visibilities": points[:, :_BODY, 2].astype(np.int64),
        "image/face_pts": np.ascontiguousarray(rows[:, :, _BODY:_FACE_END]),
        "image/toe_pts": np.ascontiguousarray(rows[:, :, _FACE_END:]),
    }


def _crops(pixels: FloatArray, rng: np.random.Generator) -> FloatArray:
    """(N, 4) squares about the joints: 150 of 224 pixels for their diagonal, moved and scaled a little."""
    low, high = pixels.min(axis=1), pixels.max(axis=1)
    side = np.linalg.norm(high - low, axis=1, keepdims=True) * (CROP / 150) * rng.uniform(0.85, 1.1)
    centre = (low + high) / 2 + rng.uniform(-0.06, 0.06, 2) * side
    return np.concatenate([centre, side, side], axis=1)


def _path(root: Path, plan: ShardPlan) -> Path:
    return root / "insta_variety" / plan.split / f"{plan.name}.tfrecord"


def collection(size: str, seed: int) -> dict[str, Array]:
    """The arrays of VIBE's file: shards in the order of their names as text, frames numbered from 0 in each track."""
    truth = {track.key: track.keypoints2d for track in track_truth(size, seed)}
    names: list[bytes] = []
    parts: dict[str, list[Array]] = {"features": [], "frame_id": [], "joints2D": []}
    train = [track for track in track_plans(size) if track.split == "train"]
    for track in sorted(train, key=lambda track: (track.file, track.record)):
        names += [f"{_ELSEWHERE}/{track.file}.tfrecord-{track.record}".encode()] * track.frames
        noise = generator(dataset_owner(DATASET, "train", size), "textures", track.index, seed=seed)
        parts["features"].append(noise.standard_normal((track.frames, _FEATURES)).astype(np.float32))
        parts["frame_id"].append(np.arange(track.frames))
        parts["joints2D"].append(truth[track.key].astype(np.float32))
    return {**{key: np.concatenate(values) for key, values in parts.items()}, "vid_name": np.array(names)}


def _write_collection(root: Path, size: str, seed: int) -> None:
    path = root / COLLECTION
    if not path.is_file():
        write_whole(path, hdf5(collection(size, seed)))
