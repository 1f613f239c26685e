"""A synthetic Human3.6M in its raw layouts; the same recordings in each.

- `official`: `S*/MyPoseFeatures/{D3_Positions_mono,D3_Positions_mono_universal,D2_Positions}/*.cdf`, videos and masks of
  the front camera of S9, extracted frames of the other cameras, `metadata.xml`, MoSh fits of S1.
- `moon`: `annotations/Human36M_subject*_{joint_3d,camera,data}.json`, `images/s_*`, SMPLify-X fits of S1 and
  NeuralAnnot's of S9.
- `fetch`: `processed/S*/<Action>-<subaction>/annot.h5` with uneven frames; one folder of its first version, too.

Four cameras round the room (`tiny`: the first and the last one), with the lens's distortion in the official keypoints.
Pictures are 1000 pixels wide and show people where a lens without distortion would.

On purpose: `_ALL` files; recordings of an odd number of frames; base names that differ from subject to subject; a video
two frames shorter than its annotation; no images of S11 Directions in the first camera (its video is corrupt); a mask
without anybody; Moon's image folder of S1 holds every other image only; fits for some frames only.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

from hpsbench.synth.output import Progress, write_items
from hpsbench.types import BoolArray, FloatArray, IntArray

DATASET = "h36m"
LAYOUTS = ("official", "moon", "fetch")
FPS = 50.0
CAMERAS = ("54138969", "55011271", "58860488", "60457274")
FRONT = 3
TRAIN_SUBJECTS, TEST_SUBJECTS = (1, 5, 6, 7, 8), (9, 11)
ACTIONS = (
    "_ALL", "Directions", "Discussion", "Eating", "Greeting", "Phoning", "Posing", "Purchases", "Sitting",
    "SittingDown", "Smoking", "TakingPhoto", "Waiting", "Walking", "WalkingDog", "WalkTogether",
)  # fmt: skip
"""Names in `metadata.xml`; the number of an action is its place, from 1."""
_FILE_NAMES = {"TakingPhoto": "Photo", "WalkingDog": "WalkDog"}
_SWAPPED = ((9, 10),)  # subjects and actions whose first trial has no suffix
_FIRST_OF_S11_PHONING = 4
_COUNTS = {"tiny": (2, 2), "small": (12, 8), "full": (24, 24)}
_TINY = ((1, 2, 1), (5, 12, 2), (9, 2, 2), (11, 2, 2))
_KINDS = ("reaching", "turning", "walking", "sitting", "jumping")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPlan:
    """One trial of one subject, seen by all cameras.

    Attributes:
        subject, action, subaction: numbers of `metadata.xml`.
        split: train or test.
        index: over all trials; part of the seed.
        frames: F, at 50 frames a second.
        motion: kind of motion.
        cameras: places in `CAMERAS`.
        pictures: whether frames of all cameras are there, or (in `tiny`) as few as possible.
    """

    subject: int
    action: int
    subaction: int
    split: str
    index: int
    frames: int
    motion: str
    cameras: tuple[int, ...]

    @property
    def base(self) -> str:
        """Base name of the official files, such as `Directions 1`."""
        return base_name(self.subject, self.action, self.subaction)

    @property
    def name(self) -> str:
        """For the progress line."""
        return f"S{self.subject} {self.base}"

    @property
    def moon(self) -> str:
        """Moon's name of the trial, without subject and camera."""
        return f"act_{self.action:02d}_subact_{self.subaction:02d}"

    def moon_folder(self, camera: int) -> str:
        """Moon's name of one camera's recording."""
        return f"s_{self.subject:02d}_{self.moon}_ca_{camera + 1:02d}"

    @property
    def fetch(self) -> str:
        """Folder of h36m-fetch; the last training trial is of its first version, which has no subactions."""
        action = ACTIONS[self.action - 1]
        return action if self.first_version else f"{action}-{self.subaction}"

    @property
    def first_version(self) -> bool:
        """Whether h36m-fetch's first version made the file."""
        return self.split == "train" and self.subject == TRAIN_SUBJECTS[1]

    def has_images(self, camera: int) -> bool:
        """Whether there are images: the video of S11 Directions in the first camera is corrupt."""
        return (self.subject, self.action, self.subaction, camera) != (11, 2, 2, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackTruth:
    """What is known of one camera's recording without reading a file. J: 32 joints, or Moon's 17.

    Attributes:
        key: the track's name in a store.
        split: train or test.
        camera: its name.
        frame_id: (n,) from 1.
        joints3d: (n, J, 3) metres, camera coordinates.
        joints3d_univ: (n, J, 3) the same on a skeleton of one size.
        keypoints2d: (n, J, 2) pixels, with distortion but in Moon's layout.
        has_image: (n,) whether there is an image.
        has_smpl: (n,) whether there is a fit.
        full_pose: (n, 72) the root in camera coordinates, where there is a fit.
        betas: (10,).
    """

    key: str
    split: str
    camera: str
    frame_id: IntArray
    joints3d: FloatArray
    joints3d_univ: FloatArray
    keypoints2d: FloatArray
    has_image: BoolArray
    has_smpl: BoolArray
    full_pose: FloatArray
    betas: FloatArray


def base_name(subject: int, action: int, subaction: int) -> str:
    """What the official files of a trial are called: mostly, the first trial has the suffix 1; there are exceptions."""
    name = _FILE_NAMES.get(ACTIONS[action - 1], ACTIONS[action - 1])
    if (subject, action) == (11, 6):
        return f"{name} {_FIRST_OF_S11_PHONING - subaction}"
    return f"{name} 1" if (subaction == 1) != ((subject, action) in _SWAPPED) else name


def trial_plans(size: str) -> list[TrialPlan]:
    """The trials of one size."""
    plans = []
    for index, (subject, action, subaction) in enumerate(_trials(size)):
        frames = {"tiny": (33, 26, 36, 37)[index % 4], "small": 120, "full": 300 + 137 * index % 601}[size]
        plans.append(
            TrialPlan(
                subject=subject,
                action=action,
                subaction=subaction,
                split="train" if subject in TRAIN_SUBJECTS else "test",
                index=index,
                frames=frames,
                motion=_KINDS[index % len(_KINDS)],
                cameras=(0, FRONT) if size == "tiny" else (0, 1, 2, 3),
            )
        )
    return plans


def _trials(size: str) -> list[tuple[int, int, int]]:
    if size == "tiny":
        return list(_TINY)
    found = []
    for subjects, count in zip((TRAIN_SUBJECTS, TEST_SUBJECTS), _COUNTS[size], strict=True):
        for n in range(count):
            number, subject = divmod(n, len(subjects))
            found.append((subjects[subject], 2 + number % 15, 2 - number // 15))
    return found


def plan(size: str) -> list[tuple[str, int]]:
    """(split, frames) of every trial; each is seen by several cameras."""
    return [(trial.split, trial.frames) for trial in trial_plans(size)]


def write(
    root: Path,
    size: str = "tiny",
    seed: int = 0,
    workers: int = 1,
    progress: Progress | None = None,
    layout: str = LAYOUTS[0],
) -> list[TrialPlan]:
    """Write the dataset; trials that are there already are kept.

    Args:
        root: the raw dataset's folder.
        size: `tiny`, `small` or `full`.
        seed: of all people, motions and cameras.
        workers: processes that render. The bytes don't depend on it.
        progress: called with frames done, frames in all, and the trial just finished.
        layout: one of `LAYOUTS`.

    Returns:
        The trials' plans; `track_truth` has the ground truth.
    """
    from hpsbench.synth.h36m_fetch import write_fetch
    from hpsbench.synth.h36m_moon import write_annotations, write_moon
    from hpsbench.synth.h36m_official import write_beside, write_official

    plans = trial_plans(size)
    writer = {"official": write_official, "moon": write_moon, "fetch": write_fetch}[layout]
    job = functools.partial(writer, root, size=size, seed=seed)
    write_items(
        plans,
        job,
        is_done=lambda trial: last_file(root, trial, layout).is_file(),
        workers=workers,
        progress=progress,
    )
    if layout == "official":
        write_beside(root, plans, size, seed)
    elif layout == "moon":
        write_annotations(root, plans, size, seed)
    return plans


def last_file(root: Path, trial: TrialPlan, layout: str) -> Path:
    """The file of a trial that is written last."""
    if layout == "fetch":
        return root / "processed" / f"S{trial.subject}" / trial.fetch / "annot.h5"
    if layout == "moon":
        folder = trial.moon_folder(trial.cameras[-1])
        return root / "images" / folder / f"{folder}_{trial.frames:06d}.jpg"
    stem = f"{trial.base}.{CAMERAS[trial.cameras[-1]]}"
    return root / f"S{trial.subject}" / "MyPoseFeatures" / "D3_Positions_mono" / f"{stem}.cdf"


def track_truth(size: str, seed: int = 0, layout: str = LAYOUTS[0]) -> list[TrackTruth]:
    """The ground truth of every track of a size, in the order of the plan, without rendering."""
    from hpsbench.synth.h36m_fetch import fetch_truth
    from hpsbench.synth.h36m_moon import moon_truth
    from hpsbench.synth.h36m_official import official_truth

    tell = {"official": official_truth, "moon": moon_truth, "fetch": fetch_truth}[layout]
    return [track for trial in trial_plans(size) for track in tell(trial, size, seed)]
