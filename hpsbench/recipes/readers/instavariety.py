"""InstaVariety: HMMR's TFRecord shards (`*.tfrecord`), or VIBE's collection of their keypoints (`insta_train_db.h5`).

Source of the layouts: the writer and documentation of human_dynamics, and VIBE's `insta_utils.py`.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from hpsbench.bodies.joints import get_joint_set
from hpsbench.errors import BrokenFile, UnitError
from hpsbench.recipes.readers._checks import check_finite, check_numbers, option
from hpsbench.recipes.sequences import RawSequence
from hpsbench.safe_io.hdf5 import Hdf5File
from hpsbench.safe_io.tfrecord import Example, read_examples
from hpsbench.types import Array, FloatArray, Track

_JOINTS = "insta25_hmmr"
_BODY, _FACE, _TOES = 14, 5, 6  # joints of the three lists that make the 25
_TOE_NAMES = ("image/toe_pts", "image/toes_pts")  # the writer's and the documentation's
_NORMALISED = ("image/phis", "image/phi")  # with these, coordinates run from -1 to 1
_COLLECTION = ("vid_name", "frame_id", "joints2D")
_ROWS_AT_ONCE = 1 << 19
_LARGEST_NORMALISED, _SMALLEST_PIXELS = 50.0, 5.0
_FEW = 16  # frames in which a track of pixels shows its unit


def items_of(raw: RawSequence) -> list[str]:
    """A shard is one item; VIBE's collection is cut between tracks into items `first:stop` of rows.

    Raises:
        BrokenFile: the collection is damaged, or a track comes back after another one.
    """
    if raw.path.suffix != ".h5":
        return [""]
    starts = _track_starts(raw)
    items, first = [], starts[0]
    for stop in starts[1:]:
        if stop - first >= option(raw, "rows_per_item", int) or stop == starts[-1]:
            items.append(f"{first}:{stop}")
            first = stop
    return items


def read_sequence(raw: RawSequence) -> Iterator[Track]:
    """Yield one track per record: every frame of a tracked person, seen in crops of 224 x 224 pixels.

    - `frame_id`: 0 ... N-1; the frames of the original videos are not known.
    - `keypoints2d`: pixels of the crop, in the order body, face, toes (`insta25_hmmr`); confidence is the visibility
      flag. Where the file has normalised coordinates (together with `image/phis`), px = (v + 1) / 2 * 224, so that its
      zeros for invisible joints come out at 112, as in VIBE's collection. Toes are invisible where their list is absent or
      empty.
    - image `<shard>#<record>/<frame_id>` is entry `frame_id` of `image/encoded` in that record. The collection has none.

    Raises:
        BrokenFile: the file is damaged, a checksum does not fit, a record lacks a key or has lists of another length.
        UnitError: coordinates are not in the unit that the layout says.
    """
    if raw.path.suffix == ".h5":
        for item in [raw.item] if raw.item else items_of(raw):
            yield from _read_rows(raw, *(int(row) for row in item.split(":")))
        return
    for number, example in enumerate(read_examples(raw.path)):
        yield _record_track(raw, number, example)


def _record_track(raw: RawSequence, number: int, example: Example) -> Track:
    (said,) = _numbers(example, "meta/N", 1).tolist()
    if not (0 < said < 1 << 31 and said == int(said)):
        raise BrokenFile(f"{example.where}: meta/N is {said}; expected a number of frames")
    frames = int(said)
    points = _keypoints(example, frames)
    check_finite(points, f"record {number}", raw)
    normalised = any(name in example for name in _NORMALISED)
    _check_unit(points, normalised, example.where)
    if normalised:
        points[..., :2] = (points[..., :2] + 1) / 2 * option(raw, "crop_size", int)
    width, height = _crop_size(example, frames)
    return Track(
        sequence=f"{raw.stem}-{number}",
        person=0,
        split=raw.split,
        frame_id=np.arange(frames),
        fields={"keypoints2d": points},
        fps=raw.fps,
        image_source=f"{raw.name}#{number}/{{frame_id}}" if "image/encoded" in example else None,
        width=width,
        height=height,
        clip_info={"record": number},
    )


def _keypoints(example: Example, frames: int) -> FloatArray:
    """(N, 25, 3) in the file's unit, which keeps joints in rows: x, y, flag."""
    toes = next((name for name in _TOE_NAMES if name in example and len(example[name])), None)
    first, last = _BODY, _BODY + _FACE
    body = _numbers(example, "image/xys", 2 * _BODY * frames)  # before room is made for what meta/N says
    points = np.zeros((frames, 3, first + _FACE + _TOES))
    points[:, :2, :first] = body.reshape(frames, 2, _BODY)
    points[:, 2, :first] = _numbers(example, "image/visibilities", _BODY * frames).reshape(frames, _BODY)
    points[:, :, first:last] = _numbers(example, "image/face_pts", 3 * _FACE * frames).reshape(
        frames, 3, _FACE
    )
    if toes is not None:
        points[:, :, last:] = _numbers(example, toes, 3 * _TOES * frames).reshape(frames, 3, _TOES)
    return points.transpose(0, 2, 1)


def _check_unit(points: FloatArray, normalised: bool, where: str) -> None:
    """Seen joints of a crop reach some pixels, or about one where coordinates are normalised."""
    if normalised and points.min() >= -_LARGEST_NORMALISED and points.max() <= _LARGEST_NORMALISED:
        return  # of all joints, seen or not
    if not normalised and _furthest(points[:_FEW]) >= _SMALLEST_PIXELS:
        return
    largest = _furthest(points)
    if normalised and largest > _LARGEST_NORMALISED:
        raise UnitError(
            f"{where}: coordinates up to {largest:.0f}, where image/phis says that they run from -1 to 1"
        )
    if not normalised and 0 <= largest < _SMALLEST_PIXELS:
        raise UnitError(
            f"{where}: coordinates up to {largest:.2f}, where pixels were expected (there is no image/phis)"
        )


def _furthest(points: FloatArray) -> float:
    """Largest coordinate of a joint that is seen, whatever its sign; -1 if none is."""
    seen = points[..., 2] > 0
    return max(float(np.abs(points[..., axis]).max(where=seen, initial=-1)) for axis in range(2))


def _crop_size(example: Example, frames: int) -> tuple[int | None, int | None]:
    """Width and height if all crops of the record have one size."""
    if "image/heightwidths" not in example:
        return None, None
    sizes = _numbers(example, "image/heightwidths", 2 * frames).reshape(frames, 2)
    if not (np.isfinite(sizes) & (sizes >= 1)).all():
        raise BrokenFile(
            f"{example.where}: image/heightwidths should be sizes in pixels, found {sizes.min()}"
        )
    return (int(sizes[0, 1]), int(sizes[0, 0])) if (sizes == sizes[0]).all() else (None, None)


def _numbers(example: Example, key: str, count: int) -> Array:
    if key not in example:
        raise BrokenFile(f"{example.where}: has no {key}; it is no record of InstaVariety, or damaged")
    values = example[key]
    if isinstance(values, list) or len(values) != count:
        kind = "byte strings" if isinstance(values, list) else "numbers"
        raise BrokenFile(f"{example.where}: {key} has {len(values)} {kind}, expected {count} numbers")
    return values


def _track_starts(raw: RawSequence) -> list[int]:
    """First rows of the tracks of VIBE's collection, and the number of rows."""
    with Hdf5File(raw.path, _COLLECTION) as file:
        rows = file.shape("vid_name")[0] if file.shape("vid_name") else 0
        for key, shape in {
            "vid_name": (),
            "frame_id": (),
            "joints2D": (len(get_joint_set(_JOINTS)), 3),
        }.items():
            if file.shape(key) != (rows, *shape) or rows == 0:
                raise BrokenFile(
                    f"{raw.path}: {key} has shape {file.shape(key)}, expected "
                    f"({', '.join(str(n) for n in (rows or 'rows', *shape))}); is an axis swapped or the file cut?"
                )
        starts: list[int] = []
        names: set[Any] = set()
        last: Any = None
        for begin in range(0, rows, _ROWS_AT_ONCE):
            block = file.read("vid_name", begin, begin + _ROWS_AT_ONCE)
            changes = np.flatnonzero(np.concatenate([[block[0] != last], block[1:] != block[:-1]]))
            for row in changes.tolist():
                if block[row] in names:
                    raise BrokenFile(
                        f"{raw.path}: track {_text(block[row], raw)!r} comes back in row {begin + row}, after another one"
                    )
                names.add(block[row])
                starts.append(begin + row)
            last = block[-1]
    return [*starts, rows]


def _read_rows(raw: RawSequence, first: int, stop: int) -> Iterator[Track]:
    """The tracks in some rows of VIBE's collection."""
    with Hdf5File(raw.path, _COLLECTION) as file:
        names, frames, joints = (file.read(key, first, stop) for key in _COLLECTION)
    for key, values in {"frame_id": frames, "joints2D": joints}.items():
        check_numbers(values, key, raw)
    if frames.dtype.kind == "f" and not (np.isfinite(frames) & (frames == np.round(frames))).all():
        raise BrokenFile(
            f"{raw.path}: frame_id (from row {first}) should be whole numbers; the file is damaged"
        )
    points = np.asarray(joints, dtype=np.result_type(joints.dtype, np.float32))
    check_finite(points, f"joints2D (from row {first})", raw)
    size = option(raw, "crop_size", int)
    starts = [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1).tolist(), len(names)]
    path = raw.path
    for begin, end in pairwise(starts):
        name = _text(names[begin], raw)
        frame_id = np.asarray(frames[begin:end]).astype(np.int64)
        if (np.diff(frame_id) <= 0).any():
            raise BrokenFile(
                f"{raw.path}: frame_id does not increase within track {name!r} (row {first + begin})"
            )
        _check_unit(points[begin:end], False, f"{path}: track {name}")
        yield Track(
            sequence=PurePosixPath(name).name.replace(".tfrecord-", "-"),
            person=0,
            split=raw.split,
            frame_id=frame_id,
            fields={"keypoints2d": points[begin:end]},
            fps=raw.fps,
            width=size,
            height=size,
            clip_info={"record": int(name.rpartition("-")[2]) if name.rpartition("-")[2].isdigit() else None},
        )


def _text(name: Any, raw: RawSequence) -> str:
    try:
        return name.decode() if isinstance(name, bytes) else str(name)
    except UnicodeDecodeError as error:
        raise BrokenFile(f"{raw.path}: vid_name {bytes(name)!r} is not UTF-8; the file is damaged") from error
