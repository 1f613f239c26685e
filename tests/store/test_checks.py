"""`verify_store` finds what is wrong, and says nothing of a sound store."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsbench.bodies.joints import PARENTS, convert_indices, get_joint_set
from hpsbench.store.checks import verify_store
from hpsbench.store.feature_sets import FeatureSetWriter
from hpsbench.store.writer import MemoryTrack, ViewRows, write_store
from hpsbench.types import Track

SMPL, DETECTED = get_joint_set("smpl24"), get_joint_set("3dpw18")
FRAMES = 30


def skeleton(rng: np.random.Generator) -> np.ndarray:
    """(24, 3) a standing skeleton that hangs together."""
    joints = np.zeros((24, 3))
    for joint, parent in enumerate(PARENTS["smpl24"][1:], start=1):
        step = rng.normal(size=3)
        joints[joint] = joints[parent] + 0.12 * step / np.linalg.norm(step)
    return joints


def sound_fields(rng: np.random.Generator) -> dict[str, Any]:
    """One person who walks past a camera, with detections that are a few pixels off."""
    path = np.column_stack([np.linspace(-0.5, 0.5, FRAMES), np.zeros(FRAMES), np.full(FRAMES, 4.0)])
    joints = skeleton(rng) + path[:, None]
    intrinsics = np.array([[500.0, 0, 320], [0, 500, 180], [0, 0, 1]])
    image = joints @ intrinsics.T
    pixels = image[..., :2] / image[..., 2:]
    nearest = [joint if joint >= 0 else SMPL.index("head") for joint in convert_indices(SMPL, DETECTED)]
    points = np.concatenate(
        [pixels[:, nearest] + rng.normal(scale=2, size=(FRAMES, 18, 2)), np.ones((FRAMES, 18, 1))], 2
    )
    return {
        "joints3d": joints,
        "keypoints2d": points,
        "intrinsics": np.tile(intrinsics, (FRAMES, 1, 1)),
        "full_pose": rng.normal(scale=0.3, size=(FRAMES, 72)),
        "betas": np.zeros((FRAMES, 10)),
        "transl": path,
        "valid": np.ones(FRAMES, dtype=bool),
    }


@pytest.fixture
def make_checked(tmp_path: Path, rng: np.random.Generator) -> Callable[..., Path]:
    """Writes a store of one track; `change` edits its fields first, `view` and `nodes` its view and attributes."""

    def make(change: Callable[[dict[str, Any]], Any] = lambda fields: None, **options: Any) -> Path:
        fields = sound_fields(rng)
        change(fields)
        track = Track(
            sequence="a", person=0, split="test", frame_id=np.arange(FRAMES), fields=fields, fps=30.0
        )
        view = options.get("view") or ViewRows(
            keep=np.ones(FRAMES, bool), bbox_cxcywh=np.tile([300.0, 200, 90, 90], (FRAMES, 1))
        )
        rule = {"crop_scale": 1.3, "box": {"rule": "smoothed", "ends": "trim"}, **options.get("rule", {})}
        nodes = {
            "frames/joints3d": {
                "joint_set": "smpl24",
                "joint_names": list(SMPL.names),
                "frame": "camera",
                **options.get("joints3d", {}),
            },
            "frames/keypoints2d": {
                "joint_set": "3dpw18",
                "joint_names": list(DETECTED.names),
                **options.get("keypoints2d", {}),
            },
            "views/tcmr": {
                **rule,
                "counts": options.get("counts", {"test": {"rows": FRAMES, "kept": FRAMES}}),
            },
        }
        path = tmp_path / "x.zarr"
        shutil.rmtree(path, ignore_errors=True)
        write_store(
            path,
            [MemoryTrack.of(track, {"tcmr": view})],
            attributes={"dataset": "x", "synthetic": True},
            nodes=nodes,
        )
        return path

    return make


def found(path: Path) -> list[tuple[str, str]]:
    return [(problem.severity, problem.kind) for problem in verify_store(path)]


def test_a_sound_store_has_no_problems(make_checked: Callable[..., Path]) -> None:
    seen: list[tuple[int, int, str]] = []
    assert verify_store(make_checked(), progress=lambda *call: seen.append(call)) == []
    assert seen == [(1, 1, "a_0")]


def scale(name: str, factor: float) -> Callable[[dict[str, Any]], None]:
    return lambda fields: fields.update({name: fields[name] * factor})


def put(name: str, index: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda fields: fields[name].__setitem__(index, value)


@pytest.mark.parametrize(
    ("change", "problem", "text"),
    [
        (put("transl", (3, 1), np.nan), ("error", "non-finite"), "1 rows are not finite"),
        (scale("joints3d", 1000.0), ("error", "joint-range"), "is the unit metres"),
        (scale("full_pose", 57.3), ("error", "joint-range"), "values up to"),
        (put("betas", (0, 0), 99), ("error", "joint-range"), "up to 99.0"),
        (
            put("joints3d", (5, 22), [0.2, 0.1, 4.0]),
            ("error", "limb-length"),
            "left_hand changes its length",
        ),
        (
            put("keypoints2d", (slice(0, 20), slice(None), 0), 20),
            ("error", "reprojection"),
            "in 20 of 30 frames",
        ),
    ],
)
def test_implausible_values_are_found(
    change: Any, problem: tuple[str, str], text: str, make_checked: Callable[..., Path]
) -> None:
    problems = verify_store(make_checked(change))
    assert problem in [(p.severity, p.kind) for p in problems]
    assert any(text in p.text and p.where.startswith("a_0") for p in problems)


def test_keypoints_that_are_projections_lie_within_pixels(make_checked: Callable[..., Path]) -> None:
    """A camera that is a little off: nothing for detected keypoints, an error for projected ones."""

    def shift(pixels: float) -> Callable[[dict[str, Any]], None]:
        return lambda fields: fields["intrinsics"].__setitem__((slice(None), 0, 2), 320 + pixels)

    within = {"projected_within": 10.0}
    assert found(make_checked(shift(14))) == []
    assert found(make_checked(shift(4), keypoints2d=within)) == []
    (problem,) = verify_store(make_checked(shift(14), keypoints2d=within))
    assert (problem.severity, problem.kind) == ("error", "reprojection")
    assert "in 30 of 30 frames the projected joints lie more than 10 px from the keypoints" in problem.text


def test_the_lens_is_used_where_it_is_known(make_checked: Callable[..., Path]) -> None:
    lens = np.array([-0.9, 0.4, 0.0, 0.02, -0.03])

    def bend(fields: dict[str, Any]) -> None:
        nearest = [j if j >= 0 else SMPL.index("head") for j in convert_indices(SMPL, DETECTED)]
        fields["joints3d"][..., 0] *= 3
        x, y = (fields["joints3d"][:, nearest, axis] / fields["joints3d"][:, nearest, 2] for axis in (0, 1))
        r2 = x**2 + y**2
        gain = 1 + lens[0] * r2 + lens[1] * r2**2 + lens[3] * y + lens[4] * x
        fields["keypoints2d"][..., 0] = 500 * (x * gain + lens[4] * r2) + 320
        fields["keypoints2d"][..., 1] = 500 * (y * gain + lens[3] * r2) + 180

    def known(fields: dict[str, Any]) -> None:
        bend(fields)
        fields["distortion"] = np.tile(lens, (FRAMES, 1))

    within = {"projected_within": 10.0}
    assert ("error", "reprojection") in found(make_checked(bend, keypoints2d=within))
    assert found(make_checked(known, keypoints2d=within)) == []


def test_a_root_may_turn_round_and_round(make_checked: Callable[..., Path]) -> None:
    """Motion capture of a dancer counts on beyond a full turn; other joints cannot."""

    def spin(fields: dict[str, Any]) -> None:
        fields["full_pose"][:, 1] = np.linspace(0, 10 * np.pi, FRAMES)

    assert found(make_checked(spin)) == []


def test_frames_that_are_not_valid_are_not_vouched_for(make_checked: Callable[..., Path]) -> None:
    def change(fields: dict[str, Any]) -> None:
        fields["valid"][:8] = False
        fields["joints3d"][:8] = 100
        fields["transl"][2] = np.inf

    assert found(make_checked(change)) == [("warning", "non-finite")]


def test_joints_that_a_track_never_has_may_be_missing_where_the_field_says_so(
    make_checked: Callable[..., Path],
) -> None:
    def drop(fields: dict[str, Any]) -> None:
        fields["joints3d"][:, [22, 23]] = np.nan
        fields["joints3d"][7] = np.nan

    assert ("error", "non-finite") in found(make_checked(drop))
    missing = {"joints3d": {"missing": "nan"}}
    assert found(make_checked(drop, **missing)) == []
    for value in (np.nan, np.inf):
        problems = verify_store(make_checked(put("joints3d", (3, 5, 0), value), **missing))
        assert [problem.kind for problem in problems] == ["non-finite"]


def test_the_size_of_a_body_is_checked_without_its_missing_joints(make_checked: Callable[..., Path]) -> None:
    def change(fields: dict[str, Any]) -> None:
        fields["joints3d"][:, 23] = np.nan
        fields["joints3d"] *= 1000

    assert found(make_checked(change, joints3d={"missing": "nan"})) == [("error", "joint-range")]


def test_a_few_slips_of_the_detector_are_allowed(make_checked: Callable[..., Path]) -> None:
    assert found(make_checked(put("keypoints2d", (slice(0, 5), slice(None), 0), 20))) == []


def test_views_must_hold_what_they_say(make_checked: Callable[..., Path]) -> None:
    boxes = np.tile([300.0, 200, 90, 90], (FRAMES, 1))
    boxes[4] = np.nan
    boxes[5, 2:] = 0
    path = make_checked(view=ViewRows(keep=np.arange(FRAMES) < 20, bbox_cxcywh=boxes))
    texts = " | ".join(problem.text for problem in verify_store(path))
    for part in ("a box has no size", "1 kept rows have no box", "found {'rows': 30, 'kept': 20}"):
        assert part in texts
    path = make_checked(
        view=ViewRows(keep=np.arange(FRAMES) < 20, bbox_cxcywh=boxes), rule={"boxless": "keep"}
    )
    assert "kept rows have no box" not in " | ".join(problem.text for problem in verify_store(path))


def edit(node: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    document = json.loads((node / "zarr.json").read_text())
    change(document)
    (node / "zarr.json").write_text(json.dumps(document))


def test_the_format_is_checked_first(make_checked: Callable[..., Path]) -> None:
    path = make_checked()
    (path / "frames" / "notes.txt").write_text("x")
    edit(path, lambda d: d["attributes"].update(rows=31))
    edit(path / "frames" / "joints3d", lambda d: d["attributes"].update(joint_names=["a"]))
    problems = verify_store(path)
    assert {p.kind for p in problems} == {"format"}
    assert {p.where for p in problems} == {"frames/notes.txt", "root", "frames/joints3d"}


def test_a_damaged_store_is_a_problem_not_a_crash(make_checked: Callable[..., Path], tmp_path: Path) -> None:
    path = make_checked()
    (path / "frames" / "betas" / "c" / "0" / "0").write_bytes(b"")
    assert found(path) == [("error", "format")]
    frame_id = path / "frames" / "frame_id" / "c" / "0"
    frame_id.write_bytes(bytes(frame_id.stat().st_size))
    assert any("first_frame + step" in problem.text for problem in verify_store(path))
    edit(path, lambda d: d["attributes"].update(complete=False))
    assert "incomplete" in verify_store(path)[0].text
    assert "no clip store" in verify_store(tmp_path / "none.zarr")[0].text


def test_feature_sets_are_checked(make_checked: Callable[..., Path]) -> None:
    path = make_checked()
    attrs = {"extractor": "x", "weights_sha256": "0", "view": "tcmr", "crop_scale": 1.3, "corruption": None}
    writer = FeatureSetWriter.create(path, "x-tcmr", rows=np.arange(10), dim=4, attrs=attrs)
    writer.write(0, np.ones((10, 4), np.float32))
    assert found(path) == [("warning", "features")]
    writer.finish()
    assert found(path) == []
    chunk = path / "features" / "x-tcmr" / "data" / "c" / "0" / "0"
    data = np.fromfile(chunk, "<f4")
    data[5] = np.nan
    data.tofile(chunk)
    assert [problem.text for problem in verify_store(path)] == ["1 features are not finite"]
