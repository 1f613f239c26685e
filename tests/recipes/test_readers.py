"""The 3DPW and AMASS readers, trap by trap."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hpsbench.errors import BrokenFile, UnsafeFile, UsageError
from hpsbench.recipes.catalog import get_recipe
from hpsbench.recipes.readers import amass, threedpw
from hpsbench.recipes.readers._jpeg import jpeg_size
from hpsbench.recipes.sequences import RawSequence, SequenceSkipped, find_sequences
from hpsbench.types import Track

OPTIONS = {"rate_divisor": 25, "min_frames": 60}
SAMPLE = Path(__file__).parents[3] / "shared" / "samples" / "amass_sample.npz"


def read_threedpw(raw: Path, name: str = "sequenceFiles/test/downtown_two_00.pkl") -> list[Track]:
    return list(threedpw.read_sequence(RawSequence(root=raw, name=name, split="test", fps=30.0)))


def read_amass(raw: Path, name: str) -> Track:
    (track,) = amass.read_sequence(RawSequence(root=raw, name=name, split="train", options=OPTIONS))
    return track


def edit(raw: Path, change: Callable[[dict[str, Any]], None], raw_files: dict[str, Any]) -> None:
    path = raw / "sequenceFiles" / "test" / "downtown_two_00.pkl"
    document = raw_files["threedpw_document"](
        "downtown_two_00", 40, [{"undetected": [0, 1]}, {"gender": "f", "betas": 16}]
    )
    change(document)
    path.write_bytes(raw_files["python2_pickle"](document))


class TestThreeDPW:
    def test_the_fixture_is_a_python_2_pickle(self, make_raw: Callable[..., Path]) -> None:
        data = (make_raw("3dpw") / "sequenceFiles/test/downtown_two_00.pkl").read_bytes()
        assert "poses" in pickle.loads(data, encoding="latin1")
        with pytest.raises(UnicodeDecodeError):
            pickle.loads(data)

    def test_every_image_is_a_row_with_its_own_number(self, make_raw: Callable[..., Path]) -> None:
        tracks = read_threedpw(make_raw("3dpw"))
        assert [t.key for t in tracks] == ["downtown_two_00_0", "downtown_two_00_1"]
        assert [t.gender for t in tracks] == ["male", "female"]
        for track in tracks:
            np.testing.assert_array_equal(track.frame_id, np.arange(40))
            assert (track.width, track.height, track.fps) == (640, 360, 30.0)
            assert track.image_source is not None
            assert track.image_source.format(frame_id=7) == "imageFiles/downtown_two_00/image_00007.jpg"

    def test_the_root_turns_into_the_camera_from_the_left(
        self, make_raw: Callable[..., Path], raw_files: dict[str, Any]
    ) -> None:
        raw = make_raw("3dpw")
        document = raw_files["threedpw_document"]("downtown_two_00", 40, [{}, {}])
        edit(raw, lambda d: d.update(document), raw_files)
        track = read_threedpw(raw)[1]
        want = (
            document["cam_poses"][:, :3, :3] @ Rotation.from_rotvec(document["poses"][1][:, :3]).as_matrix()
        )
        got = Rotation.from_rotvec(track.fields["full_pose"][:, :3]).as_matrix()
        np.testing.assert_allclose(got, want, atol=1e-9)
        np.testing.assert_array_equal(track.fields["full_pose"][:, 3:], document["poses"][1][:, 3:])
        np.testing.assert_array_equal(track.fields["transl"], document["trans"][1])

    def test_joints_land_on_their_keypoints(
        self, make_raw: Callable[..., Path], raw_files: dict[str, Any]
    ) -> None:
        fields = read_threedpw(make_raw("3dpw"))[1].fields
        image = np.einsum("tij,tkj->tki", fields["intrinsics"], fields["joints3d"])
        pixels = (image[..., :2] / image[..., 2:])[:, raw_files["NEAREST"]]
        np.testing.assert_allclose(pixels[:, :14], fields["keypoints2d"][:, :14, :2], atol=1e-6)
        assert fields["keypoints2d"].shape == (40, 18, 3)

    def test_confidences_and_flags_are_raw(self, make_raw: Callable[..., Path]) -> None:
        first, second = (track.fields for track in read_threedpw(make_raw("3dpw")))
        assert second["keypoints2d"][[0, 1, 5], 0, 2].tolist() == [0.2, 0.9, 0.2]
        assert np.flatnonzero(~first["valid"]).tolist() == [30, 31, 32]
        assert first["valid"].dtype == bool

    def test_long_betas_are_cut_and_tiled(
        self, make_raw: Callable[..., Path], raw_files: dict[str, Any]
    ) -> None:
        raw = make_raw("3dpw")
        edit(raw, lambda d: None, raw_files)
        betas = read_threedpw(raw)[1].fields["betas"]
        assert betas.shape == (40, 10)
        assert (betas == betas[0]).all()

    def test_the_names_of_the_readme_are_read_too(
        self, make_raw: Callable[..., Path], raw_files: dict[str, Any]
    ) -> None:
        def rename(document: dict[str, Any]) -> None:
            document["poses2D"], document["gender"] = document.pop("poses2d"), document.pop("genders")

        raw = make_raw("3dpw")
        before = [t.fields["keypoints2d"] for t in read_threedpw(raw)]
        edit(raw, rename, raw_files)
        after = read_threedpw(raw)
        assert after[1].gender == "female"
        assert after[0].fields["keypoints2d"].shape == before[0].shape

    def test_reading_twice_gives_the_same(self, make_raw: Callable[..., Path]) -> None:
        raw = make_raw("3dpw")
        for first, second in zip(read_threedpw(raw), read_threedpw(raw), strict=True):
            for name, values in first.fields.items():
                np.testing.assert_array_equal(values, second.fields[name])

    def test_without_images_the_size_is_unknown(self, tmp_path: Path, raw_files: dict[str, Any]) -> None:
        raw_files["write_threedpw"](tmp_path, images=False)
        track = read_threedpw(tmp_path)[0]
        assert (track.width, track.height) == (None, None)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda d: d.pop("cam_poses"), "key 'cam_poses' is missing"),
            (lambda d: d["betas"].pop(), "'betas' should be a list of 2 people"),
            (
                lambda d: d["poses"].__setitem__(1, d["poses"][1][:-1]),
                r"poses\[1\] should have shape \(40, 72\)",
            ),
            (lambda d: d["poses2d"].__setitem__(0, np.zeros((40, 18, 3))), r"poses2d\[0\] should have shape"),
            (lambda d: d["campose_valid"].__setitem__(0, np.ones(39)), r"campose_valid\[0\] has 39 entries"),
            (lambda d: d["betas"].__setitem__(0, np.ones(9)), r"betas\[0\] has 9 numbers"),
            (lambda d: d["genders"].__setitem__(0, "x"), "gender 'x'"),
            (lambda d: d.__setitem__("img_frame_ids", np.arange(0)), "no images"),
        ],
    )
    def test_a_wrong_file_names_the_key(
        self, change: Any, message: str, make_raw: Callable[..., Path], raw_files: dict[str, Any]
    ) -> None:
        raw = make_raw("3dpw")
        edit(raw, change, raw_files)
        with pytest.raises(BrokenFile, match=message) as caught:
            read_threedpw(raw)
        assert "downtown_two_00.pkl" in str(caught.value)

    def test_a_truncated_or_malicious_file_is_refused(self, make_raw: Callable[..., Path]) -> None:
        raw = make_raw("3dpw")
        path = raw / "sequenceFiles" / "test" / "downtown_two_00.pkl"
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(BrokenFile, match=r"downtown_two_00\.pkl"):
            read_threedpw(raw)
        path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
        with pytest.raises(UnsafeFile, match="system"):
            read_threedpw(raw)

    def test_an_image_that_is_no_jpeg_is_named(self, make_raw: Callable[..., Path]) -> None:
        raw = make_raw("3dpw")
        path = raw / "imageFiles" / "downtown_two_00" / "image_00000.jpg"
        path.write_bytes(path.read_bytes()[:12])
        with pytest.raises(BrokenFile, match="truncated JPEG"):
            read_threedpw(raw)
        path.write_bytes(b"\x89PNG")
        with pytest.raises(BrokenFile, match="not a JPEG"):
            read_threedpw(raw)


class TestAMASS:
    def test_smplh_is_read_by_vibes_rule(self, make_raw: Callable[..., Path]) -> None:
        raw = make_raw("amass")
        name = "ACCAD/Female1General_c3d/A1 - Stand_poses.npz"
        track, held = read_amass(raw, name), np.load(raw / name)
        assert (track.key, track.gender) == ("ACCAD_Female1General_c3d_A1 - Stand_poses_0", "female")
        assert (track.fps, track.subject) == (30.0, "Female1General_c3d")
        np.testing.assert_array_equal(track.frame_id, np.arange(0, 256, 4))
        poses = held["poses"][::4].reshape(64, 52, 3)
        want = poses[:, [*range(22), 22, 37]].reshape(64, 72)
        np.testing.assert_array_equal(track.fields["full_pose"], want)
        np.testing.assert_array_equal(track.fields["hand_pose"], poses[:, 22:].reshape(64, 90))
        np.testing.assert_array_equal(track.fields["betas"], np.tile(held["betas"][:10], (64, 1)))
        np.testing.assert_array_equal(track.fields["transl"], held["trans"][::4])
        assert "jaw_pose" not in track.fields

    def test_smplx_takes_other_hand_joints(self, make_raw: Callable[..., Path]) -> None:
        raw = make_raw("amass")
        track, held = (
            read_amass(raw, "SSM/20160330/push_stageii.npz"),
            np.load(raw / "SSM/20160330/push_stageii.npz"),
        )
        poses = held["poses"][::4].reshape(65, 55, 3)
        want = poses[:, [*range(22), 25, 40]].reshape(65, 72)
        np.testing.assert_array_equal(track.fields["full_pose"], want)
        np.testing.assert_array_equal(track.fields["hand_pose"], poses[:, 25:].reshape(65, 90))
        np.testing.assert_array_equal(track.fields["jaw_pose"], poses[:, 22])
        np.testing.assert_array_equal(track.fields["eye_pose"], poses[:, 23:25].reshape(65, 6))
        assert track.clip_info["source_body"] == "smplx"

    @pytest.mark.parametrize(
        ("rate", "step", "fps"),
        [
            (120.0, 4, 30.0),
            (60, 2, 30.0),
            (100.0, 4, 25.0),
            (150.0, 6, 25.0),
            (250.0, 10, 25.0),
            (99.99, 3, 33.33),
        ],
    )
    def test_step_is_the_whole_rate_over_25(
        self, rate: float, step: int, fps: float, tmp_path: Path, raw_files: dict[str, Any]
    ) -> None:
        (tmp_path / "CMU" / "1").mkdir(parents=True)
        np.savez(tmp_path / "CMU/1/x_poses.npz", **raw_files["amass_arrays"](60 * step, rate))
        track = read_amass(tmp_path, "CMU/1/x_poses.npz")
        assert track.frame_id[1] == step
        assert track.fps == pytest.approx(fps)

    def test_a_root_that_goes_round_and_round_is_radians(
        self, make_raw: Callable[..., Path], tmp_path: Path
    ) -> None:
        """The dancer of a motion file ends three turns further; the same rotations, so nothing is refused."""
        name = "CMU/01/01_01_poses.npz"
        arrays = dict(np.load(make_raw("amass") / name))
        arrays["poses"][:, 1] += 6 * np.pi
        path = tmp_path / "spun" / name
        path.parent.mkdir(parents=True)
        np.savez(path, **arrays)
        assert read_amass(tmp_path / "spun", name).fields["full_pose"][:, 1].min() > 5 * np.pi

    def test_motions_that_the_rule_leaves_out_say_why(self, make_raw: Callable[..., Path]) -> None:
        raw = make_raw("amass")
        with pytest.raises(SequenceSkipped, match="24 frames a second") as slow:
            read_amass(raw, "HumanEva/S1/Walking_1_poses.npz")
        assert slow.value.reason == "rate-too-low"
        with pytest.raises(SequenceSkipped, match="59 frames at 30 fps") as short:
            read_amass(raw, "ACCAD/Female1General_c3d/A2_poses.npz")
        assert short.value.reason == "too-short"

    def test_stray_files_are_no_sequences(self, make_raw: Callable[..., Path]) -> None:
        names = {raw.name for raw in find_sequences(get_recipe("amass"), make_raw("amass"))}
        assert len(names) == 6
        assert not any("shape" in name or "stagei." in name or name.count("/") != 2 for name in names)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"poses": np.zeros((300, 72))}, r"poses has shape \(300, 72\)"),
            ({"trans": np.zeros((299, 3))}, r"trans has shape \(299, 3\) for 300 poses"),
            ({"trans": np.full((300, 3), "x")}, "trans has the type <U1"),
            ({"betas": np.zeros(8)}, "betas has 8 numbers"),
            ({"gender": np.array("unknown")}, "gender 'unknown'"),
            ({"mocap_framerate": np.array(np.nan)}, "frame rate is"),
            ({"mocap_framerate": None}, "mocap_framerate missing"),
            ({"poses": None}, "poses missing"),
        ],
    )
    def test_a_wrong_file_names_the_key(
        self, change: dict[str, Any], message: str, tmp_path: Path, raw_files: dict[str, Any]
    ) -> None:
        (tmp_path / "CMU" / "1").mkdir(parents=True)
        arrays = raw_files["amass_arrays"](300) | change
        np.savez(tmp_path / "CMU/1/x_poses.npz", **{k: v for k, v in arrays.items() if v is not None})
        with pytest.raises(BrokenFile, match=message) as caught:
            read_amass(tmp_path, "CMU/1/x_poses.npz")
        assert "x_poses.npz" in str(caught.value)

    def test_a_truncated_file_is_broken(self, make_raw: Callable[..., Path]) -> None:
        raw = make_raw("amass")
        path = raw / "CMU/01/01_01_poses.npz"
        path.write_bytes(path.read_bytes()[:500])
        with pytest.raises(BrokenFile, match="truncated"):
            read_amass(raw, "CMU/01/01_01_poses.npz")

    def test_options_must_be_in_the_recipe(self, make_raw: Callable[..., Path]) -> None:
        raw = RawSequence(root=make_raw("amass"), name="CMU/01/01_01_poses.npz", split="train")
        with pytest.raises(UsageError, match=r"options\.rate_divisor"):
            list(amass.read_sequence(raw))

    @pytest.mark.samples
    @pytest.mark.skipif(not SAMPLE.exists(), reason="the shared sample files are not here")
    def test_a_real_motion(self, tmp_path: Path) -> None:
        (tmp_path / "ACCAD" / "s").mkdir(parents=True)
        (tmp_path / "ACCAD/s/real_poses.npz").write_bytes(SAMPLE.read_bytes())
        track = read_amass(tmp_path, "ACCAD/s/real_poses.npz")
        poses = np.load(SAMPLE)["poses"][::4].reshape(151, 52, 3)
        assert (len(track), track.fps, track.gender) == (151, 30.0, "male")
        np.testing.assert_array_equal(
            track.fields["full_pose"].reshape(151, 24, 3), poses[:, [*range(23), 37]]
        )


@pytest.mark.parametrize(("width", "height"), [(640, 360), (33, 7)])
def test_jpeg_size_is_width_and_height(width: int, height: int, tmp_path: Path) -> None:
    import cv2

    for extension in (".jpg", ".jpeg"):
        path = tmp_path / f"x{extension}"
        cv2.imwrite(str(path), np.zeros((height, width, 3), np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
        assert jpeg_size(path) == (width, height)
