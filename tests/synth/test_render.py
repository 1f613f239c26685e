"""The renderer draws people where they are, lit, hidden behind what is nearer, the same every time."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from hpsbench.synth.body import load_synthetic_body
from hpsbench.synth.render import blurred, image_motion, render_crop, render_frame, visible_faces
from hpsbench.synth.scene import Box, Light, Scene, project_points
from hpsbench.synth.visibility import (
    COCO18,
    coco18_world,
    hidden_pixels,
    keypoints2d,
    silhouette,
    visible_share,
)

MakeScene = Callable[..., Scene]


def quiet(scene: Scene, **changes: object) -> Scene:
    """The scene without blur and noise."""
    return replace(scene, exposure=0.0, noise=0, **changes)  # type: ignore[arg-type]


def without_people(scene: Scene) -> Scene:
    far = [replace(m, transl=m.transl - (0, 500.0, 0)) for m in scene.motions]
    return replace(scene, motions=tuple(far))


def wall_before(scene: Scene, share: float) -> Box:
    """A wide wall between camera and person, `share` of the way."""
    eye = -np.einsum("tba,tb->ta", scene.cam_poses[:, :3, :3], scene.cam_poses[:, :3, 3])
    centre = eye + share * (scene.motions[0].root - eye)
    return Box(
        centre=centre,
        size=np.array((8.0, 8.0, 0.02)),
        heading=heading_to(scene),
        colour=np.array((9.0, 9, 9)),
    )


def heading_to(scene: Scene) -> float:
    forward = scene.cam_poses[0, 2, :3]
    return float(np.arctan2(forward[0], forward[2]))


def test_frames_have_their_size_and_repeat(make_small_scene: MakeScene) -> None:
    scene = make_small_scene(0, persons=2, occluders=True)
    picture = render_frame(scene, 1)
    assert picture.shape == (360, 640, 3)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, render_frame(make_small_scene(0, persons=2, occluders=True), 1))
    assert (picture != render_frame(scene, 2)).any()


def test_people_are_drawn_within_their_silhouettes(make_small_scene: MakeScene) -> None:
    scene = quiet(make_small_scene(3))
    empty = without_people(scene)
    sun_below = replace(scene.light, lamp=np.zeros(3))  # no lamp, no shadow
    with_person = render_frame(replace(scene, light=sun_below), 0).astype(int)
    nobody = render_frame(replace(empty, light=sun_below), 0).astype(int)
    changed = np.abs(with_person - nobody).max(-1) > 0
    mask = silhouette(scene, 0, 0)
    grown = np.zeros_like(mask)
    for dy in range(-3, 4):
        for dx in range(-3, 4):
            grown |= np.roll(mask, (dy, dx), (0, 1))
    assert mask.sum() > 1500
    assert not (changed & ~grown).any()
    assert (changed & mask).sum() > 0.9 * mask.sum()


def test_silhouette_covers_the_projected_joints(make_small_scene: MakeScene) -> None:
    scene = make_small_scene(4)
    pixels = np.round(scene.project(scene.joints_world[0][0], 0)[:, :2]).astype(int)
    mask = silhouette(scene, 0, 0)
    inside = (pixels >= 0).all(1) & (pixels < (640, 360)).all(1)
    assert mask[pixels[inside, 1], pixels[inside, 0]].mean() > 0.9


def test_visible_faces_look_at_the_camera_far_ones_first() -> None:
    body = load_synthetic_body("neutral", 2)
    vertices = body.pose(np.zeros((1, 72)), np.zeros(10))[0][0]
    camera = np.diag((1.0, -1.0, -1.0, 1.0))
    camera[2, 3] = 5.0
    pixels = project_points(vertices, camera, np.diag((500.0, 500.0, 1.0)))
    order = visible_faces(pixels, body.faces)
    assert 0.35 < len(order) / len(body.faces) < 0.65
    depth = pixels[body.faces[order], 2].sum(1)
    assert (np.diff(depth) <= 1e-6).all()
    corners = vertices[body.faces[order]]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (normals[:, 2] > -1e-5).mean() > 0.97, "the front of the body is seen"


def test_light_comes_from_its_side(make_small_scene: MakeScene) -> None:
    scene = quiet(make_small_scene(3))
    right = scene.cam_poses[0, 0, :3]
    brightness = []
    for side in (right, -right):
        towards = side + np.array((0.0, 0.3, 0.0))
        light = Light(towards=towards / np.linalg.norm(towards), lamp=np.ones(3), ambient=np.full(3, 0.2))
        picture = render_frame(replace(scene, light=light), 0).astype(float).mean(-1)
        mask = silhouette(scene, 0, 0)
        columns = np.nonzero(mask)[1]
        left_half = mask & (np.arange(640) < np.median(columns))
        right_half = mask & ~left_half
        brightness.append(picture[right_half].mean() / picture[left_half].mean())
    assert brightness[0] > 1.15 * brightness[1]


def test_a_box_in_front_hides_and_is_counted(make_small_scene: MakeScene) -> None:
    scene = quiet(make_small_scene(3))
    points = coco18_world(scene, 0)[0]
    assert points.shape == (len(COCO18), 3)
    clear = keypoints2d(scene, 0, 0, points)
    assert clear[:, 2].sum() >= 16
    hidden = replace(scene, boxes=(wall_before(scene, 0.5),))
    assert hidden_pixels(hidden, 0, 0).mean() > 0.9
    assert keypoints2d(hidden, 0, 0, points)[:, 2].sum() == 0
    np.testing.assert_array_equal(keypoints2d(hidden, 0, 0, points)[:, :2], clear[:, :2])
    assert visible_share(scene, 0, 0) == 1.0
    assert visible_share(hidden, 0, 0) < 0.05
    behind = replace(scene, boxes=(wall_before(scene, 1.6),))
    assert keypoints2d(behind, 0, 0, points)[:, 2].sum() == clear[:, 2].sum()
    picture = render_frame(hidden, 0)
    assert (picture[silhouette(scene, 0, 0)].max(0) < 40).all(), "the wall is painted over the person"


def test_the_nearer_person_hides_the_farther_one(make_small_scene: MakeScene) -> None:
    scene = quiet(make_small_scene(3, persons=2))
    eye = -scene.cam_poses[0, :3, :3].T @ scene.cam_poses[0, :3, 3]
    first = scene.motions[0]
    behind = first.transl + 0.9 * (first.root[:1] - eye) * (1, 0, 1)
    scene = replace(scene, motions=(first, replace(first, transl=behind)))
    assert visible_share(scene, 0, 0) == 1.0
    assert visible_share(scene, 0, 1) < 0.7
    points = coco18_world(scene, 1)[0]
    assert keypoints2d(scene, 0, 1, points)[:, 2].sum() < 18


def test_points_outside_of_the_picture_are_not_seen(make_small_scene: MakeScene) -> None:
    scene = make_small_scene(3)
    right = scene.cam_poses[0, 0, :3]
    points = coco18_world(scene, 0)[0] + 50 * right
    assert keypoints2d(scene, 0, 0, points)[:, 2].sum() == 0


def test_a_crop_is_the_same_part_of_the_frame(make_small_scene: MakeScene) -> None:
    scene = quiet(make_small_scene(6))
    pixels = scene.project(scene.joints_world[0][0], 0)[:, :2]
    centre, side = np.round((pixels.min(0) + pixels.max(0)) / 2), 260
    crop = render_crop(scene, 0, np.array((*centre, side, side)), 130, oversample=2.0).astype(float)
    frame = render_frame(scene, 0, level=2)
    x, y = (int(v) for v in centre - side // 2)
    padded = np.pad(frame, ((200, 200), (200, 200), (0, 0)), mode="edge")[
        y + 200 : y + 460, x + 200 : x + 460
    ]
    small = padded.reshape(130, 2, 130, 2, 3).mean((1, 3))
    inside = slice(max(0, -y // 2 + 1), min(130, (360 - y) // 2 - 1))
    difference = np.abs(crop - small)[inside]
    assert np.median(difference) < 6
    assert difference.mean() < 9


def test_crops_have_any_size(make_small_scene: MakeScene) -> None:
    scene = make_small_scene(0)
    for size, oversample in ((112, 1.75), (64, 1.0), (900, 1.0)):
        crop = render_crop(scene, 0, np.array((320.0, 180.0, 300.0, 200.0)), size, oversample=oversample)
        assert crop.shape == (size, size, 3)


def test_blur_smears_along_the_movement() -> None:
    picture = np.zeros((41, 41, 3), np.uint8)
    picture[20, 20] = 240
    smeared = blurred(picture, np.array((6.0, 0.0)))
    rows, columns = np.nonzero(smeared[..., 0])
    assert set(rows) == {20}
    assert np.ptp(columns) >= 3
    np.testing.assert_array_equal(blurred(picture, np.array((0.2, 0.1))), picture)


def test_image_motion_is_the_mean_movement(make_small_scene: MakeScene) -> None:
    scene = make_small_scene(2, frames=6, kind="running")
    now, then = (scene.project(scene.joints_world[0][k], k)[:, :2] for k in (2, 3))
    np.testing.assert_allclose(image_motion(scene, 2), (then - now).mean(0), atol=1e-6)
    np.testing.assert_array_equal(image_motion(scene, 5), image_motion(scene, 4))


def test_noise_and_blur_change_little(make_small_scene: MakeScene) -> None:
    scene = make_small_scene(2)
    sharp = render_frame(quiet(scene), 0).astype(int)
    grainy = render_frame(replace(scene, exposure=0.0, noise=5), 0).astype(int)
    inside = (sharp > 30) & (sharp < 225)
    assert (grainy - sharp)[inside].std() == pytest.approx(5, rel=0.25)
    assert abs((grainy - sharp)[inside].mean()) < 0.5


def test_a_person_behind_the_camera_is_not_drawn(make_small_scene: MakeScene) -> None:
    scene = quiet(make_small_scene(3))
    forward = scene.cam_poses[0, 2, :3]
    moved = replace(scene.motions[0], transl=scene.motions[0].transl - 12 * forward)
    np.testing.assert_array_equal(
        render_frame(replace(scene, motions=(moved,), light=replace(scene.light, lamp=np.zeros(3))), 0)[:60],
        render_frame(replace(without_people(scene), light=replace(scene.light, lamp=np.zeros(3))), 0)[:60],
    )
