"""A body of SMPL's size with little in it, a small store of three tracks, and systems that know the truth."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsbench.bodies.joints import PARENTS
from hpsbench.geometry.rotations import axis_angle_to_rotmat
from hpsbench.store.feature_sets import FeatureSetWriter
from hpsbench.store.reader import ClipStore, open_store
from hpsbench.store.writer import MemoryTrack, ViewRows, write_store
from hpsbench.types import ClipInput, Inputs, Prediction, Track, WindowRule

VERTICES = 6890
VIEWS = ("all", "hmmr", "mpsnet", "spin", "tcmr", "vibe")


def rows_that_sum_to_one(rng: np.random.Generator, rows: int) -> np.ndarray:
    matrix = np.zeros((rows, VERTICES), np.float32)
    for row in matrix:
        row[rng.choice(VERTICES, 20, replace=False)] = 1 / 20
    return matrix


def body_entries(seed: int) -> dict[str, Any]:
    """What an SMPL file holds: a cloud of points, each moved by one joint, and a few small blend shapes."""
    rng = np.random.default_rng(seed)
    parents = np.array(PARENTS["smpl24"])
    weights = np.zeros((VERTICES, 24), np.float32)
    weights[np.arange(VERTICES), rng.integers(0, 24, VERTICES)] = 1
    return {
        "v_template": rng.normal(0, 0.3, (VERTICES, 3)).astype(np.float32),
        "shapedirs": rng.normal(0, 0.01, (VERTICES, 3, 10)).astype(np.float32),
        "posedirs": np.zeros((VERTICES, 3, 207), np.float32),
        "J_regressor": rows_that_sum_to_one(np.random.default_rng(9), 24),
        "weights": weights,
        "kintree_table": np.stack([np.where(parents < 0, 2**32 - 1, parents), np.arange(24)]).astype(
            np.uint32
        ),
        "f": rng.integers(0, VERTICES, (13776, 3)).astype(np.uint32),
        "synthetic": np.array(True),
    }


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with synthetic bodies and one synthetic 3DPW store. Read only."""
    root = tmp_path_factory.mktemp("evaluation_world")
    folder = root / "body_models" / "synthetic"
    folder.mkdir(parents=True)
    for seed, gender in enumerate(("NEUTRAL", "MALE", "FEMALE")):
        np.savez(folder / f"SMPL_{gender}.npz", **body_entries(seed))
    rng = np.random.default_rng(8)
    np.save(folder / "J_regressor_h36m.npy", rows_that_sum_to_one(rng, 17))
    np.save(folder / "J_regressor_extra.npy", rows_that_sum_to_one(rng, 9))
    write_test_store(root / "stores" / "3dpw.zarr", make_tracks())
    return root


def make_tracks() -> list[Track]:
    """a_00 with two people of 40 and 25 frames, two of the first not valid; b_00 with one of 10 frames."""
    return [
        make_track("a_00", 0, 40, "male", split="test", invalid=(10, 11)),
        make_track("a_00", 1, 25, "female", split="test"),
        make_track("b_00", 0, 10, "male", split="test"),
        make_track("c_00", 0, 5, "female", split="train"),
        make_track("d_00", 0, 5, "male", split="val"),
    ]


def make_track(
    sequence: str, person: int, frames: int, gender: str, *, split: str, invalid: Any = ()
) -> Track:
    rng = np.random.default_rng(frames)
    turns = axis_angle_to_rotmat(np.cumsum(rng.normal(0, 0.01, (frames, 3)), axis=0))
    extrinsics = np.tile(np.eye(4), (frames, 1, 1))
    extrinsics[:, :3, :3], extrinsics[:, 2, 3] = turns, 4
    keypoints = rng.uniform(1, 500, (frames, 18, 3))
    keypoints[..., 2] = 0.9
    keypoints[0, 5:, 2] = 0.05  # few of the first frame are visible
    keypoints[-1] = 0  # nothing was detected in the last
    valid = ~np.isin(np.arange(frames), invalid)
    fields = {
        "full_pose": rng.normal(0, 0.2, 72) + np.cumsum(rng.normal(0, 0.02, (frames, 72)), axis=0),
        "betas": np.tile(rng.normal(size=10), (frames, 1)),
        "transl": np.cumsum(rng.normal(0, 0.02, (frames, 3)), axis=0),
        "extrinsics": extrinsics,
        "valid": valid,
        "keypoints2d": keypoints,
        "joints3d": rng.normal(0, 0.3, (frames, 24, 3)),
    }
    return Track(
        sequence=sequence, person=person, split=split, frame_id=np.arange(frames), fps=30.0, gender=gender,
        width=640, height=360, fields=fields,
    )  # fmt: skip


def write_test_store(path: Path, tracks: list[Track], **attributes: Any) -> None:
    """A store with all views; `vibe` leaves frame 5 of each track out, and says why."""
    sources = []
    for track in tracks:
        boxes = np.full((len(track), 4), 100.0)
        keep = {name: np.ones(len(track), bool) for name in VIEWS}
        keep["vibe"] = np.asarray(track.frame_id) != 5
        sources.append(
            MemoryTrack.of(track, {name: ViewRows(keep=keep[name], bbox_cxcywh=boxes) for name in VIEWS})
        )
    nodes = {
        "frames/keypoints2d": {"joint_set": "3dpw18"},
        "frames/transl": {"frame": "world"},
        "frames/joints3d": {"joint_set": "smpl24"},
        "views/vibe": {"counts": {"test": {"rows": 75, "kept": 72, "tracks": 3, "too-few-visible": 3}}},
    }
    write_store(path, sources, attributes={"dataset": "3dpw", "synthetic": True, **attributes}, nodes=nodes)


@pytest.fixture
def raw_tracks() -> list[Track]:
    """The tracks of the small store, to be changed and written again."""
    return make_tracks()


@pytest.fixture
def store(world: Path) -> ClipStore:
    return open_store(world / "stores" / "3dpw.zarr")


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., ClipStore]:
    """A store of its own, to be changed: `make_store(tracks=..., synthetic=False)`."""

    def make(tracks: list[Track] | None = None, **attributes: Any) -> ClipStore:
        path = tmp_path / "stores" / "3dpw.zarr"
        write_test_store(path, make_tracks() if tracks is None else tracks, **attributes)
        return open_store(path)

    return make


@pytest.fixture
def add_features() -> Callable[..., ClipStore]:
    """Adds a feature set of zeros to a store that may be changed."""

    def add(
        store: ClipStore, name: str, *, dim: int = 8, corruption: Any = None, **attributes: Any
    ) -> ClipStore:
        rows = np.flatnonzero(store.views["tcmr"].keep)
        known = {
            "extractor": name.split("-")[0],
            "weights_sha256": "f" * 64,
            "view": "tcmr",
            "crop_scale": 1.3,
        }
        attrs = {**known, "corruption": corruption, **attributes}
        writer = FeatureSetWriter.create(store.path, name, rows=rows, dim=dim, attrs=attrs)
        for chunk in writer.open_chunks():
            writer.write(chunk, np.zeros((len(writer.rows_of(chunk)), dim), np.float32))
        writer.finish()
        return store

    return add


@dataclass
class Truth:
    """A system that says what the store says; `change` may spoil it."""

    store: ClipStore
    change: Callable[[dict[str, np.ndarray]], dict[str, Any]] = field(default=lambda fields: fields)
    inputs: Inputs = field(default_factory=Inputs)
    context: WindowRule | None = None
    name: str = "truth"
    seen: list[ClipInput] = field(default_factory=list)

    def predict(self, clip: ClipInput) -> Prediction:
        self.seen.append(clip)
        track = next(track for track in self.store.tracks() if track.track == clip.track)
        frames = self.store.frames["frame_id"][track.rows]
        rows = track.rows[np.searchsorted(frames, clip.frame_id)]
        pose = self.store.frames["full_pose"][rows]
        fields = {
            "rows": np.arange(clip.length),
            "rotmat": axis_angle_to_rotmat(pose.reshape(-1, 24, 3)),
            "betas": self.store.frames["betas"][rows],
        }
        return Prediction(**self.change(fields))


@pytest.fixture
def truth(store: ClipStore) -> Truth:
    return Truth(store)
