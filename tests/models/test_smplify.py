"""Temporal SMPLify on clips whose truth is known, and its prior's file."""

import math
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from hpsbench.bodies.joints import get_joint_set
from hpsbench.bodies.smpl import BodyModel, load_bodies
from hpsbench.errors import BrokenFile, ShapeError, UsageError
from hpsbench.geometry.cameras import project_crop
from hpsbench.losses.smplify import PoseMixture, robust
from hpsbench.models._smplify import IGNORED, fit_clip, load_mixture_prior
from hpsbench.synth.body import write_body_models

NAMES = get_joint_set("spin49").names
FRAMES = 4


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> BodyModel:
    root = tmp_path_factory.mktemp("bodies")
    write_body_models(root)
    return load_bodies(root, synthetic=True).neutral


@pytest.fixture
def clip(body: BodyModel) -> SimpleNamespace:
    """A true motion, its keypoints, and a start that is off in pose, root and camera."""
    generator = torch.Generator().manual_seed(0)
    pose = 0.15 * torch.randn(1, 72, generator=generator) + 0.02 * torch.randn(
        FRAMES, 72, generator=generator
    )
    pose[:, 0] += math.pi  # upright in the image
    betas, camera = torch.zeros(FRAMES, 10), torch.tensor([0.9, 0.02, 0.1]).expand(FRAMES, 3)
    pixels = (project_crop(body.spin49(pose, betas), camera) + 1) * 112
    keypoints = torch.cat([pixels, torch.ones(FRAMES, 49, 1)], dim=2)
    start = pose + 0.1 * torch.randn(FRAMES, 72, generator=generator)
    return SimpleNamespace(
        pose=pose, betas=betas, camera=camera, keypoints=keypoints, start=start, start_camera=camera * 1.05
    )


def scored(keypoints: torch.Tensor) -> torch.Tensor:
    confidence = keypoints[..., 2].clone()
    confidence[:, [NAMES.index(name) for name in IGNORED]] = 0
    return confidence


@pytest.mark.parametrize(("optimiser", "steps"), [("lbfgs", 1), ("adam", 25)])
def test_keypoints_are_met_better_and_the_shape_is_one(body, clip, optimiser: Any, steps: int) -> None:
    given = clip.keypoints.clone()
    fit = fit_clip(
        body,
        clip.start,
        clip.betas,
        clip.start_camera,
        clip.keypoints,
        optimiser=optimiser,
        steps=steps,
        iterations=12,
    )
    assert fit.improved.all()
    assert (fit.reprojection < 0.4 * fit.before).all()
    assert (fit.betas == fit.betas[0]).all()
    assert fit.full_pose.shape == (FRAMES, 72)
    assert not fit.full_pose.requires_grad
    torch.testing.assert_close(clip.keypoints, given, atol=0, rtol=0)  # the caller's keypoints stay
    again = (project_crop(body.spin49(fit.full_pose, fit.betas), fit.camera) + 1) * 112
    error = robust((again - given[..., :2]).square()).sum(-1) * scored(given).square()
    torch.testing.assert_close(error.mean(1), fit.reprojection, atol=1e-2, rtol=1e-3)


def test_frames_that_get_worse_keep_their_start(body, clip) -> None:
    """The truth cannot be improved; a frame without keypoints is left alone."""
    clip.start[1], clip.start_camera = clip.pose[1], clip.start_camera.clone()
    clip.start_camera[1] = clip.camera[1]
    clip.keypoints[2, :, 2] = 0
    fit = fit_clip(body, clip.start, clip.betas, clip.start_camera, clip.keypoints, steps=1)
    assert fit.improved.tolist() == [True, False, False, True]
    for row in (1, 2):
        torch.testing.assert_close(fit.full_pose[row], clip.start[row])
        torch.testing.assert_close(fit.camera[row], clip.start_camera[row])
        torch.testing.assert_close(fit.betas[row], clip.betas[row])
    assert (fit.reprojection <= fit.before).all()


def test_the_shape_starts_from_the_frame_that_fits_best(body, clip) -> None:
    betas = torch.linspace(-1, 1, FRAMES)[:, None].expand(-1, 10).clone()
    start = torch.stack([clip.start[0], clip.start[1], clip.pose[2], clip.start[3]])
    fit = fit_clip(body, start, betas, clip.start_camera, clip.keypoints, steps=0)
    best = int(fit.before.argmin())
    assert best == 2
    assert fit.improved.any()  # some frame fits better with that shape alone
    for row in range(FRAMES):
        expected = betas[best] if fit.improved[row] else betas[row]
        torch.testing.assert_close(fit.betas[row], expected, atol=0, rtol=0)
        torch.testing.assert_close(fit.full_pose[row], start[row], atol=0, rtol=0)


def mixture(rng: np.random.Generator, count: int = 3) -> dict[str, np.ndarray]:
    roots = rng.normal(size=(count, 69, 69)) * 0.1
    return {
        "means": rng.normal(size=(count, 69)) * 0.3,
        "covars": roots @ roots.transpose(0, 2, 1) + 0.05 * np.eye(69),
        "weights": np.array([0.5, 0.3, 0.2])[:count],
    }


def test_the_mixture_prior_by_hand(tmp_path: Path) -> None:
    content = mixture(np.random.default_rng(0))
    (tmp_path / "gmm_08.pkl").write_bytes(pickle.dumps(content, protocol=2))
    prior = load_mixture_prior(tmp_path / "gmm_08.pkl")
    pose = np.random.default_rng(1).normal(size=(5, 69)) * 0.3
    determinants = [np.linalg.slogdet(c)[1] for c in content["covars"]]
    for row, got in zip(pose, prior(torch.tensor(pose).float()).tolist(), strict=True):
        costs = []
        for mean, cov, weight, logdet in zip(*content.values(), determinants, strict=True):
            away = row - mean
            scale = (2 * np.pi) ** (69 / 2) * np.exp((logdet - min(determinants)) / 2)
            costs.append(away @ np.linalg.inv(cov) @ away / 2 - np.log(weight / scale))
        assert got == pytest.approx(min(costs), rel=1e-4)


def test_the_prior_pulls_towards_its_means(body, clip) -> None:
    mean = clip.pose.mean(0)[3:]
    prior = PoseMixture.of(mean[None], torch.eye(69)[None] * 0.01, torch.ones(1))
    free, held = (
        fit_clip(body, clip.start, clip.betas, clip.start_camera, clip.keypoints, prior=p)
        for p in (None, prior)
    )
    assert (held.full_pose[:, 3:] - mean).norm() < 0.7 * (free.full_pose[:, 3:] - mean).norm()


def test_other_files_and_shapes_are_refused(body, clip, tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"means": np.zeros((2, 69))}, protocol=2))
    with pytest.raises(BrokenFile, match=r"a\.pkl: expected means, covars and weights"):
        load_mixture_prior(tmp_path / "a.pkl")
    short = {"means": np.zeros((2, 72)), "covars": np.zeros((2, 72, 72)), "weights": np.ones(2)}
    (tmp_path / "b.pkl").write_bytes(pickle.dumps(short, protocol=2))
    with pytest.raises(BrokenFile, match=r"expected means \(M, 69\)"):
        load_mixture_prior(tmp_path / "b.pkl")
    with pytest.raises(ShapeError, match=r"keypoints2d: expected \(4, 49, 3\) with T > 0, got \(4, 14, 3\)"):
        fit_clip(body, clip.start, clip.betas, clip.camera, clip.keypoints[:, :14])
    with pytest.raises(UsageError, match="optimiser='sgd' is not one of lbfgs, adam"):
        fit_clip(body, clip.start, clip.betas, clip.camera, clip.keypoints, optimiser="sgd")
