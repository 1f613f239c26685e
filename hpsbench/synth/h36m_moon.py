"""The synthetic Human3.6M in Moon's layout: JSON files of each subject, images of each trial and camera, fits of others."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench.synth.h36m import ACTIONS, CAMERAS, TrackTruth, TrialPlan
from hpsbench.synth.h36m_content import (
    MM,
    SEVENTEEN,
    SIZES,
    Lens,
    Trial,
    lenses_of,
    make_trial,
    write_frame,
)
from hpsbench.synth.output import write_whole
from hpsbench.types import FloatArray

FIT_STEP = 5
_WORLD_FITS, _CAMERA_FITS = 1, 9  # subjects with SMPLify-X fits in the world, and NeuralAnnot's per camera
_NOT_FITTED = 10
_THINNED = 1  # of whose images every other is there


def write_moon(root: Path, trial: TrialPlan, *, size: str, seed: int) -> TrialPlan:
    """Render and write the images of one trial."""
    made = make_trial(trial, size, seed)
    for camera in trial.cameras:
        folder = trial.moon_folder(camera)
        for row in _pictured(trial, camera):
            write_frame(root / "images" / folder / f"{folder}_{row + 1:06d}.jpg", made, camera, row)
    return trial


def write_annotations(root: Path, trials: Sequence[TrialPlan], size: str, seed: int) -> None:
    """The JSON files of every subject."""
    for subject in sorted({trial.subject for trial in trials}):
        made = [make_trial(trial, size, seed) for trial in trials if trial.subject == subject]
        documents = {
            "camera": _cameras(lenses_of(subject, size, seed)),
            "data": _listed(made),
            "joint_3d": _nested(made, _joints),
        }
        if subject == _WORLD_FITS:
            documents["smpl_param"] = _nested(made, _world_fits)
        if subject == _CAMERA_FITS:
            documents["SMPL_NeuralAnnot"] = _nested(made, _camera_fits)
        for kind, content in documents.items():
            path = root / "annotations" / f"Human36M_subject{subject}_{kind}.json"
            write_whole(path, json.dumps(content).encode())


def moon_truth(trial: TrialPlan, size: str, seed: int) -> list[TrackTruth]:
    """The ground truth of each camera's recording: 17 joints, projected without distortion."""
    made = make_trial(trial, size, seed)
    rows = np.arange(trial.frames)
    tracks = []
    for camera in trial.cameras:
        joints = made.joints(camera)[:, list(SEVENTEEN)]
        tracks.append(
            TrackTruth(
                key=f"{trial.moon_folder(camera)}_0",
                split=trial.split,
                camera=CAMERAS[camera],
                frame_id=rows + 1,
                joints3d=joints,
                joints3d_univ=joints * made.universal,
                keypoints2d=made.lenses[camera].camera.project(joints),
                has_image=np.isin(rows, list(_pictured(trial, camera))),
                has_smpl=np.isin(rows, _fitted(made)) & (trial.subject in (_WORLD_FITS, _CAMERA_FITS)),
                full_pose=made.full_pose(camera),
                betas=made.person.betas,
            )
        )
    return tracks


def _pictured(trial: TrialPlan, camera: int) -> range:
    """Rows that have an image."""
    if not trial.has_images(camera):
        return range(0)
    return range(0, trial.frames, 2 if (trial.subject, camera) == (_THINNED, 0) else 1)


def _nested(made: Sequence[Trial], content: Any) -> dict[str, dict[str, Any]]:
    """[action][subaction] -> content."""
    document: dict[str, dict[str, Any]] = {}
    for trial in made:
        document.setdefault(str(trial.plan.action), {})[str(trial.plan.subaction)] = content(trial)
    return document


def _joints(made: Trial) -> dict[str, Any]:
    """Frame -> 17 joints in the world, millimetres."""
    joints = made.world[:, list(SEVENTEEN)] * MM
    return {str(row): values.tolist() for row, values in enumerate(joints)}


def _fitted(made: Trial) -> list[int]:
    """Every fifth frame but one."""
    return [row for row in range(0, made.plan.frames, FIT_STEP) if row != _NOT_FITTED]


def _world_fits(made: Trial) -> dict[str, Any]:
    fits = made.full_pose(None), made.transl(None)
    return {str(row): _fit(made, fits[0][row], fits[1][row]) for row in _fitted(made)}


def _camera_fits(made: Trial) -> dict[str, Any]:
    found: dict[str, Any] = {str(row): {} for row in _fitted(made)}
    for camera in made.plan.cameras:
        poses, transl = made.full_pose(camera), made.transl(camera)
        for row in _fitted(made):
            found[str(row)][str(camera + 1)] = _fit(made, poses[row], transl[row])
    return found


def _fit(made: Trial, pose: FloatArray, transl: FloatArray) -> dict[str, Any]:
    return {"pose": pose.tolist(), "shape": made.person.betas.tolist(), "trans": transl.tolist()}


def _cameras(lenses: Sequence[Lens]) -> dict[str, Any]:
    """X_c = R X_w + t, millimetres; no distortion."""
    found = {}
    for number, lens in enumerate(lenses, start=1):
        fx, fy, cx, cy = lens.numbers
        shift = -lens.rotation @ lens.centre * MM
        found[str(number)] = {"R": lens.rotation.tolist(), "t": shift.tolist(), "f": [fx, fy], "c": [cx, cy]}
    return found


def _listed(made: Sequence[Trial]) -> dict[str, Any]:
    """The list of images and their annotations, whether the images are there or not."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for entry, box in _entries(made):
        number = len(images)
        images.append({"id": number, **entry})
        annotations.append(
            {"id": number, "image_id": number, "keypoints_vis": [True] * len(SEVENTEEN), "bbox": box}
        )
    return {"images": images, "annotations": annotations}


def _entries(made: Sequence[Trial]) -> Iterator[tuple[dict[str, Any], list[float]]]:
    for trial in made:
        plan = trial.plan
        for camera in plan.cameras:
            folder = plan.moon_folder(camera)
            pixels = trial.lenses[camera].camera.project(trial.joints(camera)[:, list(SEVENTEEN)])
            corners = np.concatenate([pixels.min(axis=1), np.ptp(pixels, axis=1)], axis=1)
            for row in range(plan.frames):
                entry = {
                    "file_name": f"{folder}/{folder}_{row + 1:06d}.jpg",
                    "width": SIZES[camera][0],
                    "height": SIZES[camera][1],
                    "subject": plan.subject,
                    "action_name": ACTIONS[plan.action - 1],
                    "action_idx": plan.action,
                    "subaction_idx": plan.subaction,
                    "cam_idx": camera + 1,
                    "frame_idx": row,
                }
                yield entry, corners[row].tolist()
