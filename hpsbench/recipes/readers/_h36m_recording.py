"""What all layouts of Human3.6M share: how a recording is described, its images, and the track made of it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpsbench.errors import BrokenFile
from hpsbench.recipes.readers._checks import option
from hpsbench.recipes.readers._h36m_fits import Fit
from hpsbench.recipes.readers._images import Images, find_images
from hpsbench.recipes.sequences import RawSequence
from hpsbench.types import Array, FloatArray, IntArray, Track

_SUBJECT = re.compile(r"(?:^|/)S(\d{1,2})/|_subject(\d{1,2})_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One camera's recording of one trial of an action.

    Attributes:
        layout: `official`, `moon` or `h36m-fetch`.
        subject: its number.
        camera: its name, such as `60457274`.
        action, subaction: numbers of `metadata.xml`; the subaction is unknown in the oldest h36m-fetch files.
        name: base name of the official files (`Directions 1`), where `metadata.xml` is there to tell it.
    """

    layout: str
    subject: int
    camera: str
    action: int
    subaction: int | None
    name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lens:
    """A camera as a layout knows it: (3, 3) pixels, (5,), (4, 4) world to camera in metres; None where it does not."""

    intrinsics: FloatArray
    distortion: FloatArray | None = None
    extrinsics: FloatArray | None = None

    def fields(self, rows: int) -> dict[str, Array]:
        """The same in every row."""
        known = {"intrinsics": self.intrinsics, "distortion": self.distortion, "extrinsics": self.extrinsics}
        return {
            key: np.broadcast_to(value, (rows, *value.shape))
            for key, value in known.items()
            if value is not None
        }


def subject_of(raw: RawSequence) -> int:
    """Number of the subject in a file's path.

    Raises:
        BrokenFile: the path names none.
    """
    found = _SUBJECT.search(raw.name)
    if found is None:
        raise BrokenFile(f"{raw.path}: its path names no subject (a folder S1, or _subject1_ in its name)")
    return int(found[1] or found[2])


def action_name(raw: RawSequence, action: int) -> str:
    """The first name that the recipe has for an action's number.

    Raises:
        BrokenFile: it has none.
    """
    for name, number in option(raw, "actions", dict).items():
        if number == action:
            return str(name)
    raise BrokenFile(f"{raw.path}: Human3.6M has no action {action}")


def camera_number(raw: RawSequence, camera: str) -> int:
    """Place of a camera in the dataset's order, from 0.

    Raises:
        BrokenFile: there is no such camera.
    """
    cameras: list[str] = option(raw, "cameras", list)
    if camera not in cameras:
        raise BrokenFile(f"{raw.path}: camera {camera!r} is none of {', '.join(cameras)}")
    return cameras.index(camera)


def images_of(raw: RawSequence, layouts: Sequence[str], **places: object) -> Images:
    """The images of a recording: in the first of some layouts in which there are any.

    Args:
        raw: the sequence.
        layouts: path templates under the raw root; `{frame_id}` stays, other names in braces are replaced.
        places: what they are replaced by.
    """
    wanted = []
    for layout in layouts:
        for place, value in places.items():
            layout = layout.replace(f"{{{place}}}", str(value))
        wanted.append(layout)
    return find_images(raw.root, wanted)


def make_track(
    raw: RawSequence,
    recording: Recording,
    *,
    sequence: str,
    frame_id: IntArray,
    fields: Mapping[str, Array],
    images: Images | None,
    fit: Fit | None,
    size: Sequence[int] | None = None,
) -> Track:
    """The track of a recording, with what the recipe knows of it.

    Args:
        raw: the sequence.
        recording: what it is.
        sequence: its name in the layout.
        frame_id: (T,) numbers at 50 frames a second, from 1.
        fields: of the layout.
        images: where they are; None if the recipe says that they are of no use.
        fit: SMPL parameters, if there are any.
        size: width and height of the images, where the layout says it.
    """
    width, height = size or option(raw, "sizes", dict)[recording.camera]
    remarks = [remark["remark"] for remark in _remarks(raw, recording)]
    present = np.zeros(len(frame_id), dtype=bool) if images is None else images.present(frame_id)
    fitted = {"has_smpl": np.zeros(len(frame_id), dtype=bool)} if fit is None else fit.fields()
    return Track(
        sequence=sequence,
        person=0,
        split=raw.split,
        frame_id=frame_id,
        fields={**fields, **fitted, "has_image": present},
        fps=_rate(frame_id, option(raw, "fps", float)),
        image_source=None if images is None else images.source,
        width=width,
        height=height,
        subject=f"S{recording.subject}",
        action=action_name(raw, recording.action),
        camera=recording.camera,
        gender=None if fit is None else "neutral",
        clip_info={
            "layout": recording.layout,
            "action_id": recording.action,
            "subaction": recording.subaction,
            "recording": None if recording.name is None else f"S{recording.subject} {recording.name}",
            "remarks": ",".join(remarks) or None,
            "smpl_source": None if fit is None else fit.source,
        },
    )


def images_are_usable(raw: RawSequence, recording: Recording) -> bool:
    """Whether the recipe does not say that this recording's video is damaged."""
    return all(remark.get("images", True) for remark in _remarks(raw, recording))


def _remarks(raw: RawSequence, recording: Recording) -> list[dict[str, Any]]:
    """What the recipe remarks on a recording; keys that a remark does not name hold for all."""
    facts = {
        "subject": recording.subject,
        "action": recording.action,
        "subaction": recording.subaction,
        "camera": recording.camera,
    }
    return [
        remark
        for remark in option(raw, "remarks", list)
        if all(remark[key] == value for key, value in facts.items() if key in remark)
    ]


def _rate(frame_id: IntArray, native: float) -> float | None:
    """Frames per second of the rows; None where they lie unevenly."""
    steps = np.unique(np.diff(frame_id))
    if len(steps) > 1:
        return None
    return native / int(steps[0]) if len(steps) else native
