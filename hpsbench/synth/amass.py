"""A synthetic AMASS in its raw layout: motion files of both releases, with the known traps of the real ones.

Every size has: both layouts (SMPL-H `*_poses.npz`, SMPL-X `*_stageii.npz`), `shape.npz` and a `*_stagei.npz` that are no
motions, gender as text and as bytes, a rate of 120.00004578, a name with spaces, and four files about the rules of
VIBE: 60 frames after sub-sampling (kept), 59 (dropped), 60 frames at 60 Hz that become 30 (dropped), and a rate of
24, for which VIBE's step is zero.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hpsbench.synth.gaits import KINDS, smooth_noise
from hpsbench.synth.motion import MIXED, Motion, synthesize
from hpsbench.synth.seeds import dataset_owner, generator
from hpsbench.types import Array, FloatArray

DATASET = "amass"
Progress = Callable[[int, int, str], None]
_RATES = (120.0, 120.00004577636719, 60.0, 100.0, 150.0, 250.0)
# Subset and subject folders per split; the last of each is of the newer release, with its own subset name.
_PLACES = {
    "train": ("ACCAD/Female1Walking_c3d", "CMU/01", "KIT/3", "BMLrub/rub002"),
    "val": ("HumanEva/S1", "HDM05/bk"),
    "test": ("Transitions_mocap/mazen_c3d", "SSM/20160330_03333"),
}
_COUNTS = {"tiny": (2, 2, 2), "small": (12, 4, 8), "full": (24, 12, 24)}
_RATE_DIVISOR = 25
_LEAST = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionFile:
    """One motion file and what is known about it.

    Attributes:
        name: path under the raw root.
        split: of the authors' split of the subsets.
        frames: T, rows in the file.
        rate: frames per second, as the file says it.
        layout: SMPL-H or SMPL-X.
        bytes_gender: whether the gender is stored as bytes.
    """

    name: str
    split: str
    frames: int
    rate: float
    layout: Literal["smplh", "smplx"]
    bytes_gender: bool = False

    @property
    def step(self) -> int:
        """Of how many frames VIBE keeps one; 0: it cannot."""
        return int(self.rate) // _RATE_DIVISOR

    @property
    def kept(self) -> int:
        """Frames that are left after sub-sampling and the minimum of 60."""
        left = -(-self.frames // self.step) if self.step else 0
        return left if left >= _LEAST else 0


def plan(size: str) -> list[tuple[str, int]]:
    """(split, frames) of every motion file."""
    return [(file.split, file.frames) for file in motion_files(size)]


def motion_files(size: str) -> list[MotionFile]:
    """The motion files of a size, without their content."""
    files = []
    for (split, places), count in zip(_PLACES.items(), _COUNTS[size], strict=True):
        files += [_file(size, split, places, index) for index in range(count)]
    place = _PLACES["train"][1]
    for name, frames, rate in (
        ("60", 4 * 59 + 1, 120.0),
        ("59", 4 * 59, 120.0),
        ("30", 60, 60.0),
        ("24", 70, 24.0),
    ):
        edge = f"{place}/01_{name}_poses.npz"
        files.append(MotionFile(name=edge, split="train", frames=frames, rate=rate, layout="smplh"))
    return files


def _file(size: str, split: str, places: tuple[str, ...], index: int) -> MotionFile:
    number = index + {"train": 0, "val": 1, "test": 2}[split]
    rate = _RATES[number % len(_RATES)]
    kept = {"tiny": 64 + 7 * (number % 3), "small": 120, "full": 300 + 137 * number % 601}[size]
    step = int(rate) // _RATE_DIVISOR
    place = places[index % len(places)]
    new = place == places[-1]
    if new:
        name = f"{place}/{index:04d}_treadmill_norm_stageii.npz"
    elif place.startswith("ACCAD"):
        name = f"{place}/B{index + 15} -  Walk turn around_poses.npz"
    else:
        name = f"{place}/{place.rpartition('/')[2]}_{index + 1:02d}_poses.npz"
    return MotionFile(
        name=name,
        split=split,
        frames=step * (kept - 1) + 1 + number % step,
        rate=rate,
        layout="smplx" if new else "smplh",
        bytes_gender=number % 2 == 1 and not new,
    )


def write(
    root: Path, size: str = "tiny", seed: int = 0, workers: int = 1, progress: Progress | None = None
) -> list[MotionFile]:
    """Write the dataset; files that are there already are kept.

    Args:
        root: the raw dataset's folder.
        size: `tiny`, `small` or `full`.
        seed: of all people and motions.
        workers: not used; there is nothing to render.
        progress: called with frames done, frames in all, and the file just written.

    Returns:
        What was written; `motion_content` gives the ground truth of each.
    """
    files = motion_files(size)
    total, done = sum(file.frames for file in files), 0
    for index, file in enumerate(files):
        path = root / file.name
        if not path.is_file():
            content = motion_content(file, size, seed, index)
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_others(path.parent, file, content)
            _save(path, content)
        done += file.frames
        if progress:
            progress(done, total, file.name)
    return files


def motion_content(file: MotionFile, size: str, seed: int, index: int) -> dict[str, Array]:
    """The arrays of the `index`-th motion file, in the order in which the real files have them."""
    rng = generator(dataset_owner("amass", file.split, size), "motions", index, seed=seed)
    motion = _motion(file, rng, index)
    hands = _hands(motion, rng)
    betas = np.clip(rng.standard_normal(16), -2.5, 2.5)
    gender: Any = ("female", "male", "neutral")[index % 3]
    gender = np.array(gender.encode() if file.bytes_gender else gender)
    body = motion.full_pose[:, :66]
    if file.layout == "smplh":
        return {
            "poses": np.concatenate([body, hands], axis=1),
            "gender": gender,
            "mocap_framerate": np.array(file.rate),
            "betas": betas,
            "dmpls": 0.1 * smooth_noise((len(motion), 8), 0.1 * file.rate, rng),
            "trans": motion.transl,
        }
    jaw = np.maximum(0.1 * smooth_noise((len(motion), 3), 0.2 * file.rate, rng), 0) * (1, 0, 0)
    eyes = 0.05 * smooth_noise((len(motion), 6), 0.2 * file.rate, rng)
    return {
        "gender": gender,
        "surface_model_type": np.array("smplx"),
        "mocap_frame_rate": np.array(file.rate),
        "mocap_time_length": np.array(file.frames / file.rate),
        "trans": motion.transl,
        "poses": np.concatenate([body, jaw, eyes, hands], axis=1),
        "betas": betas,
        "num_betas": np.array(16),
        "root_orient": body[:, :3],
        "pose_body": body[:, 3:],
        "pose_hand": hands,
        "pose_jaw": jaw,
        "pose_eye": eyes,
    }


def _motion(file: MotionFile, rng: np.random.Generator, index: int) -> Motion:
    """In AMASS's world: z up, anywhere on the floor."""
    from scipy.spatial.transform import Rotation

    kinds = [MIXED, *KINDS]
    motion = synthesize(kinds[index % len(kinds)], file.frames, file.rate, rng).z_up()
    return motion.moved(
        Rotation.from_rotvec([0, 0, rng.uniform(-np.pi, np.pi)]), np.array([*rng.normal(0, 1.0, 2), 0])
    )


def _hands(motion: Motion, rng: np.random.Generator) -> FloatArray:
    """(T, 90) 15 joints of the left and of the right hand; the first of each is SMPL's hand joint."""
    frames = len(motion)
    curl = np.zeros((2, 15, 3))
    curl[..., 2] = rng.uniform(0.1, 0.6, (2, 15)) * ((-1.0,), (1.0,))
    hands = curl + 0.08 * smooth_noise((frames, 90), 0.15 * motion.fps, rng).reshape(frames, 2, 15, 3)
    hands[:, 0, 0], hands[:, 1, 0] = motion.full_pose[:, 66:69], motion.full_pose[:, 69:72]
    return np.asarray(hands.reshape(frames, 90))


def _write_others(folder: Path, file: MotionFile, content: dict[str, Array]) -> None:
    """The subject's files that are no motions."""
    name = "shape.npz" if file.layout == "smplh" else "neutral_stagei.npz"
    if not (folder / name).is_file():
        _save(folder / name, {key: content[key] for key in ("gender", "betas")})


def _save(path: Path, content: dict[str, Array]) -> None:
    waiting = path.with_name(path.name + ".part")
    with waiting.open("wb") as file:
        np.savez(file, **content)  # type: ignore[arg-type]
    waiting.replace(path)
