"""The stand-in detector: its order, its misses, and the defects that are asked of it."""

import itertools

import numpy as np
import pytest

from hpsbench.bodies.joints import get_joint_set
from hpsbench.synth.defects import Run, draw_runs, frames_with
from hpsbench.synth.detector import detect, face_is_turned_away, visible_limbs
from hpsbench.synth.visibility import COCO18

SIZE = (640, 360)
INTRINSICS = np.array([[600.0, 0, 320], [0, 600.0, 180], [0, 0, 1]])


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(4)


@pytest.fixture
def points() -> np.ndarray:
    """(20, 18, 3) a person who faces the camera, 5 m away, camera coordinates (y down)."""
    rows = {
        "nose": (0.0, -0.60, -0.10), "neck": (0, -0.45, 0), "right_eye": (-0.03, -0.63, -0.08),
        "left_eye": (0.03, -0.63, -0.08), "right_ear": (-0.08, -0.61, 0), "left_ear": (0.08, -0.61, 0),
    }  # fmt: skip
    for side, sign in (("right", -1), ("left", 1)):
        rows |= {
            f"{side}_shoulder": (0.18 * sign, -0.45, 0), f"{side}_elbow": (0.25 * sign, -0.2, 0),
            f"{side}_wrist": (0.27 * sign, 0.05, 0), f"{side}_hip": (0.1 * sign, 0.05, 0),
            f"{side}_knee": (0.11 * sign, 0.45, 0), f"{side}_ankle": (0.11 * sign, 0.85, 0),
        }  # fmt: skip
    body = np.array([rows[name] for name in COCO18])
    return np.tile(body + np.array([0, 0, 5.0]), (20, 1, 1))


def test_the_order_is_that_of_the_dataset() -> None:
    short = [name.replace("right_", "r").replace("left_", "l") for name in COCO18]
    assert short == list(get_joint_set("3dpw18").names)


def test_detections_are_noisy_projections(points: np.ndarray, rng: np.random.Generator) -> None:
    found = detect(points, INTRINSICS, SIZE, rng)
    pixels = (points @ INTRINSICS.T)[..., :2] / points[..., 2:]
    assert found.shape == (20, 3, 18)
    error = np.linalg.norm(found[:, :2].transpose(0, 2, 1) - pixels, axis=-1)
    assert 0.3 < np.median(error) < 4
    assert (visible_limbs(found) == 12).all()


def test_a_face_seen_from_behind_is_missed(points: np.ndarray) -> None:
    assert not face_is_turned_away(points).any()
    behind = points.copy()
    behind[..., 0] *= -1
    behind[..., 2] = 10 - behind[..., 2]
    away = face_is_turned_away(behind)
    names = {COCO18[row] for row in np.flatnonzero(away[0])}
    assert (
        {"nose", "right_eye", "left_eye"}
        <= names
        <= {"nose", "right_eye", "left_eye", "right_ear", "left_ear"}
    )


@pytest.mark.parametrize(("kind", "limbs"), [("undetected", 0), ("few", 5), ("six", 6), ("seven", 7)])
def test_runs_have_exactly_their_joints(
    points: np.ndarray, rng: np.random.Generator, kind: str, limbs: int
) -> None:
    found = detect(points, INTRINSICS, SIZE, rng, runs=(Run(kind, 4, 3),))  # type: ignore[arg-type]
    counts = visible_limbs(found)
    assert (counts[4:7] == limbs).all()
    assert (np.delete(counts, [4, 5, 6]) >= 8).all()
    assert ((found[4:7, 2] > 0).sum(axis=1) >= 6).all() == (kind != "undetected")


def test_hidden_joints_lose_confidence_and_outsiders_are_zero(
    points: np.ndarray, rng: np.random.Generator
) -> None:
    hidden = np.zeros((20, 18), dtype=bool)
    hidden[:, 2:8] = True
    shifted = points.copy()
    shifted[:, 10] += (0, 2.0, 0)
    found = detect(shifted, INTRINSICS, SIZE, rng, hidden=hidden)
    assert (found[:, 2, 2:8] <= 0.5).all()
    assert (found[:, :, 10] == 0).all()


def test_fewer_than_six_joints_are_none(points: np.ndarray, rng: np.random.Generator) -> None:
    gone = points.copy()
    gone[:, 5:] += (50.0, 0, 0)
    assert (detect(gone, INTRINSICS, SIZE, rng) == 0).all()


def test_drawn_runs_keep_inside_and_apart() -> None:
    for seed in range(200):
        frames = 120
        runs = draw_runs(frames, np.random.default_rng(seed))
        assert all(run.first >= 0 and run.stop <= frames for run in runs)
        assert (
            sum(run.count for run in runs)
            == frames_with(runs, tuple({run.kind for run in runs}), frames).sum()
        )
        for one, other in itertools.pairwise(runs):
            assert other.first >= one.stop + 3 or one.kind == other.kind == "undetected"
