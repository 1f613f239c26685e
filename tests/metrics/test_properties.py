"""What holds for every metric: identity, symmetries, units, and a defined value for any degenerate body.

Numbers by hand and independent references are in the files of the single metrics.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from hpsbench import metrics
from hpsbench.errors import BadData
from hpsbench.metrics.motion import FOOT_VERTICES

Metric = Callable[[Any, Any], Any]

JOINTS: dict[str, Metric] = {
    "joint_error": metrics.joint_error,
    "mpjpe": lambda p, t: metrics.mpjpe(p, t, root=[2, 3]),
    "pa_mpjpe": metrics.pa_mpjpe,
    "pck": lambda p, t: metrics.pck(p, t, threshold=60),
    "auc": metrics.auc,
    "accel_err": metrics.accel_err,
    "accel_pred": lambda p, t: metrics.accel_pred(p),
    "jitter": lambda p, t: metrics.jitter(p, fps=30),
    "w_mpjpe": metrics.w_mpjpe,
    "wa_mpjpe": metrics.wa_mpjpe,
    "pve": metrics.pve,
}
OTHERS = ("rte", "foot_sliding", "mpjae")
PER_FRAME = ("joint_error", "mpjpe", "pa_mpjpe", "pck", "auc", "pve", "wa_mpjpe")
LENGTHS = (
    "joint_error",
    "mpjpe",
    "pa_mpjpe",
    "accel_err",
    "accel_pred",
    "jitter",
    "w_mpjpe",
    "wa_mpjpe",
    "pve",
)
ONE_SIDED = ("accel_pred", "jitter")
every = pytest.mark.parametrize("name", JOINTS)


def rotation(rng: np.random.Generator) -> np.ndarray:
    return np.asarray(Rotation.random(rng=rng).as_matrix())


def feet_of(joints: np.ndarray) -> np.ndarray:
    """(T, 6890, 3) meshes whose four foot vertices are the first four joints."""
    mesh = np.zeros((len(joints), 6890, 3))
    mesh[:, list(FOOT_VERTICES)] = joints[:, :4]
    return mesh


def slow(joints: np.ndarray) -> np.ndarray:
    """The first frame, and a hundredth of the way to the others: feet that mostly stand."""
    return joints[:1] + 0.01 * (joints - joints[:1])


@pytest.fixture
def close_pair(make_pair: Callable[..., tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """A prediction near its target, both in one frame of coordinates: 24 frames of 14 joints."""
    _, target = make_pair(frames=24)
    return target + 0.03 * np.random.default_rng(7).normal(size=target.shape), target


def test_every_public_metric_is_here() -> None:
    told = {line.split("|")[1] for line in (metrics.__doc__ or "").splitlines() if line.startswith("| `")}
    names = {name.strip(" `") for cell in told for name in cell.split(",")}
    assert names == {*JOINTS, *OTHERS}


@every
def test_a_perfect_prediction(name: str, close_pair: tuple[np.ndarray, np.ndarray]) -> None:
    target = close_pair[1]
    if name in ONE_SIDED:
        target = np.repeat(target[:1], 24, axis=0)
    best = {"pck": 100, "auc": 100 * 30 / 31}.get(name, 0)
    np.testing.assert_allclose(JOINTS[name](target, target), best, atol=1e-9)


def test_a_perfect_path_perfect_feet_and_perfect_rotations(
    close_pair: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
) -> None:
    target = close_pair[1]
    np.testing.assert_allclose(metrics.rte(target[:, 0], target[:, 0]), 0, atol=1e-9)
    still = feet_of(np.repeat(target[:1], 24, axis=0))
    np.testing.assert_allclose(metrics.foot_sliding(still, still), 0)
    turns = Rotation.random(24 * 9, rng=rng).as_matrix().reshape(24, 9, 3, 3)
    np.testing.assert_allclose(metrics.mpjae(turns, turns), 0, atol=1e-6)


@every
def test_joints_may_be_in_any_order(name: str, close_pair: tuple[np.ndarray, np.ndarray]) -> None:
    pred, target = close_pair
    order = np.r_[np.arange(4), 4 + np.random.default_rng(0).permutation(10)]  # roots stay where they are
    moved = JOINTS[name](pred[:, order], target[:, order])
    np.testing.assert_allclose(moved, JOINTS[name](pred, target), atol=1e-7)


def test_rotations_and_feet_may_be_in_any_order(
    close_pair: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
) -> None:
    pred, target = (Rotation.random(24 * 9, rng=rng).as_matrix().reshape(24, 9, 3, 3) for _ in range(2))
    order = rng.permutation(9)
    np.testing.assert_allclose(metrics.mpjae(pred[:, order], target[:, order]), metrics.mpjae(pred, target))
    p, t = close_pair[0], slow(close_pair[1])
    values = [metrics.foot_sliding(feet_of(p[:, o]), feet_of(t[:, o])) for o in (np.arange(4), [2, 0, 3, 1])]
    np.testing.assert_allclose(np.sort(values[0]), np.sort(values[1]))


@pytest.mark.parametrize("name", PER_FRAME)
def test_frames_may_be_in_any_order(name: str, close_pair: tuple[np.ndarray, np.ndarray]) -> None:
    """A chunk of `wa_mpjpe` is aligned as a whole, so the order inside it does not matter either."""
    pred, target = close_pair
    order = np.random.default_rng(0).permutation(24)
    np.testing.assert_allclose(
        JOINTS[name](pred[order], target[order]), np.asarray(JOINTS[name](pred, target))[order], atol=1e-7
    )


def test_rotations_of_frames_in_any_order(rng: np.random.Generator) -> None:
    pred, target = (Rotation.random(24 * 9, rng=rng).as_matrix().reshape(24, 9, 3, 3) for _ in range(2))
    order = rng.permutation(24)
    np.testing.assert_allclose(metrics.mpjae(pred[order], target[order]), metrics.mpjae(pred, target)[order])


@pytest.mark.parametrize("name", ["accel_err", "accel_pred", "jitter"])
def test_time_may_run_backwards(name: str, close_pair: tuple[np.ndarray, np.ndarray]) -> None:
    pred, target = close_pair
    back = np.asarray(JOINTS[name](pred[::-1].copy(), target[::-1].copy()))
    np.testing.assert_allclose(back[::-1], JOINTS[name](pred, target), atol=1e-7)


def test_paths_and_feet_may_run_backwards(close_pair: tuple[np.ndarray, np.ndarray]) -> None:
    pred, target = close_pair[0], slow(close_pair[1])
    path = metrics.rte(pred[::-1, 0].copy(), target[::-1, 0].copy())[::-1]
    np.testing.assert_allclose(path, metrics.rte(pred[:, 0], target[:, 0]))
    feet = metrics.foot_sliding(feet_of(pred[::-1]), feet_of(target[::-1]))
    np.testing.assert_allclose(np.sort(feet), np.sort(metrics.foot_sliding(feet_of(pred), feet_of(target))))
    assert 0 < len(feet) < 23 * 4


@every
def test_where_both_sides_are_together_does_not_matter(
    name: str, close_pair: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
) -> None:
    turn, shift = rotation(rng), rng.normal(size=3)
    moved = [side @ turn + shift for side in close_pair]
    np.testing.assert_allclose(JOINTS[name](*moved), JOINTS[name](*close_pair), atol=1e-6)


def test_where_paths_feet_and_rotations_are_together_does_not_matter(
    close_pair: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
) -> None:
    turn, shift = rotation(rng), rng.normal(size=3)
    pred, target = close_pair[0], slow(close_pair[1])
    moved = [side @ turn + shift for side in (pred, target)]
    np.testing.assert_allclose(
        metrics.rte(moved[0][:, 0], moved[1][:, 0]), metrics.rte(pred[:, 0], target[:, 0]), atol=1e-7
    )
    feet = [metrics.foot_sliding(feet_of(p), feet_of(t)) for p, t in ((pred, target), moved)]
    np.testing.assert_allclose(feet[0], feet[1], atol=1e-7)
    sides = [Rotation.random(24 * 9, rng=rng).as_matrix().reshape(24, 9, 3, 3) for _ in range(2)]
    np.testing.assert_allclose(metrics.mpjae(*(turn @ s for s in sides)), metrics.mpjae(*sides), atol=1e-6)


@pytest.mark.parametrize(
    "name", ["mpjpe", "pa_mpjpe", "accel_err", "accel_pred", "jitter", "w_mpjpe", "wa_mpjpe"]
)
def test_a_shift_of_the_prediction_alone_is_no_error(
    name: str, close_pair: tuple[np.ndarray, np.ndarray]
) -> None:
    pred, target = close_pair
    np.testing.assert_allclose(
        JOINTS[name](pred + np.array([1, -2, 3]), target), JOINTS[name](pred, target), atol=1e-6
    )


@pytest.mark.parametrize("name", ["pa_mpjpe", "w_mpjpe", "wa_mpjpe"])
def test_a_similarity_of_the_prediction_alone_is_no_error(
    name: str, close_pair: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
) -> None:
    pred, target = close_pair
    moved = 1.7 * pred @ rotation(rng) + rng.normal(size=3)
    np.testing.assert_allclose(JOINTS[name](moved, target), JOINTS[name](pred, target), atol=1e-6)


def test_a_path_may_be_moved_rigidly(
    close_pair: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
) -> None:
    pred, target = (side[:, 0] for side in close_pair)
    moved = pred @ rotation(rng) + rng.normal(size=3)
    np.testing.assert_allclose(metrics.rte(moved, target), metrics.rte(pred, target), atol=1e-7)


def test_rte_agrees_with_scipys_alignment(close_pair: tuple[np.ndarray, np.ndarray]) -> None:
    pred, target = (side[:, 0] for side in close_pair)
    p, t = pred - pred.mean(0), target - target.mean(0)
    aligned = p @ Rotation.align_vectors(t, p)[0].as_matrix().T
    length = np.linalg.norm(np.diff(target, axis=0), axis=-1).sum()
    expected = 100 * np.linalg.norm(aligned - t, axis=-1) / length
    np.testing.assert_allclose(metrics.rte(pred, target), expected, rtol=1e-6)


@pytest.mark.parametrize("name", LENGTHS)
def test_twice_as_large_bodies_have_twice_the_error(
    name: str, close_pair: tuple[np.ndarray, np.ndarray]
) -> None:
    pred, target = close_pair
    twice = np.asarray(JOINTS[name](2 * pred, 2 * target))
    np.testing.assert_allclose(twice, 2 * np.asarray(JOINTS[name](pred, target)), atol=1e-6)


def test_an_error_relative_to_a_path_has_no_size(close_pair: tuple[np.ndarray, np.ndarray]) -> None:
    pred, target = (side[:, 0] for side in close_pair)
    np.testing.assert_allclose(metrics.rte(2 * pred, 2 * target), metrics.rte(pred, target), rtol=1e-9)


# Points on top of each other, on a line, in a plane, nearly so, mirrored: whatever a few numbers can make.
NUMBERS = st.sampled_from([0.0, 1.0, -1.0, 0.5, 1e-9, 1 / 3])
BODIES = arrays(np.float64, (5, 6, 3), elements=NUMBERS)
PATHS = arrays(np.float64, (5, 3), elements=NUMBERS)
few = settings(max_examples=25, deadline=None, derandomize=True)
SIZES = {"accel_err": 3, "accel_pred": 3, "jitter": 2}


@every
@few
@given(pred=BODIES, target=BODIES)
def test_every_degenerate_body_has_a_defined_value(name: str, pred: np.ndarray, target: np.ndarray) -> None:
    values = np.asarray(JOINTS[name](pred, target))
    assert values.shape == (SIZES.get(name, 5),)
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    if name in ("pck", "auc"):
        assert (values <= 100).all()
    other = JOINTS[name](torch.tensor(pred), torch.tensor(target))
    if name not in ("pa_mpjpe", "w_mpjpe", "wa_mpjpe"):  # of equally good alignments either may be taken
        np.testing.assert_allclose(np.asarray(other), values, atol=1e-6)
    assert np.isfinite(np.asarray(other)).all()


@few
@given(pred=PATHS, target=PATHS)
def test_every_degenerate_path_has_a_value_or_a_reason(pred: np.ndarray, target: np.ndarray) -> None:
    moves = [float(np.abs(np.diff(path, axis=0)).max()) for path in (pred, target)]
    if moves[1] == 0 and 0 < moves[0] < 1e-6:
        return  # a billionth of a metre may count as no move
    if moves[0] > 0 and moves[1] == 0:
        with pytest.raises(BadData, match="does not move"):
            metrics.rte(pred, target)
        return
    values = metrics.rte(pred, target)
    assert values.shape == (5,)
    assert np.isfinite(values).all()
    assert (values >= 0).all()


TURNS = st.sampled_from(
    [(0.0, 0, 0), (np.pi, 0, 0), (0, np.pi, 0), (0, 0, -np.pi), (1e-9, 0, 0), (np.pi - 1e-9, 0, 0)]
)


@few
@given(st.lists(TURNS, min_size=8, max_size=8), st.lists(TURNS, min_size=8, max_size=8))
def test_no_turn_and_half_turns_have_an_angle(pred: list[Any], target: list[Any]) -> None:
    first, second = (Rotation.from_rotvec(side).as_matrix().reshape(4, 2, 3, 3) for side in (pred, target))
    values = metrics.mpjae(first, second)
    assert np.isfinite(values).all()
    assert ((values >= 0) & (values <= 180 + 1e-9)).all()
    np.testing.assert_allclose(values, metrics.mpjae(second, first), atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(pred=BODIES, target=BODIES)
def test_feet_have_as_many_values_as_stand(pred: np.ndarray, target: np.ndarray) -> None:
    meshes = feet_of(pred), feet_of(target)
    values = metrics.foot_sliding(*meshes)
    assert values.shape == (int(np.sum(metrics.foot_contacts(meshes[1]))),)
    assert np.isfinite(values).all()
