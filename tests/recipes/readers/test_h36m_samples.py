"""Human3.6M on four real frames that mmpose publishes: projection, order of the joints, boxes, frame numbers."""

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import least_squares

from hpsbench.bodies.joints import get_joint_set
from hpsbench.geometry.cameras import project_h36m
from hpsbench.recipes.catalog import get_recipe
from hpsbench.recipes.sequences import RawSequence, read_sequence
from hpsbench.recipes.views import view_track
from hpsbench.types import FloatArray, Track

pytestmark = pytest.mark.samples

RAW: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "raw_h36m.py"))
RECIPE = get_recipe("h36m")
# S1 Directions 1, camera 54138969, first frame; mmpose's sample and TCMR issue 14 agree.
PELVIS = (-0.17673077, -0.32104862, 5.20388206)
SCALES = np.array([1000, 1000, 1000, 1000, 1, 1, 1, 0.01, 0.01])


@pytest.fixture(scope="module")
def sample(samples: Path) -> dict[str, Any]:
    with np.load(samples / "h36m" / "test_h36m_body3d.npz") as file:
        return {key: file[key] for key in file.files}


def lens(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    fx, fy, cx, cy, *distortion = values
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), np.array(distortion)


def fitted(joints: FloatArray, pixels: FloatArray, free: int) -> tuple[FloatArray, float]:
    """The first `free` of the nine parameters of a lens, fitted to joints; the others are zero. And the largest error."""

    def error(values: FloatArray) -> FloatArray:
        whole = np.concatenate([values, np.zeros(9 - free)]) * SCALES
        return (project_h36m(joints, *lens(whole)) - pixels).ravel()

    start = np.array([1.1, 1.1, 0.5, 0.5, -0.2, 0.2, 0, 0, 0])[:free]
    found = least_squares(error, start, xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=5000)
    return np.concatenate([found.x, np.zeros(9 - free)]) * SCALES, float(np.abs(found.fun).max())


@pytest.mark.parametrize("frames", [[0, 1], [2, 3]], ids=["54138969", "55011271"])
def test_the_distortion_model_explains_the_2d_joints(frames: list[int], sample: dict[str, Any]) -> None:
    """Nine unknowns and 68 equations for a camera: the model fits to 1e-4 px, without its tangential part it does not."""
    joints = sample["S"][frames, :, :3].reshape(-1, 3)
    pixels = sample["part"][frames, :, :2].reshape(-1, 2)
    values, largest = fitted(joints, pixels, 9)
    assert largest < 1e-4
    assert 1140 < values[0] < 1160
    assert fitted(joints, pixels, 7)[1] > 0.01
    assert fitted(joints, pixels, 4)[1] > 0.1


def test_the_right_leg_comes_first_in_the_values(sample: dict[str, Any]) -> None:
    joints = get_joint_set("h36m17_official")
    hip, right, left = joints.indices(("R_Hip", "R_Shoulder", "L_Shoulder"))
    points = sample["S"][..., :3]
    to_right, to_left = (np.linalg.norm(points[:, hip] - points[:, arm], axis=1) for arm in (right, left))
    assert (to_right < to_left).all()
    assert np.linalg.norm(points[:, joints.index("R_Knee")] - points[:, hip], axis=1).max() < 0.55


def test_every_fifth_frame_counts_from_one(sample: dict[str, Any]) -> None:
    numbers = [int(re.findall(r"_(\d{6})\.jpg", name)[0]) for name in sample["imgname"].tolist()]
    assert numbers == [1, 2061, 396, 26]
    track = Track(
        sequence="a",
        person=0,
        split="train",
        frame_id=np.array(sorted(numbers)),
        fields={"keypoints2d": sample["part"], "has_image": np.ones(4, bool)},
    )
    assert view_track(track, RECIPE.views["p1"], RECIPE).keep.all()


def test_boxes_of_the_views_p1_and_p2_are_mmposes(sample: dict[str, Any]) -> None:
    track = Track(
        sequence="a",
        person=0,
        split="train",
        frame_id=np.array([1, 6, 11, 16]),
        fields={"keypoints2d": sample["part"], "has_image": np.ones(4, bool)},
        camera="60457274",
    )
    for view in ("p1", "p2"):
        rule = RECIPE.views[view]
        boxes = view_track(track, rule, RECIPE).bbox_cxcywh
        np.testing.assert_allclose(boxes[:, :2], sample["center"], atol=1e-6)
        assert rule.crop_scale is not None
        np.testing.assert_allclose(boxes[:, 2] * rule.crop_scale, sample["scale"] * 200, rtol=1e-9)


def test_a_real_frame_comes_through_the_reader(sample: dict[str, Any], tmp_path: Path) -> None:
    """S1 Directions 1 as an official file: the pelvis in metres, and its pixels without a file of 2D joints."""
    values, _ = fitted(sample["S"][:2, :, :3].reshape(-1, 3), sample["part"][:2, :, :2].reshape(-1, 2), 9)
    numbers = np.zeros(300)
    numbers[264:273] = values
    RAW["write_metadata"](tmp_path / "metadata.xml", {"w0": f"[{' '.join(map(repr, numbers.tolist()))}]"})
    joints = np.zeros((2, 32, 3))
    joints[:] = sample["S"][0, 0, :3]
    joints[:, RAW["SEVENTEEN"]] = sample["S"][0, :, :3]
    name = "S1/MyPoseFeatures/D3_Positions_mono/Directions 1.54138969.cdf"
    RAW["write_cdf"](tmp_path / name, joints * 1000)
    raw = RawSequence(root=tmp_path, name=name, split="train", options=RECIPE.options)
    (track,) = read_sequence(RECIPE, raw)
    np.testing.assert_allclose(track.fields["joints3d"][0, 0], PELVIS, atol=1e-6)
    pixels = track.fields["keypoints2d"][0, RAW["SEVENTEEN"], :2]
    np.testing.assert_allclose(pixels, sample["part"][0, :, :2], atol=1e-3)  # files hold float32 millimetres
    stem = sample["imgname"][0].split("/")[-1].rpartition("_")[0]
    assert track.sequence == stem == "S1_Directions_1.54138969"
