"""`metadata.xml` of Human3.6M's code bundle: which recording is called what, and the four cameras.

Source of the layout: the public readers of human_dynamics, h36m-fetch and mmpose.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hpsbench.errors import BrokenFile, MissingRawFiles
from hpsbench.geometry.units import M_TO_MM
from hpsbench.safe_io.bounded import broken_if_unreadable, file_size
from hpsbench.types import FloatArray

SUBJECTS, CAMERAS = 11, 4
_TRIALS = 32  # rows of `mapping` that name recordings
_EXTRINSICS, _INTRINSICS = 6, 9  # numbers per camera and subject, and per camera
_W0 = SUBJECTS * CAMERAS * _EXTRINSICS + CAMERAS * _INTRINSICS
_LARGEST = 16 << 20  # bytes; the real file has 50 kB


class Camera(NamedTuple):
    """One camera as one subject was recorded with it.

    Attributes:
        intrinsics: (3, 3) pixels.
        distortion: (5,) k1, k2, k3, p1, p2 of `hpsbench.geometry.cameras.project_h36m`.
        extrinsics: (4, 4) world to camera, metres.
    """

    intrinsics: FloatArray
    distortion: FloatArray
    extrinsics: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What `metadata.xml` says.

    Attributes:
        path: the file.
        names: (subject, action, subaction) -> base name of the recording's files, such as `Directions 1`.
        cameras: names of the cameras, in the order of their parameters.
        w0: the 300 camera numbers.
    """

    path: Path
    names: Mapping[tuple[int, int, int], str]
    cameras: Sequence[str]
    w0: FloatArray

    def recording(self, subject: int, name: str) -> tuple[int, int]:
        """Action and subaction of a recording by its base name.

        Raises:
            BrokenFile: the subject has no such recording.
        """
        for (of, action, subaction), found in self.names.items():
            if of == subject and found == name:
                return action, subaction
        known = sorted(found for (of, _, _), found in self.names.items() if of == subject)
        raise BrokenFile(
            f"{self.path}: S{subject} has no recording {name!r}; it has {', '.join(known) or 'none'}"
        )

    def camera(self, subject: int, camera: str) -> Camera:
        """Parameters of a camera for a subject: the cameras were moved between subjects.

        Raises:
            BrokenFile: there is no such camera or subject.
        """
        if camera not in self.cameras or not 1 <= subject <= SUBJECTS:
            raise BrokenFile(
                f"{self.path}: has no camera {camera} of S{subject}; cameras are {', '.join(self.cameras)}"
            )
        number = self.cameras.index(camera)
        start = _EXTRINSICS * (SUBJECTS * number + subject - 1)
        angles, center = self.w0[start : start + 3], self.w0[start + 3 : start + 6] / M_TO_MM
        start = SUBJECTS * CAMERAS * _EXTRINSICS + _INTRINSICS * number
        (fx, fy), (cx, cy) = self.w0[start : start + 2], self.w0[start + 2 : start + 4]
        rotation = _rotation(angles)
        extrinsics = np.eye(4)
        extrinsics[:3, :3] = rotation
        # The file has the camera's centre in the world, not the translation: X_c = R (X_w - C).
        extrinsics[:3, 3] = -rotation @ center
        return Camera(
            intrinsics=np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]),
            distortion=self.w0[start + 4 : start + 9].copy(),
            extrinsics=extrinsics,
        )


def read_metadata(path: Path) -> Metadata:
    """Read `metadata.xml`.

    Raises:
        MissingRawFiles: no such file.
        BrokenFile: not XML, or without one of its parts.
    """
    if not path.is_file():
        raise MissingRawFiles(
            f"{path} is missing; it comes with the dataset's code (Release-v1.1), copy it there: cameras and the names "
            "of the actions are in it"
        )
    stat = path.stat()
    return _read(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _read(path: Path, changed: int, size: int) -> Metadata:
    file_size(path, _LARGEST)
    with broken_if_unreadable(path, "XML file"):
        root = ElementTree.parse(path).getroot()
    cameras = [(entry.text or "").strip() for entry in _part(root, "dbcameras/index2id", path)]
    if len(cameras) != CAMERAS:
        raise BrokenFile(f"{path}: dbcameras/index2id lists {len(cameras)} cameras, expected {CAMERAS}")
    words = (_part(root, "w0", path).text or "").replace("[", " ").replace("]", " ").split()
    try:
        w0 = np.array([float(word) for word in words])
    except ValueError as error:
        raise BrokenFile(f"{path}: w0 is not a list of numbers ({error})") from error
    if len(w0) != _W0 or not np.isfinite(w0).all():
        raise BrokenFile(f"{path}: w0 should be {_W0} numbers, found {len(w0)}")
    return Metadata(path=path, names=_names(_part(root, "mapping", path), path), cameras=cameras, w0=w0)


def _part(root: ElementTree.Element, name: str, path: Path) -> ElementTree.Element:
    found = root.find(name)
    if found is None:
        raise BrokenFile(f"{path}: has no {name}; is it the metadata.xml of Human3.6M's code?")
    return found


def _names(mapping: ElementTree.Element, path: Path) -> dict[tuple[int, int, int], str]:
    """Rows of action, subaction and one base name per subject; the row above has the subjects' names.

    Two trials of 16 actions; the real file has more rows, which mean something else.
    """
    rows = [[(cell.text or "").strip() for cell in row] for row in mapping]
    if not rows or [name[:1] for name in rows[0][2:]] != ["S"] * len(rows[0][2:]) or len(rows[0]) < 3:
        raise BrokenFile(f"{path}: mapping does not begin with a row of subjects")
    subjects = [int(name[1:]) if name[1:].isdigit() else -1 for name in rows[0][2:]]
    return {
        (subject, int(row[0]), int(row[1])): name
        for row in rows[1 : 1 + _TRIALS]
        if len(row) > 2 and row[0].isdigit() and row[1].isdigit()
        for subject, name in zip(subjects, row[2:], strict=False)
        if name
    }


def _rotation(angles: FloatArray) -> FloatArray:
    """Rx(a) Ry(b) Rz(c), world to camera."""
    (sa, sb, sc), (ca, cb, cc) = np.sin(angles), np.cos(angles)
    about_x = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    about_y = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    about_z = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    product: FloatArray = about_x @ about_y @ about_z
    return product
