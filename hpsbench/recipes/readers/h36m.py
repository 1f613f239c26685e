"""Human3.6M in three layouts: the official archives, Moon's JSON (TCMR, MPS-Net), and h36m-fetch's HDF5."""

from collections.abc import Callable, Iterator

from hpsbench.errors import BrokenFile
from hpsbench.recipes.readers._checks import option
from hpsbench.recipes.readers._h36m_fetch import read_fetch
from hpsbench.recipes.readers._h36m_moon import moon_items, read_moon
from hpsbench.recipes.readers._h36m_official import read_official
from hpsbench.recipes.readers._h36m_recording import subject_of
from hpsbench.recipes.sequences import RawSequence
from hpsbench.types import Track

_READERS: tuple[tuple[str, Callable[[RawSequence], Iterator[Track]]], ...] = (
    (".cdf", read_official),
    ("_joint_3d.json", read_moon),
    ("annot.h5", read_fetch),
)


def read_sequence(raw: RawSequence) -> Iterator[Track]:
    """Yield one track per camera: every annotated frame, native joints, metres, camera coordinates.

    - `frame_id`: number of the frame at 50 frames a second, from 1, as image files are numbered in every layout; rows
      of the annotation count from 0 (row i belongs to frame i + 1).
    - `joints3d`: 32 joints (official, h36m-fetch) or 17, right leg first (Moon); absolute, not relative to a root.
    - `keypoints2d`: confidence 1 throughout. Official and h36m-fetch files have the lens's distortion in them; in
      Moon's layout they are projected without one, as TCMR does.
    - `joints3d_univ`: the same poses on a skeleton of one size, where the layout has it.
    - `intrinsics`, `distortion`, `extrinsics`: as far as the layout knows them.
    - `bbox_xyxy`: of the person's mask (official), in every n-th row.
    - `full_pose`, `betas`, `transl`, `transl_cam`, `has_smpl`: fits of others (`options.fits`), frame by frame.
    - `has_image`: whether the recording's images reach to this frame; true throughout where there are none at all.

    Clip columns: `layout`, `action_id`, `subaction`, `recording` (subject and base name of the official files),
    `remarks` (known defects of this recording), `smpl_source`.

    Raises:
        MissingRawFiles: a file that belongs to the layout is not there.
        BrokenFile, UnitError: a file is damaged or not what it seems.
    """
    for ending, read in _READERS:
        if raw.name.endswith(ending):
            return read(raw)
    raise BrokenFile(f"{raw.path}: no layout of Human3.6M has files of this name")


def split_of(raw: RawSequence) -> str:
    """The split of the subject that a file's path names; subjects of the hidden test set have `hidden`."""
    subject = subject_of(raw)
    for split, subjects in option(raw, "subjects", dict).items():
        if subject in subjects:
            return str(split)
    return "hidden"


def items_of(raw: RawSequence) -> list[str]:
    """Parts of a file that are read one by one: the trials of Moon's files, which hold a whole subject."""
    return moon_items(raw) if raw.name.endswith("_joint_3d.json") else [""]
