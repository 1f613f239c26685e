"""The synthetic Human3.6M as h36m-fetch makes it: one `annot.h5` per trial, all cameras one after another."""

from pathlib import Path

import numpy as np

from hpsbench.synth.h36m import CAMERAS, TrackTruth, TrialPlan
from hpsbench.synth.h36m_content import MM, make_trial, write_frame
from hpsbench.synth.hdf5_files import hdf5
from hpsbench.synth.output import write_whole
from hpsbench.types import Array, FloatArray, IntArray

_FIRST_STEP = 5
_FIRST_ACTION = 2  # number in `metadata.xml` of the action that the first version calls 1


def write_fetch(root: Path, trial: TrialPlan, *, size: str, seed: int) -> TrialPlan:
    """Render and write one trial: images first, then the annotation file."""
    made = make_trial(trial, size, seed)
    folder = root / "processed" / f"S{trial.subject}" / trial.fetch
    cameras = [camera for camera in trial.cameras if trial.has_images(camera)]
    rows = _rows(trial)
    for camera in cameras:
        for row in rows.tolist():
            name = f"imageSequence/{CAMERAS[camera]}/img_{row + 1:06d}.jpg"
            write_frame(folder / name, made, camera, row)
    parts: dict[str, list[Array]] = {}
    arrays: dict[str, Array] = {}
    for camera in cameras:
        joints = made.joints(camera)[rows]
        pixels = made.lenses[camera].distorted(joints)
        universal = joints * made.universal
        fits = {"intrinsics": _intrinsics(universal if trial.first_version else joints, pixels)}
        if not trial.first_version:
            fits["intrinsics-univ"] = _intrinsics(universal, pixels)
            parts.setdefault("pose/3d", []).append(joints * MM)
        parts.setdefault("pose/2d", []).append(pixels)
        parts.setdefault("pose/3d-univ", []).append(universal * MM)
        parts.setdefault("camera", []).append(np.full(len(rows), int(CAMERAS[camera])))
        parts.setdefault("frame", []).append(rows + 1)
        arrays |= {f"{key}/{CAMERAS[camera]}": values for key, values in fits.items()}
    arrays |= {key: np.concatenate(values) for key, values in parts.items()}
    count = len(arrays["frame"])
    arrays["subject"] = np.full(count, trial.subject)
    arrays["action"] = np.full(count, trial.action - (_FIRST_ACTION - 1 if trial.first_version else 0))
    if not trial.first_version:
        arrays["subaction"] = np.full(count, trial.subaction)
    write_whole(folder / "annot.h5", hdf5(arrays))
    return trial


def fetch_truth(trial: TrialPlan, size: str, seed: int) -> list[TrackTruth]:
    """The ground truth of each camera's recording; the first version knows `joints3d_univ` only."""
    made = make_trial(trial, size, seed)
    rows = _rows(trial)
    tracks = []
    for camera in trial.cameras:
        if not trial.has_images(camera):
            continue
        joints = made.joints(camera)[rows]
        tracks.append(
            TrackTruth(
                key=f"S{trial.subject}_{trial.fetch}.{CAMERAS[camera]}_0",
                split=trial.split,
                camera=CAMERAS[camera],
                frame_id=rows + 1,
                joints3d=np.full_like(joints, np.nan) if trial.first_version else joints,
                joints3d_univ=joints * made.universal,
                keypoints2d=made.lenses[camera].distorted(joints),
                has_image=np.ones(len(rows), dtype=bool),
                has_smpl=np.zeros(len(rows), dtype=bool),
                full_pose=made.full_pose(camera)[rows],
                betas=made.person.betas,
            )
        )
    return tracks


def _rows(trial: TrialPlan) -> IntArray:
    """Frames that were kept: every fifth, as the first version does; else two of every three, as the pose changes."""
    rows = np.arange(trial.frames)
    return rows[::_FIRST_STEP] if trial.first_version else rows[rows % 3 != 1]


def _intrinsics(points: FloatArray, pixels: FloatArray) -> FloatArray:
    """Fx, cx, fy, cy that fit best without distortion."""
    found = []
    for axis in (0, 1):
        ratio = (points[..., axis] / points[..., 2]).ravel()
        table = np.stack([ratio, np.ones_like(ratio)], axis=1)
        found += np.linalg.lstsq(table, pixels[..., axis].ravel(), rcond=None)[0].tolist()
    return np.array(found)
