"""The synthetic 3DPW looks like the real one, holds what it was made from, and has the defects of its plan."""

import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

from hpsbench.bodies.smpl import load_bodies
from hpsbench.recipes.catalog import get_recipe
from hpsbench.recipes.sequences import find_sequences, read_sequence
from hpsbench.recipes.views import view_track
from hpsbench.synth import threedpw
from hpsbench.synth.body import write_body_models
from hpsbench.synth.defects import Run
from hpsbench.synth.threedpw_content import TrackTruth, make_sequence, track_truth
from hpsbench.synth.threedpw_plan import PersonPlan, SequencePlan, sequence_plans

GENDERS = {"m": "male", "f": "female"}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("raw") / "3dpw"
    threedpw.write(root, "tiny", seed=0)
    return root


@pytest.fixture(scope="module")
def truth() -> dict[str, TrackTruth]:
    return {track.key: track for track in track_truth("tiny", 0)}


def annotation_files(root: Path) -> list[Path]:
    return sorted(root.glob("sequenceFiles/*/*.pkl"))


def load(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        content: dict[str, Any] = pickle.load(file, encoding="latin1")
    return content


def test_the_folders_are_those_of_the_release(raw: Path) -> None:
    plans = sequence_plans("tiny")
    assert {path.name for path in (raw / "sequenceFiles").iterdir()} == {"train", "validation", "test"}
    assert {path.stem for path in annotation_files(raw)} == {plan.name for plan in plans}
    for plan in plans:
        images = sorted(path.name for path in (raw / "imageFiles" / plan.name).iterdir())
        assert images == [f"image_{index:05d}.jpg" for index in range(plan.frames)]


def test_the_pickles_are_those_of_python_2(raw: Path) -> None:
    for path in annotation_files(raw):
        data = path.read_bytes()
        opcodes = {opcode.name for opcode, _, _ in pickletools.genops(data)}
        assert {"SHORT_BINSTRING", "BINSTRING"} <= opcodes
        assert not {name for name in opcodes if "UNICODE" in name or "BINBYTES" in name}
        with pytest.raises(UnicodeDecodeError):
            pickle.loads(data)
        assert all(type(key) is str for key in pickle.loads(data, encoding="latin1"))
        assert all(type(key) is bytes for key in pickle.loads(data, encoding="bytes"))


def test_keys_types_and_shapes_are_those_of_the_release(raw: Path) -> None:
    keys = {
        "sequence", "betas", "poses", "trans", "poses_60Hz", "trans_60Hz", "betas_clothed", "v_template_clothed",
        "genders", "texture_maps", "poses2d", "jointPositions", "img_frame_ids", "cam_poses", "campose_valid",
        "cam_intrinsics",
    }  # fmt: skip
    for plan in sequence_plans("tiny"):
        document = load(raw / "sequenceFiles" / plan.split / f"{plan.name}.pkl")
        assert set(document) == keys
        assert document["sequence"] == plan.name
        frames, fast = plan.frames, len(document["poses_60Hz"][0])
        assert fast > 2 * frames
        shapes = {
            "poses": (frames, 72), "trans": (frames, 3), "poses_60Hz": (fast, 72), "trans_60Hz": (fast, 3),
            "betas_clothed": (10,), "v_template_clothed": (6890, 3), "poses2d": (frames, 3, 18),
            "jointPositions": (frames, 72),
        }  # fmt: skip
        for key, shape in shapes.items():
            assert type(document[key]) is list
            for values in document[key]:
                assert (values.shape, values.dtype) == (shape, np.float64), key
                assert np.isfinite(values).all()
        assert all(
            len(document[key]) == len(plan.people) for key in [*shapes, "betas", "genders", "texture_maps"]
        )
        assert (document["cam_poses"].shape, document["cam_intrinsics"].shape) == ((frames, 4, 4), (3, 3))
        assert document["img_frame_ids"].dtype.kind == "i"
        assert all(set(np.unique(valid)) <= {0, 1} for valid in document["campose_valid"])
        assert all(gender in GENDERS for gender in document["genders"])


def test_the_image_rows_are_rows_of_the_60_hz_arrays(raw: Path) -> None:
    for path in annotation_files(raw):
        document = load(path)
        rows = document["img_frame_ids"]
        assert rows[0] > 0
        for person in range(len(document["poses"])):
            np.testing.assert_array_equal(document["poses_60Hz"][person][rows], document["poses"][person])
            np.testing.assert_array_equal(document["trans_60Hz"][person][rows], document["trans"][person])


def test_joint_positions_are_those_of_the_gendered_body(raw: Path, tmp_path: Path) -> None:
    write_body_models(tmp_path)
    bodies = load_bodies(tmp_path, synthetic=True)
    for path in annotation_files(raw)[:3]:
        document = load(path)
        for person, gender in enumerate(document["genders"]):
            body = getattr(bodies, GENDERS[gender])
            betas = np.tile(document["betas"][person][:10], (len(document["poses"][person]), 1))
            joints = body.joints(document["poses"][person], betas, document["trans"][person]).numpy()
            np.testing.assert_allclose(joints.reshape(-1, 72), document["jointPositions"][person], atol=2e-4)


def test_the_camera_moves_and_is_rigid(raw: Path) -> None:
    for path in annotation_files(raw):
        poses = load(path)["cam_poses"]
        assert np.abs(np.diff(poses, axis=0)).max(axis=(1, 2)).min() > 0
        turn = poses[:, :3, :3]
        np.testing.assert_allclose(
            turn @ turn.transpose(0, 2, 1), np.tile(np.eye(3), (len(turn), 1, 1)), atol=1e-9
        )
        np.testing.assert_allclose(np.linalg.det(turn), 1)
        np.testing.assert_array_equal(poses[:, 3], np.tile([0, 0, 0, 1], (len(poses), 1)))


def test_detections_lie_near_the_joints_they_name(raw: Path) -> None:
    pairs = {2: 17, 3: 19, 4: 21, 5: 16, 6: 18, 7: 20, 8: 2, 9: 5, 10: 8, 11: 1, 12: 4, 13: 7}
    for path in annotation_files(raw):
        document = load(path)
        for person, valid in enumerate(document["campose_valid"]):
            joints = document["jointPositions"][person].reshape(-1, 24, 3)
            turn, shift = document["cam_poses"][:, :3, :3], document["cam_poses"][:, :3, 3]
            seen = np.einsum("tab,tjb->tja", turn, joints) + shift[:, None]
            pixels = seen @ document["cam_intrinsics"].T
            pixels = pixels[..., :2] / pixels[..., 2:]
            found = document["poses2d"][person].transpose(0, 2, 1)
            for row, joint in pairs.items():
                usable = (found[:, row, 2] > 0) & (valid == 1)
                error = np.linalg.norm(found[usable, row, :2] - pixels[usable, joint], axis=1)
                assert error.max(initial=0) < 20
                assert usable.sum() == 0 or np.median(error) < 5
            assert (found[found[..., 2] == 0] == 0).all()


def test_wrong_cameras_are_marked(raw: Path, truth: dict[str, TrackTruth]) -> None:
    for path in annotation_files(raw):
        document = load(path)
        for person, valid in enumerate(document["campose_valid"]):
            joints = document["jointPositions"][person].reshape(-1, 24, 3)
            turn, shift = document["cam_poses"][:, :3, :3], document["cam_poses"][:, :3, 3]
            seen = np.einsum("tab,tjb->tja", turn, joints) + shift[:, None]
            error = np.linalg.norm(seen - truth[f"{path.stem}_{person}"].joints_cam, axis=-1).max(axis=1)
            assert error[valid == 1].max() < 1e-9
            everybody = np.all([other == 0 for other in document["campose_valid"]], axis=0)
            assert (error[everybody] > 0.05).all()


def test_the_test_split_has_every_defect_where_the_plan_says(raw: Path, truth: dict[str, TrackTruth]) -> None:
    plan = next(
        plan for plan in sequence_plans("tiny") if plan.split == "test" and len(plan.people[0].runs) > 2
    )
    document = load(raw / "sequenceFiles" / "test" / f"{plan.name}.pkl")
    limbs = (document["poses2d"][0][:, 2, 2:14] > 0.3).sum(axis=1)
    found = (document["poses2d"][0][:, 2] > 0).sum(axis=1)
    assert (found[[0, 1, 10, 11]] == 0).all()
    assert limbs[15] == 6
    assert limbs[18] == 7
    assert (limbs[22:26] == 5).all()
    assert (found[22:26] >= 6).all()
    special = [0, 1, 10, 11, 15, 18, 22, 23, 24, 25]
    assert np.delete(limbs, special).min() >= 8
    assert np.flatnonzero(document["campose_valid"][0] == 0).tolist() == [30, 31, 32, 33]
    assert len(document["betas"][0]) == 16
    assert len(document["poses"]) == 2
    detected = sorted(int(track.detected.sum()) for track in truth.values())
    assert detected[:2] == [0, 5]
    assert truth[f"{plan.name}_0"].limbs.tolist() == limbs.tolist()


def test_frames_with_fewer_than_six_detections_are_all_zero(raw: Path) -> None:
    for path in annotation_files(raw):
        for poses2d in load(path)["poses2d"]:
            found = (poses2d[:, 2] > 0).sum(axis=1)
            assert not ((found > 0) & (found < 6)).any()
            assert (poses2d[found == 0] == 0).all()


def test_the_reader_and_the_views_find_the_truth(raw: Path, truth: dict[str, TrackTruth]) -> None:
    recipe = get_recipe("3dpw")
    kept: dict[tuple[str, str], int] = {}
    seen = set()
    for source in find_sequences(recipe, raw):
        for track in read_sequence(recipe, source):
            known = truth[track.key]
            seen.add(track.key)
            assert (track.split, track.width, track.height) == (known.split, 640, 360)
            good = known.camera_valid
            np.testing.assert_array_equal(track.fields["valid"], good)
            np.testing.assert_allclose(track.fields["joints3d"][good], known.joints_cam[good], atol=1e-9)
            for name in ("tcmr", "spin"):
                keep = view_track(track, recipe.views[name], recipe).keep
                kept[track.key, name] = int(keep.sum())
                expected = known.limbs > 6 if name == "tcmr" else known.detected & good
                if known.detected.sum() > 5 or name == "spin":
                    np.testing.assert_array_equal(keep, expected)
                else:
                    assert not keep.any()
    assert seen == set(truth)
    totals = {
        name: sum(count for (key, view), count in kept.items() if view == name and truth[key].split == "test")
        for name in ("tcmr", "spin")
    }
    assert totals == {"tcmr": 31 + 38 + 33 + 0, "spin": 32 + 29 + 33 + 5}


def test_images_are_jpegs_that_show_the_people(raw: Path, truth: dict[str, TrackTruth]) -> None:
    plan = sequence_plans("tiny")[0]
    first = (raw / "imageFiles" / plan.name / "image_00005.jpg").read_bytes()
    height, width, *_ = simplejpeg.decode_jpeg_header(first)
    assert (width, height) == (640, 360)
    picture = simplejpeg.decode_jpeg(first, colorspace="RGB").astype(int)
    document = load(raw / "sequenceFiles" / plan.split / f"{plan.name}.pkl")
    pixels = truth[f"{plan.name}_0"].joints_cam[5] @ document["cam_intrinsics"].T
    x, y = np.round(pixels[[0, 9], :2] / pixels[[0, 9], 2:]).astype(int).T
    clothes = make_sequence(plan, "tiny", 0).scene.people[0].clothes
    for at_x, at_y, colour in zip(x, y, (clothes.bottom, clothes.top), strict=True):
        shown = picture[at_y, at_x] / np.linalg.norm(picture[at_y, at_x])
        assert shown @ (np.array(colour) / np.linalg.norm(colour)) > 0.9


@pytest.fixture
def two_short_plans(monkeypatch: pytest.MonkeyPatch) -> list[SequencePlan]:
    plans = [
        SequencePlan(
            name=f"short_{n}", split="train", index=n, frames=6, motion="walking", people=(PersonPlan(),)
        )
        for n in range(2)
    ]
    monkeypatch.setattr(threedpw, "sequence_plans", lambda size, seed=0: plans)
    return plans


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def test_workers_and_interruptions_do_not_change_a_byte(
    tmp_path: Path, two_short_plans: list[SequencePlan]
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    seen: list[tuple[int, int, str]] = []
    threedpw.write(one, "tiny", seed=5, workers=1, progress=lambda *state: seen.append(state))
    assert [state[:2] for state in seen] == [(6, 12), (12, 12)]
    threedpw.write(two, "tiny", seed=5, workers=2)
    assert contents(one) == contents(two)
    for name in ("sequenceFiles/train/short_1.pkl", "imageFiles/short_1/image_00003.jpg"):
        (two / name).unlink()
    threedpw.write(two, "tiny", seed=5)
    assert contents(one) == contents(two)


def test_finished_sequences_are_left_alone(tmp_path: Path, two_short_plans: list[SequencePlan]) -> None:
    for plan in two_short_plans:
        path = tmp_path / "sequenceFiles" / "train" / f"{plan.name}.pkl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"done")
    threedpw.write(tmp_path, "tiny")
    assert set(contents(tmp_path).values()) == {b"done"}


def test_seeds_give_other_worlds(two_short_plans: list[SequencePlan]) -> None:
    one, other = (make_sequence(two_short_plans[0], "tiny", seed).scene for seed in (0, 1))
    assert np.abs(one.motions[0].full_pose - other.motions[0].full_pose).max() > 0.01
    assert one.people[0].clothes != other.people[0].clothes


@pytest.mark.parametrize(
    ("size", "counts"), [("tiny", (2, 2, 2)), ("small", (12, 4, 8)), ("full", (24, 12, 24))]
)
def test_sizes_are_as_promised(size: str, counts: tuple[int, int, int]) -> None:
    plans = sequence_plans(size)
    assert tuple(sum(p.split == split for p in plans) for split in ("train", "validation", "test")) == counts
    low, high = {"tiny": (24, 40), "small": (120, 120), "full": (300, 900)}[size]
    assert all(low <= plan.frames <= high for plan in plans)
    assert len({plan.name for plan in plans}) == len({plan.index for plan in plans}) == len(plans)
    if size == "full":
        assert sum(len(plan.people) for plan in plans) == 87
        assert sum(len(plan.people) for plan in plans if plan.split == "test") == 37


@pytest.mark.parametrize("size", ["small", "full"])
def test_planned_defects_are_rare(size: str) -> None:
    plans = sequence_plans(size)
    frames = sum(plan.frames * len(plan.people) for plan in plans)
    hit = sum(run.count for plan in plans for who in plan.people for run in who.runs)
    assert 0 < hit < 0.05 * frames
    assert sequence_plans(size, 0) == plans
    assert sequence_plans(size, 1) != plans
    kinds = {run.kind for plan in plans for who in plan.people for run in who.runs}
    assert kinds == {"undetected", "few", "six", "seven", "camera"}


def test_runs_know_where_they_end() -> None:
    assert Run("camera", 30, 4).stop == 34
