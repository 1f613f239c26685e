import numpy as np
import pytest

from hpsbench.errors import UsageError
from hpsbench.tables.median import MedianFiltered, nearest_rotation
from hpsbench.types import ClipInput, Inputs, Prediction, WindowRule


class Given:
    """A system that says what it is told."""

    name = "given"
    inputs = Inputs()
    context: WindowRule | None = None

    def __init__(self, prediction: Prediction) -> None:
        self.prediction = prediction

    def predict(self, clip: ClipInput) -> Prediction:
        return self.prediction


def predict(prediction: Prediction, length: int = 3) -> Prediction:
    clip = ClipInput(track="t", length=len(prediction.rows), frame_id=prediction.rows)
    return MedianFiltered(Given(prediction), length).predict(clip)


def test_one_wrong_frame_is_gone() -> None:
    joints = np.zeros((9, 14, 3), np.float32)
    joints[4] = 7.0
    found = predict(Prediction(rows=np.arange(9), joints3d=joints, joint_set="lsp14"))
    assert found.joints3d is not None
    assert not found.joints3d.any()
    assert found.joints3d.dtype == np.float32


def test_rotations_stay_rotations(rng: np.random.Generator) -> None:
    rotmat = nearest_rotation(rng.normal(size=(8, 24, 3, 3)))
    found = predict(Prediction(rows=np.arange(8), rotmat=rotmat, betas=np.zeros((8, 10))), length=5).rotmat
    assert found is not None
    np.testing.assert_allclose(
        found @ found.swapaxes(-1, -2), np.broadcast_to(np.eye(3), found.shape), atol=1e-9
    )
    np.testing.assert_allclose(np.linalg.det(found), 1)


def test_a_still_person_stays_as_predicted(rng: np.random.Generator) -> None:
    rotmat = np.repeat(nearest_rotation(rng.normal(size=(1, 24, 3, 3))), 6, axis=0)
    found = predict(Prediction(rows=np.arange(6), rotmat=rotmat, betas=np.zeros((6, 10)))).rotmat
    np.testing.assert_allclose(found, rotmat, atol=1e-12)


def test_an_even_filter_is_refused() -> None:
    with pytest.raises(UsageError, match="odd"):
        MedianFiltered(Given(Prediction(rows=np.arange(1), vertices=np.zeros((1, 6890, 3)))), 4)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)
