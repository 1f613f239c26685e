"""What each dataset's damaged files are told: one table, every kind of damage of every dataset.

A damaged sequence stops `prepare` with the file's name and what is wrong; with `skip_bad` it is left out and counted. What
is odd but no damage (images without annotations, annotations without images) is a warning of `verify`.
"""

import json
import pickle
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
import scipy.io

from hpsbench.errors import HpsbenchError
from hpsbench.pipeline.prepare import prepare
from hpsbench.pipeline.verify import verify
from hpsbench.recipes.catalog import get_recipe, list_recipes
from hpsbench.recipes.sequences import SequenceSkipped, find_sequences, read_sequence
from hpsbench.store.reader import open_store

FOLDER = Path(__file__).parents[2] / "recipes"
RAW = runpy.run_path(str(FOLDER / "raw_files.py"))
H36M = runpy.run_path(str(FOLDER / "raw_h36m.py"))
INSTAVARIETY = runpy.run_path(str(FOLDER / "raw_instavariety.py"))
Change = Callable[[Any], Any]


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


class Damage(NamedTuple):
    """A kind of damage, how it is made, and what is said of it."""

    dataset: str
    kind: str
    make: Callable[[Path], object]
    message: str


SEQ1, TS1, CLIP = "S1/Seq1/annot.mat", "mpi_inf_3dhp_test_set/TS1/annot_data.mat", "labels/0001.mat"
TABLE = [
    Damage("3dpw", "missing key", threedpw(lambda d: d.pop("poses2d")), "key 'poses2d' is missing"),
    Damage("3dpw", "wrong shape", threedpw(lambda d: d["poses"].__setitem__(1, d["poses"][1][:-1])), r"poses\[1\] should have shape \(40, 72\)"),
    Damage("3dpw", "NaN", threedpw(lambda d: d["poses"].__setitem__(0, with_nan(d["poses"][0]))), "poses.*not finite"),
    Damage("3dpw", "swapped axes", threedpw(lambda d: d["poses2d"].__setitem__(0, d["poses2d"][0].transpose(0, 2, 1))), r"poses2d\[0\] should have shape"),
    Damage("3dpw", "truncated file", cut("sequenceFiles/test/downtown_two_00.pkl"), "truncated"),
    Damage("3dpw", "unreadable image", cut("imageFiles/downtown_two_00/image_00000.jpg", 12), "truncated JPEG"),
    Damage("3dpw", "zero-length track", threedpw(lambda d: d.__setitem__("img_frame_ids", np.arange(0))), "no images"),
    Damage("3dpw", "wrong unit", threedpw(lambda d: d.__setitem__("jointPositions", [j * 1000 for j in d["jointPositions"]])), "another unit"),
    Damage("amass", "missing key", amass(lambda a: a.pop("mocap_framerate")), "mocap_framerate missing"),
    Damage("amass", "wrong shape", amass(lambda a: a.update(trans=a["trans"][:-1])), "trans has shape"),
    Damage("amass", "NaN", amass(lambda a: a.update(poses=with_nan(a["poses"]))), "poses.*not finite"),
    Damage("amass", "swapped axes", amass(lambda a: a.update(poses=a["poses"].T)), "poses has shape"),
    Damage("amass", "truncated file", cut("CMU/01/01_01_poses.npz"), "truncated"),
    Damage("amass", "zero-length track", amass(lambda a: a.update(poses=a["poses"][:0], trans=a["trans"][:0])), "poses has shape|no frames"),
    Damage("amass", "wrong unit", amass(lambda a: a.update(poses=a["poses"] * 180)), "degrees"),
    Damage("h36m", "missing key", lambda raw: H36M["write_cdf"](raw / "S9/MyPoseFeatures/D3_Positions_mono/Directions.60457274.cdf", np.ones((24, 32, 3)), "Other"), "not a readable CDF file|Pose"),
    Damage("h36m", "wrong shape", cdf(lambda j: j[:, :31]), r"Pose has shape"),
    Damage("h36m", "NaN", cdf(with_nan), "not finite in 1 of 24 rows, first in row 1"),
    Damage("h36m", "swapped axes", cdf(lambda j: j.reshape(24, 96).T.reshape(96, 12, 2)), "Pose has shape"),
    Damage("h36m", "truncated file", cut("S9/MyPoseFeatures/D3_Positions_mono/Directions.60457274.cdf"), "CDF file"),
    Damage("h36m", "unreadable video", cut("S9/Videos/Directions.60457274.mp4"), "not a readable video"),
    Damage("h36m", "wrong unit", cdf(lambda j: j / 1000), "another unit"),
    Damage("mpi-inf-3dhp", "missing key", matlab(SEQ1, lambda a: a.pop("annot3")), "has no annot3"),
    Damage("mpi-inf-3dhp", "wrong shape", matlab(SEQ1, lambda a: a["annot3"][0].__setitem__(0, a["annot3"][0, 0][:, :81])), r"annot3\[0\] has shape \(24, 81\)"),
    Damage("mpi-inf-3dhp", "NaN", matlab(SEQ1, lambda a: a["annot3"][0].__setitem__(0, with_nan(a["annot3"][0, 0]))), "not finite"),
    Damage("mpi-inf-3dhp", "swapped axes", matlab(SEQ1, lambda a: a["annot2"][0].__setitem__(0, a["annot2"][0, 0].T)), r"annot2\[0\] has shape \(56, 24\)|annot3"),
    Damage("mpi-inf-3dhp", "truncated file", cut(SEQ1), "MATLAB file"),
    Damage("mpi-inf-3dhp", "unreadable video", cut("S1/Seq1/imageSequence/video_4.avi"), "not a readable video"),
    Damage("mpi-inf-3dhp", "zero-length track", matlab(SEQ1, lambda a: [a[k][0].__setitem__(0, a[k][0, 0][:0]) for k in ("annot2", "annot3")]), "shape"),
    Damage("mpi-inf-3dhp", "wrong unit", matlab(SEQ1, lambda a: a["annot3"][0].__setitem__(0, a["annot3"][0, 0] / 1000)), "another unit"),
    Damage("mpi-inf-3dhp", "swapped axes (test)", hdf5(TS1, replaced("annot3", lambda v: v.transpose(3, 2, 1, 0))), "annot3 has shape"),
    Damage("mpi-inf-3dhp", "truncated file (test)", cut(TS1), "HDF5"),
    Damage("pennaction", "missing key", matlab(CLIP, lambda a: a.pop("x")), "has no x"),
    Damage("pennaction", "wrong shape", matlab(CLIP, lambda a: a.update(y=a["y"][:-1])), r"y has shape \(23, 13\)"),
    Damage("pennaction", "NaN", matlab(CLIP, lambda a: a.update(x=with_nan(a["x"]))), "x is not finite in 1 of 24 rows, first in row 1"),
    Damage("pennaction", "swapped axes", matlab(CLIP, lambda a: a.update({k: a[k].T for k in ("x", "y", "visibility")})), r"x has shape \(13, 24\)"),
    Damage("pennaction", "truncated file", cut(CLIP), "MATLAB file"),
    Damage("pennaction", "zero-length track", matlab(CLIP, lambda a: a.update({k: a[k][:0] for k in ("x", "y", "visibility")})), r"x has shape \(0,"),
    Damage("posetrack", "missing key", posetrack(lambda d: d.pop("categories")), "not laid out as a PoseTrack file"),
    Damage("posetrack", "wrong shape", posetrack(lambda d: d["annotations"][3]["keypoints"].pop()), "50 numbers as keypoints, expected 51"),
    Damage("posetrack", "NaN", posetrack(lambda d: d["annotations"][3]["keypoints"].__setitem__(0, float("nan"))), "keypoints is not finite"),
    Damage("posetrack", "truncated file", cut("posetrack_data/annotations/train/000001_bonn_train.json"), "truncated"),
    Damage("posetrack", "annotation without image", posetrack(lambda d: d["annotations"][0].update(image_id=5)), "belongs to image 5, which the file does not list"),
    Damage("posetrack", "duplicate track", posetrack(lambda d: d["annotations"].append(d["annotations"][0])), "annotated twice in frame 0"),
    Damage("posetrack", "non-UTF-8 names", lambda raw: (raw / "posetrack_data/annotations/train/000001_bonn_train.json").write_bytes(b'{"images": ["\xff"]}'), "not readable as JSON"),
    Damage("instavariety", "missing key", instavariety(lambda f: f.pop("image/xys")), "has no image/xys"),
    Damage("instavariety", "wrong shape", instavariety(lambda f: f.update({"image/face_pts": f["image/face_pts"][:-1]})), "image/face_pts has 585 numbers, expected 600"),
    Damage("instavariety", "NaN", instavariety(lambda f: f.update({"image/xys": np.full_like(f["image/xys"], np.nan)})), "not finite"),
    Damage("instavariety", "truncated file", cut("insta_variety/train/" + INSTAVARIETY["SHARD"].format(99)), "record 0 at byte 0"),
    Damage("instavariety", "zero-length track", instavariety(lambda f: f.update({"meta/N": np.array([0])})), "meta/N is 0"),
    Damage("instavariety", "wrong unit", instavariety(lambda f: f.update({"image/xys": f["image/xys"] * 200})), "from -1 to 1"),
    Damage("instavariety", "non-UTF-8 names", lambda raw: _collection(raw, vid_name=np.array([b"/a/\xff.tfrecord-0"] * 62)), "not UTF-8"),
    Damage("instavariety", "duplicate track", lambda raw: _collection(raw, vid_name=np.array([b"a-0"] * 20 + [b"b-0"] * 20 + [b"a-0"] * 22)), "comes back in row 40"),
]  # fmt: skip


def _collection(raw: Path, **changes: np.ndarray) -> None:
    shutil.rmtree(raw / "insta_variety")
    INSTAVARIETY["write_collection"](raw, **changes)


@pytest.fixture(scope="module")
def masters(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The sound raw dataset of a recipe, written once."""
    folder = tmp_path_factory.mktemp("sound")

    def master(dataset: str) -> Path:
        if not (folder / dataset).exists():
            RAW["WRITERS"][dataset](folder / dataset)
            RAW["mark_synthetic"](folder / dataset, dataset)
        return folder / dataset

    return master


@pytest.fixture
def damaged(masters: Callable[[str], Path], tmp_path: Path) -> Callable[[Damage], Path]:
    """A data root with the damaged dataset."""

    def make(damage: Damage) -> Path:
        root = tmp_path / "root"
        shutil.copytree(masters(damage.dataset), root / "raw" / damage.dataset)
        damage.make(root / "raw" / damage.dataset)
        return root

    return make


@pytest.mark.parametrize("damage", TABLE, ids=[f"{d.dataset}: {d.kind}" for d in TABLE])
def test_a_damaged_file_is_named_with_what_is_wrong(
    damage: Damage, damaged: Callable[[Damage], Path]
) -> None:
    recipe, raw = get_recipe(damage.dataset), damaged(damage) / "raw" / damage.dataset
    said = []
    for sequence in find_sequences(recipe, raw):
        try:
            list(read_sequence(recipe, sequence))
        except SequenceSkipped:
            continue
        except HpsbenchError as error:
            said.append(str(error))
    assert len(said) == 1, "one sequence is damaged, the others are not"
    with pytest.raises(HpsbenchError, match=damage.message):
        raise HpsbenchError(said[0])
    assert str(raw) in said[0]


@pytest.mark.parametrize("dataset", list_recipes())
def test_the_table_has_every_dataset(dataset: str) -> None:
    kinds = {damage.kind for damage in TABLE if damage.dataset == dataset}
    assert {"missing key", "wrong shape", "NaN", "truncated file"} <= kinds


@pytest.mark.parametrize("dataset", list_recipes())
def test_a_damaged_sequence_stops_or_is_left_out_and_counted(
    dataset: str, damaged: Callable[[Damage], Path]
) -> None:
    damage = next(d for d in TABLE if d.dataset == dataset and d.kind == "truncated file")
    root = damaged(damage)
    with pytest.raises(HpsbenchError, match=damage.message):
        prepare(dataset, root)
    total = prepare(dataset, root, dry_run=True)
    assert 0 <= total.resumed < total.sequences
    summary = prepare(dataset, root, skip_bad=True)
    assert summary.skipped["broken"] == 1
    assert len(summary.broken) == 1
    store = open_store(summary.store)
    assert len(store.attrs["broken"]) == 1
    assert store.attrs["command"].endswith("--skip-bad")
    assert "unreadable" in {problem.kind for problem in verify(dataset, root).problems}


@pytest.mark.parametrize(
    ("dataset", "image"),
    [("pennaction", "frames/0001/000005.jpg"), ("3dpw", "imageFiles/downtown_two_00/image_00005.jpg")],
)
def test_an_annotation_without_image_is_a_warning(
    dataset: str, image: str, damaged: Callable[[Damage], Path]
) -> None:  # fmt: skip
    root = damaged(Damage(dataset, "annotation without image", lambda raw: (raw / image).unlink(), ""))
    prepare(dataset, root)
    report = verify(dataset, root)
    assert report.ok
    [found] = [problem for problem in report.problems if problem.kind == "image-missing"]
    assert image in found.text or dataset == "pennaction"


@pytest.mark.parametrize(
    ("dataset", "image"),
    [("pennaction", "frames/0001/000099.jpg"), ("posetrack", "images/train/000001_bonn_train/000099.jpg")],
)
def test_an_image_without_annotation_changes_nothing(
    dataset: str, image: str, damaged: Callable[[Damage], Path], masters: Callable[[str], Path], tmp_path: Path
) -> None:  # fmt: skip
    def add(raw: Path) -> None:
        shutil.copy(next((raw / image).parent.iterdir()), raw / image)

    one = prepare(dataset, damaged(Damage(dataset, "image without annotation", add, "")))
    (tmp_path / "sound" / "raw").mkdir(parents=True)
    (tmp_path / "sound" / "raw" / dataset).symlink_to(masters(dataset))
    other = prepare(dataset, tmp_path / "sound")
    assert one.splits == other.splits
