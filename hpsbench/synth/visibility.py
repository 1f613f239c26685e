"""Which keypoints can be seen: inside the picture, and neither behind a box nor behind a nearer person.

A person's own limbs don't hide that person's keypoints: detectors find those as well.
"""

import cv2
import numpy as np

from hpsbench.synth.anatomy import JOINT, LANDMARK_IDS
from hpsbench.synth.render import box_polygons, visible_faces
from hpsbench.synth.scene import Scene
from hpsbench.types import BoolArray, FloatArray

_LANDMARK = {name: n for n, name in enumerate(LANDMARK_IDS)}
# Names of joints (`anatomy.JOINT_NAMES`) and landmarks in the order of the joint set `3dpw18` (OpenPose COCO-18).
COCO18 = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye",
    "right_ear", "left_ear",
)  # fmt: skip


def coco18_world(scene: Scene, person: int) -> FloatArray:
    """(T, 18, 3) keypoints of one person in the world, metres, in the order of `COCO18`."""
    joints, marks = scene.joints_world[person], scene.landmarks_world[person]
    return np.stack(
        [marks[:, _LANDMARK[n]] if n in _LANDMARK else joints[:, JOINT[n]] for n in COCO18], axis=1
    )


def silhouette(scene: Scene, index: int, person: int) -> BoolArray:
    """(height, width) pixels that one person covers if nothing is in front."""
    who, motion, part = scene.people[person], scene.motions[person], slice(index, index + 1)
    body = who.body(2)
    vertices = body.pose(motion.full_pose[part], who.betas, motion.transl[part])[0][0]
    pixels = scene.project(vertices, index)
    mask = np.zeros((scene.height, scene.width), dtype=np.uint8)
    points = np.round(np.clip(pixels[:, :2], -4000, 4000)).astype(np.int32)
    for triangle in points[body.faces[visible_faces(pixels, body.faces)]]:
        cv2.fillConvexPoly(mask, triangle, 1)
    return mask.astype(bool)


def hidden_pixels(scene: Scene, index: int, person: int) -> BoolArray:
    """(height, width) pixels where a box or another person is nearer to the camera than this person's root."""
    depth = scene.project(scene.motions[person].root[index][None], index)[0, 2]
    mask = np.zeros((scene.height, scene.width), dtype=np.uint8)
    for box in scene.boxes:
        if 0 < scene.project(box.centre[index][None], index)[0, 2] < depth:
            for quad, _ in box_polygons(scene, box, index, scene.intrinsics):
                cv2.fillConvexPoly(mask, np.round(np.clip(quad, -4000, 4000)).astype(np.int32), 1)
    hidden = mask.astype(bool)
    for other, motion in enumerate(scene.motions):
        if other != person and 0 < scene.project(motion.root[index][None], index)[0, 2] < depth:
            hidden |= silhouette(scene, index, other)
    return hidden


def keypoints2d(scene: Scene, index: int, person: int, points_world: FloatArray) -> FloatArray:
    """Keypoints of one person in one frame.

    Args:
        scene: the ground truth.
        index: which frame.
        person: whose keypoints these are.
        points_world: (J, 3) metres.

    Returns:
        (J, 3) x and y in pixels and 1.0 where the point is seen, else 0.0 (outside, hidden, or behind the camera).
    """
    pixels = scene.project(points_world, index)
    column, row = np.round(pixels[:, 0]).astype(int), np.round(pixels[:, 1]).astype(int)
    inside = (column >= 0) & (row >= 0) & (column < scene.width) & (row < scene.height) & (pixels[:, 2] > 0)
    hidden = hidden_pixels(scene, index, person)
    seen = inside & ~hidden[np.where(inside, row, 0), np.where(inside, column, 0)]
    return np.concatenate([pixels[:, :2], seen[:, None].astype(np.float64)], axis=1)


def visible_share(scene: Scene, index: int, person: int) -> float:
    """Share of a person's pixels that are seen, of those inside the picture; 0 if none is inside."""
    mask = silhouette(scene, index, person)
    whole = int(mask.sum())
    return int((mask & ~hidden_pixels(scene, index, person)).sum()) / whole if whole else 0.0
