"""SMPL fits of Human3.6M: MoSh, SMPLify-X, NeuralAnnot."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hpsbench.errors import BrokenFile, UnsafeFile, UsageError
from hpsbench.recipes.catalog import get_recipe
from hpsbench.recipes.sequences import RawSequence, find_sequences, read_sequence
from hpsbench.types import Track

RAW: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "raw_h36m.py"))
RECIPE = get_recipe("h36m")
FRAMES = 23


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """S9 Directions 1 (action 2, subaction 1), camera 2, official layout."""
    RAW["write_metadata"](tmp_path / "metadata.xml")
    RAW["write_recording"](tmp_path, 9, 2, 1, 2, FRAMES)
    return tmp_path


def read(root: Path, **options: Any) -> Track:
    (item,) = find_sequences(RECIPE, root)
    changed = RawSequence(root=root, name=item.name, split=item.split, options={**RECIPE.options, **options})
    (track,) = read_sequence(RECIPE, changed)
    return track


def matrix(vectors: Any) -> Any:
    return Rotation.from_rotvec(vectors).as_matrix()


def write_world(root: Path, kind: str = "smpl_param", frames: Any = (0, 5, 20)) -> None:
    RAW["write_json"](root, 9, kind, {"2": {"1": {str(i): RAW["smpl"](i) for i in frames}}})


def test_without_fits_nothing_is_claimed(raw: Path) -> None:
    track = read(raw)
    assert not track.fields["has_smpl"].any()
    assert {"full_pose", "betas", "transl"}.isdisjoint(track.fields)
    assert (track.clip_info["smpl_source"], track.gender) == (None, None)


class TestJson:
    def test_fits_in_the_world_are_turned_into_the_camera_from_the_left(self, raw: Path) -> None:
        write_world(raw)
        track = read(raw)
        assert (track.clip_info["smpl_source"], track.gender) == ("smplify-x", "neutral")
        assert np.flatnonzero(track.fields["has_smpl"]).tolist() == [0, 5, 20]
        rotation, _ = RAW["extrinsics"](9, 2)
        for row in (0, 5, 20):
            want = RAW["smpl"](row)
            pose = track.fields["full_pose"][row]
            np.testing.assert_allclose(matrix(pose[:3]), rotation @ matrix(want["pose"][:3]), atol=1e-9)
            np.testing.assert_array_equal(pose[3:], want["pose"][3:])
            np.testing.assert_array_equal(track.fields["betas"][row], want["shape"])
            np.testing.assert_array_equal(track.fields["transl"][row], want["trans"])
        missing = ~track.fields["has_smpl"]
        assert all(np.isnan(track.fields[name][missing]).all() for name in ("full_pose", "betas", "transl"))

    def test_fits_per_camera_are_taken_as_they_are(self, raw: Path) -> None:
        fits = {str(i): {str(c): RAW["smpl"](i, c) for c in (1, 3)} for i in (0, 5)} | {
            "10": {"1": RAW["smpl"](10, 1)}
        }
        RAW["write_json"](raw, 9, "SMPL_NeuralAnnot", {"2": {"1": fits}})
        track = read(raw)
        assert track.clip_info["smpl_source"] == "neuralannot"
        assert np.flatnonzero(track.fields["has_smpl"]).tolist() == [0, 5]  # frame 10 has another camera's
        np.testing.assert_array_equal(track.fields["full_pose"][5], RAW["smpl"](5, 3)["pose"])
        np.testing.assert_array_equal(track.fields["transl_cam"][5], RAW["smpl"](5, 3)["trans"])
        assert "transl" not in track.fields

    def test_neuralannot_in_the_world_is_turned_too(self, raw: Path) -> None:
        write_world(raw, "SMPL_NeuralAnnot")
        track = read(raw)
        assert track.clip_info["smpl_source"] == "neuralannot"
        rotation, _ = RAW["extrinsics"](9, 2)
        want = rotation @ matrix(RAW["smpl"](5)["pose"][:3])
        np.testing.assert_allclose(matrix(track.fields["full_pose"][5, :3]), want, atol=1e-9)

    def test_fits_in_the_world_need_a_camera(self, tmp_path: Path) -> None:
        RAW["write_fetch"](tmp_path, 9, "Directions-1", {0: [1, 6, 11]})
        write_world(tmp_path)
        assert not read(tmp_path).fields["has_smpl"].any()
        RAW["write_metadata"](tmp_path / "metadata.xml")
        track = read(tmp_path)
        assert np.asarray(track.frame_id)[track.fields["has_smpl"]].tolist() == [1, 6]  # rows 0 and 5

    def test_other_trials_have_none(self, raw: Path) -> None:
        RAW["write_json"](raw, 9, "smpl_param", {"2": {"2": {"0": RAW["smpl"](0)}}})
        assert not read(raw).fields["has_smpl"].any()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"pose": [0.0] * 71}, "2/1: pose of a fit should be 72 finite numbers, found 71"),
            ({"shape": [float("nan")] * 10}, "2/1: shape of a fit should be 10 finite numbers"),
            ({"shape": None}, "2/1: a fit has no shape|2/1: shape of a fit should be"),
            ({"trans": "x"}, "2/1: a fit has no trans of 3 numbers"),
        ],
    )
    def test_a_damaged_fit_is_named(self, change: dict[str, Any], message: str, raw: Path) -> None:
        path = RAW["write_json"](raw, 9, "smpl_param", {"2": {"1": {"5": RAW["smpl"](5) | change}}})
        with pytest.raises(BrokenFile, match=message) as caught:
            read(raw)
        assert path.name in str(caught.value)


class TestMosh:
    def test_poses_are_turned_upright_and_belong_to_every_fifth_frame(self, raw: Path) -> None:
        rng = np.random.default_rng(0)
        poses, betas = rng.normal(scale=0.5, size=(4, 72)), rng.normal(size=10)
        RAW["write_mosh"](raw, 9, 2, 1, 2, poses, betas)
        write_world(raw)  # MoSh comes first
        track = read(raw)
        assert track.clip_info["smpl_source"] == "mosh"
        assert np.flatnonzero(track.fields["has_smpl"]).tolist() == [
            0,
            5,
            10,
            15,
        ]  # four rows: none for frame 20
        upside_down = np.diag([1.0, -1, -1])
        np.testing.assert_allclose(
            matrix(track.fields["full_pose"][10, :3]), matrix(poses[2, :3]) @ upside_down, atol=1e-9
        )
        np.testing.assert_array_equal(track.fields["full_pose"][10, 3:], poses[2, 3:])
        np.testing.assert_array_equal(track.fields["betas"][15], betas)
        assert "transl" not in track.fields

    @pytest.mark.parametrize("place", ["neutrMosh/S9", "neutrMosh/other/S9"])
    def test_the_folder_above_the_subjects_may_have_any_name(self, place: str, raw: Path) -> None:
        RAW["write_mosh"](raw, 9, 2, 1, 2, np.zeros((4, 72)), np.zeros(10))
        (raw / place).parent.mkdir(exist_ok=True)
        (raw / "neutrMosh/neutrSMPL_H3.6/S9").rename(raw / place)
        assert read(raw).fields["has_smpl"].sum() == 4

    def test_another_camera_has_none(self, raw: Path) -> None:
        RAW["write_mosh"](raw, 9, 2, 1, 3, np.zeros((4, 72)), np.zeros(10))
        assert not read(raw).fields["has_smpl"].any()

    def test_damaged_and_malicious_files_are_refused(self, raw: Path) -> None:
        RAW["write_mosh"](raw, 9, 2, 1, 2, np.zeros((4, 71)), np.zeros(10))
        with pytest.raises(BrokenFile, match=r"new_poses has shape \(4, 71\)"):
            read(raw)
        RAW["write_mosh"](raw, 9, 2, 1, 2, np.full((4, 72), np.nan), np.zeros(10))
        with pytest.raises(BrokenFile, match="not finite"):
            read(raw)
        path = next((raw / "neutrMosh").rglob("*.pkl"))
        path.write_bytes(RAW["python2_pickle"]({"poses": 1}))
        with pytest.raises(BrokenFile, match="expected a dictionary with new_poses and betas"):
            read(raw)
        path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
        with pytest.raises(UnsafeFile, match="system"):
            read(raw)


def test_a_source_that_nobody_knows_is_an_error_of_the_recipe(raw: Path) -> None:
    with pytest.raises(
        UsageError, match=r"options\.fits\.source 'spin' is none of mosh, smplify-x, neuralannot"
    ):
        read(raw, fits=[{"source": "spin", "files": ["x"]}])
