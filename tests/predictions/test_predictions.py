from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hpsbench.errors import BadData, MissingPrediction, ShapeError
from hpsbench.predictions.predictions import Predictions, require_all

Make = Callable[..., Predictions]
POSE = {"rotmat": np.zeros((6, 24, 3, 3)), "betas": np.zeros((6, 10))}


def test_frames_are_located_by_track_and_frame(make_predictions: Make) -> None:
    predictions = make_predictions()
    tracks, frames = np.array(["b_0", "a_0", "c_0", "a_0", "b_0"]), np.array([2, 4, 4, 9, -3])
    assert predictions.locate(tracks, frames).tolist() == [5, 0, -1, -1, -1]
    np.testing.assert_array_equal(
        predictions.take("joints3d", np.array([5, 0])), predictions.arrays["joints3d"][[5, 0]]
    )


def test_frames_are_located_by_row_of_a_store(make_predictions: Make) -> None:
    predictions = make_predictions(track=None, frame_id=None, row=[9, 8, 7, 3, 2, 1])
    assert predictions.locate(np.array(["x"]), np.array([0]), np.array([8])).tolist() == [1]
    with pytest.raises(BadData, match="keyed by row"):
        predictions.locate(np.array(["x"]), np.array([0]))


def test_missing_frames_are_counted_and_named() -> None:
    places, tracks, frames = np.array([0, -1, -1, -1]), np.array(["a", "a", "b", "b"]), np.array([1, 2, 3, 4])
    require_all(places, np.array([True, False, False, False]), tracks, frames)
    with pytest.raises(
        MissingPrediction, match=r"2 of 3 scored frames have no prediction \(in 1 tracks\).*track b, frame 3"
    ):
        require_all(places, np.array([True, False, True, True]), tracks, frames)


def test_defaults_are_the_camera_and_metres(make_predictions: Make) -> None:
    attrs = make_predictions().attrs
    assert (attrs["frame"], attrs["unit"], attrs["version"]) == ("camera", "m", 1)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"arrays": {"joint3d": np.zeros((6, 14, 3))}},
            BadData,
            r"unknown array 'joint3d'. Did you mean 'joints3d'\?",
        ),
        (
            {"arrays": {"joints3d": np.zeros((6, 14, 2))}},
            ShapeError,
            r"expected \(6, J, 3\), got \(6, 14, 2\)",
        ),
        (
            {"arrays": {"joints3d": np.zeros((5, 14, 3))}},
            ShapeError,
            r"expected \(6, J, 3\), got \(5, 14, 3\)",
        ),
        ({"arrays": {"joints3d": np.zeros((6, 17, 3))}}, ShapeError, "17 joints, joint_set lsp14 has 14"),
        ({"attrs": {}}, BadData, "joints3d needs the attribute joint_set"),
        ({"attrs": {"joint_set": "lsp14", "unit": "mm"}}, BadData, "unit is 'mm'; convert to metres"),
        ({"attrs": {"joint_set": "lsp14", "frame": "body"}}, BadData, "frame is 'body'"),
        ({"attrs": {"joint_set": "lsp14", "format": "other"}}, BadData, "format is 'other'"),
        (
            {"attrs": {"joint_set": "lsp14", "version": 9}},
            BadData,
            "version 9; this hpsbench reads version 1",
        ),
        ({"arrays": {"rotmat": POSE["rotmat"]}}, BadData, "rotmat or axis_angle without betas"),
        ({"arrays": {"betas": POSE["betas"]}}, BadData, "betas without a pose"),
        (
            {"arrays": {**POSE, "axis_angle": np.zeros((6, 72))}},
            BadData,
            "rotmat and axis_angle are both there",
        ),
        ({"arrays": {"camera": np.zeros((6, 3))}}, BadData, "none of"),
        ({"track": None}, BadData, "needs a key"),
        ({"frame_id": [4, 5, 4, 0, 1, 2]}, BadData, "track a_0, frame 4 occurs twice"),
        ({"track": None, "row": [0, 1, 2, 3, 1, 5]}, BadData, "row 1 occurs twice"),
        ({"frame_id": [4.5, 5, 6, 0, 1, 2]}, BadData, "frame_id must be whole numbers"),
        ({"frame_id": [4, 5, 6]}, ShapeError, r"frame_id: expected \(6,\), got \(3,\)"),
    ],
)
def test_bad_predictions_are_refused(
    make_predictions: Make, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make_predictions(**changes)


@pytest.mark.parametrize(
    "arrays",
    [
        POSE,
        {"axis_angle": np.zeros((6, 72)), "betas": np.zeros((6, 10))},
        {"vertices": np.zeros((6, 6890, 3))},
    ],
)
def test_each_kind_of_prediction_is_accepted(make_predictions: Make, arrays: dict[str, Any]) -> None:
    assert len(make_predictions(arrays={**arrays, "transl": np.zeros((6, 3))})) == 6


def test_whole_numbers_of_a_table_may_be_floats(make_predictions: Make) -> None:
    assert make_predictions(frame_id=[4.0, 5.0, 6.0, 0.0, 1.0, 2.0]).frame_id.dtype == np.int64
