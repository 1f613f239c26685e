"""A view that counts its frames through the whole dataset: SPIN's training frames of MPI-INF-3DHP."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsbench.pipeline.prepare import prepare
from hpsbench.pipeline.verify import verify
from hpsbench.store.reader import ClipStore, open_store

RAW: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "recipes" / "raw_mpi_inf_3dhp.py"))
CAMERAS = (0, 1, 2, 4, 5, 6, 7, 8)


@pytest.fixture
def root(tmp_path: Path, raw_files: dict[str, Any]) -> Path:
    raw = tmp_path / "root" / "raw" / "mpi-inf-3dhp"
    raw.mkdir(parents=True)
    for subject, sequence, frames in (("S1", "Seq1", 24), ("S1", "Seq2", 13), ("S2", "Seq1", 7)):
        RAW["write_train_sequence"](raw, subject, sequence, frames, RAW["EDGES"] if frames == 24 else {})
    RAW["write_test_sequence"](raw, "TS1")
    raw_files["mark_synthetic"](raw, "mpi-inf-3dhp")
    return tmp_path / "root"


def kept(store: ClipStore, view: str, split: str) -> dict[str, list[int]]:
    """Track -> numbers of the frames that a view keeps."""
    keep, frame_id = store.views[view].keep, np.asarray(store.frames["frame_id"])
    return {
        t.track: frame_id[t.rows][keep[t.rows]].tolist()
        for t in store.tracks(split)
        if keep[t.rows].any() or t.track.startswith("TS")
    }


def as_spin_counts() -> dict[str, list[int]]:
    """Frame by frame as SPIN's converter goes: a frame with a joint outside is passed over, of the others one in ten."""
    counter, taken = 0, {}
    for name, frames in (("S1_Seq1", 24), ("S1_Seq2", 13), ("S2_Seq1", 7)):
        for camera in CAMERAS:
            for number in range(1, frames + 1):
                if (name, camera) == ("S1_Seq1", 0) and number in (6, 10):
                    continue
                counter += 1
                if counter % 10 == 1:
                    taken.setdefault(f"{name}_video_{camera}_0", []).append(number)
    return taken


def test_every_tenth_frame_is_counted_through_all_training_tracks(root: Path) -> None:
    prepare("mpi-inf-3dhp", root)
    store = open_store(root / "stores" / "mpi-inf-3dhp.zarr")
    want = as_spin_counts()
    assert kept(store, "spin", "train") == want
    counts = store.views["spin"].attrs["counts"]["train"]
    assert counts["kept"] == sum(map(len, want.values())) == 35
    assert counts["tracks"] == len(want)
    assert counts["joint-outside-image"] == 2
    assert counts["rows"] == 14 * (24 + 13 + 7)
    assert counts["rows"] == sum(n for key, n in counts.items() if key not in ("rows", "tracks"))


def test_the_test_set_and_other_views_are_not_thinned(root: Path) -> None:
    prepare("mpi-inf-3dhp", root)
    store = open_store(root / "stores" / "mpi-inf-3dhp.zarr")
    assert kept(store, "spin", "test") == {"TS1_0": [3, 7, 11, 15, 19]}
    assert "thinned" not in store.views["spin"].attrs["counts"]["test"]
    assert len(kept(store, "tcmr", "train")["S2_Seq1_video_8_0"]) == 7
    assert [problem for problem in verify("mpi-inf-3dhp", root).problems if problem.severity == "error"] == []


def test_workers_and_damaged_sequences_change_nothing_but_the_count(root: Path, tree: Any) -> None:
    prepare("mpi-inf-3dhp", root)
    store = root / "stores" / "mpi-inf-3dhp.zarr"
    alone = tree(store)
    store.rename(root / "alone.zarr")
    prepare("mpi-inf-3dhp", root, workers=2)
    assert tree(store) == alone
    store.rename(root / "two.zarr")
    (root / "raw/mpi-inf-3dhp/S1/Seq1/annot.mat").write_bytes(b"damaged")
    prepare("mpi-inf-3dhp", root, skip_bad=True)
    left = kept(open_store(store), "spin", "train")
    assert left["S1_Seq2_video_0_0"] == [1, 11]
    assert left["S1_Seq2_video_1_0"] == [8]
