"""The synthetic Human3.6M as its site gives it: CDF files, videos, masks, `metadata.xml`; and MoSh fits."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from scipy.spatial.transform import Rotation

from hpsbench.synth.h36m import ACTIONS, CAMERAS, FPS, FRONT, TrackTruth, TrialPlan, base_name
from hpsbench.synth.h36m_content import MM, Lens, Trial, lenses_of, make_trial, masks, picture, write_frame
from hpsbench.synth.hdf5_files import matlab_73_cells
from hpsbench.synth.output import encode_video, write_whole
from hpsbench.synth.python2_pickle import dumps
from hpsbench.types import BoolArray, FloatArray

MOSH_STEP = 5
"""Annotation rows per row of a MoSh file."""
MASK_SUBJECT = 9
"""Whose front camera has masks and a video."""
_MOSHED = 1
_VIDEO_LACKS = 2
_SUBJECTS = range(1, 12)
_FOLDERS = ("D3_Positions_mono_universal", "D2_Positions", "D3_Positions_mono")


def write_official(root: Path, trial: TrialPlan, *, size: str, seed: int) -> TrialPlan:
    """Render and write one trial: pictures first, the last camera's 3D joints last."""
    made = make_trial(trial, size, seed)
    features = root / f"S{trial.subject}" / "MyPoseFeatures"
    for camera in trial.cameras:
        stem = f"{trial.base}.{CAMERAS[camera]}"
        _write_pictures(root / f"S{trial.subject}", stem, made, camera)
        if trial.subject == _MOSHED:
            write_whole(_mosh_path(root, trial, camera), mosh(made, camera))
        joints = made.joints(camera) * MM
        values = (joints * made.universal, made.lenses[camera].distorted(joints), joints)
        for folder, poses in zip(_FOLDERS, values, strict=True):
            write_whole(features / folder / f"{stem}.cdf", cdf(poses))
    return trial


def write_beside(root: Path, trials: Sequence[TrialPlan], size: str, seed: int) -> None:
    """The files that belong to no trial: `metadata.xml`, and an `_ALL` file that nobody should read."""
    subject = trials[0].subject
    write_whole(root / "metadata.xml", metadata_xml(size, seed).encode())
    whole = root / f"S{subject}" / "MyPoseFeatures" / "D3_Positions_mono" / f"_ALL.{CAMERAS[0]}.cdf"
    write_whole(whole, cdf(np.zeros((4, 32, 3))))


def official_truth(trial: TrialPlan, size: str, seed: int) -> list[TrackTruth]:
    """The ground truth of each camera's recording."""
    made = make_trial(trial, size, seed)
    rows = np.arange(trial.frames)
    tracks = []
    for camera in trial.cameras:
        joints = made.joints(camera)
        tracks.append(
            TrackTruth(
                key=f"S{trial.subject}_{trial.base}.{CAMERAS[camera]}_0".replace(" ", "_"),
                split=trial.split,
                camera=CAMERAS[camera],
                frame_id=rows + 1,
                joints3d=joints,
                joints3d_univ=joints * made.universal,
                keypoints2d=made.lenses[camera].distorted(joints),
                has_image=rows < _pictures(trial, camera),
                has_smpl=(rows % MOSH_STEP == 0) & (trial.subject == _MOSHED),
                full_pose=made.full_pose(camera),
                betas=made.person.betas,
            )
        )
    return tracks


def mask_boxes(trial: TrialPlan, camera: int, size: str, seed: int) -> FloatArray | None:
    """(F, 4) corners of the masks, the far ones exclusive, NaN where nobody is seen; None without masks."""
    if not _has_masks(trial, camera):
        return None
    boxes = np.full((trial.frames, 4), np.nan)
    for row, mask in enumerate(masks(make_trial(trial, size, seed), camera)):
        y, x = np.nonzero(mask)
        if len(x):
            boxes[row] = x.min(), y.min(), x.max() + 1, y.max() + 1
    return boxes


def cdf(poses: FloatArray) -> bytes:
    """A CDF file with the variable `Pose`: (N, J, k) as one record (1, N, J x k) of float32."""
    import cdflib

    flat = poses.reshape(len(poses), -1).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pose.cdf"
        file = cdflib.cdfwrite.CDF(path)
        spec = {
            "Variable": "Pose", "Data_Type": file.CDF_FLOAT, "Num_Elements": 1, "Var_Type": "zVariable",
            "Rec_Vary": True, "Dim_Sizes": list(flat.shape), "Dim_Vary": [True, True], "Compress": 0,
        }  # fmt: skip
        file.write_var(spec, var_data=flat[None])
        file.close()
        return path.read_bytes()


def mosh(made: Trial, camera: int) -> bytes:
    """A MoSh file: poses at 10 fps, upside down in the camera."""
    poses = made.full_pose(camera)[::MOSH_STEP].copy()
    upright = Rotation.from_rotvec((np.pi, 0, 0))
    poses[:, :3] = (Rotation.from_rotvec(poses[:, :3]) * upright.inv()).as_rotvec()
    return dumps({"new_poses": poses, "betas": made.person.betas})


def metadata_xml(size: str, seed: int) -> str:
    """The part of `metadata.xml` that readers use: names of the recordings, cameras and their numbers."""
    rows = [["action", "subaction", *(f"S{subject}" for subject in _SUBJECTS)]]
    for action in range(1, len(ACTIONS) + 1):
        for trial in (1, 2):
            names = ("_ALL" if action == 1 else base_name(subject, action, trial) for subject in _SUBJECTS)
            rows.append([str(action), str(trial), *names])
    by_subject = {subject: lenses_of(subject, size, seed) for subject in _SUBJECTS}
    numbers: list[float] = []
    for camera in range(len(CAMERAS)):
        for subject in _SUBJECTS:
            numbers += _outer(by_subject[subject][camera])
    for lens in by_subject[1]:
        fx, fy, cx, cy = lens.numbers
        numbers += [fx, fy, cx, cy, *lens.distortion.tolist()]
    mapping = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in rows)
    actions = "".join(f"<td>{name}</td>" for name in ACTIONS)
    cameras = "".join(f"<td>{camera}</td>" for camera in CAMERAS)
    return (
        f"<metadata>\n<mapping>\n{mapping}</mapping>\n<actionnames>{actions}</actionnames>\n"
        f"<dbcameras><index2id>{cameras}</index2id></dbcameras>\n"
        f"<w0>[{' '.join(repr(float(number)) for number in numbers)}]</w0>\n</metadata>\n"
    )


def _outer(lens: Lens) -> list[float]:
    """Angles of Rx(a) Ry(b) Rz(c), and the camera's centre in millimetres."""
    angles = Rotation.from_matrix(lens.rotation).as_euler("XYZ")
    return [*angles.tolist(), *(lens.centre * MM).tolist()]


def _pictures(trial: TrialPlan, camera: int) -> int:
    """How many frames of a recording have an image."""
    if not trial.has_images(camera):
        return 0
    return trial.frames - _VIDEO_LACKS if _has_video(trial, camera) else trial.frames


def _has_video(trial: TrialPlan, camera: int) -> bool:
    return trial.subject == MASK_SUBJECT and camera == FRONT


def _has_masks(trial: TrialPlan, camera: int) -> bool:
    return trial.subject == MASK_SUBJECT and camera == FRONT


def _write_pictures(folder: Path, stem: str, made: Trial, camera: int) -> None:
    count = _pictures(made.plan, camera)
    if _has_masks(made.plan, camera):
        path = folder / "MySegmentsMat" / "ground_truth_bs" / f"{stem}.mat"
        if not path.is_file():
            write_whole(path, matlab_73_cells("Masks", [_cell(mask) for mask in masks(made, camera)]))
    if _has_video(made.plan, camera):
        path = folder / "Videos" / f"{stem}.mp4"
        if not path.is_file():
            write_whole(path, video(made, camera, count))
        return
    name = f"{folder.name}_{stem.replace(' ', '_')}"
    for row in range(count):
        write_frame(folder / "images" / name / f"{name}_{row + 1:06d}.jpg", made, camera, row)


def _cell(mask: BoolArray) -> FloatArray:
    """As MATLAB stores it: width first."""
    return np.ascontiguousarray(mask.T.astype(np.uint8))


def video(made: Trial, camera: int, frames: int) -> bytes:
    """An mp4 of the first frames, at 50 a second."""
    seen = made.lenses[camera].camera
    pictures = (picture(made, camera, row) for row in range(frames))
    return encode_video(pictures, (seen.width, seen.height), round(FPS), "mp4")


def _mosh_path(root: Path, trial: TrialPlan, camera: int) -> Path:
    name = f"{trial.base}_cam{camera}_aligned.pkl"
    return root / "neutrMosh" / "neutrSMPL_H3.6" / f"S{trial.subject}" / name
