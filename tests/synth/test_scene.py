"""Scenes: cameras that look at people, consistent camera-frame parameters, plain clothes, boxes."""

from collections.abc import Callable

import numpy as np
import pytest

from hpsbench.synth.anatomy import JOINT, LANDMARK_IDS
from hpsbench.synth.backdrops import WALL_SIZE, draw_backdrop, paint_backdrop
from hpsbench.synth.body import load_synthetic_body
from hpsbench.synth.people import draw_clothes, draw_person
from hpsbench.synth.scene import Box, Scene, look_at, project_points

MakeScene = Callable[..., Scene]


def test_look_at_points_the_axis_at_the_target() -> None:
    eye, target = np.array([[1.0, 2.0, -3.0]]), np.array([[0.5, 1.0, 2.0]])
    pose = look_at(eye, target, np.zeros(1))[0]
    np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1)
    seen = pose[:3, :3] @ target[0] + pose[:3, 3]
    np.testing.assert_allclose(seen, (0, 0, np.linalg.norm(target - eye)), atol=1e-12)
    above = pose[:3, :3] @ (target[0] + (0, 1, 0)) + pose[:3, 3]
    assert above[1] < 0, "up in the world is up in the picture (negative y)"


def test_project_points_is_a_pinhole() -> None:
    intrinsics = np.array([[500.0, 0, 320], [0, 500, 180], [0, 0, 1]])
    pixels = project_points(np.array([[0.0, 0, 5], [1, -1, 5], [0, 0, -1]]), np.eye(4), intrinsics)
    np.testing.assert_allclose(pixels[:2], [(320, 180, 5), (420, 80, 5)])
    assert pixels[2, 2] == -1


def test_the_camera_keeps_the_person_in_the_picture(make_small_scene: MakeScene) -> None:
    for seed in range(4):
        scene = make_small_scene(seed, frames=60, kind=None)
        for index in range(0, 60, 20):
            pixels = scene.project(scene.joints_world[0][index], index)
            inside = (pixels[:, 0] > 0) & (pixels[:, 0] < 640) & (pixels[:, 1] > 0) & (pixels[:, 1] < 360)
            assert inside.mean() > 0.7
            assert 60 < np.ptp(pixels[:, 1]) < 400
            assert (pixels[:, 2] > 1).all()
        assert len(np.unique(scene.cam_poses.reshape(60, -1), axis=0)) == 60, "the camera moves"


def test_camera_frame_parameters_are_smpl_in_front_of_the_camera(make_small_scene: MakeScene) -> None:
    scene = make_small_scene(1)
    person, params = scene.people[0], scene.body_params_cam(0)
    assert params.transl is not None
    body = load_synthetic_body(person.gender, 2)
    here = body.joints(params.full_pose, person.betas, params.transl)
    turn, shift = scene.cam_poses[:, :3, :3], scene.cam_poses[:, :3, 3]
    wanted = np.einsum("tab,tjb->tja", turn, scene.joints_world[0]) + shift[:, None]
    np.testing.assert_allclose(here, wanted, atol=1e-4)
    np.testing.assert_array_equal(params.betas, np.tile(person.betas, (4, 1)))


def test_a_second_person_stays_near(make_small_scene: MakeScene) -> None:
    for seed in range(3):
        scene = make_small_scene(seed, frames=60, persons=2)
        distance = np.linalg.norm((scene.motions[0].root - scene.motions[1].root)[:, [0, 2]], axis=1)
        assert distance.min() > 0.3
        assert distance.max() < 3


def test_scenes_repeat_and_differ(make_small_scene: MakeScene) -> None:
    one, two, other = make_small_scene(5), make_small_scene(5), make_small_scene(6)
    np.testing.assert_array_equal(one.cam_poses, two.cam_poses)
    np.testing.assert_array_equal(one.backdrop.wall, two.backdrop.wall)
    assert one.people[0].clothes == two.people[0].clothes
    assert np.abs(one.cam_poses - other.cam_poses).max() > 0.01


def test_landmarks_lie_on_the_head_and_hands(make_small_scene: MakeScene) -> None:
    scene = make_small_scene(2)
    marks = dict(zip(LANDMARK_IDS, scene.landmarks_world[0].swapaxes(0, 1), strict=True))
    joints = scene.joints_world[0]
    assert (np.linalg.norm(marks["nose"] - joints[:, JOINT["head"]], axis=1) < 0.2).all()
    assert (np.linalg.norm(marks["left_index"] - joints[:, JOINT["left_hand"]], axis=1) < 0.2).all()


def test_clothes_are_no_code_of_parts_or_sides() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_clothes(rng) for _ in range(200)]
    for name in ("top", "bottom", "shoes"):
        colours = np.array([getattr(clothes, name) for clothes in drawn])
        assert (colours.std(0) > 40).all(), f"{name} has any colour"
    brighter_top = np.mean([sum(c.top) > sum(c.bottom) for c in drawn])
    assert 0.35 < brighter_top < 0.65
    colours = drawn[0].face_colours(0)
    assert colours.shape == (13776, 3)
    assert len(np.unique(colours, axis=0)) <= 5, "plain"


def test_left_and_right_are_dressed_alike() -> None:
    clothes = draw_clothes(np.random.default_rng(3))
    body = load_synthetic_body("neutral", 0)
    centres = body.pose(np.zeros((1, 72)), np.zeros(10))[0][0][body.faces].mean(1)
    colours = clothes.face_colours(0)
    for sign in (1, -1):
        forearm = (sign * centres[:, 0] > 0.5) & (sign * centres[:, 0] < 0.6)
        assert len(np.unique(colours[forearm], axis=0)) == 1
    left, right = (colours[(s * centres[:, 0] > 0.5) & (s * centres[:, 0] < 0.6)][0] for s in (1, -1))
    np.testing.assert_array_equal(left, right)


def test_people_vary() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_person(rng) for _ in range(60)]
    assert {person.gender for person in drawn} == {"male", "female"}
    betas = np.stack([person.betas for person in drawn])
    assert np.abs(betas).max() <= 2
    assert (betas.std(0) > 0.6).all()


def test_box_corners_surround_the_centre() -> None:
    box = Box(
        centre=np.array([[1.0, 2.0, 3.0]]),
        size=np.array((1.0, 2.0, 4.0)),
        heading=np.pi / 2,
        colour=np.ones(3),
    )
    corners = box.corners(0)
    np.testing.assert_allclose(corners.mean(0), (1, 2, 3))
    np.testing.assert_allclose(np.ptp(corners, axis=0), (4, 2, 1), atol=1e-9)


def test_backdrops_vary_and_close_round() -> None:
    walls = [draw_backdrop(np.random.default_rng(n)) for n in range(4)]
    assert walls[0].wall.shape == (WALL_SIZE[1], WALL_SIZE[0], 3)
    means = np.stack([w.wall.mean((0, 1)) for w in walls])
    assert means.std(0).max() > 10
    seam = np.abs(walls[0].wall[:, 0].astype(int) - walls[0].wall[:, -1]).max()
    assert seam < 40


def test_the_floor_is_below_and_the_wall_above() -> None:
    backdrop = draw_backdrop(np.random.default_rng(1))
    plain = type(backdrop)(
        wall=np.full_like(backdrop.wall, 10), floor=np.full_like(backdrop.floor, 240), haze=np.full(3, 240.0)
    )
    intrinsics = np.array([[500.0, 0, 320], [0, 500, 180], [0, 0, 1]])
    level = look_at(np.array([[0.0, 1.5, 0.0]]), np.array([[0.0, 1.5, 5.0]]), np.zeros(1))[0]
    picture = paint_backdrop(plain, intrinsics, level, (640, 360))
    assert (picture[:170] == 10).all()
    assert (picture[240:] == 240).all()
    up = look_at(np.array([[0.0, 1.5, 0.0]]), np.array([[0.0, 9.5, 5.0]]), np.zeros(1))[0]
    assert (paint_backdrop(plain, intrinsics, up, (640, 360)) == 10).all()
    down = look_at(np.array([[0.0, 1.5, 0.0]]), np.array([[0.0, -5.0, 2.0]]), np.zeros(1))[0]
    assert (paint_backdrop(plain, intrinsics, down, (640, 360)) == 240).all()
