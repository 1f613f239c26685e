"""The synthetic AMASS looks like the real one: keys, types, both releases, and the files about VIBE's rules."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsbench.synth.amass import MotionFile, motion_content, motion_files, plan, write

OLD_KEYS = {"poses", "gender", "mocap_framerate", "betas", "dmpls", "trans"}
NEW_KEYS = {
    "gender", "surface_model_type", "mocap_frame_rate", "mocap_time_length", "trans", "poses", "betas", "num_betas",
    "root_orient", "pose_body", "pose_hand", "pose_jaw", "pose_eye",
}  # fmt: skip


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[MotionFile]]:
    root = tmp_path_factory.mktemp("amass")
    return root, write(root, "tiny", seed=3)


def load(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def test_every_file_is_there_and_no_other_is_a_motion(raw: tuple[Path, list[MotionFile]]) -> None:
    root, files = raw
    found = {path.relative_to(root).as_posix() for path in root.rglob("*.npz")}
    others = found - {file.name for file in files}
    assert {file.name for file in files} <= found
    assert {name.rpartition("/")[2] for name in others} == {"shape.npz", "neutral_stagei.npz"}
    assert not list(root.rglob("*.part"))


def test_the_old_layout_has_its_keys_and_types(raw: tuple[Path, list[MotionFile]]) -> None:
    root, files = raw
    for file in (f for f in files if f.layout == "smplh"):
        arrays = load(root / file.name)
        assert set(arrays) == OLD_KEYS
        shapes = {
            "poses": (file.frames, 156),
            "betas": (16,),
            "dmpls": (file.frames, 8),
            "trans": (file.frames, 3),
        }
        for name, shape in shapes.items():
            assert (arrays[name].shape, arrays[name].dtype) == (shape, np.float64)
            assert np.isfinite(arrays[name]).all()
        assert arrays["mocap_framerate"] == file.rate
        assert arrays["gender"].shape == ()
        assert arrays["gender"].dtype.kind == ("S" if file.bytes_gender else "U")


def test_the_new_layout_repeats_its_parts(raw: tuple[Path, list[MotionFile]]) -> None:
    root, files = raw
    for file in (f for f in files if f.layout == "smplx"):
        arrays = load(root / file.name)
        assert set(arrays) == NEW_KEYS
        assert arrays["poses"].shape == (file.frames, 165)
        parts = ["root_orient", "pose_body", "pose_jaw", "pose_eye", "pose_hand"]
        np.testing.assert_array_equal(
            np.concatenate([arrays[name] for name in parts], axis=1), arrays["poses"]
        )
        np.testing.assert_allclose(arrays["mocap_time_length"], file.frames / file.rate)
        assert str(arrays["surface_model_type"]) == "smplx"


def test_the_known_traps_are_all_there(raw: tuple[Path, list[MotionFile]]) -> None:
    files = {file.name.rpartition("/")[2]: file for file in raw[1]}
    assert any(" -  " in name for name in files)
    assert 120.00004577636719 in {file.rate for file in files.values()}
    assert {file.layout for file in files.values()} == {"smplh", "smplx"}
    assert {file.bytes_gender for file in files.values()} == {False, True}
    kept = {"01_60_poses.npz": 60, "01_59_poses.npz": 0, "01_30_poses.npz": 0, "01_24_poses.npz": 0}
    assert {name: files[name].kept for name in kept} == kept
    assert len(range(0, files["01_60_poses.npz"].frames, 4)) == 60
    assert len(range(0, files["01_59_poses.npz"].frames, 4)) == 59


@pytest.mark.parametrize(("size", "low", "high"), [("tiny", 64, 80), ("small", 120, 120), ("full", 300, 900)])
def test_sizes_keep_as_many_frames_as_promised(size: str, low: int, high: int) -> None:
    files = [f for f in motion_files(size) if not f.name.rpartition("/")[2].startswith("01_") or f.kept > 60]
    assert all(low <= file.kept <= high for file in files)
    counts = {split: sum(file.split == split for file in files) for split in ("train", "val", "test")}
    assert tuple(counts.values()) == {"tiny": (2, 2, 2), "small": (12, 4, 8), "full": (24, 12, 24)}[size]
    assert plan(size) == [(file.split, file.frames) for file in motion_files(size)]
    assert len({file.name for file in motion_files(size)}) == len(motion_files(size))


def test_people_stand_upright_in_a_world_whose_z_points_up(raw: tuple[Path, list[MotionFile]]) -> None:
    root, files = raw
    walk = load(root / next(f.name for f in files if f.name.startswith("ACCAD")))
    heights = walk["trans"][:, 2]
    assert 0.4 < np.median(heights + 0.225) + 0.1 < 2.2  # SMPL's root joint lies lower than `trans`
    from scipy.spatial.transform import Rotation

    up = Rotation.from_rotvec(walk["poses"][:, :3]).apply([0.0, 1.0, 0.0])
    assert np.median(up[:, 2]) > 0.8


def test_a_second_run_changes_nothing_and_a_lost_file_comes_back_the_same(tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    files = write(tmp_path, "tiny", seed=1, progress=lambda *state: seen.append(state))
    assert seen[-1][0] == seen[-1][1] == sum(file.frames for file in files)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.npz")}
    (tmp_path / files[0].name).unlink()
    (tmp_path / files[-1].name).unlink()
    write(tmp_path, "tiny", seed=1)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.npz")} == before


def test_seeds_and_files_differ() -> None:
    file = motion_files("tiny")[0]
    one, other = (motion_content(file, "tiny", seed, 0)["poses"] for seed in (0, 1))
    assert one.shape == other.shape
    assert np.abs(one - other).max() > 0.1
