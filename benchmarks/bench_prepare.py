"""Speed of `prepare` (annotations alone) against merely parsing the same files with the format's own library.

Run: python benchmarks/bench_prepare.py [--datasets 3dpw pennaction ...] [--repeats N] [--json]

Raw files are made for the purpose: as long as the real ones, numbers at random about plausible values, no images. One
process parses every file (pickle, scipy.io, json, h5py, cdflib, NumPy; TFRecords: the pure-Python `tfrecord` package
where it is installed); one process prepares the same files. CPU time, best of some runs, so that other work on the
machine counts little. Then wall time with two workers against one, on fifty times the files of 3DPW.

Floors: 0.5 of the parsing rate; 1.6 with two workers; TFRecords read 3 times as fast as the package, checksums
included.

On two cores of a Xeon without SHA instructions, otherwise idle (November 2026, `--repeats 3`, files in memory; ratios move by a
fifth between runs): InstaVariety 0.59 beside our own reader (1.2 times as fast as the compiled package, 374 times the pure-Python
one, checksums included), PoseTrack 0.45, InstaVariety's collection 0.39, AMASS 0.37, MPI-INF-3DHP 0.24, Human3.6M 0.08, PennAction
0.09, 3DPW 0.06. Two workers: 1.3 to 1.6 on 1.5 GB, 1.1 to 1.5 on 2.8 GB. Reading alone gains 1.5 to 1.7 (two unrelated Python
processes 1.4 to 1.9 on this machine); one process writes the store, a seventh of the time with one worker.

What keeps 3DPW from the floor: its pickles are plain arrays, which the standard library loads at the speed of a copy, 40
to 60 ms for 57 MB. Out of some 320 ms, what no implementation can leave out takes about 100: content hash 20, one copy
of the arrays 20 to 30, conversion to float32 17, the part in the journal 12, the rows in the store 20; so the ratio stays
under 0.6 even if nothing were computed. The rest is smoothed boxes and views 80, rotations and joints in the camera 45,
checks of values 30, and some 25 that do not grow with the data.
Human3.6M likewise: its CDF arrays are plain, and boxes and views take a third of the whole. PennAction has 2,326 files of
18 KiB, which cost 2.5 ms each whatever they hold: opened for the split, checked for what they unpack to, read, viewed.
AMASS: of 330 ms, reading with the archive's CRC-32 takes 130 (parsing does the same), the hash 50, checks of values 40,
writing twice 30.
"""

import argparse
import importlib
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import cdflib
import h5py
import numpy as np
import scipy.io

from hpsbench.pipeline.prepare import prepare
from hpsbench.safe_io.tfrecord import read_examples
from hpsbench.synth import h36m, h36m_content, h36m_official, mpi_inf_3dhp_content, tfrecords
from hpsbench.synth.matlab_files import matlab_5
from hpsbench.synth.mpi_inf_3dhp import CAMERAS
from hpsbench.synth.output import write_whole
from hpsbench.synth.python2_pickle import dumps
from hpsbench.synth.studio import Camera
from hpsbench.synth.world import mark

PARSING_FLOOR, WORKERS_FLOOR, TFRECORD_FLOOR = 0.5, 1.6, 3.0
RNG = np.random.default_rng(3)


def body(frames: int, joints: int, spread: float = 0.3) -> np.ndarray:
    """(T, J, 3) joints of somebody four metres in front of a camera, metres."""
    return RNG.normal(size=(1, joints, 3)) * spread + RNG.normal(size=(frames, 1, 3)) * 0.05 + (0, 0, 4.0)


def make_3dpw(raw: Path) -> None:
    """12 sequences of 800 frames and two people."""
    frames = 800
    for number in range(12):
        split = ("train", "validation", "test")[number % 3]
        joints = [body(frames, 24).reshape(frames, 72) for _ in range(2)]
        pixels = RNG.uniform(100, 900, (frames, 3, 18))
        pixels[:, 2] = RNG.uniform(0.4, 0.9, (frames, 18))
        poses = [RNG.normal(size=(frames, 72)) * 0.3 for _ in range(2)]
        content = {
            "sequence": f"bench_{number:02d}", "betas": [np.zeros(10)] * 2, "poses": poses,
            "trans": [np.zeros((frames, 3))] * 2, "poses_60Hz": [np.repeat(pose, 2, axis=0) for pose in poses],
            "trans_60Hz": [np.zeros((2 * frames, 3))] * 2, "betas_clothed": [np.zeros(10)] * 2,
            "v_template_clothed": [np.zeros((6890, 3))] * 2, "genders": ["m", "f"], "texture_maps": [],
            "poses2d": [pixels, pixels + 1], "jointPositions": joints, "img_frame_ids": np.arange(frames) * 2,
            "cam_poses": np.tile(np.eye(4), (frames, 1, 1)), "campose_valid": [np.ones(frames)] * 2,
            "cam_intrinsics": np.array([[1000.0, 0, 500], [0, 1000, 500], [0, 0, 1]]),
        }  # fmt: skip
        write_whole(raw / "sequenceFiles" / split / f"bench_{number:02d}.pkl", dumps(content))


def parse_3dpw(raw: Path) -> None:
    """Parse every file."""
    for path in raw.glob("sequenceFiles/*/*.pkl"):
        with path.open("rb") as file:
            pickle.load(file, encoding="latin1")


def make_amass(raw: Path) -> None:
    """40 motions of 2,400 frames at 120 Hz."""
    for number in range(40):
        content = io.BytesIO()
        np.savez(
            content, poses=RNG.normal(size=(2400, 156)) * 0.3, betas=np.zeros(16), trans=RNG.normal(size=(2400, 3)),
            gender=np.array("male"), mocap_framerate=np.array(120.0), dmpls=RNG.normal(size=(2400, 8)),
        )  # fmt: skip
        write_whole(raw / "CMU" / f"{number // 10:02d}" / f"{number:03d}_poses.npz", content.getvalue())


def parse_amass(raw: Path) -> None:
    """Read every array of every file."""
    for path in raw.glob("*/*/*.npz"):
        with np.load(path) as held:
            dict(held)


def make_h36m(raw: Path) -> None:
    """20 recordings of 2,000 frames in three files each."""
    write_whole(raw / "metadata.xml", h36m_official.metadata_xml("tiny", 0).encode())
    lens = h36m_content.lenses_of(1, "tiny", 0)[0]
    for number in range(20):
        joints = body(2000, 32) * 1000
        stem = f"{h36m.base_name(1, 2 + number % 15, 1 + number // 15)}.{h36m.CAMERAS[0]}.cdf"
        poses = {
            "D3_Positions_mono": joints,
            "D3_Positions_mono_universal": joints * 0.9,
            "D2_Positions": lens.distorted(joints),
        }
        for folder, values in poses.items():
            write_whole(raw / "S1" / "MyPoseFeatures" / folder / stem, h36m_official.cdf(values))  # fmt: skip


def parse_h36m(raw: Path) -> None:
    """Read every variable."""
    for path in raw.glob("S*/MyPoseFeatures/*/*.cdf"):
        with cdflib.CDF(path) as file:
            np.asarray(file.varget("Pose"))


def make_mpi(raw: Path) -> None:
    """One training sequence of 6,000 frames and 14 cameras, and a test sequence of 300."""
    inner = np.array([[1500.0, 0, 1024], [0, 1500, 1024], [0, 0, 1]])
    camera = Camera(pose=np.eye(4), intrinsics=inner, width=2048, height=2048)
    cells = {name: np.empty((CAMERAS, 1), dtype=object) for name in ("annot2", "annot3", "univ_annot3")}
    for number in range(CAMERAS):
        joints = body(6000, 28)
        cells["annot2"][number, 0] = camera.project(joints).reshape(6000, -1)
        cells["annot3"][number, 0] = cells["univ_annot3"][number, 0] = joints.reshape(6000, -1) * 1000
    folder = raw / "S1" / "Seq1"
    write_whole(folder / "annot.mat", matlab_5(cells))
    text = mpi_inf_3dhp_content.calibration_text((camera,) * CAMERAS, "\n")
    write_whole(folder / "camera.calibration", text.encode())


def parse_mpi(raw: Path) -> None:
    """Read the variables that are used."""
    for path in raw.glob("S*/Seq*/annot.mat"):
        scipy.io.loadmat(path, variable_names=["annot2", "annot3", "univ_annot3"])


def make_penn(raw: Path) -> None:
    """400 clips of 70 frames, the mean of the real ones."""
    for number in range(1, 401):
        x, y = RNG.uniform(20, 400, (2, 70, 13))
        content = {
            "action": "bowl", "pose": "left", "x": x, "y": y, "visibility": np.ones((70, 13), np.uint8),
            "train": 1 if number % 2 else -1, "bbox": np.tile([20.0, 20, 400, 300], (70, 1)),
            "dimensions": np.array([[270.0, 480, 70]]), "nframes": 70,
        }  # fmt: skip
        write_whole(raw / "labels" / f"{number:04d}.mat", matlab_5(content))


def parse_penn(raw: Path) -> None:
    """Read every variable."""
    for path in raw.glob("labels/*.mat"):
        scipy.io.loadmat(path)


def make_posetrack(raw: Path) -> None:
    """100 videos of 130 images, 30 of them labelled, with six people."""
    names = [
        "nose", "head_bottom", "head_top", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
        "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
        "right_ankle",
    ]  # fmt: skip
    for number in range(1, 101):
        name, first = f"{number:06d}_bonn_train", 10_000_000_000 + number * 10_000
        images = [
            {
                "has_no_densepose": True, "is_labeled": 50 <= frame < 80, "nframes": 130, "vid_id": f"{number:06d}",
                "file_name": f"images/train/{name}/{frame:06d}.jpg", "frame_id": first + frame, "id": first + frame,
                "width": 1280, "height": 720, "mask_file": f"mask/train/{name}/{frame:06d}.png",
                "ignore_regions_x": [], "ignore_regions_y": [],
            }
            for frame in range(130)
        ]  # fmt: skip
        annotations = [
            {
                "bbox_head": [10, 20, 30, 40.5], "track_id": person, "image_id": first + frame, "scores": [],
                "keypoints": [number for x, y in np.round(RNG.uniform(100, 700, (17, 2)), 2).tolist() for number in (x, y, 1)],
                "bbox": np.round(RNG.uniform(100, 300, 4), 2).tolist(), "category_id": 1,
                "id": (first + frame) * 100 + person,
            }
            for frame in range(50, 80)
            for person in range(6)
        ]  # fmt: skip
        document = {
            "images": images, "annotations": annotations,
            "categories": [{"name": "person", "id": 1, "keypoints": names, "skeleton": []}],
        }  # fmt: skip
        path = raw / "posetrack_data" / "annotations" / "train" / f"{name}.json"
        write_whole(path, json.dumps(document).encode())


def parse_posetrack(raw: Path) -> None:
    """Parse every file."""
    for path in raw.glob("posetrack_data/annotations/*/*.json"):
        json.loads(path.read_bytes())


def make_instavariety(raw: Path) -> None:
    """Two shards of 50 tracks of 150 frames without images and features; JPEGs of real ones are ten times as much."""
    for number in range(2):
        records: list[dict[str, Any]] = []
        for _ in range(50):
            points = RNG.uniform(-1, 1, (150, 3, 25)).astype(np.float32)
            records.append(
                {
                    "meta/N": np.array([150]), "image/heightwidths": np.full((150, 2), 224),
                    "image/xys": np.ascontiguousarray(points[:, :2, :14]),
                    "image/visibilities": np.ones((150, 14), np.int64),
                    "image/face_pts": np.ascontiguousarray(points[:, :, 14:19]),
                    "image/toe_pts": np.ascontiguousarray(points[:, :, 19:]),
                    "image/encoded": [RNG.bytes(8000)] * 150, "image/filenames": [b"/a/b/c.jpg"] * 150,
                    "image/centers": np.full((150, 2), 112), "image/crop_pts": np.full((150, 2), -30),
                    "image/phis": RNG.normal(size=(150, 2048)).astype(np.float32),
                }
            )  # fmt: skip
        path = raw / "insta_variety" / "train" / f"insta_variety_{number:02d}.tfrecord"
        write_whole(path, tfrecords.shard(records))


def parse_instavariety(raw: Path) -> None:
    """Read every record with the pure-Python package, or, where it is not installed, decode all with our own reader."""
    for path in raw.glob("insta_variety/*/*.tfrecord"):
        for record in _records(path):
            dict(record)


def _records(path: Path) -> Iterator[Any]:
    try:
        package = importlib.import_module("tfrecord.reader")
    except ImportError:
        return iter(read_examples(path))
    return iter(package.tfrecord_loader(str(path), None))


def make_collection(raw: Path) -> None:
    """VIBE's file with 160 tracks of 150 frames, features and all; `prepare` keeps the keypoints, and hashes the file."""
    rows = 160 * 150
    raw.mkdir(parents=True, exist_ok=True)
    with h5py.File(raw / "insta_train_db.h5", "w") as file:
        file["vid_name"] = np.repeat([f"/a/insta.tfrecord-{i}".encode() for i in range(160)], 150)
        file["frame_id"] = np.tile(np.arange(150), 160)
        file["joints2D"] = RNG.uniform(0, 224, (rows, 25, 3)).astype(np.float32)
        file["features"] = RNG.normal(size=(rows, 2048)).astype(np.float32)


def parse_collection(raw: Path) -> None:
    """Read every array."""
    with h5py.File(raw / "insta_train_db.h5") as file:
        for key in file:
            file[key][:]


CASES: dict[str, tuple[str, Callable[[Path], None], Callable[[Path], None]]] = {
    "3dpw": ("3dpw", make_3dpw, parse_3dpw),
    "amass": ("amass", make_amass, parse_amass),
    "h36m": ("h36m", make_h36m, parse_h36m),
    "mpi-inf-3dhp": ("mpi-inf-3dhp", make_mpi, parse_mpi),
    "pennaction": ("pennaction", make_penn, parse_penn),
    "posetrack": ("posetrack", make_posetrack, parse_posetrack),
    "instavariety": ("instavariety", make_instavariety, parse_instavariety),
    "instavariety-h5": ("instavariety", make_collection, parse_collection),
}


def best(job: Callable[[], object], repeats: int, before: Callable[[], object] = int) -> float:
    """Least CPU seconds of some runs; what is done before each does not count."""
    times = []
    for _ in range(repeats):
        before()
        start = time.process_time()
        job()
        times.append(time.process_time() - start)
    return min(times)


def forget(root: Path) -> None:
    """Remove what an earlier run made."""
    for name in ("stores", ".hpsbench", "runs"):
        shutil.rmtree(root / name, ignore_errors=True)


def measure(case: str, folder: Path, repeats: int) -> dict[str, Any]:
    """Rates of parsing and preparing one dataset."""
    key, make, parse = CASES[case]
    root = folder / case
    raw = root / "raw" / key
    mark(raw, key, "tiny", 0)
    make(raw)
    size = sum(path.stat().st_size for path in raw.rglob("*") if path.is_file())
    parsing = best(lambda: parse(raw), repeats + 1)
    preparing = best(lambda: prepare(key, root), repeats, lambda: forget(root))
    return {
        "dataset": case, "mb": size / 1e6, "parse_s": parsing, "prepare_s": preparing, "ratio": parsing / preparing,
        "floor": PARSING_FLOOR,
    }  # fmt: skip


def measure_workers(folder: Path, repeats: int) -> dict[str, Any]:
    """Wall seconds of one and of two workers on 3DPW's sequences, fifty times over: 2.8 GB of pickles, under other names."""
    root = folder / "workers"
    raw = root / "raw" / "3dpw"
    mark(raw, "3dpw", "tiny", 0)
    make_3dpw(raw)
    for path in list(raw.glob("sequenceFiles/*/*.pkl")):
        for copy in range(49):
            path.with_name(f"{path.stem}_{copy}.pkl").hardlink_to(path)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    prepare("3dpw", root, workers=2)  # the server of the worker processes starts once
    for _ in range(repeats):
        for workers, found in seconds.items():
            forget(root)
            start = time.perf_counter()
            prepare("3dpw", root, workers=workers)
            found.append(time.perf_counter() - start)
    one, two = min(seconds[1]), min(seconds[2])
    return {"one_s": one, "two_s": two, "ratio": one / two, "floor": WORKERS_FLOOR, "cores": os.cpu_count()}


THEIRS = """
import json, sys, time
from tfrecord.reader import tfrecord_loader
times = []
for _ in range(int(sys.argv[2])):
    start = time.process_time()
    read = [dict(held) for held in tfrecord_loader(sys.argv[1], None)]
    times.append(time.process_time() - start)
print(min(times))
"""


def measure_tfrecord(folder: Path, repeats: int) -> dict[str, Any] | None:
    """Reading every record and feature, ours with both checksums of each, the package without any.

    The package leaves the parsing to protobuf: `ratio` is against protobuf's pure-Python implementation, which makes the
    package pure Python, `ratio_compiled` against protobuf's compiled one. None where the package is not installed.
    """
    raw = folder / "tfrecord"
    make_instavariety(raw)
    path = next(raw.rglob("*.tfrecord"))
    small = folder / "small.tfrecord"
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little") + 16
        file.seek(0)
        small.write_bytes(file.read(length))
    found: dict[str, Any] = {"floor": TFRECORD_FLOOR}
    for name, implementation, held in (("ratio", "python", small), ("ratio_compiled", "upb", path)):
        done = subprocess.run(
            [sys.executable, "-c", THEIRS, str(held), str(repeats)],
            env={**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            return None
        ours = best(lambda held=held: [dict(record) for record in read_examples(held)], repeats + 2)  # type: ignore[misc]
        found[name] = float(done.stdout) / ours
    return found


def main() -> int:
    """Measure and print; 1 if a floor is missed."""
    parser = argparse.ArgumentParser(description="Speed of prepare.")
    parser.add_argument("--datasets", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--no-workers", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = [measure(case, folder, options.repeats) for case in options.datasets]
        workers = None if options.no_workers else measure_workers(folder, options.repeats)
        tfrecord = measure_tfrecord(folder, options.repeats)
    result = {"prepare": found, "two_workers": workers, "tfrecord": tfrecord}
    lines = [
        f"{row['dataset']:16s} {row['mb']:7.1f} MB  parse {row['parse_s']:6.2f} s  prepare {row['prepare_s']:6.2f} s  "
        f"{row['ratio']:5.2f} of the parsing rate (floor {row['floor']})"
        for row in found
    ]
    if workers:
        lines.append(
            f"two workers      {workers['ratio']:.2f} x one ({workers['one_s']:.2f} s, {workers['two_s']:.2f} s; floor "
            f"{workers['floor']}, {workers['cores']} cores)"
        )
    lines.append(
        f"TFRecord         {tfrecord['ratio']:.1f} x the package in pure Python (floor {tfrecord['floor']}), "
        f"{tfrecord['ratio_compiled']:.1f} x with compiled protobuf"
        if tfrecord
        else "TFRecord         not compared: pip install tfrecord"
    )
    sys.stdout.write(json.dumps(result, indent=1) + "\n" if options.json else "\n".join(lines) + "\n")
    rows = [*found, *(row for row in (workers, tfrecord) if row)]
    return int(any(row["ratio"] < row["floor"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
