"""A synthetic MPI-INF-3DHP in its raw layout: `S*/Seq*` (14 cameras, 28 joints) and `mpi_inf_3dhp_test_set/TS*`.

Training: `annot.mat` (MATLAB 5, cells of 14 cameras), `camera.calibration`, images of the eight cameras that everybody
uses, in SPIN's layout for Seq1 and in VIBE's for Seq2; or, in the layout `video`, the download's `imageSequence/*.avi`. Test: `annot_data.mat` (HDF5 with MATLAB's userblock) and images.
Pictures are 2048 x 2048 (TS5, TS6: 1920 x 1080). Names are the real ones, so there are at most 16 and 6 sequences.

On purpose: more rows in S1/Seq1 and TS6 than images; in `tiny`, all images of camera 0 only and one of each other camera; no images of cameras 3 and 9 to 13; TS1 has a joint one pixel left of the image (row 5) and one on its lower border
(row 9), TS5 one on its right border (row 3); valid frames are sparse, TS6 has none.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hpsbench.synth.matlab_files import matlab_5, matlab_73
from hpsbench.synth.output import Progress, encode_video, write_items, write_jpeg, write_whole

if TYPE_CHECKING:
    from hpsbench.synth.mpi_inf_3dhp_content import Recording

DATASET = "mpi-inf-3dhp"
LAYOUTS = ("frames", "video")
CAMERAS = 14
USED_CAMERAS = (0, 1, 2, 4, 5, 6, 7, 8)
_WHOLE_IN_TINY = (0,)
_FAST = ("S1_Seq2", "S3_Seq1", "S3_Seq2", "S5_Seq1", "S5_Seq2")  # the real ones that ran at 50 Hz
_COUNTS = {"tiny": (2, 3), "small": (12, 6), "full": (16, 6)}
_KINDS = ("reaching", "walking", "turning", "jumping", "sitting", "running")


@dataclass(frozen=True, slots=True, kw_only=True)
class SequencePlan:
    """One sequence of all its cameras.

    Attributes:
        folder: under the raw root.
        split: train or test.
        index: over all sequences; part of the seed.
        frames: F, rows of the annotations.
        images: of the first frames there are images.
        motion: kind of motion.
        fps: frames per second.
    """

    folder: str
    split: str
    index: int
    frames: int
    images: int
    motion: str
    fps: float

    @property
    def name(self) -> str:
        """As hpsbench calls the sequence, without its camera: `S1_Seq1`, `TS1`."""
        parts = self.folder.split("/")
        return "_".join(parts) if self.split == "train" else parts[-1]

    @property
    def subject(self) -> int:
        """Number of the person within the split: both sequences of `S3`, and `TS3`."""
        return int(self.folder.split("/")[-2 if self.split == "train" else -1].strip("TS"))

    @property
    def annotations(self) -> str:
        """The file that is written last."""
        return f"{self.folder}/annot.mat" if self.split == "train" else f"{self.folder}/annot_data.mat"

    def image_folder(self, camera: int) -> str:
        """Where the images of a camera lie, under the raw root."""
        if self.split == "test":
            return f"{self.folder}/imageSequence"
        inner = "imageFrames/" if self.folder.endswith("Seq1") else ""
        return f"{self.folder}/{inner}video_{camera}"

    def image_name(self, index: int) -> str:
        """Name of the image of row `index`; images count from 1."""
        return f"{'img' if self.split == 'test' else 'frame'}_{index + 1:06d}.jpg"


def sequence_plans(size: str) -> list[SequencePlan]:
    """The sequences of one size."""
    train, test = _COUNTS[size]
    names = [f"S{n // 2 + 1}/Seq{n % 2 + 1}" for n in range(train)]
    tests = ["TS1", "TS5", "TS6"] if size == "tiny" else [f"TS{n + 1}" for n in range(test)]
    names += [f"mpi_inf_3dhp_test_set/{name}" for name in tests]
    plans = []
    for index, folder in enumerate(names):
        split = "test" if "test_set" in folder else "train"
        frames = {"tiny": (26, 24, 28, 24, 24)[index % 5], "small": 120, "full": 300 + 137 * index % 601}[
            size
        ]
        if folder.endswith(("TS5", "TS6")):
            frames = min(frames, 300)  # the real ones are short, and rows beyond theirs are not read
        rate = 50.0 if folder.replace("/", "_") in _FAST else 25.0
        images = frames - 2 if index == 0 else frames // 2 if folder.endswith("TS6") else frames
        plans.append(
            SequencePlan(
                folder=folder,
                split=split,
                index=index,
                frames=frames,
                images=images,
                motion=_KINDS[index % len(_KINDS)],
                fps=rate,
            )
        )
    return plans


def plan(size: str) -> list[tuple[str, int]]:
    """(split, frames) of every sequence; a training sequence has 14 cameras of so many frames."""
    return [(sequence.split, sequence.frames) for sequence in sequence_plans(size)]


def images_of(sequence: SequencePlan, camera: int, size: str) -> int:
    """How many images a camera of a sequence has."""
    if sequence.split == "test":
        return sequence.images
    if camera not in USED_CAMERAS:
        return 0
    return sequence.images if size != "tiny" or camera in _WHOLE_IN_TINY else 1


def write(
    root: Path,
    size: str = "tiny",
    seed: int = 0,
    workers: int = 1,
    progress: Progress | None = None,
    layout: str = LAYOUTS[0],
) -> list[SequencePlan]:
    """Write the dataset; sequences whose annotation file is there already are kept.

    Args:
        root: the raw dataset's folder.
        size: `tiny`, `small` or `full`.
        seed: of all people, motions and cameras.
        workers: processes that render. The bytes don't depend on it.
        progress: called with frames done, frames in all, and the sequence just finished.
        layout: one of `LAYOUTS`: training images extracted, or in videos as they are downloaded.

    Returns:
        The sequences' plans; `mpi_inf_3dhp_content.track_truth` has the ground truth.
    """
    plans = sequence_plans(size)
    job = functools.partial(write_sequence, root, size=size, seed=seed, layout=layout)
    write_items(
        plans, job, is_done=lambda p: (root / p.annotations).is_file(), workers=workers, progress=progress
    )
    return plans


def write_sequence(
    root: Path, sequence: SequencePlan, *, size: str, seed: int, layout: str = LAYOUTS[0]
) -> SequencePlan:
    """Render and write one sequence: images that are there are kept, the annotation file is written last."""
    from hpsbench.synth.mpi_inf_3dhp_content import calibration_text, make_sequence

    recording = make_sequence(sequence, size, seed)
    for number in range(len(recording.cameras)):
        images = images_of(sequence, number, size)
        if images and layout == "video" and sequence.split == "train":
            _write_video(root, recording, number, images)
        else:
            _write_images(root, recording, number, images)
    if sequence.split == "train":
        text = calibration_text(recording.cameras, "\r\n" if sequence.index % 2 else "\n")
        write_whole(root / sequence.folder / "camera.calibration", text.encode())
        data = matlab_5(recording.annotations)
    else:
        data = matlab_73(recording.annotations)
    write_whole(root / sequence.annotations, data)
    return sequence


def _write_images(root: Path, recording: "Recording", number: int, images: int) -> None:
    from hpsbench.synth.studio import plain_picture

    plan, picture = recording.plan, None
    for index in range(images):
        path = root / plan.image_folder(number) / plan.image_name(index)
        if not path.is_file():
            picture = plain_picture(
                recording.cameras[number], [recording.person], [recording.motion], index, out=picture
            )
            write_jpeg(path, picture)


def _write_video(root: Path, recording: "Recording", number: int, images: int) -> None:
    from hpsbench.synth.studio import plain_picture

    path = root / recording.plan.folder / "imageSequence" / f"video_{number}.avi"
    if path.is_file():
        return
    camera = recording.cameras[number]
    pictures = (
        plain_picture(camera, [recording.person], [recording.motion], index) for index in range(images)
    )
    rate = round(recording.plan.fps)
    write_whole(path, encode_video(pictures, (camera.width, camera.height), rate, "avi"))
