"""Training crops: as many as wanted, repeatable, with ground truth that fits the picture."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hpsbench.synth.body import load_synthetic_body
from hpsbench.synth.crops import CROPS_PER_SCENE, Crop, crop_stream, still_scene
from hpsbench.synth.visibility import COCO18


@pytest.fixture(scope="module")
def crops() -> list[Crop]:
    return list(crop_stream("encoder/held-out", range(2), size=64))


def test_a_scene_gives_its_crops(crops: list[Crop]) -> None:
    assert len(crops) == 2 * CROPS_PER_SCENE
    assert all(crop.image.shape == (64, 64, 3) and crop.image.dtype == np.uint8 for crop in crops)
    assert all(crop.image.std() > 3 for crop in crops)
    assert len({crop.image.tobytes() for crop in crops}) == len(crops)


def test_the_same_range_gives_the_same_crops(crops: list[Crop]) -> None:
    again = list(crop_stream("encoder/held-out", range(1, 2), size=64))
    for one, two in zip(crops[CROPS_PER_SCENE:], again, strict=True):
        np.testing.assert_array_equal(one.image, two.image)
        np.testing.assert_array_equal(one.full_pose, two.full_pose)


def test_owners_and_seeds_give_other_crops(crops: list[Crop]) -> None:
    for other in (
        next(crop_stream("encoder/train", range(1), size=64)),
        next(crop_stream("encoder/held-out", range(1), size=64, seed=1)),
    ):
        assert (other.image != crops[0].image).any()
        assert np.abs(other.betas - crops[0].betas).max() > 0.01


def test_keypoints_are_the_projected_body(crops: list[Crop]) -> None:
    for crop in crops[::5]:
        body = load_synthetic_body(crop.gender, 2)
        joints = body.joints(crop.full_pose[None], crop.betas, crop.transl[None])[0]
        pixels = joints @ crop.intrinsics.T
        pixels = pixels[:, :2] / pixels[:, 2:]
        cx, cy, side, _ = crop.bbox_cxcywh
        in_crop = (pixels - (cx, cy)) * (64 / side) + 31.5
        for name, joint in (("left_knee", 4), ("right_wrist", 21), ("neck", 12)):
            np.testing.assert_allclose(crop.keypoints2d[COCO18.index(name)], in_crop[joint], atol=0.02)


def test_the_person_fills_the_crop(crops: list[Crop]) -> None:
    for crop in crops:
        inside = ((crop.keypoints2d > 0) & (crop.keypoints2d < 64)).all(1)
        assert inside.mean() > 0.7
        assert np.ptp(crop.keypoints2d, axis=0).max() > 64 * 0.3


def test_people_are_seen_from_all_sides() -> None:
    facing = []
    for number in range(6):
        orient = still_scene(number).body_params_cam(0).full_pose[:, :3]
        angle = np.linalg.norm(orient, axis=1)
        assert (angle > 0.5).all(), "nobody stands on their head"
        facing.append(Rotation.from_rotvec(orient).apply((0, 0, 1))[:, 2])
    towards = np.concatenate(facing) < 0
    assert 0.25 < towards.mean() < 0.75, "about half of them face the camera"
