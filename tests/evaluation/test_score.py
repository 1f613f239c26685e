from typing import Any

import numpy as np
import pytest
import torch

import hpsbench as hb
from hpsbench.errors import (
    BadData,
    MissingPrediction,
    ProtocolMismatch,
    ShapeError,
    UnitError,
    UnknownName,
    UsageError,
)
from hpsbench.results.result import Result

N = 40
TRACK = np.repeat(["a_0", "b_0"], [20, 20])


@pytest.fixture
def target() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.3, (N, 14, 3))


def score(pred: Any, target: Any, protocol: str = "tcmr", **options: Any) -> Result:
    return hb.score(protocol, {"joints3d": pred}, {"joints3d": target}, track=TRACK, **options)


def test_one_joint_moved_by_10_mm_is_10_over_14(target: np.ndarray) -> None:
    pred = target.copy()
    pred[:, 0, 1] += 0.01
    assert score(pred, target).summary["mpjpe"] == pytest.approx(10 / 14)


def test_the_root_is_taken_off_both_sides(target: np.ndarray) -> None:
    moved = score(target + np.array([1, 2, 3]), target + np.array([0, 0, 5]))
    assert moved.summary["mpjpe"] == pytest.approx(0, abs=1e-9)
    hip = target.copy()
    hip[:, 2, 0] += 0.02  # the right hip: the root moves by 10 mm, so 13 joints are off by 10, the hip by 10
    assert score(hip, target).summary["mpjpe"] == pytest.approx(10)


def test_all_17_joints_of_the_regressor_are_selected_by_name(target: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    rows = [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10]
    many_pred, many_target = rng.normal(0, 0.3, (2, N, 17, 3))
    assert score(many_pred, many_target).summary == score(many_pred[:, rows], many_target[:, rows]).summary


def test_joints_of_another_set_are_named(target: np.ndarray) -> None:
    coco = np.random.default_rng(1).normal(0, 0.3, (N, 19, 3))
    pred = {"joints3d": coco, "joint_set": "smplcoco19"}
    result = hb.score("tcmr", pred, {"joints3d": target}, track=TRACK)
    assert result.summary == score(coco[:, :14], target).summary


def test_torch_tensors_and_lists_are_arrays_too(target: np.ndarray) -> None:
    pred = target + 0.01 * np.random.default_rng(2).normal(size=target.shape)
    plain = score(pred, target, seen=[True] * 30 + [False] * 10)
    tensors = score(torch.tensor(pred), torch.tensor(target), seen=torch.arange(N) < 30)
    assert plain.summary == tensors.summary


def test_a_protocol_or_its_name_may_be_given(target: np.ndarray) -> None:
    by_name = hb.score("tcmr@1", {"joints3d": target}, {"joints3d": target}, track=TRACK)
    given = hb.score(hb.get_protocol("tcmr"), {"joints3d": target}, {"joints3d": target}, track=TRACK)
    assert by_name.protocol == given.protocol == "tcmr@1"
    with pytest.raises(UnknownName, match="Did you mean 'tcmr'"):
        hb.score("tcmrr", {"joints3d": target}, {"joints3d": target}, track=TRACK)


def test_vertices_give_the_mesh_error_and_their_absence_a_reason(target: np.ndarray) -> None:
    mesh = np.random.default_rng(3).normal(0, 0.3, (N, 300, 3))
    pred = {"joints3d": target, "vertices": mesh + np.array([0, 0.003, 0.004])}
    with_mesh = hb.score("tcmr", pred, {"joints3d": target, "vertices": mesh}, track=TRACK)
    assert with_mesh.summary["pve_raw"] == pytest.approx(5)
    assert "pve_raw" not in with_mesh.absent
    one = hb.score("tcmr", pred, {"joints3d": target}, track=TRACK)
    assert one.absent == {"pve_raw": "target without vertices"}
    assert "pve_raw" not in one.summary
    assert score(target, target).absent == {"pve_raw": "prediction and target without vertices"}


def test_mesh_errors_count_scored_frames_only(target: np.ndarray) -> None:
    mesh = np.zeros((N, 10, 3))
    pred = mesh + np.arange(N)[:, None, None] * [0.001, 0, 0]
    sides = {"joints3d": target, "vertices": pred}, {"joints3d": target, "vertices": mesh}
    result = hb.score("vibe", *sides, track=TRACK)
    assert result.summary["pve_raw"] == pytest.approx(np.mean([*range(16), *range(20, 36)]))


def test_frame_numbers_end_segments_where_gaps_break(target: np.ndarray) -> None:
    frames = np.concatenate([np.arange(10), np.arange(20, 30), np.arange(20)])
    broken = score(target, target, "wham-camera", frame_id=frames)
    whole = score(target, target, "wham-camera")
    assert (broken.summary["accel_err"].n, whole.summary["accel_err"].n) == (6 + 6 + 16, 32)


def test_sequences_are_pooled_and_resampled(target: np.ndarray) -> None:
    rng = np.random.default_rng(4)
    pred = target + rng.normal(0, 0.05, target.shape)
    few = score(pred, target).summary["mpjpe"]
    assert few.interval is None
    assert few.why_no_interval == "2 sequences; an interval needs at least 6"
    track = np.repeat([f"s{i}_{p}" for i in range(8) for p in range(2)], 16)
    many_target = rng.normal(0, 0.3, (len(track), 14, 3))
    many = many_target + rng.normal(0, 0.05, many_target.shape)
    result = hb.score("tcmr", {"joints3d": many}, {"joints3d": many_target}, track=track)
    value = result.summary["mpjpe"]
    assert value.sequences == 8
    assert value.interval[0] < value < value.interval[1]
    assert result.sequences["sequence"].tolist() == [f"s{i}" for i in range(8)]
    assert result.sequences["tracks"].tolist() == [2] * 8
    assert score(pred, target, sequence=["x"] * N).summary["mpjpe"].sequences == 1


def test_means_can_be_taken_again_from_the_tables(target: np.ndarray) -> None:
    pred = target + np.random.default_rng(5).normal(0, 0.05, target.shape)
    result = score(pred, target, "meva", seen=np.arange(N) != 3)
    for name, value in result.summary.items():
        frames = result.frames[["track", name]].dropna()
        assert len(frames) == value.n
        assert frames[name].mean() == pytest.approx(value.by_average["frame"])
        assert frames.groupby("track")[name].mean().mean() == pytest.approx(value.by_average["track"])
        assert value == pytest.approx(value.by_average[value.average])
        rows = result.sequences
        assert np.average(rows[name], weights=rows[f"{name}_n"]) == pytest.approx(value.by_average["frame"])
        assert rows[name].mean() == pytest.approx(value.by_average["video"])


def test_batches_of_2_and_3_frames_are_like_any_other(target: np.ndarray) -> None:
    pred = target + np.random.default_rng(6).normal(0, 0.05, target.shape)
    whole = score(pred, target, "wham-camera").frames["pa_mpjpe"].to_numpy()
    for n in (1, 2, 3, 4):
        sides = {"joints3d": pred[:n]}, {"joints3d": target[:n]}
        few = hb.score("wham-camera", *sides, track=TRACK[:n])
        np.testing.assert_allclose(few.frames["pa_mpjpe"], whole[:n])


@pytest.mark.parametrize(("place", "accelerations"), [(0, 0), (19, 0), (1, 1), (10, 1)])
def test_a_segment_with_a_single_valid_frame(place: int, accelerations: int) -> None:
    """Its first and last frame have no acceleration; any other has one, with neighbours that are not valid."""
    rng = np.random.default_rng(7)
    target = rng.normal(0, 0.3, (20, 17, 3))
    sides = {"joints3d": target + 0.01}, {"joints3d": target}
    result = hb.score(
        "tcmr", *sides, track=["a_0"] * 20, scored=np.arange(20) == place, dataset="mpi-inf-3dhp"
    )
    assert result.summary["mpjpe"].n == 1
    if accelerations:
        assert result.summary["accel_err"].n == 1
    else:
        assert result.absent["accel_err"] == "no track has enough neighbouring frames"


@pytest.mark.parametrize("protocol", ["tcmr", "vibe", "meva", "hmmr", "wham-camera"])
def test_a_name_that_comes_back_is_the_same_track(protocol: str, target: np.ndarray) -> None:
    """Two people whose rows alternate are scored as if they came one after the other."""
    pred = target + np.random.default_rng(6).normal(0, 0.05, target.shape)
    mixed = np.argsort(np.tile(np.arange(20), 2), kind="stable")
    time = np.tile(np.arange(20), 2)
    apart = score(pred, target, protocol, frame_id=time)
    sides = {"joints3d": pred[mixed]}, {"joints3d": target[mixed]}
    alternating = hb.score(protocol, *sides, track=TRACK[mixed], frame_id=time[mixed])
    assert {k: v.value for k, v in alternating.summary.items()} == pytest.approx(
        {k: v.value for k, v in apart.summary.items()}
    )
    assert alternating.accounting == apart.accounting


def test_collapsed_predictions_are_counted_and_defined(target: np.ndarray) -> None:
    pred = target.copy()
    pred[5] = 0.3
    result = score(pred, target)
    assert result.accounting["degenerate"] == 1
    spread = np.linalg.norm(target[5] - target[5].mean(axis=0), axis=-1).mean() * 1000
    assert result.frames["pa_mpjpe"][5] == pytest.approx(spread)


def test_frames_without_finite_joints_are_missing_not_skipped(target: np.ndarray) -> None:
    pred = target.copy()
    pred[[3, 25], 0] = np.nan
    with pytest.raises(
        MissingPrediction,
        match="pred: 2 of 40 scored frames have no finite joints, the first is track a_0, frame 3",
    ):
        score(pred, target)
    with pytest.raises(BadData, match="target: 2 of 40"):
        score(target, pred)
    allowed = score(pred, target, scored=~np.isin(np.arange(N), [3, 25]))
    assert allowed.summary["mpjpe"].n == 38
    # Values whose neighbours are not finite go with them: 2, 3, 4 and 24, 25, 26 of 36.
    assert allowed.summary["accel_err"].n == 30


def test_no_scored_frame_is_a_result_with_reasons(target: np.ndarray) -> None:
    result = score(target, target, seen=np.zeros(N, bool))
    assert not result.summary
    assert result.absent["mpjpe"] == "no frame is scored"
    assert result.accounting["masked_by_reason"] == {"not valid": N}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"pred": {}}, ProtocolMismatch, "pred: no joints3d"),
        (
            {"pred": {"joints3d": np.zeros((N, 13, 3))}},
            ProtocolMismatch,
            r"13 joints; the protocol scores 14 \(lsp14\) or 17",
        ),
        (
            {"pred": {"joints3d": np.zeros((N, 14, 2))}},
            ShapeError,
            r"expected \(40, J, 3\), got \(40, 14, 2\)",
        ),
        (
            {"pred": {"joints3d": np.zeros((39, 14, 3))}},
            ShapeError,
            r"expected \(40, J, 3\), got \(39, 14, 3\)",
        ),
        ({"pred": {"joints3d": np.zeros((N, 14, 3)), "verts": 0}}, UsageError, "unknown key 'verts'"),
        (
            {"pred": {"joints3d": np.zeros((N, 16, 3)), "joint_set": "lsp14"}},
            ShapeError,
            "16 joints, but joint_set lsp14",
        ),
        (
            {"pred": {"joints3d": np.zeros((N, 18, 3)), "joint_set": "3dpw18"}},
            ProtocolMismatch,
            "cannot be scored as lsp14",
        ),
        ({"seen": np.ones(3, bool)}, ShapeError, r"seen: expected \(40,\) bool"),
        ({"scored": np.ones(N)}, ShapeError, r"scored: expected \(40,\) bool, got \(40,\) float64"),
        ({"frame_id": np.ones(N)}, ShapeError, r"frame_id: expected \(40,\) integers"),
        ({"sequence": ["a"]}, ShapeError, r"sequence: expected \(40,\) names"),
        ({"track": [["a"]]}, ShapeError, r"track: expected \(N,\) names"),
        ({"dataset": "amass"}, ProtocolMismatch, "does not cover dataset 'amass'"),
        (
            {"protocol": "spin"},
            ProtocolMismatch,
            r"the protocol's root h36m17_regressor/hip is none of the 14",
        ),
    ],
)
def test_bad_input_is_named(
    target: np.ndarray, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    call = {"protocol": "tcmr", "pred": {"joints3d": target}, "target": {"joints3d": target}, "track": TRACK}
    with pytest.raises(error, match=message):
        hb.score(**{**call, **change})


def test_millimetres_are_recognised(target: np.ndarray) -> None:
    with pytest.raises(UnitError, match="are these millimetres"):
        score(target * 1000, target)
