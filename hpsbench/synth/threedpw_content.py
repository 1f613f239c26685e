"""One synthetic 3DPW sequence as arrays: the scene behind it, and what its annotation file says."""

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from hpsbench.errors import HpsbenchError
from hpsbench.synth.anatomy import BETAS
from hpsbench.synth.defects import frames_with
from hpsbench.synth.detector import detect, visible_limbs
from hpsbench.synth.motion import Motion
from hpsbench.synth.scene import FPS, Scene, make_scene
from hpsbench.synth.seeds import dataset_owner, generator
from hpsbench.synth.threedpw_plan import SequencePlan, sequence_plans
from hpsbench.synth.visibility import coco18_world, keypoints2d
from hpsbench.types import BoolArray, FloatArray, IntArray

IMU_FPS = 60.0
_LEAD, _TAIL = 7, 5  # 60 Hz frames before the first and after the last image
_ATTEMPTS = 100
_EXACT_LIMBS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A sequence before it is written.

    Attributes:
        plan: what was asked for.
        scene: at the rate of the images; its cameras are the true ones.
        motions_60hz: each person at the rate of the IMUs.
        img_frame_ids: (F,) rows of the 60 Hz arrays.
        poses2d: per person (F, 3, 18), as the detector gave them.
    """

    plan: SequencePlan
    scene: Scene
    motions_60hz: tuple[Motion, ...]
    img_frame_ids: IntArray
    poses2d: tuple[FloatArray, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackTruth:
    """What is known of one track without reading a file.

    Attributes:
        key: `<sequence>_<person>`.
        split: train, val or test.
        limbs: (F,) limb joints above the detector's threshold.
        detected: (F,) frames with any detection.
        camera_valid: (F,) frames with a good camera pose.
        joints_cam: (F, 24, 3) SMPL joints in true camera coordinates, metres.
    """

    key: str
    split: str
    limbs: IntArray
    detected: BoolArray
    camera_valid: BoolArray
    joints_cam: FloatArray


def make_sequence(plan: SequencePlan, size: str, seed: int) -> Recording:
    """Draw the scene of a planned sequence and let the detector run over it.

    A plan that is exact is drawn again until nobody leaves the picture. The same arguments give the same sequence.
    """
    for attempt in range(_ATTEMPTS):
        sequence = _draw(plan, size, seed, attempt)
        if not plan.exact or _is_exact(sequence):
            return sequence
    raise HpsbenchError(f"{plan.name}: no scene of {_ATTEMPTS} keeps everybody in the picture")


def document(sequence: Recording, size: str, seed: int) -> dict[str, Any]:
    """The content of `sequenceFiles/<split>/<name>.pkl`: keys, types and shapes of the real files."""
    plan, scene = sequence.plan, sequence.scene
    rng = generator(dataset_owner("3dpw", plan.store_split, size), "defects", _number(plan, 1), seed=seed)
    people = scene.people
    betas = [np.concatenate([p.betas, rng.normal(0, 0.3, 290)]) for p in people]
    clothed = [p.betas + rng.normal(0, 0.2, BETAS) for p in people]
    rest = np.zeros((1, 72))
    return {
        "sequence": plan.name,
        "betas": [values[: who.betas] for values, who in zip(betas, plan.people, strict=True)],
        "poses": [motion.full_pose for motion in scene.motions],
        "trans": [motion.transl for motion in scene.motions],
        "poses_60Hz": [motion.full_pose for motion in sequence.motions_60hz],
        "trans_60Hz": [motion.transl for motion in sequence.motions_60hz],
        "betas_clothed": clothed,
        "v_template_clothed": [
            person.body(0).pose(rest, values)[0][0].astype(np.float64)
            for person, values in zip(people, clothed, strict=True)
        ],
        "genders": [person.gender[0] for person in people],
        "texture_maps": [_texture(person.clothes.top) for person in people],
        "poses2d": list(sequence.poses2d),
        "jointPositions": [
            joints.astype(np.float64).reshape(plan.frames, 72) for joints in scene.joints_world
        ],
        "img_frame_ids": sequence.img_frame_ids,
        "cam_poses": _annotated_cameras(plan, scene.cam_poses, rng),
        "campose_valid": [
            (~frames_with(who.runs, ("camera",), plan.frames)).astype(np.int64) for who in plan.people
        ],
        "cam_intrinsics": scene.intrinsics,
    }


def track_truth(size: str, seed: int = 0) -> list[TrackTruth]:
    """The ground truth of every track of a size, in the order of the plan, without rendering."""
    tracks = []
    for plan in sequence_plans(size, seed):
        sequence = make_sequence(plan, size, seed)
        turn, shift = sequence.scene.cam_poses[:, :3, :3], sequence.scene.cam_poses[:, :3, 3]
        for person, who in enumerate(plan.people):
            poses2d = sequence.poses2d[person]
            joints = sequence.scene.joints_world[person].astype(np.float64)
            tracks.append(
                TrackTruth(
                    key=f"{plan.name}_{person}",
                    split=plan.store_split,
                    limbs=visible_limbs(poses2d),
                    detected=np.asarray((poses2d[:, 2] > 0).any(axis=1)),
                    camera_valid=~frames_with(who.runs, ("camera",), plan.frames),
                    joints_cam=np.einsum("tab,tjb->tja", turn, joints) + shift[:, None],
                )
            )
    return tracks


def _number(plan: SequencePlan, use: int, attempt: int = 0) -> int:
    """Item number for `seeds.generator`: a place of its own for every sequence, use and attempt."""
    return 1000 + (plan.index * _ATTEMPTS + attempt) * 4 + use


def _draw(plan: SequencePlan, size: str, seed: int, attempt: int) -> Recording:
    owner = dataset_owner("3dpw", plan.store_split, size)
    number = _number(plan, 0, attempt)
    draw = functools.partial(generator, owner, number=number, seed=seed)
    first = make_scene(
        2 * plan.frames + _LEAD + _TAIL,
        people=draw(ingredient="people"),
        motions=draw(ingredient="motions"),
        backgrounds=draw(ingredient="backgrounds"),
        cameras=draw(ingredient="cameras"),
        persons=len(plan.people),
        kind=plan.motion,
        occluders=not plan.exact,
        fps=IMU_FPS,
    )
    rows = _LEAD + 2 * np.arange(plan.frames)
    scene = _at_rows(first, rows)
    rng = draw(ingredient="defects")
    return Recording(
        plan=plan,
        scene=scene,
        motions_60hz=first.motions,
        img_frame_ids=rows,
        poses2d=_detections(plan, scene, rng),
    )


def _at_rows(scene: Scene, rows: IntArray) -> Scene:
    """The same scene at the rate of the images."""
    motions = tuple(
        replace(motion, fps=FPS, full_pose=motion.full_pose[rows], transl=motion.transl[rows])
        for motion in scene.motions
    )
    boxes = tuple(replace(box, centre=box.centre[rows]) for box in scene.boxes)
    return replace(scene, motions=motions, boxes=boxes, cam_poses=scene.cam_poses[rows], fps=FPS)


def _detections(plan: SequencePlan, scene: Scene, rng: np.random.Generator) -> tuple[FloatArray, ...]:
    found = []
    for person, who in enumerate(plan.people):
        points = coco18_world(scene, person)
        turn, shift = scene.cam_poses[:, :3, :3], scene.cam_poses[:, :3, 3]
        points_cam = np.einsum("tab,tkb->tka", turn, points) + shift[:, None]
        hidden = np.stack([keypoints2d(scene, n, person, points[n])[:, 2] == 0 for n in range(plan.frames)])
        size = (scene.width, scene.height)
        found.append(detect(points_cam, scene.intrinsics, size, rng, hidden=hidden, runs=who.runs))
    return tuple(found)


def _is_exact(sequence: Recording) -> bool:
    """Whether every frame without a planned defect has enough limb joints, and those with one exactly theirs."""
    wanted = {"undetected": 0, "few": 5, "six": 6, "seven": 7}
    for who, poses2d in zip(sequence.plan.people, sequence.poses2d, strict=True):
        limbs = visible_limbs(poses2d)
        clean = np.ones(len(limbs), dtype=bool)
        for run in who.runs:
            if run.kind in wanted:
                clean[run.first : run.stop] = False
                if (limbs[run.first : run.stop] != wanted[run.kind]).any():
                    return False
        if limbs[clean].min(initial=12) < _EXACT_LIMBS:
            return False
    return True


def _annotated_cameras(plan: SequencePlan, cam_poses: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The file's camera poses: wrong where it is marked invalid for everybody."""
    wrong = np.ones(plan.frames, dtype=bool)
    for who in plan.people:
        wrong &= frames_with(who.runs, ("camera",), plan.frames)
    poses = cam_poses.copy()
    for frame in np.flatnonzero(wrong):
        turn = Rotation.from_rotvec(rng.normal(0, 0.2, 3)).as_matrix()
        poses[frame, :3] = turn @ poses[frame, :3]
        poses[frame, :3, 3] += rng.normal(0, 0.3, 3)
    return poses


def _texture(colour: tuple[float, float, float]) -> Any:
    return np.tile(np.array(colour).astype(np.uint8), (16, 16, 1))
