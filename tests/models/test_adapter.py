"""Sliding windows over a track: what each frame's prediction was made from."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from hpsbench.errors import FeatureMismatch
from hpsbench.models import _adapter
from hpsbench.models._adapter import FeatureSystem, choose_windows
from hpsbench.models._system import HPSOutput
from hpsbench.models.mean_pose import MeanPose
from hpsbench.models.spin import Spin
from hpsbench.models.tcmr import Tcmr
from hpsbench.models.vibe import Vibe
from hpsbench.store.windows import predicted_rows, rule_windows
from hpsbench.types import ClipInput, WindowRule

TCMR_RULE = WindowRule(length=16, stride=1, predict="middle", edges="repeat-frame", short="skip")
VIBE_RULE = WindowRule(length=16, stride=16, predict="all", edges="drop", short="skip")
HMMR_RULE = WindowRule(length=20, stride=8, predict="middle", keep=8, edges="zero-image")
LAST_RULE = WindowRule(length=4, stride=1, predict="last", edges="repeat-frame", short="pad")
TRACK_RULE = WindowRule(length="track", stride="track")


class Echo(FeatureSystem):
    """Says which feature each frame had (betas 0), its place (betas 1), the window's first and last feature."""

    name: ClassVar[str] = "echo"
    context: ClassVar[WindowRule] = WindowRule(
        length=4, stride=4, edges="shift-last", overlap="cut-half", short="pad"
    )

    def __init__(self, single: bool = False) -> None:
        super().__init__(2)
        self.single = single
        self.batches: list[tuple[int, ...]] = []
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, features: torch.Tensor) -> HPSOutput:
        batch, frames, _ = features.shape
        self.batches.append(tuple(features.shape))
        betas = torch.zeros(batch, frames, 10)
        betas[..., 0] = features[..., 0]
        betas[..., 1] = torch.arange(frames)
        betas[..., 2], betas[..., 3] = features[:, :1, 0], features[:, -1:, 0]
        if self.single:
            betas = betas[:, frames // 2 : frames // 2 + 1]
        rotmat = torch.eye(3).expand(batch, betas.shape[1], 24, 3, 3)
        return HPSOutput(rotmat=rotmat, betas=betas)


def track(frames: int, windows: WindowRule | None = None, width: int = 2) -> ClipInput:
    features = np.zeros((frames, width), np.float32)
    features[:, 0] = 100 + np.arange(frames)
    return ClipInput(track="a", length=frames, frame_id=np.arange(frames), features=features, windows=windows)


@pytest.mark.parametrize("rule", [TCMR_RULE, VIBE_RULE, LAST_RULE, TRACK_RULE, None])
@pytest.mark.parametrize("frames", [1, 3, 15, 16, 17, 40, 100])
def test_every_frame_is_predicted_from_its_own_feature(rule: WindowRule | None, frames: int) -> None:
    system = Echo()
    prediction = system.predict(track(frames, rule))
    expected = predicted_rows(rule_windows(frames, rule or Echo.context))
    np.testing.assert_array_equal(prediction.rows, np.sort(expected))
    assert prediction.betas.shape == (len(expected), 10)
    assert prediction.rotmat.shape == (len(expected), 24, 3, 3)
    np.testing.assert_array_equal(prediction.betas[:, 0], 100 + prediction.rows)


def test_under_tcmrs_rule_the_ends_see_one_frame_and_the_rest_16() -> None:
    betas = Echo().predict(track(20, TCMR_RULE)).betas
    assert betas[0, :4].tolist() == [100, 8, 100, 100]
    assert betas[7, :4].tolist() == [107, 8, 107, 107]
    assert betas[8, :4].tolist() == [108, 8, 100, 115]
    assert betas[12, :4].tolist() == [112, 8, 104, 119]
    assert betas[13, :4].tolist() == [113, 8, 113, 113]
    assert betas[19, :4].tolist() == [119, 8, 119, 119]


def test_a_system_that_gives_one_frame_gives_the_same(monkeypatch) -> None:
    many, one = Echo().predict(track(20, TCMR_RULE)), Echo(single=True).predict(track(20, TCMR_RULE))
    np.testing.assert_array_equal(many.betas, one.betas)
    np.testing.assert_array_equal(many.rows, one.rows)


def test_chunks_drop_the_tail_and_the_own_rule_does_not() -> None:
    prediction = Echo().predict(track(20, VIBE_RULE))
    assert prediction.rows.tolist() == list(range(16))
    own = Echo().predict(track(10)).betas
    assert own[:, 1].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 2, 3]
    assert own[9, 2:4].tolist() == [106, 109]


def test_a_short_track_is_padded_with_its_last_frame_or_skipped() -> None:
    betas = Echo().predict(track(2)).betas
    assert betas[:, :4].tolist() == [[100, 0, 100, 101], [101, 1, 100, 101]]
    skipped = Echo().predict(track(15, VIBE_RULE))
    assert len(skipped.rows) == 0
    assert skipped.betas.shape == (0, 10)
    assert skipped.rotmat.shape == (0, 24, 3, 3)


def test_windows_are_batched_up_to_a_number_of_frames(monkeypatch) -> None:
    monkeypatch.setattr(_adapter, "FRAMES_PER_BATCH", 64)
    system = Echo()
    batched = system.predict(track(30, TCMR_RULE)).betas
    assert {shape[1:] for shape in system.batches} == {(16, 2)}
    assert [shape[0] for shape in system.batches] == [4] * 7 + [2]
    monkeypatch.setattr(_adapter, "FRAMES_PER_BATCH", 1)
    np.testing.assert_array_equal(Echo().predict(track(30, TCMR_RULE)).betas, batched)


def test_whose_windows_are_used() -> None:
    small = {"feature_width": 8, "hidden_size": 4, "regressor_hidden": 4}
    vibe, tcmr = Vibe(**small), Tcmr(**small)
    spin, mean = Spin(8, 4), MeanPose()
    for rule in (TCMR_RULE, VIBE_RULE, TRACK_RULE):
        assert choose_windows(vibe, rule) == (rule, "protocol")
        assert choose_windows(spin, rule) == (Spin.context, "system")
        assert choose_windows(mean, rule) == (rule, "protocol")
    assert choose_windows(vibe, HMMR_RULE) == (Vibe.context, "system")
    assert choose_windows(tcmr, TCMR_RULE) == (TCMR_RULE, "protocol")
    assert choose_windows(tcmr, VIBE_RULE) == (Tcmr.context, "system")
    assert choose_windows(vibe, None) == (Vibe.context, "system")
    assert choose_windows(object.__new__(_Whole), TCMR_RULE) == (None, "system")


class _Whole:
    context = None


def test_training_mode_and_gradients_are_left_as_they_were() -> None:
    vibe = Vibe(feature_width=8, hidden_size=4, regressor_hidden=4)
    clip = track(20, VIBE_RULE, width=8)
    vibe.train()
    first, second = vibe.predict(clip), vibe.predict(clip)
    np.testing.assert_array_equal(first.betas, second.betas)
    assert vibe.training
    assert all(p.grad is None and p.requires_grad for p in vibe.parameters())


def test_features_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(
        FeatureMismatch, match=r"track a: system 'echo' reads features \(5, 2\), got \(5, 7\)"
    ):
        Echo().predict(track(5, width=7))
    with pytest.raises(FeatureMismatch, match="the clip has none"):
        Echo().predict(ClipInput(track="a", length=5, frame_id=np.arange(5)))


def test_read_only_and_double_features_are_taken() -> None:
    clip = track(5)
    assert clip.features is not None
    clip.features.flags.writeable = False
    doubled = ClipInput(
        track="a", length=5, frame_id=clip.frame_id, features=clip.features.astype(np.float64)
    )
    np.testing.assert_array_equal(Echo().predict(clip).betas, Echo().predict(doubled).betas)
