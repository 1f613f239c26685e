"""`camera.calibration` of MPI-INF-3DHP: the text format "Skeletool Camera Calibration File V1.0"."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hpsbench.errors import BrokenFile, MissingRawFiles
from hpsbench.geometry.units import M_TO_MM
from hpsbench.types import FloatArray


class Camera(NamedTuple):
    """One camera.

    Attributes:
        intrinsics: (3, 3) pixels.
        extrinsics: (4, 4) world to camera, metres.
        width, height: of its images, pixels.
    """

    intrinsics: FloatArray
    extrinsics: FloatArray
    width: int
    height: int


def read_calibration(path: Path) -> dict[int, Camera]:
    """The cameras of a sequence by number; translations come out in metres.

    A block begins with `name`; its lines are a keyword and values, read by white space: neither the columns nor the
    line endings of the files can be relied on.

    Raises:
        MissingRawFiles: no such file.
        BrokenFile: not text, a line without its numbers, a block without one of its lines, images without pixels, or no
            camera.
    """
    if not path.is_file():
        raise MissingRawFiles(f"{path} is missing; it comes with annot.mat, copy it from the download")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise BrokenFile(f"{path}: not a text file ({error}); copy it from the download again") from error
    cameras = {}
    for block in _blocks(lines):
        number = block.get("name", [""])[0]
        if not number.isdigit():
            raise BrokenFile(f"{path}: a camera is called {number!r}; expected its number")
        width, height = _numbers(block, "size", 2, number, path)
        if min(width, height) < 1:
            raise BrokenFile(f"{path}: size of camera {number} is {width:g} x {height:g} pixels")
        extrinsics = _numbers(block, "extrinsic", 16, number, path).reshape(4, 4)
        extrinsics[:3, 3] /= M_TO_MM
        cameras[int(number)] = Camera(
            intrinsics=_numbers(block, "intrinsic", 16, number, path).reshape(4, 4)[:3, :3],
            extrinsics=extrinsics,
            width=int(width),
            height=int(height),
        )
    if not cameras:
        raise BrokenFile(f"{path}: holds no camera; copy it from the download again")
    return cameras


def _blocks(lines: list[str]) -> Iterator[dict[str, list[str]]]:
    block: dict[str, list[str]] = {}
    for line in lines:
        words = line.split()
        if not words:
            continue
        if words[0] == "name":
            if "name" in block:
                yield block
            block = {}
        block[words[0]] = words[1:]
    if "name" in block:
        yield block


def _numbers(block: dict[str, list[str]], key: str, count: int, camera: str, path: Path) -> FloatArray:
    try:
        values = np.array([float(word) for word in block.get(key, [])])
    except ValueError as error:
        raise BrokenFile(f"{path}: {key} of camera {camera} is not a list of numbers ({error})") from error
    if len(values) != count or not np.isfinite(values).all():
        raise BrokenFile(f"{path}: {key} of camera {camera} should be {count} numbers, found {len(values)}")
    return values
