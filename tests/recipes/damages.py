"""Ways to damage a raw dataset: what is done to the sound files for every line of `recipes/damaged/<dataset>.toml`.

Run by path (`runpy.run_path`), since test folders are not packages. Uses no code of the package.
"""

import json
import pickle
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io

FOLDER = Path(__file__).parent
RAW = runpy.run_path(str(FOLDER / "raw_files.py"))
H36M = runpy.run_path(str(FOLDER / "raw_h36m.py"))
INSTAVARIETY = runpy.run_path(str(FOLDER / "raw_instavariety.py"))
Change = Callable[[Any], Any]
Make = Callable[[Path], object]


def cut(path: str, after: int | None = None) -> Callable[[Path], None]:
    """A download that stopped half-way, or after so many bytes."""

    def do(raw: Path) -> None:
        data = (raw / path).read_bytes()
        (raw / path).write_bytes(data[: after or len(data) // 2])

    return do


def threedpw(change: Change, name: str = "sequenceFiles/test/downtown_two_00.pkl") -> Callable[[Path], None]:
    """Change the content of a sequence's file."""

    def do(raw: Path) -> None:
        document = pickle.loads((raw / name).read_bytes(), encoding="latin1")
        change(document)
        (raw / name).write_bytes(RAW["python2_pickle"](document))

    return do


def amass(change: Change, name: str = "CMU/01/01_01_poses.npz") -> Callable[[Path], None]:
    """Change the arrays of a motion file; None leaves one out."""

    def do(raw: Path) -> None:
        with np.load(raw / name) as held:
            arrays = dict(held)
        change(arrays)
        np.savez(raw / name, **arrays)

    return do


def matlab(name: str, change: Change) -> Callable[[Path], None]:
    """Change the variables of a MATLAB 5 file."""

    def do(raw: Path) -> None:
        held = scipy.io.loadmat(raw / name)
        arrays = {key: value for key, value in held.items() if not key.startswith("__")}
        change(arrays)
        scipy.io.savemat(raw / name, arrays)

    return do


def hdf5(name: str, change: Change) -> Callable[[Path], None]:
    """Change an HDF5 file in place."""

    def do(raw: Path) -> None:
        with h5py.File(raw / name, "r+") as file:
            change(file)

    return do


def replaced(key: str, values: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Replace an array of an HDF5 file by one made of it."""

    def do(file: Any) -> None:
        held = file[key][()]
        del file[key]
        file[key] = values(held)

    return do


def posetrack(change: Change) -> Callable[[Path], None]:
    """Change the first training video's file."""

    def do(raw: Path) -> None:
        path = raw / "posetrack_data/annotations/train/000001_bonn_train.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return do


def instavariety(change: Change) -> Callable[[Path], None]:
    """Change the first record of the first shard."""

    def do(raw: Path) -> None:
        records = [INSTAVARIETY["train_features"](99, track) for track in (0, 1)]
        change(records[0])
        path = raw / "insta_variety/train" / INSTAVARIETY["SHARD"].format(99)
        INSTAVARIETY["write_shard"](path, records)

    return do


def cdf(change: Change, folder: str = "D3_Positions_mono") -> Callable[[Path], None]:
    """Change S9's front camera."""

    def do(raw: Path) -> None:
        joints = H36M["to_camera"](H36M["world"](9, 2, 2, 24), 9, 3)
        name = f"S9/MyPoseFeatures/{folder}/Directions.60457274.cdf"
        H36M["write_cdf"](raw / name, change(joints))

    return do


def with_nan(values: np.ndarray) -> np.ndarray:
    values = np.array(values, dtype=np.float64)
    values[1] = np.nan
    return values


def renamed(path: str) -> Callable[[Path], None]:
    """Give a file a name that is not UTF-8."""

    def do(raw: Path) -> None:
        source = raw / path
        source.rename(source.with_name("\udcff" + source.name))  # a byte that is no text, as Python keeps it

    return do


def copied(path: str, to: str) -> Callable[[Path], None]:
    """Put a file a second time under another name."""

    def do(raw: Path) -> None:
        (raw / to).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(raw / path, raw / to)

    return do


def removed(path: str) -> Callable[[Path], None]:
    """Take a file away."""
    return lambda raw: (raw / path).unlink()


def emptied(raw: Path) -> None:
    """Take everything away but the mark of synthetic data."""
    for path in raw.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "hpsbench-synthetic.json":
            path.unlink()


def collection(**changes: np.ndarray) -> Callable[[Path], None]:
    """VIBE's collection instead of the shards, with other arrays."""

    def do(raw: Path) -> None:
        emptied(raw)
        INSTAVARIETY["write_collection"](raw, **changes)

    return do


def moon(change: Callable[[Path], object]) -> Callable[[Path], None]:
    """Moon's layout instead of the official one."""

    def do(raw: Path) -> None:
        emptied(raw)
        H36M["write_moon"](raw)
        change(raw)

    return do


def moon_json(kind: str, change: Change) -> Callable[[Path], None]:
    """Change one of Moon's files of S9."""

    def do(raw: Path) -> None:
        path = raw / f"annotations/Human36M_subject9_{kind}.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return moon(do)


def fetched(change: Change) -> Callable[[Path], None]:
    """h36m-fetch's layout instead of the official one, with its file changed."""

    def do(raw: Path) -> None:
        emptied(raw)
        H36M["write_fetch"](raw, 9, "Directions-1", {0: list(range(1, 21))})
        path = H36M["write_fetch"](raw, 1, "Directions-1", {0: list(range(1, 21)), 3: list(range(1, 21))})
        with h5py.File(path, "r+") as file:
            change(file)

    return do


def with_value(row: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def values(held: np.ndarray) -> np.ndarray:
        held = held.copy()
        held[row] = value
        return held

    return values


def axes_last(annotation: dict[str, Any]) -> None:
    """All x, then all y, then all flags."""
    annotation["keypoints"] = np.array(annotation["keypoints"]).reshape(17, 3).T.ravel().tolist()


def in_shares(document: dict[str, Any]) -> None:
    for annotation in document["annotations"]:
        points = np.array(annotation["keypoints"], float).reshape(17, 3)
        points[:, :2] /= 1000
        annotation["keypoints"] = points.ravel().tolist()


SEQ1, TS1, CLIP = "S1/Seq1/annot.mat", "mpi_inf_3dhp_test_set/TS1/annot_data.mat", "labels/0001.mat"
SHARD = "insta_variety/train/" + INSTAVARIETY["SHARD"].format(99)
TWO = "sequenceFiles/test/downtown_two_00.pkl"
MONO = "S9/MyPoseFeatures/D3_Positions_mono/Directions.60457274.cdf"
BONN = "posetrack_data/annotations/train/000001_bonn_train.json"
MOTION = "CMU/01/01_01_poses.npz"
TABLE: dict[str, dict[str, Make]] = {
    "3dpw": {
        "missing key": threedpw(lambda d: d.pop("poses2d")),
        "wrong shape": threedpw(lambda d: d["poses"].__setitem__(1, d["poses"][1][:-1])),
        "NaN": threedpw(lambda d: d["poses"].__setitem__(0, with_nan(d["poses"][0]))),
        "swapped axes": threedpw(lambda d: d["poses2d"].__setitem__(0, d["poses2d"][0].transpose(0, 2, 1))),
        "truncated file": cut(TWO),
        "unreadable image": cut("imageFiles/downtown_two_00/image_00000.jpg", 12),
        "annotation without image": removed("imageFiles/downtown_two_00/image_00005.jpg"),
        "image without annotation": copied("imageFiles/downtown_two_00/image_00005.jpg", "imageFiles/downtown_two_00/image_00095.jpg"),
        "duplicate track": copied(TWO, TWO.replace("test", "train")),
        "name not UTF-8": renamed(TWO),
        "zero-length track": threedpw(lambda d: d.__setitem__("img_frame_ids", np.arange(0))),
        "wrong unit": threedpw(lambda d: d.__setitem__("jointPositions", [j * 1000 for j in d["jointPositions"]])),
        "wrong unit (rotations)": threedpw(lambda d: d.__setitem__("poses", [p * 57.3 for p in d["poses"]])),
        "wrong unit (keypoints)": threedpw(lambda d: d.__setitem__("poses2d", [p * [[1 / 640], [1 / 360], [1]] for p in d["poses2d"]])),
    },
    "amass": {
        "missing key": amass(lambda a: a.pop("mocap_framerate")),
        "wrong shape": amass(lambda a: a.update(trans=a["trans"][:-1])),
        "NaN": amass(lambda a: a.update(poses=with_nan(a["poses"]))),
        "swapped axes": amass(lambda a: a.update(poses=a["poses"].T)),
        "truncated file": cut(MOTION),
        "name not UTF-8": renamed(MOTION),
        "zero-length track": amass(lambda a: a.update(poses=a["poses"][:0], trans=a["trans"][:0])),
        "wrong unit": amass(lambda a: a.update(trans=a["trans"] * 1000)),
        "wrong unit (rotations)": amass(lambda a: a.update(poses=a["poses"] * 180)),
    },
    "h36m": {
        "missing key": lambda raw: H36M["write_cdf"](raw / MONO, np.ones((24, 32, 3)), "Other"),
        "missing key (Moon)": moon_json("camera", lambda d: d["1"].pop("t")),
        "missing file": removed("metadata.xml"),
        "wrong shape": cdf(lambda j: j[:, :31]),
        "wrong shape (Moon)": moon_json("joint_3d", lambda d: d["2"]["1"]["3"].pop()),
        "NaN": cdf(with_nan),
        "NaN (h36m-fetch)": fetched(replaced("pose/3d", with_nan)),
        "swapped axes": cdf(lambda j: j.reshape(24, 96).T.reshape(96, 12, 2)),
        "truncated file": cut(MONO),
        "truncated file (Moon)": moon(cut("annotations/Human36M_subject9_joint_3d.json")),
        "unreadable video": cut("S9/Videos/Directions.60457274.mp4"),
        "annotation without image": removed("S9/Videos/Directions.60457274.mp4"),
        "image without annotation": moon_json("joint_3d", lambda d: d["2"]["1"].pop("5")),
        "duplicate track (h36m-fetch)": fetched(replaced("frame", with_value(3, 3))),
        "name not UTF-8": lambda raw: (raw / "metadata.xml").write_bytes(b"<config><mapping>\xff</mapping></config>"),
        "zero-length track (Moon)": moon_json("joint_3d", lambda d: d["2"].__setitem__("1", {})),
        "wrong unit": cdf(lambda j: j / 1000),
    },
    "mpi-inf-3dhp": {
        "missing key": matlab(SEQ1, lambda a: a.pop("annot3")),
        "missing key (test)": hdf5(TS1, lambda f: f.__delitem__("valid_frame")),
        "missing file": removed("S1/Seq1/camera.calibration"),
        "wrong shape": matlab(SEQ1, lambda a: a["annot3"][0].__setitem__(0, a["annot3"][0, 0][:, :81])),
        "NaN": matlab(SEQ1, lambda a: a["annot3"][0].__setitem__(0, with_nan(a["annot3"][0, 0]))),
        "NaN (test)": hdf5(TS1, replaced("annot3", with_nan)),
        "swapped axes": matlab(SEQ1, lambda a: a["annot2"][0].__setitem__(0, a["annot2"][0, 0].T)),
        "swapped axes (test)": hdf5(TS1, replaced("annot3", lambda v: v.transpose(3, 2, 1, 0))),
        "truncated file": cut(SEQ1),
        "truncated file (test)": cut(TS1),
        "unreadable video": cut("S1/Seq1/imageSequence/video_4.avi"),
        "unreadable image": cut("mpi_inf_3dhp_test_set/TS1/imageSequence/img_000001.jpg", 12),
        "annotation without image": removed("S1/Seq1/video_1/frame_000005.jpg"),
        "image without annotation": copied("S1/Seq1/video_1/frame_000005.jpg", "S1/Seq1/video_1/frame_000099.jpg"),
        "name not UTF-8": lambda raw: (raw / "S1/Seq1/camera.calibration").write_bytes(b"\xff\xfe"),
        "zero-length track": matlab(SEQ1, lambda a: [a[k][0].__setitem__(0, a[k][0, 0][:0]) for k in ("annot2", "annot3")]),
        "wrong unit": matlab(SEQ1, lambda a: a["annot3"][0].__setitem__(0, a["annot3"][0, 0] / 1000)),
        "wrong unit (test)": hdf5(TS1, replaced("annot3", lambda v: v / 1000)),
    },
    "pennaction": {
        "missing key": matlab(CLIP, lambda a: a.pop("x")),
        "wrong shape": matlab(CLIP, lambda a: a.update(y=a["y"][:-1])),
        "NaN": matlab(CLIP, lambda a: a.update(x=with_nan(a["x"]))),
        "swapped axes": matlab(CLIP, lambda a: a.update({k: a[k].T for k in ("x", "y", "visibility")})),
        "truncated file": cut(CLIP),
        "unreadable image": cut("frames/0001/000001.jpg", 12),
        "annotation without image": removed("frames/0001/000005.jpg"),
        "image without annotation": copied("frames/0001/000005.jpg", "frames/0001/000099.jpg"),
        "name not UTF-8": renamed(CLIP),
        "zero-length track": matlab(CLIP, lambda a: a.update({k: a[k][:0] for k in ("x", "y", "visibility")})),
        "wrong unit": matlab(CLIP, lambda a: a.update(x=a["x"] / 64, y=a["y"] / 48)),
    },
    "posetrack": {
        "missing key": posetrack(lambda d: d.pop("categories")),
        "wrong shape": posetrack(lambda d: d["annotations"][3]["keypoints"].pop()),
        "NaN": posetrack(lambda d: d["annotations"][3]["keypoints"].__setitem__(0, float("nan"))),
        "swapped axes": posetrack(lambda d: axes_last(d["annotations"][3])),
        "truncated file": cut(BONN),
        "unreadable image": cut("images/train/000001_bonn_train/000000.jpg", 12),
        "annotation of no image": posetrack(lambda d: d["annotations"][0].update(image_id=5)),
        "annotation without image": removed("images/train/000001_bonn_train/000005.jpg"),
        "image without annotation": copied("images/train/000001_bonn_train/000005.jpg", "images/train/000001_bonn_train/000099.jpg"),
        "duplicate track": posetrack(lambda d: d["annotations"].append(d["annotations"][0])),
        "name not UTF-8": lambda raw: (raw / BONN).write_bytes(b'{"images": ["\xff"]}'),
        "zero-length track": posetrack(lambda d: d.update(annotations=[])),
        "wrong unit": posetrack(in_shares),
    },
    "instavariety": {
        "missing key": instavariety(lambda f: f.pop("image/xys")),
        "wrong shape": instavariety(lambda f: f.update({"image/face_pts": f["image/face_pts"][:-1]})),
        "NaN": instavariety(lambda f: f.update({"image/xys": np.full_like(f["image/xys"], np.nan)})),
        "swapped axes (collection)": collection(joints2D=np.zeros((25, 62, 3), np.float32)),
        "truncated file": cut(SHARD),
        "changed file": lambda raw: (raw / SHARD).write_bytes((raw / SHARD).read_bytes()[:-1] + b"\0"),
        "unreadable image": instavariety(lambda f: f.update({"image/encoded": [b"no JPEG", *f["image/encoded"][1:]]})),
        "annotation without image": instavariety(lambda f: f.update({"image/encoded": f["image/encoded"][:-1]})),
        "duplicate track (collection)": collection(vid_name=np.array([b"a-0"] * 20 + [b"b-0"] * 20 + [b"a-0"] * 22)),
        "name not UTF-8": renamed(SHARD),
        "name not UTF-8 (collection)": collection(vid_name=np.array([b"/a/\xff.tfrecord-0"] * 62)),
        "zero-length track": instavariety(lambda f: f.update({"meta/N": np.array([0])})),
        "wrong unit": instavariety(lambda f: f.update({"image/xys": f["image/xys"] * 200})),
    },
}  # fmt: skip
