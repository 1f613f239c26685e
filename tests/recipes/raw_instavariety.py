"""A small InstaVariety in its official layouts, written without any code of the package (run by path).

Two training shards whose numbers sort differently as text (99 and 100): the first with tracks of 40 and 12 frames, the
second with a track of 10 frames without toes. A test shard of 9 frames in pixels, with one smaller crop.
`write_collection` writes the same training tracks as VIBE's `insta_train_db.h5`.
"""

import struct
from pathlib import Path
from typing import Any

import cv2
import google_crc32c
import h5py
import numpy as np

KEY = "instavariety"
SHARD = "insta_variety_{:02d}_copy00_hmr_noS5.ckpt-642561.tfrecord"
TRACKS = {99: [40, 12], 100: [10]}
NO_TOES = (100, 0)


def masked(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32)


def record(payload: bytes) -> bytes:
    length = struct.pack("<Q", len(payload))
    return length + masked(length) + payload + masked(payload)


def varint(number: int) -> bytes:
    number %= 2**64
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def message(field: int, data: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(data)) + data


def feature(values: Any) -> bytes:
    if isinstance(values, list):
        return message(1, b"".join(message(1, value) for value in values))
    numbers = np.asarray(values).ravel()
    if numbers.dtype.kind == "f":
        return message(2, message(1, numbers.astype("<f4").tobytes()))
    return message(3, message(1, b"".join(varint(int(number)) for number in numbers)))


def example(features: dict[str, Any]) -> bytes:
    entries = [message(1, message(1, k.encode()) + message(2, feature(v))) for k, v in features.items()]
    return message(1, b"".join(entries))


def normalised(shard: int, track: int) -> np.ndarray:
    """(N, 25, 3): coordinates from -1 to 1 and beyond, visibility; invisible joints are zero throughout."""
    frames = TRACKS[shard][track]
    rng = np.random.default_rng([shard, track])
    points = np.ones((frames, 25, 3))
    points[..., :2] = rng.uniform(-1.1, 1.1, size=(frames, 25, 2)).astype(np.float32)
    points[..., 2] = rng.random((frames, 25)) < 0.8
    points[:, 13, 2] = 0  # Head
    if (shard, track) == NO_TOES:
        points[:, 19:, 2] = 0
    points[0, :, 2] = np.arange(25) == 3
    return points * points[..., 2:]


def pixels(points: np.ndarray) -> np.ndarray:
    return np.concatenate([(points[..., :2] + 1) / 2 * 224, points[..., 2:]], axis=2)


def jpeg(height: int, width: int, value: int) -> bytes:
    return bytes(cv2.imencode(".jpg", np.full((height, width, 3), value, np.uint8))[1].tobytes())


def features(points: np.ndarray, toes: bool = True, phis: bool = True, sizes: Any = None) -> dict[str, Any]:
    """What one record holds, from (N, 25, 3) points in its unit."""
    frames = len(points)
    sizes = np.full((frames, 2), 224) if sizes is None else sizes
    held: dict[str, Any] = {
        "meta/N": np.array([frames]),
        "image/encoded": [jpeg(h, w, i) for i, (h, w) in enumerate(sizes.tolist())],
        "image/filenames": [b"/data1/insta/tag/video/frame%04d.jpg" % i for i in range(1, frames + 4)],
        "image/heightwidths": sizes,
        "image/centers": np.full((frames, 2), 112),
        "image/scale_factors": np.full((frames, 2), 0.5),
        "image/crop_pts": np.tile([-5, 130], (frames, 1)),
        "image/xys": points[:, :14, :2].transpose(0, 2, 1).astype(np.float32),
        "image/visibilities": points[:, :14, 2].astype(np.int64),
        "image/face_pts": points[:, 14:19].transpose(0, 2, 1).astype(np.float32),
        "image/toe_pts": points[:, 19:].transpose(0, 2, 1).astype(np.float32),
        "image/phis": np.zeros((frames, 2048), np.float32),
        "image/cams": np.zeros((frames, 3)),
        "mosh/shape": np.full(10, -1.0),
        "meta/has_3d": np.array([0]),
        "meta/time_pts": np.array([3, 3 + frames]),
    }
    for name, wanted in {"image/toe_pts": toes, "image/phis": phis}.items():
        if not wanted:
            held.pop(name)
    return held


def train_features(shard: int, track: int) -> dict[str, Any]:
    return features(normalised(shard, track), toes=(shard, track) != NO_TOES)


def test_points() -> np.ndarray:
    rng = np.random.default_rng(5)
    points = np.ones((9, 25, 3))
    points[..., :2] = rng.uniform(-10, 230, size=(9, 25, 2)).astype(np.float32)
    points[:, 13] = 0
    return points


def write_shard(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(record(example(held)) for held in records))


def write(raw: Path, folder: str = "insta_variety/") -> None:
    for shard, lengths in TRACKS.items():
        records = [train_features(shard, track) for track in range(len(lengths))]
        write_shard(raw / f"{folder}train" / SHARD.format(shard), records)
    sizes = np.full((9, 2), 224)
    sizes[8] = 200, 224
    test = features(test_points(), phis=False, sizes=sizes)
    write_shard(raw / f"{folder}test" / "instagram_dance.tfrecord", [test])


def collection() -> dict[str, np.ndarray]:
    """Arrays of VIBE's collection: shards in the order of their names, records in the order of the shard."""
    names, frames, joints = [], [], []
    for shard in sorted(TRACKS, key=SHARD.format):
        for track, length in enumerate(TRACKS[shard]):
            names += [f"data/insta_variety/train/{SHARD.format(shard)}-{track}".encode()] * length
            frames += list(range(length))
            joints.append(pixels(normalised(shard, track)))
    return {
        "vid_name": np.array(names),
        "frame_id": np.array(frames),
        "joints2D": np.concatenate(joints).astype(np.float32),
        "features": np.zeros((len(names), 2048), np.float32),
    }


def write_collection(raw: Path, **changes: Any) -> None:
    """`changes` replaces arrays of the file; None leaves one out."""
    raw.mkdir(parents=True, exist_ok=True)
    with h5py.File(raw / "insta_train_db.h5", "w") as file:
        for key, values in (collection() | changes).items():
            if values is not None:
                file[key] = values
