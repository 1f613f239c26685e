"""Temporal SMPLify behind a system: what it is given, what it changes, and what it says of itself."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpsbench.bodies.smpl import BodyModel, load_bodies
from hpsbench.errors import MissingCheckpoint, UsageError
from hpsbench.geometry.cameras import project_crop
from hpsbench.geometry.rotations import axis_angle_to_rotmat
from hpsbench.models._catalog import load_system
from hpsbench.models._fitted import Fitted, Prior, fit_behind, in_crop
from hpsbench.synth.body import write_body_models
from hpsbench.types import ClipInput, Inputs, Prediction

FRAMES = 4
BOX = np.array([[300.0, 200.0, 100.0, 100.0]] * FRAMES)
CAMERA = np.array([[0.9, 0.02, 0.1]] * FRAMES, np.float32)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bodies")
    write_body_models(folder)
    return folder


@pytest.fixture(scope="module")
def body(root: Path) -> BodyModel:
    return load_bodies(root, synthetic=True).neutral


def upright(seed: int) -> torch.Tensor:
    pose = 0.15 * torch.randn(FRAMES, 24, 3, generator=torch.Generator().manual_seed(seed))
    pose[:, 0] = torch.tensor([np.pi, 0.0, 0.0])
    return pose


class Constant:
    """Says one body whatever it is given."""

    name = "constant"
    inputs = Inputs(features=8)
    context = None
    card = {"synthetic": True, "training_recipe": {"data": {"crop_scale": 1.1}}}  # noqa: RUF012
    options = {"width": 3}  # noqa: RUF012

    def __init__(self, camera: Any = CAMERA) -> None:
        self.camera = camera
        self.rotmat = axis_angle_to_rotmat(upright(0)).numpy()

    def predict(self, clip: ClipInput) -> Prediction:
        rows = np.arange(clip.length)
        camera = None if self.camera is None else self.camera[rows]
        return Prediction(
            rows=rows, rotmat=self.rotmat[rows], betas=np.zeros((len(rows), 10), np.float32), camera=camera
        )


def clip_of(body: BodyModel, scale: float) -> ClipInput:
    """A clip whose keypoints are those of another body, seen by the same camera in a crop of this scale."""
    seen = project_crop(
        body.spin49(axis_angle_to_rotmat(upright(1)), torch.zeros(FRAMES, 10)), torch.tensor(CAMERA)
    )
    pixels = BOX[:, None, :2] + seen.numpy() * scale * BOX[:, None, 2:] / 2
    keypoints = np.concatenate([pixels, np.ones((FRAMES, 49, 1))], axis=-1)
    return ClipInput(
        track="a", length=FRAMES, frame_id=np.arange(FRAMES), bbox_cxcywh=BOX, keypoints2d=keypoints
    )


def test_bodies_move_to_their_keypoints_in_the_crop_of_the_training(root: Path, body: BodyModel) -> None:
    fitted = fit_behind(Constant(), root, 2)
    assert fitted.inputs == replace(Constant.inputs, keypoints2d="spin49")
    clip = clip_of(body, 1.1)
    found = fitted.predict(clip)
    assert found.rotmat is not None
    assert found.betas is not None
    assert found.camera is not None

    def away(prediction: Prediction) -> float:
        rotmat, betas, camera = (
            torch.tensor(v) for v in (prediction.rotmat, prediction.betas, prediction.camera)
        )
        assert clip.keypoints2d is not None
        points = (project_crop(body.spin49(rotmat, betas), camera) + 1) * 112
        wanted = torch.tensor(in_crop(clip.keypoints2d, BOX, 1.1))[..., :2]
        return float(torch.linalg.vector_norm(points - wanted, dim=-1).mean())

    assert away(found) < 0.5 * away(Constant().predict(clip))
    again = found.rotmat @ found.rotmat.transpose(0, 1, 3, 2)
    np.testing.assert_allclose(again, np.broadcast_to(np.eye(3), again.shape), atol=1e-4)


def test_it_says_what_it_is(root: Path) -> None:
    fitted = fit_behind(Constant(), root, 6)
    assert fitted.name == "constant+smplify6"
    assert fitted.options["smplify_prior"] == {"name": "none", "sha256": None, "stands_in": True}
    assert (fitted.options["smplify_steps"], fitted.options["smplify_crop_scale"]) == (6, 1.1)
    assert fitted.options["width"] == 3


def test_a_frame_without_keypoints_keeps_what_the_system_said(root: Path, body: BodyModel) -> None:
    clip = clip_of(body, 1.1)
    assert clip.keypoints2d is not None
    clip.keypoints2d[2] = np.nan
    found = fit_behind(Constant(), root).predict(clip)
    assert found.rotmat is not None
    assert np.isfinite(found.rotmat).all()
    np.testing.assert_array_equal(found.rotmat[2], Constant().rotmat[2])
    assert abs(found.rotmat[1] - Constant().rotmat[1]).max() > 1e-3


def test_pixels_of_the_crop() -> None:
    made = in_crop(np.array([[[300.0, 200.0, 0.5], [350.0, 150.0, 1.0], [1.0, 1.0, 0.0]]]), BOX[:1], 1.0)
    np.testing.assert_allclose(made[0], np.array([[112, 112, 0.5], [224, 0, 1], [0, 0, 0]]))


def test_what_it_cannot_do_without_is_named(root: Path, body: BodyModel) -> None:
    prior = Prior(None, {"name": "none"})
    with pytest.raises(UsageError, match="a camera, of which 'constant' lacks one"):
        Fitted(Constant(camera=None), body, prior).predict(clip_of(body, 1.0))
    with pytest.raises(UsageError, match="track 'a': temporal SMPLify needs 2D keypoints"):
        Fitted(Constant(), body, prior).predict(replace(clip_of(body, 1.0), keypoints2d=None))
    with pytest.raises(UsageError, match="--root"):
        fit_behind(Constant(), None)
    with pytest.raises(UsageError, match="smplify0"):
        fit_behind(Constant(), root, 0)


def test_it_is_named_before_the_model(root: Path) -> None:
    system = load_system("smplify6:embedded-spin", root=root)
    assert system.name.endswith("+smplify6")
    with pytest.raises(MissingCheckpoint, match="nonesuch"):
        load_system("smplify:nonesuch", root=root)


def test_a_system_can_be_named_as_its_recipe_is(tmp_path: Path) -> None:
    with pytest.raises(
        MissingCheckpoint, match=r"system 'mean_pose'.*Train one: 'hpsbench train mean-pose --root"
    ):
        load_system("mean-pose", root=tmp_path)
    run = tmp_path / "runs" / "vibe-s0-abc"
    run.mkdir(parents=True)
    (run / "best.safetensors").touch()
    with pytest.raises(MissingCheckpoint, match=r"Or train one: .* --model .*vibe-s0-abc/best.safetensors"):
        load_system("vibe", root=tmp_path)
