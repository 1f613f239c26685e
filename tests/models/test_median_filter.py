from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from hpsbench.errors import MissingCheckpoint, UsageError
from hpsbench.geometry.rotations import axis_angle_to_rotmat
from hpsbench.models._catalog import load_system
from hpsbench.models.median_filter import MedianFilter, nearest_rotation, wrap
from hpsbench.types import ClipInput, Inputs, Prediction, WindowRule


@dataclass
class Turning:
    """A body that turns evenly, but for some frames in which it is somebody else's."""

    wrong: tuple[int, ...] = ()
    name: str = "turning"
    inputs: Inputs = field(default_factory=Inputs)
    context: WindowRule | None = None
    checkpoint_sha256: str = "a" * 64

    def predict(self, clip: ClipInput) -> Prediction:
        turns = np.linspace(0, 1, clip.length)[:, None, None] * np.array([0.3, 1.0, -0.2])
        betas = np.zeros((clip.length, 10), np.float32)
        turns = np.repeat(turns, 24, axis=1)
        turns[list(self.wrong)] = 2.0
        betas[list(self.wrong)] = 5.0
        rotmat = axis_angle_to_rotmat(turns).astype(np.float32)
        return Prediction(rows=np.arange(clip.length), rotmat=rotmat, betas=betas)


def predict(system: object, frames: int) -> Prediction:
    clip = ClipInput(track="a", length=frames, frame_id=np.arange(frames))
    return system.predict(clip)  # type: ignore[attr-defined, no-any-return]


def test_single_wrong_frames_are_gone() -> None:
    clean, spoilt = predict(Turning(), 30), predict(wrap(Turning(wrong=(4, 9, 12, 20))), 30)
    assert np.abs(spoilt.betas).max() == 0
    step = np.abs(clean.rotmat[1] - clean.rotmat[0]).max()
    assert np.abs(spoilt.rotmat - clean.rotmat)[2:-2].max() < 2 * step
    assert np.abs(predict(Turning(wrong=(4,)), 30).rotmat - clean.rotmat).max() > 10 * step


def test_more_than_half_of_the_window_is_not_outvoted() -> None:
    assert np.abs(predict(wrap(Turning(wrong=(10, 11, 12))), 30).betas[11]).max() == 5
    assert np.abs(predict(wrap(Turning(wrong=(10, 11, 12)), 7), 30).betas).max() == 0


def test_rotations_stay_rotations_and_rows_and_types_stay() -> None:
    made = predict(wrap(Turning(wrong=(0, 1, 5, 6, 7))), 12)
    identity = np.swapaxes(made.rotmat, -1, -2) @ made.rotmat
    np.testing.assert_allclose(identity, np.broadcast_to(np.eye(3), identity.shape), atol=1e-5)
    assert (np.linalg.det(made.rotmat) > 0).all()
    assert made.rotmat.dtype == np.float32
    np.testing.assert_array_equal(made.rows, np.arange(12))
    assert len(predict(wrap(Turning()), 1).rows) == 1


def test_the_nearest_rotation_is_that_of_singular_values() -> None:
    matrices = torch.from_numpy(np.random.default_rng(0).normal(size=(200, 3, 3)))
    left, _, right = torch.linalg.svd(matrices)
    sign = torch.linalg.det(left @ right)
    expected = torch.cat([left[..., :2], left[..., 2:] * sign[:, None, None]], dim=-1) @ right
    torch.testing.assert_close(nearest_rotation(matrices), expected, atol=1e-6, rtol=0)


def test_it_says_what_it_filters() -> None:
    system = wrap(Turning(), 9)
    assert (system.name, system.checkpoint_sha256) == ("turning+median9", "a" * 64)
    assert system.options["window"] == 9
    assert system.inputs == Turning().inputs
    with pytest.raises(UsageError, match="odd"):
        MedianFilter(window=4)


def test_any_model_is_filtered_by_its_name() -> None:
    filtered = load_system("median9:embedded-spin")
    assert filtered.name == "spin+median9"
    assert filtered.inputs == load_system("embedded-spin").inputs
    with pytest.raises(MissingCheckpoint, match=r"no checkpoint 'nothing\.pt'"):
        load_system("median:nothing.pt")
    with pytest.raises(UsageError, match="odd"):
        load_system("median4:embedded-spin")
